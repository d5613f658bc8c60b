// The record batch, version 2: where each header field stands, and how to read it.
//
//      0        8        12     16  17    21     23         27         35        43        51     53       57      61
//      +--------+--------+------+---+-----+------+----------+----------+---------+---------+------+--------+-------+-----
//      | base   | length | lead.| m | CRC | attr.| last off.| base     | max     | producer| prod.| base   | record| records, as
//      | offset |        | epoch| 2 |     |      | delta    | timestamp| timest. | id      | epoch| sequ.  | count | one block
//      +--------+--------+------+---+-----+------+----------+----------+---------+---------+------+--------+-------+-----
//        8        4        4      1   4     2      4          8          8         8         2      4        4
//      |<-- not counted ->|<-------------------------- counted by `length` -------------------------------------------->
//                                          |<------------- covered by the CRC-32C ------------------------------------->
//
// All integers are big-endian and signed, but for the CRC. Attributes: bits 0-2 codec, 3 log-append time,
// 4 transactional, 5 control, 6 delete horizon; the rest is reserved. The leader stamps base offset and leader epoch
// into a batch that a client built; both lie before the CRC, so stamping never touches what the client signed.
//
// The readers are free functions over (bytes, at): no DataView, no BigInt, no allocation. They rely on the caller
// having checked that a whole header is there (inspectBatch does). An int64 outside ±2^53 comes back as the nearest
// double: imprecise, but never NaN; inspectBatch refuses such a batch.

/** Bytes of a batch before its records. */
export const BATCH_HEADER_BYTES = 61;
/** Bytes of a batch that its `length` field does not count: the base offset and the field itself. */
export const BATCH_LENGTH_PREFIX = 12;
/** The one format version in use. */
export const BATCH_MAGIC = 2;

export const BASE_OFFSET_AT = 0;
export const LENGTH_AT = 8;
export const LEADER_EPOCH_AT = 12;
export const MAGIC_AT = 16;
export const CRC_AT = 17;
/** Where the CRC begins to cover; it is the position of the attributes. */
export const CRC_COVERS_FROM = 21;
export const ATTRIBUTES_AT = 21;
export const LAST_OFFSET_DELTA_AT = 23;
export const BASE_TIMESTAMP_AT = 27;
export const MAX_TIMESTAMP_AT = 35;
export const PRODUCER_ID_AT = 43;
export const PRODUCER_EPOCH_AT = 51;
export const BASE_SEQUENCE_AT = 53;
export const RECORD_COUNT_AT = 57;

export const CODEC_MASK = 0x07;
export const LOG_APPEND_TIME_BIT = 0x08;
export const TRANSACTIONAL_BIT = 0x10;
export const CONTROL_BIT = 0x20;
export const DELETE_HORIZON_BIT = 0x40;
/** What no version-2 writer sets. */
export const RESERVED_ATTRIBUTE_BITS = 0xff80;

/** "None" in the producer id, producer epoch and base sequence, and the epoch of a batch that no leader has stamped. */
export const NONE = -1;

const TWO_TO_THE_32 = 0x1_0000_0000;

export function readInt16(bytes: Uint8Array, at: number): number {
  return (((bytes[at]! << 8) | bytes[at + 1]!) << 16) >> 16;
}

export function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at) >>> 0;
}

/** Exact within ±2^53, the nearest double outside. */
export function readInt64(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at) * TWO_TO_THE_32 + readUint32(bytes, at + 4);
}

export function writeInt16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

/** Takes signed and unsigned values alike: the low 32 bits are what is written. */
export function writeInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 24;
  bytes[at + 1] = value >> 16;
  bytes[at + 2] = value >> 8;
  bytes[at + 3] = value;
}

/** For safe integers only, negative ones included. */
export function writeInt64(bytes: Uint8Array, at: number, value: number): void {
  writeInt32(bytes, at, Math.floor(value / TWO_TO_THE_32));
  writeInt32(bytes, at + 4, value);
}

export function readBaseOffset(bytes: Uint8Array, at: number): number {
  return readInt64(bytes, at + BASE_OFFSET_AT);
}

/** The whole batch in bytes, prefix included. Untrusted until inspectBatch has judged it. */
export function readBatchBytes(bytes: Uint8Array, at: number): number {
  return BATCH_LENGTH_PREFIX + readInt32(bytes, at + LENGTH_AT);
}

export function readLeaderEpoch(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at + LEADER_EPOCH_AT);
}

export function readMagic(bytes: Uint8Array, at: number): number {
  return bytes[at + MAGIC_AT]!;
}

/** Unsigned, as crc32c answers it. */
export function readCrc(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at + CRC_AT);
}

/** Unsigned, 16 bits. */
export function readAttributes(bytes: Uint8Array, at: number): number {
  return (bytes[at + ATTRIBUTES_AT]! << 8) | bytes[at + ATTRIBUTES_AT + 1]!;
}

export function readLastOffsetDelta(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at + LAST_OFFSET_DELTA_AT);
}

export function readBaseTimestamp(bytes: Uint8Array, at: number): number {
  return readInt64(bytes, at + BASE_TIMESTAMP_AT);
}

export function readMaxTimestamp(bytes: Uint8Array, at: number): number {
  return readInt64(bytes, at + MAX_TIMESTAMP_AT);
}

export function readProducerId(bytes: Uint8Array, at: number): number {
  return readInt64(bytes, at + PRODUCER_ID_AT);
}

export function readProducerEpoch(bytes: Uint8Array, at: number): number {
  return readInt16(bytes, at + PRODUCER_EPOCH_AT);
}

export function readBaseSequence(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at + BASE_SEQUENCE_AT);
}

export function readRecordCount(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at + RECORD_COUNT_AT);
}

/** One less than the base offset for an epoch start, which spans no offset. */
export function readLastOffset(bytes: Uint8Array, at: number): number {
  return readBaseOffset(bytes, at) + readLastOffsetDelta(bytes, at);
}

// A cursor: where a read of one topic stands, as text that a client keeps and gives back.
//
//   +---------+----------+--------------+------------------------------------+----------+
//   | version | topic id | count varint | count x (partition, next offset)   | CRC-32C  |
//   |    1    |    16    |              |  varints, partitions ascending     |    4     |
//   +---------+----------+--------------+------------------------------------+----------+
//                                                        all of it base64url without padding
//
// Varints are unsigned, least significant seven bits first, in their shortest form only, so that equal positions have
// one spelling. The checksum is over everything before it, big-endian. It protects against truncation and typing, not
// against a client that means harm: a made-up cursor can name nothing that `offset=` could not.
//
// Guarantees: decoding never throws and accepts exactly what encoding makes.

import type { Offset, TopicId } from '@sluice/protocol/ids';
import { isOffset, topicIdBytes, topicIdFromBytes } from '@sluice/protocol/ids';
import { crc32c } from '@sluice/protocol/record';
import { CURSOR_CHARS_MAX, PARTITIONS_PER_TOPIC_MAX, READ_PARTITIONS_MAX } from '../base/limits.ts';

export interface CursorPosition {
  readonly partition: number;
  readonly offset: Offset;
}

export interface Cursor {
  readonly topicId: TopicId;
  readonly positions: readonly CursorPosition[];
}

const VERSION = 1;
const TOPIC_ID_AT = 1;
const COUNT_AT = 17;
const CHECKSUM_BYTES = 4;
/** 256 positions of a partition below 2^14 and an offset below 2^53 (2 and 8 bytes) still fit into the limit. */
const VARINT_BYTES_MAX = 8;

export const encodeCursor = (cursor: Cursor): string => {
  const positions = cursor.positions.toSorted((a, b) => a.partition - b.partition);
  const bytes = Buffer.alloc(COUNT_AT + (1 + 2 * positions.length) * VARINT_BYTES_MAX + CHECKSUM_BYTES);
  bytes[0] = VERSION;
  bytes.set(topicIdBytes(cursor.topicId), TOPIC_ID_AT);
  let at = writeUnsigned(bytes, COUNT_AT, positions.length);
  for (const position of positions) {
    at = writeUnsigned(bytes, at, position.partition);
    at = writeUnsigned(bytes, at, position.offset);
  }
  bytes.writeUInt32BE(crc32c(bytes, 0, at), at);
  return bytes.toString('base64url', 0, at + CHECKSUM_BYTES);
};

/** Null for everything that encodeCursor did not make. */
export const decodeCursor = (text: string): Cursor | null => {
  if (text.length > CURSOR_CHARS_MAX || !/^[A-Za-z0-9_-]+$/.test(text)) return null;
  const bytes = Buffer.from(text, 'base64url');
  const end = bytes.length - CHECKSUM_BYTES;
  // The last character may carry bits that decoding ignores; only one spelling is ours.
  if (end <= COUNT_AT || bytes[0] !== VERSION || bytes.toString('base64url') !== text) return null;
  if (bytes.readUInt32BE(end) !== crc32c(bytes, 0, end)) return null;
  const span = { bytes, at: COUNT_AT, end };
  const count = readUnsigned(span);
  if (count === null || count < 1 || count > READ_PARTITIONS_MAX) return null;
  const positions: CursorPosition[] = [];
  let previous = -1;
  for (let index = 0; index < count; index++) {
    const partition = readUnsigned(span);
    const offset = readUnsigned(span);
    if (partition === null || offset === null || !isOffset(offset)) return null;
    if (partition <= previous || partition >= PARTITIONS_PER_TOPIC_MAX) return null;
    previous = partition;
    positions.push({ partition, offset });
  }
  if (span.at !== end) return null;
  return { topicId: topicIdFromBytes(bytes.subarray(TOPIC_ID_AT, COUNT_AT)), positions };
};

const writeUnsigned = (bytes: Buffer, from: number, value: number): number => {
  let at = from;
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[at++] = (rest % 0x80) | 0x80;
  bytes[at++] = rest;
  return at;
};

const readUnsigned = (span: { readonly bytes: Buffer; at: number; readonly end: number }): number | null => {
  let value = 0;
  let scale = 1;
  for (let length = 0; length < VARINT_BYTES_MAX; length++) {
    if (span.at >= span.end) return null;
    const byte = span.bytes[span.at++]!;
    value += (byte & 0x7f) * scale;
    scale *= 0x80;
    if (byte < 0x80) return byte === 0 && length > 0 ? null : value;
  }
  return null;
};

// One batch seen through its header, and the judgement whether bytes are a batch at all.
//
//   inspectBatch      is this a batch, undamaged?       for every byte that comes from a disk, a peer or a client
//   checkClientBatch  may a client send this one?       after inspectBatch, for what is produced
//   splitBatches      a produce payload into batches    inspectBatch on each, CRC included
//   BatchView         the header by name                after inspectBatch
//
// Both checks look at the header alone and never throw, whatever the bytes. The records inside may still be garbage
// under a good CRC: only a RecordCursor can tell.

import { codecOfId, type Codec } from './compression.ts';
import { crc32c } from './crc32c.ts';
import {
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_PREFIX,
  BATCH_MAGIC,
  CODEC_MASK,
  CONTROL_BIT,
  CRC_COVERS_FROM,
  DELETE_HORIZON_BIT,
  LOG_APPEND_TIME_BIT,
  MAGIC_AT,
  NONE,
  RESERVED_ATTRIBUTE_BITS,
  TRANSACTIONAL_BIT,
  readAttributes,
  readBaseOffset,
  readBaseSequence,
  readBaseTimestamp,
  readBatchBytes,
  readCrc,
  readLastOffset,
  readLastOffsetDelta,
  readLeaderEpoch,
  readMagic,
  readMaxTimestamp,
  readProducerEpoch,
  readProducerId,
  readRecordCount,
} from './layout.ts';
import { isEpochSealed, SPANS_NO_OFFSET } from './control.ts';

/** Why bytes are not an acceptable batch. `needed` counts from the batch's first byte and may grow as more is known. */
export type BatchFault =
  | { kind: 'incomplete'; needed: number }
  | {
      kind:
        | 'length'
        | 'magic'
        | 'crc'
        | 'record-count'
        | 'attributes'
        | 'codec'
        | 'epoch'
        | 'producer'
        | 'offset-range'
        | 'timestamp-range';
      detail: string;
    };

export type TimestampType = 'create' | 'append';

export interface InspectOptions {
  /** The largest batch to accept, prefix included. */
  readonly bytesMax: number;
  readonly verifyCrc: boolean;
}

export type Inspection = { ok: true; byteLength: number } | { ok: false; fault: BatchFault };

export type Split = { ok: true; batches: Uint8Array[] } | { ok: false; fault: BatchFault; index: number };

/** Relies on `bytes` being one batch that inspectBatch accepted; holds no copy of anything. */
export class BatchView {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get baseOffset(): number {
    return readBaseOffset(this.bytes, 0);
  }

  /** One less than the base offset for an epoch start. */
  get lastOffset(): number {
    return readLastOffset(this.bytes, 0);
  }

  /** Where the batch after this one begins. */
  get nextOffset(): number {
    return readLastOffset(this.bytes, 0) + 1;
  }

  get byteLength(): number {
    return readBatchBytes(this.bytes, 0);
  }

  get leaderEpoch(): number {
    return readLeaderEpoch(this.bytes, 0);
  }

  /** Null for an id that means nothing; checkClientBatch lets none in. */
  get codec(): Codec | null {
    return codecOfId(readAttributes(this.bytes, 0) & CODEC_MASK);
  }

  get isControl(): boolean {
    return (readAttributes(this.bytes, 0) & CONTROL_BIT) !== 0;
  }

  get isTransactional(): boolean {
    return (readAttributes(this.bytes, 0) & TRANSACTIONAL_BIT) !== 0;
  }

  get timestampType(): TimestampType {
    return (readAttributes(this.bytes, 0) & LOG_APPEND_TIME_BIT) === 0 ? 'create' : 'append';
  }

  get lastOffsetDelta(): number {
    return readLastOffsetDelta(this.bytes, 0);
  }

  get baseTimestamp(): number {
    return readBaseTimestamp(this.bytes, 0);
  }

  get maxTimestamp(): number {
    return readMaxTimestamp(this.bytes, 0);
  }

  /** -1 when the producer is not idempotent; then epoch and sequence are -1 as well. */
  get producerId(): number {
    return readProducerId(this.bytes, 0);
  }

  get producerEpoch(): number {
    return readProducerEpoch(this.bytes, 0);
  }

  get baseSequence(): number {
    return readBaseSequence(this.bytes, 0);
  }

  get recordCount(): number {
    return readRecordCount(this.bytes, 0);
  }
}

/**
 * Judges the batch that begins at `at`. The length is judged before anything is read or waited for on its account, so a
 * damaged one neither allocates nor blocks. A batch that lost records to compaction passes (fewer records than offsets,
 * even none), and so does an epoch start.
 */
export function inspectBatch(bytes: Uint8Array, at: number, options: InspectOptions): Inspection {
  const available = at >= 0 ? bytes.length - at : 0;
  if (available < BATCH_LENGTH_PREFIX) return incomplete(BATCH_HEADER_BYTES);
  const byteLength = readBatchBytes(bytes, at);
  if (byteLength < BATCH_HEADER_BYTES) return faulty('length', `${byteLength} bytes are less than a header`);
  if (byteLength > options.bytesMax) {
    return faulty('length', `${byteLength} bytes are more than the limit of ${options.bytesMax}`);
  }
  if (available > MAGIC_AT && readMagic(bytes, at) !== BATCH_MAGIC) {
    return faulty('magic', `format version ${readMagic(bytes, at)} instead of ${BATCH_MAGIC}`);
  }
  if (available < byteLength) return incomplete(byteLength);
  if (options.verifyCrc) {
    const actual = crc32c(bytes, at + CRC_COVERS_FROM, at + byteLength);
    if (actual !== readCrc(bytes, at)) {
      return faulty('crc', `the checksum is ${hex(actual)}, the header says ${hex(readCrc(bytes, at))}`);
    }
  }
  const fault = headerFault(bytes, at);
  return fault === null ? { ok: true, byteLength } : { ok: false, fault };
}

/** The relations that hold between the fields of any batch, whoever wrote it. */
function headerFault(bytes: Uint8Array, at: number): BatchFault | null {
  const count = readRecordCount(bytes, at);
  const delta = readLastOffsetDelta(bytes, at);
  const isControl = (readAttributes(bytes, at) & CONTROL_BIT) !== 0;
  if (count < 0 || delta < SPANS_NO_OFFSET || count > delta + 1 || (delta === SPANS_NO_OFFSET && !isControl)) {
    return { kind: 'record-count', detail: `${count} records cannot stand in a batch with last offset delta ${delta}` };
  }
  if (delta === SPANS_NO_OFFSET && !isEpochSealed(bytes, at)) {
    return { kind: 'epoch', detail: `an epoch start of epoch ${readLeaderEpoch(bytes, at)} was not written as one` };
  }
  const baseOffset = readBaseOffset(bytes, at);
  if (baseOffset < 0 || baseOffset + delta >= Number.MAX_SAFE_INTEGER) {
    return { kind: 'offset-range', detail: `offsets from ${baseOffset} to ${baseOffset + delta}` };
  }
  const baseTimestamp = readBaseTimestamp(bytes, at);
  const maxTimestamp = readMaxTimestamp(bytes, at);
  if (!Number.isSafeInteger(baseTimestamp) || !Number.isSafeInteger(maxTimestamp)) {
    return { kind: 'timestamp-range', detail: `timestamps from ${baseTimestamp} to ${maxTimestamp}` };
  }
  if (!Number.isSafeInteger(readProducerId(bytes, at))) {
    return { kind: 'producer', detail: `producer id ${readProducerId(bytes, at)}` };
  }
  return null;
}

/**
 * What a client may send, beyond being a batch at all: control batches, and marks that only a broker sets, would let it
 * forge a transaction's outcome or a membership change. Relies on inspectBatch having accepted the batch.
 */
export function checkClientBatch(bytes: Uint8Array, at: number): BatchFault | null {
  const attributes = readAttributes(bytes, at);
  const forbidden = attributes & (RESERVED_ATTRIBUTE_BITS | DELETE_HORIZON_BIT | CONTROL_BIT | LOG_APPEND_TIME_BIT);
  if (forbidden !== 0) {
    return { kind: 'attributes', detail: `a client may not set the attribute bits 0x${forbidden.toString(16)}` };
  }
  if (codecOfId(attributes & CODEC_MASK) === null) {
    return { kind: 'codec', detail: `codec ${attributes & CODEC_MASK} means nothing` };
  }
  const count = readRecordCount(bytes, at);
  const delta = readLastOffsetDelta(bytes, at);
  if (count < 1 || delta !== count - 1) {
    return { kind: 'record-count', detail: `${count} records with last offset delta ${delta}` };
  }
  const producerId = readProducerId(bytes, at);
  if (producerId < NONE) return { kind: 'producer', detail: `producer id ${producerId}` };
  if (producerId === NONE && (attributes & TRANSACTIONAL_BIT) !== 0) {
    return { kind: 'attributes', detail: 'a transactional batch without a producer id' };
  }
  const epoch = readProducerEpoch(bytes, at);
  const sequence = readBaseSequence(bytes, at);
  if (producerId !== NONE && (epoch < 0 || sequence < 0)) {
    return { kind: 'producer', detail: `producer id ${producerId} with epoch ${epoch} and base sequence ${sequence}` };
  }
  return null;
}

/** Subarrays of the payload, one a batch. An empty payload is no batches; a cut-off last one is a fault. */
export function splitBatches(bytes: Uint8Array, options: { readonly bytesMax: number }): Split {
  const batches: Uint8Array[] = [];
  const inspect: InspectOptions = { bytesMax: options.bytesMax, verifyCrc: true };
  for (let at = 0; at < bytes.length; ) {
    const inspection = inspectBatch(bytes, at, inspect);
    if (!inspection.ok) return { ok: false, fault: inspection.fault, index: batches.length };
    batches.push(bytes.subarray(at, at + inspection.byteLength));
    at += inspection.byteLength;
  }
  return { ok: true, batches };
}

function incomplete(needed: number): Inspection {
  return { ok: false, fault: { kind: 'incomplete', needed } };
}

function faulty(kind: Exclude<BatchFault['kind'], 'incomplete'>, detail: string): Inspection {
  return { ok: false, fault: { kind, detail } };
}

function hex(crc: number): string {
  return `0x${crc.toString(16).padStart(8, '0')}`;
}

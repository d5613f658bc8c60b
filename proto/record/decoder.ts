// Records out of a batch.
//
//   record:  length varint | attributes 1 | timestamp delta varlong | offset delta varint
//            | key length varint (-1 null) | key | value length varint (-1 null) | value
//            | header count varint | each header: key length varint | key | value length varint (-1 null) | value
//
// RecordCursor walks the records and allocates nothing on the way: positions into `bytes`, no objects. decodeRecords
// makes an object a record whose key and value are views of the batch, never copies.
//
// Guarantees, for any bytes: never throws, never reads beyond the end. A batch is sound only when all of its records
// were there, each exactly as long as it says, their offsets rising within the batch, and nothing stands behind the
// last. Whoever acts on records (rather than shows them) walks to the end and looks at `fault` first.
// The CRC is not looked at: inspectBatch does that.

import {
  DECOMPRESSED_BYTES_MAX,
  DECOMPRESS_OFF_LOOP_BYTES,
  codecOfId,
  decompress,
  decompressSync,
  type CompressionFault,
  type CompressionResult,
} from './compression.ts';
import {
  BATCH_HEADER_BYTES,
  CODEC_MASK,
  LOG_APPEND_TIME_BIT,
  readAttributes,
  readBaseOffset,
  readBaseTimestamp,
  readLastOffsetDelta,
  readMaxTimestamp,
  readRecordCount,
} from './layout.ts';
import { readVarint, readVarlong, type ByteSpan } from './varint.ts';
import { inspectBatch, type BatchFault } from './view.ts';

/** `index` is the position in the batch of the record that is garbage. */
export type DecodeFault = BatchFault | CompressionFault | { kind: 'record'; index: number; detail: string };

export interface DecodeOptions {
  /** What the records may inflate to. */
  readonly decompressedBytesMax?: number;
}

export interface Header {
  readonly key: string;
  readonly value: Uint8Array | null;
}

/** Key and values are views of the batch (or of its inflated records): they keep all of it alive. */
export interface StoredRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly Header[];
}

export type OpenedCursor = { ok: true; cursor: RecordCursor } | { ok: false; fault: DecodeFault };
export type DecodedRecords = { ok: true; records: StoredRecord[] } | { ok: false; fault: DecodeFault };

/** Every record without headers shares this one. */
export const NO_HEADERS: readonly Header[] = Object.freeze([]);

const NULL_AT = -1;
/** Up to here a loop over ASCII is quicker than the call into Node; header keys are short. */
const LOOPED_TEXT_BYTES = 24;
const WHOLE_HEADER = { bytesMax: Number.MAX_SAFE_INTEGER, verifyCrc: false };

export class RecordCursor implements ByteSpan {
  /** The uncompressed batch or records; all positions below point into it. */
  readonly bytes: Uint8Array;
  offset = -1;
  timestamp = -1;
  /** Where the key's length stands. */
  keyAt = 0;
  /** -1 for a null key. */
  keyStart = NULL_AT;
  keyEnd = NULL_AT;
  /** -1 for a null value. */
  valueStart = NULL_AT;
  valueEnd = NULL_AT;
  /** Where the header count stands. */
  headersAt = 0;
  headerCount = 0;
  headersStart = 0;
  /** Why next() ended early; null while all is well and after a sound end. */
  fault: DecodeFault | null = null;

  /** Where the next field is read; between records, where the next record begins. */
  position: number;
  /** The end of what may be read: of the current record while it is read, else of all records. */
  limit: number;

  readonly recordCount: number;
  private readonly end: number;
  private readonly baseOffset: number;
  private readonly baseTimestamp: number;
  private readonly lastOffsetDelta: number;
  /** What the broker stamped in place of the records' own timestamps; NaN where they count. */
  private readonly appendTimestamp: number;
  private recordsRead = 0;
  private offsetDelta = -1;

  /** Use open: it checks the header that this relies on. `start` is where the records begin in `bytes`. */
  private constructor(batch: Uint8Array, bytes: Uint8Array, start: number) {
    const isAppendTime = (readAttributes(batch, 0) & LOG_APPEND_TIME_BIT) !== 0;
    this.bytes = bytes;
    this.position = start;
    this.limit = bytes.length;
    this.end = bytes.length;
    this.recordCount = readRecordCount(batch, 0);
    this.baseOffset = readBaseOffset(batch, 0);
    this.baseTimestamp = readBaseTimestamp(batch, 0);
    this.lastOffsetDelta = readLastOffsetDelta(batch, 0);
    this.appendTimestamp = isAppendTime ? readMaxTimestamp(batch, 0) : Number.NaN;
  }

  /** Inflates at once where the batch is compressed. Bytes behind the batch are ignored. */
  static open(batch: Uint8Array, options: DecodeOptions = {}): OpenedCursor {
    const inspection = inspectBatch(batch, 0, WHOLE_HEADER);
    if (!inspection.ok) return inspection;
    const whole = batch.subarray(0, inspection.byteLength);
    if (isPlain(whole)) return { ok: true, cursor: new RecordCursor(whole, whole, BATCH_HEADER_BYTES) };
    return RecordCursor.over(whole, decompressSync(codecOf(whole), recordBlock(whole), inflatedBytesMax(options)));
  }

  /** The same, with large compressed batches inflated off the event loop, or a piece at a time. */
  static async openOffLoop(batch: Uint8Array, options: DecodeOptions = {}): Promise<OpenedCursor> {
    const inspection = inspectBatch(batch, 0, WHOLE_HEADER);
    if (!inspection.ok) return inspection;
    const whole = batch.subarray(0, inspection.byteLength);
    if (isPlain(whole) || whole.length < DECOMPRESS_OFF_LOOP_BYTES) return RecordCursor.open(whole, options);
    return RecordCursor.over(whole, await decompress(codecOf(whole), recordBlock(whole), inflatedBytesMax(options)));
  }

  private static over(batch: Uint8Array, inflated: CompressionResult): OpenedCursor {
    return inflated.ok ? { ok: true, cursor: new RecordCursor(batch, inflated.bytes, 0) } : inflated;
  }

  /** Moves to the next record. False at the end, sound or not: `fault` tells. */
  next(): boolean {
    if (this.recordsRead === this.recordCount || this.fault !== null) return this.finish();
    const length = readVarint(this);
    const recordEnd = this.position + length;
    // A negative length puts the end before the position, which the first check catches.
    if (recordEnd <= this.position || recordEnd > this.end) return this.broken('its length runs past the end');
    this.limit = recordEnd;
    // The record's attributes: one byte, all of it unused.
    this.position++;
    const timestampDelta = readVarlong(this);
    const offsetDelta = readVarint(this);

    this.keyAt = this.position;
    const keyLength = readVarint(this);
    if (keyLength >= 0) {
      this.keyStart = this.position;
      this.keyEnd = this.position += keyLength;
    } else {
      if (keyLength !== -1) return this.broken('a negative key length');
      this.keyStart = this.keyEnd = NULL_AT;
    }

    const valueLength = readVarint(this);
    if (valueLength >= 0) {
      this.valueStart = this.position;
      this.valueEnd = this.position += valueLength;
    } else {
      if (valueLength !== -1) return this.broken('a negative value length');
      this.valueStart = this.valueEnd = NULL_AT;
    }

    this.headersAt = this.position;
    this.headerCount = readVarint(this);
    this.headersStart = this.position;
    if (this.headerCount !== 0 && !this.skipHeaders()) return this.broken('its headers are damaged');
    // Whatever was malformed above left the position beyond the limit.
    if (this.position !== recordEnd) return this.broken('its fields do not fill its length');
    if (offsetDelta <= this.offsetDelta || offsetDelta > this.lastOffsetDelta) {
      return this.broken(`offset delta ${offsetDelta} after ${this.offsetDelta}`);
    }

    this.limit = this.end;
    this.offsetDelta = offsetDelta;
    this.offset = this.baseOffset + offsetDelta;
    const appendTimestamp = this.appendTimestamp;
    this.timestamp = appendTimestamp === appendTimestamp ? appendTimestamp : this.baseTimestamp + timestampDelta;
    if (!Number.isSafeInteger(this.timestamp)) return this.broken(`timestamp ${this.timestamp}`);
    this.recordsRead++;
    return true;
  }

  /** Leaves the position behind the last header; every length is checked here, so that reading them again cannot fail. */
  private skipHeaders(): boolean {
    const count = this.headerCount;
    if (count < 0) return false;
    // However large the count claims to be, the loop ends with the record's bytes.
    for (let index = 0; index < count; index++) {
      const keyLength = readVarint(this);
      if (keyLength < 0) return false;
      this.position += keyLength;
      const valueLength = readVarint(this);
      if (valueLength < -1) return false;
      if (valueLength > 0) this.position += valueLength;
      if (this.position > this.limit) return false;
    }
    return true;
  }

  private finish(): false {
    if (this.fault === null && this.position !== this.end) {
      return this.broken(`${this.end - this.position} bytes behind the last record`);
    }
    return false;
  }

  private broken(detail: string): false {
    this.fault = { kind: 'record', index: this.recordsRead, detail };
    return false;
  }
}

/** The headers of the record that the cursor stands on, in order, repeats included. */
export function recordHeaders(cursor: RecordCursor): readonly Header[] {
  if (cursor.headerCount === 0) return NO_HEADERS;
  const { bytes } = cursor;
  const headers: Header[] = [];
  cursor.position = cursor.headersStart;
  for (let index = 0; index < cursor.headerCount; index++) {
    const keyLength = readVarint(cursor);
    const keyStart = cursor.position;
    cursor.position = keyStart + keyLength;
    const valueLength = readVarint(cursor);
    const valueStart = cursor.position;
    if (valueLength > 0) cursor.position = valueStart + valueLength;
    headers.push({
      key: text(bytes, keyStart, keyStart + keyLength),
      value: valueLength < 0 ? null : view(bytes, valueStart, valueStart + valueLength),
    });
  }
  // The last header ends where the record does, so the walk goes on from where it stood.
  return headers;
}

/** Null for a null key. A view, not a copy. */
export function recordKey(cursor: RecordCursor): Uint8Array | null {
  return cursor.keyStart < 0 ? null : view(cursor.bytes, cursor.keyStart, cursor.keyEnd);
}

/** Null for a null value. A view, not a copy. */
export function recordValue(cursor: RecordCursor): Uint8Array | null {
  return cursor.valueStart < 0 ? null : view(cursor.bytes, cursor.valueStart, cursor.valueEnd);
}

/** All records or none: one that is garbage makes the whole batch a fault. */
export function decodeRecords(batch: Uint8Array, options: DecodeOptions = {}): DecodedRecords {
  const opened = RecordCursor.open(batch, options);
  return opened.ok ? drain(opened.cursor) : opened;
}

/** The same, with large compressed batches inflated off the event loop, or a piece at a time. */
export async function decodeRecordsOffLoop(batch: Uint8Array, options: DecodeOptions = {}): Promise<DecodedRecords> {
  const opened = await RecordCursor.openOffLoop(batch, options);
  return opened.ok ? drain(opened.cursor) : opened;
}

function drain(cursor: RecordCursor): DecodedRecords {
  // Grown as records turn up: the count in the header is only a claim until then.
  const records: StoredRecord[] = [];
  while (cursor.next()) {
    records.push({
      offset: cursor.offset,
      timestamp: cursor.timestamp,
      key: recordKey(cursor),
      value: recordValue(cursor),
      headers: recordHeaders(cursor),
    });
  }
  return cursor.fault === null ? { ok: true, records } : { ok: false, fault: cursor.fault };
}

/** True where the records need no inflating; compaction may leave a compressed batch with none, and so without a block. */
function isPlain(batch: Uint8Array): boolean {
  return (readAttributes(batch, 0) & CODEC_MASK) === 0 || batch.length === BATCH_HEADER_BYTES;
}

function codecOf(batch: Uint8Array): ReturnType<typeof codecOfId> {
  return codecOfId(readAttributes(batch, 0) & CODEC_MASK);
}

function recordBlock(batch: Uint8Array): Uint8Array {
  return batch.subarray(BATCH_HEADER_BYTES);
}

function inflatedBytesMax(options: DecodeOptions): number {
  return options.decompressedBytesMax ?? DECOMPRESSED_BYTES_MAX;
}

function view(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}

function text(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= LOOPED_TEXT_BYTES) {
    let ascii = '';
    let at = start;
    for (; at < end && bytes[at]! < 0x80; at++) ascii += String.fromCharCode(bytes[at]!);
    if (at === end) return ascii;
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
}

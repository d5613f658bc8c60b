// Records into a batch. The wire grammar of a record is drawn in decoder.ts.
//
// BatchBuilder writes straight into one growing buffer: no object a record, no intermediate copy of a string. The
// lengths stand before what they count, and the UTF-8 length of a string is not known before it is written; so a record
// is first written as if every string were ASCII, and only when one turns out not to be, written again over itself with
// measured lengths.
//
// Guarantees: what build() returns belongs to the caller, the builder never touches that memory again. The base
// timestamp is the first record's (deltas may be negative), the maximum the true one over all records. The batch is
// unstamped: base offset 0, leader epoch -1.
// Programming errors (a timestamp that is no safe integer, a codec that there is not) throw a RangeError; nothing
// that was appended before is harmed.

import { COMPRESS_OFF_LOOP_BYTES, codecId, compress, compressSync, type Codec } from './compression.ts';
import { SPANS_NO_OFFSET } from './control.ts';
import {
  ATTRIBUTES_AT,
  BASE_OFFSET_AT,
  BASE_SEQUENCE_AT,
  BASE_TIMESTAMP_AT,
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_PREFIX,
  BATCH_MAGIC,
  CONTROL_BIT,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LENGTH_AT,
  MAGIC_AT,
  MAX_TIMESTAMP_AT,
  NONE,
  PRODUCER_EPOCH_AT,
  PRODUCER_ID_AT,
  RECORD_COUNT_AT,
  TRANSACTIONAL_BIT,
  writeInt16,
  writeInt32,
  writeInt64,
} from './layout.ts';
import { type ProducerStamp, sealBatch, stampBatch } from './stamp.ts';
import { varintBytes, varlongBytes, writeVarint, writeVarlong } from './varint.ts';

export interface HeaderInput {
  readonly key: string;
  readonly value: Uint8Array | string | null;
}

export interface RecordInput {
  readonly key: Uint8Array | string | null;
  readonly value: Uint8Array | string | null;
  readonly headers?: readonly HeaderInput[];
  /** Milliseconds since 1970. */
  readonly timestamp: number;
}

/** A record whose key and value lie in bytes already; a start below 0 is null. It has no headers. */
export interface RecordSpans {
  readonly keyBytes: Uint8Array;
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly valueBytes: Uint8Array;
  readonly valueStart: number;
  readonly valueEnd: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
}

export interface BatchOptions {
  readonly codec?: Codec;
  readonly initialBytes?: number;
  readonly producer?: ProducerStamp;
  readonly isTransactional?: boolean;
  /** Where memory comes from, at least as much as asked for: a caller may hand out again what batches were built in. */
  readonly allocate?: (bytes: number) => Buffer;
}

const INITIAL_BYTES = 16_384;
/** Length, attributes, both deltas, key length, value length and header count, each at its longest. */
const RECORD_OVERHEAD_BYTES_MAX = 5 + 1 + 10 + 5 + 5 + 5 + 5;
const HEADER_OVERHEAD_BYTES_MAX = 5 + 5;
/** A UTF-16 unit takes at most three bytes of UTF-8: a surrogate pair takes four for its two. */
const UTF8_BYTES_PER_UNIT = 3;
/** Up to here a loop over the characters is quicker than the call into Node. */
const LOOPED_TEXT_UNITS = 24;
/** Up to here a loop over the bytes is quicker than TypedArray.set. */
const LOOPED_COPY_BYTES = 24;
/** The same where a view would have to be made for it. */
const LOOPED_SPAN_BYTES = 256;
/** Up to here an upper bound of a string's bytes is the multiple; longer ones are measured. */
const UNMEASURED_TEXT_UNITS = 64;
/** Sequences are int32 and wrap to zero. */
const SEQUENCES = 0x8000_0000;
const BATCH_BYTES_MAX = 0x7fff_ffff;

export class BatchBuilder {
  private readonly codec: Codec;
  private readonly isTransactional: boolean;
  private producer: ProducerStamp | null;
  private readonly initialBytes: number;
  private readonly allocate: (bytes: number) => Buffer;
  /** Invariant: the header's room and the records so far are in buffer[0, length). */
  private buffer: Buffer;
  private length = BATCH_HEADER_BYTES;
  private count = 0;
  private baseTimestamp = 0;
  private maxTimestamp = 0;
  /** A guess that costs or saves time only: records of one producer are mostly alike. */
  private expectsAscii = true;

  constructor(options: BatchOptions = {}) {
    const { codec = 'none', initialBytes = INITIAL_BYTES, producer = null, isTransactional = false } = options;
    if (codecId(codec) < 0) throw new RangeError(`there is no codec ${codec}`);
    if (isTransactional && producer === null) throw new RangeError('a transactional batch needs a producer');
    if (producer !== null) assertProducer(producer);
    this.codec = codec;
    this.isTransactional = isTransactional;
    this.producer = producer;
    this.initialBytes = Math.max(initialBytes, BATCH_HEADER_BYTES);
    this.allocate = options.allocate ?? allocate;
    this.buffer = this.allocate(this.initialBytes);
  }

  get recordCount(): number {
    return this.count;
  }

  /** Header and records so far, uncompressed. */
  get byteLength(): number {
    return this.length;
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  /** Answers the bytes that this record takes, uncompressed. */
  append(record: RecordInput): number {
    const timestampDelta = this.timestampDelta(record.timestamp);
    this.makeRoom(this.length + writableBytes(record));
    let end = this.expectsAscii ? this.writeAsAscii(record, timestampDelta) : -1;
    if (end < 0) end = this.writeMeasured(record, timestampDelta);
    return this.appended(end, record.timestamp);
  }

  /** The same for a record that lies in bytes: they are copied as they are. */
  appendSpans(record: RecordSpans): number {
    const timestampDelta = this.timestampDelta(record.timestamp);
    this.makeRoom(this.length + spansBytesMax(record));
    return this.appended(this.writeSpans(record, timestampDelta), record.timestamp);
  }

  /** An upper bound of byteLength after append(record), a few bytes (for short strings: up to 128 each) too high. */
  estimatedBytesWith(record: RecordInput): number {
    let bytes = this.length + RECORD_OVERHEAD_BYTES_MAX + fieldBytesMax(record.key) + fieldBytesMax(record.value);
    if (record.headers !== undefined) {
      for (const header of record.headers) {
        bytes += HEADER_OVERHEAD_BYTES_MAX + fieldBytesMax(header.key) + fieldBytesMax(header.value);
      }
    }
    return bytes;
  }

  /** The same for appendSpans. */
  estimatedBytesWithSpans(record: RecordSpans): number {
    return this.length + spansBytesMax(record);
  }

  /** Who signs the batch in the making; Kafka's producers decide that only when a batch is about to be sent. */
  setProducer(producer: ProducerStamp): void {
    assertProducer(producer);
    this.producer = producer;
  }

  /**
   * The batch, compressed here and now. The builder is empty afterwards and ready for the next; an idempotent
   * producer's sequence has moved on by the records built.
   */
  build(): Uint8Array {
    if (this.codec === 'none') return seal(this.takeUnsealed());
    this.writeHeader();
    const unsealed = this.buffer.subarray(0, this.length);
    const batch = join(unsealed, compressSync(this.codec, unsealed.subarray(BATCH_HEADER_BYTES)));
    this.advance();
    return batch;
  }

  /** The same with large batches compressed off the event loop, or a piece at a time. The builder takes new records meanwhile. */
  async buildOffLoop(): Promise<Uint8Array> {
    if (this.codec === 'none' || this.length <= COMPRESS_OFF_LOOP_BYTES) return this.build();
    const unsealed = this.takeUnsealed();
    return join(unsealed, await compress(this.codec, unsealed.subarray(BATCH_HEADER_BYTES)));
  }

  /** Forgets what was appended and not built. */
  reset(): void {
    this.length = BATCH_HEADER_BYTES;
    this.count = 0;
  }

  /** Hands out header and records without CRC, and turns to a buffer of its own. */
  private takeUnsealed(): Uint8Array {
    this.writeHeader();
    const { buffer, length } = this;
    if (length * 2 < buffer.length) {
      // Handing out the buffer would keep more than twice of what is in it alive.
      const copy = this.allocate(length);
      copy.set(buffer.subarray(0, length));
      this.advance();
      return copy.subarray(0, length);
    }
    // The next batch is likely as large as this one.
    this.buffer = this.allocate(Math.max(this.initialBytes, length + (length >>> 3)));
    this.advance();
    return buffer.subarray(0, length);
  }

  private advance(): void {
    if (this.producer !== null) {
      const baseSequence = (this.producer.baseSequence + this.count) % SEQUENCES;
      this.producer = { ...this.producer, baseSequence };
    }
    this.reset();
  }

  private writeHeader(): void {
    if (this.count === 0) throw new RangeError('a batch needs a record');
    const header = this.buffer;
    const attributes = codecId(this.codec) | (this.isTransactional ? TRANSACTIONAL_BIT : 0);
    writeInt64(header, BASE_OFFSET_AT, 0);
    writeInt32(header, LENGTH_AT, this.length - BATCH_LENGTH_PREFIX);
    writeInt32(header, LEADER_EPOCH_AT, NONE);
    header[MAGIC_AT] = BATCH_MAGIC;
    writeInt16(header, ATTRIBUTES_AT, attributes);
    writeInt32(header, LAST_OFFSET_DELTA_AT, this.count - 1);
    writeInt64(header, BASE_TIMESTAMP_AT, this.baseTimestamp);
    writeInt64(header, MAX_TIMESTAMP_AT, this.maxTimestamp);
    writeInt64(header, PRODUCER_ID_AT, this.producer?.id ?? NONE);
    writeInt16(header, PRODUCER_EPOCH_AT, this.producer?.epoch ?? NONE);
    writeInt32(header, BASE_SEQUENCE_AT, this.producer?.baseSequence ?? NONE);
    writeInt32(header, RECORD_COUNT_AT, this.count);
  }

  private makeRoom(bytes: number): void {
    if (bytes <= this.buffer.length) return;
    if (bytes > BATCH_BYTES_MAX) throw new RangeError('a batch cannot be 2 GiB long');
    const larger = this.allocate(Math.min(Math.max(bytes, this.buffer.length * 2), BATCH_BYTES_MAX));
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
  }

  /** Nothing changes when the timestamp is refused. */
  private timestampDelta(timestamp: number): number {
    if (this.count === 0) {
      if (!Number.isSafeInteger(timestamp)) throw new RangeError(`timestamp ${timestamp} is no safe integer`);
      this.baseTimestamp = timestamp;
      this.maxTimestamp = timestamp;
    }
    const delta = timestamp - this.baseTimestamp;
    if (!Number.isSafeInteger(delta) || !Number.isSafeInteger(timestamp)) {
      throw new RangeError(`timestamp ${timestamp} is too far from ${this.baseTimestamp}`);
    }
    return delta;
  }

  /** Counts the record that was written up to `end`. */
  private appended(end: number, timestamp: number): number {
    const bytes = end - this.length;
    this.length = end;
    this.count++;
    if (timestamp > this.maxTimestamp) this.maxTimestamp = timestamp;
    return bytes;
  }

  private writeSpans(record: RecordSpans, timestampDelta: number): number {
    const { keyBytes, keyStart, keyEnd, valueBytes, valueStart, valueEnd } = record;
    const { buffer, count } = this;
    const keyLength = keyStart < 0 ? -1 : keyEnd - keyStart;
    const valueLength = valueStart < 0 ? -1 : valueEnd - valueStart;
    let body = 1 + varlongBytes(timestampDelta) + varintBytes(count) + 1;
    body += varintBytes(keyLength) + varintBytes(valueLength);
    if (keyLength > 0) body += keyLength;
    if (valueLength > 0) body += valueLength;

    let at = writeVarint(buffer, this.length, body);
    buffer[at++] = 0;
    at = writeVarlong(buffer, at, timestampDelta);
    at = writeVarint(buffer, at, count);
    at = writeVarint(buffer, at, keyLength);
    if (keyLength > 0) at = this.copyIn(at, keyBytes, keyStart, keyEnd);
    at = writeVarint(buffer, at, valueLength);
    if (valueLength > 0) at = this.copyIn(at, valueBytes, valueStart, valueEnd);
    buffer[at++] = 0;
    return at;
  }

  /** Answers where the record ends, or -1 when a string was not ASCII and the lengths before it are wrong. */
  private writeAsAscii(record: RecordInput, timestampDelta: number): number {
    const { key, value, headers } = record;
    const { buffer, count } = this;
    const keyLength = key === null ? -1 : key.length;
    const valueLength = value === null ? -1 : value.length;
    let body = 1 + varlongBytes(timestampDelta) + varintBytes(count);
    body += varintBytes(keyLength) + varintBytes(valueLength);
    if (keyLength > 0) body += keyLength;
    if (valueLength > 0) body += valueLength;
    body += headers === undefined ? 1 : headersBytes(headers, unitsOf);

    let at = writeVarint(buffer, this.length, body);
    buffer[at++] = 0;
    at = writeVarlong(buffer, at, timestampDelta);
    at = writeVarint(buffer, at, count);
    at = writeVarint(buffer, at, keyLength);
    if (keyLength > 0 && (at = put(buffer, at, key!)) < 0) return -1;
    at = writeVarint(buffer, at, valueLength);
    if (valueLength > 0 && (at = put(buffer, at, value!)) < 0) return -1;
    if (headers === undefined) {
      buffer[at++] = 0;
      return at;
    }
    at = writeVarint(buffer, at, headers.length);
    for (const header of headers) {
      at = writeVarint(buffer, at, header.key.length);
      if ((at = put(buffer, at, header.key)) < 0) return -1;
      at = writeVarint(buffer, at, unitsOf(header.value));
      if (header.value !== null && (at = put(buffer, at, header.value)) < 0) return -1;
    }
    return at;
  }

  /** A slice of other bytes, with no view made of it where a loop is as quick. Answers where it ends. */
  private copyIn(at: number, bytes: Uint8Array, start: number, end: number): number {
    const { buffer } = this;
    const length = end - start;
    if (length > LOOPED_SPAN_BYTES) buffer.set(bytes.subarray(start, end), at);
    else for (let index = 0; index < length; index++) buffer[at + index] = bytes[start + index]!;
    return at + length;
  }

  private writeMeasured(record: RecordInput, timestampDelta: number): number {
    const { buffer, count } = this;
    const headers = record.headers ?? [];
    const keyLength = bytesOf(record.key);
    const valueLength = bytesOf(record.value);
    this.expectsAscii = keyLength === unitsOf(record.key) && valueLength === unitsOf(record.value);
    const body =
      1 +
      varlongBytes(timestampDelta) +
      varintBytes(count) +
      varintBytes(keyLength) +
      Math.max(keyLength, 0) +
      varintBytes(valueLength) +
      Math.max(valueLength, 0) +
      headersBytes(headers, bytesOf);

    let at = writeVarint(buffer, this.length, body);
    buffer[at++] = 0;
    at = writeVarlong(buffer, at, timestampDelta);
    at = writeVarint(buffer, at, count);
    at = putMeasured(buffer, at, record.key);
    at = putMeasured(buffer, at, record.value);
    at = writeVarint(buffer, at, headers.length);
    for (const header of headers) {
      at = putMeasured(buffer, at, header.key);
      at = putMeasured(buffer, at, header.value);
    }
    return at;
  }
}

/** A batch of these records, at least one. */
export function encodeBatch(records: readonly RecordInput[], options: BatchOptions = {}): Uint8Array {
  const builder = new BatchBuilder(options);
  for (const record of records) builder.append(record);
  return builder.build();
}

export interface EpochStart {
  readonly epoch: number;
  readonly baseOffset: number;
  readonly timestamp: number;
}

/** The batch that begins a leader's term (control.ts): stamped already, without records, spanning no offset. */
export function encodeEpochStart(start: EpochStart): Uint8Array {
  if (!Number.isSafeInteger(start.timestamp)) throw new RangeError(`timestamp ${start.timestamp}`);
  const batch = new Uint8Array(BATCH_HEADER_BYTES);
  writeInt32(batch, LENGTH_AT, BATCH_HEADER_BYTES - BATCH_LENGTH_PREFIX);
  batch[MAGIC_AT] = BATCH_MAGIC;
  writeInt16(batch, ATTRIBUTES_AT, CONTROL_BIT);
  writeInt32(batch, LAST_OFFSET_DELTA_AT, SPANS_NO_OFFSET);
  writeInt64(batch, BASE_TIMESTAMP_AT, start.timestamp);
  writeInt64(batch, MAX_TIMESTAMP_AT, start.timestamp);
  writeInt64(batch, PRODUCER_ID_AT, NONE);
  writeInt16(batch, PRODUCER_EPOCH_AT, NONE);
  writeInt32(batch, BASE_SEQUENCE_AT, start.epoch);
  stampBatch(batch, { baseOffset: start.baseOffset, leaderEpoch: start.epoch });
  sealBatch(batch);
  return batch;
}

function assertProducer({ id, epoch, baseSequence }: ProducerStamp): void {
  if (!Number.isSafeInteger(id) || id < 0) throw new RangeError(`producer id ${id}`);
  if (epoch !== (epoch & 0x7fff)) throw new RangeError(`producer epoch ${epoch}`);
  if (baseSequence !== (baseSequence & 0x7fffffff)) throw new RangeError(`base sequence ${baseSequence}`);
}

function seal(batch: Uint8Array): Uint8Array {
  sealBatch(batch);
  return batch;
}

function join(unsealed: Uint8Array, compressed: Uint8Array): Uint8Array {
  const batch = allocate(BATCH_HEADER_BYTES + compressed.length);
  batch.set(unsealed.subarray(0, BATCH_HEADER_BYTES));
  batch.set(compressed, BATCH_HEADER_BYTES);
  writeInt32(batch, LENGTH_AT, batch.length - BATCH_LENGTH_PREFIX);
  return seal(batch);
}

/** Memory of its own, not a slice of Node's shared pool: a batch outlives its neighbours there. */
function allocate(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(bytes);
}

/** Room that certainly suffices for both ways of writing. */
function writableBytes(record: RecordInput): number {
  const { key, value, headers } = record;
  let bytes = RECORD_OVERHEAD_BYTES_MAX + fieldRoom(key) + fieldRoom(value);
  if (headers !== undefined) {
    for (const header of headers) {
      bytes += HEADER_OVERHEAD_BYTES_MAX + fieldRoom(header.key) + fieldRoom(header.value);
    }
  }
  return bytes;
}

function spansBytesMax(record: RecordSpans): number {
  const { keyStart, keyEnd, valueStart, valueEnd } = record;
  const keyLength = keyStart < 0 ? 0 : keyEnd - keyStart;
  const valueLength = valueStart < 0 ? 0 : valueEnd - valueStart;
  return RECORD_OVERHEAD_BYTES_MAX + keyLength + valueLength;
}

function fieldRoom(field: Uint8Array | string | null): number {
  if (field === null) return 0;
  return typeof field === 'string' ? field.length * UTF8_BYTES_PER_UNIT : field.length;
}

function fieldBytesMax(field: Uint8Array | string | null): number {
  if (typeof field === 'string' && field.length > UNMEASURED_TEXT_UNITS) return Buffer.byteLength(field, 'utf8');
  return fieldRoom(field);
}

/** The length of a field if it is ASCII. */
function unitsOf(field: Uint8Array | string | null): number {
  return field === null ? -1 : field.length;
}

/** The true length of a field. */
function bytesOf(field: Uint8Array | string | null): number {
  return typeof field === 'string' ? Buffer.byteLength(field, 'utf8') : unitsOf(field);
}

function headersBytes(headers: readonly HeaderInput[], lengthOf: typeof unitsOf): number {
  let bytes = varintBytes(headers.length);
  for (const header of headers) {
    const keyLength = lengthOf(header.key);
    const valueLength = lengthOf(header.value);
    bytes += varintBytes(keyLength) + keyLength + varintBytes(valueLength) + Math.max(valueLength, 0);
  }
  return bytes;
}

/** Answers where the field ends, or -1 for a string that is not ASCII. */
function put(buffer: Buffer, at: number, field: Uint8Array | string): number {
  const length = field.length;
  if (typeof field !== 'string') {
    if (length > LOOPED_COPY_BYTES) buffer.set(field, at);
    else for (let index = 0; index < length; index++) buffer[at + index] = field[index]!;
    return at + length;
  }
  if (length > LOOPED_TEXT_UNITS) {
    const written = buffer.write(field, at, length * UTF8_BYTES_PER_UNIT, 'utf8');
    return written === length ? at + length : -1;
  }
  for (let index = 0; index < length; index++) {
    const unit = field.charCodeAt(index);
    if (unit > 0x7f) return -1;
    buffer[at + index] = unit;
  }
  return at + length;
}

/** The field with its length before it. */
function putMeasured(buffer: Buffer, at: number, field: Uint8Array | string | null): number {
  const length = bytesOf(field);
  const from = writeVarint(buffer, at, length);
  if (field === null) return from;
  if (typeof field === 'string') buffer.write(field, from, length, 'utf8');
  else buffer.set(field, from);
  return from + length;
}

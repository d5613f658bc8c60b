// A record as it was read: a place in a batch, decoded when it is looked at.
//
// Making one costs a small object of small integers: where the key's length stands, where the value begins, and where the
// header count stands, which is where the value ends. Key, value and headers are made by the getters, which is what lets a
// program read millions a second and look at the few it wants. A decoded key or value is kept, so that looking twice
// gives the same object. Raw bytes are views of the batch, which stays in memory as long as one of its messages does:
// `copy()` is for keeping.
// Relies on a RecordCursor having stood on the record: every length was checked there.

import { NO_HEADERS, readVarint, type Header } from '@sluice/protocol/record';
import type { FieldCodec } from './field-codec.ts';
import { SluiceError } from './sluice-error.ts';

export type { Header } from '@sluice/protocol/record';

/** What is the same for all messages of one batch. */
export interface MessageSource<Key, Value> {
  readonly topic: ReadableTopic<Key, Value>;
  readonly partition: number;
  readonly baseOffset: number;
  readonly baseTimestamp: number;
  readonly leaderEpoch: number;
  /** The uncompressed records; positions point into it. */
  readonly bytes: Uint8Array;
}

/** The half of a topic that reading needs. */
export interface ReadableTopic<Key, Value> {
  readonly name: string;
  readonly key: Pick<FieldCodec<never, Key>, 'decode'>;
  readonly value: Pick<FieldCodec<never, Value>, 'decode'>;
}

/** Where the fields stand in the bytes of their source; a cursor that stands on a record is one. */
interface RecordPlace {
  readonly offset: number;
  readonly timestamp: number;
  /** Of the key's length. */
  readonly keyAt: number;
  /** -1: null. */
  readonly valueStart: number;
  /** Of the header count; the value ends here. */
  readonly headersAt: number;
}

const UNREAD: unique symbol = Symbol('unread');

export class Message<Key = Uint8Array, Value = Uint8Array> {
  private readonly source: MessageSource<Key, Value>;
  // Differences to the batch: small integers need no box of their own.
  private readonly offsetDelta: number;
  private readonly timestampDelta: number;
  private readonly keyAt: number;
  private readonly valueStart: number;
  private readonly headersAt: number;
  private decodedKey: Key | null | typeof UNREAD;
  private decodedValue: Value | null | typeof UNREAD;

  constructor(source: MessageSource<Key, Value>, place: RecordPlace) {
    this.source = source;
    this.offsetDelta = place.offset - source.baseOffset;
    this.timestampDelta = place.timestamp - source.baseTimestamp;
    this.keyAt = place.keyAt;
    this.valueStart = place.valueStart;
    this.headersAt = place.headersAt;
    this.decodedKey = UNREAD;
    this.decodedValue = UNREAD;
  }

  get topic(): string {
    return this.source.topic.name;
  }

  get partition(): number {
    return this.source.partition;
  }

  get offset(): number {
    return this.source.baseOffset + this.offsetDelta;
  }

  /** Milliseconds since 1970. */
  get timestamp(): number {
    return this.source.baseTimestamp + this.timestampDelta;
  }

  /** The term of the leader that took the record. */
  get leaderEpoch(): number {
    return this.source.leaderEpoch;
  }

  /** Null for a record without a key. Throws INVALID_REQUEST when the bytes are not what the topic's codec reads. */
  get key(): Key | null {
    if (this.decodedKey === UNREAD) {
      const stored = this.keyBytes;
      this.decodedKey = stored === null ? null : this.decode('key', this.source.topic.key, stored);
    }
    return this.decodedKey;
  }

  /** Null for a tombstone. Throws INVALID_REQUEST when the bytes are not what the topic's codec reads. */
  get value(): Value | null {
    if (this.decodedValue === UNREAD) {
      const stored = this.valueBytes;
      this.decodedValue = stored === null ? null : this.decode('value', this.source.topic.value, stored);
    }
    return this.decodedValue;
  }

  /** The key as stored: a view of the batch. */
  get keyBytes(): Uint8Array | null {
    const { bytes } = this.source;
    const span = { bytes, position: this.keyAt, limit: bytes.length };
    const length = readVarint(span);
    return length < 0 ? null : view(bytes, span.position, span.position + length);
  }

  /** The value as stored: a view of the batch. */
  get valueBytes(): Uint8Array | null {
    return this.valueStart < 0 ? null : view(this.source.bytes, this.valueStart, this.headersAt);
  }

  /** In order, repeats included; values are views of the batch. */
  get headers(): readonly Header[] {
    return readHeaders(this.source.bytes, this.headersAt).list;
  }

  /** The same message in memory of its own, free of the batch. */
  copy(): Message<Key, Value> {
    const { source, keyAt, valueStart, headersAt } = this;
    const place: RecordPlace = {
      offset: this.offset,
      timestamp: this.timestamp,
      keyAt: 0,
      valueStart: valueStart < 0 ? valueStart : valueStart - keyAt,
      headersAt: headersAt - keyAt,
    };
    const { end } = readHeaders(source.bytes, headersAt);
    // Not slice(): what a connection delivers is a Buffer, whose slice is a view.
    return new Message({ ...source, bytes: new Uint8Array(source.bytes.subarray(keyAt, end)) }, place);
  }

  /** What console.log shows; a field that cannot be decoded is shown as its error. */
  [Symbol.for('nodejs.util.inspect.custom')](): unknown {
    const { topic, partition, offset, timestamp, headers } = this;
    const shown = (read: () => unknown): unknown => {
      try {
        return read();
      } catch (error) {
        return error;
      }
    };
    const [key, value] = [shown(() => this.key), shown(() => this.value)];
    return { topic, partition, offset, timestamp, key, value, headers };
  }

  private decode<T>(field: 'key' | 'value', codec: Pick<FieldCodec<never, T>, 'decode'>, stored: Uint8Array): T {
    try {
      return codec.decode(stored);
    } catch (cause) {
      const { topic, partition, offset } = this;
      const reason = cause instanceof SluiceError ? cause.detail : String(cause);
      throw new SluiceError('INVALID_REQUEST', `the ${field} at offset ${offset} of ${topic}/${partition}: ${reason}`, {
        facts: { topic, partition, offset, field },
        cause,
      });
    }
  }
}

/** From the header count on. */
function readHeaders(bytes: Uint8Array, at: number): { list: readonly Header[]; end: number } {
  const span = { bytes, position: at, limit: bytes.length };
  const count = readVarint(span);
  if (count === 0) return { list: NO_HEADERS, end: span.position };
  const list: Header[] = [];
  for (let index = 0; index < count; index++) {
    const keyLength = readVarint(span);
    const keyStart = span.position;
    span.position += keyLength;
    const valueLength = readVarint(span);
    const valueStart = span.position;
    if (valueLength > 0) span.position += valueLength;
    const key = Buffer.from(bytes.buffer, bytes.byteOffset + keyStart, keyLength).toString('utf8');
    list.push({ key, value: valueLength < 0 ? null : view(bytes, valueStart, valueStart + valueLength) });
  }
  return { list, end: span.position };
}

function view(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}

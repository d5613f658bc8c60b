// A record as it was read in a browser: the shape of Node's message, over one record of a frame. Key and value are decoded
// when they are looked at, and kept. Nothing is shared between messages: `copy()` is here so that a program runs in both.

import type { FieldCodec } from '../field-codec.ts';
import { SluiceError } from '../sluice-error.ts';
import { fieldLength, fieldOf, type Field, type RecordDocument } from './wire.ts';

export interface Header {
  readonly key: string;
  readonly value: Uint8Array | null;
}

/** The half of a topic that reading needs. */
export interface ReadableTopic<Key, Value> {
  readonly name: string;
  readonly key: Pick<FieldCodec<never, Key>, 'decode' | 'decodeText'>;
  readonly value: Pick<FieldCodec<never, Value>, 'decode' | 'decodeText'>;
}

const UNREAD: unique symbol = Symbol('unread');
const encoder = new TextEncoder();

export class Message<Key = Uint8Array, Value = Uint8Array> {
  readonly #topic: ReadableTopic<Key, Value>;
  readonly #record: RecordDocument;
  #key: Key | null | typeof UNREAD = UNREAD;
  #value: Value | null | typeof UNREAD = UNREAD;

  constructor(topic: ReadableTopic<Key, Value>, record: RecordDocument) {
    this.#topic = topic;
    this.#record = record;
  }

  get topic(): string {
    return this.#topic.name;
  }

  get partition(): number {
    return this.#record.partition;
  }

  get offset(): number {
    return this.#record.offset;
  }

  /** Milliseconds since 1970. */
  get timestamp(): number {
    return this.#record.timestamp;
  }

  /** Null for a record without a key. Throws INVALID_REQUEST when the bytes are not what the topic's codec reads. */
  get key(): Key | null {
    if (this.#key === UNREAD) this.#key = this.#decode('key', this.#topic.key, keyOf(this.#record));
    return this.#key;
  }

  /** Null for a tombstone. Throws INVALID_REQUEST when the bytes are not what the topic's codec reads. */
  get value(): Value | null {
    if (this.#value === UNREAD) this.#value = this.#decode('value', this.#topic.value, valueOf(this.#record));
    return this.#value;
  }

  /** The key as stored. */
  get keyBytes(): Uint8Array | null {
    return bytesIn(keyOf(this.#record));
  }

  /** The value as stored. */
  get valueBytes(): Uint8Array | null {
    return bytesIn(valueOf(this.#record));
  }

  /** In order, repeats included. */
  get headers(): readonly Header[] {
    return this.#record.headers.map(({ key, value, value_base64 }) => ({
      key,
      value: bytesIn(fieldOf(value, value_base64)),
    }));
  }

  copy(): Message<Key, Value> {
    return this;
  }

  #decode<T>(
    name: 'key' | 'value',
    codec: Pick<FieldCodec<never, T>, 'decode' | 'decodeText'>,
    field: Field | null,
  ): T | null {
    if (field === null) return null;
    try {
      if (typeof field !== 'string') return codec.decode(field);
      return codec.decodeText === undefined ? codec.decode(encoder.encode(field)) : codec.decodeText(field);
    } catch (cause) {
      const { topic, partition, offset } = this;
      const reason = cause instanceof SluiceError ? cause.detail : String(cause);
      throw new SluiceError('INVALID_REQUEST', `the ${name} at offset ${offset} of ${topic}/${partition}: ${reason}`, {
        facts: { topic, partition, offset, field: name },
        cause,
      });
    }
  }
}

/** Bytes of key, value and headers, as the broker counts credit. */
export function storedBytes(record: RecordDocument): number {
  let bytes = fieldLength(keyOf(record)) + fieldLength(valueOf(record));
  for (const { key, value, value_base64 } of record.headers) {
    bytes += fieldLength(key) + fieldLength(fieldOf(value, value_base64));
  }
  return bytes;
}

const keyOf = ({ key, key_base64 }: RecordDocument): Field | null => fieldOf(key, key_base64);
const valueOf = ({ value_text, value_base64 }: RecordDocument): Field | null => fieldOf(value_text, value_base64);
const bytesIn = (field: Field | null): Uint8Array | null => (typeof field === 'string' ? encoder.encode(field) : field);

// Reads a record where it lies in JSON text: no object, no string, only where its key and its value begin and end, so that a batch
// is built straight from the bytes of the request. Parsing makes several times the record's size in garbage.
//
//   {"key": "user-1", "value": {"total": 12}, "timestamp": 17}
//            key            value, without the spaces     timestamp
//
// Only what lies there as it is stored can be read so: a record with headers, base64, an escape in its key or text, or with anything
// wrong, is NOT_PLAIN. Such a record is for readRecordForm, which also says what is wrong with it.
//
// Guarantees: what is read agrees with readRecordForm of the parsed text, the value equal as JSON (property test). That wide bytes are
// UTF-8 is for the caller to see. A value keeps the spelling of its numbers and strings, and a name that it has twice.

import type { RecordSpans } from '@sluice/protocol/record';
import { JSON_DEPTH_MAX } from '../base/limits.ts';
import { FAULT, JsonScan, literal, skipJson, skipSpace, skipString } from './json-bytes.ts';
import { ABSENT, PARTITION_MAX } from './record-json.ts';

/** In place of a position. */
export const NOT_PLAIN = FAULT;

const NO_BYTES = new Uint8Array(0);
/** Values with spaces are copied together in memory that is kept; longer ones are parsed. */
const COMPACTED_BYTES_MAX = 65_536;
const COMPACTED_BYTES = 4_096;
/** Longer numbers may not be safe integers. */
const DIGITS_MAX = 15;

const NO_FIELD = 0;
const KEY = 1;
const VALUE = 2;
const VALUE_TEXT = 4;
const PARTITION = 8;
const TIMESTAMP = 16;

/** The names with the quotes around them. */
const nameBytes = (name: string): Uint8Array => Uint8Array.from(Buffer.from(`"${name}"`));
const KEY_NAME = nameBytes('key');
const VALUE_NAME = nameBytes('value');
const VALUE_TEXT_NAME = nameBytes('value_text');
const PARTITION_NAME = nameBytes('partition');
const TIMESTAMP_NAME = nameBytes('timestamp');

/** One object for one record at a time; what it says is of the latest. */
export class RecordScan implements RecordSpans {
  keyBytes: Uint8Array = NO_BYTES;
  keyStart = ABSENT;
  keyEnd = ABSENT;
  valueBytes: Uint8Array = NO_BYTES;
  valueStart = ABSENT;
  valueEnd = ABSENT;
  /** ABSENT when the client left it to the gateway. */
  timestamp = ABSENT;
  /** ABSENT when the client left it to the gateway. */
  partition = ABSENT;
  readonly #json = new JsonScan(JSON_DEPTH_MAX);
  #compacted = NO_BYTES;

  get hasWideBytes(): boolean {
    return this.#json.hasWideBytes;
  }

  /** From the record's first byte to behind its last, or NOT_PLAIN. */
  record(bytes: Uint8Array, from: number): number {
    this.#begin();
    const end = bytes.length;
    const json = this.#json;
    if (from >= end || bytes[from] !== 0x7b) return NOT_PLAIN;
    let seen = 0;
    let at = from;
    do {
      at = skipSpace(bytes, at + 1, end, json);
      const field = fieldAt(bytes, at);
      if (field === NO_FIELD || (seen & field) !== 0) return NOT_PLAIN;
      seen |= field;
      at = skipSpace(bytes, at + nameOf(field).length, end, json);
      if (at >= end || bytes[at] !== 0x3a) return NOT_PLAIN;
      at = this.#member(field, bytes, skipSpace(bytes, at + 1, end, json));
      if (at === NOT_PLAIN) return NOT_PLAIN;
      at = skipSpace(bytes, at, end, json);
      if (at >= end) return NOT_PLAIN;
    } while (bytes[at] === 0x2c);
    const valueForms = seen & (VALUE | VALUE_TEXT);
    return bytes[at] === 0x7d && (valueForms === VALUE || valueForms === VALUE_TEXT) ? at + 1 : NOT_PLAIN;
  }

  /** True when the line is one record and nothing else. */
  recordLine(line: Uint8Array): boolean {
    const behind = this.record(line, skipSpace(line, 0, line.length, this.#json));
    return behind !== NOT_PLAIN && skipSpace(line, behind, line.length, this.#json) === line.length;
  }

  /** True when the line is one value and nothing else. */
  valueLine(line: Uint8Array): boolean {
    this.#begin();
    const behind = this.#value(line, skipSpace(line, 0, line.length, this.#json));
    return behind !== NOT_PLAIN && skipSpace(line, behind, line.length, this.#json) === line.length;
  }

  /** A value of these bytes, whatever they are. */
  text(bytes: Uint8Array): void {
    this.#begin();
    this.valueBytes = bytes;
    this.valueStart = 0;
    this.valueEnd = bytes.length;
  }

  #begin(): void {
    this.keyStart = ABSENT;
    this.valueStart = ABSENT;
    this.timestamp = ABSENT;
    this.partition = ABSENT;
    this.#json.hasWideBytes = false;
    this.#json.escapeAt = ABSENT;
  }

  #member(field: number, bytes: Uint8Array, at: number): number {
    if (at >= bytes.length) return NOT_PLAIN;
    switch (field) {
      case KEY: {
        if (bytes[at] === 0x6e) return literal(bytes, at, bytes.length, 'null');
        const behind = this.#text(bytes, at);
        this.keyBytes = bytes;
        this.keyStart = at + 1;
        this.keyEnd = behind - 1;
        return behind;
      }
      case VALUE:
        return this.#value(bytes, at);
      case VALUE_TEXT: {
        const behind = this.#text(bytes, at);
        this.valueBytes = bytes;
        this.valueStart = at + 1;
        this.valueEnd = behind - 1;
        return behind;
      }
      default:
        return this.#integer(field, bytes, at);
    }
  }

  #value(bytes: Uint8Array, at: number): number {
    const json = this.#json;
    json.hasSpace = false;
    json.hasOddName = false;
    const behind = skipJson(bytes, at, bytes.length, json);
    if (behind === FAULT || json.hasOddName) return NOT_PLAIN;
    if (bytes[at] === 0x6e) return behind;
    if (json.hasSpace) return this.#compact(bytes, at, behind) ? behind : NOT_PLAIN;
    this.valueBytes = bytes;
    this.valueStart = at;
    this.valueEnd = behind;
    return behind;
  }

  /** A string without escapes: what is between its quotes is what it says. */
  #text(bytes: Uint8Array, at: number): number {
    if (bytes[at] !== 0x22) return NOT_PLAIN;
    const behind = skipString(bytes, at, bytes.length, this.#json);
    return behind === FAULT || this.#json.escapeAt > at ? NOT_PLAIN : behind;
  }

  #integer(field: number, bytes: Uint8Array, from: number): number {
    let at = from;
    let value = 0;
    for (; at < bytes.length; at++) {
      const digit = bytes[at]! - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = at - from;
    if (digits === 0 || digits > DIGITS_MAX || (digits > 1 && bytes[from] === 0x30)) return NOT_PLAIN;
    if (field === TIMESTAMP) this.timestamp = value;
    else if (value > PARTITION_MAX) return NOT_PLAIN;
    else this.partition = value;
    return at;
  }

  /** The value without the spaces between its tokens. */
  #compact(bytes: Uint8Array, from: number, end: number): boolean {
    if (end - from > COMPACTED_BYTES_MAX) return false;
    if (end - from > this.#compacted.length) this.#compacted = new Uint8Array(Math.max(end - from, COMPACTED_BYTES));
    const into = this.#compacted;
    let length = 0;
    let isInside = false;
    for (let at = from; at < end; at++) {
      const byte = bytes[at]!;
      if (byte <= 0x20 && !isInside) continue;
      into[length++] = byte;
      if (byte === 0x22) isInside = !isInside;
      else if (byte === 0x5c) into[length++] = bytes[++at]!;
    }
    this.valueBytes = into;
    this.valueStart = 0;
    this.valueEnd = length;
    return true;
  }
}

const fieldAt = (bytes: Uint8Array, at: number): number => {
  if (at + 1 >= bytes.length) return NO_FIELD;
  switch (bytes[at + 1]!) {
    case 0x6b:
      return isAt(bytes, at, KEY_NAME) ? KEY : NO_FIELD;
    case 0x76:
      return isAt(bytes, at, VALUE_NAME) ? VALUE : isAt(bytes, at, VALUE_TEXT_NAME) ? VALUE_TEXT : NO_FIELD;
    case 0x70:
      return isAt(bytes, at, PARTITION_NAME) ? PARTITION : NO_FIELD;
    case 0x74:
      return isAt(bytes, at, TIMESTAMP_NAME) ? TIMESTAMP : NO_FIELD;
    default:
      return NO_FIELD;
  }
};

const nameOf = (field: number): Uint8Array => {
  switch (field) {
    case KEY:
      return KEY_NAME;
    case VALUE:
      return VALUE_NAME;
    case VALUE_TEXT:
      return VALUE_TEXT_NAME;
    default:
      return field === PARTITION ? PARTITION_NAME : TIMESTAMP_NAME;
  }
};

const isAt = (bytes: Uint8Array, at: number, name: Uint8Array): boolean => {
  if (at + name.length > bytes.length) return false;
  for (let index = 0; index < name.length; index++) if (bytes[at + index] !== name[index]) return false;
  return true;
};

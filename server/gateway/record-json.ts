// The JSON form of a record, in both directions, shared by every door that speaks JSON.
//
//   written:    {key? | key_base64?, value | value_text | value_base64, headers?, partition?, timestamp?}
//   read back:  {topic, partition, offset, timestamp, key | key_base64, value | value_text | value_base64, headers}
//
// readRecordForm is the hand-written equal of the schema `Record` in openapi.yaml: validating a thousand records by the
// compiled schema costs more than storing them (a property test holds the two together). Rendering walks a RecordCursor
// and splices stored JSON into a TextBuffer; nothing is parsed into objects.
//
// Guarantees: no input throws; what is refused names its field.

import { isUtf8 } from 'node:buffer';
import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import type { HeaderInput, RecordCursor } from '@sluice/protocol/record';
import { recordHeaders } from '@sluice/protocol/record';
import { judgeJson } from './json-bytes.ts';
import { structureFault } from './json-text.ts';
import type { TextBuffer } from './text-buffer.ts';

/** A record as a client wrote it, ready to be appended once its timestamp is set. */
export interface WrittenRecord {
  readonly kind: 'record';
  key: Uint8Array | string | null;
  readonly value: Uint8Array | string | null;
  readonly headers: readonly HeaderInput[];
  /** ABSENT when the client left it to the gateway. */
  timestamp: number;
  /** ABSENT when the client left it to the gateway. */
  readonly partition: number;
}

export interface FormFault {
  readonly kind: 'fault';
  readonly field: string;
  readonly detail: string;
}

export const ABSENT = -1;
export const PARTITION_MAX = 0x7fffffff;

const LINE_END = 0x0a;

const NO_HEADERS: readonly HeaderInput[] = Object.freeze([]);
const standardBase64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const fault = (field: string, detail: string): FormFault => ({ kind: 'fault', field, detail });

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A parsed JSON value to a record, or the first thing that is wrong with it. */
export const readRecordForm = (form: unknown): WrittenRecord | FormFault => {
  if (!isObject(form)) return fault('', 'a record must be an object');
  let key: Uint8Array | string | null = null;
  let value: Uint8Array | string | null = null;
  let headers = NO_HEADERS;
  let timestamp = ABSENT;
  let partition = ABSENT;
  let keyForms = 0;
  let valueForms = 0;
  for (const name in form) {
    const member = form[name];
    switch (name) {
      case 'value': {
        valueForms++;
        if (member === null) break;
        const wrong = structureFault(member);
        if (wrong !== null) return fault('value', `value ${wrong}`);
        value = JSON.stringify(member);
        break;
      }
      case 'value_text':
        valueForms++;
        if (typeof member !== 'string') return fault(name, 'value_text must be a string');
        if (!member.isWellFormed()) return fault(name, 'value_text must not hold half of a surrogate pair');
        value = member;
        break;
      case 'value_base64': {
        valueForms++;
        const bytes = base64Bytes(member);
        if (bytes === null) return fault(name, 'value_base64 must be base64');
        value = bytes;
        break;
      }
      case 'key':
        keyForms++;
        if (member === null) break;
        if (typeof member !== 'string') return fault(name, 'key must be a string or null');
        if (!member.isWellFormed()) return fault(name, 'key must not hold half of a surrogate pair');
        key = member;
        break;
      case 'key_base64': {
        keyForms++;
        const bytes = base64Bytes(member);
        if (bytes === null) return fault(name, 'key_base64 must be base64');
        key = bytes;
        break;
      }
      case 'headers': {
        const read = readHeaderForm(member);
        if ('kind' in read) return read;
        headers = read;
        break;
      }
      case 'partition':
        if (!isIntegerIn(member, PARTITION_MAX)) {
          return fault(name, `partition must be an integer from 0 to ${PARTITION_MAX}`);
        }
        partition = member;
        break;
      case 'timestamp':
        if (!isIntegerIn(member, Number.MAX_SAFE_INTEGER)) {
          return fault(name, 'timestamp must be a whole number of milliseconds, not negative');
        }
        timestamp = member;
        break;
      default:
        return fault(name, `a record has no field ${JSON.stringify(name)}`);
    }
  }
  if (valueForms !== 1) {
    const detail =
      valueForms === 0
        ? 'a record needs one of value, value_text and value_base64'
        : 'a record takes only one of value, value_text and value_base64';
    return fault('value', detail);
  }
  if (keyForms > 1) return fault('key', 'a record takes only one of key and key_base64');
  return { kind: 'record', key, value, headers, timestamp, partition };
};

/** The member `records` of a produce request. */
export const readRecordList = (list: unknown): Result<readonly WrittenRecord[]> => {
  if (!Array.isArray(list) || list.length === 0) {
    return refused('INVALID_REQUEST', 'records must be a list of at least one record', { field: 'records' });
  }
  const records: WrittenRecord[] = [];
  for (let index = 0; index < list.length; index++) {
    const record = readRecordForm(list[index]);
    if (record.kind === 'fault') {
      return refused('INVALID_REQUEST', `record ${index}: ${record.detail}`, { index, field: record.field });
    }
    records.push(record);
  }
  return accepted(records);
};

/** Headers as an object of strings, or as a list that keeps order, repeats and nulls. */
export const readHeaderForm = (form: unknown): readonly HeaderInput[] | FormFault => {
  if (Array.isArray(form)) return readHeaderList(form);
  if (!isObject(form)) return fault('headers', 'headers must be an object of strings or a list');
  const headers: HeaderInput[] = [];
  for (const key in form) {
    const value = form[key];
    if (key === '__proto__') return fault('headers', 'headers has a member named __proto__');
    if (typeof value !== 'string') return fault(`headers.${key}`, `the header ${JSON.stringify(key)} must be a string`);
    if (!key.isWellFormed() || !value.isWellFormed()) {
      return fault(`headers.${key}`, 'a header must not hold half of a surrogate pair');
    }
    headers.push({ key, value });
  }
  return headers;
};

const readHeaderList = (list: readonly unknown[]): readonly HeaderInput[] | FormFault => {
  const headers: HeaderInput[] = [];
  for (const [index, item] of list.entries()) {
    const field = `headers[${index}]`;
    if (!isObject(item)) return fault(field, 'a header must be an object {key, value | value_base64}');
    let key: string | undefined;
    let value: Uint8Array | string | null | undefined;
    let forms = 0;
    for (const name in item) {
      const member = item[name];
      if (name === 'key' && typeof member === 'string' && member.isWellFormed()) key = member;
      else if (name === 'value' && (member === null || (typeof member === 'string' && member.isWellFormed()))) {
        value = member;
        forms++;
      } else if (name === 'value_base64') {
        const bytes = base64Bytes(member);
        if (bytes === null) return fault(`${field}.value_base64`, 'value_base64 must be base64');
        value = bytes;
        forms++;
      } else if (name === 'key' || name === 'value') {
        return fault(`${field}.${name}`, `a header's ${name} must be a string${name === 'value' ? ' or null' : ''}`);
      } else return fault(`${field}.${name}`, `a header has no field ${JSON.stringify(name)}`);
    }
    if (key === undefined) return fault(`${field}.key`, 'a header needs a key');
    if (forms !== 1 || value === undefined) {
      return fault(`${field}.value`, 'a header needs one of value and value_base64');
    }
    headers.push({ key, value });
  }
  return headers;
};

const isIntegerIn = (value: unknown, max: number): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= max;

/** Standard base64 with its padding; null for anything else. */
export const base64Bytes = (value: unknown): Uint8Array | null =>
  typeof value === 'string' && standardBase64.test(value) ? Buffer.from(value, 'base64') : null;

/** A value that stands alone (`envelope=none`): null is a tombstone, as it is inside a record. */
export const bareValue = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));

/** How values are given: as what they are, or all in one form. Bytes that are no UTF-8 are base64 in every form. */
export type ValueForm = 'auto' | 'text' | 'base64';

/** What stands before the offset of each record of one partition. */
export const recordPrefix = (topic: string, partition: number): string =>
  `{"topic":${JSON.stringify(topic)},"partition":${partition},"offset":`;

/** Writes the record that the cursor stands on. */
export const renderRecord = (cursor: RecordCursor, prefix: string, form: ValueForm, out: TextBuffer): void => {
  out.ascii(prefix);
  out.integer(cursor.offset);
  out.ascii(',"timestamp":');
  out.integer(cursor.timestamp);
  if (cursor.keyStart < 0) out.ascii(',"key":null');
  else renderBytes(cursor.bytes, cursor.keyStart, cursor.keyEnd, 'key', out);
  renderValue(cursor, form, out);
  if (cursor.headerCount === 0) out.ascii(',"headers":[]}');
  else renderHeaders(cursor, out);
};

/** The value alone as a line. False for a tombstone, which has none to show. */
export const renderValueLine = (cursor: RecordCursor, form: ValueForm, out: TextBuffer): boolean => {
  if (cursor.valueStart < 0) return false;
  if (form === 'base64') out.base64(cursor.bytes, cursor.valueStart, cursor.valueEnd);
  else out.bytes(cursor.bytes, cursor.valueStart, cursor.valueEnd);
  out.byte(LINE_END);
  return true;
};

const renderValue = (cursor: RecordCursor, form: ValueForm, out: TextBuffer): void => {
  const { bytes, valueStart: start, valueEnd: end } = cursor;
  if (start < 0) {
    out.ascii(',"value":null');
    return;
  }
  if (form === 'base64') {
    renderBase64(bytes, start, end, 'value', out);
    return;
  }
  const verdict = form === 'text' ? 'not-json' : judgeJson(bytes, start, end);
  if (verdict === 'json' || verdict === 'json-lines') {
    out.ascii(',"value":');
    if (verdict === 'json') out.bytes(bytes, start, end);
    else out.singleLine(bytes, start, end);
    return;
  }
  if (!renderText(bytes, start, end, 'value_text', out)) renderBase64(bytes, start, end, 'value', out);
};

const renderHeaders = (cursor: RecordCursor, out: TextBuffer): void => {
  out.ascii(',"headers":[');
  let separator = '{"key":';
  for (const { key, value } of recordHeaders(cursor)) {
    out.ascii(separator);
    separator = ',{"key":';
    out.utf8(JSON.stringify(key));
    if (value === null) out.ascii(',"value":null');
    else renderBytes(value, 0, value.length, 'value', out);
    out.byte(0x7d);
  }
  out.ascii(']}');
};

/** `name` as a string where the bytes are UTF-8, else `name_base64`. */
const renderBytes = (bytes: Uint8Array, start: number, end: number, name: string, out: TextBuffer): void => {
  if (!renderText(bytes, start, end, name, out)) renderBase64(bytes, start, end, name, out);
};

const renderBase64 = (bytes: Uint8Array, start: number, end: number, name: string, out: TextBuffer): void => {
  out.ascii(`,"${name}_base64":"`);
  out.base64(bytes, start, end);
  out.byte(0x22);
};

/** False, with nothing written, when the bytes are not UTF-8. */
const renderText = (bytes: Uint8Array, start: number, end: number, name: string, out: TextBuffer): boolean => {
  if (needsNoEscape(bytes, start, end)) {
    out.ascii(`,"${name}":"`);
    out.bytes(bytes, start, end);
    out.byte(0x22);
    return true;
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start);
  if (!isUtf8(text)) return false;
  out.ascii(`,"${name}":`);
  out.utf8(JSON.stringify(text.toString('utf8')));
  return true;
};

const needsNoEscape = (bytes: Uint8Array, start: number, end: number): boolean => {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c) return false;
  }
  return true;
};

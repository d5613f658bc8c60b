// One line of input to one record, in the three forms that `produce --input` knows.
//
//   text    the line is the value; --key-separator splits the key off at its first occurrence
//   json    the line is one JSON value and is stored as it stands (outer blanks off); `null` is a tombstone
//   record  one record object, in the form in which the HTTP door takes records
//
// Guarantees: answers a record or what is wrong with the line, never throws. The record form is the HTTP door's: a
// property test holds the two together. It is written again here because the command line is a client: it knows the
// wire and the SDK, and nothing of the server's doors.

import { isUtf8 } from 'node:buffer';
import type { ProducerRecord } from '@sluice/client';
import { JSON_DEPTH_MAX } from '../base/limits.ts';

type Bytes = Uint8Array | string;
export type LineRecord = ProducerRecord<Bytes, Bytes>;

export type LineReading =
  | { readonly ok: true; readonly record: LineRecord }
  | { readonly ok: false; readonly reason: string };

export type LineForm = (line: Uint8Array) => LineReading;

interface HeaderItem {
  readonly key: string;
  readonly value: Bytes | null;
}

const PARTITION_MAX = 0x7fffffff;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const wrong = (reason: string): { readonly ok: false; readonly reason: string } => ({ ok: false, reason });

export const textForm = (keySeparator: string | null): LineForm => {
  if (keySeparator === null) return line => ({ ok: true, record: { value: line } });
  const separator = Buffer.from(keySeparator, 'utf8');
  return line => {
    const at = Buffer.from(line.buffer, line.byteOffset, line.byteLength).indexOf(separator);
    if (at < 0) return wrong(`there is no key separator ${JSON.stringify(keySeparator)} in the line`);
    return { ok: true, record: { key: line.subarray(0, at), value: line.subarray(at + separator.length) } };
  };
};

export const jsonForm: LineForm = line => {
  const text = lineText(line);
  if (text === null) return wrong('the line is not UTF-8');
  const parsed = parseJson(text);
  if (!parsed.ok) return wrong(`the line is not a JSON value (${parsed.reason})`);
  const fault = structureFault(parsed.value, JSON_DEPTH_MAX);
  if (fault !== null) return wrong(`the value ${fault}`);
  return { ok: true, record: { value: parsed.value === null ? null : text.trim() } };
};

export const recordForm: LineForm = line => {
  const text = lineText(line);
  if (text === null) return wrong('the line is not UTF-8');
  const parsed = parseJson(text);
  if (!parsed.ok) return wrong(`the line is not a JSON object (${parsed.reason})`);
  return readRecord(parsed.value);
};

const readRecord = (form: unknown): LineReading => {
  if (!isObject(form)) return wrong('a record must be an object');
  let key: Bytes | null | undefined;
  let value: Bytes | null | undefined;
  let headers: readonly HeaderItem[] = [];
  let partition: number | undefined;
  let timestamp: number | undefined;
  for (const [name, member] of Object.entries(form)) {
    switch (name) {
      case 'key':
      case 'key_base64': {
        if (key !== undefined) return wrong('a record takes only one of key and key_base64');
        if (name === 'key' && member === null) key = null;
        else if (name === 'key' && isText(member)) key = member;
        else if (name === 'key_base64' && isBase64(member)) key = Buffer.from(member, 'base64');
        else return wrong(name === 'key' ? 'key must be a string or null' : 'key_base64 must be base64');
        break;
      }
      case 'value':
      case 'value_text':
      case 'value_base64': {
        if (value !== undefined) return wrong('a record takes only one of value, value_text and value_base64');
        const read = readValue(name, member);
        if (!read.ok) return read;
        value = read.value;
        break;
      }
      case 'headers': {
        const read = Array.isArray(member) ? readHeaderList(member) : readHeaderObject(member);
        if (typeof read === 'string') return wrong(read);
        headers = read;
        break;
      }
      case 'partition':
        if (!isWholeUpTo(member, PARTITION_MAX))
          return wrong(`partition must be an integer from 0 to ${PARTITION_MAX}`);
        partition = member;
        break;
      case 'timestamp':
        if (!isWholeUpTo(member, Number.MAX_SAFE_INTEGER)) {
          return wrong('timestamp must be a whole number of milliseconds, not negative');
        }
        timestamp = member;
        break;
      default:
        return wrong(`a record has no field ${JSON.stringify(name)}`);
    }
  }
  if (value === undefined) return wrong('a record needs one of value, value_text and value_base64');
  return { ok: true, record: { key: key ?? null, value, headers, partition, timestamp } };
};

type ValueReading =
  | { readonly ok: true; readonly value: Bytes | null }
  | { readonly ok: false; readonly reason: string };

const readValue = (name: 'value' | 'value_text' | 'value_base64', member: unknown): ValueReading => {
  if (name === 'value_text') return isText(member) ? { ok: true, value: member } : wrong('value_text must be a string');
  if (name === 'value_base64') {
    return isBase64(member) ? { ok: true, value: Buffer.from(member, 'base64') } : wrong('value_base64 must be base64');
  }
  const fault = structureFault(member, JSON_DEPTH_MAX);
  if (fault !== null) return wrong(`value ${fault}`);
  return { ok: true, value: member === null ? null : JSON.stringify(member) };
};

const readHeaderObject = (form: unknown): readonly HeaderItem[] | string => {
  if (!isObject(form)) return 'headers must be an object of strings or a list';
  const headers: HeaderItem[] = [];
  for (const [key, value] of Object.entries(form)) {
    if (key === '__proto__' || !isText(key)) return `the header name ${JSON.stringify(key)} cannot be used`;
    if (!isText(value)) return `the header ${JSON.stringify(key)} must be a string`;
    headers.push({ key, value });
  }
  return headers;
};

const readHeaderList = (list: readonly unknown[]): readonly HeaderItem[] | string => {
  const headers: HeaderItem[] = [];
  for (const [index, item] of list.entries()) {
    if (!isObject(item)) return `headers[${index}] must be an object {key, value | value_base64}`;
    const { key, value, value_base64: base64, ...unknown } = item;
    const extra = Object.keys(unknown)[0];
    if (extra !== undefined) return `headers[${index}] has a field ${JSON.stringify(extra)} that no header has`;
    if (!isText(key)) return `headers[${index}] needs a key, a string`;
    if ((value === undefined) === (base64 === undefined))
      return `headers[${index}] needs one of value and value_base64`;
    if (base64 === undefined) {
      if (value !== null && !isText(value)) return `headers[${index}].value must be a string or null`;
      headers.push({ key, value });
    } else {
      if (!isBase64(base64)) return `headers[${index}].value_base64 must be base64`;
      headers.push({ key, value: Buffer.from(base64, 'base64') });
    }
  }
  return headers;
};

/** One byte order mark at the start is dropped, as the HTTP door does. */
const lineText = (line: Uint8Array): string | null => {
  if (!isUtf8(line)) return null;
  const text = Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString('utf8');
  return text.startsWith('\ufeff') ? text.slice(1) : text;
};

interface RawJson {
  rawJSON(text: string): object;
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
}

/** The compiler's library does not know these yet; every Node since 21 has them. */
const rawJson = JSON as unknown as RawJson;

/** May hold a number whose digits a double would change: sixteen digits and more, or an exponent. */
const EXACTING = /\d[\d.]{15}|\d[eE]/;

/** Numbers that a double cannot hold come back as raw JSON, which JSON.stringify writes with all their digits. */
const parseJson = (
  text: string,
): { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly reason: string } => {
  try {
    if (!EXACTING.test(text)) return { ok: true, value: JSON.parse(text) as unknown };
    const value = rawJson.parse(text, (_, member, { source }) =>
      typeof member !== 'number' || source === undefined || String(member) === source
        ? member
        : rawJson.rawJSON(source),
    );
    return { ok: true, value };
  } catch (error) {
    return wrong(error instanceof SyntaxError ? error.message : 'it is nested too deeply');
  }
};

/** Null when the value may be stored, else what is wrong with it. */
const structureFault = (value: unknown, depthLeft: number): string | null => {
  if (typeof value !== 'object' || value === null) return null;
  if (depthLeft === 0) return `is nested deeper than ${JSON_DEPTH_MAX}`;
  for (const [name, member] of Object.entries(value)) {
    if (name === '__proto__') return 'has a member named __proto__';
    const fault = structureFault(member, depthLeft - 1);
    if (fault !== null) return fault;
  }
  return null;
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A string that UTF-8 can hold: half of a surrogate pair would be stored as something else. */
const isText = (value: unknown): value is string => typeof value === 'string' && value.isWellFormed();

const isBase64 = (value: unknown): value is string => typeof value === 'string' && BASE64.test(value);

const isWholeUpTo = (value: unknown, max: number): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= max;

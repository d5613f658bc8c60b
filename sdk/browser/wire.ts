// The JSON of the WebSocket and REST doors, as far as the client reads it, and bytes in it.
//
// Bytes that are UTF-8 travel as text, the rest as base64, so that what is read is to the byte what was stored.

import { isErrorCode, type Facts } from '@sluice/protocol/errors';
import { SluiceError } from '../sluice-error.ts';

/** A field's bytes: the text that they are, or the bytes themselves. */
export type Field = string | Uint8Array;

export interface RecordDocument {
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key?: string | null;
  readonly key_base64?: string;
  /** Only null: values are asked for as text. */
  readonly value?: null;
  readonly value_text?: string;
  readonly value_base64?: string;
  readonly headers: readonly { readonly key: string; readonly value?: string | null; readonly value_base64?: string }[];
}

export type ProblemDocument = Readonly<Record<string, unknown>>;

export interface PlaceDocument {
  readonly partition: number;
  readonly offset?: number;
  readonly timestamp?: number;
  readonly problem?: ProblemDocument;
}

export interface Frame {
  readonly op?: string;
  readonly id?: number;
  readonly subscription?: string;
  readonly offsets?: readonly PlaceDocument[];
  readonly records?: readonly RecordDocument[];
  readonly cursor?: string;
  readonly problem?: ProblemDocument;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

type IsIt = (value: unknown) => boolean;

const isText: IsIt = value => typeof value === 'string';
const isTextOrNull: IsIt = value => value === null || typeof value === 'string';
const isWhole: IsIt = value => Number.isSafeInteger(value);
/** What a record says of itself may be beyond 2^53. */
const isTime: IsIt = value => Number.isInteger(value);
const isBase64: IsIt = value =>
  typeof value === 'string' && value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value);

/** Members that are there are what they should be; those named in `needed` are there. */
function isMade(members: Readonly<Record<string, IsIt>>, needed: readonly string[] = []): IsIt {
  const checks = Object.entries(members).map(([name, isRight]) => ({ name, isRight, isNeeded: needed.includes(name) }));
  return value => {
    if (!isObject(value)) return false;
    for (const { name, isRight, isNeeded } of checks) {
      const found = value[name];
      if (found === undefined ? isNeeded : !isRight(found)) return false;
    }
    return true;
  };
}

const isListOf =
  (isRight: IsIt): IsIt =>
  value =>
    Array.isArray(value) && value.every(isRight);

const isHeader = isMade({ key: isText, value: isTextOrNull, value_base64: isBase64 }, ['key']);
const isRecord = isMade(
  {
    partition: isWhole,
    offset: isWhole,
    timestamp: isTime,
    key: isTextOrNull,
    key_base64: isBase64,
    value_text: isText,
    value_base64: isBase64,
    headers: isListOf(isHeader),
  },
  ['partition', 'offset', 'timestamp', 'headers'],
);
const isPlace = isMade({ partition: isWhole, offset: isWhole, timestamp: isTime, problem: isObject }, ['partition']);
const isFrame = isMade({
  op: isText,
  id: isWhole,
  subscription: isText,
  offsets: isListOf(isPlace),
  records: isListOf(isRecord),
  cursor: isText,
  problem: isObject,
});

/** Null for what no broker sends: something else may stand at its address. */
export function readFrame(text: string): Frame | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  return isFrame(parsed) ? (parsed as Frame) : null;
}

/** Members of every problem document; the rest are facts. */
const FIXED = new Set(['type', 'title', 'status', 'detail', 'code', 'retriable', 'request_id', 'outcome']);

export function errorOf(document: ProblemDocument): SluiceError {
  const facts: Record<string, Facts[string]> = {};
  for (const [name, value] of Object.entries(document)) {
    if (!FIXED.has(name) && (value === null || ['string', 'number', 'boolean'].includes(typeof value))) {
      facts[name] = value as Facts[string];
    }
  }
  const code = String(document['code']);
  const detail = typeof document['detail'] === 'string' ? document['detail'] : 'the broker gave no reason';
  // A code of a newer broker.
  if (!isErrorCode(code)) return new SluiceError('INTERNAL', detail, { facts: { ...facts, code } });
  const isUnknown = document['outcome'] === 'unknown' || code === 'REQUEST_TIMED_OUT';
  return new SluiceError(code, detail, { facts, outcome: isUnknown ? 'unknown' : undefined });
}

const CHUNK = 0x8000;

export function base64Of(bytes: Uint8Array): string {
  let binary = '';
  for (let at = 0; at < bytes.length; at += CHUNK) binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(binary);
}

export function bytesOf(base64: string): Uint8Array {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/** How many bytes the text takes as UTF-8. */
export function utf8Length(text: string): number {
  let length = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    // Half of a pair counts two, so that a pair is four.
    length += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2;
  }
  return length;
}

export const fieldLength = (field: Field | null): number =>
  field === null ? 0 : typeof field === 'string' ? utf8Length(field) : field.length;

/** Absent and null alike: null. */
export function fieldOf(text: string | null | undefined, base64: string | undefined): Field | null {
  if (typeof text === 'string') return text;
  return base64 === undefined ? null : bytesOf(base64);
}

/** `"NAME":"…"`, or `"NAME_base64":"…"`. Half of a surrogate pair becomes U+FFFD, as in every encoder of UTF-8. */
export const member = (name: { readonly text: string; readonly base64: string }, field: Field): string =>
  typeof field === 'string'
    ? `"${name.text}":${JSON.stringify(field.toWellFormed())}`
    : `"${name.base64}":"${base64Of(field)}"`;

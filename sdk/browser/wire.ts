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

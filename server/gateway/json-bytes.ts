// Judges stored bytes: are they JSON, and may they be spliced into an answer as they are?
//
//   not-json     not JSON text (RFC 8259), or not UTF-8
//   null         the bare text null, which would look like a tombstone
//   json         JSON on one line
//   json-lines   JSON with line ends between its tokens; they must not reach a line-based rendering
//
// Guarantees: agrees with JSON.parse over a fatal UTF-8 decoder on every input (property test); does not recurse, so
// nesting costs memory in proportion to the value and never the stack; looks at each byte a bounded number of times.

import { isUtf8 } from 'node:buffer';

export type JsonVerdict = 'not-json' | 'null' | 'json' | 'json-lines';

const OBJECT = 1;
const ARRAY = 0;
/** In place of a position: this is not JSON. */
const FAULT = -1;

/** Where the scan stands; one object for one call at a time, so that scanning allocates nothing. */
interface Scan {
  hasLineEnds: boolean;
  hasWideBytes: boolean;
}

export const judgeJson = (bytes: Uint8Array, start: number, end: number): JsonVerdict => {
  const scan: Scan = { hasLineEnds: false, hasWideBytes: false };
  let at = skipSpace(bytes, start, end, scan);
  if (at === end) return 'not-json';
  if (bytes[at] === 0x6e) {
    const behind = literal(bytes, at, end, 'null');
    return behind !== FAULT && skipSpace(bytes, behind, end, scan) === end ? 'null' : 'not-json';
  }
  /** What encloses the current place, innermost last; almost always short. */
  const enclosing: number[] = [];
  for (;;) {
    // A value begins at `at`.
    if (at >= end) return 'not-json';
    const first = bytes[at]!;
    if (first === 0x7b) {
      at = skipSpace(bytes, at + 1, end, scan);
      if (bytes[at] === 0x7d && at < end) at++;
      else {
        enclosing.push(OBJECT);
        at = memberName(bytes, at, end, scan);
        if (at === FAULT) return 'not-json';
        continue;
      }
    } else if (first === 0x5b) {
      at = skipSpace(bytes, at + 1, end, scan);
      if (bytes[at] === 0x5d && at < end) at++;
      else {
        enclosing.push(ARRAY);
        continue;
      }
    } else {
      at = scalar(bytes, at, end, scan);
      if (at === FAULT) return 'not-json';
    }
    // A value ended before `at`: close what it completes, or go on to the next one.
    for (;;) {
      at = skipSpace(bytes, at, end, scan);
      const inside = enclosing.at(-1);
      if (inside === undefined) {
        if (at !== end) return 'not-json';
        if (scan.hasWideBytes && !isUtf8(bytes.subarray(start, end))) return 'not-json';
        return scan.hasLineEnds ? 'json-lines' : 'json';
      }
      if (at >= end) return 'not-json';
      const next = bytes[at]!;
      if (next === 0x2c) {
        at = skipSpace(bytes, at + 1, end, scan);
        if (inside === OBJECT) {
          at = memberName(bytes, at, end, scan);
          if (at === FAULT) return 'not-json';
        }
        break;
      }
      if (next !== (inside === OBJECT ? 0x7d : 0x5d)) return 'not-json';
      enclosing.pop();
      at++;
    }
  }
};

const skipSpace = (bytes: Uint8Array, from: number, end: number, scan: Scan): number => {
  let at = from;
  for (; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === 0x20 || byte === 0x09) continue;
    if (byte !== 0x0a && byte !== 0x0d) break;
    scan.hasLineEnds = true;
  }
  return at;
};

/** From the name's quote to where the member's value begins. */
const memberName = (bytes: Uint8Array, from: number, end: number, scan: Scan): number => {
  if (from >= end || bytes[from] !== 0x22) return FAULT;
  const behind = string(bytes, from, end, scan);
  if (behind === FAULT) return FAULT;
  const colon = skipSpace(bytes, behind, end, scan);
  return colon < end && bytes[colon] === 0x3a ? skipSpace(bytes, colon + 1, end, scan) : FAULT;
};

const scalar = (bytes: Uint8Array, at: number, end: number, scan: Scan): number => {
  const first = bytes[at]!;
  if (first === 0x22) return string(bytes, at, end, scan);
  if (first === 0x74) return literal(bytes, at, end, 'true');
  if (first === 0x66) return literal(bytes, at, end, 'false');
  if (first === 0x6e) return literal(bytes, at, end, 'null');
  return number(bytes, at, end);
};

const string = (bytes: Uint8Array, from: number, end: number, scan: Scan): number => {
  for (let at = from + 1; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === 0x22) return at + 1;
    if (byte < 0x20) return FAULT;
    if (byte > 0x7f) scan.hasWideBytes = true;
    else if (byte === 0x5c) {
      at++;
      if (at >= end) return FAULT;
      const escaped = bytes[at]!;
      if (escaped === 0x75) {
        for (let digit = 1; digit <= 4; digit++) if (at + digit >= end || !isHex(bytes[at + digit]!)) return FAULT;
        at += 4;
      } else if (!isEscape(escaped)) return FAULT;
    }
  }
  return FAULT;
};

/** One of " \ / b f n r t */
const isEscape = (byte: number): boolean =>
  byte === 0x22 ||
  byte === 0x5c ||
  byte === 0x2f ||
  byte === 0x62 ||
  byte === 0x66 ||
  byte === 0x6e ||
  byte === 0x72 ||
  byte === 0x74;

const isHex = (byte: number): boolean => isDigit(byte) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);

const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;

const literal = (bytes: Uint8Array, from: number, end: number, word: string): number => {
  if (from + word.length > end) return FAULT;
  for (let index = 0; index < word.length; index++) if (bytes[from + index] !== word.charCodeAt(index)) return FAULT;
  return from + word.length;
};

const number = (bytes: Uint8Array, from: number, end: number): number => {
  let at = bytes[from] === 0x2d ? from + 1 : from;
  if (at >= end || !isDigit(bytes[at]!)) return FAULT;
  // A leading zero stands alone.
  at = bytes[at] === 0x30 ? at + 1 : digits(bytes, at, end);
  if (at < end && bytes[at] === 0x2e) {
    const behind = digits(bytes, at + 1, end);
    if (behind === at + 1) return FAULT;
    at = behind;
  }
  if (at < end && (bytes[at]! | 0x20) === 0x65) {
    at++;
    if (at < end && (bytes[at] === 0x2b || bytes[at] === 0x2d)) at++;
    const behind = digits(bytes, at, end);
    if (behind === at) return FAULT;
    at = behind;
  }
  return at;
};

const digits = (bytes: Uint8Array, from: number, end: number): number => {
  let at = from;
  while (at < end && isDigit(bytes[at]!)) at++;
  return at;
};

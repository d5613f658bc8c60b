// Looks at bytes as JSON without parsing them: where a value ends, and whether stored bytes may be spliced into an answer.
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
/** More than any text has bytes. */
const ANY_DEPTH = 0x3fffffff;
/** In place of a position: this is not JSON. */
export const FAULT = -1;

const PROTO_MEMBER = Uint8Array.from(Buffer.from('"__proto__"'));

/** What a scan noticed; one object for one call at a time, so that scanning allocates nothing. Whoever looks resets. */
export class JsonScan {
  /** Deeper nesting counts as a fault. */
  readonly depthMax: number;
  /** Between tokens. */
  hasSpace = false;
  /** Between tokens. */
  hasLineEnds = false;
  hasWideBytes = false;
  /** A member whose name is or may be __proto__. */
  hasOddName = false;
  /** Where the latest backslash is. */
  escapeAt = -1;
  /** What encloses the current place, innermost last; almost always short. */
  readonly enclosing: number[] = [];

  constructor(depthMax: number) {
    this.depthMax = depthMax;
  }
}

export const judgeJson = (bytes: Uint8Array, start: number, end: number): JsonVerdict => {
  const scan = new JsonScan(ANY_DEPTH);
  const from = skipSpace(bytes, start, end, scan);
  const behind = skipJson(bytes, from, end, scan);
  if (behind === FAULT || skipSpace(bytes, behind, end, scan) !== end) return 'not-json';
  if (bytes[from] === 0x6e) return 'null';
  if (scan.hasWideBytes && !isUtf8(bytes.subarray(start, end))) return 'not-json';
  return scan.hasLineEnds ? 'json-lines' : 'json';
};

/** From a value's first byte to behind its last, or FAULT. That wide bytes are UTF-8 is for the caller to see. */
export const skipJson = (bytes: Uint8Array, from: number, end: number, scan: JsonScan): number => {
  const { enclosing, depthMax } = scan;
  let depth = 0;
  let at = from;
  for (;;) {
    // A value begins at `at`.
    if (at >= end) return FAULT;
    const first = bytes[at]!;
    if (first === 0x7b) {
      if (depth === depthMax) return FAULT;
      at = skipSpace(bytes, at + 1, end, scan);
      if (at < end && bytes[at] === 0x7d) at++;
      else {
        enclosing[depth++] = OBJECT;
        at = memberName(bytes, at, end, scan);
        if (at === FAULT) return FAULT;
        continue;
      }
    } else if (first === 0x5b) {
      if (depth === depthMax) return FAULT;
      at = skipSpace(bytes, at + 1, end, scan);
      if (at < end && bytes[at] === 0x5d) at++;
      else {
        enclosing[depth++] = ARRAY;
        continue;
      }
    } else {
      at = scalar(bytes, at, end, scan);
      if (at === FAULT) return FAULT;
    }
    // A value ended before `at`: close what it completes, or go on to the next one.
    for (;;) {
      if (depth === 0) return at;
      at = skipSpace(bytes, at, end, scan);
      if (at >= end) return FAULT;
      const next = bytes[at]!;
      const inside = enclosing[depth - 1]!;
      if (next === 0x2c) {
        at = skipSpace(bytes, at + 1, end, scan);
        if (inside === OBJECT) {
          at = memberName(bytes, at, end, scan);
          if (at === FAULT) return FAULT;
        }
        break;
      }
      if (next !== (inside === OBJECT ? 0x7d : 0x5d)) return FAULT;
      depth--;
      at++;
    }
  }
};

/** From a place between tokens to the next token, or to the end. */
export const skipSpace = (bytes: Uint8Array, from: number, end: number, scan: JsonScan): number => {
  let at = from;
  for (; at < end; at++) {
    const byte = bytes[at]!;
    if (byte > 0x20) return at;
    if (byte === 0x20 || byte === 0x09) scan.hasSpace = true;
    else if (byte === 0x0a || byte === 0x0d) {
      scan.hasSpace = true;
      scan.hasLineEnds = true;
    } else return at;
  }
  return at;
};

/** From the name's quote to where the member's value begins. */
const memberName = (bytes: Uint8Array, from: number, end: number, scan: JsonScan): number => {
  if (from >= end || bytes[from] !== 0x22) return FAULT;
  const behind = skipString(bytes, from, end, scan);
  if (behind === FAULT) return FAULT;
  if (scan.escapeAt >= from || (behind - from === PROTO_MEMBER.length && isProto(bytes, from))) scan.hasOddName = true;
  const colon = skipSpace(bytes, behind, end, scan);
  return colon < end && bytes[colon] === 0x3a ? skipSpace(bytes, colon + 1, end, scan) : FAULT;
};

const isProto = (bytes: Uint8Array, from: number): boolean => {
  for (let index = 0; index < PROTO_MEMBER.length; index++) {
    if (bytes[from + index] !== PROTO_MEMBER[index]) return false;
  }
  return true;
};

const scalar = (bytes: Uint8Array, at: number, end: number, scan: JsonScan): number => {
  const first = bytes[at]!;
  if (first === 0x22) return skipString(bytes, at, end, scan);
  if (first === 0x74) return literal(bytes, at, end, 'true');
  if (first === 0x66) return literal(bytes, at, end, 'false');
  if (first === 0x6e) return literal(bytes, at, end, 'null');
  return number(bytes, at, end);
};

/** From a string's first quote to behind its last, or FAULT. */
export const skipString = (bytes: Uint8Array, from: number, end: number, scan: JsonScan): number => {
  for (let at = from + 1; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === 0x22) return at + 1;
    if (byte < 0x20) return FAULT;
    if (byte > 0x7f) scan.hasWideBytes = true;
    if (byte !== 0x5c) continue;
    scan.escapeAt = at;
    at++;
    if (at >= end) return FAULT;
    const escaped = bytes[at]!;
    if (escaped === 0x75) {
      for (let digit = 1; digit <= 4; digit++) if (at + digit >= end || !isHex(bytes[at + digit]!)) return FAULT;
      at += 4;
    } else if (!isEscape(escaped)) return FAULT;
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

/** Behind the word, or FAULT. */
export const literal = (bytes: Uint8Array, from: number, end: number, word: string): number => {
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

// JSON between text and values without losing what a double cannot hold.
//
// parseJson answers what JSON.parse answers, except that a number whose digits a double would change comes back as a
// raw JSON value (JSON.rawJSON) that JSON.stringify writes as it was. Looking at every number's source is several times
// slower than plain parsing, so a regular expression first asks whether the text may hold such a number at all: fewer
// than sixteen digits and no exponent always survive.
//
// Guarantees: never throws; nesting deeper than JSON_DEPTH_MAX and members named __proto__ are refused by
// structureFault, which is bounded by that depth.

import { isUtf8 } from 'node:buffer';
import { JSON_DEPTH_MAX } from '../base/limits.ts';

export type ParsedJson =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly fault: string };

interface ReviverContext {
  readonly source?: string;
}

interface RawJsonFunctions {
  rawJSON(text: string): object;
  parse(text: string, reviver: (key: string, value: unknown, context: ReviverContext) => unknown): unknown;
}

/** The compiler's library does not know these yet; every Node since 21 has them. */
const rawJsonFunctions = JSON as unknown as RawJsonFunctions;

/** A number of sixteen and more digits, or with an exponent. It may also be inside a string: then only time is lost. */
const unsafeNumber = /(?:^|[:,[\s])-?\d(?:[\d.]{15}|[\d.]*[eE])/;

const BYTE_ORDER_MARK = '\ufeff';

export const parseJson = (text: string): ParsedJson => {
  try {
    const value: unknown = unsafeNumber.test(text) ? rawJsonFunctions.parse(text, keepDigits) : JSON.parse(text);
    return { ok: true, value };
  } catch (error) {
    // A RangeError is a nesting that the parser's own stack could not follow.
    return { ok: false, fault: error instanceof SyntaxError ? error.message : 'it is nested too deeply' };
  }
};

/** UTF-8 bytes to text; one byte order mark at the start is dropped. Null when the bytes are not UTF-8. */
export const decodeText = (bytes: Buffer): string | null => {
  if (!isUtf8(bytes)) return null;
  const text = bytes.toString('utf8');
  return text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
};

/** Null when a parsed value may be stored, else what is wrong with it. */
export const structureFault = (value: unknown): string | null => faultBelow(value, JSON_DEPTH_MAX);

const faultBelow = (value: unknown, depthLeft: number): string | null => {
  if (typeof value !== 'object' || value === null) return null;
  if (depthLeft === 0) return `is nested deeper than ${JSON_DEPTH_MAX}`;
  if (Array.isArray(value)) {
    for (const element of value) {
      const fault = faultBelow(element, depthLeft - 1);
      if (fault !== null) return fault;
    }
    return null;
  }
  for (const name in value) {
    if (name === '__proto__') return 'has a member named __proto__';
    const member = (value as Record<string, unknown>)[name];
    if (typeof member !== 'object' || member === null) continue;
    const fault = faultBelow(member, depthLeft - 1);
    if (fault !== null) return fault;
  }
  return null;
};

function keepDigits(_key: string, value: unknown, context: ReviverContext): unknown {
  if (typeof value !== 'number' || context.source === undefined) return value;
  const text = String(value);
  if (text === context.source || significantDigits(text) === significantDigits(context.source)) return value;
  return rawJsonFunctions.rawJSON(context.source);
}

/** One spelling for equal decimal numbers: sign, digits without outer zeros, power of ten. */
const significantDigits = (text: string): string => {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  // "Infinity", which a source never is.
  if (match === null) return text;
  const fraction = match[3] ?? '';
  const digits = `${match[2]}${fraction}`.replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return '0';
  const power = Number(match[4] ?? 0) - fraction.length + (digits.length - significant.length);
  return `${match[1]}${significant}e${power}`;
};

// A record's key out of its value, by a JSON Pointer (RFC 6901).

import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';

/** The pointer's steps; the schema has checked its spelling. */
export const parsePointer = (pointer: string): readonly string[] =>
  pointer === ''
    ? []
    : pointer
        .slice(1)
        .split('/')
        .map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'));

/** A string as its text, another scalar as its JSON text, missing or null as no key. */
export const pointedKey = (value: unknown, steps: readonly string[]): Result<string | null, 'INVALID_REQUEST'> => {
  let found = value;
  for (const step of steps) {
    if (Array.isArray(found))
      found = /^(?:0|[1-9]\d{0,9})$/.test(step) ? (found as unknown[])[Number(step)] : undefined;
    else if (typeof found === 'object' && found !== null && !isRawNumber(found)) {
      found = Object.hasOwn(found, step) ? (found as Record<string, unknown>)[step] : undefined;
    } else found = undefined;
    if (found === undefined) return accepted(null);
  }
  if (found === null) return accepted(null);
  if (typeof found === 'string') {
    if (found.isWellFormed()) return accepted(found);
    return refused('INVALID_REQUEST', 'the key holds half of a surrogate pair', { field: 'key' });
  }
  if (typeof found === 'object' && !isRawNumber(found)) {
    return refused('INVALID_REQUEST', 'the key in the value is an object or a list', { field: 'key' });
  }
  return accepted(JSON.stringify(found));
};

/** A number whose digits were kept (see json-text.ts): an object to the language, a scalar to JSON. */
const isRawNumber = (value: object): boolean =>
  (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(value);

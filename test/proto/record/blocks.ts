// What the tests of the block codecs share: content of every kind, and each piece of work carried to its end.

import * as fc from 'fast-check';
import type { OpenedInflation, Piecework } from '../../../proto/record/piecework.ts';

/** Nothing that repeats, patterns of every length, and both by turns; some of it longer than a block. */
export const content: fc.Arbitrary<Uint8Array> = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 90 }),
      fc.uint8Array({ minLength: 300, maxLength: 700 }),
      fc
        .tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(400))
        .map(([pattern, times]) => Buffer.concat(Array<Uint8Array>(times).fill(pattern))),
      fc.tuple(fc.nat(255), fc.nat(80_000)).map(([byte, length]) => new Uint8Array(length).fill(byte)),
    ),
    { maxLength: 12 },
  )
  .map(parts => Buffer.concat(parts));

export function deflated(work: Piecework): Uint8Array {
  while (work.advance());
  return work.output;
}

/** The bytes; or why there are none. */
export function inflated(opened: OpenedInflation): Uint8Array | string {
  if (!opened.ok) return opened.fault.kind === 'decompressed-size' ? 'decompressed-size' : opened.fault.detail;
  const { inflation } = opened;
  while (inflation.advance());
  return inflation.fault ?? inflation.output;
}

export const text = (bytes: Uint8Array | string): string =>
  typeof bytes === 'string' ? `refused: ${bytes}` : Buffer.from(bytes).toString('latin1');

export const hex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits.replaceAll(' ', ''), 'hex'));

/** Every copy of which one bit is another. */
export function* flips(bytes: Uint8Array): Generator<Uint8Array> {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = bytes.slice();
    copy[bit >>> 3]! ^= 1 << (bit & 7);
    yield copy;
  }
}

// The checksum against published values, and at once against bit by bit.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RunningXxhash32, xxhash32 } from '../../../proto/record/xxhash32.ts';

/** The sanity buffer of the reference implementation. */
function sanityBytes(length: number): Uint8Array {
  let generator = 2_654_435_761n;
  return Uint8Array.from({ length }, () => {
    const byte = Number(generator >> 56n);
    generator = (generator * 11_400_714_785_074_694_797n) & 0xffff_ffff_ffff_ffffn;
    return byte;
  });
}

describe('xxHash32', () => {
  it.each([
    ['', 0x02cc5d05],
    ['a', 0x550d7456],
    ['abc', 0x32d153ff],
    ['Nobody inspects the spammish repetition', 0xe2293b2f],
  ])('of %j is the published one', (text, expected) => {
    expect(xxhash32(Buffer.from(text))).toBe(expected);
  });

  it.each([
    [1, 0xcf65b03e],
    [14, 0x1208e7e2],
    [222, 0x5bd11dbd],
  ])('of the first %i bytes of the reference test is its value', (length, expected) => {
    expect(xxhash32(sanityBytes(length))).toBe(expected);
  });

  it('is the same wherever the bytes stand, and however they come', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(20), fc.array(fc.nat(200)), (bytes, before, stops) => {
        const whole = xxhash32(bytes);
        const shifted = new Uint8Array(before + bytes.length + 3);
        shifted.set(bytes, before);
        const end = before + bytes.length;
        expect(xxhash32(shifted, before, end)).toBe(whole);
        const running = new RunningXxhash32(shifted, before);
        for (const stop of stops.toSorted((a, b) => a - b)) running.take(Math.min(before + stop, end));
        expect(running.digest(end)).toBe(whole);
      }),
    );
  });
});

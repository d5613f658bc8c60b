// Zigzag varints: bytes worked out by hand, round trips, and what a reader does with garbage.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  readVarint,
  readVarlong,
  varintBytes,
  varlongBytes,
  writeVarint,
  writeVarlong,
  type ByteSpan,
} from '../../../proto/record/index.ts';

const INT32_MAX = 2 ** 31 - 1;
const INT32_MIN = -(2 ** 31);

const vectors: readonly [number, string][] = [
  [0, '00'],
  [-1, '01'],
  [1, '02'],
  [63, '7e'],
  [-64, '7f'],
  [64, '8001'],
  [-65, '8101'],
  [8191, 'fe7f'],
  [8192, '808001'],
  [1048575, 'feff7f'],
  [INT32_MAX, 'feffffff0f'],
  [INT32_MIN, 'ffffffff0f'],
];
const longVectors: readonly [number, string][] = [
  ...vectors,
  [2 ** 35, '808080808002'],
  [-1_000_000_000_000, 'ffbfa8ca9a3a'],
  [Number.MAX_SAFE_INTEGER, 'feffffffffffff1f'],
  [Number.MIN_SAFE_INTEGER, 'fdffffffffffff1f'],
];

function spanOf(bytes: Uint8Array): ByteSpan {
  return { bytes, position: 0, limit: bytes.length };
}

function written(write: (bytes: Uint8Array, at: number, value: number) => number, value: number): Uint8Array {
  const bytes = new Uint8Array(16);
  return bytes.subarray(0, write(bytes, 0, value));
}

describe('varint', () => {
  for (const [value, hex] of vectors) {
    it(`stands for ${value} as ${hex}`, () => {
      expect(Buffer.from(written(writeVarint, value)).toString('hex')).toBe(hex);
      expect(readVarint(spanOf(Buffer.from(hex, 'hex')))).toBe(value);
    });
  }

  it('comes back as it was written, and its size is known beforehand', () => {
    fc.assert(
      fc.property(fc.integer({ min: INT32_MIN, max: INT32_MAX }), value => {
        const bytes = written(writeVarint, value);
        const span = spanOf(bytes);
        expect(varintBytes(value)).toBe(bytes.length);
        expect(readVarint(span)).toBe(value);
        expect(span.position).toBe(bytes.length);
      }),
    );
  });

  it('never passes five bytes nor 32 bits', () => {
    for (const hex of ['808080808000', 'ffffffffff', 'ffffffff10', 'ffffffff7f']) {
      const span = spanOf(Buffer.from(hex, 'hex'));
      expect(readVarint(span)).toBe(0);
      expect(span.position).toBe(span.limit + 1);
    }
  });
});

describe('varlong', () => {
  for (const [value, hex] of longVectors) {
    it(`stands for ${value} as ${hex}`, () => {
      expect(Buffer.from(written(writeVarlong, value)).toString('hex')).toBe(hex);
      expect(readVarlong(spanOf(Buffer.from(hex, 'hex')))).toBe(value);
    });
  }

  it('comes back as it was written, and its size is known beforehand', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), value => {
        const bytes = written(writeVarlong, value);
        const span = spanOf(bytes);
        expect(varlongBytes(value)).toBe(bytes.length);
        expect(readVarlong(span)).toBe(value);
        expect(span.position).toBe(bytes.length);
      }),
    );
  });

  it('takes no more than ten bytes and no unsafe integer', () => {
    const refused = ['8080808080808080808000', 'ffffffffffffffffff01', 'ffffffffffffff1f', '8080808080808020'];
    for (const hex of refused) {
      const span = spanOf(Buffer.from(hex, 'hex'));
      expect(readVarlong(span)).toBe(0);
      expect(span.position).toBe(span.limit + 1);
    }
  });
});

describe('either reader', () => {
  for (const [name, read] of [
    ['varint', readVarint],
    ['varlong', readVarlong],
  ] as const) {
    it(`marks a cut-off ${name} as malformed and stays malformed`, () => {
      fc.assert(
        fc.property(fc.integer({ min: 64, max: INT32_MAX }), fc.nat(3), (value, kept) => {
          const whole = written(writeVarint, value);
          const span: ByteSpan = { bytes: whole, position: 0, limit: Math.min(kept, whole.length - 1) };
          expect(read(span)).toBe(0);
          expect(span.position).toBe(span.limit + 1);
          expect(read(span)).toBe(0);
          expect(span.position).toBe(span.limit + 1);
        }),
      );
    });

    it(`reads any bytes as a ${name} without passing the limit unmarked`, () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 12 }), fc.nat(12), (bytes, from) => {
          const span: ByteSpan = { bytes, position: from, limit: bytes.length };
          const value = read(span);
          expect(Number.isSafeInteger(value)).toBe(true);
          expect(span.position).toBeLessThanOrEqual(span.limit + 1);
        }),
      );
    });
  }
});

// CRC-32C and murmur2 against published vectors, and the native checksum against the portable one.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CRC32C_IS_NATIVE,
  crc32c,
  crc32cPortable,
  murmur2,
  partitionForKey,
  toPositive,
} from '../../../proto/record/index.ts';

describe('crc32c', () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, index) => index);
  const vectors: readonly [string, Uint8Array, number][] = [
    ['nothing', new Uint8Array(0), 0],
    ['"123456789"', Buffer.from('123456789'), 0xe3069283],
    ['32 zeros (RFC 3720, B.4)', new Uint8Array(32), 0x8a9136aa],
    ['32 ones (RFC 3720, B.4)', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['0 to 31 (RFC 3720, B.4)', ascending, 0x46dd794e],
  ];

  for (const [name, bytes, expected] of vectors) {
    it(`knows the checksum of ${name}`, () => {
      expect(crc32c(bytes)).toBe(expected);
      expect(crc32cPortable(bytes)).toBe(expected);
    });
  }

  it('has loaded the native module on this machine, so that the comparison below is one', () => {
    expect(CRC32C_IS_NATIVE).toBe(true);
  });

  it('answers the same natively and portably, for any range of any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 2000 }), fc.nat(2000), fc.nat(2000), (bytes, one, other) => {
        const start = Math.min(one, other, bytes.length);
        const end = Math.min(Math.max(one, other), bytes.length);
        const portable = crc32cPortable(bytes, start, end);
        expect(crc32c(bytes, start, end)).toBe(portable);
        expect(crc32cPortable(bytes.slice(start, end))).toBe(portable);
      }),
    );
  });

  it('takes the native way for long inputs that do not begin where their buffer begins', () => {
    const buffer = Uint8Array.from({ length: 10_000 }, (_, index) => (index * 7919) >>> 3);
    for (let from = 0; from < 16; from++) {
      const view = buffer.subarray(from, 9_000 + from);
      expect(crc32c(view)).toBe(crc32cPortable(view));
      expect(crc32c(buffer, from, 9_000 + from)).toBe(crc32cPortable(view));
    }
  });
});

describe('murmur2', () => {
  const vectors: readonly [string, number][] = [
    ['', 275646681],
    ['21', -973932308],
    ['abc', 479470107],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ];

  for (const [key, expected] of vectors) {
    it(`hashes "${key}" as Kafka's clients do`, () => {
      expect(murmur2(Buffer.from(key))).toBe(expected);
    });
  }

  it('takes bytes above 127 as unsigned', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), bytes => {
        expect(murmur2(bytes)).toBe(murmur2ByBigInt(bytes));
        expect(murmur2(Buffer.concat([Buffer.from('ab'), bytes, Buffer.from('c')]), 2, 2 + bytes.length)).toBe(
          murmur2ByBigInt(bytes),
        );
      }),
    );
  });

  it('masks the sign bit for the partition, and does not take the absolute value', () => {
    expect(toPositive(-973932308)).toBe(1173551340);
    expect(toPositive(-0x80000000)).toBe(0);
    expect(partitionForKey(Buffer.from('21'), 7)).toBe(1173551340 % 7);
    expect(partitionForKey(Buffer.from('abc'), 1)).toBe(0);
  });
});

/** The algorithm again in exact arithmetic, against slips in 32-bit wrapping. */
function murmur2ByBigInt(bytes: Uint8Array): number {
  const mask = 0xffffffffn;
  const m = 0x5bd1e995n;
  let h = 0x9747b28cn ^ BigInt(bytes.length);
  let at = 0;
  for (; at + 4 <= bytes.length; at += 4) {
    let k = BigInt(Buffer.from(bytes).readUInt32LE(at));
    k = (k * m) & mask;
    k ^= k >> 24n;
    k = (k * m) & mask;
    h = ((h * m) & mask) ^ k;
  }
  const tail = bytes.subarray(at);
  if (tail.length > 0) {
    tail.forEach((byte, index) => (h ^= BigInt(byte) << BigInt(8 * index)));
    h = (h * m) & mask;
  }
  h ^= h >> 13n;
  h = (h * m) & mask;
  h ^= h >> 15n;
  return Number(BigInt.asIntN(32, h));
}

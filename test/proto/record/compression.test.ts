// The codecs: what they can do, and that neither damage nor a bomb gets through.

import zlib from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  codecId,
  codecOfId,
  compress,
  compressSync,
  decodeRecords,
  decodeRecordsOffLoop,
  decompress,
  decompressSync,
  encodeBatch,
  type Codec,
} from '../../../proto/record/index.ts';

const BYTES_MAX = 1_000_000;
const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

describe('codecs', () => {
  it('have the ids of the format', () => {
    expect(CODECS.map(codecId)).toEqual([0, 1, 2, 3, 4]);
    expect([0, 1, 2, 3, 4].map(codecOfId)).toEqual(CODECS);
    expect([-1, 5, 6, 7, Number.NaN].map(codecOfId)).toEqual([null, null, null, null, null]);
  });

  for (const codec of CODECS) {
    it(`${codec} gives back any bytes, on and off the loop`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 5000 }), async bytes => {
          for (const packed of [compressSync(codec, bytes), await compress(codec, bytes)]) {
            const back = [decompressSync(codec, packed, BYTES_MAX), await decompress(codec, packed, BYTES_MAX)];
            for (const result of back) expect(result.ok && Buffer.compare(result.bytes, bytes)).toBe(0);
          }
        }),
        { numRuns: 40 },
      );
    });
  }
});

describe('inflating', () => {
  const packers = [
    ['gzip', zlib.gzipSync],
    ['snappy', (bytes: Uint8Array) => compressSync('snappy', bytes)],
    ['lz4', (bytes: Uint8Array) => compressSync('lz4', bytes)],
    ['zstd', zlib.zstdCompressSync],
  ] as const;

  for (const [codec, pack] of packers) {
    it(`stops a ${codec} bomb at the limit, and not one byte before`, async () => {
      const exact = pack(new Uint8Array(BYTES_MAX));
      expect(decompressSync(codec, exact, BYTES_MAX)).toMatchObject({ ok: true });
      expect(await decompress(codec, exact, BYTES_MAX)).toMatchObject({ ok: true });
      const refusal = { ok: false, fault: { kind: 'decompressed-size', bytesMax: BYTES_MAX } };
      for (const size of [BYTES_MAX + 1, 100 * BYTES_MAX]) {
        const bomb = pack(new Uint8Array(size));
        expect(decompressSync(codec, bomb, BYTES_MAX)).toMatchObject(refusal);
        expect(await decompress(codec, bomb, BYTES_MAX)).toMatchObject(refusal);
      }
    });

    it(`refuses every cut-off ${codec} block`, () => {
      const whole = pack(Buffer.from('the quick brown fox jumps over the lazy dog'));
      for (let cut = 0; cut < whole.length; cut++) {
        // The header of snappy's frame alone is a frame of nothing.
        if (codec === 'snappy' && cut === 16) continue;
        const result = decompressSync(codec, whole.subarray(0, cut), BYTES_MAX);
        expect(result).toMatchObject({ ok: false, fault: { kind: 'decompress' } });
      }
    });

    it(`answers for any bytes taken as ${codec}, valid start or not`, () => {
      const start = pack(Buffer.from('some records')).subarray(0, 10);
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (noise, isPrefixed) => {
          const bytes = isPrefixed ? Buffer.concat([start, noise]) : noise;
          const result = decompressSync(codec, bytes, 10_000);
          expect(result.ok ? result.bytes.length : 0).toBeLessThanOrEqual(10_000);
        }),
      );
    });

    it(`is bounded for a whole ${codec} batch as well`, async () => {
      const batch = encodeBatch([{ key: null, value: new Uint8Array(200_000), timestamp: 0 }], { codec });
      expect(batch.length).toBeLessThan(10_000);
      const refusal = { ok: false, fault: { kind: 'decompressed-size', bytesMax: 100_000 } };
      expect(decodeRecords(batch, { decompressedBytesMax: 100_000 })).toMatchObject(refusal);
      expect(decodeRecords(batch, { decompressedBytesMax: 300_000 })).toMatchObject({ ok: true });
      // Long enough to leave the loop: noise does not compress.
      const noise = Uint8Array.from({ length: 150_000 }, (_, at) => Math.imul(at * at + 1, 0x9e3779b1) >>> 13);
      const large = encodeBatch([{ key: null, value: noise, timestamp: 0 }], { codec });
      expect(large.length).toBeGreaterThan(20_000);
      expect(await decodeRecordsOffLoop(large, { decompressedBytesMax: 100_000 })).toMatchObject(refusal);
      expect(await decodeRecordsOffLoop(large)).toMatchObject({ ok: true });
    });
  }
});

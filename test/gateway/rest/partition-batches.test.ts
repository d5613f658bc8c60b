// Batches never exceed the topic's limit, whatever the records and the codec, and no record is lost or reordered.

import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Codec } from '@sluice/protocol/record';
import { decodeRecords, splitBatches } from '@sluice/protocol/record';
import { BuilderPool, fitsOneBatch, PartitionBatches } from '../../../server/gateway/partition-batches.ts';
import type { WrittenRecord } from '../../../server/gateway/record-json.ts';
import { readRecordForm } from '../../../server/gateway/record-json.ts';

const record = (value: Uint8Array | string): WrittenRecord => ({
  kind: 'record',
  key: null,
  value,
  headers: [],
  timestamp: 1,
  partition: 0,
});

const valuesOf = (batches: Uint8Array, batchBytesMax: number): Buffer[] => {
  const split = splitBatches(batches, { bytesMax: batchBytesMax });
  if (!split.ok) throw new Error(JSON.stringify(split.fault));
  return split.batches.flatMap(batch => {
    const decoded = decodeRecords(batch);
    if (!decoded.ok) throw new Error(JSON.stringify(decoded.fault));
    return decoded.records.map(stored => Buffer.from(stored.value!));
  });
};

describe('PartitionBatches', () => {
  it.each<Codec>(['none', 'gzip', 'snappy', 'lz4', 'zstd'])(
    'keeps to the limit with %s, for what does and does not compress',
    async codec => {
      const pool = new BuilderPool();
      const sizes = fc.array(fc.integer({ min: 0, max: 3_000 }), { minLength: 1, maxLength: 30 });
      await fc.assert(
        fc.asyncProperty(sizes, fc.boolean(), async (lengths, isRandom) => {
          const batches = new PartitionBatches(0, { pool, codec, batchBytesMax: 2_000 });
          const taken: Buffer[] = [];
          for (const length of lengths) {
            const value = isRandom ? randomBytes(length) : Buffer.alloc(length, 0x61);
            if (batches.add(record(value))) taken.push(value);
          }
          expect(batches.recordCount).toBe(taken.length);
          if (taken.length === 0) return;
          expect(valuesOf(await batches.take(), 2_000)).toEqual(taken);
          expect(batches.recordCount).toBe(0);
        }),
        { numRuns: 200 },
      );
    },
  );

  it('refuses a record that fits into no batch and goes on with the next', async () => {
    const batches = new PartitionBatches(0, { pool: new BuilderPool(), codec: 'none', batchBytesMax: 200 });
    expect(batches.add(record('a'))).toBe(true);
    expect(batches.add(record('x'.repeat(200)))).toBe(false);
    expect(batches.add(record('b'))).toBe(true);
    expect(valuesOf(await batches.take(), 200).map(String)).toEqual(['a', 'b']);
  });

  it('takes new records while what was taken is being compressed', async () => {
    const batches = new PartitionBatches(0, { pool: new BuilderPool(), codec: 'gzip', batchBytesMax: 1_000_000 });
    for (let index = 0; index < 10; index++) batches.add(record(randomBytes(20_000)));
    const first = batches.take();
    batches.add(record('next'));
    expect(valuesOf(await first, 1_000_000)).toHaveLength(10);
    expect(valuesOf(await batches.take(), 1_000_000).map(String)).toEqual(['next']);
  });
});

describe('fitsOneBatch', () => {
  it('is never wrong about what fits', () => {
    const forms = fc.array(fc.record({ value: fc.jsonValue(), key: fc.string({ unit: 'grapheme' }) }), {
      minLength: 1,
    });
    fc.assert(
      fc.property(fc.oneof(forms, fc.array(fc.constant({ value: 1e20, key: '' }), { minLength: 1 })), list => {
        const text = JSON.stringify(list).replaceAll('100000000000000000000', '1e20');
        const limit = Buffer.byteLength(text) * 6 + list.length * 46 + 61;
        expect(fitsOneBatch(Buffer.byteLength(text), list.length, limit)).toBe(true);
        const batches = new PartitionBatches(0, { pool: new BuilderPool(), codec: 'none', batchBytesMax: limit });
        for (const form of JSON.parse(text) as unknown[]) {
          const written = readRecordForm(form);
          if (written.kind === 'record') batches.addFitting({ ...written, timestamp: 1 });
        }
        expect(batches.byteLength).toBeLessThanOrEqual(limit);
      }),
      { numRuns: 500 },
    );
  });
});

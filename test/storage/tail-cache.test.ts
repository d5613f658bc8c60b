// The tail cache: what it counts, what it gives up first, and what it hands to readers.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { encodeEpochStart, stampBatch } from '@sluice/protocol/record';
import { positionAt } from '../../server/base/position.ts';
import { type LogTail, TailCache } from '../../server/storage/tail-cache.ts';
import { baseOffsetsOf, makeBatch } from './batches.ts';

const EVERYTHING = { endMax: offset(1_000_000), bytesMax: 1_000_000 };

const batchAt = (baseOffset: number, count = 1, valueBytes = 10): Uint8Array => {
  const batch = makeBatch({ count, valueBytes });
  stampBatch(batch, { baseOffset, leaderEpoch: 1 });
  return batch;
};

const baseOffsets = (tail: LogTail, from: number, limits = EVERYTHING): number[] | null => {
  const found = tail.read(offset(from), limits);
  return found === null ? null : baseOffsetsOf(found);
};

describe('the tail cache', () => {
  test('gives batches from the one that covers the offset on', () => {
    const tail = new TailCache().newTail();
    for (const at of [10, 15, 20]) tail.push(batchAt(at, 5));
    expect(baseOffsets(tail, 10)).toEqual([10, 15, 20]);
    expect(baseOffsets(tail, 14)).toEqual([10, 15, 20]);
    expect(baseOffsets(tail, 15)).toEqual([15, 20]);
    expect(baseOffsets(tail, 24)).toEqual([20]);
    expect(baseOffsets(tail, 25)).toEqual([]);
    expect(baseOffsets(tail, 9)).toBeNull();
    expect(baseOffsets(new TailCache().newTail(), 0)).toBeNull();
  });

  test('gives nothing at or above the end, and at least one batch whatever its size', () => {
    const tail = new TailCache().newTail();
    const one = batchAt(0, 5);
    tail.push(one);
    tail.push(batchAt(5, 5));
    expect(baseOffsets(tail, 0, { endMax: offset(5), bytesMax: 1_000_000 })).toEqual([0]);
    expect(baseOffsets(tail, 0, { endMax: offset(4), bytesMax: 1_000_000 })).toEqual([]);
    expect(baseOffsets(tail, 0, { endMax: offset(10), bytesMax: 1 })).toEqual([0]);
    expect(baseOffsets(tail, 0, { endMax: offset(10), bytesMax: 2 * one.length - 1 })).toEqual([0]);
    expect(baseOffsets(tail, 0, { endMax: offset(10), bytesMax: 2 * one.length })).toEqual([0, 5]);
  });

  test('counts the memory that a batch keeps alive, and copies a small part of a large buffer', () => {
    const cache = new TailCache();
    const tail = cache.newTail();
    const batch = batchAt(0);
    const large = new Uint8Array(100_000);
    large.set(batch, 500);
    tail.push(large.subarray(500, 500 + batch.length));
    expect(cache.usedBytes).toBe(batch.length);
    const close = new Uint8Array(batch.length + 10);
    close.set(batchAt(1), 5);
    tail.push(close.subarray(5, 5 + batch.length));
    expect(cache.usedBytes).toBe(batch.length + close.length);
    tail.clear();
    expect(cache.usedBytes).toBe(0);
  });

  test('gives up the oldest batch of all logs first', () => {
    const bytes = batchAt(0).length;
    const cache = new TailCache(3 * bytes);
    const one = cache.newTail();
    const other = cache.newTail();
    one.push(batchAt(0));
    other.push(batchAt(0));
    one.push(batchAt(1));
    one.push(batchAt(2));
    expect(baseOffsets(one, 0)).toBeNull();
    expect(baseOffsets(one, 1)).toEqual([1, 2]);
    expect(baseOffsets(other, 0)).toEqual([0]);
    one.push(batchAt(3));
    expect(baseOffsets(other, 0)).toBeNull();
  });

  test('never keeps batches on both sides of one that it did not take', () => {
    const cache = new TailCache(500);
    const tail = cache.newTail();
    tail.push(batchAt(0));
    tail.push(batchAt(1, 1, 1_000));
    expect(cache.usedBytes).toBe(0);
    tail.push(batchAt(2));
    expect(baseOffsets(tail, 0)).toBeNull();
    expect(baseOffsets(tail, 1)).toBeNull();
    expect(baseOffsets(tail, 2)).toEqual([2]);
  });

  test('gives epoch starts to followers, never to readers, and cuts them at one offset', () => {
    const tail = new TailCache().newTail();
    const startAt = (epoch: number, baseOffset: number): Uint8Array =>
      encodeEpochStart({ epoch, baseOffset, timestamp: 1 });
    const entries = [batchAt(0, 5), startAt(2, 5), startAt(3, 5), startAt(4, 5)];
    for (const batch of entries) tail.push(batch);
    const after = (epoch: number, at: number, next: number): readonly Uint8Array[] | null =>
      tail.readAfter(positionAt(epoch, at), {
        next: { epoch: leaderEpoch(next), baseOffset: offset(at), isStart: next !== epoch },
        bytesMax: 1_000,
      });
    expect(baseOffsets(tail, 0)).toEqual([0]);
    expect(after(1, 0, 1)).toEqual(entries);
    // Not for whom the start of that epoch comes first.
    expect(after(0, 0, 1)).toBeNull();
    expect(after(1, 5, 2)).toEqual(entries.slice(1));
    expect(after(3, 5, 4)).toEqual(entries.slice(3));
    expect(after(3, 5, 3)).toBeNull();
    expect(after(4, 5, 4)).toBeNull();
    tail.cut(positionAt(2, 5));
    expect(after(1, 5, 2)).toEqual(entries.slice(1, 2));
  });

  test('under any list of pushes, cuts and clears holds its budget, counts right and hides no hole', () => {
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          do: fc.constant('push' as const),
          log: fc.nat(2),
          count: fc.integer({ min: 1, max: 4 }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('cut' as const), log: fc.nat(2), back: fc.nat(8) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const), log: fc.nat(2) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), steps => {
        const budget = 900;
        const cache = new TailCache(budget);
        const tails = [cache.newTail(), cache.newTail(), cache.newTail()];
        const logs: number[][] = [[], [], []];
        const ends = [0, 0, 0];
        for (const one of steps) {
          const tail = tails[one.log] as LogTail;
          const log = logs[one.log] as number[];
          if (one.do === 'push') {
            tail.push(batchAt(ends[one.log] ?? 0, one.count));
            log.push(ends[one.log] ?? 0);
            ends[one.log] = (ends[one.log] ?? 0) + one.count;
          } else if (one.do === 'clear') {
            tail.clear();
          } else {
            const kept = log.filter(base => base < (ends[one.log] ?? 0) - one.back);
            const cutAt = log[kept.length] ?? ends[one.log] ?? 0;
            tail.cut(positionAt(1, cutAt));
            logs[one.log] = kept;
            ends[one.log] = cutAt;
          }
          let held = 0;
          for (const [index, each] of tails.entries()) {
            const bases = logs[index] ?? [];
            // Whatever is cached is a whole suffix of the log.
            const first = bases.findIndex(base => baseOffsets(each, base) !== null);
            if (first < 0) continue;
            expect(baseOffsets(each, bases[first] ?? 0)).toEqual(bases.slice(first));
            held +=
              each
                .read(offset(bases[first] ?? 0), EVERYTHING)
                ?.reduce((sum, batch) => sum + batch.buffer.byteLength, 0) ?? 0;
          }
          expect(cache.usedBytes).toBe(held);
          expect(cache.usedBytes).toBeLessThanOrEqual(budget);
        }
      }),
    );
  });
});

// What of a batch stays, for each codec, and what of a list of cleanings.

import { offset } from '@sluice/protocol/ids';
import {
  type Codec,
  emptyBatch,
  encodeBatch,
  encodeEpochStart,
  gapFrom,
  inspectBatch,
  isGap,
  readAttributes,
  readBaseTimestamp,
  readLastOffset,
  readMaxTimestamp,
  readProducerId,
  readRecordCount,
  stampAppendTime,
  stampBatch,
} from '@sluice/protocol/record';
import { describe, expect, test } from 'vitest';
import { cleanBatch, emptied, noteKeys } from '../../../server/storage/compaction/batch-cleaning.ts';
import { type Cleaning, expiredBelow, withCleaning } from '../../../server/storage/compaction/cleanings.ts';
import { KeyMap } from '../../../server/storage/compaction/key-map.ts';
import { brokenBatch } from './broken-batch.ts';
import { type KeyedRecord, keyedBatch, recordsIn } from './keyed-log.ts';

const pace = (): Promise<void> => Promise.resolve();
const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

const noted = async (...batches: readonly Uint8Array[]): Promise<KeyMap> => {
  const keys = new KeyMap({ seed: { low: 1, high: 2 }, bytesMax: 1_000_000, keysMax: 10_000 });
  for (const batch of batches) expect(await noteKeys(batch, { keys, pace })).toBe('noted');
  return keys;
};

const at = (baseOffset: number, batch: Uint8Array): Uint8Array => {
  stampBatch(batch, { baseOffset, leaderEpoch: 3 });
  return batch;
};

const records = (keys: string, timestamp = 5_000): KeyedRecord[] =>
  Array.from(keys, (key, index) => ({
    key: key.toLowerCase(),
    value: key < 'a' ? null : `${key}${index}`,
    timestamp: timestamp + index,
  }));

describe('a batch', () => {
  test.each(CODECS)('keeps what nothing took the place of, and all that it says of itself: %s', async codec => {
    const batch = at(100, keyedBatch(records('abcabd'), codec));
    const keys = await noted(batch, at(200, keyedBatch(records('d'))));
    const cleaned = await cleanBatch(batch, { keys, tombstonesFrom: 0, pace });
    if (cleaned.kind !== 'rewritten') throw new Error(cleaned.kind);
    const { bytes } = cleaned;
    expect(inspectBatch(bytes, 0, { bytesMax: 10_000, verifyCrc: true })).toEqual({
      ok: true,
      byteLength: bytes.length,
    });
    expect(recordsIn(bytes)).toEqual([
      { offset: 102, key: 'c', value: 'c2', timestamp: 5_002 },
      { offset: 103, key: 'a', value: 'a3', timestamp: 5_003 },
      { offset: 104, key: 'b', value: 'b4', timestamp: 5_004 },
    ]);
    expect(readLastOffset(bytes, 0)).toBe(105);
    expect(readBaseTimestamp(bytes, 0)).toBe(5_000);
    expect(readMaxTimestamp(bytes, 0), 'of what is left').toBe(5_004);
    expect(readAttributes(bytes, 0)).toBe(readAttributes(batch, 0));
  });

  test('of which everything stays is the same bytes, and one of which nothing stays is told', async () => {
    const batch = at(0, keyedBatch(records('ab')));
    expect(await cleanBatch(batch, { keys: await noted(batch), tombstonesFrom: 0, pace })).toEqual({ kind: 'whole' });
    const later = at(10, keyedBatch(records('ba')));
    expect(await cleanBatch(batch, { keys: await noted(batch, later), tombstonesFrom: 0, pace })).toEqual({
      kind: 'nothing',
    });
  });

  test('keeps that a key is gone up to where it was told for long enough', async () => {
    const batch = at(10, keyedBatch(records('AB')));
    const keys = await noted(batch);
    expect(await cleanBatch(batch, { keys, tombstonesFrom: 10, pace })).toEqual({ kind: 'whole' });
    const cleaned = await cleanBatch(batch, { keys, tombstonesFrom: 11, pace });
    expect(cleaned.kind === 'rewritten' && recordsIn(cleaned.bytes).map(record => record.offset)).toEqual([11]);
    expect(await cleanBatch(batch, { keys, tombstonesFrom: 12, pace })).toEqual({ kind: 'nothing' });
  });

  test('of many records is worked on in pieces, and others have their turn between two', async () => {
    const many = Array.from({ length: 2_000 }, (_, index) => ({ key: `k${index % 900}`, value: 'v', timestamp: 1 }));
    const batch = at(0, keyedBatch(many));
    let pauses = 0;
    const counted = (): Promise<void> => {
      pauses++;
      return Promise.resolve();
    };
    const keys = await noted();
    expect(await noteKeys(batch, { keys, pace: counted })).toBe('noted');
    expect(pauses).toBe(3);
    const cleaned = await cleanBatch(batch, { keys, tombstonesFrom: 0, pace: counted });
    expect(pauses).toBe(6);
    expect(cleaned.kind === 'rewritten' && recordsIn(cleaned.bytes).length).toBe(900);
  });

  test('that the broker dated keeps that date', async () => {
    const batch = at(0, keyedBatch(records('aba')));
    stampAppendTime(batch, 9_000);
    const cleaned = await cleanBatch(batch, { keys: await noted(batch), tombstonesFrom: 0, pace });
    expect(cleaned.kind === 'rewritten' && readMaxTimestamp(cleaned.bytes, 0)).toBe(9_000);
  });

  test('of the broker itself or of a transaction stays as it is, and its keys are nobody else’s', async () => {
    const start = encodeEpochStart({ epoch: 4, baseOffset: 7, timestamp: 1 });
    const transactional = at(
      7,
      new Uint8Array(
        encodeBatch(records('aa'), { isTransactional: true, producer: { id: 5, epoch: 0, baseSequence: 0 } }),
      ),
    );
    const keys = await noted(start, transactional);
    expect(keys.size).toBe(0);
    for (const batch of [start, transactional]) {
      expect(await cleanBatch(batch, { keys, tombstonesFrom: 1_000, pace })).toEqual({ kind: 'whole' });
    }
  });

  test('whose records cannot be decoded is told, and none of its keys is noted', async () => {
    const broken = at(7, brokenBatch(records('abc')));
    const keys = await noted();
    expect(await noteKeys(broken, { keys, pace })).toBe('unreadable');
    expect(keys.size).toBe(0);
    expect(await cleanBatch(broken, { keys, tombstonesFrom: 0, pace })).toMatchObject({ kind: 'unreadable' });
  });

  test.each(CODECS)('without its records still names its producer: %s', codec => {
    const producer = { id: 77, epoch: 2, baseSequence: 40 };
    const batch = at(7, new Uint8Array(encodeBatch(records('abc'), { codec, producer })));
    const head = emptied(batch);
    expect(inspectBatch(head, 0, { bytesMax: 100, verifyCrc: true })).toEqual({ ok: true, byteLength: 61 });
    expect([readProducerId(head, 0), readRecordCount(head, 0), readLastOffset(head, 0)]).toEqual([77, 0, 9]);
    expect(recordsIn(head)).toEqual([]);
    expect(isGap(head, 0)).toBe(false);
  });
});

test('a gap stands for each of its parts, and nothing else is a gap', () => {
  const gap = emptyBatch({ baseOffset: 10, lastOffset: 90, leaderEpoch: 3 });
  expect(isGap(gap, 0)).toBe(true);
  expect(gapFrom(gap, 50)).toEqual(emptyBatch({ baseOffset: 50, lastOffset: 90, leaderEpoch: 3 }));
  expect(isGap(encodeEpochStart({ epoch: 4, baseOffset: 7, timestamp: 1 }), 0)).toBe(false);
  expect(isGap(keyedBatch(records('a')), 0)).toBe(false);
});

describe('the times of cleanings', () => {
  const cleaned = (...times: readonly (readonly [number, number])[]): readonly Cleaning[] =>
    times.reduce<readonly Cleaning[]>((list, [to, atMs]) => withCleaning(list, { to: offset(to), atMs }, 32_000), []);

  test('say below which offset everything was cleaned for long enough', () => {
    const list = cleaned([10, 0], [20, 10_000], [30, 20_000]);
    const below = (nowMs: number): number => expiredBelow(list, { nowMs, deleteRetentionMs: 32_000 });
    expect([below(32_000), below(32_001), below(42_001), below(52_001)]).toEqual([0, 10, 20, 30]);
  });

  test('are few however often a log is cleaned, and let nothing go too early or a thirtieth too late', () => {
    let list: readonly Cleaning[] = [];
    const firstAt = new Map<number, number>();
    for (let to = 1; to <= 20_000; to++) {
      firstAt.set(to - 1, to * 10);
      list = withCleaning(list, { to: offset(to), atMs: to * 10 }, 32_000);
    }
    expect(list.length).toBeLessThan(80);
    const nowMs = 200_000;
    const below = expiredBelow(list, { nowMs, deleteRetentionMs: 32_000 });
    expect(nowMs - firstAt.get(below - 1)!).toBeGreaterThan(32_000);
    expect(nowMs - firstAt.get(below + 1)!).toBeLessThan(32_000 + 2_100);
  });

  test('stand a clock that is set back', () => {
    const list = cleaned([10, 50_000], [20, 1_000], [30, 2_000]);
    expect(expiredBelow(list, { nowMs: 33_500, deleteRetentionMs: 32_000 })).toBe(20);
    expect(list.at(-1)).toEqual({ to: 30, atMs: 2_000 });
  });
});

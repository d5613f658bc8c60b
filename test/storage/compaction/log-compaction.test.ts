// A log of keys cleaned at any time: beside appends and reads, in several passes, with elections, deleted records and starts in between.

import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { type Codec, encodeBatch, readProducerId, readRecordCount } from '@sluice/protocol/record';
import { describe, expect, test } from 'vitest';
import { isFull } from '../crash-share.ts';
import { PARTITION } from '../log-world.ts';
import { judgeFiles } from '../partition-files.ts';
import { brokenBatch } from './broken-batch.ts';
import { compactionFor, entriesBehind, KeyedLog, type KeyedRecord, positionOf } from './keyed-log.ts';
import { RandomKeys } from './random-keys.ts';

const value = (key: string, text: string | null, timestamp = 1_000): KeyedRecord => ({ key, value: text, timestamp });

/** Enough of other keys that everything before lies in sealed segments. */
const fill = async (keyed: KeyedLog): Promise<void> => {
  for (let index = 0; index < 3; index++) await keyed.appendDurably([value('fill', 'x'.repeat(700))]);
};

const valuesOf = async (keyed: KeyedLog, key: string): Promise<readonly (string | null)[]> =>
  (await keyed.read()).filter(record => record.key === key).map(record => record.value);

describe('cleaning', () => {
  test('leaves the newest record of each key, at its offset', async () => {
    const keyed = await KeyedLog.start({ seed: 'newest' });
    await keyed.appendDurably([value('a', '1'), value('b', '1'), value('a', '2')]);
    await keyed.appendDurably([value('b', '2')]);
    await fill(keyed);
    const outcome = await keyed.clean();
    expect(outcome.kind).toBe('cleaned');
    expect((await keyed.read()).slice(0, 2)).toEqual([
      { offset: 2, key: 'a', value: '2', timestamp: 1_000 },
      { offset: 3, key: 'b', value: '2', timestamp: 1_000 },
    ]);
    await keyed.judge();
  });

  test('does nothing where nothing is sealed, nothing is new, or the topic is not compacted', async () => {
    const keyed = await KeyedLog.start({ seed: 'nothing' });
    await keyed.appendDurably([value('a', '1'), value('a', '2')]);
    expect(await keyed.clean()).toEqual({ kind: 'nothing' });
    await fill(keyed);
    await keyed.clean();
    expect(await keyed.clean()).toEqual({ kind: 'nothing' });
    await keyed.appendDurably([value('a', '3')]);
    await fill(keyed);
    keyed.world.settings = { ...keyed.world.settings, compaction: null };
    keyed.log.changeSettings(keyed.world.settings);
    expect(await keyed.clean()).toEqual({ kind: 'nothing' });
  });

  test('touches nothing at or above the limit', async () => {
    const keyed = await KeyedLog.start({ seed: 'limit' });
    await keyed.appendDurably([value('a', '1')]);
    await fill(keyed);
    await keyed.appendDurably([value('a', '2')]);
    await fill(keyed);
    await keyed.clean({ limit: 4 });
    expect(keyed.log.cleanTo).toBeLessThanOrEqual(4);
    expect(await valuesOf(keyed, 'a')).toEqual(['1', '2']);
    await keyed.clean();
    expect(await valuesOf(keyed, 'a')).toEqual(['2']);
  });

  test('leaves young records alone', async () => {
    const keyed = await KeyedLog.start({ seed: 'young', settings: { compaction: compactionFor({ minLagMs: 5_000 }) } });
    const now = keyed.world.clock.wallMs();
    await keyed.appendDurably([value('a', '1', now), value('a', '2', now)]);
    await fill(keyed);
    expect(await keyed.clean()).toEqual({ kind: 'nothing' });
    await keyed.pass(5_001);
    await keyed.clean();
    expect(await valuesOf(keyed, 'a')).toEqual(['2']);
  });

  test('is due by the share of what is new, or by its age', async () => {
    const keyed = await KeyedLog.start({ seed: 'due', settings: { compaction: compactionFor({ maxLagMs: 60_000 }) } });
    const now = keyed.world.clock.wallMs();
    for (const key of ['a', 'b', 'c', 'd']) await keyed.appendDurably([value(key, key.repeat(700), now)]);
    await keyed.clean();
    await keyed.appendDurably([value('e', 'e'.repeat(700), now)]);
    const before = await keyed.world.drive(keyed.log.dirtiness(keyed.log.durableOffset));
    expect(before.dirtyBytes).toBeGreaterThan(0);
    expect(before.ratio).toBeLessThan(0.5);
    expect(before.isDue).toBe(false);
    await keyed.pass(60_001);
    const after = await keyed.world.drive(keyed.log.dirtiness(keyed.log.durableOffset));
    expect(after).toMatchObject({ isDue: true, ratio: before.ratio });
  });

  test('tells that a key is gone for as long as the topic says, counted from the first cleaning', async () => {
    const keyed = await KeyedLog.start({ seed: 'gone' });
    await keyed.appendDurably([value('a', '1'), value('b', '1')]);
    await keyed.appendDurably([value('a', null)]);
    await fill(keyed);
    await keyed.pass(50_000);
    await keyed.clean();
    expect(await valuesOf(keyed, 'a')).toEqual([null]);
    await fill(keyed);
    await keyed.pass(9_000);
    await keyed.clean();
    expect(await valuesOf(keyed, 'a'), 'not yet').toEqual([null]);
    await fill(keyed);
    await keyed.pass(2_000);
    await keyed.clean({ heldByAll: 2 });
    expect(await valuesOf(keyed, 'a'), 'another replica may lack it').toEqual([null]);
    await fill(keyed);
    await keyed.clean();
    expect(await valuesOf(keyed, 'a')).toEqual([]);
    await keyed.judge();
    await keyed.world.reopen();
    await keyed.judge();
  });

  test('makes small neighbours one segment, and nothing larger than a segment may be', async () => {
    const keyed = await KeyedLog.start({ seed: 'neighbours' });
    for (let turn = 0; turn < 40; turn++) {
      await keyed.appendDurably([value(`k${turn % 12}`, `${turn}`.padEnd(150, '.')), value(`u${turn}`, 'y')]);
    }
    const before = keyed.log.segmentCount;
    const outcome = await keyed.clean();
    expect(outcome).toMatchObject({ kind: 'cleaned', cleaned: { segmentsBefore: before - 1 } });
    expect(keyed.log.segmentCount).toBeLessThan(before - 3);
    const sizes = keyed.world.files('.log').map(name => keyed.world.disk.contents(`${PARTITION}/${name}`).length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(900);
    expect(keyed.world.files('.log')).toHaveLength(keyed.log.segmentCount);
    await keyed.judge();
    await keyed.world.reopen();
    await keyed.judge();
    await keyed.world.close();
    expect(judgeFiles(keyed.world.disk, PARTITION).faults).toEqual([]);
  });

  test('goes on where the map of keys was full', async () => {
    const keyed = await KeyedLog.start({ seed: 'full' });
    for (let turn = 0; turn < 60; turn++) await keyed.appendDurably([value(`key ${turn % 30}`, `${turn}`.padEnd(60))]);
    await fill(keyed);
    let passes = 0;
    for (let before = -1; before < keyed.log.cleanTo; passes++) {
      before = keyed.log.cleanTo;
      await keyed.clean({ mapBytesMax: 1_000 });
      await keyed.judge();
    }
    expect(passes).toBeGreaterThan(3);
    expect((await keyed.read()).filter(({ key }) => key.startsWith('key'))).toHaveLength(30);
  });

  test('keeps the last batch of each producer that is remembered, without its records', async () => {
    const keyed = await KeyedLog.start({ seed: 'producers' });
    const now = keyed.world.clock.wallMs();
    const append = (id: number, baseSequence: number, timestamp: number): void => {
      const producer = { id, epoch: 3, baseSequence };
      const batch = encodeBatch([value('p', `${id}.${baseSequence}`, timestamp)], { producer });
      const outcome = keyed.log.append([new Uint8Array(batch)], leaderEpoch(0));
      if (!outcome.ok) throw new Error('refused');
    };
    append(7, 0, now);
    append(7, 1, now);
    append(8, 0, now - 100_000);
    append(9, 0, now);
    append(7, 2, now);
    await keyed.settled();
    await keyed.appendDurably([value('p', 'last')]);
    await fill(keyed);
    await keyed.clean();
    const entries = await entriesBehind(keyed.world, keyed.log.shape.base);
    const producers = entries.filter(batch => readProducerId(batch, 0) !== -1);
    expect(
      producers.map(batch => [readProducerId(batch, 0), positionOf(batch).offset, readRecordCount(batch, 0)]),
    ).toEqual([
      [9, 4, 0],
      [7, 5, 0],
    ]);
  });

  test('keeps a batch whole whose records cannot be decoded, and what came before it of its keys', async () => {
    const keyed = await KeyedLog.start({ seed: 'garbage' });
    await keyed.appendDurably([value('a', '1')]);
    const broken = brokenBatch([value('a', '2'), value('b', '2')]);
    expect(keyed.log.append([broken], leaderEpoch(0)).ok).toBe(true);
    await fill(keyed);
    expect(await keyed.clean()).toMatchObject({ kind: 'cleaned', cleaned: { unreadableBatches: 1 } });
    const { batches } = await keyed.world.readFrom(0);
    expect(batches.map(batch => Buffer.from(batch).toString('hex'))).toContain(Buffer.from(broken).toString('hex'));
    expect(readRecordCount(batches[0]!, 0)).toBe(1);
    expect(keyed.world.logged.filter(({ fields }) => fields['code'] === 'CORRUPT_BATCH')).not.toEqual([]);
  });

  test('stops at damage, which it names, and leaves the log alone from then on', async () => {
    const keyed = await KeyedLog.start({ seed: 'damage', tailCacheBytes: 0 });
    for (let turn = 0; turn < 12; turn++) await keyed.appendDurably([value('a', `${turn}`.padEnd(300))]);
    const [first] = keyed.world.files('.log');
    keyed.world.disk.rot(`${PARTITION}/${first!}`, 100, byte => byte ^ 4);
    expect(await keyed.clean()).toMatchObject({ kind: 'interrupted' });
    expect(keyed.log.damagedRanges).toHaveLength(1);
    expect(await keyed.clean()).toEqual({ kind: 'nothing' });
    expect(keyed.world.files('.new')).toEqual([]);
  });

  test('ends when the log is closed or given up, and leaves no file behind', async () => {
    for (const end of ['close', 'abandon'] as const) {
      const keyed = await KeyedLog.start({ seed: end });
      for (let turn = 0; turn < 30; turn++) await keyed.appendDurably([value('a', `${turn}`.padEnd(300))]);
      const cleaning = keyed.beginClean();
      await keyed.world.drive(keyed.log[end]());
      expect(await cleaning).toMatchObject({ kind: 'interrupted' });
      expect(keyed.world.files('.new')).toEqual([]);
    }
  });
});

const LIVES = isFull ? 60 : 5;

describe('a random life', () => {
  const codecs: readonly Codec[] = ['none', 'none', 'gzip', 'snappy', 'lz4', 'zstd'];

  test.each(Array.from({ length: LIVES }, (_, seed) => seed))('of seed %i', { timeout: 120_000 }, async seed => {
    const keyed = await KeyedLog.start({ seed: `life ${seed}` });
    const { random } = keyed.world;
    const keys = new RandomKeys(random, keyed.world);
    for (let turn = 0; turn < 120; turn++) {
      const draw = random.below(20);
      if (draw < 12) await keyed.appendDurably(keys.records(random.between(1, 8)), random.pick(codecs));
      else if (draw === 12) keyed.world.beginEpoch(keyed.log.leaderEpoch + random.between(1, 2));
      else if (draw === 13) await keyed.pass(random.between(1, 8_000));
      else if (draw === 14 && random.chance(0.3)) {
        await keyed.world.drive(
          keyed.log.advanceStart(offset(random.between(keyed.log.startOffset, keyed.log.durableOffset))),
        );
      } else if (draw === 15) await keyed.world.reopen();
      else if (draw >= 16) {
        const limit = random.between(0, keyed.log.durableOffset);
        const cleaning = keyed.beginClean({
          limit: random.chance(0.5) ? keyed.log.durableOffset : limit,
          heldByAll: random.chance(0.5) ? keyed.log.durableOffset : limit,
          mapBytesMax: random.chance(0.5) ? random.between(1_500, 4_000) : 1_000_000,
        });
        for (let more = random.below(4); more > 0; more--) keyed.append(keys.records(random.between(1, 8)));
        const reads = random.chance(0.5) ? keyed.beginRead() : Promise.resolve([]);
        await keyed.world.drive(Promise.all([cleaning, reads]));
        await keyed.settled();
        await keyed.judge();
      }
      await keyed.settled();
    }
    await keyed.judge();
    await keyed.world.reopen();
    await keyed.judge();
    await keyed.world.close();
    expect(judgeFiles(keyed.world.disk, PARTITION).faults).toEqual([]);
  });
});

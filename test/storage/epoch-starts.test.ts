// The log as Raft's: epoch starts in it, positions, cuts between entries at one offset, what followers read, and snapshots.

import { describe, expect, test } from 'vitest';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import {
  encodeConfiguration,
  encodeEpochStart,
  isEpochStart,
  readBaseOffset,
  readLeaderEpoch,
  stampBatch,
} from '@sluice/protocol/record';
import { EPOCHS_BEHIND_MAX, FOLLOWER_READ_BYTES_MAX } from '../../server/base/limits.ts';
import { positionAt } from '../../server/base/position.ts';
import { usual } from '../simulation/disk.ts';
import { baseOffsetsOf, epochsOf, makeBatch } from './batches.ts';
import { LogWorld, PARTITION } from './log-world.ts';
import { judgeFiles } from './partition-files.ts';

const FIRST_LOG = `${PARTITION}/00000000000000000000.log`;
const CHECKPOINT = `${PARTITION}/leader-epoch-checkpoint`;
const START_BYTES = 61;

const settled = (world: LogWorld): Promise<void> => {
  const { log } = world;
  return world.scheduler.driveUntil(() => log.durable.epoch === log.leaderEpoch && log.durableOffset === log.endOffset);
};

/** Offsets 0 to 3 in epoch 0, 4 to 5 in epoch 2, none in 3 and 5, 6 to 7 in epoch 6; several segments where they are small. */
const worldOf = async (seed: string, segmentBytes = 1_000_000, tailCacheBytes = 0): Promise<LogWorld> => {
  const world = await LogWorld.start({ seed, tailCacheBytes, settings: { segmentBytes, indexIntervalBytes: 1 } });
  for (const [epoch, batches] of [
    [0, 4],
    [2, 2],
    [3, 0],
    [5, 0],
    [6, 2],
  ] as const) {
    world.beginEpoch(epoch);
    for (let turn = 0; turn < batches; turn++) await world.appendDurably({ valueBytes: 50 }, epoch);
  }
  await settled(world);
  return world;
};

const startsOf = (world: LogWorld): (readonly [number, number])[] =>
  world.log.shape.starts.map(start => [start.epoch, start.startOffset] as const);

const STARTS = [
  [2, 4],
  [3, 6],
  [5, 6],
  [6, 6],
] as const;

/** Epoch and base offset of all that stands behind a position. */
const follow = async (
  world: LogWorld,
  epoch: number,
  at: number,
  bytesMax = 100_000,
): Promise<(readonly number[])[]> => {
  const outcome = await world.drive(world.log.readAfter(positionAt(epoch, at), { bytesMax }));
  if (outcome.kind !== 'batches') throw new Error(outcome.kind);
  return outcome.batches.map(batch => [readLeaderEpoch(batch, 0), readBaseOffset(batch, 0)]);
};

describe('an epoch start', () => {
  test('stands in the file at its place, in no index, and no reader is given it', async () => {
    const world = await worldOf('place');
    const { batches, stop } = await world.readFrom(0);
    expect([baseOffsetsOf(batches), epochsOf(batches), stop]).toEqual([
      [0, 1, 2, 3, 4, 5, 6, 7],
      [0, 0, 0, 0, 2, 2, 6, 6],
      null,
    ]);
    await world.close();
    const { segments, faults } = judgeFiles(world.disk, PARTITION);
    expect(faults).toEqual([]);
    const stored = segments[0]!.batches.map(batch => batch.bytes);
    expect(stored.map(batch => isEpochStart(batch, 0))).toEqual(
      [0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0].map(each => each === 1),
    );
    expect(world.disk.contents(`${PARTITION}/00000000000000000000.index`).length / 8).toBe(7);
  });

  test('is kept out of lookups by time, wherever its own time lies', async () => {
    const world = await LogWorld.start({ seed: 'time', settings: { indexIntervalBytes: 1 } });
    for (let turn = 0; turn < 6; turn++) {
      // The simulated clock stands far below the records, and the replicated starts far above.
      const start = encodeEpochStart({ epoch: turn + 1, baseOffset: turn, timestamp: turn % 2 === 0 ? 9_000_000 : 1 });
      world.log.appendReplicated([start]);
      await world.appendDurably({ timestamp: 1_000 + turn }, turn + 1);
    }
    const logged = world.logged.length;
    for (let turn = 0; turn < 6; turn++) {
      const found = await world.drive(world.log.findTimestamp(1_000 + turn, offset(6)));
      expect(found).toEqual({ offset: turn, timestampMs: 1_000 + turn });
    }
    expect(await world.drive(world.log.findTimestamp(1_006, offset(6)))).toBeNull();
    expect(world.logged.slice(logged)).toEqual([]);
  });

  test('rolls no segment by its time: it dates nothing', async () => {
    const world = await LogWorld.start({ seed: 'roll', settings: { segmentMs: 1_000 } });
    await world.appendDurably({ timestamp: 1_000 });
    world.log.appendReplicated([encodeEpochStart({ epoch: 1, baseOffset: 1, timestamp: 5_000_000 })]);
    await world.appendDurably({ timestamp: 1_500 }, 1);
    expect(world.files('.log')).toHaveLength(1);
    await world.appendDurably({ timestamp: 2_001 }, 1);
    expect(world.files('.log')).toHaveLength(2);
  });

  test('alone makes no segment full: several stand at its first offset', async () => {
    const world = await LogWorld.start({ seed: 'first', settings: { segmentBytes: 100 } });
    for (const epoch of [1, 2, 3, 4]) world.beginEpoch(epoch);
    await settled(world);
    expect(world.files('.log')).toEqual(['00000000000000000000.log']);
    await world.appendDurably({}, 4);
    await world.appendDurably({}, 4);
    expect(world.files('.log')).toEqual(['00000000000000000000.log', '00000000000000000001.log']);
    expect(startsOf(await world.reopen())).toEqual([
      [1, 0],
      [2, 0],
      [3, 0],
      [4, 0],
    ]);
    function startsOf(log: { shape: { starts: readonly { epoch: number; startOffset: number }[] } }) {
      return log.shape.starts.map(start => [start.epoch, start.startOffset]);
    }
  });

  test('is durable when it is said to be, and comes back with the log', async () => {
    const world = await LogWorld.start({ seed: 'durable' });
    await world.appendDurably();
    world.notices = [];
    expect(world.log.appendEpochStart(leaderEpoch(3))).toEqual({ ok: true, baseOffset: 1, endOffset: 1 });
    await world.scheduler.driveUntil(() => world.notices.length > 0);
    expect(world.notices).toEqual([{ generation: world.log.generation, position: { epoch: 3, offset: 1 } }]);
    // Neither the checkpoint nor the sync point knows of it yet.
    world.crash(0);
    const log = await world.open();
    expect(log.end).toEqual({ epoch: 3, offset: 1 });
    await world.close();
    expect(Buffer.from(world.disk.durableContents(CHECKPOINT)).toString()).toBe('0\n1\n3 1\n');
  });

  test('costs no file: the sync point tells of the last few, and the checkpoint follows when they are too many', async () => {
    const world = await LogWorld.start({ seed: 'few' });
    await world.appendDurably();
    const epochs = Array.from({ length: EPOCHS_BEHIND_MAX }, (_, at) => at + 1);
    for (const epoch of epochs) {
      world.beginEpoch(epoch);
      await settled(world);
      // The sync point is in the store, and the process dies.
      await world.drive(world.context.store.flush());
      world.crash(0);
      const log = await world.open();
      expect([log.end, log.condition]).toEqual([{ epoch, offset: 1 }, { kind: 'sound' }]);
    }
    expect(world.files()).not.toContain('leader-epoch-checkpoint');
    expect(startsOf(world)).toEqual(epochs.map(epoch => [epoch, 1]));
    // Nothing was read again from the log for want of a checkpoint.
    expect(world.logged.filter(({ message }) => message.includes('checkpoint'))).toEqual([]);
    world.beginEpoch(EPOCHS_BEHIND_MAX + 1);
    await settled(world);
    await world.scheduler.driveUntil(() => world.files().includes('leader-epoch-checkpoint'));
    await world.close();
    expect((await world.open()).leaderEpoch).toBe(EPOCHS_BEHIND_MAX + 1);
    expect(world.logged.filter(({ message }) => message.includes('checkpoint'))).toEqual([]);
  });

  test('that only the sync point tells of and that is lost still counts as acknowledged', async () => {
    const world = await LogWorld.start({ seed: 'claims' });
    await world.appendDurably();
    world.beginEpoch(3);
    await settled(world);
    await world.drive(world.context.store.flush());
    world.crash(0);
    const bytes = world.disk.contents(FIRST_LOG);
    world.disk.plant(FIRST_LOG, bytes.subarray(0, bytes.length - START_BYTES));
    const { condition } = await world.open();
    expect(condition).toMatchObject({ kind: 'faulty', claims: { epoch: 3, offset: 1 } });
    expect(startsOf(world)).toEqual([[3, 1]]);
  });

  test('that was not durable is gone, and its epoch may begin again', async () => {
    const world = await LogWorld.start({ seed: 'lost' });
    await world.appendDurably();
    world.log.appendEpochStart(leaderEpoch(3));
    world.crash(0);
    expect((await world.open()).end).toEqual({ epoch: 0, offset: 1 });
    await world.appendDurably({}, 3);
    expect(startsOf(world)).toEqual([[3, 1]]);
  });

  test('of an epoch that does not rise is a broken invariant, and so is a batch of another epoch', async () => {
    const world = await worldOf('rise');
    for (const epoch of [0, 5, 6]) expect(() => world.log.appendEpochStart(leaderEpoch(epoch))).toThrow('cannot begin');
    expect(() => world.log.append([makeBatch()], leaderEpoch(7))).toThrow('a batch of epoch 7');
    expect(() => world.log.append([makeBatch()], leaderEpoch(5))).toThrow('a batch of epoch 5');
    const misplaced = makeBatch();
    stampBatch(misplaced, { baseOffset: 9, leaderEpoch: 6 });
    expect(() => world.log.appendReplicated([misplaced])).toThrow('a batch for 9');
    stampBatch(misplaced, { baseOffset: 8, leaderEpoch: 5 });
    expect(() => world.log.appendReplicated([misplaced])).toThrow('a batch of epoch 5');
  });

  test('that is damaged costs no record, is never read over by a follower, and makes the replica faulty', async () => {
    for (const at of [16, 40]) {
      const world = await worldOf(`damaged ${at}`);
      await world.close();
      const data = makeBatch({ valueBytes: 50 }).length;
      const start = 6 * data + 2 * START_BYTES;
      world.disk.rot(FIRST_LOG, start + at, byte => byte ^ 4);
      await world.open();
      expect(startsOf(world)).toEqual(STARTS);
      const { batches, stop } = await world.readFrom(0);
      expect([baseOffsetsOf(batches), stop]).toEqual([[0, 1, 2, 3, 4, 5, 6, 7], null]);
      expect(await world.drive(world.log.readAfter(positionAt(3, 6), { bytesMax: 1_000 }))).toMatchObject({
        kind: 'damaged',
      });
      expect(await follow(world, 6, 7)).toEqual([[6, 7]]);
      expect(world.log.condition).toMatchObject({ kind: 'faulty', claims: { epoch: 6, offset: 8 } });
      // Giving up what is damaged brings the start back: the checkpoint knows it.
      await world.close();
      expect(await world.acceptLoss()).toMatchObject([{ from: 6, to: 6, bytes: START_BYTES }]);
      await world.open();
      expect(world.log.damagedRanges).toEqual([]);
      expect((await follow(world, 0, 0)).map(([epoch]) => epoch)).toEqual([0, 0, 0, 0, 2, 2, 2, 3, 5, 6, 6, 6]);
      expect(world.log.condition).toEqual({ kind: 'sound' });
    }
  });

  test('at the very end that the file lost is missed', async () => {
    const world = await LogWorld.start({ seed: 'end' });
    await world.appendDurably();
    world.beginEpoch(4);
    await settled(world);
    await world.close();
    world.disk.resize(FIRST_LOG, world.disk.contents(FIRST_LOG).length - START_BYTES);
    const log = await world.open();
    expect(log.condition).toMatchObject({ kind: 'faulty', claims: { epoch: 4, offset: 1 } });
    expect(log.end).toEqual({ epoch: 4, offset: 1 });
    expect((await world.readFrom(0)).stop).toBeNull();
  });

  test('that is lost with its segments and the checkpoint still counts as acknowledged, over any number of starts', async () => {
    const world = await worldOf('claims', 300);
    await world.close();
    for (const file of world.files('.log').slice(1)) world.disk.erase(`${PARTITION}/${file}`);
    world.disk.erase(CHECKPOINT);
    for (let life = 0; life < 3; life++) {
      const log = await world.open();
      expect(log.condition).toMatchObject({ kind: 'faulty', claims: { epoch: 6, offset: 8 } });
      expect(log.end).toEqual({ epoch: 6, offset: 8 });
      await world.close();
    }
  });

  test.each([
    ['missing', (world: LogWorld) => world.disk.erase(CHECKPOINT)],
    ['older', (world: LogWorld) => world.disk.plant(CHECKPOINT, Buffer.from('0\n1\n2 4\n'))],
    ['of another log', (world: LogWorld) => world.disk.plant(CHECKPOINT, Buffer.from('0\n2\n2 4\n6 5\n'))],
  ])('comes from the log where the checkpoint is %s', async (name, damage) => {
    for (const segmentBytes of [300, 1_000_000]) {
      const world = await worldOf(`checkpoint ${name} ${segmentBytes}`, segmentBytes);
      await world.close();
      const before = Buffer.from(world.disk.contents(CHECKPOINT)).toString();
      damage(world);
      const log = await world.open();
      expect([startsOf(world), log.damagedRanges]).toEqual([STARTS, []]);
      expect((await world.readFrom(0)).stop).toBeNull();
      await world.close();
      expect(Buffer.from(world.disk.contents(CHECKPOINT)).toString()).toBe(before);
    }
  });

  test('in a segment that goes is told by the base, also without a checkpoint', async () => {
    const world = await worldOf('base', 300);
    await world.drive(world.log.advanceStart(offset(6)));
    const { base } = world.log.shape;
    expect(base.offset).toBeGreaterThan(3);
    const before = world.log.shape;
    await world.close();
    world.disk.erase(CHECKPOINT);
    await world.open();
    expect(world.log.shape).toEqual({ ...before, generation: before.generation + 1 });
    expect(world.log.damagedRanges).toEqual([]);
    const outcome = await world.drive(world.log.readAfter(positionAt(0, 2), { bytesMax: 100 }));
    expect(outcome.kind).toBe('below-start');
  });

  test('is all that is left of an epoch whose records were all deleted: as the base', async () => {
    const world = await worldOf('all');
    await world.drive(world.log.advanceStart(offset(8)));
    expect(world.files('.log')).toEqual([]);
    expect(world.log.shape).toMatchObject({ base: { epoch: 6, offset: 8 }, starts: [], logStart: 8, endOffset: 8 });
    await world.reopen();
    expect(world.log.shape).toMatchObject({ base: { epoch: 6, offset: 8 }, starts: [], logStart: 8, endOffset: 8 });
    await world.appendDurably({}, 6);
    expect(await follow(world, 6, 8)).toEqual([[6, 8]]);
  });

  test('does not come twice where a crash came between the deletion of everything and its files', async () => {
    for (let steps = 0; steps < 30; steps++) {
      for (const survival of [0, 0.5, 1]) {
        const world = await worldOf(`deleted ${steps} ${survival}`, steps % 2 === 0 ? 300 : 1_000_000);
        world.log.advanceStart(offset(8)).catch(() => undefined);
        for (let step = 0; step < steps; step++) await world.scheduler.step();
        world.crash(survival);
        const log = await world.open();
        expect([log.damagedRanges, log.end], `${steps}`).toEqual([[], { epoch: 6, offset: 8 }]);
        expect((await world.readFrom(log.startOffset)).stop).toBeNull();
        await world.appendDurably({}, 7);
        expect((await world.reopen()).end).toEqual({ epoch: 7, offset: 9 });
        expect(world.log.damagedRanges).toEqual([]);
      }
    }
  });
});

describe('a configuration', () => {
  test('is an entry with an offset of its own that recovery and followers take like a batch', async () => {
    const world = await worldOf('configuration');
    const voters = ['1/0a0b0c0d-1111-4222-8333-444444444444'];
    const configuration = { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    const batch = encodeConfiguration(configuration, { epoch: 6, baseOffset: 8, timestamp: 5_000 });
    const bytes = Buffer.from(batch);
    expect(world.log.appendReplicated([batch])).toEqual({ ok: true, baseOffset: 8, endOffset: 9 });
    await settled(world);
    world.crash(0);
    await world.open();
    expect(world.log.end).toEqual({ epoch: 6, offset: 9 });
    const outcome = await world.drive(world.log.readAfter(positionAt(6, 8), { bytesMax: 1_000 }));
    expect(outcome.kind === 'batches' && outcome.batches.map(each => Buffer.from(each).equals(bytes))).toEqual([true]);
  });
});

describe('a follower reads', () => {
  test.each([0, 1_000_000])(
    'what stands behind a position, epoch starts included, with a cache of %i bytes',
    async cache => {
      for (const segmentBytes of [250, 1_000_000]) {
        const world = await worldOf(`follow ${cache} ${segmentBytes}`, segmentBytes, cache);
        const all = await follow(world, 0, 0);
        const expected = [
          [0, 0],
          [0, 1],
          [0, 2],
          [0, 3],
          [2, 4],
          [2, 4],
          [2, 5],
          [3, 6],
          [5, 6],
          [6, 6],
          [6, 6],
          [6, 7],
        ];
        // One answer ends with its segment at the latest.
        expect(expected.slice(0, all.length)).toEqual(all);
        const behind = async (epoch: number, at: number): Promise<(readonly number[])[]> => follow(world, epoch, at, 1);
        expect(await behind(0, 3)).toEqual([[0, 3]]);
        expect(await behind(0, 4)).toEqual([[2, 4]]);
        expect(await behind(2, 4)).toEqual([[2, 4]]);
        expect(await behind(2, 6)).toEqual([[3, 6]]);
        expect(await behind(3, 6)).toEqual([[5, 6]]);
        expect(await behind(5, 6)).toEqual([[6, 6]]);
        expect(await behind(6, 6)).toEqual([[6, 6]]);
        expect(await behind(6, 8)).toEqual([]);
        for (const [epoch, at] of [
          [0, 5],
          [1, 4],
          [4, 6],
          [2, 7],
          [6, 9],
          [7, 8],
        ] as const) {
          const outcome = await world.drive(world.log.readAfter(positionAt(epoch, at), { bytesMax: 1 }));
          expect(outcome, `${epoch}/${at}`).toEqual({ kind: 'not-held' });
        }
      }
    },
  );

  test('what is appended and not yet durable, from the cache', async () => {
    const world = await worldOf('unsynced', 1_000_000, 1_000_000);
    world.append({}, 6);
    expect(world.log.durableOffset).toBe(8);
    expect(await follow(world, 6, 8)).toEqual([[6, 8]]);
  });

  test('nothing where the cache has no room and the disk does not have it yet', async () => {
    const world = await worldOf('unwritten');
    world.disk.judge = call => (call.kind === 'write' ? { kind: 'slow', delayMs: 1_000 } : usual);
    world.append({}, 6);
    expect(await follow(world, 6, 8)).toEqual([]);
    world.disk.judge = () => usual;
    await settled(world);
    expect(await follow(world, 6, 8)).toEqual([[6, 8]]);
  });

  test('the start of an epoch though only what stands behind it at the same offset is cached', async () => {
    const world = await LogWorld.start({ seed: 'start before the cache' });
    world.beginEpoch(1);
    await settled(world);
    world.crash();
    await world.open();
    await world.appendDurably({}, 1);
    expect(await follow(world, 0, 0)).toEqual([
      [1, 0],
      [1, 0],
    ]);
    expect(await follow(world, 1, 0)).toEqual([[1, 0]]);
  });

  test('nothing that a failed sync dropped, though it is in the file', async () => {
    const world = await worldOf('dropped');
    world.disk.judge = call => (call.kind === 'sync' ? { kind: 'fault', fault: 'failed' } : usual);
    world.append({}, 6);
    world.append({}, 7);
    await world.scheduler.driveUntil(() => world.log.state === 'failed');
    world.disk.judge = () => usual;
    expect(world.log.end).toEqual({ epoch: 6, offset: 8 });
    expect(await follow(world, 6, 7)).toEqual([[6, 7]]);
    expect(world.log.damagedRanges).toEqual([]);
  });

  test.each([
    ['the disk', 0, 2],
    ['the cache', 10_000_000, 5],
  ])('what follows in pieces, from %s', async (_source, tailCacheBytes, count) => {
    const world = await LogWorld.start({ seed: 'pieces', tailCacheBytes });
    for (let turn = 0; turn < 5; turn++) await world.appendDurably({ valueBytes: 100_000 });
    const read = await world.drive(world.log.readAfter(positionAt(0, 0), { bytesMax: 1_000_000 }));
    if (read.kind !== 'batches') throw new Error(`read: ${read.kind}`);
    // A piece from the disk is all worked on in one go.
    expect(read.batches).toHaveLength(count);
    expect(FOLLOWER_READ_BYTES_MAX).toBeLessThan(3 * 100_000);
  });

  test('no damage where a cut came while it read', async () => {
    for (let steps = 0; steps < 25; steps++) {
      const world = await worldOf(`meanwhile ${steps}`);
      const reading = Promise.all([
        world.log.readAfter(positionAt(0, 0), { bytesMax: 10_000 }),
        world.log.read(offset(0), { endMax: offset(8), bytesMax: 10_000 }),
      ]);
      for (let step = 0; step < steps % 5; step++) await world.scheduler.step();
      const cutting = world.log.cut(positionAt(2, 5));
      for (let step = 0; step < steps / 5; step++) await world.scheduler.step();
      await world.drive(Promise.all([reading, cutting]));
      await world.appendDurably({ valueBytes: 200 }, 9);
      expect(world.log.damagedRanges, `${steps}`).toEqual([]);
    }
  });
});

describe('a cut to a position', () => {
  test.each([250, 1_000_000])('takes epoch starts at one offset apart, in segments of %i bytes', async segmentBytes => {
    for (const [epoch, at, left] of [
      [6, 7, 4],
      [6, 6, 4],
      [5, 6, 3],
      [3, 6, 2],
      [2, 6, 1],
      [2, 5, 1],
      [2, 4, 1],
      [0, 4, 0],
      [0, 0, 0],
    ] as const) {
      const world = await worldOf(`apart ${epoch} ${at} ${segmentBytes}`, segmentBytes, 1_000_000);
      const { generation } = world.log;
      world.notices = [];
      await world.drive(world.log.cut(positionAt(epoch, at)));
      expect(world.log.end).toEqual({ epoch, offset: at });
      expect(world.log.generation).toBe(generation + 1);
      expect(world.notices).toEqual([{ generation: generation + 1, position: { epoch, offset: at } }]);
      expect(startsOf(world)).toEqual(STARTS.slice(0, left));
      world.crash(0);
      await world.open();
      expect([world.log.end, startsOf(world), world.log.damagedRanges]).toEqual([
        { epoch, offset: at },
        STARTS.slice(0, left),
        [],
      ]);
      await world.appendDurably({ name: 'new' }, 9);
      expect(startsOf(await (async () => (await world.reopen(), world))())).toEqual([
        ...STARTS.slice(0, left),
        [9, at],
      ]);
      await world.close();
      expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
    }
  });

  test('to an entry that the log does not hold is a broken invariant', async () => {
    const world = await worldOf('hold');
    await expect(world.log.cut(positionAt(4, 6))).rejects.toThrow('does not hold');
    await expect(world.log.cut(positionAt(6, 9))).rejects.toThrow('does not hold');
  });

  test('below the log start takes the start along', async () => {
    const world = await worldOf('below');
    await world.drive(world.log.advanceStart(offset(6)));
    await world.drive(world.log.cut(positionAt(2, 5)));
    expect([world.log.startOffset, world.log.endOffset]).toEqual([5, 5]);
    world.crash(0);
    expect((await world.open()).startOffset).toBe(5);
    await world.appendDurably({}, 8);
    expect(await follow(world, 2, 5)).toEqual([
      [8, 5],
      [8, 5],
    ]);
  });

  test('of a log that met a full disk is done, before there is room again', async () => {
    const world = await worldOf('full');
    world.disk.capacityBytes = world.disk.usedBytes();
    world.append({ valueBytes: 20_000 }, 6);
    await world.scheduler.driveUntil(() => world.log.state === 'full');
    await world.drive(world.log.cut(positionAt(2, 5)));
    world.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    await world.scheduler.driveUntil(() => world.log.state === 'open');
    await world.appendDurably({}, 7);
    expect(baseOffsetsOf((await world.readFrom(0)).batches)).toEqual([0, 1, 2, 3, 4, 5]);
    expect((await world.reopen()).damagedRanges).toEqual([]);
    expect(world.log.end).toEqual({ epoch: 7, offset: 6 });
  });
});

describe('a follower that is read for while its place is dropped', () => {
  test('is told so, and nothing counts as damage', async () => {
    const kinds = new Set<string>();
    for (let steps = 0; steps < 30; steps++) {
      const world = await worldOf(`dropped ${steps}`, 300);
      const reading = world.log.readAfter(positionAt(0, 1), { bytesMax: 100_000 });
      const dropping = world.log.advanceStart(offset(7));
      for (let step = 0; step < steps; step++) await world.scheduler.step();
      const early = world.log.readAfter(positionAt(2, 5), { bytesMax: 100_000 });
      for (const outcome of [await world.drive(reading), await world.drive(early)]) kinds.add(outcome.kind);
      await world.drive(dropping);
      expect(world.log.damagedRanges).toEqual([]);
    }
    expect([...kinds].sort()).toEqual(['batches', 'below-start']);
  });
});

describe('a snapshot', () => {
  const BASE = positionAt(9, 50);

  test('takes the place of the log, which goes on behind it', async () => {
    const world = await worldOf('install', 300, 1_000_000);
    const { generation } = world.log;
    world.notices = [];
    await world.drive(world.log.install(BASE));
    expect(world.notices).toEqual([{ generation: generation + 1, position: BASE }]);
    expect(world.log.durable).toEqual(BASE);
    expect(world.log.shape).toEqual({
      base: BASE,
      starts: [],
      logStart: 50,
      endOffset: 50,
      generation: generation + 1,
    });
    expect(world.files('.log')).toEqual([]);
    await world.appendDurably({}, 9);
    world.crash(0);
    await world.open();
    expect(world.log.shape).toMatchObject({ base: BASE, starts: [], logStart: 50, endOffset: 51 });
    expect(await follow(world, 9, 50)).toEqual([[9, 50]]);
    expect(world.disk.filePaths().filter(path => /-(install|replaced)\//.test(path))).toEqual([]);
    expect(world.log.condition).toEqual({ kind: 'sound' });
  });

  test('drops what was queued, and says nothing of it', async () => {
    const world = await worldOf('queued');
    world.append({ valueBytes: 500 }, 6);
    world.notices = [];
    const installing = world.log.install(BASE);
    expect(() => world.append({}, 6)).toThrow('during a cut');
    await world.drive(installing);
    expect(world.notices.map(notice => notice.position)).toEqual([BASE]);
  });

  test('interrupted by a crash at any step leaves the old log or the new one', async () => {
    const outcomes = new Set<number>();
    for (let steps = 0; steps < 90; steps++) {
      for (const death of ['kill', 'power'] as const) {
        const world = await worldOf(`steps ${steps}`, 300);
        world.log.install(BASE).catch(() => undefined);
        for (let step = 0; step < steps; step++) await world.scheduler.step();
        if (death === 'kill') world.kill();
        else world.crash();
        await world.open();
        const { end } = world.log;
        outcomes.add(end.offset);
        expect([8, 50]).toContain(end.offset);
        expect(world.log.damagedRanges).toEqual([]);
        expect((await world.readFrom(world.log.startOffset)).batches).toHaveLength(end.offset === 8 ? 8 : 0);
        await world.appendDurably({}, 10);
        world.crash(0);
        expect((await world.open()).end).toEqual({ epoch: 10, offset: end.offset + 1 });
        expect(world.disk.filePaths().filter(path => /-(install|replaced)\//.test(path))).toEqual([]);
      }
    }
    expect(outcomes).toEqual(new Set([8, 50]));
  });

  test('that the disk refuses poisons the log', async () => {
    const world = await worldOf('refused');
    world.disk.judge = call => (call.kind === 'rename' ? { kind: 'fault', fault: 'failed' } : usual);
    await expect(world.drive(world.log.install(BASE))).rejects.toMatchObject({ kind: 'failed' });
    world.disk.judge = () => usual;
    expect(world.log.state).toBe('failed');
    expect(world.log.condition).toMatchObject({ kind: 'faulty', isWritable: false });
    // Nothing of the log that was replaced: it is lower.
    expect(world.log.shape).toMatchObject({ base: BASE, starts: [], endOffset: BASE.offset });
    expect(world.log.durable).toEqual(BASE);
  });
});

describe('a log whose writes are not synced', () => {
  const interval = { flushMode: 'interval', flushMs: Number.POSITIVE_INFINITY } as const;

  test('is recovering unless it was stopped', async () => {
    const world = await LogWorld.start({ seed: 'interval', settings: interval });
    await world.appendDurably();
    expect(world.log.condition).toEqual({ kind: 'sound' });
    expect((await world.reopen()).condition).toEqual({ kind: 'sound' });
    await world.appendDurably();
    world.kill();
    expect((await world.open()).condition).toEqual({ kind: 'recovering' });
    expect((await world.reopen()).condition).toEqual({ kind: 'sound' });
  });

  test('is never sound with less than it was said to have', async () => {
    let lossless = 0;
    for (let steps = 0; steps < 60; steps++) {
      const world = await LogWorld.start({ seed: `mark ${steps}`, settings: interval });
      await world.appendDurably({ valueBytes: 5_000 });
      await world.reopen();
      world.append({ valueBytes: 5_000 });
      for (let step = 0; step < steps; step++) await world.scheduler.step();
      const noticed = world.notices.at(-1)?.position.offset ?? 1;
      world.crash(0);
      const log = await world.open();
      if (log.condition.kind === 'sound') {
        lossless++;
        expect(log.endOffset, `${steps} steps`).toBeGreaterThanOrEqual(noticed);
      }
    }
    expect(lossless).toBeGreaterThan(0);
    expect(lossless).toBeLessThan(60);
  });
});

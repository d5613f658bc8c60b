// Giving damaged records up: what becomes a gap, what is kept, and that no crash on the way leaves anything in between.

import { describe, expect, test } from 'vitest';
import { offset } from '@sluice/protocol/ids';
import { emptyBatch, inspectBatch, RecordCursor } from '@sluice/protocol/record';
import { usual } from '../simulation/disk.ts';
import { stride } from './crash-share.ts';
import { makeBatch, recordsOf } from './batches.ts';
import { LogWorld, nextOffsetOf, PARTITION } from './log-world.ts';
import { judgeFiles } from './partition-files.ts';

const pathOf = (base: number, suffix = 'log'): string => `${PARTITION}/${String(base).padStart(20, '0')}.${suffix}`;

/** Of every batch here. */
const BATCH_BYTES = makeBatch({ count: 2, valueBytes: 20 }).length;

/** Twelve batches of two records; a segment holds four of them. Closed. */
const worldOf = async (seed: string, segmentBytes = 4 * BATCH_BYTES): Promise<LogWorld> => {
  const world = await LogWorld.start({ seed, tailCacheBytes: 0, settings: { segmentBytes, indexIntervalBytes: 1 } });
  for (let turn = 0; turn < 12; turn++) {
    await world.appendDurably({ count: 2, valueBytes: 20, timestamp: 10_000 + turn * 10, name: `b${turn}` });
  }
  await world.close();
  return world;
};

const segmentsOf = (world: LogWorld): number[] => world.files('.log').map(name => Number.parseInt(name, 10));

/** Offsets of all records that a reader gets by going on where each answer ends, and whatever stops it. */
const readAll = async (world: LogWorld): Promise<(number | string)[]> => {
  const { log } = world;
  const read: (number | string)[] = [];
  for (let at: number = log.startOffset; at < log.durableOffset; ) {
    const outcome = await world.drive(log.read(offset(at), { endMax: log.durableOffset, bytesMax: 300 }));
    if (outcome.kind === 'damaged') {
      read.push(`damaged ${outcome.range.from} to ${outcome.range.to}`);
      at = outcome.range.to;
      continue;
    }
    if (outcome.kind !== 'batches' || outcome.batches.length === 0) throw new Error(JSON.stringify(outcome));
    read.push(...outcome.batches.flatMap(batch => recordsOf(batch).map(record => record.offset)));
    at = nextOffsetOf(outcome.batches);
  }
  return read;
};

const without = (end: number, ...gone: readonly number[]): number[] =>
  Array.from({ length: end }, (_, at) => at).filter(at => !gone.includes(at));

/** Nothing is damaged, the files are in order, and records go on at the end, now and after a loss of power. */
const expectWhole = async (world: LogWorld, records: readonly number[], end = 24): Promise<void> => {
  await world.open();
  expect(world.log).toMatchObject({ damagedRanges: [], endOffset: end });
  expect(await readAll(world)).toEqual(records);
  await world.appendDurably({ count: 2 });
  const more = [...records, end, end + 1];
  expect(await readAll(world)).toEqual(more);
  await world.close();
  expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
  await world.open();
  world.crash(0);
  await world.open();
  expect(world.log.damagedRanges).toEqual([]);
  expect(await readAll(world)).toEqual(more);
  await world.close();
};

describe('the batch that stands for a gap', () => {
  test('is a batch that keeps its offsets and holds no record', () => {
    const batch = emptyBatch({ baseOffset: 5, lastOffset: 9, leaderEpoch: 3 });
    expect(inspectBatch(batch, 0, { bytesMax: 61, verifyCrc: true })).toEqual({ ok: true, byteLength: 61 });
    expect(nextOffsetOf([batch])).toBe(10);
    const opened = RecordCursor.open(batch);
    expect(opened.ok && !opened.cursor.next() && opened.cursor.fault).toBeNull();
  });

  test.each([
    [5, 4],
    [0, 2 ** 31],
    [-1, 3],
  ])('does not span %i to %i', (baseOffset, lastOffset) => {
    expect(() => emptyBatch({ baseOffset, lastOffset, leaderEpoch: 0 })).toThrow(RangeError);
  });
});

describe('giving damaged records up', () => {
  test('changes nothing where nothing is damaged', async () => {
    const world = await worldOf('whole');
    const before = world.files('.log').map(name => world.disk.contents(`${PARTITION}/${name}`).join());
    expect(await world.acceptLoss()).toEqual([]);
    expect(world.files('.log').map(name => world.disk.contents(`${PARTITION}/${name}`).join())).toEqual(before);
    await expectWhole(world, without(24));
  });

  test('turns a damaged batch of a sealed segment into a gap, and keeps its bytes', async () => {
    const world = await worldOf('sealed');
    world.disk.rot(pathOf(0), BATCH_BYTES + 70, byte => byte ^ 1);
    const evidence = world.disk.contents(pathOf(0)).slice(BATCH_BYTES, 2 * BATCH_BYTES);
    expect(await world.acceptLoss()).toEqual([
      {
        file: pathOf(0),
        evidence: pathOf(0, 'damaged-2-3'),
        from: 2,
        to: 4,
        bytes: BATCH_BYTES,
        reason: expect.stringContaining('crc'),
      },
    ]);
    expect([...world.disk.durableContents(pathOf(0, 'damaged-2-3'))]).toEqual([...evidence]);
    await expectWhole(world, without(24, 2, 3));
  });

  test('in the last segment, among the synced records', async () => {
    const world = await worldOf('last', 100_000);
    for (const batch of [0, 5, 6]) world.disk.rot(pathOf(0), batch * BATCH_BYTES + 80, byte => byte ^ 255);
    expect(await world.acceptLoss()).toMatchObject([
      { from: 0, to: 2, bytes: BATCH_BYTES },
      { from: 10, to: 14, bytes: 2 * BATCH_BYTES },
    ]);
    expect(segmentsOf(world)).toEqual([0, 24]);
    await expectWhole(world, without(24, 0, 1, 10, 11, 12, 13));
  });

  test.each([0, 1, 60, BATCH_BYTES - 1])('at an end that is gone, with %i bytes of its last batch left', async left => {
    const world = await worldOf(`end ${left}`, 100_000);
    world.disk.resize(pathOf(0), 10 * BATCH_BYTES + left);
    expect(await world.acceptLoss()).toMatchObject([{ from: 20, to: 24, bytes: left }]);
    await expectWhole(world, without(24, 20, 21, 22, 23));
  });

  test('of segments that are missing: the first, one in between, the last, all of them', async () => {
    const bases = segmentsOf(await worldOf('bases'));
    const spanOf = (index: number): number[] => without(bases[index + 1] ?? 24).filter(at => at >= bases[index]!);
    for (const missing of [[0], [1], [bases.length - 1], [0, 1], bases.map((_, index) => index)]) {
      const world = await worldOf(`missing ${missing.join()}`);
      for (const index of missing) world.disk.erase(pathOf(bases[index]!));
      expect((await world.acceptLoss()).map(({ evidence, bytes }) => ({ evidence, bytes }))).toEqual([
        { evidence: null, bytes: 0 },
      ]);
      await expectWhole(world, without(24, ...missing.flatMap(spanOf)));
    }
  });

  test('finds its way by time past a gap', async () => {
    const world = await worldOf('time');
    world.disk.rot(pathOf(0), 70, byte => byte ^ 1);
    await world.acceptLoss();
    await world.open();
    const find = (time: number) => world.drive(world.log.findTimestamp(time, offset(24)));
    expect(await find(0)).toEqual({ offset: 2, timestampMs: 10_010 });
    expect(await find(10_001)).toEqual({ offset: 2, timestampMs: 10_010 });
    expect(await find(10_111)).toEqual({ offset: 23, timestampMs: 10_111 });
    expect(await find(10_112)).toBeNull();
  });

  test('is not asked to give up what was deleted before', async () => {
    const world = await worldOf('deleted');
    await world.open();
    await world.drive(world.log.advanceStart(offset(13)));
    await world.close();
    expect(await world.acceptLoss()).toEqual([]);
  });

  test.each(['sealed', 'last', 'end', 'missing'] as const)(
    'leaves the old log or the new one, whatever step a crash comes in, and again in its recovery: %s',
    { timeout: 240_000 },
    async kind => {
      const damage = async (seed: string): Promise<{ world: LogWorld; gone: number[]; damaged: string }> => {
        const world = await worldOf(seed, kind === 'sealed' || kind === 'missing' ? 4 * BATCH_BYTES : 100_000);
        if (kind === 'missing') {
          const [, second, third] = segmentsOf(world);
          world.disk.erase(pathOf(second!));
          const gone = without(third!).filter(at => at >= second!);
          return { world, gone, damaged: `damaged ${second} to ${third}` };
        }
        if (kind === 'end') {
          world.disk.resize(pathOf(0), 11 * BATCH_BYTES + 30);
          return { world, gone: [22, 23], damaged: 'damaged 22 to 24' };
        }
        world.disk.rot(pathOf(0), BATCH_BYTES + 70, byte => byte ^ 1);
        return { world, gone: [2, 3], damaged: 'damaged 2 to 4' };
      };
      const reached = new Set<string>();
      const end = { isReached: false };
      for (let steps = 0; !end.isReached; steps += stride(5)) {
        const { world, gone, damaged } = await damage(`${kind} ${steps}`);
        const bytesBefore = new Set(
          world.files('.log').map(name => `${name} ${world.disk.contents(`${PARTITION}/${name}`).join()}`),
        );
        const work = world.beginAcceptLoss().then(() => {
          end.isReached = true;
        });
        work.catch(() => undefined);
        for (let step = 0; step < steps && !end.isReached; step++) await world.scheduler.step();
        if (steps % 4 === 0) world.kill();
        else world.crash();
        world.beginOpen().catch(() => undefined);
        for (let step = 0; step < (steps * 7) % 60; step++) await world.scheduler.step();
        world.crash();
        await world.open();
        // Looked at batch by batch: damage of a segment that is trusted is found on reading.
        const old = without(24, ...gone) as (number | string)[];
        old.splice(
          old.findIndex(at => Number(at) > gone[0]!) === -1 ? old.length : old.findIndex(at => Number(at) > gone[0]!),
          0,
          damaged,
        );
        const read = await readAll(world);
        const isOld = read.some(each => typeof each === 'string');
        reached.add(isOld ? 'old' : 'new');
        expect(read, `${steps} steps`).toEqual(isOld ? old : without(24, ...gone));
        if (isOld && kind !== 'missing') {
          const present = world
            .files('.log')
            .map(name => `${name} ${world.disk.contents(`${PARTITION}/${name}`).join()}`);
          expect(
            present.some(each => bytesBefore.has(each)),
            `${steps} steps`,
          ).toBe(true);
        }
        expect((await world.appendDurably({ count: 2 })).baseOffset).toBe(24);
        await world.close();
        // Whatever was left can be finished.
        await world.acceptLoss();
        await world.open();
        expect(await readAll(world), `${steps} steps`).toEqual([...without(24, ...gone), 24, 25]);
        expect(world.log.damagedRanges).toEqual([]);
        await world.close();
        expect(judgeFiles(world.disk, PARTITION).faults, `${steps} steps`).toEqual([]);
      }
      expect([...reached].sort()).toEqual(['new', 'old']);
    },
  );

  test('on a full disk leaves the old log', async () => {
    const world = await worldOf('full', 100_000);
    world.disk.rot(pathOf(0), BATCH_BYTES + 70, byte => byte ^ 1);
    world.disk.capacityBytes = world.disk.usedBytes() + 300_000;
    world.disk.judge = call =>
      call.kind === 'write' && call.path.endsWith('.tmp') && call.path.includes('.log')
        ? { kind: 'fault', fault: 'full' }
        : usual;
    await expect(world.acceptLoss()).rejects.toMatchObject({ kind: 'full' });
    world.disk.judge = () => usual;
    world.crash(1);
    await world.open();
    expect(await readAll(world)).toEqual([0, 1, 'damaged 2 to 4', ...without(24).slice(4)]);
    expect(world.files('.tmp')).toEqual([]);
  });
});

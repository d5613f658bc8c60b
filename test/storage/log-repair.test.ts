// Damaged parts of a log fetched again from another replica, whatever was damaged and wherever a crash comes.

import { describe, expect, test } from 'vitest';
import { offset } from '@sluice/protocol/ids';
import { readBaseOffset, readLastOffset, readLeaderEpoch } from '@sluice/protocol/record';
import { comparePositions, type Position, positionAt } from '../../server/base/position.ts';
import type { RepairOutcome, RepairSource } from '../../server/storage/log-repair.ts';
import { stride } from './crash-share.ts';
import { cutShort, type Death } from './cut-short.ts';
import { LogWorld, PARTITION } from './log-world.ts';
import { judgeFiles } from './partition-files.ts';

const BATCHES = 10;
const SEGMENT_BYTES = 500;

/** Segments of a few batches; epochs that begin in the middle of one, at the end of one, and without a record. */
const worldOf = async (seed: string): Promise<LogWorld> => {
  const settings = { segmentBytes: SEGMENT_BYTES, indexIntervalBytes: 100 };
  const world = await LogWorld.start({ seed, tailCacheBytes: 0, settings });
  for (let turn = 0; turn < BATCHES; turn++) {
    if (turn === 7) for (const epoch of [3, 4]) world.beginEpoch(epoch);
    const epoch = turn < 2 ? 0 : turn < 5 ? 1 : turn < 7 ? 2 : 5;
    await world.appendDurably({ count: 2, valueBytes: 40, timestamp: 1_000 + turn * 10, name: `b${turn}` }, epoch);
  }
  return world;
};

const positionOf = (batch: Uint8Array): Position => positionAt(readLeaderEpoch(batch, 0), readLastOffset(batch, 0) + 1);

/** All entries of a log behind a position, as a follower is given them. */
const entriesOf = async (world: LogWorld, from = world.log.shape.base): Promise<readonly Uint8Array[]> => {
  const entries: Uint8Array[] = [];
  let at = from;
  while (comparePositions(at, world.log.durable) < 0) {
    const read = await world.drive(world.log.readAfter(at, { bytesMax: 400 }));
    if (read.kind !== 'batches' || read.batches.length === 0) throw new Error(`the log cannot be read: ${read.kind}`);
    entries.push(...read.batches);
    at = positionOf(read.batches.at(-1)!);
  }
  return entries;
};

/** Another replica, which has all that this one had. */
const replicaOf = (entries: readonly Uint8Array[], piece = 2): RepairSource => ({
  batchesAfter: after => {
    const behind = entries.filter(batch => comparePositions(positionOf(batch), after) > 0).slice(0, piece);
    return Promise.resolve(behind.length === 0 ? null : behind);
  },
});

interface Kept {
  readonly world: LogWorld;
  readonly entries: readonly Uint8Array[];
  /** Log files by name. */
  readonly files: ReadonlyMap<string, string>;
}

const logFiles = (world: LogWorld): ReadonlyMap<string, string> =>
  new Map(
    world.files('.log').map(name => [name, Buffer.from(world.disk.contents(`${PARTITION}/${name}`)).toString('hex')]),
  );

const kept = async (seed: string): Promise<Kept> => {
  const world = await worldOf(seed);
  return { world, entries: await entriesOf(world), files: logFiles(world) };
};

const repairAll = async (world: LogWorld, source: RepairSource): Promise<readonly RepairOutcome[]> => {
  const outcomes: RepairOutcome[] = [];
  for (;;) {
    const outcome = await world.drive(world.log.repair(source));
    if (outcome.kind === 'nothing-damaged') return outcomes;
    outcomes.push(outcome);
    if (outcome.kind === 'not-now') return outcomes;
  }
};

/** Everything is as it was before the damage, now and after the next start. */
const expectWhole = async ({ world, entries, files }: Kept): Promise<void> => {
  for (const turn of ['repaired', 'opened again']) {
    expect(world.log.damagedRanges, turn).toEqual([]);
    expect(world.log.condition, turn).toEqual({ kind: 'sound' });
    expect(await entriesOf(world), turn).toEqual(entries);
    expect(logFiles(world), turn).toEqual(files);
    await world.close();
    expect(judgeFiles(world.disk, PARTITION).faults, turn).toEqual([]);
    expect(world.files('.tmp')).toEqual([]);
    await world.open();
  }
};

const names = (files: ReadonlyMap<string, string>): readonly string[] => [...files.keys()].sort();
const pathOf = (name: string): string => `${PARTITION}/${name}`;

/** Reads all that clients and followers can. */
const readThrough = async (world: LogWorld): Promise<void> => {
  for (let at = world.log.startOffset as number; at < world.log.durableOffset; at++) {
    await world.drive(world.log.read(offset(at), { endMax: world.log.durableOffset, bytesMax: 1 }));
  }
  for (const { epoch, startOffset } of [world.log.shape.base, ...world.log.shape.starts].map(place =>
    'startOffset' in place ? place : { epoch: place.epoch, startOffset: place.offset },
  )) {
    await world.drive(world.log.readAfter({ epoch, offset: startOffset }, { bytesMax: 1 }));
  }
};

test('the segments of these tests hold starts of epochs in several places', async () => {
  const { world, files } = await kept('shape');
  expect(names(files).length).toBeGreaterThan(3);
  expect(world.log.shape.starts.map(start => start.epoch)).toEqual([1, 2, 3, 4, 5]);
});

describe('a sealed segment', () => {
  test('of which any byte is wrong is as it was before', async () => {
    const { files } = await kept('lengths');
    const [first, second] = names(files);
    for (const name of [first!, second!]) {
      const { length } = Buffer.from(files.get(name)!, 'hex');
      for (let at = 0; at < length; at += 1 + stride(3)) {
        const here = await kept(`byte ${at}`);
        const { world } = here;
        world.disk.rot(pathOf(name), at, byte => byte ^ 0x10);
        await readThrough(world);
        expect(world.log.damagedRanges, `byte ${at} of ${name}`).toHaveLength(1);
        expect(world.log.condition.kind).toBe('faulty');
        expect((await repairAll(world, replicaOf(here.entries))).map(each => each.kind)).toEqual(['repaired']);
        await expectWhole(here);
      }
    }
  });

  test('with damage in several places is fetched in one turn', async () => {
    const here = await kept('several');
    const { world, files } = here;
    const name = names(files)[0]!;
    const { length } = Buffer.from(files.get(name)!, 'hex');
    // The first batch, and the epoch start behind the second one.
    for (const at of [30, length - 5]) world.disk.rot(pathOf(name), at, byte => byte ^ 1);
    await readThrough(world);
    expect(world.log.damagedRanges.length).toBeGreaterThan(1);
    const outcomes = await repairAll(world, replicaOf(here.entries, 1));
    expect(outcomes).toMatchObject([{ kind: 'repaired', repaired: { file: pathOf(name) } }]);
    await expectWhole(here);
  });

  test('that is shorter than it was, or empty, is filled up', async () => {
    const { files } = await kept('lengths');
    for (const name of names(files).slice(0, -1)) {
      const { length } = Buffer.from(files.get(name)!, 'hex');
      for (const left of [0, 1, 61, 100, Math.floor(length / 2), length - 61, length - 1]) {
        const here = await kept(`shorter ${name} ${left}`);
        await here.world.close();
        here.world.disk.resize(pathOf(name), left);
        await here.world.open();
        expect(here.world.log.condition.kind, `${left} bytes of ${name}`).toBe('faulty');
        await repairAll(here.world, replicaOf(here.entries));
        await expectWhole(here);
      }
    }
  });
});

describe('a segment that is missing', () => {
  test.each([[[0]], [[1]], [[2]], [[0, 1]], [[1, 2]], [[0, 2]]])('is fetched whole: %j', async missing => {
    const here = await kept(`missing ${missing.join()}`);
    const { world, files } = here;
    await world.close();
    for (const index of missing) world.disk.erase(pathOf(names(files)[index]!));
    await world.open();
    expect(world.log.condition.kind).toBe('faulty');
    await repairAll(world, replicaOf(here.entries));
    await expectWhole(here);
  });

  test('beside one that is damaged', async () => {
    const here = await kept('missing and damaged');
    const { world, files } = here;
    await world.close();
    world.disk.erase(pathOf(names(files)[2]!));
    world.disk.resize(pathOf(names(files)[1]!), 150);
    await world.open();
    await repairAll(world, replicaOf(here.entries));
    await expectWhole(here);
  });

  test('with all the others: what was acknowledged is fetched', async () => {
    const here = await kept('all');
    const { world, entries } = here;
    await world.close();
    for (const suffix of ['log', 'index']) for (const name of world.files(suffix)) world.disk.erase(pathOf(name));
    await world.open();
    expect(world.log.condition.kind).toBe('faulty');
    await repairAll(world, replicaOf(entries));
    // Which segment is the last one is not what it was: the next record begins one of its own.
    expect(world.log.damagedRanges).toEqual([]);
    expect(await entriesOf(world)).toEqual(entries);
    const { endOffset } = await world.appendDurably({}, 6);
    await world.reopen();
    expect(world.log.condition).toEqual({ kind: 'sound' });
    expect([world.log.endOffset, (await entriesOf(world)).length]).toEqual([endOffset, entries.length + 2]);
  });
});

describe('the active segment', () => {
  const damaged = async (seed: string): Promise<Kept & { readonly name: string }> => {
    const here = await kept(seed);
    const name = names(here.files).at(-1)!;
    here.world.disk.rot(pathOf(name), 70, byte => byte ^ 1);
    await readThrough(here.world);
    expect(here.world.log.damagedRanges).toMatchObject([{ file: pathOf(name) }]);
    return { ...here, name };
  };

  test('is as it was before', async () => {
    const here = await damaged('active');
    await repairAll(here.world, replicaOf(here.entries));
    await expectWhole(here);
  });

  test('takes appends while it is repaired, and has them afterwards', async () => {
    const here = await damaged('appends');
    const { world } = here;
    const source = replicaOf(here.entries);
    let turns = 0;
    const outcome = await world.drive(
      world.log.repair({
        batchesAfter: after => {
          world.append({ valueBytes: 20, name: `while ${turns++}` }, 5);
          return source.batchesAfter(after);
        },
      }),
    );
    expect([outcome.kind, turns > 0]).toEqual(['repaired', true]);
    const { endOffset } = await world.appendDurably({}, 5);
    for (let turn = 0; turn < 2; turn++) {
      expect(world.log.condition).toEqual({ kind: 'sound' });
      const entries = await entriesOf(world);
      expect(entries.slice(0, here.entries.length)).toEqual(here.entries);
      expect([entries.length, world.log.endOffset]).toEqual([here.entries.length + turns + 1, endOffset]);
      await world.reopen();
    }
  });
});

describe('a cut in a segment that is damaged', () => {
  /** Of the second segment, whose batches have the offsets 4, 6 and 8 (epoch 1), and a start of epoch 2 at its end or behind it. */
  test.each([
    ['behind the damage', 6, 10],
    ['between two damages', 4, 8],
    ['in front of the damage', 8, 8],
  ])('%s leaves the rest, which can be repaired', async (_where, damagedAt, cutAt) => {
    const here = await kept(`cut ${damagedAt} ${cutAt}`);
    const { world, files, entries } = here;
    const path = pathOf(names(files)[1]!);
    const before = judgeFiles(world.disk, PARTITION).segments[1]!.batches;
    const at = before.find(batch => readBaseOffset(batch.bytes, 0) === damagedAt)!.position;
    world.disk.rot(path, at + 70, byte => byte ^ 1);
    if (damagedAt === 4) {
      const last = before.find(batch => readBaseOffset(batch.bytes, 0) === 8)!.position;
      world.disk.rot(path, last + 70, byte => byte ^ 1);
    }
    await readThrough(world);
    expect(world.log.condition.kind).toBe('faulty');
    await world.drive(world.cutFrom(cutAt));
    expect([world.log.state, world.log.endOffset]).toEqual(['open', cutAt]);
    const end = world.log.end;
    await world.appendDurably({ count: 2, valueBytes: 40, name: 'new' }, 9);
    const held = entries.filter(batch => comparePositions(positionOf(batch), end) <= 0);
    const all = [...held, ...(await entriesOf(world, end))];
    await repairAll(world, replicaOf(all));
    for (let life = 0; life < 2; life++) {
      expect(world.log.condition).toEqual({ kind: 'sound' });
      expect(await entriesOf(world)).toEqual(all);
      expect(world.log.endOffset).toBe(cutAt + 2);
      await world.close();
      expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
      await world.open();
    }
  });

  test('right behind the damage ends the log there', async () => {
    const { world, files, entries } = await kept('right behind');
    world.disk.rot(pathOf(names(files)[1]!), 225, byte => byte ^ 1);
    await readThrough(world);
    expect(world.log.damagedRanges).toMatchObject([{ from: 6, to: 8 }]);
    await world.drive(world.cutFrom(8));
    expect([world.log.state, world.log.end]).toEqual(['open', { epoch: 1, offset: 8 }]);
    await repairAll(world, replicaOf(entries));
    expect(world.log.condition).toEqual({ kind: 'sound' });
    const held = entries.filter(batch => comparePositions(positionOf(batch), world.log.end) <= 0);
    expect(await entriesOf(world)).toEqual(held);
  });
});

describe('a repair', () => {
  test('that nobody can help with leaves everything as it was', async () => {
    const { world, files } = await kept('nobody');
    world.disk.rot(pathOf(names(files)[1]!), 100, byte => byte ^ 1);
    await readThrough(world);
    const [ranges, before] = [world.log.damagedRanges, logFiles(world)];
    expect(await repairAll(world, { batchesAfter: () => Promise.resolve(null) })).toMatchObject([{ kind: 'not-now' }]);
    expect([world.log.damagedRanges, logFiles(world)]).toEqual([ranges, before]);
    expect(world.files('.tmp')).toEqual([]);
  });

  test('takes nothing that is not what stood there', async () => {
    const { world, entries, files } = await kept('other');
    const other = await LogWorld.start({ seed: 'other', settings: { segmentBytes: SEGMENT_BYTES } });
    for (let turn = 0; turn < BATCHES; turn++) await other.appendDurably({ count: 3, valueBytes: 20 }, 1 + turn);
    const wrong = await entriesOf(other);
    const broken = entries.map(batch => {
      const copy = Uint8Array.from(batch);
      copy[copy.length - 1]! ^= 1;
      return copy;
    });
    world.disk.rot(pathOf(names(files)[1]!), 100, byte => byte ^ 1);
    await readThrough(world);
    const before = logFiles(world);
    for (const from of [wrong, broken]) {
      expect(await repairAll(world, replicaOf(from))).toMatchObject([{ kind: 'not-now' }]);
      expect(logFiles(world)).toEqual(before);
    }
  });

  test('of a log that is cut meanwhile is given up', async () => {
    const here = await kept('cut');
    const { world, files } = here;
    world.disk.rot(pathOf(names(files)[1]!), 100, byte => byte ^ 1);
    await readThrough(world);
    const source = replicaOf(here.entries);
    let cutting: Promise<void> | null = null;
    let calls = 0;
    const outcome = await world.drive(
      world.log.repair({
        batchesAfter: after => {
          // The first one only asks whether there is anybody.
          if (++calls === 2) cutting = world.cutFrom(world.log.endOffset - 2);
          return source.batchesAfter(after);
        },
      }),
    );
    expect(outcome).toMatchObject({ kind: 'not-now' });
    await world.drive(cutting!);
    await repairAll(world, source);
    expect(world.log.condition).toEqual({ kind: 'sound' });
  });

  test('waits for room on the disk', async () => {
    const { world, entries, files } = await kept('room');
    world.disk.rot(pathOf(names(files)[1]!), 100, byte => byte ^ 1);
    await readThrough(world);
    world.disk.capacityBytes = world.disk.usedBytes() + 1_000;
    expect(await repairAll(world, replicaOf(entries))).toMatchObject([{ kind: 'not-now' }]);
    expect(world.log.damagedRanges).toHaveLength(1);
  });

  test.each(['power', 'kill'] as const)(
    'that ends at any change of the disk leaves the old segment or the new one: %s',
    { timeout: 600_000 },
    async (death: Death) => {
      const damages: readonly ((here: Kept) => void)[] = [
        ({ world, files }) => world.disk.rot(pathOf(names(files)[1]!), 100, byte => byte ^ 1),
        ({ world, files }) => world.disk.rot(pathOf(names(files).at(-1)!), 70, byte => byte ^ 1),
        ({ world, files }) => world.disk.resize(pathOf(names(files)[0]!), 61),
        ({ world, files }) => {
          for (const index of [1, 2]) world.disk.erase(pathOf(names(files)[index]!));
        },
      ];
      let ends = 0;
      for (const [kind, damage] of damages.entries()) {
        for (let change = 1, isOver = false; !isOver; change += stride(2)) {
          const here = await kept(`${death} ${kind} ${change}`);
          const { world } = here;
          await world.close();
          damage(here);
          await world.open();
          await readThrough(world);
          expect(world.log.damagedRanges.length).toBeGreaterThan(0);
          const source = replicaOf(here.entries);
          const ended = await cutShort(world, () => world.log.repair(source), { change, death });
          if (ended.failure !== null) throw ended.failure;
          isOver = ended.isDone;
          if (!isOver) {
            await world.open();
            ends++;
          }
          await readThrough(world);
          await repairAll(world, source);
          await expectWhole(here);
        }
      }
      expect(ends).toBeGreaterThan(10);
    },
  );
});

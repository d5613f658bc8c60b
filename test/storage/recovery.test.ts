// Recovery at start, row by row of its table: what is cut, what is kept and named, and what is built again.
//
// "Above the sync point" is made by killing the process within a second of the last sync: the store does not know of it
// yet. Everything else is below.

import { describe, expect, test } from 'vitest';
import { offset } from '@sluice/protocol/ids';
import { recoveryTable } from '../../server/storage/recovery.ts';
import { usual } from '../simulation/disk.ts';
import { baseOffsetsOf } from './batches.ts';
import { stride } from './crash-share.ts';
import { traceDisk } from './disk-trace.ts';
import { LogWorld, PARTITION } from './log-world.ts';
import { judgeFiles } from './partition-files.ts';

const FIRST_LOG = `${PARTITION}/00000000000000000000.log`;
const CHECKPOINT = `${PARTITION}/leader-epoch-checkpoint`;

/** Two batches below the sync point (offsets 0-1, 2-4), two above it (5, 6-7); the process is gone. */
const worldWithTail = async (seed: string): Promise<{ world: LogWorld; syncedBytes: number; ends: number[] }> => {
  const world = await LogWorld.start({ seed });
  await world.appendDurably({ count: 2, name: 'a' });
  await world.appendDurably({ count: 3, name: 'b' });
  await world.scheduler.advance(1_100);
  const syncedBytes = world.disk.contents(FIRST_LOG).length;
  const ends: number[] = [];
  await world.appendDurably({ count: 1, name: 'c' });
  ends.push(world.disk.contents(FIRST_LOG).length);
  await world.appendDurably({ count: 2, name: 'd' });
  ends.push(world.disk.contents(FIRST_LOG).length);
  world.kill();
  return { world, syncedBytes, ends };
};

const BASES = [0, 2, 5, 6];

/** The log still takes appends, gives everything back, and its files are in order after a clean stop. */
const expectHealthy = async (world: LogWorld, bases: readonly number[]): Promise<void> => {
  const { baseOffset } = await world.appendDurably({ count: 2, name: 'new' });
  expect(baseOffsetsOf((await world.readFrom(0)).batches)).toEqual([...bases, baseOffset]);
  await world.reopen();
  expect(world.log.damagedRanges).toEqual([]);
  expect(baseOffsetsOf((await world.readFrom(0)).batches)).toEqual([...bases, baseOffset]);
  expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
};

describe('the recovery table', () => {
  test('says what was decided', () => {
    expect(recoveryTable).toEqual({
      'clean-end': { tail: 'ready', synced: 'corrupt' },
      'invalid-batch': { tail: 'cut', synced: 'corrupt' },
      'invalid-batch-then-valid': { tail: 'corrupt', synced: 'corrupt' },
      'segment-missing': { tail: 'cannot-be', synced: 'corrupt' },
    });
  });
});

describe('at or above the sync point', () => {
  test('a clean end is ready', async () => {
    const { world } = await worldWithTail('clean');
    const log = await world.open();
    expect(log.endOffset).toBe(8);
    await expectHealthy(world, BASES);
  });

  test('whatever byte the file ends at, the log ends at the last whole batch', async () => {
    const { syncedBytes, ends } = await worldWithTail('sizes');
    for (let size = syncedBytes; size <= (ends[1] ?? 0); size++) {
      const { world } = await worldWithTail(`size ${size}`);
      world.disk.resize(FIRST_LOG, size);
      const log = await world.open();
      const whole = ends.filter(end => end <= size).length;
      expect(log.damagedRanges, `size ${size}`).toEqual([]);
      expect(log.endOffset, `size ${size}`).toBe([5, 6, 8][whole]);
      expect(world.disk.contents(FIRST_LOG), `size ${size}`).toHaveLength([syncedBytes, ...ends][whole] ?? 0);
    }
  });

  test('whatever byte is wrong, the log ends before its batch', async () => {
    const { syncedBytes, ends } = await worldWithTail('bytes');
    for (let at = syncedBytes; at < (ends[1] ?? 0); at++) {
      for (const mask of [0x01, 0x80]) {
        const { world } = await worldWithTail(`byte ${at} ${mask}`);
        world.disk.rot(FIRST_LOG, at, byte => byte ^ mask);
        const log = await world.open();
        const whole = ends.filter(end => end <= at).length;
        expect(log.damagedRanges, `byte ${at}, ${mask}`).toEqual([]);
        expect(log.endOffset, `byte ${at}, ${mask}`).toBe([5, 6, 8][whole]);
        expect(world.disk.contents(FIRST_LOG), `byte ${at}, ${mask}`).toHaveLength([syncedBytes, ...ends][whole] ?? 0);
      }
    }
  });

  test('after a cut the log goes on where it was cut', async () => {
    const { world, ends } = await worldWithTail('goes on');
    world.disk.resize(FIRST_LOG, (ends[1] ?? 0) - 3);
    await world.open();
    await expectHealthy(world, [0, 2, 5]);
  });

  test.each([1, 60, 61, 4_096, 100_000])('%i zeros behind the end are cut', async count => {
    const { world, ends } = await worldWithTail(`zeros ${count}`);
    world.disk.resize(FIRST_LOG, (ends[1] ?? 0) + count);
    const log = await world.open();
    expect(log.damagedRanges).toEqual([]);
    expect(log.endOffset).toBe(8);
    await expectHealthy(world, BASES);
  });

  test('a batch of another place is no batch here', async () => {
    const { world, syncedBytes, ends } = await worldWithTail('stale');
    const file = world.disk.contents(FIRST_LOG);
    const stale = new Uint8Array([...file, ...file.subarray(syncedBytes, ends[0])]);
    world.disk.plant(FIRST_LOG, stale);
    const log = await world.open();
    expect(log.endOffset).toBe(8);
    expect(log.damagedRanges).toEqual([]);
    await expectHealthy(world, BASES);
  });

  test('a hole with valid batches within the reach of one write is cut, whatever follows', async () => {
    const { world, syncedBytes } = await worldWithTail('near');
    world.disk.rot(FIRST_LOG, syncedBytes + 70, () => 0xff);
    const log = await world.open();
    expect(log.endOffset).toBe(5);
    expect(log.damagedRanges).toEqual([]);
  });

  test('a hole with a valid batch further away than one write reaches is damage, and is kept', async () => {
    const world = await LogWorld.start({ seed: 'far', settings: { segmentBytes: 100_000_000 } });
    await world.appendDurably({ count: 1 });
    await world.scheduler.advance(1_100);
    const holeAt = world.disk.contents(FIRST_LOG).length;
    for (let turn = 0; turn < 3; turn++) await world.appendDurably({ count: 1, valueBytes: 4_000_000 });
    await world.appendDurably({ count: 1, name: 'far' });
    const before = world.disk.contents(FIRST_LOG).length;
    world.kill();
    world.disk.rot(FIRST_LOG, holeAt + 100, byte => byte ^ 1);
    const log = await world.open();
    expect(log.damagedRanges).toMatchObject([{ from: 1, file: FIRST_LOG, position: holeAt }]);
    expect(log.endOffset).toBe(5);
    expect(world.disk.contents(FIRST_LOG)).toHaveLength(before);
    const last = await world.drive(log.read(offset(4), { endMax: log.durableOffset, bytesMax: 1_000 }));
    expect(last).toMatchObject({ kind: 'batches' });
  });

  test('what survives is written again before it is reported, since a sync that failed left it clean', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const world = await LogWorld.start({ seed: `again ${seed}` });
      await world.appendDurably({ count: 1 });
      world.disk.judge = call =>
        call.kind === 'sync' && call.path === FIRST_LOG ? { kind: 'fault', fault: 'failed' } : usual;
      world.append({ count: 3, name: 'clean but not durable' });
      await world.scheduler.driveUntil(() => world.log.state === 'failed');
      world.disk.judge = () => usual;
      world.kill();
      const { endOffset } = await world.open();
      expect(endOffset).toBe(4);
      world.crash(0);
      expect((await world.open()).endOffset).toBe(4);
      expect(baseOffsetsOf((await world.readFrom(0)).batches)).toEqual([0, 1]);
    }
  });

  test('a process that died at any step of a roll left nothing that a later power loss takes', async () => {
    for (let steps = 0; steps < 50; steps++) {
      const world = await LogWorld.start({ seed: `roll ${steps}`, settings: { segmentBytes: 200 } });
      await world.appendDurably({ valueBytes: 150 });
      world.append({ valueBytes: 150 });
      for (let step = 0; step < steps; step++) await world.scheduler.step();
      world.kill();
      await world.open();
      const { endOffset } = await world.appendDurably({ valueBytes: 20 });
      world.crash(0);
      const log = await world.open();
      expect(log.endOffset, `${steps} steps`).toBe(endOffset);
      expect(log.damagedRanges, `${steps} steps`).toEqual([]);
      expect((await world.readFrom(0)).stop).toBeNull();
    }
  });

  test('a new partition that crashed at any step has a clean beginning', async () => {
    for (let steps = 0; steps < 40; steps++) {
      for (const survival of [0, 0.5, 1]) {
        const world = await LogWorld.start({ seed: `new ${steps} ${survival}` });
        world.append({ count: 2, valueBytes: 5_000 });
        world.append({ count: 2, valueBytes: 5_000 });
        for (let step = 0; step < steps; step++) await world.scheduler.step();
        const noticed = world.notices.at(-1)?.position.offset ?? 0;
        world.crash(survival);
        const log = await world.open();
        expect(log.damagedRanges, `${steps} steps`).toEqual([]);
        expect(log.endOffset).toBeGreaterThanOrEqual(noticed);
        await world.appendDurably({ count: 1 });
        expect((await world.readFrom(0)).stop).toBeNull();
      }
    }
  });
});

/** Three batches (0-1, 2-4, 5), all below the sync point; cleanly stopped. */
const syncedWorld = async (seed: string, settings = {}): Promise<LogWorld> => {
  const world = await LogWorld.start({ seed, settings });
  await world.appendDurably({ count: 2, name: 'a' });
  await world.appendDurably({ count: 3, name: 'b' });
  await world.appendDurably({ count: 1, name: 'c' });
  await world.close();
  return world;
};

const SYNCED_BASES = [0, 2, 5];

/** Every offset, read on its own: the base offset of what was given, or what stood in the way. */
const readEach = async (world: LogWorld): Promise<(number | string)[]> => {
  const { log } = world;
  const answers: (number | string)[] = [];
  for (let at = 0; at < log.endOffset; at++) {
    const outcome = await world.drive(log.read(offset(at), { endMax: log.durableOffset, bytesMax: 1 }));
    answers.push(outcome.kind === 'batches' ? (baseOffsetsOf(outcome.batches)[0] ?? 'nothing') : outcome.kind);
  }
  return answers;
};

describe('below the sync point', () => {
  test('whatever byte is wrong, its batch is damaged, the others are read, and nothing is cut', async () => {
    const sizes = (await syncedWorld('lengths')).disk.contents(FIRST_LOG);
    const starts =
      judgeFiles((await syncedWorld('starts')).disk, PARTITION).segments[0]?.batches.map(each => each.position) ?? [];
    for (let at = 0; at < sizes.length; at++) {
      for (const mask of [0x01, 0x80]) {
        const world = await syncedWorld(`rot ${at} ${mask}`);
        const before = world.disk.contents(FIRST_LOG);
        world.disk.rot(FIRST_LOG, at, byte => byte ^ mask);
        const log = await world.open();
        const hit = starts.findLastIndex(start => start <= at);
        const expected = [0, 0, 2, 2, 2, 5].map(base => (base === SYNCED_BASES[hit] ? 'damaged' : base));
        expect(log.endOffset, `byte ${at}, ${mask}`).toBe(6);
        expect(await readEach(world), `byte ${at}, ${mask}`).toEqual(expected);
        expect(log.damagedRanges, `byte ${at}, ${mask}`).toMatchObject([{ file: FIRST_LOG, position: starts[hit] }]);
        const { baseOffset } = await world.appendDurably({ count: 1 });
        expect(baseOffset).toBe(6);
        expect(await readEach(world), `byte ${at}, ${mask}`).toEqual([...expected, 6]);
        expect(world.disk.contents(FIRST_LOG).length).toBeGreaterThanOrEqual(before.length);
        await world.close();
        const again = await world.open();
        expect(again.endOffset, `byte ${at}, ${mask}`).toBe(7);
        expect(await readEach(world), `byte ${at}, ${mask}, again`).toEqual([...expected, 6]);
      }
    }
  });

  test('a file that lost its end keeps what it has, names what is gone, and goes on behind it', async () => {
    const whole = (await syncedWorld('whole')).disk.contents(FIRST_LOG).length;
    const starts =
      judgeFiles((await syncedWorld('starts')).disk, PARTITION).segments[0]?.batches.map(each => each.position) ?? [];
    const ends = [...starts.slice(1), whole];
    for (let size = 0; size < whole; size++) {
      const world = await syncedWorld(`short ${size}`);
      world.disk.resize(FIRST_LOG, size);
      const log = await world.open();
      const expected = [0, 0, 2, 2, 2, 5].map(base =>
        (ends[SYNCED_BASES.indexOf(base)] ?? 0) <= size ? base : 'damaged',
      );
      expect(log.endOffset, `size ${size}`).toBe(6);
      expect(await readEach(world), `size ${size}`).toEqual(expected);
      expect(world.disk.contents(FIRST_LOG), `size ${size}`).toHaveLength(size);
      const { baseOffset } = await world.appendDurably({ count: 2 });
      expect(baseOffset).toBe(6);
      expect(await readEach(world), `size ${size}`).toEqual([...expected, 6, 6]);
      const again = await world.reopen();
      expect(again.endOffset).toBe(8);
      expect(await readEach(world), `size ${size}, again`).toEqual([...expected, 6, 6]);
    }
  });

  test.each([0, 1, 2])(
    'a file that ends early where a batch ends takes nothing along of what comes after %i restarts',
    async restarts => {
      const world = await LogWorld.start({
        seed: `early ${restarts}`,
        tailCacheBytes: 0,
        settings: { segmentBytes: 600 },
      });
      for (let turn = 0; turn < 4; turn++) await world.appendDurably({ valueBytes: 40 });
      await world.close();
      world.disk.resize(FIRST_LOG, (world.disk.contents(FIRST_LOG).length / 4) * 3);
      await world.open();
      for (let turn = 0; turn < restarts; turn++) await world.reopen();
      for (let turn = 0; turn < 12; turn++) await world.appendDurably({ valueBytes: 40 });
      const expected = [0, 1, 2, 'damaged', ...Array.from({ length: 12 }, (_, index) => 4 + index)];
      expect(await readEach(world)).toEqual(expected);
      await world.reopen();
      expect(await readEach(world)).toEqual(expected);
      for (const key of world.context.store.keys('sealed/')) world.context.store.delete(key);
      await world.reopen();
      expect(await readEach(world)).toEqual(expected);
    },
  );

  test('damage is told loudly, with file and position', async () => {
    const world = await syncedWorld('loud');
    world.disk.resize(FIRST_LOG, 10);
    await world.open();
    const told = world.logged.filter(each => each.level === 'error');
    expect(told).toMatchObject([{ fields: { file: FIRST_LOG, position: 0 } }]);
  });
});

/** Six segments of one batch of two records each. */
const segmentedWorld = async (seed: string): Promise<{ world: LogWorld; logs: string[] }> => {
  const world = await LogWorld.start({ seed, settings: { segmentBytes: 200, indexIntervalBytes: 1 } });
  for (let turn = 0; turn < 6; turn++)
    await world.appendDurably({ count: 2, valueBytes: 40, timestamp: 1_000 + turn * 10 });
  await world.close();
  return { world, logs: world.files('.log') };
};

describe('segments', () => {
  test.each([0, 1, 3, 4, 5])(
    'segment %i of six missing: its offsets are damaged, the rest is read, nothing is removed',
    async gone => {
      const { world, logs } = await segmentedWorld(`missing ${gone}`);
      expect(logs).toHaveLength(6);
      world.disk.erase(`${PARTITION}/${logs[gone]}`);
      await world.open();
      const expected = [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10].map(base => (base === gone * 2 ? 'damaged' : base));
      expect(world.log.endOffset).toBe(12);
      expect(await readEach(world)).toEqual(expected);
      expect(world.files('.log')).toEqual(logs.filter(name => name !== logs[gone]));
      const { baseOffset } = await world.appendDurably({ count: 2, valueBytes: 40 });
      expect(baseOffset).toBe(12);
      await world.reopen();
      expect(await readEach(world)).toEqual([...expected, 12, 12]);
    },
  );

  test('all segments missing: every offset is damaged, and the log goes on behind them', async () => {
    const { world, logs } = await segmentedWorld('all gone');
    for (const name of logs) world.disk.erase(`${PARTITION}/${name}`);
    await world.open();
    expect(world.log.endOffset).toBe(12);
    expect(new Set(await readEach(world))).toEqual(new Set(['damaged']));
    const { baseOffset } = await world.appendDurably({ count: 1 });
    expect(baseOffset).toBe(12);
    await world.reopen();
    expect((await readEach(world)).slice(-2)).toEqual(['damaged', 12]);
  });

  test.each([0, 2, 4])(
    'sealed segment %i shorter than it was: what it has is read, the rest is damaged',
    async which => {
      const { world, logs } = await segmentedWorld(`sealed ${which}`);
      world.disk.resize(`${PARTITION}/${logs[which]}`, 100);
      await world.open();
      expect(await readEach(world)).toEqual(
        [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10].map(base => (base === which * 2 ? 'damaged' : base)),
      );
      expect(world.disk.contents(`${PARTITION}/${logs[which]}`)).toHaveLength(100);
    },
  );

  test('whatever byte a sealed segment ends at, the whole batches before it are read, and it is kept', async () => {
    const sealed = async (seed: string): Promise<LogWorld> => {
      const world = await LogWorld.start({ seed, settings: { segmentBytes: 400, indexIntervalBytes: 1 } });
      for (let turn = 0; turn < 6; turn++) await world.appendDurably({ valueBytes: 40 });
      await world.close();
      return world;
    };
    const [first] = judgeFiles((await sealed('sealed ends')).disk, PARTITION).segments;
    const batches = first!.batches;
    const size = batches.reduce((sum, batch) => sum + batch.bytes.length, 0);
    for (let end = 0; end < size; end += stride(7)) {
      const world = await sealed(`sealed end ${end}`);
      world.disk.resize(FIRST_LOG, end);
      await world.open();
      const expected = Array.from({ length: 6 }, (_, at) => {
        const batch = batches[at];
        return batch === undefined || batch.position + batch.bytes.length <= end ? at : 'damaged';
      });
      expect(await readEach(world), `end ${end}`).toEqual(expected);
      expect(world.disk.contents(FIRST_LOG), `end ${end}`).toHaveLength(end);
    }
  });

  test('whatever byte of a sealed segment is wrong, the read finds it and gives the rest', async () => {
    const { world: sample, logs } = await segmentedWorld('sealed bytes');
    const name = logs[2] ?? '';
    const size = sample.disk.contents(`${PARTITION}/${name}`).length;
    for (let at = 0; at < size; at++) {
      const { world } = await segmentedWorld(`sealed byte ${at}`);
      world.disk.rot(`${PARTITION}/${name}`, at, byte => byte ^ 0x10);
      await world.open();
      expect(await readEach(world), `byte ${at}`).toEqual([0, 0, 2, 2, 'damaged', 'damaged', 6, 6, 8, 8, 10, 10]);
      expect(world.log.damagedRanges, `byte ${at}`).toMatchObject([{ from: 4, to: 6, position: 0 }]);
    }
  });

  test('files that belong to nobody are left alone', async () => {
    const { world } = await segmentedWorld('strangers');
    world.disk.plant(`${PARTITION}/notes.txt`, Buffer.from('mine'));
    await world.open();
    await world.reopen();
    expect(world.files()).toContain('notes.txt');
  });
});

describe('derived files', () => {
  test('whatever byte of the epoch checkpoint is wrong, it is built again, and every record is read', async () => {
    const told = async (seed: string): Promise<LogWorld> => {
      const world = await LogWorld.start({ seed, settings: { segmentBytes: 200 } });
      for (let turn = 0; turn < 6; turn++) await world.appendDurably({ count: 2, valueBytes: 40 }, 1 + turn);
      await world.close();
      return world;
    };
    const whole = Buffer.from((await told('epochs')).disk.contents(CHECKPOINT)).toString();
    for (let at = 0; at < whole.length; at++) {
      for (const mask of [0x01, 0x04]) {
        const world = await told(`epochs ${at} ${mask}`);
        world.disk.rot(CHECKPOINT, at, byte => byte ^ mask);
        await world.open();
        expect(await readEach(world), `byte ${at}`).toEqual([0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]);
        expect(Buffer.from(world.disk.contents(CHECKPOINT)).toString()).toBe(whole);
      }
    }
  });

  const damages: readonly (readonly [string, (world: LogWorld, path: string) => void])[] = [
    ['missing', (world, path) => world.disk.erase(path)],
    ['empty', (world, path) => world.disk.resize(path, 0)],
    ['short', (world, path) => world.disk.resize(path, Math.floor(world.disk.contents(path).length / 2))],
    ['of zeros', (world, path) => world.disk.plant(path, new Uint8Array(world.disk.contents(path).length))],
    ['of garbage', (world, path) => world.disk.plant(path, world.random.bytes(world.disk.contents(path).length))],
    ['too long', (world, path) => world.disk.resize(path, world.disk.contents(path).length + 96)],
    [
      'not monotonic',
      (world, path) => {
        const bytes = world.disk.contents(path);
        world.disk.plant(path, new Uint8Array([...bytes, ...bytes]));
      },
    ],
    [
      'out of range',
      (world, path) => {
        const bytes = world.disk.contents(path);
        bytes[bytes.length - 4] = 0x7f;
        world.disk.plant(path, bytes);
      },
    ],
  ];

  const cases = damages.flatMap(([name, damage]) =>
    ['.index', '.timeindex'].flatMap(suffix =>
      (['sealed', 'active'] as const).map(which => ({ name, damage, suffix, which })),
    ),
  );

  test.each(cases)(
    'an $which segment’s $suffix $name: every lookup is right and the file is built again',
    async one => {
      const { name, damage, suffix, which } = one;
      const world = await LogWorld.start({
        seed: `index ${name} ${suffix} ${which}`,
        settings: { segmentBytes: 3_000, indexIntervalBytes: 150 },
      });
      // Times that go up and down: a lookup that trusts too much misses the early late ones.
      const times: number[] = [];
      for (let turn = 0; turn < 60; turn++) {
        const timestamp = 10_000 + turn * 10 + (turn % 7 === 0 ? 500 : 0) - (turn % 5) * 30;
        times.push(timestamp);
        await world.appendDurably({ count: 1, timestamp, valueBytes: 40 });
      }
      await world.close();
      const files = world.files(suffix);
      expect(files.length).toBeGreaterThan(2);
      const target = which === 'sealed' ? files[0] : files.at(-1);
      damage(world, `${PARTITION}/${target}`);
      const log = await world.open();
      expect(await readEach(world)).toEqual(times.map((_, index) => index));
      for (let time = 9_990; time < 11_200; time += 7) {
        const found = await world.drive(log.findTimestamp(time, log.durableOffset));
        const first = times.findIndex(each => each >= time);
        expect(found?.offset ?? -1, `time ${time}`).toBe(first);
      }
      expect(log.damagedRanges).toEqual([]);
      await world.appendDurably({ count: 1, timestamp: 20_000 });
      await world.close();
      expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
      expect(world.files(suffix)).toEqual(files);
    },
  );

  test.each([
    ['missing', (world: LogWorld) => world.disk.erase(CHECKPOINT)],
    ['garbage', (world: LogWorld) => world.disk.plant(CHECKPOINT, Buffer.from('0\nx'))],
    ['empty', (world: LogWorld) => world.disk.plant(CHECKPOINT, new Uint8Array(0))],
  ])('an epoch checkpoint that is %s is built again from the log', async (name, damage) => {
    const world = await LogWorld.start({
      seed: `epochs ${name}`,
      settings: { segmentBytes: 300, indexIntervalBytes: 1 },
    });
    for (let epoch = 1; epoch < 8; epoch++) await world.appendDurably({ count: 2 }, epoch);
    await world.close();
    const before = world.disk.contents(CHECKPOINT);
    damage(world);
    const log = await world.open();
    expect(await readEach(world)).toEqual(Array.from({ length: 14 }, (_, at) => at - (at % 2)));
    expect(log.damagedRanges).toEqual([]);
    expect(log.leaderEpoch).toBe(7);
    await world.close();
    expect(Buffer.from(world.disk.contents(CHECKPOINT)).toString()).toBe(Buffer.from(before).toString());
  });

  test('an epoch whose first batch a crash took is forgotten, and may begin again further down', async () => {
    const world = await LogWorld.start({ seed: 'epoch ahead' });
    await world.appendDurably({ count: 1 }, 1);
    const lines = traceDisk(world.disk);
    world.append({ count: 1 }, 1);
    await world.scheduler.driveUntil(() => lines.some(line => line.startsWith('sync 0')));
    world.append({ count: 3 }, 1);
    world.append({ count: 1 }, 2);
    lines.length = 0;
    await world.scheduler.driveUntil(() => lines.some(line => line.startsWith('write 0')));
    world.crash(0);
    const log = await world.open();
    expect(log.endOffset).toBeLessThan(5);
    expect(log.leaderEpoch).toBe(1);
    const { endOffset } = await world.appendDurably({ count: 1 }, 2);
    expect((await world.readFrom(0)).stop).toBeNull();
    await world.reopen();
    expect(world.log.endOffset).toBe(endOffset);
    expect(world.log.damagedRanges).toEqual([]);
    expect((await world.readFrom(0)).stop).toBeNull();
  });

  test('recovery leaves no more files open than it may keep', async () => {
    const few = await LogWorld.start({ seed: 'few', openFilesMax: 3, settings: { segmentBytes: 200 } });
    for (let turn = 0; turn < 8; turn++) await few.appendDurably({ count: 1, valueBytes: 150 });
    await few.reopen();
    await few.readFrom(0);
    expect(few.context.files.openCount).toBeLessThanOrEqual(3);
  });
});

// The log of one partition: when it writes, when it syncs, when it says so, and what happens when the disk does not do as told.

import { describe, expect, test } from 'vitest';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import {
  DISK_HEADROOM_BYTES,
  GATHER_BUFFERS_MAX,
  GATHER_BYTES_MAX,
  PENDING_LOG_BYTES_MAX,
} from '../../server/base/limits.ts';
import { PartitionLog } from '../../server/storage/partition-log.ts';
import { usual } from '../simulation/disk.ts';
import { baseOffsetsOf, epochsOf, makeBatch, recordsOf } from './batches.ts';
import { stride } from './crash-share.ts';
import { changesOfLogs, traceDisk } from './disk-trace.ts';
import { LogWorld, PARTITION } from './log-world.ts';
import { judgeFiles } from './partition-files.ts';

const FIRST = '00000000000000000000.log';
const FIRST_LOG = `${PARTITION}/${FIRST}`;
const EPOCH = leaderEpoch(0);

const settled = async (world: LogWorld): Promise<void> => {
  const { log } = world;
  await world.scheduler.driveUntil(() => log.state !== 'open' || log.durableOffset === log.endOffset);
};

describe('an append', () => {
  test('stamps offsets and epoch in one step and answers where the batches went', async () => {
    const world = await LogWorld.start({ seed: 'stamp' });
    const batches = [makeBatch({ count: 3 }), makeBatch({ count: 2 })];
    world.log.appendEpochStart(leaderEpoch(7));
    expect(world.log.append(batches, leaderEpoch(7))).toEqual({ ok: true, baseOffset: 0, endOffset: 5 });
    expect(baseOffsetsOf(batches)).toEqual([0, 3]);
    expect(epochsOf(batches)).toEqual([7, 7]);
    expect(world.log.endOffset).toBe(5);
    expect(world.log.durableOffset).toBe(0);
  });

  test('is durable only after a sync, and said to be so once', async () => {
    const world = await LogWorld.start({ seed: 'durable' });
    await world.appendDurably({ count: 1 });
    const lines = traceDisk(world.disk);
    world.notices = [];
    world.append({ count: 2 });
    let syncsAtNotice = -1;
    await world.scheduler.driveUntil(() => {
      if (world.notices.length > 0) syncsAtNotice = lines.filter(line => line === `sync ${FIRST}`).length;
      return world.notices.length > 0;
    });
    expect(syncsAtNotice).toBe(1);
    expect(world.notices).toEqual([{ generation: world.log.generation, position: { epoch: 0, offset: 3 } }]);
    world.crash(0);
    expect((await world.open()).endOffset).toBe(3);
  });

  test('appends queued during a sync share one write and one sync', async () => {
    const world = await LogWorld.start({ seed: 'group' });
    await world.appendDurably();
    const lines = traceDisk(world.disk);
    const one = makeBatch().length;
    const position = world.disk.contents(FIRST_LOG).length;
    world.append();
    await world.scheduler.driveUntil(() => lines.includes(`sync ${FIRST}`));
    for (let turn = 0; turn < 50; turn++) world.append();
    world.notices = [];
    await settled(world);
    expect(changesOfLogs(lines)).toEqual([
      `write ${FIRST} ${position}+${one}`,
      `sync ${FIRST}`,
      `write ${FIRST} ${position + one}+${50 * one}`,
      `sync ${FIRST}`,
    ]);
    expect(world.notices.map(notice => notice.position.offset)).toEqual([2, 52]);
  });

  test('a gathered write has bounds in buffers and in bytes', async () => {
    const world = await LogWorld.start({ seed: 'bounds', settings: { segmentBytes: 1_000_000_000 } });
    await world.appendDurably();
    const lines = traceDisk(world.disk);
    const one = makeBatch().length;
    for (let turn = 0; turn < GATHER_BUFFERS_MAX + 10; turn++) world.append();
    await settled(world);
    const sizes = (): number[] =>
      lines.filter(line => line.startsWith(`write ${FIRST}`)).map(line => Number(line.slice(line.indexOf('+') + 1)));
    expect(sizes()).toEqual([one, GATHER_BUFFERS_MAX * one, 9 * one]);
    lines.length = 0;
    for (let turn = 0; turn < 5; turn++) world.append({ valueBytes: 3_000_000 });
    world.append({ valueBytes: GATHER_BYTES_MAX + 1_000 });
    await settled(world);
    expect(sizes().length).toBe(4);
    expect(sizes().filter(size => size > GATHER_BYTES_MAX)).toHaveLength(1);
  });

  test('takes no more into its queue than its bound', async () => {
    const world = await LogWorld.start({ seed: 'backlog', settings: { segmentBytes: 1_000_000_000 } });
    const large = { valueBytes: PENDING_LOG_BYTES_MAX / 4 };
    for (let turn = 0; turn < 3; turn++) world.append(large);
    const outcome = world.log.append([makeBatch(large), makeBatch(large)], EPOCH);
    expect(outcome).toEqual({ ok: false, refusal: 'backlog' });
    const { endOffset } = world.log;
    await settled(world);
    expect(world.log.queuedBytes).toBe(0);
    expect(world.append({ count: 1 }).baseOffset).toBe(endOffset);
  });

  test('before the first one is durable its file and its folder are, and its epoch with it', async () => {
    const world = await LogWorld.start({ seed: 'first' });
    const lines = traceDisk(world.disk);
    await world.appendDurably({}, 4);
    const order = [`open ${FIRST}`, 'sync-directory t-0', `write ${FIRST} 0+`, `sync ${FIRST}`];
    const placeOf = (step: string): number =>
      step.startsWith('sync-directory')
        ? lines.findIndex((line, at) => line === step && at > lines.indexOf(`open ${FIRST}`))
        : lines.findIndex(line => line.startsWith(step));
    const places = order.map(placeOf);
    expect(places).toEqual([...places].sort((left, right) => left - right));
    expect(places[0]).toBeGreaterThanOrEqual(0);
    world.crash(0);
    expect((await world.open()).leaderEpoch).toBe(4);
    expect(epochsOf((await world.readFrom(0)).batches)).toEqual([4]);
  });

  test('is refused after the log was closed', async () => {
    const world = await LogWorld.start({ seed: 'closed' });
    const { log } = world;
    await world.close();
    expect(log.append([makeBatch()], EPOCH)).toEqual({ ok: false, refusal: 'closed' });
    expect(world.disk.openPaths).toEqual([]);
  });
});

describe('the sync point', () => {
  test('reaches the store once a second or after 64 MiB of log, not with every sync', async () => {
    const world = await LogWorld.start({ seed: 'store', settings: { segmentBytes: 1_000_000_000 } });
    for (let turn = 0; turn < 5; turn++) await world.appendDurably({ valueBytes: 4_000_000 });
    await world.scheduler.advance(1_100);
    const lines = traceDisk(world.disk);
    const startMs = world.scheduler.nowMs;
    for (let turn = 0; turn < 200; turn++) await world.appendDurably({ valueBytes: 100 });
    const seconds = (world.scheduler.nowMs - startMs) / 1_000;
    expect(lines.filter(line => line.startsWith('sync store-0')).length).toBeLessThanOrEqual(Math.ceil(seconds));
    lines.length = 0;
    for (let turn = 0; turn < 9; turn++) await world.appendDurably({ valueBytes: 8_000_000 });
    await world.scheduler.advance(20);
    expect(lines.filter(line => line.startsWith('sync store-0')).length).toBeGreaterThanOrEqual(1);
  });
});

describe('rolling', () => {
  const basesOf = (world: LogWorld): number[] => world.files('.log').map(name => Number.parseInt(name, 10));

  test('happens where a batch would make the segment too large, and never splits a batch', async () => {
    const one = makeBatch({ valueBytes: 100 }).length;
    const world = await LogWorld.start({ seed: 'bytes', settings: { segmentBytes: 3 * one } });
    for (let turn = 0; turn < 7; turn++) await world.appendDurably({ valueBytes: 100 });
    await world.appendDurably({ valueBytes: 1_000 });
    await world.appendDurably({ valueBytes: 100 });
    expect(basesOf(world)).toEqual([0, 3, 6, 7, 8]);
    expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
  });

  test('happens by the batches’ own times, whatever the clock says', async () => {
    const world = await LogWorld.start({ seed: 'time', settings: { segmentMs: 1_000 } });
    for (const timestamp of [5_000, 6_000, 6_001, 7_000, 4_000, 7_002]) await world.appendDurably({ timestamp });
    expect(basesOf(world)).toEqual([0, 2, 5]);
    world.clock.moveWall(100_000_000);
    await world.scheduler.advance(100_000);
    await world.appendDurably({ timestamp: 7_500 });
    expect(basesOf(world)).toEqual([0, 2, 5]);
  });

  test('happens before an index would be larger than its bound', async () => {
    const world = await LogWorld.start({ seed: 'index', settings: { indexIntervalBytes: 1, segmentIndexBytes: 32 } });
    for (let turn = 0; turn < 13; turn++) await world.appendDurably();
    expect(basesOf(world).length).toBeGreaterThan(2);
    for (const name of world.files('.index')) {
      expect(world.disk.contents(`${PARTITION}/${name}`).length, name).toBeLessThanOrEqual(32);
    }
  });

  test('is the same for the same batches, however they were grouped and whatever crashed', async () => {
    const build = async (seed: string, isGrouped: boolean, crashes: boolean): Promise<string[]> => {
      const world = await LogWorld.start({ seed, settings: { segmentBytes: 900, segmentMs: 3_000 } });
      for (let turn = 0; turn < 30; turn++) {
        world.append({ valueBytes: (turn * 37) % 200, timestamp: 1_000 + turn * 150 });
        if (!isGrouped) await settled(world);
        if (crashes && turn % 7 === 0) {
          await settled(world);
          world.crash();
          await world.open();
        }
      }
      await settled(world);
      return world.files('.log');
    };
    const expected = await build('plain', false, false);
    expect(expected.length).toBeGreaterThan(4);
    expect(await build('grouped', true, false)).toEqual(expected);
    expect(await build('crashes', false, true)).toEqual(expected);
  });

  test('syncs the old segment, creates the new one, syncs the folder, and only then writes', async () => {
    const world = await LogWorld.start({ seed: 'order', settings: { segmentBytes: 100, flushMode: 'interval' } });
    await world.appendDurably({ valueBytes: 80 });
    const lines = traceDisk(world.disk);
    await world.appendDurably({ valueBytes: 80 });
    const steps = lines.filter(line => /^(?:sync|open|write) \d+\.log|^sync-directory t-0/.test(line));
    const second = '00000000000000000001.log';
    expect(steps.slice(0, 3)).toEqual([`sync ${FIRST}`, `open ${second}`, 'sync-directory t-0']);
    expect(steps.find(line => line.startsWith('write'))).toMatch(`write ${second} 0+`);
  });
});

describe('flush mode interval', () => {
  test('says durable at the write, and syncs within its time', async () => {
    const world = await LogWorld.start({ seed: 'interval', settings: { flushMode: 'interval', flushMs: 500 } });
    const lines = traceDisk(world.disk);
    await world.appendDurably();
    expect(lines).not.toContain(`sync ${FIRST}`);
    await world.scheduler.advance(600);
    expect(lines.filter(line => line === `sync ${FIRST}`)).toHaveLength(1);
    await world.scheduler.advance(5_000);
    expect(lines.filter(line => line === `sync ${FIRST}`)).toHaveLength(1);
    world.crash(0);
    expect((await world.open()).endOffset).toBe(1);
  });

  test('syncs after its number of records', async () => {
    const world = await LogWorld.start({ seed: 'messages', settings: { flushMode: 'interval', flushMessages: 10 } });
    const lines = traceDisk(world.disk);
    await world.appendDurably({ count: 9 });
    expect(lines).not.toContain(`sync ${FIRST}`);
    await world.appendDurably({ count: 1 });
    expect(lines.filter(line => line === `sync ${FIRST}`)).toHaveLength(1);
  });

  test('keeps what it said through the end of a process', async () => {
    const world = await LogWorld.start({ seed: 'process', settings: { flushMode: 'interval' } });
    await world.appendDurably({ count: 4 });
    world.kill();
    expect((await world.open()).endOffset).toBe(4);
  });
});

describe('a full disk', () => {
  const fullWorld = async (seed: string, roomBytes: number): Promise<LogWorld> => {
    const world = await LogWorld.start({ seed });
    await world.appendDurably({ count: 2, name: 'kept' });
    world.disk.capacityBytes = world.disk.usedBytes() + roomBytes;
    return world;
  };

  test.each([0, 4_096, 8_192])(
    'with room for %i bytes: the short write is cut back, nothing acknowledged is lost',
    async roomBytes => {
      const world = await fullWorld(`room ${roomBytes}`, roomBytes);
      const before = world.disk.contents(FIRST_LOG);
      world.append({ valueBytes: 20_000 });
      await world.scheduler.driveUntil(() => world.drops.length > 0);
      expect(world.drops).toEqual([{ state: 'full', endOffset: 2 }]);
      expect(world.log.state).toBe('full');
      expect(world.log.endOffset).toBe(2);
      expect(world.disk.contents(FIRST_LOG)).toEqual(before);
      expect(world.log.append([makeBatch()], EPOCH)).toEqual({ ok: false, refusal: 'full' });
      expect((await world.readFrom(0)).batches.map(batch => recordsOf(batch)[0]?.value)).toEqual(['kept.0....']);
    },
  );

  test('the log opens by itself when there is room, and goes on where it was', async () => {
    const world = await fullWorld('reopens', 100);
    world.append({ valueBytes: 20_000 });
    await world.scheduler.driveUntil(() => world.log.state === 'full');
    world.disk.capacityBytes += DISK_HEADROOM_BYTES / 2;
    await world.scheduler.advance(5_000);
    expect(world.log.state).toBe('full');
    world.disk.capacityBytes += DISK_HEADROOM_BYTES;
    await world.scheduler.advance(1_000);
    expect(world.log.state).toBe('open');
    expect((await world.appendDurably({ count: 3 })).baseOffset).toBe(2);
    await world.reopen();
    expect(baseOffsetsOf((await world.readFrom(0)).batches)).toEqual([0, 2]);
    expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
  });

  test('the log opens even when the disk could not be asked for a while', async () => {
    const world = await fullWorld('asks', 100);
    world.append({ valueBytes: 20_000 });
    await world.scheduler.driveUntil(() => world.log.state === 'full');
    world.disk.judge = call => (call.kind === 'free-bytes' ? { kind: 'fault', fault: 'failed' } : usual);
    await world.scheduler.advance(2_000);
    world.disk.judge = () => usual;
    world.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    await world.scheduler.advance(2_000);
    expect(world.log.state).toBe('open');
  });

  test('during a roll leaves the log whole', async () => {
    for (let roomPages = 0; roomPages < 8; roomPages++) {
      const world = await LogWorld.start({
        seed: `roll ${roomPages}`,
        settings: { segmentBytes: 500, indexIntervalBytes: 1 },
      });
      for (let turn = 0; turn < 4; turn++) await world.appendDurably({ valueBytes: 200 });
      world.disk.capacityBytes = world.disk.usedBytes() + roomPages * 4_096;
      for (let turn = 0; turn < 40 && world.log.state === 'open'; turn++) {
        world.append({ valueBytes: 450 });
        await settled(world);
      }
      expect(world.log.state, `${roomPages} pages`).toBe('full');
      const { endOffset } = world.log;
      expect(endOffset).toBeGreaterThanOrEqual(4);
      world.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
      await world.scheduler.advance(1_000);
      await world.appendDurably();
      await world.reopen();
      expect(baseOffsetsOf((await world.readFrom(0)).batches), `${roomPages} pages`).toEqual(
        Array.from({ length: endOffset + 1 }, (_, at) => at),
      );
      await world.close();
      expect(judgeFiles(world.disk, PARTITION).faults, `${roomPages} pages`).toEqual([]);
    }
  });

  test('with damage in the segment destroys nothing behind the damage', async () => {
    const world = await LogWorld.start({ seed: 'damaged and full', tailCacheBytes: 0 });
    for (let turn = 0; turn < 5; turn++) await world.appendDurably({ count: 1, valueBytes: 100 });
    world.disk.rot(FIRST_LOG, 80, byte => byte ^ 1);
    const before = world.disk.contents(FIRST_LOG).length;
    world.disk.capacityBytes = world.disk.usedBytes();
    world.append({ valueBytes: 20_000 });
    await world.scheduler.driveUntil(() => world.drops.length > 0);
    expect(world.disk.contents(FIRST_LOG).length).toBeGreaterThanOrEqual(before);
    const last = await world.drive(world.log.read(offset(4), { endMax: offset(5), bytesMax: 1_000 }));
    expect(last).toMatchObject({ kind: 'batches', batches: [{ length: makeBatch({ valueBytes: 100 }).length }] });
  });

  test('does not keep a log from closing when there is no room for its index', async () => {
    const world = await LogWorld.start({ seed: 'no index', settings: { indexIntervalBytes: 1 } });
    for (let turn = 0; turn < 5; turn++) await world.appendDurably();
    world.disk.capacityBytes = world.disk.usedBytes();
    await world.close();
    expect(world.disk.openPaths).toEqual([]);
    world.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    await world.open();
    expect((await world.readFrom(0)).batches).toHaveLength(5);
    await world.close();
    expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
  });

  test('does not keep a log from opening and being read', async () => {
    const world = await LogWorld.start({ seed: 'close', settings: { segmentBytes: 2_000, indexIntervalBytes: 1 } });
    for (let turn = 0; turn < 30; turn++) await world.appendDurably({ valueBytes: 100 });
    world.disk.capacityBytes = world.disk.usedBytes() + 700_000;
    const index = world.files('.index')[0];
    await world.close();
    world.disk.capacityBytes = world.disk.usedBytes() + 600_000;
    world.disk.erase(`${PARTITION}/${index}`);
    await world.open();
    world.disk.capacityBytes = 0;
    expect((await world.readFrom(0)).batches).toHaveLength(30);
    await world.drive(world.log.close());
  });
});

describe('a disk that fails', () => {
  const failing = (world: LogWorld, kind: 'sync' | 'write'): string[] =>
    traceDisk(world.disk, call =>
      call.kind === kind && call.path === FIRST_LOG ? { kind: 'fault', fault: 'failed' } : usual,
    );

  test.each(['sync', 'write'] as const)(
    'a failed %s poisons the log: no append, no second try, reads go on',
    async kind => {
      const world = await LogWorld.start({ seed: `fails ${kind}`, tailCacheBytes: 0 });
      await world.appendDurably({ count: 2 });
      world.notices = [];
      const lines = failing(world, kind);
      world.append();
      world.append();
      await world.scheduler.driveUntil(() => world.drops.length > 0);
      expect(world.drops).toEqual([{ state: 'failed', endOffset: 2 }]);
      expect(world.log.state).toBe('failed');
      expect(world.log.fault).toMatchObject({ kind: 'failed' });
      expect(world.log.append([makeBatch()], EPOCH)).toEqual({ ok: false, refusal: 'failed' });
      await world.scheduler.advance(60_000);
      await world.drive(world.log.flush());
      expect(lines.filter(line => line === `sync ${FIRST}`).length).toBe(kind === 'sync' ? 1 : 0);
      expect(world.notices).toEqual([]);
      world.disk.judge = () => usual;
      expect(world.log.state).toBe('failed');
      expect((await world.readFrom(0)).batches).toHaveLength(1);
      await world.drive(world.log.close());
    },
  );

  test('a restart takes the log up again, and what was said to be durable is there', async () => {
    for (let seed = 0; seed < 30; seed++) {
      const world = await LogWorld.start({ seed: `restart ${seed}` });
      await world.appendDurably({ count: 2 });
      failing(world, 'sync');
      world.append({ count: 3 });
      await world.scheduler.driveUntil(() => world.log.state === 'failed');
      world.disk.judge = () => usual;
      world.crash();
      await world.open();
      expect(world.log.damagedRanges).toEqual([]);
      expect([2, 5]).toContain(world.log.endOffset);
      await world.appendDurably();
      expect((await world.readFrom(0)).stop).toBeNull();
    }
  });

  test('a read that answers wrong once is asked again', async () => {
    const world = await LogWorld.start({ seed: 'stray', tailCacheBytes: 0 });
    await world.appendDurably({ count: 2 });
    let flips = 0;
    world.disk.judge = call => (call.kind === 'read' && flips++ === 0 ? { kind: 'flip', bit: 700 } : usual);
    const { batches, stop } = await world.readFrom(0);
    expect(stop).toBeNull();
    expect(baseOffsetsOf(batches)).toEqual([0]);
    expect(world.log.damagedRanges).toEqual([]);
    expect(flips).toBe(2);
  });

  test('a read that fails is an answer, and the next one may succeed', async () => {
    const world = await LogWorld.start({ seed: 'read fails', tailCacheBytes: 0 });
    await world.appendDurably({ count: 2 });
    world.disk.judge = call => (call.kind === 'read' ? { kind: 'fault', fault: 'failed' } : usual);
    expect((await world.readFrom(0)).stop).toMatchObject({ kind: 'failed' });
    world.disk.judge = () => usual;
    expect((await world.readFrom(0)).stop).toBeNull();
  });
});

describe('reading', () => {
  test('gives whole batches from the one that covers the offset, from the cache and from the disk alike', async () => {
    for (const tailCacheBytes of [0, 1_000_000]) {
      const world = await LogWorld.start({
        seed: `reads ${tailCacheBytes}`,
        tailCacheBytes,
        settings: { segmentBytes: 1_500, indexIntervalBytes: 200 },
      });
      const bases: number[] = [];
      for (let turn = 0; turn < 40; turn++) {
        bases.push((await world.appendDurably({ count: 1 + (turn % 4), valueBytes: (turn * 13) % 90 })).baseOffset);
      }
      const { log } = world;
      for (let at = 0; at < log.endOffset; at++) {
        for (const bytesMax of [0, 500, 10_000]) {
          const outcome = await world.drive(log.read(offset(at), { endMax: log.durableOffset, bytesMax }));
          if (outcome.kind !== 'batches') throw new Error(outcome.kind);
          const from = bases.findLastIndex(base => base <= at);
          expect(baseOffsetsOf(outcome.batches)).toEqual(bases.slice(from, from + outcome.batches.length));
          expect(outcome.batches.length).toBeGreaterThan(0);
          const total = outcome.batches.reduce((sum, batch) => sum + batch.length, 0);
          expect(outcome.batches.length === 1 || total <= bytesMax).toBe(true);
        }
      }
      expect(world.context.files.openCount).toBeLessThanOrEqual(world.files().length);
    }
  });

  test('gives nothing at or above the end that the reader passed, and nothing below the start', async () => {
    const world = await LogWorld.start({ seed: 'limits' });
    for (let turn = 0; turn < 4; turn++) await world.appendDurably({ count: 2 });
    const read = (at: number, endMax: number) =>
      world.drive(world.log.read(offset(at), { endMax: offset(endMax), bytesMax: 10_000 }));
    expect(await read(0, 4)).toMatchObject({ kind: 'batches', batches: [{}, {}] });
    expect(await read(4, 4)).toEqual({ kind: 'batches', batches: [] });
    await world.drive(world.log.advanceStart(offset(3)));
    expect(await read(2, 8)).toEqual({ kind: 'below-start' });
    expect(await read(3, 8)).toMatchObject({ kind: 'batches', batches: [{}, {}, {}] });
  });

  test('changes no file, also where a sealed segment is one batch that needs no entry in its index', async () => {
    const world = await LogWorld.start({
      seed: 'one batch a segment',
      tailCacheBytes: 0,
      settings: { segmentBytes: 12_000 },
    });
    for (let turn = 0; turn < 3; turn++) await world.appendDurably({ valueBytes: 10_000, timestamp: 1_000 + turn });
    // The last batch of a segment may be large, and those before it too small for an entry.
    await world.appendDurably({ valueBytes: 1_000, timestamp: 2_000 });
    await world.appendDurably({ valueBytes: 9_000, timestamp: 2_001 });
    await world.appendDurably({ valueBytes: 10_000, timestamp: 2_002 });
    for (const again of [false, true]) {
      if (again) await world.reopen();
      const lines = traceDisk(world.disk);
      expect((await world.readFrom(0)).batches).toHaveLength(6);
      expect(lines.filter(line => /^(?:write|remove|truncate|rename)/.test(line))).toEqual([]);
    }
    expect(world.logged.filter(({ level }) => level === 'warn')).toEqual([]);
  });

  test('a batch larger than one read is read whole', async () => {
    const world = await LogWorld.start({ seed: 'large', tailCacheBytes: 0, settings: { segmentBytes: 100_000_000 } });
    await world.appendDurably({ valueBytes: 3_000_000 });
    await world.appendDurably({ valueBytes: 10 });
    const outcome = await world.drive(world.log.read(offset(0), { endMax: offset(2), bytesMax: 100 }));
    expect(outcome).toMatchObject({
      kind: 'batches',
      batches: [{ length: makeBatch({ valueBytes: 3_000_000 }).length }],
    });
  });

  test('small reads near the start of a large log ask for little', async () => {
    const world = await LogWorld.start({ seed: 'little', tailCacheBytes: 0, settings: { segmentBytes: 100_000_000 } });
    for (let turn = 0; turn < 100; turn++) world.append({ valueBytes: 20_000 });
    await settled(world);
    const lines = traceDisk(world.disk);
    await world.drive(world.log.read(offset(50), { endMax: offset(100), bytesMax: 1_000 }));
    expect(lines.filter(line => line.startsWith('read'))).toHaveLength(1);
    expect(Number(lines[0]?.split('+')[1])).toBeLessThanOrEqual(65_536);
  });

  test('a slice in hand outlives the removal of its segment', async () => {
    const world = await LogWorld.start({ seed: 'slice', tailCacheBytes: 0, settings: { segmentBytes: 100 } });
    for (let turn = 0; turn < 3; turn++) await world.appendDurably({ valueBytes: 80, name: `n${turn}` });
    const { log } = world;
    const reading = log.read(offset(0), { endMax: offset(3), bytesMax: 10_000 });
    const [outcome] = await world.drive(Promise.all([reading, log.advanceStart(offset(2))]));
    if (outcome.kind === 'batches') expect(recordsOf(outcome.batches[0] ?? new Uint8Array(0))[0]?.value).toMatch(/^n0/);
    else expect(outcome.kind).toBe('below-start');
  });
});

describe('retention', () => {
  const worldOfSix = async (seed: string, settings = {}): Promise<LogWorld> => {
    const one = makeBatch({ valueBytes: 100 }).length;
    const world = await LogWorld.start({ seed, settings: { segmentBytes: 2 * one, ...settings } });
    for (let turn = 0; turn < 12; turn++)
      await world.appendDurably({ valueBytes: 100, timestamp: 10_000 + turn * 100 });
    expect(world.files('.log')).toHaveLength(6);
    return world;
  };

  test('by time: whole sealed segments go when their newest record is too old', async () => {
    const world = await worldOfSix('time', { retentionMs: 1_000 });
    const start = (now: number): number => world.log.retentionStart(now, world.log.durableOffset);
    expect(start(11_100)).toBe(0);
    expect(start(11_101)).toBe(2);
    expect(start(11_500)).toBe(4);
    expect(start(1_000_000)).toBe(10);
  });

  test('by size: segments go while the rest is still large enough', async () => {
    const one = makeBatch({ valueBytes: 100 }).length;
    const start = async (retentionBytes: number): Promise<number> => {
      const world = await worldOfSix(`size ${retentionBytes}`, { retentionBytes });
      return world.log.retentionStart(0, world.log.durableOffset);
    };
    expect(await start(12 * one)).toBe(0);
    expect(await start(10 * one)).toBe(2);
    expect(await start(9 * one)).toBe(2);
    expect(await start(0)).toBe(10);
  });

  test('never goes above its limit, and not at all where a topic is only compacted', async () => {
    const world = await worldOfSix('limit', { retentionMs: 1 });
    expect(world.log.retentionStart(1_000_000, offset(5))).toBe(4);
    world.log.changeSettings({ ...world.settings, retentionDeletes: false });
    expect(world.log.retentionStart(1_000_000, offset(12))).toBe(0);
  });

  test('removes what lies wholly below the start, durably, and keeps the start through a crash', async () => {
    const world = await worldOfSix('removes');
    await world.drive(world.log.advanceStart(offset(5)));
    expect(world.files('.log').map(name => Number.parseInt(name, 10))).toEqual([4, 6, 8, 10]);
    expect(world.files().filter(name => name.startsWith('00000000000000000000'))).toEqual([]);
    expect(world.log.startOffset).toBe(5);
    world.crash(0);
    await world.open();
    expect(world.log.startOffset).toBe(5);
    expect(world.files('.log')).toHaveLength(4);
    expect(baseOffsetsOf((await world.readFrom(5)).batches)).toEqual([5, 6, 7, 8, 9, 10, 11]);
  });

  test('a crash in the middle of a removal brings nothing back and damages nothing', async () => {
    for (let steps = 0; steps < 30; steps++) {
      const world = await worldOfSix(`middle ${steps}`);
      const removing = world.log.advanceStart(offset(9));
      removing.catch(() => undefined);
      for (let step = 0; step < steps; step++) await world.scheduler.step();
      world.crash();
      await world.open();
      expect([0, 9], `${steps} steps`).toContain(world.log.startOffset);
      expect(world.log.damagedRanges, `${steps} steps`).toEqual([]);
      const { batches, stop } = await world.readFrom(world.log.startOffset);
      expect(stop).toBeNull();
      expect(baseOffsetsOf(batches).at(-1)).toBe(11);
    }
  });

  test('of everything leaves no segment, and the next record goes where the log ended', async () => {
    const world = await worldOfSix('everything');
    await world.drive(world.log.advanceStart(offset(12)));
    expect(world.files('.log')).toEqual([]);
    expect(world.log).toMatchObject({ startOffset: 12, endOffset: 12, byteLength: 0, segmentCount: 0 });
    expect(world.context.store.keys('sealed/')).toEqual([]);
    expect(await world.appendDurably({ name: 'after' })).toMatchObject({ baseOffset: 12 });
    world.crash(0);
    await world.open();
    expect(world.files('.log')).toEqual(['00000000000000000012.log']);
    expect(world.log).toMatchObject({ startOffset: 12, endOffset: 13, damagedRanges: [] });
    expect(recordsOf((await world.readFrom(12)).batches[0]!)[0]?.value).toMatch(/^after/);
  });

  test.each(['sync', 'interval'] as const)(
    'of everything may be interrupted at any step, and again while it is recovered (%s)',
    async flushMode => {
      for (let steps = 0; steps < 45; steps++) {
        const world = await worldOfSix(`everything ${flushMode} ${steps}`, { flushMode });
        // In flush mode `interval` what is durable is what was flushed.
        await world.drive(world.log.flush());
        const removing = world.log.advanceStart(offset(12));
        removing.catch(() => undefined);
        for (let step = 0; step < steps; step++) await world.scheduler.step();
        if (steps % 3 === 0) world.kill();
        else world.crash();
        world.beginOpen().catch(() => undefined);
        for (let step = 0; step < steps; step++) await world.scheduler.step();
        world.crash();
        await world.open();
        const { startOffset } = world.log;
        expect([0, 12], `${steps} steps`).toContain(startOffset);
        expect(world.log.damagedRanges, `${steps} steps`).toEqual([]);
        expect(world.log.endOffset, `${steps} steps`).toBe(12);
        const { batches, stop } = await world.readFrom(startOffset);
        expect(stop).toBeNull();
        expect(baseOffsetsOf(batches)).toEqual(Array.from({ length: 12 - startOffset }, (_, index) => index));
        expect(await world.appendDurably({})).toMatchObject({ baseOffset: 12 });
        world.crash(0);
        await world.open();
        expect(baseOffsetsOf((await world.readFrom(12)).batches), `${steps} steps`).toEqual(
          flushMode === 'sync' ? [12] : [],
        );
      }
    },
  );

  test('leaves no mark of what it removed, whatever step a crash comes in', async () => {
    for (let steps = 0; steps < 40; steps++) {
      const world = await worldOfSix(`marks ${steps}`);
      world.log.advanceStart(offset(9)).catch(() => undefined);
      for (let step = 0; step < steps; step++) await world.scheduler.step();
      world.crash();
      await world.open();
      const marked = world.context.store.keys('sealed/').map(key => Number(key.split('/').at(-1)));
      const firstBase = Number.parseInt(world.files('.log')[0] ?? '', 10);
      expect(Math.min(...marked), `${steps} steps`).toBeGreaterThanOrEqual(firstBase);
      const bases = new Set(world.files('.log').map(name => name.slice(0, 20)));
      expect(world.files('index').filter(name => !bases.has(name.slice(0, 20)))).toEqual([]);
    }
  });

  test('that the disk refuses has moved the start all the same, and is finished by the next start', async () => {
    const world = await worldOfSix('refused');
    world.disk.judge = call => (call.kind === 'remove-file' ? { kind: 'fault', fault: 'failed' } : usual);
    await world.drive(world.log.advanceStart(offset(8)));
    world.disk.judge = () => usual;
    expect(world.log.startOffset).toBe(8);
    expect(baseOffsetsOf((await world.readFrom(8)).batches)).toEqual([8, 9, 10, 11]);
    expect(world.files('.log')).toHaveLength(6);
    await world.reopen();
    expect(world.files('.log').map(name => Number.parseInt(name, 10))).toEqual([8, 10]);
  });
});

describe('lookup by time', () => {
  test('finds the first record that is late enough, across segments and with times out of order', async () => {
    const world = await LogWorld.start({ seed: 'times', settings: { segmentBytes: 1_000, indexIntervalBytes: 100 } });
    const records: { offset: number; timestamp: number }[] = [];
    for (let turn = 0; turn < 50; turn++) {
      const timestamp = 10_000 + ((turn * 7919) % 1_000) + turn * 20;
      const { baseOffset } = await world.appendDurably({ count: 2, timestamp, valueBytes: 30 });
      records.push({ offset: baseOffset, timestamp }, { offset: baseOffset + 1, timestamp: timestamp + 1 });
    }
    const check = async (): Promise<void> => {
      const { log } = world;
      for (let time = 9_990; time < 12_100; time += 3) {
        const first = records.find(record => record.timestamp >= time && record.offset >= log.startOffset);
        const expected = first === undefined ? null : { offset: first.offset, timestampMs: first.timestamp };
        expect(await world.drive(log.findTimestamp(time, log.durableOffset)), `time ${time}`).toEqual(expected);
      }
      expect(await world.drive(log.findTimestamp(0, offset(1)))).toBeNull();
    };
    await check();
    await world.reopen();
    await check();
    world.crash();
    await world.open();
    await world.drive(world.log.advanceStart(offset(31)));
    await check();
  });
});

describe('lookup by time by an index that is wrong', () => {
  /** Twenty batches, the last but one of them the newest; closed. */
  const worldOf = async (seed: string, segmentBytes: number): Promise<LogWorld> => {
    const settings = { segmentBytes, indexIntervalBytes: 1 };
    const world = await LogWorld.start({ seed, tailCacheBytes: 0, settings });
    for (let turn = 0; turn < 20; turn++) await world.appendDurably({ timestamp: 1_000 + turn * 16, valueBytes: 30 });
    await world.close();
    return world;
  };

  test.each([
    ['sealed', 500],
    ['active', 1_000_000],
  ] as const)('leaves out nothing: any bit of the indexes of the %s segment', async (_, segmentBytes) => {
    const sample = await worldOf(`sample ${segmentBytes}`, segmentBytes);
    for (const suffix of ['index', 'timeindex']) {
      const file = `${PARTITION}/00000000000000000000.${suffix}`;
      const bits = Math.min(sample.disk.contents(file).length, 60) * 8;
      for (let bit = 0; bit < bits; bit += stride(11)) {
        const world = await worldOf(`${suffix} ${segmentBytes} ${bit}`, segmentBytes);
        world.disk.rot(file, bit >> 3, byte => byte ^ (1 << (bit & 7)));
        await world.open();
        for (let turn = 0; turn < 20; turn += 1) {
          const found = await world.drive(world.log.findTimestamp(1_000 + turn * 16 - 7, offset(20)));
          expect(found, `bit ${bit} of ${suffix}, record ${turn}`).toEqual({
            offset: turn,
            timestampMs: 1_000 + turn * 16,
          });
        }
      }
    }
  });
});

describe('lookup by time over damage', () => {
  test('finds the first record behind it that can be read', async () => {
    const world = await LogWorld.start({ seed: 'over', tailCacheBytes: 0 });
    for (let turn = 0; turn < 6; turn++) await world.appendDurably({ timestamp: 1_000 + turn, valueBytes: 100 });
    const one = world.disk.contents(FIRST_LOG).length / 6;
    world.disk.rot(FIRST_LOG, 2 * one + 90, byte => byte ^ 4);
    const find = (time: number) => world.drive(world.log.findTimestamp(time, offset(6)));
    expect(await find(1_001)).toEqual({ offset: 1, timestampMs: 1_001 });
    expect(await find(1_002)).toEqual({ offset: 3, timestampMs: 1_003 });
    expect(await find(1_005)).toEqual({ offset: 5, timestampMs: 1_005 });
    expect(await find(1_006)).toBeNull();
  });
});

describe('a cut', () => {
  test.each(['power', 'none'] as const)(
    'of the first record of a segment leaves the one before as replicas have it that never had that record: %s',
    async loss => {
      const sizes: (readonly (readonly [string, number])[])[] = [];
      for (const isCut of [false, true]) {
        const world = await LogWorld.start({ seed: `first ${loss}`, settings: { segmentBytes: 500 } });
        for (let turn = 0; turn < 2; turn++) await world.appendDurably({ count: 2, valueBytes: 40 });
        if (isCut) {
          await world.appendDurably({ count: 2, valueBytes: 200 });
          expect(world.files('.log')).toHaveLength(2);
          await world.drive(world.cutFrom(4));
        }
        if (loss === 'power') {
          world.crash(0);
          await world.open();
        }
        await world.appendDurably({ count: 1, valueBytes: 10 }, 3);
        await world.appendDurably({ count: 2, valueBytes: 200 }, 3);
        await world.reopen();
        expect(world.log.condition).toEqual({ kind: 'sound' });
        sizes.push(world.files('.log').map(name => [name, world.disk.contents(`${PARTITION}/${name}`).length]));
        await world.close();
        expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
      }
      expect(sizes[1]).toEqual(sizes[0]);
      expect(sizes[0]).toHaveLength(2);
    },
  );

  test('removes batches, segments, index entries, epochs and cached batches in one step', async () => {
    const world = await LogWorld.start({ seed: 'cut', settings: { segmentBytes: 500, indexIntervalBytes: 1 } });
    for (let turn = 0; turn < 12; turn++) await world.appendDurably({ valueBytes: 100 }, 1 + Math.floor(turn / 4));
    const { generation } = world.log;
    world.notices = [];
    await world.drive(world.cutFrom(6));
    expect(world.log.endOffset).toBe(6);
    expect(world.log.leaderEpoch).toBe(2);
    expect(world.log.generation).toBeGreaterThan(generation);
    expect(world.notices.at(-1)).toEqual({ generation: world.log.generation, position: { epoch: 2, offset: 6 } });
    expect(baseOffsetsOf((await world.readFrom(0)).batches)).toEqual([0, 1, 2, 3, 4, 5]);
    await world.appendDurably({ valueBytes: 100, name: 'new' }, 4);
    world.crash(0);
    await world.open();
    expect(epochsOf((await world.readFrom(0)).batches)).toEqual([1, 1, 1, 1, 2, 2, 4]);
    await world.close();
    expect(judgeFiles(world.disk, PARTITION).faults).toEqual([]);
  });

  test('over several segments leaves no gap, whatever step a crash comes in', async () => {
    for (let steps = 0; steps < 60; steps++) {
      for (const survival of [0, 0.5]) {
        const world = await LogWorld.start({ seed: `gap ${steps} ${survival}`, settings: { segmentBytes: 250 } });
        for (let turn = 0; turn < 10; turn++) await world.appendDurably({ valueBytes: 50 });
        expect(world.files('.log').length).toBeGreaterThan(4);
        world.cutFrom(3).catch(() => undefined);
        for (let step = 0; step < steps; step++) await world.scheduler.step();
        world.crash(survival);
        const log = await world.open();
        expect(log.damagedRanges, `${steps} steps`).toEqual([]);
        expect(log.endOffset, `${steps} steps`).toBeGreaterThanOrEqual(3);
        await world.appendDurably({ valueBytes: 50 }, 2);
        const { batches, stop } = await world.readFrom(0);
        expect(stop, `${steps} steps`).toBeNull();
        expect(baseOffsetsOf(batches)).toEqual(Array.from({ length: log.endOffset }, (_, at) => at));
      }
    }
  });

  test('that a dying process left half done brings nothing back over what is appended next', async () => {
    // With one segment it is the file's length that only the page cache knows, with several the removed name.
    for (const segmentBytes of [250, 100_000]) {
      for (let steps = 0; steps < 24; steps++) {
        for (let later = 0; later < 8; later++) {
          const seed = `half ${segmentBytes} ${steps} ${later}`;
          const world = await LogWorld.start({ seed, settings: { segmentBytes } });
          for (let turn = 0; turn < 4; turn++) await world.appendDurably({ valueBytes: 50 });
          world.cutFrom(2).catch(() => undefined);
          for (let step = 0; step < steps; step++) await world.scheduler.step();
          world.kill();
          const { endOffset } = await world.open();
          world.append({ name: 'new', valueBytes: 60 });
          for (let step = 0; step < later; step++) await world.scheduler.step();
          world.crash(0);
          const log = await world.open();
          expect(log.endOffset, seed).toBeLessThanOrEqual(endOffset + 1);
          const { batches } = await world.readFrom(0);
          const behind = batches.flatMap(recordsOf).filter(record => record.offset >= endOffset);
          expect(
            behind.map(record => record.value.slice(0, 3)),
            seed,
          ).toEqual(log.endOffset > endOffset ? ['new'] : []);
        }
      }
    }
  });

  test('waits for the write in flight, and what lies below it becomes durable', async () => {
    for (let steps = 0; steps < 12; steps++) {
      const world = await LogWorld.start({ seed: `flight ${steps}` });
      await world.appendDurably();
      for (let turn = 0; turn < 6; turn++) world.append();
      for (let step = 0; step < steps; step++) await world.scheduler.step();
      await world.drive(world.cutFrom(4));
      expect(world.log.endOffset, `${steps} steps`).toBe(4);
      expect(world.log.durableOffset, `${steps} steps`).toBe(4);
      await world.appendDurably({ count: 2 }, 2);
      expect(baseOffsetsOf((await world.readFrom(0)).batches)).toEqual([0, 1, 2, 3, 4]);
      world.crash(0);
      expect((await world.open()).endOffset, `${steps} steps`).toBe(6);
    }
  });
});

describe('closing', () => {
  test('waits for what is queued, leaves index files up to date and no file open', async () => {
    const world = await LogWorld.start({ seed: 'close', settings: { segmentBytes: 2_000, indexIntervalBytes: 1 } });
    for (let turn = 0; turn < 30; turn++) world.append({ valueBytes: 100 });
    await world.close();
    expect(world.disk.openPaths).toEqual([]);
    const { segments, faults } = judgeFiles(world.disk, PARTITION);
    expect(faults).toEqual([]);
    expect(segments.flatMap(segment => segment.batches)).toHaveLength(30);
    for (const segment of segments) {
      const entries = world.disk.contents(`${PARTITION}/${segment.name}.index`).length / 8;
      expect(entries, segment.name).toBe(segment.batches.length - 1);
    }
  });

  test('of a log that is still being read gives the reader its answer', async () => {
    const world = await LogWorld.start({ seed: 'reader', tailCacheBytes: 0 });
    await world.appendDurably({ count: 2 });
    const { log } = world;
    const reading = log.read(offset(0), { endMax: offset(2), bytesMax: 1_000 });
    const [outcome] = await world.drive(Promise.all([reading, log.close()]));
    expect(outcome).toMatchObject({ kind: 'batches', batches: [{}] });
  });

  test('of an abandoned log lets go of its files and forgets its marks', async () => {
    const world = await LogWorld.start({ seed: 'abandon' });
    await world.appendDurably({ count: 2 });
    const { log, context } = world;
    log.append([makeBatch()], EPOCH);
    await world.drive(log.abandon());
    expect(log).toBeInstanceOf(PartitionLog);
    expect(context.store.keys('sync/')).toEqual([]);
    expect(world.disk.openPaths.filter(path => path.startsWith(PARTITION))).toEqual([]);
  });
});

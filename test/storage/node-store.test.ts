// The node's store: what was flushed outlives any crash, in at least one of two copies.

import { describe, expect, test } from 'vitest';
import { crc32c } from '@sluice/protocol/record';
import type { Disk } from '../../server/io/disk.ts';
import { DiskReserve } from '../../server/storage/disk-reserve.ts';
import { NodeStore, type StoreValue } from '../../server/storage/node-store.ts';
import { SyncGate } from '../../server/storage/sync-gate.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { SimulatedDisk } from '../simulation/disk.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';

const makeWorld = (seed: string) => {
  const random = new SeededRandom(seed);
  const scheduler = new Scheduler(random.fork('order'));
  const disk = new SimulatedDisk({ scheduler, random: random.fork('disk') });
  const faults: string[] = [];
  let clock = new SimulatedClock(scheduler);
  const open = (mounted: Disk): Promise<NodeStore> =>
    scheduler.drive(
      NodeStore.open({
        disk: mounted,
        clock,
        directory: '/',
        syncGate: new SyncGate(),
        reserve: new DiskReserve(mounted, '/'),
        failed: fault => faults.push(fault.kind),
      }),
    );
  const crash = (survival?: number): Disk => {
    clock.kill();
    clock = new SimulatedClock(scheduler);
    disk.crash(survival);
    return disk.mount();
  };
  return { random, scheduler, disk, faults, open, crash };
};

const stateOf = (store: NodeStore): Record<string, StoreValue | null> =>
  Object.fromEntries(store.keys('k').map(key => [key, store.get(key)]));

describe('the node store', () => {
  test('is written by itself within a second', async () => {
    const { scheduler, disk, open, crash } = makeWorld('timer');
    const store = await open(disk.mount());
    store.set('k1', { a: 1 });
    await scheduler.advance(1_100);
    const again = await open(crash(0));
    expect(stateOf(again)).toEqual({ k1: { a: 1 } });
  });

  test('is written at once after 64 MiB of log', async () => {
    const { scheduler, disk, open, crash } = makeWorld('bytes');
    const store = await open(disk.mount());
    store.set('k1', { a: 1 }, 64 * 1024 * 1024);
    await scheduler.advance(20);
    expect(stateOf(await open(crash(0)))).toEqual({ k1: { a: 1 } });
  });

  test('a line that no broker writes is none, although its checksum fits', async () => {
    const line = (json: string): string => `${crc32c(Buffer.from(json)).toString(16).padStart(8, '0')} ${json}\n`;
    const good = line('{"n":1,"k":"k1","v":{"a":1}}');
    for (const wrong of ['not json', '[]', '"x"', 'null', '{"n":"2","k":"k1","v":null}', '{"n":2,"k":5,"v":{}}']) {
      const { disk, open } = makeWorld(wrong);
      disk.plant('/store-0', Buffer.from(good + line(wrong) + line('{"n":3,"k":"k2","v":{"a":3}}')));
      const store = await open(disk.mount());
      expect(stateOf(store), wrong).toEqual({ k1: { a: 1 }, k2: { a: 3 } });
    }
  });

  test('what was flushed outlives every crash; later changes may, each whole', async () => {
    const surprises: unknown[] = [];
    let crashes = 0;
    for (let seed = 0; seed < 150; seed++) {
      const { random, scheduler, disk, open, crash } = makeWorld(`crash ${seed}`);
      let mounted = disk.mount();
      let store = await open(mounted);
      /** What each key may be after a crash: what was flushed, or anything set since. */
      let possible = new Map<string, string[]>();
      const written = (key: string): string => JSON.stringify(store.get(key));
      for (let step = 0; step < 60; step++) {
        const key = `k${random.below(6)}`;
        const change = random.below(20);
        if (change < 11) {
          store.set(key, { step, filler: 'x'.repeat(random.chance(0.1) ? 40_000 : random.below(100)) });
        } else if (change < 13) {
          store.delete(key);
        } else if (change < 16) {
          const flushed = new Map([...possible.keys()].map(each => [each, [written(each)]]));
          const flush = store.flush();
          if (random.chance(0.3)) {
            // The crash comes while the flush is under way: nothing is promised yet.
            for (let turn = random.below(6); turn > 0; turn--) await scheduler.step();
          } else {
            await scheduler.drive(flush);
            possible = flushed;
          }
        } else if (change < 17) {
          mounted = crash();
          store = await open(mounted);
          crashes++;
          for (const [each, allowed] of possible)
            if (!allowed.includes(written(each))) surprises.push([seed, each, allowed]);
          possible = new Map([...possible.keys()].map(each => [each, [written(each)]]));
        }
        if (change < 13) possible.set(key, [...(possible.get(key) ?? ['null']), written(key)]);
      }
    }
    expect(surprises).toEqual([]);
    expect(crashes).toBeGreaterThan(300);
  });

  test('one damaged copy is made good by the other', async () => {
    for (const copy of ['/store-0', '/store-1']) {
      for (let position = 0; position < 60; position += 7) {
        const { scheduler, disk, open, crash } = makeWorld(`copy ${copy} ${position}`);
        const store = await open(disk.mount());
        for (let key = 0; key < 5; key++) {
          store.set(`k${key}`, { key });
          await scheduler.drive(store.flush());
        }
        disk.rot(copy, position, byte => byte ^ 0x40);
        expect(Object.keys(stateOf(await open(crash())))).toHaveLength(5);
      }
    }
  });

  describe('damage of both copies', () => {
    /** Where the line of a flush begins, in both copies. */
    const lineOf = (disk: SimulatedDisk, key: string): number =>
      Buffer.from(disk.contents('/store-0')).lastIndexOf(`"k":"${key}"`);
    const rotBoth = (disk: SimulatedDisk, at: number): void => {
      for (const copy of ['/store-0', '/store-1']) disk.rot(copy, at, byte => byte ^ 0x40);
    };
    const suspectsOf = (store: NodeStore): string[] => [...store.suspects].sort();

    test('at different places is made good by the two together', async () => {
      const { scheduler, disk, open, crash } = makeWorld('different');
      const store = await open(disk.mount());
      for (let key = 0; key < 5; key++) {
        store.set(`k${key}`, { key });
        await scheduler.drive(store.flush());
      }
      disk.rot('/store-0', lineOf(disk, 'k1'), byte => byte ^ 1);
      disk.rot('/store-1', lineOf(disk, 'k3'), byte => byte ^ 1);
      const again = await open(crash());
      expect(Object.keys(stateOf(again))).toHaveLength(5);
      expect(suspectsOf(again)).toEqual([]);
    });

    test('makes those suspect whose newest line is not behind it, and nothing else', async () => {
      const { scheduler, disk, open, crash } = makeWorld('suspect');
      const store = await open(disk.mount());
      for (const [key, value] of [
        ['k1', 1],
        ['k2', 1],
        ['k3', 1],
        ['k2', 2],
        ['k3', 2],
      ] as const) {
        store.set(key, { value });
        await scheduler.drive(store.flush());
      }
      rotBoth(disk, lineOf(disk, 'k2'));
      let again = await open(crash());
      // k2 has lost its second value; k1 may have had one there as far as anybody can tell.
      expect(stateOf(again)).toEqual({ k1: { value: 1 }, k2: { value: 1 }, k3: { value: 2 } });
      expect(suspectsOf(again)).toEqual(['k1', 'k2']);
      // Until somebody says otherwise: not by another start, nor by a new value.
      again.set('k1', { value: 3 });
      await scheduler.drive(again.flush());
      again = await open(crash(0));
      expect(suspectsOf(again)).toEqual(['k1', 'k2']);
      again.clearSuspect('k1');
      again.delete('k2');
      await scheduler.drive(again.flush());
      again = await open(crash(0));
      expect(suspectsOf(again)).toEqual([]);
      expect(stateOf(again)).toEqual({ k1: { value: 3 }, k3: { value: 2 } });
    });

    test('where each key was written anew is no newer line of one that still has its own', async () => {
      const { scheduler, disk, open, crash } = makeWorld('first line');
      let store = await open(disk.mount());
      store.set('k1', { value: 1 });
      store.set('k2', { value: 1 });
      await scheduler.drive(store.flush());
      store = await open(crash(0));
      store.set('k2', { value: 2 });
      await scheduler.drive(store.flush());
      rotBoth(disk, 12);
      store = await open(crash(0));
      expect(stateOf(store)).toEqual({ k1: { value: 1 }, k2: { value: 2 } });
      rotBoth(disk, lineOf(disk, 'k1'));
      expect(suspectsOf(await open(crash(0)))).toEqual([]);
    });

    test('in a flush that a crash tore is none: what stands behind it was never reported', async () => {
      let torn = 0;
      for (let seed = 0; seed < 60; seed++) {
        const { scheduler, disk, open, crash } = makeWorld(`torn ${seed}`);
        const store = await open(disk.mount());
        store.set('k0', { value: 1 });
        await scheduler.drive(store.flush());
        for (let key = 1; key < 8; key++) store.set(`k${key}`, { filler: 'x'.repeat(3_000) });
        const flush = store.flush();
        flush.catch(() => undefined);
        for (let step = 0; step < 1 + (seed % 4); step++) await scheduler.step();
        const mounted = crash(0.5);
        const behind = Buffer.from(disk.contents('/store-0')).lastIndexOf('"k":"k7"') > 0;
        const again = await open(mounted);
        expect(suspectsOf(again), `seed ${seed}`).toEqual([]);
        expect(again.get('k0')).toEqual({ value: 1 });
        const kept = Object.keys(stateOf(again)).length;
        if (behind && kept < 8) torn++;
      }
      expect(torn).toBeGreaterThan(3);
    });
  });

  test('a copy that is gone or empty is made good by the other', async () => {
    for (const damage of ['erase', 'empty'] as const) {
      const { scheduler, disk, open, crash } = makeWorld(damage);
      const store = await open(disk.mount());
      store.set('k1', { a: 1 });
      await scheduler.drive(store.flush());
      if (damage === 'erase') disk.erase('/store-0');
      else disk.resize('/store-0', 0);
      expect(stateOf(await open(crash()))).toEqual({ k1: { a: 1 } });
      expect(disk.contents('/store-0')).toEqual(disk.contents('/store-1'));
    }
  });

  test('grows beyond what was preallocated, and shrinks back to what is live', async () => {
    const { scheduler, disk, open, crash } = makeWorld('grow');
    let store = await open(disk.mount());
    for (let round = 0; round < 400; round++) {
      store.set(`k${round % 3}`, { round, filler: 'x'.repeat(3_000) });
      await scheduler.drive(store.flush());
    }
    expect(disk.contents('/store-0').length).toBeLessThan(1_000_000);
    store = await open(crash(0));
    expect(store.keys('k').map(key => store.get(key)?.['round'])).toEqual(expect.arrayContaining([397, 398, 399]));
  });

  test('a full disk does not stop it while it fits into what was preallocated', async () => {
    const { scheduler, disk, faults, open, crash } = makeWorld('full');
    const store = await open(disk.mount());
    disk.capacityBytes = disk.usedBytes();
    for (let round = 0; round < 50; round++) {
      store.set('k1', { round });
      await scheduler.drive(store.flush());
    }
    expect(faults).toEqual([]);
    disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    expect(stateOf(await open(crash(0)))).toEqual({ k1: { round: 49 } });
  });

  test.each(['sync', 'write'] as const)('a failed %s is told once and refuses every later flush', async kind => {
    const { scheduler, disk, faults, open } = makeWorld(`failed ${kind}`);
    const store = await open(disk.mount());
    store.set('k1', { a: 1 });
    disk.judge = call => (call.kind === kind ? { kind: 'fault', fault: 'failed' } : { kind: 'usual' });
    await expect(scheduler.drive(store.flush())).rejects.toMatchObject({ kind: 'failed' });
    disk.judge = () => ({ kind: 'usual' });
    store.set('k2', { a: 1 });
    await expect(scheduler.drive(store.flush())).rejects.toMatchObject({ kind: 'failed' });
    await scheduler.advance(5_000);
    expect(faults).toEqual(['failed']);
  });
});

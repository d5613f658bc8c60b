// The pool of open files and the gate of syncs: what bounds them, and that no file is closed under its user.

import { describe, expect, test } from 'vitest';
import { FilePool } from '../../server/storage/file-pool.ts';
import { SyncGate } from '../../server/storage/sync-gate.ts';
import { SimulatedDisk } from '../simulation/disk.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';

const makePool = (limit: number, seed = 'pool') => {
  const random = new SeededRandom(seed);
  const scheduler = new Scheduler(random.fork('order'));
  const disk = new SimulatedDisk({ scheduler, random: random.fork('disk') });
  const names = Array.from({ length: 8 }, (_, index) => `/f${index}`);
  for (const [index, name] of names.entries()) disk.plant(name, Uint8Array.of(index));
  return { scheduler, disk, names, random, pool: new FilePool(disk.mount(), limit) };
};

describe('the file pool', () => {
  test('opens a file once for users at the same time and keeps it for the next', async () => {
    const { scheduler, disk, pool } = makePool(4);
    const opens: string[] = [];
    disk.judge = call => {
      if (call.kind === 'open') opens.push(call.path);
      return { kind: 'usual' };
    };
    await scheduler.drive(Promise.all([1, 2, 3].map(() => pool.use('/f0', file => file.byteLength()))));
    await scheduler.drive(pool.use('/f0', file => file.byteLength()));
    expect(opens).toEqual(['/f0']);
    expect(disk.openPaths).toEqual(['/f0']);
  });

  test('keeps no more files than its limit, the last used ones', async () => {
    const { scheduler, disk, pool, names } = makePool(3);
    for (const name of [...names, '/f5']) await scheduler.drive(pool.use(name, file => file.byteLength()));
    expect(pool.openCount).toBe(3);
    expect([...disk.openPaths].sort()).toEqual(['/f5', '/f6', '/f7']);
  });

  test('never closes a file in use, even beyond the limit', async () => {
    for (let seed = 0; seed < 30; seed++) {
      const { scheduler, disk, pool, names, random } = makePool(2, `busy ${seed}`);
      const uses = Array.from({ length: 40 }, async () => {
        const name = random.pick(names);
        const target = new Uint8Array(1);
        await pool.use(name, async file => {
          for (let turn = 0; turn < random.between(1, 3); turn++) await file.read(target, 0);
        });
        return `/f${target[0]}` === name;
      });
      expect(await scheduler.drive(Promise.all(uses))).not.toContain(false);
      expect(pool.openCount).toBeLessThanOrEqual(2);
      expect(disk.openPaths).toHaveLength(pool.openCount);
    }
  });

  test('a forgotten file is closed by its last user, and the next one opens it anew', async () => {
    const { scheduler, disk, pool } = makePool(4);
    let release = (): void => {};
    const held = new Promise<void>(resolve => {
      release = resolve;
    });
    const use = pool.use('/f0', async file => {
      await held;
      return file.byteLength();
    });
    await scheduler.driveUntil(() => disk.openPaths.length === 1);
    await scheduler.drive(pool.forget('/f0'));
    expect(disk.openPaths).toEqual(['/f0']);
    await scheduler.drive(pool.use('/f0', file => file.byteLength()));
    expect(disk.openPaths).toEqual(['/f0', '/f0']);
    release();
    expect(await scheduler.drive(use)).toBe(1);
    expect(disk.openPaths).toEqual(['/f0']);
    await scheduler.drive(pool.close());
    expect(disk.openPaths).toEqual([]);
  });

  test('a file that cannot be opened is asked for again by the next user', async () => {
    const { scheduler, disk, pool } = makePool(4);
    await expect(scheduler.drive(pool.use('/absent', file => file.byteLength()))).rejects.toMatchObject({
      kind: 'not-found',
    });
    expect(pool.openCount).toBe(0);
    disk.plant('/absent', Uint8Array.of(1, 2));
    expect(await scheduler.drive(pool.use('/absent', file => file.byteLength()))).toBe(2);
  });
});

describe('the sync gate', () => {
  test('lets no more in than its limit, in order, the store before the logs', async () => {
    const gate = new SyncGate(2);
    const order: string[] = [];
    const releases: (() => void)[] = [];
    let running = 0;
    let most = 0;
    const enter = (priority: 'store' | 'log', name: string): Promise<void> =>
      gate.run(priority, async () => {
        order.push(name);
        running++;
        most = Math.max(most, running);
        await new Promise<void>(resolve => releases.push(resolve));
        running--;
      });
    const all = [enter('log', 'a'), enter('log', 'b'), enter('log', 'c'), enter('log', 'd'), enter('store', 's')];
    for (let turn = 0; turn < all.length; turn++) {
      const { promise, resolve } = Promise.withResolvers<void>();
      setImmediate(resolve);
      await promise;
      releases.shift()?.();
    }
    await Promise.all(all);
    expect(order).toEqual(['a', 'b', 's', 'c', 'd']);
    expect(most).toBe(2);
  });

  test('a sync that failed gives its place on', async () => {
    const gate = new SyncGate(1);
    const failing = gate.run('log', () => Promise.reject(new Error('failed')));
    const next = gate.run('log', () => Promise.resolve('next'));
    await expect(failing).rejects.toThrow('failed');
    expect(await next).toBe('next');
    expect(await gate.run('store', () => Promise.resolve('free'))).toBe('free');
  });
});

// The data directory: whose it is, what a crash leaves of a new one, and that nothing in it is deleted without need.

import { describe, expect, test } from 'vitest';
import { leaderEpoch, topicId } from '@sluice/protocol/ids';
import type { DirectoryLocks } from '../../server/io/directory-lock.ts';
import type { Disk } from '../../server/io/disk.ts';
import { DataDirectory } from '../../server/storage/data-directory.ts';
import type { PartitionLog } from '../../server/storage/partition-log.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { SimulatedDisk } from '../simulation/disk.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { makeBatch } from './batches.ts';
import { settingsFor } from './log-world.ts';

const ROOT = '/var/lib/sluice';
const ID = topicId('11111111-2222-4333-8444-555555555555');
const OTHER_ID = topicId('99999999-2222-4333-8444-555555555555');
const T0 = { topic: 't', topicId: ID, partition: 0 };

/** A machine with a disk and one lock table: locks go when the process does. */
class Machine {
  readonly random: SeededRandom;
  readonly scheduler: Scheduler;
  readonly disk: SimulatedDisk;
  readonly logged: { level: string; message: string }[] = [];
  #mounted: Disk | null = null;
  #clock: SimulatedClock;
  readonly #locked = new Set<string>();

  constructor(seed: string) {
    this.random = new SeededRandom(seed);
    this.scheduler = new Scheduler(this.random.fork('order'));
    this.disk = new SimulatedDisk({ scheduler: this.scheduler, random: this.random.fork('disk') });
    this.#clock = new SimulatedClock(this.scheduler);
  }

  begin(nodeId = 1): Promise<DataDirectory> {
    this.#mounted ??= this.disk.mount();
    const log = (level: string) => (_: unknown, message: string) => {
      this.logged.push({ level, message });
    };
    const locked = this.#locked;
    const locks: DirectoryLocks = {
      acquire(directory) {
        if (locked.has(directory)) return Promise.resolve(null);
        locked.add(directory);
        return Promise.resolve({
          isHeld: () => Promise.resolve(locked.has(directory)),
          release: () => {
            locked.delete(directory);
            return Promise.resolve();
          },
        });
      },
    };
    return DataDirectory.open({
      disk: this.#mounted,
      clock: this.#clock,
      random: this.random,
      locks,
      path: ROOT,
      nodeId,
      logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error'), fatal: log('fatal') },
      onSync: () => undefined,
      storeFailed: fault => {
        throw fault;
      },
    });
  }

  open(nodeId = 1): Promise<DataDirectory> {
    return this.scheduler.drive(this.begin(nodeId));
  }

  openLog(directory: DataDirectory, name = T0): Promise<PartitionLog> {
    return this.scheduler.drive(this.beginLog(directory, name));
  }

  beginLog(directory: DataDirectory, name = T0): Promise<PartitionLog> {
    return directory.openLog(name, settingsFor(), { durable: () => undefined, dropped: () => undefined });
  }

  crash(survival?: number): void {
    this.#end();
    this.disk.crash(survival);
  }

  kill(): void {
    this.#end();
    this.disk.kill();
  }

  #end(): void {
    this.#clock.kill();
    this.#clock = new SimulatedClock(this.scheduler);
    this.#locked.clear();
    this.#mounted = null;
  }

  async append(log: PartitionLog): Promise<void> {
    log.append([makeBatch()], leaderEpoch(0));
    await this.scheduler.driveUntil(() => log.durableOffset === log.endOffset);
  }
}

describe('a new data directory', () => {
  test('is durable with its first acknowledged record, folders above it included', async () => {
    const machine = new Machine('durable');
    const log = await machine.openLog(await machine.open());
    await machine.append(log);
    machine.crash(0);
    const again = await machine.openLog(await machine.open());
    expect(again.endOffset).toBe(1);
    expect(again.damagedRanges).toEqual([]);
  });

  test('can be opened again whatever step of its making a crash came in', async () => {
    for (let steps = 0; steps < 70; steps++) {
      const machine = new Machine(`making ${steps}`);
      let acknowledged = 0;
      const making = (async () => {
        const log = await machine.beginLog(await machine.begin());
        log.append([makeBatch()], leaderEpoch(0));
        while (log.durableOffset < 1) {
          const { promise, resolve } = Promise.withResolvers<void>();
          machine.scheduler.after(0.1, resolve);
          await promise;
        }
        acknowledged = 1;
      })();
      making.catch(() => undefined);
      for (let step = 0; step < steps; step++) await machine.scheduler.step();
      machine.crash();
      const log = await machine.openLog(await machine.open());
      expect(log.endOffset, `${steps} steps`).toBeGreaterThanOrEqual(acknowledged);
      expect(log.damagedRanges, `${steps} steps`).toEqual([]);
      await machine.append(log);
    }
  });

  test('whose process died at any step of its making is durable with its first record all the same', async () => {
    for (let steps = 0; steps < 70; steps++) {
      const machine = new Machine(`died ${steps}`);
      const making = (async () => machine.beginLog(await machine.begin()))();
      making.catch(() => undefined);
      for (let step = 0; step < steps; step++) await machine.scheduler.step();
      machine.kill();
      await machine.append(await machine.openLog(await machine.open()));
      machine.crash(0);
      const log = await machine.openLog(await machine.open());
      expect(log.endOffset, `${steps} steps`).toBe(1);
      expect(log.damagedRanges, `${steps} steps`).toEqual([]);
    }
  });

  test('keeps its identity', async () => {
    const machine = new Machine('identity');
    const first = await machine.open();
    const { identity } = first;
    expect(identity.nodeId).toBe(1);
    expect(identity.clusterId).not.toBe(identity.directoryId);
    await machine.scheduler.drive(first.close());
    expect((await machine.open()).identity).toEqual(identity);
  });
});

describe('a start is refused', () => {
  const refusal = async (machine: Machine, nodeId = 1): Promise<{ reason: string; message: string }> => {
    try {
      await machine.open(nodeId);
    } catch (error) {
      return error as { reason: string; message: string };
    }
    throw new Error('it was not refused');
  };

  test('while another broker holds the directory, and not after it is gone', async () => {
    const machine = new Machine('held');
    const holder = await machine.open();
    expect(await refusal(machine)).toMatchObject({ reason: 'data-directory-in-use' });
    await machine.scheduler.drive(holder.close());
    await machine.scheduler.drive((await machine.open()).close());
  });

  test('with the id of another node; and the lock is free again afterwards', async () => {
    const machine = new Machine('node');
    await machine.scheduler.drive((await machine.open()).close());
    const refused = await refusal(machine, 2);
    expect(refused).toMatchObject({ reason: 'data-directory-damaged' });
    expect(refused.message).toContain('--node-id 1');
    await machine.scheduler.drive((await machine.open(1)).close());
  });

  test.each([
    ['a later format', '{"format_version": 3}', 'data-directory-version'],
    ['no JSON', '{"format_vers', 'data-directory-damaged'],
    ['no ids', '{"format_version": 1, "node_id": 1}', 'data-directory-damaged'],
  ])('with %s in meta.json, which stays as it is', async (_, text, reason) => {
    const machine = new Machine(`meta ${reason}`);
    await machine.scheduler.drive((await machine.open()).close());
    machine.disk.plant(`${ROOT}/meta.json`, Buffer.from(text));
    expect(await refusal(machine)).toMatchObject({ reason });
    expect(Buffer.from(machine.disk.contents(`${ROOT}/meta.json`)).toString()).toBe(text);
  });

  test('where partitions are but no meta.json: it never takes them for a new directory', async () => {
    const machine = new Machine('no meta');
    const directory = await machine.open();
    await machine.append(await machine.openLog(directory));
    machine.disk.erase(`${ROOT}/meta.json`);
    machine.crash(1);
    expect(await refusal(machine)).toMatchObject({ reason: 'data-directory-damaged' });
    expect(machine.disk.filePaths()).toContain(`${ROOT}/t-0/00000000000000000000.log`);
  });

  test('of a partition whose folder belongs to another topic', async () => {
    const machine = new Machine('other topic');
    const directory = await machine.open();
    await machine.append(await machine.openLog(directory));
    machine.crash(1);
    const again = await machine.open();
    await expect(machine.openLog(again, { ...T0, topicId: OTHER_ID })).rejects.toMatchObject({
      reason: 'data-directory-damaged',
    });
    expect(machine.disk.filePaths()).toContain(`${ROOT}/t-0/00000000000000000000.log`);
  });
});

describe('folders of partitions', () => {
  test('a missing one is damage, told loudly, and the partition goes on behind it', async () => {
    const machine = new Machine('missing folder');
    const first = await machine.open();
    const log = await machine.openLog(first);
    await machine.append(log);
    await machine.append(log);
    await machine.scheduler.drive(log.close());
    await machine.scheduler.drive(first.close());
    for (const path of machine.disk.filePaths()) if (path.startsWith(`${ROOT}/t-0/`)) machine.disk.erase(path);
    machine.disk.erase(`${ROOT}/t-0`);
    const again = await machine.openLog(await machine.open());
    expect(again.damagedRanges).toMatchObject([{ from: 0, to: 2 }]);
    expect(machine.logged.filter(line => line.level === 'error').length).toBeGreaterThan(0);
    await machine.append(again);
    expect(again.endOffset).toBe(3);
  });

  test('a missing one makes the replica faulty for good, with what it acknowledged', async () => {
    const machine = new Machine('faulty folder');
    const first = await machine.open();
    const log = await machine.openLog(first);
    log.appendEpochStart(leaderEpoch(4));
    log.append([makeBatch({ count: 3 })], leaderEpoch(4));
    await machine.scheduler.drive(log.close());
    await machine.scheduler.drive(first.close());
    for (const path of machine.disk.filePaths()) if (path.startsWith(`${ROOT}/t-0/`)) machine.disk.erase(path);
    machine.disk.erase(`${ROOT}/t-0`);
    for (let life = 0; life < 3; life++) {
      const again = await machine.openLog(await machine.open());
      expect(again.condition).toMatchObject({ kind: 'faulty', claims: { epoch: 4, offset: 3 }, isWritable: true });
      machine.crash();
    }
  });

  test('one whose marks the store has lost is faulty for good, and never new', async () => {
    const machine = new Machine('faulty marks');
    const log = await machine.openLog(await machine.open());
    await machine.append(log);
    machine.crash(1);
    for (const copy of ['store-0', 'store-1']) machine.disk.erase(`${ROOT}/${copy}`);
    for (let life = 0; life < 3; life++) {
      const again = await machine.openLog(await machine.open());
      expect([again.endOffset, again.condition]).toMatchObject([1, { kind: 'faulty', reason: 'record-missing' }]);
      await machine.scheduler.drive(again.flush());
      await machine.scheduler.advance(2_000);
      machine.crash();
    }
    const last = await machine.openLog(await machine.open());
    await machine.scheduler.drive(last.clearFault());
    machine.crash(0);
    expect((await machine.openLog(await machine.open())).condition).toEqual({ kind: 'sound' });
  });

  test('one whose making a crash interrupted is new', async () => {
    let interrupted = 0;
    for (let steps = 0; steps < 80; steps++) {
      const machine = new Machine(`born ${steps}`);
      const making = (async () => machine.beginLog(await machine.begin()))();
      making.catch(() => undefined);
      for (let step = 0; step < steps; step++) await machine.scheduler.step();
      machine.crash();
      if (machine.disk.filePaths().some(path => path.startsWith(`${ROOT}/t-0/`))) interrupted++;
      const log = await machine.openLog(await machine.open());
      expect(log.condition, `${steps} steps`).toEqual({ kind: 'sound' });
    }
    expect(interrupted).toBeGreaterThan(5);
  });

  test('one that nobody knows is kept and named', async () => {
    const machine = new Machine('stranger');
    const directory = await machine.open();
    await machine.openLog(directory);
    const disk = directory.context.disk;
    await machine.scheduler.drive(disk.makeDirectory(`${ROOT}/mine-0`));
    expect(await machine.scheduler.drive(directory.strangers(new Set(['t-0'])))).toEqual(['mine-0']);
    machine.crash(1);
    const again = await machine.open();
    await machine.openLog(again);
    expect(await machine.scheduler.drive(again.strangers(new Set(['t-0'])))).toEqual(['mine-0']);
  });

  test('a retired one frees the name at once, and its files go for good', async () => {
    const machine = new Machine('retire');
    const directory = await machine.open();
    const log = await machine.openLog(directory);
    await machine.append(log);
    await machine.scheduler.drive(log.abandon());
    await machine.scheduler.drive(directory.retireLog(T0));
    const fresh = await machine.openLog(directory, { ...T0, topicId: OTHER_ID });
    expect(fresh.endOffset).toBe(0);
    await machine.append(fresh);
    await machine.scheduler.drive(directory.removeRetired(T0));
    expect(machine.disk.filePaths().filter(path => path.includes('-delete'))).toEqual([]);
    machine.crash(0);
    const again = await machine.openLog(await machine.open(), { ...T0, topicId: OTHER_ID });
    expect(again.endOffset).toBe(1);
  });

  test('retiring what was retired already, or what another topic owns by now, changes nothing', async () => {
    const machine = new Machine('twice');
    const directory = await machine.open();
    const log = await machine.openLog(directory);
    await machine.append(log);
    const before = machine.disk.filePaths();
    await machine.scheduler.drive(directory.retireLog({ ...T0, topicId: OTHER_ID }));
    expect(machine.disk.filePaths()).toEqual(before);
    await machine.scheduler.drive(log.abandon());
    await machine.scheduler.drive(directory.retireLog(T0));
    await machine.scheduler.drive(directory.retireLog(T0));
    await machine.scheduler.drive(directory.removeRetired(T0));
    await machine.scheduler.drive(directory.removeRetired(T0));
    expect(machine.disk.filePaths().filter(path => path.includes('/t-0'))).toEqual([]);
  });
});

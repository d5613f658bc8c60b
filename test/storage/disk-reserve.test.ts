// Room for what must be written on a full disk.

import { expect, test } from 'vitest';
import { DISK_RESERVE_BYTES } from '../../server/base/limits.ts';
import type { Disk } from '../../server/io/disk.ts';
import { DiskReserve } from '../../server/storage/disk-reserve.ts';
import { replaceSmallFile } from '../../server/storage/small-file.ts';
import { SimulatedDisk } from '../simulation/disk.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';

const machine = (capacityBytes: number): { disk: Disk; simulated: SimulatedDisk; scheduler: Scheduler } => {
  const random = new SeededRandom('reserve');
  const scheduler = new Scheduler(random.fork('order'));
  const simulated = new SimulatedDisk({ scheduler, random: random.fork('disk'), capacityBytes });
  return { disk: simulated.mount(), simulated, scheduler };
};

const contents = 'x'.repeat(300_000);

test('what is set aside lets a write through on a full disk, once', async () => {
  const { disk, simulated, scheduler } = machine(DISK_RESERVE_BYTES * 2);
  const reserve = new DiskReserve(disk, '/');
  await scheduler.drive(reserve.hold());
  simulated.capacityBytes = simulated.usedBytes();
  await expect(scheduler.drive(replaceSmallFile(disk, '/a', contents))).rejects.toThrow('full');
  await scheduler.drive(reserve.withRoom(() => replaceSmallFile(disk, '/a', contents)));
  expect(Buffer.from(await scheduler.drive(disk.readFile('/a'))).toString()).toBe(contents);
  simulated.capacityBytes = simulated.usedBytes();
  await expect(scheduler.drive(reserve.withRoom(() => replaceSmallFile(disk, '/b', contents)))).rejects.toThrow('full');
});

test('it is made again when there is room, and does without while there is none', async () => {
  const { disk, simulated, scheduler } = machine(DISK_RESERVE_BYTES / 2);
  const reserve = new DiskReserve(disk, '/');
  await scheduler.drive(reserve.hold());
  expect(await scheduler.drive(disk.exists('/reserve'))).toBe(false);
  simulated.capacityBytes = DISK_RESERVE_BYTES * 2;
  await scheduler.drive(reserve.hold());
  expect(await scheduler.drive(disk.exists('/reserve'))).toBe(true);
  await scheduler.drive(reserve.hold());
  expect(simulated.usedBytes()).toBeGreaterThanOrEqual(DISK_RESERVE_BYTES);
});

test('a failure that is not for want of room gives nothing up', async () => {
  const { disk, scheduler } = machine(DISK_RESERVE_BYTES * 2);
  const reserve = new DiskReserve(disk, '/');
  await scheduler.drive(reserve.hold());
  await expect(scheduler.drive(reserve.withRoom(() => disk.readFile('/nowhere')))).rejects.toThrow('not-found');
  expect(await scheduler.drive(disk.exists('/reserve'))).toBe(true);
});

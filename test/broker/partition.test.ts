// One partition over a log on a simulated disk: what it answers when the disk does not do what it should.

import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import { Partition } from '../../server/broker/partition.ts';
import { topicSettings } from '../../server/broker/topic-settings.ts';
import { makeBatch } from '../storage/batches.ts';
import { LogWorld } from '../storage/log-world.ts';
import { type DiskCall, usual } from '../simulation/disk.ts';

/** A partition with ten durable records. */
const partitionOf = async (world: LogWorld): Promise<Partition> => {
  for (let turn = 0; turn < 5; turn++) await world.appendDurably({ count: 2 });
  const pending = { used: 0, limit: 1_000_000, add() {}, release() {} };
  const partition = new Partition({ topic: 't', partition: 0, clock: world.clock, pending }, topicSettings({}, {}));
  partition.attach(world.log);
  return partition;
};

const failing = (which: (call: DiskCall) => boolean) => (call: DiskCall) =>
  which(call) ? ({ kind: 'fault', fault: 'failed' } as const) : usual;

test('a partition that failed deletes nothing until a restart', async () => {
  const world = await LogWorld.start({ seed: 'failed' });
  const partition = await partitionOf(world);
  world.disk.judge = failing(call => call.kind === 'sync' && call.path.endsWith('.log'));
  world.log.append([makeBatch()], leaderEpoch(0));
  await world.scheduler.driveUntil(() => world.log.state === 'failed');
  world.disk.judge = () => usual;
  const refused = await world.drive(partition.deleteRecords(offset(4)));
  expect(refused).toMatchObject({ ok: false, problem: { code: 'STORAGE_FAILED', facts: { partition: 0 } } });
  expect(world.log.startOffset).toBe(0);
});

test('a log start that cannot be written is not moved, and the node is told that its store failed', async () => {
  const world = await LogWorld.start({ seed: 'store' });
  const partition = await partitionOf(world);
  world.disk.judge = failing(call => call.kind === 'sync' && call.path.includes('store-'));
  const refused = await world.drive(partition.deleteRecords(offset(4)));
  expect(refused).toMatchObject({ ok: false, problem: { code: 'STORAGE_FAILED' } });
  expect(world.log.startOffset).toBe(0);
  expect(world.storeFaults).toEqual(['failed']);
});

test('a partition on a full disk deletes: that is what makes room', async () => {
  const world = await LogWorld.start({ seed: 'full', settings: { segmentBytes: 200 } });
  const partition = await partitionOf(world);
  world.disk.capacityBytes = world.disk.usedBytes();
  world.log.append([makeBatch({ valueBytes: 20_000 })], leaderEpoch(0));
  await world.scheduler.driveUntil(() => world.log.state === 'full');
  const segments = world.files('.log').length;
  const deleted = await world.drive(partition.deleteRecords(offset(8)));
  expect(deleted).toEqual({ ok: true, value: { earliestOffset: 8 } });
  expect(world.files('.log').length).toBeLessThan(segments);
});

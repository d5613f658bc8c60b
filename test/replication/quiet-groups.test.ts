// A node hosts thousands of groups, and most of them are quiet: they cost a tick nothing, and still notice what they have to.

import { afterEach, expect, test, vi } from 'vitest';
import { RAFT_TICK_MS } from '../../server/broker/raft-settings.ts';
import { ReplicatedLog } from '../../server/replication/replicated-log.ts';
import { BrokerWorld, TOPIC_ID } from '../broker/broker-world.ts';

const GROUPS = 200;
const TICKS = 50;

afterEach(() => {
  vi.restoreAllMocks();
});

test('a tick goes over the groups that are awake, and over a share of the quiet ones', async () => {
  const node = await BrokerWorld.alone('quiet groups');
  const { world } = node;
  for (let partition = 0; partition < GROUPS; partition++) await world.drive(node.open({ partition }));
  const groups = Array.from(
    { length: GROUPS },
    (_, partition) => node.replication.group({ topicId: TOPIC_ID, partition })!,
  );
  await world.until(() => groups.every(group => group.isQuiet));
  const ticks = vi.spyOn(ReplicatedLog.prototype, 'tick');
  const looks = vi.spyOn(ReplicatedLog.prototype, 'needsTick', 'get');
  const end = world.scheduler.nowMs + TICKS * RAFT_TICK_MS;
  world.scheduler.after(TICKS * RAFT_TICK_MS, () => undefined);
  await world.until(() => world.scheduler.nowMs >= end);
  expect(ticks).not.toHaveBeenCalled();
  // Every group several times, and far from every group at each tick.
  expect(looks.mock.calls.length).toBeGreaterThan(3 * GROUPS);
  expect(looks.mock.calls.length).toBeLessThan((TICKS * GROUPS) / 2);
  // Whoever is spoken to is ticked again.
  groups[7]!.wake();
  await world.until(() => ticks.mock.contexts.includes(groups[7]!));
  expect(new Set(ticks.mock.contexts)).toEqual(new Set([groups[7]]));
  await world.until(() => groups[7]!.isQuiet);
});

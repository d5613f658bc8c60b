// Which leaderships are moved, given who leads.

import { expect, test } from 'vitest';
import { nodeId } from '@sluice/protocol/ids';
import { type Leadership, planLeaderTransfers } from '../../../server/state/cluster/leader-balance.ts';
import { drainBroker } from '../../../server/state/cluster/registration.ts';
import { ClusterWorld } from './cluster-world.ts';

type Leads = (partition: number, replicas: readonly number[]) => { leader: number; inSync?: readonly number[] } | null;

/** The plan for topic "t", as "partition: from>to". */
const plan = (world: ClusterWorld, leads: Leads, skip: (partition: number) => boolean = () => false): string[] => {
  const replicas = world.replicas('t');
  const transfers = planLeaderTransfers(world.image, {
    leadership: ({ partition }): Leadership | null => {
      const given = leads(partition, replicas[partition]!);
      if (given === null) return null;
      return { leader: nodeId(given.leader), inSync: (given.inSync ?? replicas[partition]!).map(nodeId) };
    },
    skip: ({ partition }) => skip(partition),
  });
  return transfers.map(({ partition, from, to }) => `${partition}: ${from}>${to}`);
};

const worldOf = (partitions: number, factor = 3, brokers = 3): ClusterWorld => {
  const world = ClusterWorld.ofCount(brokers);
  world.topic('t', { partitions, factor });
  return world;
};

test('nothing moves while everybody leads what it should', () => {
  expect(plan(worldOf(6), (_, [first]) => ({ leader: first! }))).toEqual([]);
});

test('leadership goes back to the first replica, two at once at any broker', () => {
  const world = worldOf(9);
  expect(world.replicas('t').map(([first]) => first)).toEqual([1, 2, 3, 1, 2, 3, 1, 2, 3]);
  expect(plan(world, () => ({ leader: 1 }))).toEqual(['1: 1>2', '2: 1>3']);
  expect(plan(world, (_, [first]) => ({ leader: first === 1 ? 2 : first! }))).toEqual(['0: 2>1', '3: 2>1']);
});

test('at most eight at once in all', () => {
  const world = worldOf(40, 2, 20);
  const wanted = plan(world, (_, [, second]) => ({ leader: second! }));
  expect(wanted).toHaveLength(8);
});

test('only to a replica that is in sync and running', () => {
  const world = worldOf(3);
  expect(plan(world, () => ({ leader: 1, inSync: [1, 3] }))).toEqual(['2: 1>3']);
  world.beat(3, 0, 'not-ready');
  expect(plan(world, () => ({ leader: 1, inSync: [1, 3] }))).toEqual([]);
});

test('what is skipped or has no leader does not stand in the way', () => {
  const world = worldOf(9);
  const skipped = (partition: number): boolean => partition === 1;
  expect(plan(world, () => ({ leader: 1 }), skipped)).toEqual(['2: 1>3', '4: 1>2']);
  expect(plan(world, partition => (partition === 1 ? null : { leader: 1 }))).toEqual(['2: 1>3', '4: 1>2']);
});

test('a broker that drains leads nothing any more, and is handed nothing', () => {
  const world = worldOf(6);
  world.do(drainBroker, { nodeId: nodeId(1), draining: true });
  const all: Leads = (_, [first]) => ({ leader: first! });
  expect(plan(world, all)).toEqual(['0: 1>2', '3: 1>2']);
  expect(plan(world, (_, [first]) => ({ leader: first!, inSync: [1, 3] }))).toEqual(['0: 1>3', '3: 1>3']);
  expect(plan(world, (_, [first]) => ({ leader: first!, inSync: [1] }))).toEqual([]);
  // Partition 0 is led by 2, which is not the preferred one, but that one drains.
  expect(plan(world, (_, [first]) => ({ leader: first === 1 ? 2 : first! }))).toEqual([]);
});

test('draining comes before returning', () => {
  const world = worldOf(9);
  world.do(drainBroker, { nodeId: nodeId(3), draining: true });
  // 3 leads the last partition, 1 leads what 2 should.
  const leads: Leads = partition => ({ leader: partition === 8 ? 3 : 1 });
  expect(plan(world, leads)[0]).toBe('8: 3>1');
});

// Which brokers are fenced, given when the controller heard of them.

import { expect, test } from 'vitest';
import { nodeId } from '@sluice/protocol/ids';
import { judgeLiveness, type LivenessTimes } from '../../../server/state/cluster/liveness.ts';
import { drainBroker } from '../../../server/state/cluster/registration.ts';
import { ClusterWorld } from './cluster-world.ts';

const judge = (world: ClusterWorld, times: Partial<LivenessTimes> & { heard?: Record<number, number> }) => {
  const lastHeardMs = new Map(Object.entries(times.heard ?? {}).map(([id, ms]) => [nodeId(Number(id)), ms]));
  const decision = judgeLiveness(world.image, {
    nowMs: 10_000,
    listeningSinceMs: 0,
    sessionTimeoutMs: 1_000,
    lastHeardMs,
    ...times,
  });
  for (const record of decision.records) world.replay(record);
  return decision.response.fenced;
};

const fenced = (world: ClusterWorld) =>
  [...world.image.brokers.entries()].filter(([, broker]) => broker.fenced).map(([id]) => id);

test('silence for longer than the session fences, once', () => {
  const world = ClusterWorld.ofCount(3);
  expect(judge(world, { heard: { 1: 10_000, 2: 9_000, 3: 8_999 } })).toEqual([3]);
  expect(fenced(world)).toEqual([3]);
  const { version } = world.image;
  expect(judge(world, { heard: { 1: 10_000, 2: 9_000, 3: 8_999 } })).toEqual([]);
  expect(world.image.version).toBe(version);
});

test('a new controller gives everybody a whole session', () => {
  const world = ClusterWorld.ofCount(2);
  expect(judge(world, { listeningSinceMs: 9_000, heard: { 1: 2 } })).toEqual([]);
  expect(judge(world, { listeningSinceMs: 8_999, heard: { 1: 2 } })).toEqual([1, 2]);
});

test('a heartbeat lifts the fence, one that is not ready sets it, a repeat changes nothing', () => {
  const world = ClusterWorld.ofCount(2);
  world.do(drainBroker, { nodeId: nodeId(1), draining: true });
  judge(world, { heard: { 2: 10_000 } });
  expect(world.image.brokers.get(nodeId(1))).toMatchObject({ fenced: true, draining: true });
  expect(world.beat(1, 0, 'not-ready')).toEqual({ fenced: true });
  expect(world.beat(1)).toEqual({ fenced: false });
  const { version } = world.image;
  expect(world.beat(1)).toEqual({ fenced: false });
  expect(world.image.version).toBe(version);
  expect(world.beat(1, 0, 'not-ready')).toEqual({ fenced: true });
  expect(world.image.brokers.get(nodeId(1))).toMatchObject({ fenced: true, draining: true });
});

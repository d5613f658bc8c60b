// Who belongs to the cluster: founding, registration, draining, removal.

import { describe, expect, test } from 'vitest';
import { nodeId } from '@sluice/protocol/ids';
import { BROKERS_MAX } from '../../../server/base/limits.ts';
import { found } from '../../../server/state/cluster/founding.ts';
import { heartbeat } from '../../../server/state/cluster/liveness.ts';
import { allocateProducerIds } from '../../../server/state/cluster/producer-ids.ts';
import { drainBroker, registerBroker, removeBroker } from '../../../server/state/cluster/registration.ts';
import { deleteTopic } from '../../../server/state/cluster/topic-change.ts';
import { CLUSTER_ID, ClusterWorld, directoryOf, registrationOf, replicaOf, startOf } from './cluster-world.ts';

const register = (node: number, options: Parameters<typeof registrationOf>[1] = {}) => ({
  clusterId: CLUSTER_ID,
  registration: registrationOf(node, options),
});

const refusal = (code: string, detail: string | RegExp, facts: object = {}) => ({
  ok: false,
  problem: {
    code,
    detail: typeof detail === 'string' ? detail : expect.stringMatching(detail),
    facts: expect.objectContaining(facts),
  },
});

describe('founding', () => {
  const voters = [replicaOf(1), replicaOf(2), replicaOf(3)];

  test('is the first record and names the voters with their directories', () => {
    const world = new ClusterWorld();
    world.do(found, { clusterId: CLUSTER_ID, voters });
    expect(world.records).toEqual([{ kind: 'founded', clusterId: CLUSTER_ID, voters }]);
    expect(world.image).toMatchObject({ version: 1, founded: { clusterId: CLUSTER_ID, voters } });
  });

  test('happens once: a repeat changes nothing, anything else is refused', () => {
    const world = new ClusterWorld();
    world.do(found, { clusterId: CLUSTER_ID, voters });
    world.do(found, { clusterId: CLUSTER_ID, voters });
    expect(world.records).toHaveLength(1);
    const again = refusal('FORBIDDEN', 'the cluster test-cluster is founded already', { cluster_id: CLUSTER_ID });
    expect(world.try(found, { clusterId: 'other', voters })).toEqual(again);
    expect(world.try(found, { clusterId: CLUSTER_ID, voters: voters.slice(0, 2) })).toEqual(again);
    const wiped = [{ nodeId: nodeId(1), directoryId: directoryOf(1, 1) }, ...voters.slice(1)];
    expect(world.try(found, { clusterId: CLUSTER_ID, voters: wiped })).toEqual(again);
  });

  test.each([
    ['', voters, /cluster id has 1 to 64 characters/],
    ['x'.repeat(65), voters, /cluster id has 1 to 64 characters/],
    ['c', [], /1 to 5 voters, not 0/],
    ['c', [1, 2, 3, 4, 5, 6].map(replicaOf), /1 to 5 voters, not 6/],
    ['c', [replicaOf(1), { nodeId: nodeId(1), directoryId: directoryOf(2) }], /same node id/],
    ['c', [replicaOf(1), { nodeId: nodeId(2), directoryId: directoryOf(1) }], /same directory/],
  ])('refuses what no cluster can begin with (%#)', (clusterId, list, detail) => {
    expect(new ClusterWorld().try(found, { clusterId, voters: list })).toEqual(refusal('INVALID_REQUEST', detail));
  });

  test('comes before everything else', () => {
    const early = refusal('COORDINATOR_LOADING', 'the cluster is not founded yet');
    const speaker = { nodeId: nodeId(1), incarnation: startOf(1) };
    const world = new ClusterWorld();
    expect(world.try(registerBroker, register(1))).toEqual(early);
    expect(world.try(heartbeat, { ...speaker, readiness: 'ready' as const })).toEqual(early);
    expect(world.try(allocateProducerIds, speaker)).toEqual(early);
    expect(world.try(drainBroker, { nodeId: nodeId(1), draining: true })).toEqual(early);
    expect(world.try(removeBroker, nodeId(1))).toEqual(early);
    expect(world.try(deleteTopic, 't')).toEqual(early);
  });
});

describe('registration', () => {
  test('keeps what the node says, and fences it until it is ready', () => {
    const world = ClusterWorld.ofCount(1);
    expect(world.do(registerBroker, register(2, { rack: 'r' }))).toEqual({ fenced: true });
    expect(world.image.brokers.get(nodeId(2))).toEqual({
      registration: registrationOf(2, { rack: 'r' }),
      fenced: true,
      draining: false,
    });
    expect(world.beat(2)).toEqual({ fenced: false });
    expect(world.image.brokers.get(nodeId(2))).toMatchObject({ fenced: false });
  });

  test('a repeat of the same start changes nothing; new addresses of it are taken', () => {
    const world = ClusterWorld.ofCount(1);
    const { version } = world.image;
    const later = { ...registrationOf(1), registeredAtMs: 9 };
    expect(world.do(registerBroker, { clusterId: CLUSTER_ID, registration: later })).toEqual({ fenced: false });
    expect(world.image.version).toBe(version);
    for (const part of [{ rack: 'r' }, { httpAddress: 'a' }, { grpcAddress: 'a' }, { peerAddress: 'a' }]) {
      const registration = { ...registrationOf(1), ...part };
      world.do(registerBroker, { clusterId: CLUSTER_ID, registration });
      expect(world.image.brokers.get(nodeId(1))?.registration).toEqual(registration);
    }
    world.do(registerBroker, register(1, { roles: ['broker'] }));
    expect(world.image.brokers.get(nodeId(1))?.registration.roles).toEqual(['broker']);
  });

  test('a new start fences the old one, and keeps draining', () => {
    const world = ClusterWorld.ofCount(2);
    world.do(drainBroker, { nodeId: nodeId(2), draining: true });
    expect(world.do(registerBroker, register(2, { start: 1 }))).toEqual({ fenced: true });
    expect(world.image.brokers.get(nodeId(2))).toMatchObject({ fenced: true, draining: true });
    const stale = { nodeId: nodeId(2), incarnation: startOf(2, 0) };
    const refused = refusal('FORBIDDEN', 'a later start of node 2 is registered', { reason: 'stale-incarnation' });
    expect(world.try(heartbeat, { ...stale, readiness: 'ready' as const })).toEqual(refused);
    expect(world.try(allocateProducerIds, stale)).toEqual(refused);
    expect(world.try(registerBroker, register(2, { start: 0 }))).toEqual(refused);
    expect(world.try(allocateProducerIds, { ...stale, incarnation: startOf(2, 2) })).toEqual(
      refusal('FORBIDDEN', 'this start of node 2 is not registered', { reason: 'not-registered' }),
    );
    expect(world.beat(2, 1)).toEqual({ fenced: false });
    expect(world.image.brokers.get(nodeId(2))).toMatchObject({ fenced: false, draining: true });
  });

  test('another directory under a known id is refused: a double while the known one runs, else a lost disk', () => {
    const world = ClusterWorld.ofCount(2);
    const other = register(2, { directory: 1, start: 7 });
    expect(world.try(registerBroker, other)).toEqual(
      refusal('FORBIDDEN', /node 2 is running with another data directory/, { reason: 'duplicate-node', node_id: 2 }),
    );
    world.beat(2, 0, 'not-ready');
    expect(world.try(registerBroker, other)).toEqual(
      refusal('FORBIDDEN', /node 2 belongs to the cluster with directory/, { reason: 'wiped-directory' }),
    );
  });

  test('a founder that lost its disk before it registered is known by the founding record', () => {
    const world = new ClusterWorld();
    world.do(found, { clusterId: CLUSTER_ID, voters: [replicaOf(1), replicaOf(2)] });
    expect(world.try(registerBroker, register(2, { directory: 1 }))).toEqual(
      refusal('FORBIDDEN', /node 2 belongs/, { reason: 'wiped-directory' }),
    );
  });

  test('a copied directory and a node of another cluster are refused', () => {
    const world = ClusterWorld.ofCount(2);
    const copied = { ...registrationOf(3), directoryId: directoryOf(2) };
    expect(world.try(registerBroker, { clusterId: CLUSTER_ID, registration: copied })).toEqual(
      refusal('FORBIDDEN', /belongs to node 2/, { reason: 'duplicate-directory' }),
    );
    expect(world.try(registerBroker, { clusterId: 'other', registration: registrationOf(3) })).toEqual(
      refusal('FORBIDDEN', 'node 3 belongs to cluster other, and this is test-cluster', { reason: 'cluster-id' }),
    );
  });

  test.each([
    [{ roles: [] }, /one role or several/],
    [{ roles: ['broker' as const, 'broker' as const] }, /one role or several/],
    [{ rack: 'r'.repeat(261) }, /at most 260 characters/],
    [{ peerAddress: 'r'.repeat(261) }, /at most 260 characters/],
  ])('refuses %o', (part, detail) => {
    const registration = { ...registrationOf(2), ...part };
    expect(ClusterWorld.ofCount(1).try(registerBroker, { clusterId: CLUSTER_ID, registration })).toEqual(
      refusal('INVALID_REQUEST', detail),
    );
  });

  test('a node that holds replicas stays a broker, and the number of nodes is bounded', () => {
    const world = ClusterWorld.ofCount(BROKERS_MAX);
    world.topic('t', { factor: 15 });
    expect(world.try(registerBroker, register(1, { roles: ['controller'], start: 1 }))).toEqual(
      refusal('INVALID_REQUEST', 'node 1 holds 1 replicas, so it keeps the role "broker"'),
    );
    expect(world.try(registerBroker, register(BROKERS_MAX + 1))).toEqual(
      refusal('INVALID_REQUEST', 'a cluster has at most 64 nodes'),
    );
    world.do(registerBroker, register(BROKERS_MAX, { start: 1 }));
  });
});

describe('removal of a broker', () => {
  test('is for one that is stopped and holds nothing, and frees its id', () => {
    const world = ClusterWorld.ofCount(3);
    world.topic('t', { factor: 2 });
    expect(world.try(removeBroker, nodeId(9))).toEqual(refusal('INVALID_REQUEST', 'there is no node 9'));
    expect(world.try(drainBroker, { nodeId: nodeId(9), draining: true })).toEqual(
      refusal('INVALID_REQUEST', 'there is no node 9'),
    );
    expect(world.try(removeBroker, nodeId(3))).toEqual(refusal('INVALID_REQUEST', 'node 3 is running: stop it first'));
    world.beat(1, 0, 'not-ready');
    world.beat(3, 0, 'not-ready');
    expect(world.try(removeBroker, nodeId(1))).toEqual(
      refusal('INVALID_REQUEST', 'node 1 holds 1 replicas: drain it first', { replicas: 1 }),
    );
    world.do(removeBroker, nodeId(3));
    expect([...world.image.brokers.keys()]).toEqual([1, 2]);
    expect(world.try(heartbeat, { nodeId: nodeId(3), incarnation: startOf(3), readiness: 'ready' as const })).toEqual(
      refusal('FORBIDDEN', 'node 3 is not registered', { reason: 'not-registered' }),
    );
  });

  test('ends the waiting for its acknowledgements', () => {
    const world = ClusterWorld.ofCount(2);
    const id = world.topic('t');
    world.do(deleteTopic, 't');
    world.beat(2, 0, 'not-ready');
    world.do(removeBroker, nodeId(2));
    expect(world.image.deletedTopics.get(id)?.waitingFor).toEqual([1]);
  });

  test('draining is marked and unmarked, and a repeat changes nothing', () => {
    const world = ClusterWorld.ofCount(1);
    world.do(drainBroker, { nodeId: nodeId(1), draining: true });
    const { version } = world.image;
    world.do(drainBroker, { nodeId: nodeId(1), draining: true });
    expect(world.image.version).toBe(version);
    world.do(drainBroker, { nodeId: nodeId(1), draining: false });
    expect(world.image.brokers.get(nodeId(1))).toMatchObject({ fenced: false, draining: false });
  });
});

describe('producer ids', () => {
  test('come in blocks that never overlap', () => {
    const world = ClusterWorld.ofCount(2);
    const ask = (node: number) => world.do(allocateProducerIds, { nodeId: nodeId(node), incarnation: startOf(node) });
    expect([ask(1), ask(2), ask(1)]).toEqual([
      { first: 0, count: 1_000 },
      { first: 1_000, count: 1_000 },
      { first: 2_000, count: 1_000 },
    ]);
  });
});

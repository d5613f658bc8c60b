// Any history of commands: what the state holds is what its records say, wherever it is looked at.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nodeId } from '@sluice/protocol/ids';
import { AssertionFailure } from '../../../server/base/assert.ts';
import { ClusterState } from '../../../server/state/cluster/cluster-state.ts';
import { found } from '../../../server/state/cluster/founding.ts';
import type { ClusterImage } from '../../../server/state/cluster/image.ts';
import { heartbeat, judgeLiveness } from '../../../server/state/cluster/liveness.ts';
import { allocateProducerIds } from '../../../server/state/cluster/producer-ids.ts';
import type { ClusterRecord } from '../../../server/state/cluster/record.ts';
import { drainBroker, registerBroker, removeBroker } from '../../../server/state/cluster/registration.ts';
import { acknowledgeRemoval, removalsAwaited } from '../../../server/state/cluster/removal.ts';
import { replayed } from '../../../server/state/cluster/replay.ts';
import { decodeSnapshot, encodeSnapshot } from '../../../server/state/cluster/snapshot.ts';
import {
  type AlterTopicRequest,
  alterTopic,
  createInternalTopic,
  type CreateInternalTopicRequest,
  createTopic,
  type CreateTopicRequest,
  deleteTopic,
} from '../../../server/state/cluster/topic-change.ts';
import { CLUSTER_ID, ClusterWorld, plain, registrationOf, replicaOf, startOf, topicIdOf } from './cluster-world.ts';

interface Outcome {
  readonly ok: boolean;
}

type Command = (world: ClusterWorld, freshId: number) => Outcome;

const anyNode = fc.integer({ min: 1, max: 5 });
const anyName = fc.constantFrom('a', 'b', 'c', '__a', '/');
const start = fc.integer({ min: 0, max: 2 });
const settings = <V>(value: (...values: string[]) => fc.Arbitrary<V>) =>
  fc.option(
    fc.record(
      { 'min.insync.replicas': value('1', '2', '3', 'x'), 'retention.ms': value('5', '6') },
      { requiredKeys: [] },
    ),
    { nil: undefined },
  );
const someValue = (...values: string[]) => fc.constantFrom(...values);
const valueOrNull = (...values: string[]) => fc.constantFrom(...values, null);

const commands: Record<string, fc.Arbitrary<Command>> = {
  register: fc
    .record({ node: anyNode, start, rack: fc.constantFrom('', 'a', 'b'), directory: fc.constantFrom(0, 0, 0, 1) })
    .map(({ node, ...options }) => world => {
      const registration = registrationOf(node, options);
      return world.try(registerBroker, { clusterId: CLUSTER_ID, registration });
    }),
  heartbeat: fc
    .record({
      node: anyNode,
      start,
      readiness: fc.constantFrom('ready' as const, 'ready' as const, 'not-ready' as const),
    })
    .map(({ node, start, readiness }) => world => {
      const known = world.image.brokers.get(nodeId(node))?.registration.incarnation;
      return world.try(heartbeat, { nodeId: nodeId(node), incarnation: known ?? startOf(node, start), readiness });
    }),
  silence: fc.subarray([1, 2, 3, 4, 5]).map(heard => world => {
    const times = { nowMs: 2_000, listeningSinceMs: 0, sessionTimeoutMs: 1_000 };
    const lastHeardMs = new Map(heard.map(node => [nodeId(node), 1_500]));
    for (const record of judgeLiveness(world.image, { ...times, lastHeardMs }).records) world.replay(record);
    return { ok: true };
  }),
  drain: fc.record({ node: anyNode, draining: fc.boolean() }).map(({ node, draining }) => world => {
    return world.try(drainBroker, { nodeId: nodeId(node), draining });
  }),
  remove: anyNode.map(node => world => world.try(removeBroker, nodeId(node))),
  create: fc
    .record({
      name: anyName,
      partitionCount: fc.constantFrom(undefined, 0, 1, 3, 8),
      replicationFactor: fc.constantFrom(undefined, 1, 2, 3, 9),
      config: settings(someValue),
    })
    .map(request => (world, freshId) => {
      const command = (image: ClusterImage, asked: CreateTopicRequest) => createTopic(image, asked, world.context);
      return world.try(command, { ...request, topicId: topicIdOf(freshId) });
    }),
  createInternal: fc.constantFrom('__x', '__y').map(name => (world, freshId) => {
    const command = (image: ClusterImage, asked: CreateInternalTopicRequest) =>
      createInternalTopic(image, asked, world.context);
    return world.try(command, { name, partitionCount: 2, topicId: topicIdOf(freshId) });
  }),
  alter: fc
    .record({
      name: anyName,
      partitionCount: fc.constantFrom(undefined, 1, 4, 9),
      config: settings(valueOrNull),
    })
    .map(request => world => {
      const command = (image: ClusterImage, asked: AlterTopicRequest) => alterTopic(image, asked, world.context);
      return world.try(command, request);
    }),
  delete: fc.constantFrom('a', 'b', 'c', '__x').map(name => world => world.try(deleteTopic, name)),
  acknowledge: anyNode.map(node => world => {
    const known = world.image.brokers.get(nodeId(node))?.registration.incarnation ?? startOf(node);
    const topicIds = removalsAwaited(world.image, nodeId(node));
    return world.try(acknowledgeRemoval, { nodeId: nodeId(node), incarnation: known, topicIds });
  }),
  producerIds: fc.record({ node: anyNode, start }).map(({ node, start }) => world => {
    return world.try(allocateProducerIds, { nodeId: nodeId(node), incarnation: startOf(node, start) });
  }),
};

interface Named {
  readonly name: string;
  readonly command: Command;
}

const named = (name: string, weight: number) => ({
  weight,
  arbitrary: commands[name]!.map((command): Named => ({ name, command })),
});

const anyHistory = fc.array(
  fc.oneof(
    named('register', 6),
    named('heartbeat', 8),
    named('silence', 1),
    named('drain', 1),
    named('remove', 2),
    named('create', 6),
    named('createInternal', 1),
    named('alter', 3),
    named('delete', 3),
    named('acknowledge', 4),
    named('producerIds', 2),
  ),
  { maxLength: 80, size: 'max' },
);

/** Every second history begins with brokers that run. */
const worldFor = (history: readonly Named[]): ClusterWorld => {
  const world = new ClusterWorld();
  world.do(found, { clusterId: CLUSTER_ID, voters: [1, 2, 3].map(replicaOf) });
  if (history.length % 2 === 0) for (const node of [1, 2, 3]) world.join(node);
  return world;
};

const recounted = (image: ClusterImage) => {
  const loads = new Map([...image.brokers.keys()].map(id => [id, { replicas: 0, preferred: 0 }]));
  for (const topic of image.topics.values()) {
    for (const { replicas } of topic.partitions) {
      for (const replica of replicas) loads.get(replica.nodeId)!.replicas++;
      loads.get(replicas[0]!.nodeId)!.preferred++;
    }
  }
  return [...loads];
};

const checkInvariants = (image: ClusterImage): void => {
  for (const [name, topic] of image.topics.entries()) {
    expect(topic.name).toBe(name);
    expect(topic.internal).toBe(name.startsWith('__'));
    expect(image.topicNames.get(topic.topicId)).toBe(name);
    expect(image.deletedTopics.has(topic.topicId)).toBe(false);
    for (const { replicas } of topic.partitions) {
      expect(replicas).toHaveLength(topic.replicationFactor);
      expect(new Set(replicas.map(replica => replica.nodeId)).size).toBe(replicas.length);
      for (const replica of replicas) {
        expect(image.brokers.get(replica.nodeId)?.registration.directoryId).toBe(replica.directoryId);
      }
    }
    expect(Number(topic.config['min.insync.replicas'] ?? 1)).toBeLessThanOrEqual(topic.replicationFactor);
  }
  expect(image.topicNames.size).toBe(image.topics.size);
  expect([...image.loads.entries()]).toEqual(recounted(image));
  for (const deleted of image.deletedTopics.values()) {
    expect(deleted.waitingFor.length).toBeGreaterThan(0);
    for (const id of deleted.waitingFor) expect(image.brokers.has(id)).toBe(true);
  }
  const directories = [...image.brokers.values()].map(broker => broker.registration.directoryId);
  expect(new Set(directories).size).toBe(directories.length);
};

const restored = (image: ClusterImage): ClusterImage => {
  const decoded = decodeSnapshot(encodeSnapshot(image));
  if (!decoded.ok) expect.fail(decoded.detail);
  return decoded.value;
};

describe('any history of commands', () => {
  test('keeps the invariants, and a version that rises by one a record', () => {
    fc.assert(
      fc.property(anyHistory, history => {
        const world = worldFor(history);
        for (const [index, { command }] of history.entries()) {
          const before = world.image;
          const records = world.records.length;
          command(world, index);
          expect(world.image.version - before.version).toBe(world.records.length - records);
          expect(world.image.version).toBe(world.records.length);
          checkInvariants(world.image);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('gives the same state to whoever replays its records, read back from bytes', () => {
    fc.assert(
      fc.property(anyHistory, history => {
        const world = worldFor(history);
        for (const [index, { command }] of history.entries()) command(world, index);
        expect(plain(world.follower.image)).toEqual(plain(world.image));
      }),
    );
  });

  test('gives the same state through a snapshot taken anywhere, in the same bytes from every node', () => {
    fc.assert(
      fc.property(anyHistory, fc.nat(), (history, cut) => {
        const world = worldFor(history);
        for (const [index, { command }] of history.entries()) command(world, index);
        const at = cut % (world.records.length + 1);
        const early = new ClusterState();
        for (const record of world.records.slice(0, at)) early.replay(record);
        const late = new ClusterState(restored(early.image));
        expect(plain(late.image)).toEqual(plain(early.image));
        for (const record of world.records.slice(at)) late.replay(record);
        expect(plain(late.image)).toEqual(plain(world.image));
        expect([...encodeSnapshot(late.image)]).toEqual([...encodeSnapshot(world.image)]);
        expect([...encodeSnapshot(world.follower.image)]).toEqual([...encodeSnapshot(world.image)]);
      }),
    );
  });

  test('leaves earlier images as they were', () => {
    fc.assert(
      fc.property(anyHistory, history => {
        const world = worldFor(history);
        const taken: { image: ClusterImage; copy: unknown }[] = [];
        for (const [index, { command }] of history.entries()) {
          if (index % 10 === 0) taken.push({ image: world.image, copy: structuredClone(plain(world.image)) });
          command(world, index);
        }
        for (const { image, copy } of taken) expect(plain(image)).toEqual(copy);
      }),
    );
  });

  test('never gives out a producer id or a topic id twice', () => {
    fc.assert(
      fc.property(anyHistory, history => {
        const world = worldFor(history);
        for (const [index, { command }] of history.entries()) command(world, index);
        let next = 0;
        const topicIds = new Set<string>();
        for (const record of world.records) {
          if (record.kind === 'topic-created') {
            expect(topicIds.has(record.topicId)).toBe(false);
            topicIds.add(record.topicId);
          }
          if (record.kind !== 'producer-ids-allocated') continue;
          expect(record.first).toBe(next);
          next = record.first + record.count;
        }
      }),
    );
  });

  test('reaches every kind of record and both answers of every command', () => {
    const kinds = new Set<string>();
    const answers = new Set<string>();
    for (const history of fc.sample(anyHistory, { numRuns: 150, seed: 7 })) {
      const world = worldFor(history);
      for (const [index, { name, command }] of history.entries()) {
        answers.add(`${name} ${command(world, index).ok ? 'accepted' : 'refused'}`);
      }
      for (const record of world.records) kinds.add(record.kind);
    }
    expect([...kinds].toSorted()).toEqual([
      'broker-registered',
      'broker-removed',
      'broker-state-changed',
      'founded',
      'partitions-added',
      'producer-ids-allocated',
      'removal-acknowledged',
      'topic-config-changed',
      'topic-created',
      'topic-deleted',
    ]);
    for (const name of Object.keys(commands)) {
      expect(answers).toContain(`${name} accepted`);
      if (name !== 'silence') expect(answers).toContain(`${name} refused`);
    }
  });
});

describe('a record that does not fit the state is a broken invariant', () => {
  const world = ClusterWorld.ofCount(2);
  const topicId = world.topic('t', { partitions: 2 });
  const created = { kind: 'topic-created', internal: false, replicationFactor: 1, config: {}, partitions: [] } as const;
  const partitions = [{ replicas: [replicaOf(1)] }];

  test.each<[string, ClusterRecord]>([
    ['a second founding', { kind: 'founded', clusterId: 'c', voters: [replicaOf(1)] }],
    ['another directory', { kind: 'broker-registered', registration: registrationOf(1, { directory: 1 }) }],
    ['the state of nobody', { kind: 'broker-state-changed', nodeId: nodeId(9), fenced: true, draining: true }],
    ['the removal of nobody', { kind: 'broker-removed', nodeId: nodeId(9) }],
    ['the removal of a holder', { kind: 'broker-removed', nodeId: nodeId(1) }],
    ['a name that is taken', { ...created, topicId: topicIdOf(90), name: 't' }],
    ['an id that is taken', { ...created, topicId, name: 'u' }],
    [
      'a replica at nobody',
      { ...created, topicId: topicIdOf(90), name: 'u', partitions: [{ replicas: [replicaOf(9)] }] },
    ],
    [
      'two replicas at one broker',
      { ...created, topicId: topicIdOf(90), name: 'u', partitions: [{ replicas: [replicaOf(1), replicaOf(1)] }] },
    ],
    [
      'a partition without a replica',
      { ...created, topicId: topicIdOf(90), name: 'u', partitions: [{ replicas: [] }] },
    ],
    ['partitions with a gap', { kind: 'partitions-added', topicId, firstPartition: 3, partitions }],
    ['partitions of nothing', { kind: 'partitions-added', topicId: topicIdOf(90), firstPartition: 0, partitions }],
    ['settings of nothing', { kind: 'topic-config-changed', topicId: topicIdOf(90), config: {} }],
    ['a deletion of nothing', { kind: 'topic-deleted', topicId: topicIdOf(90) }],
    ['producer ids out of order', { kind: 'producer-ids-allocated', nodeId: nodeId(1), first: 5, count: 5 }],
    ['no producer ids', { kind: 'producer-ids-allocated', nodeId: nodeId(1), first: 0, count: 0 }],
  ])('%s', (_, record) => {
    expect(() => replayed(world.image, record)).toThrow(AssertionFailure);
  });

  test('anything before the founding', () => {
    expect(() => new ClusterState().replay({ kind: 'topic-deleted', topicId })).toThrow(AssertionFailure);
  });
});

// Topics: created, changed, deleted and forgotten.

import { describe, expect, test } from 'vitest';
import { nodeId } from '@sluice/protocol/ids';
import { topicById, topicStanding } from '../../../server/state/cluster/image.ts';
import { drainBroker, registerBroker } from '../../../server/state/cluster/registration.ts';
import { acknowledgeRemoval, removalsAwaited } from '../../../server/state/cluster/removal.ts';
import {
  type AlterTopicRequest,
  alterTopic,
  createInternalTopic,
  type CreateInternalTopicRequest,
  createTopic,
  type CreateTopicRequest,
  deleteTopic,
} from '../../../server/state/cluster/topic-change.ts';
import { found } from '../../../server/state/cluster/founding.ts';
import {
  CLUSTER_ID,
  ClusterWorld,
  directoryOf,
  registrationOf,
  replicaOf,
  startOf,
  topicIdOf,
} from './cluster-world.ts';

const create = (world: ClusterWorld, request: Partial<CreateTopicRequest>) =>
  world.try((image, asked: CreateTopicRequest) => createTopic(image, asked, world.context), {
    topicId: topicIdOf(500),
    name: 't',
    ...request,
  });

const createInternal = (world: ClusterWorld, request: Partial<CreateInternalTopicRequest> = {}) =>
  world.try((image, asked: CreateInternalTopicRequest) => createInternalTopic(image, asked, world.context), {
    topicId: topicIdOf(500),
    name: '__offsets',
    partitionCount: 4,
    ...request,
  });

const alter = (world: ClusterWorld, request: Partial<AlterTopicRequest>) =>
  world.try((image, asked: AlterTopicRequest) => alterTopic(image, asked, world.context), { name: 't', ...request });

const refusal = (code: string, detail: string, facts: object = expect.anything()) => ({
  ok: false,
  problem: { code, detail, facts },
});

describe('creating', () => {
  test('a topic without wishes has one partition with one replica', () => {
    const world = ClusterWorld.ofCount(1);
    expect(create(world, {})).toMatchObject({ ok: true, value: { response: { topicId: topicIdOf(500) } } });
    expect(world.image.topics.get('t')).toEqual({
      topicId: topicIdOf(500),
      name: 't',
      internal: false,
      replicationFactor: 1,
      config: {},
      partitions: [{ replicas: [{ nodeId: 1, directoryId: directoryOf(1) }] }],
    });
    expect(topicById(world.image, topicIdOf(500))).toBe(world.image.topics.get('t'));
    expect(topicStanding(world.image, topicIdOf(500))).toBe('live');
    expect(topicStanding(world.image, topicIdOf(501))).toBe('unknown');
  });

  test('wishes are kept, settings in the spelling in which they read back', () => {
    const world = ClusterWorld.ofCount(3);
    create(world, {
      partitionCount: 6,
      replicationFactor: 3,
      config: { 'min.insync.replicas': '2', 'retention.ms': '007' },
    });
    const topic = world.image.topics.get('t')!;
    expect(topic).toMatchObject({
      replicationFactor: 3,
      config: { 'min.insync.replicas': '2', 'retention.ms': '7' },
    });
    expect(topic.partitions).toHaveLength(6);
    expect([...world.image.loads.values()]).toEqual([1, 2, 3].map(() => ({ replicas: 6, preferred: 2 })));
  });

  test.each<[Partial<CreateTopicRequest>, string, string, object]>([
    [{ name: '' }, 'INVALID_TOPIC_NAME', 'a topic name cannot be empty', { name: '' }],
    [{ name: '__t' }, 'INVALID_TOPIC_NAME', 'topic names that begin with "__" are reserved', { name: '__t' }],
    [{ partitionCount: 0 }, 'INVALID_PARTITION_COUNT', 'a topic has 1 to 10000 partitions', { partition_count: 0 }],
    [{ partitionCount: 1.5 }, 'INVALID_PARTITION_COUNT', 'a topic has 1 to 10000 partitions', { partition_count: 1.5 }],
    [
      { partitionCount: 10_001 },
      'INVALID_PARTITION_COUNT',
      'a topic has 1 to 10000 partitions',
      { partition_count: 10_001 },
    ],
    [
      { replicationFactor: 2 },
      'INVALID_REPLICATION_FACTOR',
      'there is one broker, so the replication factor is 1, not 2',
      { replication_factor: 2, brokers: 1 },
    ],
    [
      { replicationFactor: 0 },
      'INVALID_REPLICATION_FACTOR',
      'there is one broker, so the replication factor is 1, not 0',
      { replication_factor: 0, brokers: 1 },
    ],
    [{ config: { nothing: '1' } }, 'INVALID_CONFIG', 'unknown topic setting "nothing"', { name: 'nothing' }],
    [
      { config: { 'retention.ms': 'x' } },
      'INVALID_CONFIG',
      'retention.ms must be an integer, not "x"',
      { name: 'retention.ms' },
    ],
    [
      { config: { 'min.insync.replicas': '2' } },
      'INVALID_CONFIG',
      'min.insync.replicas is 2, but the topic has 1 replica',
      { name: 'min.insync.replicas' },
    ],
    [{ name: 'there' }, 'TOPIC_EXISTS', 'topic "there" exists already', { topic: 'there' }],
  ])('at one broker, %o is refused', (request, code, detail, facts) => {
    const world = ClusterWorld.ofCount(1);
    world.topic('there');
    expect(create(world, request)).toEqual(refusal(code, detail, facts));
  });

  test('replicas are at most as many as brokers that take them, and never more than a record holds', () => {
    const world = ClusterWorld.ofCount(4);
    world.join(5, { roles: ['gateway'] });
    world.do(drainBroker, { nodeId: nodeId(4), draining: true });
    expect(create(world, { replicationFactor: 4 })).toEqual(
      refusal('INVALID_REPLICATION_FACTOR', 'there are 3 brokers, so the replication factor is 1 to 3, not 4', {
        replication_factor: 4,
        brokers: 3,
      }),
    );
    expect(create(world, { replicationFactor: 3, partitionCount: 9 }).ok).toBe(true);
    expect(new Set(world.replicas('t').flat())).toEqual(new Set([1, 2, 3]));
    expect(create(ClusterWorld.ofCount(20), { replicationFactor: 16 })).toEqual(
      refusal('INVALID_REPLICATION_FACTOR', 'the replication factor is 1 to 15, not 16'),
    );
    const drained = ClusterWorld.ofCount(1);
    drained.do(drainBroker, { nodeId: nodeId(1), draining: true });
    expect(create(drained, {})).toEqual(
      refusal('INVALID_REPLICATION_FACTOR', 'there is no broker that takes partitions'),
    );
  });

  test('fenced brokers are taken where there are too few others, but not for a majority', () => {
    const world = ClusterWorld.ofCount(3);
    world.beat(2, 0, 'not-ready');
    expect(create(world, { replicationFactor: 2, partitionCount: 4 }).ok).toBe(true);
    expect(new Set(world.replicas('t').flat())).toEqual(new Set([1, 3]));
    expect(create(world, { name: 'u', topicId: topicIdOf(501), replicationFactor: 3, partitionCount: 4 }).ok).toBe(
      true,
    );
    expect(world.replicas('u').every(replicas => replicas.includes(nodeId(2)) && replicas[0] !== 2)).toBe(true);
    world.beat(3, 0, 'not-ready');
    expect(create(world, { name: 'v', replicationFactor: 3 })).toEqual(
      refusal('NOT_ENOUGH_REPLICAS', '1 of 3 brokers are running, and a partition with 3 replicas needs 2'),
    );
    expect(create(world, { name: 'v', topicId: topicIdOf(502), replicationFactor: 1 }).ok).toBe(true);
    expect(world.replicas('v')).toEqual([[1]]);
  });

  test('min.insync.replicas of the broker counts where the topic has none', () => {
    const world = ClusterWorld.ofCount(2);
    world.context.topicDefaults = { 'min.insync.replicas': '3' };
    expect(create(world, { replicationFactor: 2 })).toEqual(
      refusal('INVALID_CONFIG', 'min.insync.replicas is 3, but the topic has 2 replicas'),
    );
    expect(create(world, { replicationFactor: 2, config: { 'min.insync.replicas': '2' } }).ok).toBe(true);
  });

  test('a broker has a bounded number of partitions', () => {
    const world = ClusterWorld.ofCount(2);
    world.topic('a', { partitions: 10_000, factor: 2 });
    world.topic('b', { partitions: 10_000 });
    expect([...world.image.loads.values()].map(load => load.replicas)).toEqual([15_000, 15_000]);
    expect(create(world, { partitionCount: 5_001, replicationFactor: 2 })).toEqual(
      refusal('INVALID_PARTITION_COUNT', 'a broker has at most 20000 partitions in all', { partition_count: 5_001 }),
    );
    expect(create(world, { partitionCount: 5_000, replicationFactor: 2 }).ok).toBe(true);
    expect(create(world, { name: 'u', topicId: topicIdOf(501) }).ok).toBe(false);
    expect(alter(world, { partitionCount: 5_001 }).ok).toBe(false);
  });

  test('internal topics have reserved names, three replicas where they can, and a count that stays', () => {
    const world = ClusterWorld.ofCount(5);
    expect(createInternal(world).ok).toBe(true);
    expect(world.image.topics.get('__offsets')).toMatchObject({ internal: true, replicationFactor: 3 });
    expect(alter(world, { name: '__offsets', partitionCount: 5 })).toEqual(
      refusal('FORBIDDEN', 'topic "__offsets" is internal', { topic: '__offsets' }),
    );
    expect(alter(world, { name: '__offsets', config: { 'retention.ms': '5' } }).ok).toBe(true);
    expect(world.try(deleteTopic, '__offsets')).toEqual(
      refusal('FORBIDDEN', 'topic "__offsets" is internal', { topic: '__offsets' }),
    );
    const small = ClusterWorld.ofCount(2);
    createInternal(small);
    expect(small.image.topics.get('__offsets')?.replicationFactor).toBe(2);
    expect(() => createInternal(small, { name: 'plain' })).toThrow('an internal topic has a reserved name');
  });

  test('internal topics wait for all founders, or they would have too few replicas for ever', () => {
    const world = new ClusterWorld();
    world.do(found, { clusterId: CLUSTER_ID, voters: [1, 2, 3].map(replicaOf) });
    world.join(2);
    expect(createInternal(world)).toEqual(
      refusal('NOT_ENOUGH_REPLICAS', 'nodes of the cluster have not registered yet: 1, 3'),
    );
    world.join(1);
    world.do(registerBroker, { clusterId: CLUSTER_ID, registration: registrationOf(3) });
    expect(createInternal(world).ok).toBe(true);
    expect(world.replicas('__offsets').every(replicas => replicas.length === 3)).toBe(true);
  });

  test('a topic id that is known is a broken invariant', () => {
    const world = ClusterWorld.ofCount(1);
    create(world, {});
    expect(() => create(world, { name: 'u' })).toThrow('the topic id is fresh');
    world.do(deleteTopic, 't');
    expect(() => create(world, { name: 'u' })).toThrow('the topic id is fresh');
  });
});

describe('altering', () => {
  test('adds partitions behind the last one, with as many replicas, and leaves the others alone', () => {
    const world = ClusterWorld.ofCount(3);
    world.topic('t', { partitions: 2, factor: 2 });
    const before = world.image.topics.get('t')!.partitions;
    expect(alter(world, { partitionCount: 5 }).ok).toBe(true);
    const after = world.image.topics.get('t')!.partitions;
    expect(after.slice(0, 2)).toEqual(before);
    expect(after.map(partition => partition.replicas.length)).toEqual([2, 2, 2, 2, 2]);
  });

  test('changes settings, deletes those that are null, and both with partitions in one step', () => {
    const world = ClusterWorld.ofCount(1);
    world.topic('t', { config: { 'retention.ms': '5', 'segment.ms': '6' } });
    const altered = alter(world, { partitionCount: 2, config: { 'retention.ms': null, 'segment.ms': '08' } });
    expect(altered).toMatchObject({
      ok: true,
      value: { records: [{ kind: 'partitions-added' }, { kind: 'topic-config-changed' }] },
    });
    expect(world.image.topics.get('t')).toMatchObject({ config: { 'segment.ms': '8' } });
    expect(world.image.topics.get('t')?.config).not.toHaveProperty('retention.ms');
  });

  test('what changes nothing is no record', () => {
    const world = ClusterWorld.ofCount(1);
    world.topic('t', { partitions: 2, config: { 'retention.ms': '5' } });
    for (const request of [{}, { partitionCount: 2 }, { config: { 'retention.ms': '5', 'segment.ms': null } }]) {
      expect(alter(world, request)).toMatchObject({ ok: true, value: { records: [] } });
    }
  });

  test.each<[Partial<AlterTopicRequest>, string, string, object]>([
    [{ name: 'u' }, 'TOPIC_NOT_FOUND', 'there is no topic "u"', { topic: 'u' }],
    [
      { partitionCount: 1 },
      'INVALID_PARTITION_COUNT',
      'the topic has 2 partitions; their number only grows',
      { partition_count: 2 },
    ],
    [
      { partitionCount: 10_001 },
      'INVALID_PARTITION_COUNT',
      'a topic has 1 to 10000 partitions',
      { partition_count: 10_001 },
    ],
    [{ partitionCount: 2.5 }, 'INVALID_PARTITION_COUNT', 'a topic has 1 to 10000 partitions', { partition_count: 2.5 }],
    [{ config: { nothing: null } }, 'INVALID_CONFIG', 'unknown topic setting "nothing"', { name: 'nothing' }],
    [{ config: { nothing: '1' } }, 'INVALID_CONFIG', 'unknown topic setting "nothing"', { name: 'nothing' }],
    [
      { config: { 'min.insync.replicas': '3' } },
      'INVALID_CONFIG',
      'min.insync.replicas is 3, but the topic has 2 replicas',
      { name: 'min.insync.replicas' },
    ],
  ])('%o is refused', (request, code, detail, facts) => {
    const world = ClusterWorld.ofCount(2);
    world.topic('t', { partitions: 2, factor: 2 });
    expect(alter(world, request)).toEqual(refusal(code, detail, facts));
  });

  test('new partitions need as many brokers as the others', () => {
    const world = ClusterWorld.ofCount(2);
    world.topic('t', { factor: 2 });
    world.do(drainBroker, { nodeId: nodeId(1), draining: true });
    expect(alter(world, { partitionCount: 2 })).toEqual(
      refusal('INVALID_REPLICATION_FACTOR', 'there is one broker, so the replication factor is 1, not 2'),
    );
    expect(alter(world, { config: { 'retention.ms': '5' } }).ok).toBe(true);
  });
});

describe('deleting', () => {
  test('frees the name at once, and remembers the id until every broker acknowledged', () => {
    const world = ClusterWorld.ofCount(3);
    const first = world.topic('t', { partitions: 4, factor: 2 });
    expect(world.do(deleteTopic, 't')).toEqual({ topicId: first });
    expect(topicStanding(world.image, first)).toBe('deleted');
    expect(topicById(world.image, first)).toBeUndefined();
    expect([...world.image.loads.values()]).toEqual([1, 2, 3].map(() => ({ replicas: 0, preferred: 0 })));
    const second = world.topic('t');
    expect(topicById(world.image, second)?.name).toBe('t');
    expect(world.image.deletedTopics.get(first)).toEqual({
      topicId: first,
      name: 't',
      partitionCount: 4,
      waitingFor: [1, 2, 3],
    });
    const acknowledge = (node: number) =>
      world.do(acknowledgeRemoval, {
        nodeId: nodeId(node),
        incarnation: startOf(node),
        topicIds: [first, first, second, topicIdOf(77)],
      });
    acknowledge(2);
    expect(world.image.deletedTopics.get(first)?.waitingFor).toEqual([1, 3]);
    expect(world.records.at(-1)).toEqual({ kind: 'removal-acknowledged', nodeId: 2, topicIds: [first] });
    expect(removalsAwaited(world.image, nodeId(2))).toEqual([]);
    expect(removalsAwaited(world.image, nodeId(3))).toEqual([first]);
    const { version } = world.image;
    acknowledge(2);
    expect(world.image.version).toBe(version);
    acknowledge(1);
    acknowledge(3);
    expect(topicStanding(world.image, first)).toBe('unknown');
    expect(topicStanding(world.image, second)).toBe('live');
  });

  test('a broker that comes later is not waited for', () => {
    const world = ClusterWorld.ofCount(1);
    const id = world.topic('t');
    world.do(deleteTopic, 't');
    world.join(2);
    expect(world.image.deletedTopics.get(id)?.waitingFor).toEqual([1]);
  });

  test('what is not there cannot be deleted, and a removal is acknowledged by the process that is registered', () => {
    const world = ClusterWorld.ofCount(1);
    expect(world.try(deleteTopic, 't')).toEqual(refusal('TOPIC_NOT_FOUND', 'there is no topic "t"', { topic: 't' }));
    const stale = { nodeId: nodeId(1), incarnation: startOf(0, 5), topicIds: [] };
    expect(world.try(acknowledgeRemoval, stale)).toMatchObject({ problem: { facts: { reason: 'stale-incarnation' } } });
    const many = { ...stale, incarnation: startOf(1), topicIds: Array.from({ length: 1_001 }, () => topicIdOf(1)) };
    expect(world.try(acknowledgeRemoval, many)).toEqual(
      refusal('INVALID_REQUEST', 'a request acknowledges at most 1000 removals'),
    );
  });

  test('deleted topics that nobody removes are bounded', () => {
    const world = ClusterWorld.ofCount(1);
    let { deletedTopics } = world.image;
    for (let index = 0; index < 20_000; index++) {
      const topicId = topicIdOf(100_000 + index);
      deletedTopics = deletedTopics.with(topicId, { topicId, name: 't', partitionCount: 1, waitingFor: [nodeId(1)] });
    }
    world.topic('t');
    expect(deleteTopic({ ...world.image, deletedTopics }, 't')).toEqual(
      refusal('THROTTLED', expect.stringContaining('20000 deleted topics wait for brokers')),
    );
    const lessOne = deletedTopics.without(topicIdOf(100_000));
    expect(deleteTopic({ ...world.image, deletedTopics: lessOne }, 't').ok).toBe(true);
  });
});

// Records with any values that their form allows, whether or not a cluster could come to them.

import * as fc from 'fast-check';
import { nodeId, topicId } from '@sluice/protocol/ids';
import {
  brokerRoles,
  type ClusterPartition,
  type ClusterRecord,
  directoryId,
  incarnation,
  type Replica,
} from '../../../server/state/cluster/record.ts';

const anyNode = fc.integer({ min: 0, max: 0x7fffffff }).map(nodeId);
const anyTopicId = fc.uuid().map(topicId);
const anyReplica: fc.Arbitrary<Replica> = fc.record({ nodeId: anyNode, directoryId: fc.uuid().map(directoryId) });
const anyName = fc.stringMatching(/^[a-zA-Z0-9_-]{1,40}$/);
const anyCount = fc.integer({ min: 1, max: 0xffffffff });
const anyNumber = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const anyConfig = fc.dictionary(fc.stringMatching(/^[a-z][a-z.]{0,20}$/), fc.string(), { noNullPrototype: true });

const anyReplicas = fc.uniqueArray(anyReplica, { minLength: 1, maxLength: 15, selector: one => one.nodeId });

/** As placement gives them: few brokers, many partitions. */
const anyPartitions: fc.Arbitrary<ClusterPartition[]> = anyReplicas.chain(brokers =>
  fc.array(
    fc.shuffledSubarray(brokers, { minLength: 1 }).map(replicas => ({ replicas })),
    {
      minLength: 1,
      maxLength: 40,
    },
  ),
);

export const anyRecord: fc.Arbitrary<ClusterRecord> = fc.oneof(
  fc.record({
    kind: fc.constant('founded' as const),
    clusterId: fc.string({ minLength: 1 }),
    voters: fc.array(anyReplica, { minLength: 1, maxLength: 5 }),
  }),
  fc.record({
    kind: fc.constant('broker-registered' as const),
    registration: fc.record({
      nodeId: anyNode,
      directoryId: fc.uuid().map(directoryId),
      incarnation: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(incarnation),
      rack: fc.string(),
      roles: fc.shuffledSubarray([...brokerRoles], { minLength: 1 }),
      httpAddress: fc.string(),
      grpcAddress: fc.string(),
      peerAddress: fc.string(),
      registeredAtMs: anyNumber,
    }),
  }),
  fc.record({
    kind: fc.constant('broker-state-changed' as const),
    nodeId: anyNode,
    fenced: fc.boolean(),
    draining: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('broker-removed' as const), nodeId: anyNode }),
  fc.record({
    kind: fc.constant('topic-created' as const),
    topicId: anyTopicId,
    name: anyName,
    internal: fc.boolean(),
    replicationFactor: anyCount,
    config: anyConfig,
    partitions: anyPartitions,
  }),
  fc.record({
    kind: fc.constant('partitions-added' as const),
    topicId: anyTopicId,
    firstPartition: anyCount,
    partitions: anyPartitions,
  }),
  fc.record({ kind: fc.constant('topic-config-changed' as const), topicId: anyTopicId, config: anyConfig }),
  fc.record({ kind: fc.constant('topic-deleted' as const), topicId: anyTopicId }),
  fc.record({
    kind: fc.constant('removal-acknowledged' as const),
    nodeId: anyNode,
    topicIds: fc.array(anyTopicId),
  }),
  fc.record({
    kind: fc.constant('producer-ids-allocated' as const),
    nodeId: anyNode,
    first: anyNumber,
    count: anyCount,
  }),
);

// What each record does to the metadata. The only place where a new state comes from.
//
// Records were judged by the commands that made them, against the very state in which they are replayed, and are committed
// in one order; so whatever does not fit here is a broken invariant, not a request to refuse. The same records give the same
// image on every node: nothing here depends on anything else.

import type { NodeId, TopicId } from '@sluice/protocol/ids';
import { assert, unreachable } from '../../base/assert.ts';
import type { SortedMap } from '../sorted-map.ts';
import { changedLoads } from './broker-load.ts';
import { type ClusterImage, type ClusterTopic, type DeletedTopic, topicById } from './image.ts';
import type {
  BrokerRegisteredRecord,
  BrokerRemovedRecord,
  BrokerStateChangedRecord,
  ClusterPartition,
  ClusterRecord,
  PartitionsAddedRecord,
  ProducerIdsAllocatedRecord,
  RemovalAcknowledgedRecord,
  TopicConfigChangedRecord,
  TopicCreatedRecord,
  TopicDeletedRecord,
} from './record.ts';

/** Everything of an image but its version. */
type Change = Partial<Omit<ClusterImage, 'version'>>;

export const replayed = (image: ClusterImage, record: ClusterRecord): ClusterImage => ({
  ...image,
  ...changeBy(image, record),
  version: image.version + 1,
});

const changeBy = (image: ClusterImage, record: ClusterRecord): Change => {
  if (record.kind === 'founded') {
    assert(image.version === 0, 'a cluster is founded by its first record');
    return { founded: record };
  }
  assert(image.founded !== null, 'the first record founds the cluster');
  switch (record.kind) {
    case 'broker-registered':
      return brokerRegistered(image, record);
    case 'broker-state-changed':
      return brokerStateChanged(image, record);
    case 'broker-removed':
      return brokerRemoved(image, record);
    case 'topic-created':
      return topicCreated(image, record);
    case 'partitions-added':
      return partitionsAdded(image, record);
    case 'topic-config-changed':
      return topicConfigChanged(image, record);
    case 'topic-deleted':
      return topicDeleted(image, record);
    case 'removal-acknowledged':
      return removalAcknowledged(image, record);
    case 'producer-ids-allocated':
      return producerIdsAllocated(image, record);
    default:
      return unreachable(record);
  }
};

const brokerRegistered = (image: ClusterImage, { registration }: BrokerRegisteredRecord): Change => {
  const id = registration.nodeId;
  const known = image.brokers.get(id);
  assert(
    known === undefined || known.registration.directoryId === registration.directoryId,
    'a registered node keeps its directory',
  );
  const brokers = image.brokers.with(id, { registration, fenced: true, draining: known?.draining ?? false });
  return known === undefined ? { brokers, loads: image.loads.with(id, { replicas: 0, preferred: 0 }) } : { brokers };
};

const brokerStateChanged = (image: ClusterImage, record: BrokerStateChangedRecord): Change => {
  const known = image.brokers.get(record.nodeId);
  assert(known !== undefined, 'only the state of a registered broker changes');
  const { fenced, draining } = record;
  return { brokers: image.brokers.with(record.nodeId, { registration: known.registration, fenced, draining }) };
};

const brokerRemoved = (image: ClusterImage, { nodeId }: BrokerRemovedRecord): Change => {
  assert(image.loads.get(nodeId)?.replicas === 0, 'a broker that is removed is registered and holds no replica');
  return {
    brokers: image.brokers.without(nodeId),
    loads: image.loads.without(nodeId),
    deletedTopics: acknowledged(image.deletedTopics, nodeId, [...image.deletedTopics.keys()]),
  };
};

const loaded = (image: ClusterImage, partitions: readonly ClusterPartition[], by: 1 | -1): ClusterImage['loads'] => {
  for (const { replicas } of partitions) {
    assert(replicas.length > 0, 'a partition has a replica');
    assert(new Set(replicas.map(replica => replica.nodeId)).size === replicas.length, 'one replica a broker');
  }
  const loads = changedLoads(image.loads, partitions, by);
  assert(loads !== null, 'replicas are at registered brokers');
  return loads;
};

const topicCreated = (image: ClusterImage, record: TopicCreatedRecord): Change => {
  const { kind: _, ...topic } = record;
  assert(!image.topics.has(topic.name), 'a topic name is given once');
  assert(!image.topicNames.has(topic.topicId) && !image.deletedTopics.has(topic.topicId), 'a topic id is given once');
  return {
    topics: image.topics.with(topic.name, topic),
    topicNames: image.topicNames.with(topic.topicId, topic.name),
    loads: loaded(image, topic.partitions, 1),
  };
};

const liveTopic = (image: ClusterImage, id: TopicId): ClusterTopic => {
  const topic = topicById(image, id);
  assert(topic !== undefined, 'only a topic that lives changes');
  return topic;
};

const partitionsAdded = (image: ClusterImage, record: PartitionsAddedRecord): Change => {
  const topic = liveTopic(image, record.topicId);
  assert(topic.partitions.length === record.firstPartition, 'partitions are added behind the last one');
  const partitions = [...topic.partitions, ...record.partitions];
  return {
    topics: image.topics.with(topic.name, { ...topic, partitions }),
    loads: loaded(image, record.partitions, 1),
  };
};

const topicConfigChanged = (image: ClusterImage, record: TopicConfigChangedRecord): Change => {
  const topic = liveTopic(image, record.topicId);
  return { topics: image.topics.with(topic.name, { ...topic, config: record.config }) };
};

const topicDeleted = (image: ClusterImage, { topicId }: TopicDeletedRecord): Change => {
  const { name, partitions } = liveTopic(image, topicId);
  const waitingFor = [...image.brokers.keys()];
  assert(waitingFor.length > 0, 'a topic that lived has a registered broker');
  return {
    topics: image.topics.without(name),
    topicNames: image.topicNames.without(topicId),
    loads: loaded(image, partitions, -1),
    deletedTopics: image.deletedTopics.with(topicId, { topicId, name, partitionCount: partitions.length, waitingFor }),
  };
};

/** An id that nobody is waited for any more is forgotten. */
const acknowledged = (
  deletedTopics: SortedMap<TopicId, DeletedTopic>,
  nodeId: NodeId,
  topicIds: readonly TopicId[],
): SortedMap<TopicId, DeletedTopic> => {
  let next = deletedTopics;
  for (const id of topicIds) {
    const deleted = next.get(id);
    if (deleted === undefined || !deleted.waitingFor.includes(nodeId)) continue;
    const waitingFor = deleted.waitingFor.filter(waiting => waiting !== nodeId);
    next = waitingFor.length === 0 ? next.without(id) : next.with(id, { ...deleted, waitingFor });
  }
  return next;
};

const removalAcknowledged = (image: ClusterImage, record: RemovalAcknowledgedRecord): Change => ({
  deletedTopics: acknowledged(image.deletedTopics, record.nodeId, record.topicIds),
});

const producerIdsAllocated = (image: ClusterImage, record: ProducerIdsAllocatedRecord): Change => {
  assert(record.first === image.nextProducerId && record.count > 0, 'producer ids are given out in order, once');
  const nextProducerId = record.first + record.count;
  assert(Number.isSafeInteger(nextProducerId), 'producer ids end at 2^53');
  return { nextProducerId };
};

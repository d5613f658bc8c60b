// Topics: created, changed, deleted. The checks and their words are those of a single broker; what is new is that brokers
// can be too few.
//
// The order of checks is fixed: a request with several faults is always told the same one.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { type TopicId, topicNameFault } from '@sluice/protocol/ids';
import { assert } from '../../base/assert.ts';
import { DELETED_TOPICS_MAX, INTERNAL_REPLICATION_FACTOR, PARTITIONS_PER_TOPIC_MAX } from '../../base/limits.ts';
import { changeTopicConfig, checkTopicConfig, effectiveValue, type TopicConfig } from '../../base/topic-config.ts';
import { type Decided, decided } from '../decision.ts';
import { notFounded } from './founding.ts';
import type { ClusterImage, ClusterTopic } from './image.ts';
import { judgeReplicationFactor, type PlacementCode, placePartitions, placeableBrokerCount } from './placement.ts';
import type { ClusterRecord } from './record.ts';

/** What a request names, and what the caller adds. */
export interface TopicContext {
  /** The controller's own defaults: what a topic without a setting of its own has. */
  readonly topicDefaults: TopicConfig;
}

export interface CreateTopicRequest {
  /** Fresh. */
  readonly topicId: TopicId;
  readonly name: string;
  /** 1 where it is not said. */
  readonly partitionCount?: number | undefined;
  /** 1 where it is not said. */
  readonly replicationFactor?: number | undefined;
  readonly config?: Readonly<Record<string, string>> | undefined;
}

export type CreateTopicCode =
  | 'INVALID_TOPIC_NAME'
  | 'INVALID_CONFIG'
  | 'TOPIC_EXISTS'
  | 'COORDINATOR_LOADING'
  | PlacementCode;

export interface TopicResponse {
  readonly topicId: TopicId;
}

const countFault = (count: number): string | null =>
  Number.isInteger(count) && count >= 1 && count <= PARTITIONS_PER_TOPIC_MAX
    ? null
    : `a topic has 1 to ${PARTITIONS_PER_TOPIC_MAX} partitions`;

const insyncFault = (config: TopicConfig, replicas: number, context: TopicContext): string | null => {
  const { value } = effectiveValue('min.insync.replicas', config, context.topicDefaults);
  if (Number(value) <= replicas) return null;
  return `min.insync.replicas is ${value}, but the topic has ${replicas} ${replicas === 1 ? 'replica' : 'replicas'}`;
};

const invalidConfig = (detail: string) => refused('INVALID_CONFIG', detail, { name: 'min.insync.replicas' });
const notFoundTopic = (name: string) => refused('TOPIC_NOT_FOUND', `there is no topic "${name}"`, { topic: name });
const internalTopic = (name: string) => refused('FORBIDDEN', `topic "${name}" is internal`, { topic: name });

const RESERVED_PREFIX = '__';

/** A topic that somebody asked for. */
export const createTopic = (
  image: ClusterImage,
  request: CreateTopicRequest,
  context: TopicContext,
): Decided<ClusterRecord, TopicResponse, CreateTopicCode> => {
  const { name } = request;
  const nameFault = topicNameFault(name);
  if (nameFault !== null) return refused('INVALID_TOPIC_NAME', nameFault, { name });
  if (name.startsWith(RESERVED_PREFIX)) {
    return refused('INVALID_TOPIC_NAME', 'topic names that begin with "__" are reserved', { name });
  }
  return createChecked(image, { ...request, internal: false }, context);
};

export interface CreateInternalTopicRequest {
  readonly topicId: TopicId;
  readonly name: string;
  readonly partitionCount: number;
  readonly config?: Readonly<Record<string, string>> | undefined;
}

/** A topic of the cluster's own. It waits until all founders have registered, or its few replicas would stay few. */
export const createInternalTopic = (
  image: ClusterImage,
  request: CreateInternalTopicRequest,
  context: TopicContext,
): Decided<ClusterRecord, TopicResponse, CreateTopicCode> => {
  assert(topicNameFault(request.name) === null, 'an internal topic has a legal name');
  assert(request.name.startsWith(RESERVED_PREFIX), 'an internal topic has a reserved name');
  const missing = (image.founded?.voters ?? []).filter(voter => !image.brokers.has(voter.nodeId));
  if (missing.length > 0) {
    const nodes = missing.map(voter => voter.nodeId).join(', ');
    return refused('NOT_ENOUGH_REPLICAS', `nodes of the cluster have not registered yet: ${nodes}`);
  }
  const replicationFactor = Math.min(INTERNAL_REPLICATION_FACTOR, placeableBrokerCount(image));
  return createChecked(image, { ...request, replicationFactor, internal: true }, context);
};

const createChecked = (
  image: ClusterImage,
  request: CreateTopicRequest & { readonly internal: boolean },
  context: TopicContext,
): Decided<ClusterRecord, TopicResponse, CreateTopicCode> => {
  const early = notFounded(image);
  if (early !== null) return early;
  const { name, topicId, internal, partitionCount = 1, replicationFactor = 1 } = request;
  const fault = countFault(partitionCount);
  if (fault !== null) return refused('INVALID_PARTITION_COUNT', fault, { partition_count: partitionCount });
  const judged = judgeReplicationFactor(image, replicationFactor);
  if (!judged.ok) return judged;
  const config = checkTopicConfig(request.config ?? {});
  if (!config.ok) return config;
  const insync = insyncFault(config.value, replicationFactor, context);
  if (insync !== null) return invalidConfig(insync);
  if (image.topics.has(name)) return refused('TOPIC_EXISTS', `topic "${name}" exists already`, { topic: name });
  assert(!image.topicNames.has(topicId) && !image.deletedTopics.has(topicId), 'the topic id is fresh');
  const placed = placePartitions(image, { partitionCount, replicationFactor });
  if (!placed.ok) return placed;
  const partitions = placed.value;
  const created = { topicId, name, internal, replicationFactor, config: config.value, partitions };
  return decided([{ kind: 'topic-created', ...created }], { topicId });
};

export interface AlterTopicRequest {
  readonly name: string;
  readonly partitionCount?: number | undefined;
  /** null deletes a setting. */
  readonly config?: Readonly<Record<string, string | null>> | undefined;
}

export type AlterTopicCode = 'TOPIC_NOT_FOUND' | 'FORBIDDEN' | 'INVALID_CONFIG' | 'COORDINATOR_LOADING' | PlacementCode;

/** New partitions, settings or both: all of it, or nothing. */
export const alterTopic = (
  image: ClusterImage,
  request: AlterTopicRequest,
  context: TopicContext,
): Decided<ClusterRecord, TopicResponse, AlterTopicCode> => {
  const early = notFounded(image);
  if (early !== null) return early;
  const topic = image.topics.get(request.name);
  if (topic === undefined) return notFoundTopic(request.name);
  const count = judgePartitionCount(topic, request.partitionCount);
  if (!count.ok) return count;
  const config = changeTopicConfig(topic.config, request.config ?? {});
  if (!config.ok) return config;
  const insync = insyncFault(config.value, topic.replicationFactor, context);
  if (insync !== null) return invalidConfig(insync);
  const { topicId, replicationFactor } = topic;
  const firstPartition = topic.partitions.length;
  const records: ClusterRecord[] = [];
  if (count.value > firstPartition) {
    const placed = placePartitions(image, { partitionCount: count.value - firstPartition, replicationFactor });
    if (!placed.ok) return placed;
    records.push({ kind: 'partitions-added', topicId, firstPartition, partitions: placed.value });
  }
  if (!isSameConfig(config.value, topic.config)) {
    records.push({ kind: 'topic-config-changed', topicId, config: config.value });
  }
  return decided(records, { topicId });
};

const judgePartitionCount = (
  topic: ClusterTopic,
  asked: number | undefined,
): Result<number, 'INVALID_PARTITION_COUNT' | 'FORBIDDEN'> => {
  const current = topic.partitions.length;
  const count = asked ?? current;
  if (count < current) {
    const detail = `the topic has ${current} partitions; their number only grows`;
    return refused('INVALID_PARTITION_COUNT', detail, { partition_count: current });
  }
  const fault = countFault(count);
  if (fault !== null) return refused('INVALID_PARTITION_COUNT', fault, { partition_count: count });
  // What is kept where follows from the count: groups and transactions are found by a hash over it.
  return topic.internal && count > current ? internalTopic(topic.name) : accepted(count);
};

const isSameConfig = (a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean => {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every(name => a[name] === b[name]);
};

export type DeleteTopicCode = 'TOPIC_NOT_FOUND' | 'FORBIDDEN' | 'THROTTLED' | 'COORDINATOR_LOADING';

/** The name is free at once, for a topic with another id. */
export const deleteTopic = (
  image: ClusterImage,
  name: string,
): Decided<ClusterRecord, TopicResponse, DeleteTopicCode> => {
  const early = notFounded(image);
  if (early !== null) return early;
  const topic = image.topics.get(name);
  if (topic === undefined) return notFoundTopic(name);
  if (topic.internal) return internalTopic(name);
  if (image.deletedTopics.size >= DELETED_TOPICS_MAX) {
    const detail = `${DELETED_TOPICS_MAX} deleted topics wait for brokers to remove them; a broker that is gone for good must be removed`;
    return refused('THROTTLED', detail, { topic: name });
  }
  const { topicId } = topic;
  return decided([{ kind: 'topic-deleted', topicId }], { topicId });
};

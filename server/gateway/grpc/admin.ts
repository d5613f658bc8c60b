// AdminService: topics and their offsets. Each method checks its numbers, asks the broker and renders.

import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { create } from '@bufbuild/protobuf';
import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import type {
  AlterTopicRequest,
  CreateTopicRequest,
  DeleteRecordsRequest,
  DeleteRecordsResponse,
  DeleteTopicRequest,
  DeleteTopicResponse,
  DescribeTopicRequest,
  ListOffsetsRequest,
  ListOffsetsResponse,
  ListTopicsRequest,
  ListTopicsResponse,
  PartitionDescription as PartitionMessage,
  PartitionOffsets as OffsetsMessage,
  TopicDescription as TopicMessage,
} from '@sluice/protocol/services';
import { offset } from '@sluice/protocol/ids';
import {
  DeleteRecordsResponseSchema,
  DeleteTopicResponseSchema,
  ListOffsetsResponseSchema,
  ListTopicsResponseSchema,
  PartitionDescriptionSchema,
  PartitionOffsetsSchema,
  TopicDescriptionSchema,
  TopicSettingSchema,
  TopicSummarySchema,
} from '@sluice/protocol/services';
import { TOPIC_PAGE_DEFAULT, TOPIC_PAGE_MAX } from '../../base/limits.ts';
import type {
  Broker,
  OffsetQuery,
  PartitionDescription,
  PartitionOffsets,
  TopicDescription,
} from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import { naturalNumber } from './safe-number.ts';
import { unary } from './unary.ts';

export const adminService = (context: GatewayContext): UntypedServiceImplementation => {
  const { broker } = context;
  const door = { context, verb: 'admin', metrics: context.metrics.verb('grpc', 'admin') };
  return {
    createTopic: unary(door, (request: CreateTopicRequest) => createTopic(broker, request)),
    listTopics: unary(door, (request: ListTopicsRequest) => listTopics(broker, request)),
    describeTopic: unary(door, (request: DescribeTopicRequest) => describeTopic(broker, request)),
    alterTopic: unary(door, (request: AlterTopicRequest) => alterTopic(broker, request)),
    deleteTopic: unary(door, (request: DeleteTopicRequest) => deleteTopic(broker, request)),
    listOffsets: unary(door, (request: ListOffsetsRequest) => listOffsets(broker, request)),
    deleteRecords: unary(door, (request: DeleteRecordsRequest) => deleteRecords(broker, request)),
  };
};

const createTopic = async (broker: Broker, request: CreateTopicRequest): Promise<Result<TopicMessage>> => {
  const { name, partitionCount, replicationFactor, config } = request;
  const created = await broker.createTopic({
    name,
    partitionCount: partitionCount === 0 ? undefined : partitionCount,
    replicationFactor: replicationFactor === 0 ? undefined : replicationFactor,
    config,
  });
  return created.ok ? accepted(topicMessage(created.value, { withAllConfig: false })) : created;
};

const listTopics = (broker: Broker, request: ListTopicsRequest): Result<ListTopicsResponse> => {
  const { prefix, internal, limit, after } = request;
  if (limit < 0 || limit > TOPIC_PAGE_MAX) {
    return refused('INVALID_REQUEST', `limit ${limit} is not in the range of 1 to ${TOPIC_PAGE_MAX}`);
  }
  const page = broker.listTopics({
    prefix,
    internal,
    limit: limit === 0 ? TOPIC_PAGE_DEFAULT : limit,
    after: after === '' ? null : after,
  });
  const topics = page.topics.map(topic =>
    create(TopicSummarySchema, {
      name: topic.name,
      topicId: topic.id,
      partitionCount: topic.partitionCount,
      replicationFactor: topic.replicationFactor,
      internal: topic.internal,
    }),
  );
  const message = create(ListTopicsResponseSchema, { topics });
  if (page.nextAfter !== null) message.nextAfter = page.nextAfter;
  return accepted(message);
};

const describeTopic = async (broker: Broker, request: DescribeTopicRequest): Promise<Result<TopicMessage>> => {
  const described = await broker.describeTopic(request.name);
  if (!described.ok) return described;
  return accepted(topicMessage(described.value, { withAllConfig: request.includeDefaults }));
};

const alterTopic = async (broker: Broker, request: AlterTopicRequest): Promise<Result<TopicMessage>> => {
  const { name, partitionCount, setConfig, deleteConfig } = request;
  const config = new Map<string, string | null>(Object.entries(setConfig));
  for (const setting of deleteConfig) {
    if (config.has(setting)) {
      return refused('INVALID_REQUEST', `setting "${setting}" is both set and deleted, or deleted twice`, { setting });
    }
    config.set(setting, null);
  }
  const altered = await broker.alterTopic({
    name,
    partitionCount: partitionCount === 0 ? undefined : partitionCount,
    config: config.size === 0 ? undefined : Object.fromEntries(config),
  });
  return altered.ok ? accepted(topicMessage(altered.value, { withAllConfig: false })) : altered;
};

const deleteTopic = async (broker: Broker, request: DeleteTopicRequest): Promise<Result<DeleteTopicResponse>> => {
  const deleted = await broker.deleteTopic(request.name);
  return deleted.ok ? accepted(create(DeleteTopicResponseSchema)) : deleted;
};

const listOffsets = async (broker: Broker, request: ListOffsetsRequest): Promise<Result<ListOffsetsResponse>> => {
  const query = offsetQuery(request.timestampMs);
  if (!query.ok) return query;
  const listed = await broker.listOffsets({ topic: request.topic, query: query.value });
  if (!listed.ok) return listed;
  return accepted(create(ListOffsetsResponseSchema, { partitions: listed.value.map(offsetsMessage) }));
};

const deleteRecords = async (
  broker: Broker,
  { topic, partition, beforeOffset }: DeleteRecordsRequest,
): Promise<Result<DeleteRecordsResponse>> => {
  const before = naturalNumber(beforeOffset);
  if (before === null) return refused('INVALID_REQUEST', 'before_offset is in the range of 0 to 2^53 - 1');
  const deleted = await broker.deleteRecords({ topic, partition, beforeOffset: offset(before) });
  if (!deleted.ok) return deleted;
  const earliestOffset = BigInt(deleted.value.earliestOffset);
  return accepted(create(DeleteRecordsResponseSchema, { earliestOffset }));
};

const offsetQuery = (timestamp: bigint | undefined): Result<OffsetQuery, 'INVALID_TIMESTAMP'> => {
  if (timestamp === undefined) return accepted({ kind: 'none' });
  const timestampMs = naturalNumber(timestamp);
  if (timestampMs === null) return refused('INVALID_TIMESTAMP', 'timestamp_ms is in the range of 0 to 2^53 - 1');
  return accepted({ kind: 'timestamp', timestampMs });
};

const offsetsMessage = (offsets: PartitionOffsets): OffsetsMessage => {
  const message = create(PartitionOffsetsSchema, {
    partition: offsets.partition,
    earliestOffset: BigInt(offsets.earliestOffset),
    highWatermark: BigInt(offsets.highWatermark),
    lastStableOffset: BigInt(offsets.lastStableOffset),
  });
  if (offsets.found !== null) {
    message.offset = BigInt(offsets.found.offset);
    message.timestampMs = BigInt(offsets.found.timestampMs);
  }
  return message;
};

const topicMessage = (topic: TopicDescription, options: { readonly withAllConfig: boolean }): TopicMessage =>
  create(TopicDescriptionSchema, {
    name: topic.name,
    topicId: topic.id,
    partitionCount: topic.partitionCount,
    replicationFactor: topic.replicationFactor,
    internal: topic.internal,
    config: { ...topic.config },
    allConfig: options.withAllConfig ? topic.allConfig.map(entry => create(TopicSettingSchema, entry)) : [],
    partitions: topic.partitions.map(partitionMessage),
  });

const partitionMessage = (partition: PartitionDescription): PartitionMessage =>
  create(PartitionDescriptionSchema, {
    partition: partition.partition,
    leader: partition.leader,
    leaderEpoch: partition.leaderEpoch,
    replicas: [...partition.replicas],
    isr: [...partition.isr],
    earliestOffset: BigInt(partition.earliestOffset),
    highWatermark: BigInt(partition.highWatermark),
    lastStableOffset: BigInt(partition.lastStableOffset),
    logEndOffset: BigInt(partition.logEndOffset),
  });

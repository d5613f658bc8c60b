// The admin calls over gRPC. Descriptions are plain objects with plain numbers: offsets are safe integers by contract.

import { AdminService, MetadataService } from '@sluice/protocol/services';
import type * as wire from '@sluice/protocol/services';
import type {
  Admin,
  AlterTopic,
  ClusterDescription,
  CreateTopic,
  DeleteRecords,
  DescribeTopicOptions,
  ListOffsetsOptions,
  ListTopicsOptions,
  PartitionDescription,
  PartitionOffsets,
  TopicDescription,
  TopicSummary,
} from './admin.ts';
import type { CallOptions } from './producer.ts';
import type { Requester } from './request.ts';
import { SluiceError } from './sluice-error.ts';

const PAGE_TOPICS = 1_000;
const INT32_MAX = 0x7fff_ffff;

export class AdminClient implements Admin {
  readonly #requester: Requester;

  constructor(requester: Requester) {
    this.#requester = requester;
  }

  async createTopic(topic: CreateTopic, options: CallOptions = {}): Promise<TopicDescription> {
    const config: Record<string, string> = {};
    for (const [name, value] of Object.entries(topic.config ?? {})) config[name] = String(value);
    const request = {
      name: topic.name,
      partitionCount: count(topic.partitionCount, 'INVALID_PARTITION_COUNT'),
      replicationFactor: count(topic.replicationFactor, 'INVALID_REPLICATION_FACTOR'),
      config,
    };
    const method = AdminService.method.createTopic;
    return topicDescription(
      await this.#requester.ask({ method, request, isRepeatable: false, signal: options.signal }),
    );
  }

  async listTopics(options: ListTopicsOptions = {}): Promise<readonly TopicSummary[]> {
    const { prefix = '', internal = false, signal } = options;
    const topics: TopicSummary[] = [];
    let after: string | undefined = '';
    while (after !== undefined) {
      const request = { prefix, internal, after, limit: PAGE_TOPICS };
      const method = AdminService.method.listTopics;
      const page: wire.ListTopicsResponse = await this.#requester.ask({ method, request, isRepeatable: true, signal });
      for (const topic of page.topics) topics.push(topicSummary(topic));
      after = page.nextAfter;
    }
    return topics;
  }

  async describeTopic(name: string, options: DescribeTopicOptions = {}): Promise<TopicDescription> {
    const request = { name, includeDefaults: options.includeDefaults ?? false };
    const method = AdminService.method.describeTopic;
    return topicDescription(await this.#requester.ask({ method, request, isRepeatable: true, signal: options.signal }));
  }

  async alterTopic(change: AlterTopic, options: CallOptions = {}): Promise<TopicDescription> {
    const setConfig: Record<string, string> = {};
    const deleteConfig: string[] = [];
    for (const [name, value] of Object.entries(change.config ?? {})) {
      if (value === null) deleteConfig.push(name);
      else setConfig[name] = String(value);
    }
    const partitionCount = count(change.partitionCount, 'INVALID_PARTITION_COUNT');
    const request = { name: change.name, partitionCount, setConfig, deleteConfig };
    const method = AdminService.method.alterTopic;
    // Not even settings are repeated: somebody else's later change would be undone.
    return topicDescription(
      await this.#requester.ask({ method, request, isRepeatable: false, signal: options.signal }),
    );
  }

  async deleteTopic(name: string, options: CallOptions = {}): Promise<void> {
    const method = AdminService.method.deleteTopic;
    // A repetition could delete a topic that was created under the same name meanwhile.
    await this.#requester.ask({ method, request: { name }, isRepeatable: false, signal: options.signal });
  }

  async listOffsets(topic: string, options: ListOffsetsOptions = {}): Promise<readonly PartitionOffsets[]> {
    const { timestamp, signal } = options;
    if (timestamp !== undefined && !Number.isSafeInteger(timestamp)) {
      throw new SluiceError('INVALID_TIMESTAMP', `${timestamp} is not a time in milliseconds`);
    }
    const request = timestamp === undefined ? { topic } : { topic, timestampMs: BigInt(timestamp) };
    const method = AdminService.method.listOffsets;
    const response = await this.#requester.ask({ method, request, isRepeatable: true, signal });
    return response.partitions.map(partitionOffsets);
  }

  async deleteRecords(
    deletion: DeleteRecords,
    options: CallOptions = {},
  ): Promise<{ readonly earliestOffset: number }> {
    const { topic, partition, before } = deletion;
    if (!Number.isSafeInteger(before) || before < 0) {
      throw new SluiceError('INVALID_REQUEST', `${before} is not an offset`);
    }
    if (!Number.isInteger(partition) || partition < 0 || partition > INT32_MAX) {
      throw new SluiceError('PARTITION_NOT_FOUND', `${partition} is not a partition`);
    }
    const request = { topic, partition, beforeOffset: BigInt(before) };
    const method = AdminService.method.deleteRecords;
    // Not repeated: by then the name may belong to another topic, with records that nobody wanted to lose.
    const response = await this.#requester.ask({ method, request, isRepeatable: false, signal: options.signal });
    return { earliestOffset: Number(response.earliestOffset) };
  }

  async cluster(options: CallOptions = {}): Promise<ClusterDescription> {
    // Asking for a topic that cannot exist keeps the list of all topics off the wire.
    const request = { topics: ['.'] };
    const method = MetadataService.method.getMetadata;
    const metadata = await this.#requester.ask({ method, request, isRepeatable: true, signal: options.signal });
    const { clusterId, controller, version, brokers } = metadata;
    return {
      clusterId,
      controller,
      version,
      brokers: brokers.map(({ nodeId, grpcAddress, httpAddress, rack, state }) => ({
        nodeId,
        grpcAddress,
        httpAddress,
        rack,
        state,
      })),
    };
  }
}

/** 0 means "not given" on the wire, so a 0 that was given must not get there. */
function count(value: number | undefined, code: 'INVALID_PARTITION_COUNT' | 'INVALID_REPLICATION_FACTOR'): number {
  if (value === undefined) return 0;
  if (Number.isInteger(value) && value >= 1 && value <= INT32_MAX) return value;
  throw new SluiceError(code, `${value} is not a count`);
}

function topicSummary(topic: wire.TopicSummary | wire.TopicDescription): TopicSummary {
  const { name, topicId, partitionCount, replicationFactor, internal } = topic;
  return { name, topicId, partitionCount, replicationFactor, internal };
}

function topicDescription(topic: wire.TopicDescription): TopicDescription {
  return {
    ...topicSummary(topic),
    config: { ...topic.config },
    allConfig: topic.allConfig.map(({ name, value, source }) => ({ name, value, source })),
    partitions: topic.partitions.map(partitionDescription),
  };
}

function partitionDescription(from: wire.PartitionDescription): PartitionDescription {
  const { partition, leader, leaderEpoch, replicas, isr } = from;
  return {
    partition,
    leader,
    leaderEpoch,
    replicas: [...replicas],
    isr: [...isr],
    earliestOffset: Number(from.earliestOffset),
    highWatermark: Number(from.highWatermark),
    lastStableOffset: Number(from.lastStableOffset),
    logEndOffset: Number(from.logEndOffset),
  };
}

function partitionOffsets(from: wire.PartitionOffsets): PartitionOffsets {
  return {
    partition: from.partition,
    earliestOffset: Number(from.earliestOffset),
    highWatermark: Number(from.highWatermark),
    lastStableOffset: Number(from.lastStableOffset),
    offset: from.offset === undefined ? null : Number(from.offset),
    timestamp: from.timestampMs === undefined ? null : Number(from.timestampMs),
  };
}

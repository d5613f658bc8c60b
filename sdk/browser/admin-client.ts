// The admin calls over REST. What is answered is what the Node client answers.

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
  TopicSetting,
  TopicSummary,
} from '../admin.ts';
import type { CallOptions } from '../producer.ts';
import { SluiceError } from '../sluice-error.ts';
import type { RestCaller } from './http.ts';

interface TopicDocument {
  readonly name: string;
  readonly topic_id: string;
  readonly partition_count: number;
  readonly replication_factor: number;
  readonly internal: boolean;
  readonly config?: Readonly<Record<string, string>>;
  readonly all_config?: readonly TopicSetting[];
  readonly partitions?: readonly PartitionDocument[];
}

interface PartitionDocument {
  readonly partition: number;
  readonly leader: number;
  readonly leader_epoch: number;
  readonly replicas: readonly number[];
  readonly isr: readonly number[];
  readonly earliest_offset: number;
  readonly high_watermark: number;
  readonly last_stable_offset: number;
  readonly log_end_offset: number;
  readonly offset?: number;
  readonly timestamp?: number;
}

interface ClusterDocument {
  readonly cluster_id: string;
  readonly controller: number;
  readonly version: string;
  readonly brokers: readonly {
    readonly node_id: number;
    readonly grpc_address: string;
    readonly http_address: string;
    readonly rack: string;
    readonly state: string;
  }[];
}

const PAGE_TOPICS = 1_000;

export class AdminClient implements Admin {
  readonly #rest: RestCaller;

  constructor(rest: RestCaller) {
    this.#rest = rest;
  }

  async createTopic(topic: CreateTopic, { signal }: CallOptions = {}): Promise<TopicDescription> {
    const { name, partitionCount, replicationFactor, config } = topic;
    const body = { name, partition_count: partitionCount, replication_factor: replicationFactor, config };
    return topicDescription(await this.#rest.ask({ method: 'POST', path: '/v1/topics', body, signal }));
  }

  async listTopics(options: ListTopicsOptions = {}): Promise<readonly TopicSummary[]> {
    const { prefix = '', internal = false, signal } = options;
    const topics: TopicSummary[] = [];
    let after: string | null = null;
    do {
      const query = new URLSearchParams({ prefix, internal: String(internal), limit: String(PAGE_TOPICS) });
      if (after !== null) query.set('after', after);
      const path = `/v1/topics?${query.toString()}`;
      const page: { topics: TopicDocument[]; next: { after: string } | null } = await this.#rest.ask({
        method: 'GET',
        path,
        signal,
      });
      topics.push(...page.topics.map(topicSummary));
      after = page.next?.after ?? null;
    } while (after !== null);
    return topics;
  }

  async describeTopic(name: string, options: DescribeTopicOptions = {}): Promise<TopicDescription> {
    const path = `${topicPath(name)}${options.includeDefaults === true ? '?include=defaults' : ''}`;
    return topicDescription(await this.#rest.ask({ method: 'GET', path, signal: options.signal }));
  }

  async alterTopic(
    { name, partitionCount, config }: AlterTopic,
    { signal }: CallOptions = {},
  ): Promise<TopicDescription> {
    const body = { partition_count: partitionCount, config };
    return topicDescription(await this.#rest.ask({ method: 'PATCH', path: topicPath(name), body, signal }));
  }

  async deleteTopic(name: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#rest.ask({ method: 'DELETE', path: topicPath(name), signal });
  }

  async listOffsets(topic: string, options: ListOffsetsOptions = {}): Promise<readonly PartitionOffsets[]> {
    const { timestamp, signal } = options;
    if (timestamp !== undefined && !Number.isSafeInteger(timestamp)) {
      throw new SluiceError('INVALID_TIMESTAMP', `${timestamp} is not a time in milliseconds`);
    }
    const path = `${topicPath(topic)}/offsets${timestamp === undefined ? '' : `?timestamp=${timestamp}`}`;
    const answer: { partitions: PartitionDocument[] } = await this.#rest.ask({ method: 'GET', path, signal });
    return answer.partitions.map(from => ({
      partition: from.partition,
      earliestOffset: from.earliest_offset,
      highWatermark: from.high_watermark,
      lastStableOffset: from.last_stable_offset,
      offset: from.offset ?? null,
      timestamp: from.timestamp ?? null,
    }));
  }

  async deleteRecords(
    { topic, partition, before }: DeleteRecords,
    { signal }: CallOptions = {},
  ): Promise<{ readonly earliestOffset: number }> {
    const path = `${topicPath(topic)}/partitions/${partition}/records?before=${before}`;
    const answer: { earliest_offset: number } = await this.#rest.ask({ method: 'DELETE', path, signal });
    return { earliestOffset: answer.earliest_offset };
  }

  async cluster({ signal }: CallOptions = {}): Promise<ClusterDescription> {
    const answer: ClusterDocument = await this.#rest.ask({ method: 'GET', path: '/v1/cluster', signal });
    return {
      clusterId: answer.cluster_id,
      controller: answer.controller,
      version: answer.version,
      brokers: answer.brokers.map(broker => ({
        nodeId: broker.node_id,
        grpcAddress: broker.grpc_address,
        httpAddress: broker.http_address,
        rack: broker.rack,
        state: broker.state,
      })),
    };
  }
}

export const topicPath = (name: string): string => `/v1/topics/${encodeURIComponent(name)}`;

function topicSummary(topic: TopicDocument): TopicSummary {
  return {
    name: topic.name,
    topicId: topic.topic_id,
    partitionCount: topic.partition_count,
    replicationFactor: topic.replication_factor,
    internal: topic.internal,
  };
}

function topicDescription(topic: TopicDocument): TopicDescription {
  return {
    ...topicSummary(topic),
    config: topic.config ?? {},
    allConfig: topic.all_config ?? [],
    partitions: (topic.partitions ?? []).map(partitionDescription),
  };
}

const partitionDescription = (from: PartitionDocument): PartitionDescription => ({
  partition: from.partition,
  leader: from.leader,
  leaderEpoch: from.leader_epoch,
  replicas: from.replicas,
  isr: from.isr,
  earliestOffset: from.earliest_offset,
  highWatermark: from.high_watermark,
  lastStableOffset: from.last_stable_offset,
  logEndOffset: from.log_end_offset,
});

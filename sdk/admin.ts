// Topics and the cluster, as a program sees and changes them.
//
// Every call rejects with a SluiceError whose code is the broker's. What only reads is repeated over a lost connection
// until the deadline; what changes something is repeated only when it was certainly not done, else it rejects with
// REQUEST_TIMED_OUT and `outcome: 'unknown'`.

import type { CallOptions } from './producer.ts';

export interface TopicSummary {
  readonly name: string;
  /** A UUID; a topic created again under the same name has another. */
  readonly topicId: string;
  readonly partitionCount: number;
  readonly replicationFactor: number;
  readonly internal: boolean;
}

export interface TopicDescription extends TopicSummary {
  /** Settings of the topic itself. */
  readonly config: Readonly<Record<string, string>>;
  /** Every setting in force; empty unless asked for with `includeDefaults`. */
  readonly allConfig: readonly TopicSetting[];
  readonly partitions: readonly PartitionDescription[];
}

export interface TopicSetting {
  readonly name: string;
  readonly value: string;
  /** `topic`, `broker` (its topic defaults) or `default`. */
  readonly source: string;
}

export interface PartitionDescription {
  readonly partition: number;
  /** Node id; -1 while there is none. */
  readonly leader: number;
  readonly leaderEpoch: number;
  readonly replicas: readonly number[];
  readonly isr: readonly number[];
  readonly earliestOffset: number;
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  readonly logEndOffset: number;
}

export interface PartitionOffsets {
  readonly partition: number;
  readonly earliestOffset: number;
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  /** The first record at or after the time asked for; null where there is none, or no time was asked for. */
  readonly offset: number | null;
  readonly timestamp: number | null;
}

export interface BrokerDescription {
  readonly nodeId: number;
  readonly grpcAddress: string;
  readonly httpAddress: string;
  readonly rack: string;
  readonly state: string;
}

export interface ClusterDescription {
  readonly clusterId: string;
  readonly controller: number;
  readonly version: string;
  readonly brokers: readonly BrokerDescription[];
}

/** A setting's value; numbers and booleans are written as their text. */
export type SettingValue = string | number | boolean;

export interface CreateTopic {
  readonly name: string;
  /** Default 1. */
  readonly partitionCount?: number | undefined;
  /** Default 1. */
  readonly replicationFactor?: number | undefined;
  readonly config?: Readonly<Record<string, SettingValue>> | undefined;
}

export interface AlterTopic {
  readonly name: string;
  /** The new count; it only grows. */
  readonly partitionCount?: number | undefined;
  /** Null deletes a setting. */
  readonly config?: Readonly<Record<string, SettingValue | null>> | undefined;
}

export interface DeleteRecords {
  readonly topic: string;
  readonly partition: number;
  /** The first offset to keep; at most the high watermark. */
  readonly before: number;
}

export interface ListTopicsOptions extends CallOptions {
  readonly prefix?: string;
  /** Internal topics too. Default false. */
  readonly internal?: boolean;
}

export interface DescribeTopicOptions extends CallOptions {
  readonly includeDefaults?: boolean;
}

export interface ListOffsetsOptions extends CallOptions {
  /** Milliseconds since 1970: also the first record at or after it. */
  readonly timestamp?: number | undefined;
}

export interface Admin {
  createTopic(topic: CreateTopic, options?: CallOptions): Promise<TopicDescription>;
  /** All of them, by name. */
  listTopics(options?: ListTopicsOptions): Promise<readonly TopicSummary[]>;
  describeTopic(name: string, options?: DescribeTopicOptions): Promise<TopicDescription>;
  alterTopic(change: AlterTopic, options?: CallOptions): Promise<TopicDescription>;
  deleteTopic(name: string, options?: CallOptions): Promise<void>;
  listOffsets(topic: string, options?: ListOffsetsOptions): Promise<readonly PartitionOffsets[]>;
  /**
   * Deletes the records of a partition below an offset, for good. Answers the earliest offset as it is then: the one asked for,
   * or a later one that was in force already.
   */
  deleteRecords(deletion: DeleteRecords, options?: CallOptions): Promise<{ readonly earliestOffset: number }>;
  cluster(options?: CallOptions): Promise<ClusterDescription>;
}

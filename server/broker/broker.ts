// The one interface below all doors: produce, fetch, topics. Facades decode, authenticate and render; everything else is
// behind this file. Nothing here says where a partition lives: a broker may be local, remote, or another system.
//
// Refusals are values (`Result`). A promise of this interface never rejects for anything that a client did.

import type { Facts, Result } from '@sluice/protocol/errors';
import type { LeaderEpoch, NodeId, Offset, TopicId } from '@sluice/protocol/ids';
import type { ConfigEntry } from '../base/topic-config.ts';
import type { Groups } from './groups.ts';

/** `all`: durable as the topic's flush mode says. `leader`: accepted, before the sync. `none`: nobody waits for the answer. */
export type Acks = 'all' | 'leader' | 'none';

export type Isolation = 'read_uncommitted' | 'read_committed';

export interface ProduceRequest {
  readonly topic: string;
  readonly partition: number;
  /** One or more whole record batches (version 2). The broker owns the memory from here on and stamps it. */
  readonly batches: Uint8Array;
  readonly acks: Acks;
  readonly timeoutMs: number;
  /** Written only where the partition ends here. */
  readonly expectedOffset?: Offset | undefined;
}

export interface ProduceAck {
  readonly baseOffset: Offset;
  readonly count: number;
  /** The append time on topics with LogAppendTime, else the largest timestamp of the request. */
  readonly timestampMs: number;
}

export type ProduceCode =
  | 'TOPIC_NOT_FOUND'
  | 'PARTITION_NOT_FOUND'
  | 'INVALID_REQUEST'
  | 'INVALID_TIMESTAMP'
  | 'CORRUPT_BATCH'
  | 'UNSUPPORTED_COMPRESSION'
  | 'RECORD_TOO_LARGE'
  | 'FORBIDDEN'
  | 'THROTTLED'
  | 'STORAGE_FAILED'
  | 'DISK_FULL'
  | 'NOT_LEADER'
  | 'NOT_ENOUGH_REPLICAS'
  | 'SHUTTING_DOWN'
  | 'REQUEST_TIMED_OUT'
  | 'PRODUCER_FENCED'
  | 'OUT_OF_ORDER_SEQUENCE'
  | 'DUPLICATE_SEQUENCE'
  | 'UNKNOWN_PRODUCER_ID'
  | 'EXPECTED_OFFSET_MISMATCH'
  | 'INTERNAL';

/** Of an idempotent producer: who signs its batches. */
export interface ProducerIdentity {
  readonly producerId: number;
  readonly producerEpoch: number;
}

export type InitProducerCode =
  | 'THROTTLED'
  | 'COORDINATOR_LOADING'
  | 'NOT_LEADER'
  | 'REQUEST_TIMED_OUT'
  | 'STORAGE_FAILED'
  | 'DISK_FULL'
  | 'SHUTTING_DOWN'
  | 'INTERNAL';

export interface FetchPosition {
  readonly partition: number;
  readonly offset: Offset;
}

export interface FetchRequest {
  readonly topic: string;
  readonly positions: readonly FetchPosition[];
  /** Together for all positions; one batch is always given. */
  readonly bytesMax: number;
  readonly isolation: Isolation;
  /** How long to wait while no position has anything. 0 answers at once. */
  readonly waitMs: number;
  /** Ends the wait early; the answer is then what is there (nothing). */
  readonly signal?: AbortSignal | undefined;
}

/** What one position got, in the order of the request. Whole batches: the first may begin below the offset asked for. */
export interface FetchedPartition {
  readonly partition: number;
  readonly batches: readonly Uint8Array[];
  /** The offset after the last batch; the offset asked for when there is none. */
  readonly nextOffset: Offset;
  readonly earliestOffset: Offset;
  readonly highWatermark: Offset;
  readonly lastStableOffset: Offset;
}

export type FetchCode =
  | 'TOPIC_NOT_FOUND'
  | 'PARTITION_NOT_FOUND'
  | 'OFFSET_OUT_OF_RANGE'
  | 'PARTITION_DAMAGED'
  | 'STORAGE_FAILED'
  | 'NOT_LEADER'
  | 'SHUTTING_DOWN'
  | 'INTERNAL';

/** A refusal of one position carries `partition` in its facts and refuses the whole request. */
export type FetchResult = Result<readonly FetchedPartition[], FetchCode>;

export interface PartitionDescription {
  readonly partition: number;
  readonly leader: NodeId;
  readonly leaderEpoch: LeaderEpoch;
  readonly replicas: readonly NodeId[];
  readonly isr: readonly NodeId[];
  readonly earliestOffset: Offset;
  readonly highWatermark: Offset;
  readonly lastStableOffset: Offset;
  readonly logEndOffset: Offset;
}

/** Who leads a partition, as far as this node knows; -1 while there is nobody. */
export interface LeaderView {
  readonly partition: number;
  readonly leader: number;
  readonly leaderEpoch: LeaderEpoch;
}

/** What every node knows of a topic without asking anybody. Replaced, never changed. */
export interface TopicView {
  readonly name: string;
  readonly id: TopicId;
  readonly partitionCount: number;
  readonly replicationFactor: number;
  readonly internal: boolean;
  /** Largest batch in bytes, header included, as sent (max.message.bytes). */
  readonly batchBytesMax: number;
  /** Of each key the newest record is kept, so every record needs one (cleanup.policy). */
  readonly isCompacted: boolean;
  /** Settings of the topic itself, in the spelling in which they read back. */
  readonly config: Readonly<Record<string, string>>;
}

export interface TopicDescription extends TopicView {
  readonly partitions: readonly PartitionDescription[];
  /** Every setting in force with its source. */
  readonly allConfig: readonly ConfigEntry[];
}

export interface CreateTopicRequest {
  readonly name: string;
  readonly partitionCount?: number | undefined;
  readonly replicationFactor?: number | undefined;
  readonly config?: Readonly<Record<string, string>> | undefined;
}

export interface AlterTopicRequest {
  readonly name: string;
  readonly partitionCount?: number | undefined;
  /** null deletes a setting. */
  readonly config?: Readonly<Record<string, string | null>> | undefined;
}

export interface ListTopicsRequest {
  readonly prefix: string;
  readonly internal: boolean;
  readonly limit: number;
  readonly after: string | null;
}

export interface TopicPage {
  readonly topics: readonly TopicView[];
  /** The name to continue after, or null when this was the last page. */
  readonly nextAfter: string | null;
}

export type CreateTopicCode =
  | 'INVALID_REQUEST'
  | 'INVALID_TOPIC_NAME'
  | 'INVALID_CONFIG'
  | 'INVALID_PARTITION_COUNT'
  | 'INVALID_REPLICATION_FACTOR'
  | 'TOPIC_NOT_FOUND'
  | 'TOPIC_EXISTS'
  | 'NOT_ENOUGH_REPLICAS'
  | ControllerFailure;
export type AlterTopicCode =
  | 'TOPIC_NOT_FOUND'
  | 'INVALID_CONFIG'
  | 'INVALID_PARTITION_COUNT'
  | 'INVALID_REPLICATION_FACTOR'
  | 'FORBIDDEN'
  | 'NOT_ENOUGH_REPLICAS'
  | ControllerFailure;
export type DeleteTopicCode = 'TOPIC_NOT_FOUND' | 'FORBIDDEN' | ControllerFailure;
type AdminFailure = 'STORAGE_FAILED' | 'DISK_FULL' | 'SHUTTING_DOWN' | 'INTERNAL';
/** Changes of topics are decided and committed by the controller. */
type ControllerFailure = AdminFailure | 'THROTTLED' | 'COORDINATOR_LOADING' | 'NOT_LEADER' | 'REQUEST_TIMED_OUT';

/** Which record a timestamp or a count from the end leads to. */
export type OffsetQuery =
  | { readonly kind: 'none' }
  | { readonly kind: 'timestamp'; readonly timestampMs: number }
  /** `count` records before the high watermark (by offset), not below the log start. */
  | { readonly kind: 'tail'; readonly count: number };

export interface ListOffsetsRequest {
  readonly topic: string;
  /** Absent: all partitions. */
  readonly partitions?: readonly number[] | undefined;
  readonly query: OffsetQuery;
}

export interface PartitionOffsets {
  readonly partition: number;
  readonly earliestOffset: Offset;
  readonly highWatermark: Offset;
  readonly lastStableOffset: Offset;
  /** Null where no record matches (a timestamp after the last record). */
  readonly found: { readonly offset: Offset; readonly timestampMs: number } | null;
}

export type ListOffsetsCode = FetchCode;

export interface DeleteRecordsRequest {
  readonly topic: string;
  readonly partition: number;
  /** The first offset to keep; at most the high watermark. */
  readonly beforeOffset: Offset;
}

export interface DeletedRecords {
  /** The log start as it is now: the offset asked for, or a later one that was in force already. */
  readonly earliestOffset: Offset;
}

export type DeleteRecordsCode =
  | 'TOPIC_NOT_FOUND'
  | 'PARTITION_NOT_FOUND'
  | 'FORBIDDEN'
  | 'OFFSET_OUT_OF_RANGE'
  | 'PARTITION_DAMAGED'
  | 'NOT_LEADER'
  | AdminFailure;

export interface BrokerView {
  readonly nodeId: NodeId;
  readonly rack: string;
  /** Fenced: it is not heard of, or not ready. */
  readonly state: 'running' | 'draining' | 'fenced';
  readonly httpAddress: string;
  readonly grpcAddress: string;
}

export interface ClusterView {
  readonly clusterId: string;
  readonly controller: NodeId;
  readonly version: string;
  readonly brokers: readonly BrokerView[];
}

export interface Broker {
  produce(request: ProduceRequest): Promise<Result<ProduceAck, ProduceCode>>;
  /** An identity that nobody else has. */
  initProducer(): Promise<Result<ProducerIdentity, InitProducerCode>>;
  fetch(request: FetchRequest): Promise<FetchResult>;
  listOffsets(request: ListOffsetsRequest): Promise<Result<readonly PartitionOffsets[], ListOffsetsCode>>;

  /** From the node's copy of the metadata: no waiting. */
  findTopic(name: string): TopicView | null;
  listTopics(request: ListTopicsRequest): TopicPage;
  /** The same for who leads its partitions, in their order. */
  leaders(topic: string): readonly LeaderView[] | null;
  describeTopic(name: string): Promise<Result<TopicDescription, 'TOPIC_NOT_FOUND' | 'SHUTTING_DOWN'>>;
  createTopic(request: CreateTopicRequest): Promise<Result<TopicDescription, CreateTopicCode>>;
  alterTopic(request: AlterTopicRequest): Promise<Result<TopicDescription, AlterTopicCode>>;
  deleteTopic(name: string): Promise<Result<null, DeleteTopicCode>>;
  /** Moves the log start of a partition up; durable when it answers. Nothing at or above the high watermark is deleted. */
  deleteRecords(request: DeleteRecordsRequest): Promise<Result<DeletedRecords, DeleteRecordsCode>>;

  readonly groups: Groups;

  cluster(): ClusterView;
  /** Calls `listener` after every change of topics or leaders, until the returned function is called. */
  watchMetadata(listener: () => void): () => void;
  /** What keeps the broker from serving everything, in words; empty when it is ready. */
  notReady(): readonly string[];
}

/** Facts that every door adds nothing to; kept here so that all of them spell the same. */
export const offsetRangeFacts = (earliestOffset: Offset, highWatermark: Offset): Facts => ({
  earliest_offset: earliestOffset,
  high_watermark: highWatermark,
});

// What can be asked of the node that leads partitions: of this one (local-partitions.ts) or, in the same words, of another one over the
// peer link (remote-partitions.ts).
//
// Partitions are named by the topic's id, so that a name that was given to another topic meanwhile is no mistake. A node that does not
// lead answers NOT_LEADER, with nothing done, and never asks a third one.

import type { Result } from '@sluice/protocol/errors';
import type { LeaderEpoch, NodeId, Offset, TopicId } from '@sluice/protocol/ids';
import type {
  Acks,
  DeletedRecords,
  DeleteRecordsCode,
  FetchPosition,
  FetchResult,
  Isolation,
  ListOffsetsCode,
  OffsetQuery,
  PartitionOffsets,
} from './broker.ts';
import type { ProduceResult } from './parked-answers.ts';

export interface PartitionProduce {
  readonly topicId: TopicId;
  readonly partition: number;
  readonly batches: Uint8Array;
  readonly acks: Acks;
  readonly timeoutMs: number;
}

export interface PartitionFetch {
  readonly topicId: TopicId;
  readonly positions: readonly FetchPosition[];
  readonly bytesMax: number;
  readonly isolation: Isolation;
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface PartitionOffsetsQuery {
  readonly topicId: TopicId;
  readonly partitions: readonly number[];
  readonly query: OffsetQuery;
}

export interface PartitionStandings {
  readonly topicId: TopicId;
  readonly partitions: readonly number[];
}

/** What only the leader knows of a partition. */
export interface PartitionStanding {
  readonly partition: number;
  readonly leaderEpoch: LeaderEpoch;
  readonly isr: readonly NodeId[];
  readonly earliestOffset: Offset;
  readonly highWatermark: Offset;
  readonly logEndOffset: Offset;
}

export interface PartitionDeletion {
  readonly topicId: TopicId;
  readonly partition: number;
  readonly beforeOffset: Offset;
}

export interface PartitionService {
  produce(request: PartitionProduce): Promise<ProduceResult>;
  fetch(request: PartitionFetch): Promise<FetchResult>;
  listOffsets(request: PartitionOffsetsQuery): Promise<Result<readonly PartitionOffsets[], ListOffsetsCode>>;
  standings(request: PartitionStandings): Promise<Result<readonly PartitionStanding[], ListOffsetsCode>>;
  deleteRecords(request: PartitionDeletion): Promise<Result<DeletedRecords, DeleteRecordsCode>>;
}

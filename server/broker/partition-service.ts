// What can be asked of the node that leads partitions: of this one (local-partitions.ts) or, in the same words, of another one over the
// peer link (remote-partitions.ts).
//
// Partitions are named by the topic's id, so that a name that was given to another topic meanwhile is no mistake. A node that does not
// lead answers NOT_LEADER, with nothing done, and never asks a third one.

import { type Problem, refused, type Result } from '@sluice/protocol/errors';
import type { LeaderEpoch, NodeId, Offset, TopicId } from '@sluice/protocol/ids';
import type {
  DeletedRecords,
  DeleteRecordsCode,
  FetchRequest,
  FetchResult,
  ListOffsetsCode,
  OffsetQuery,
  PartitionOffsets,
  ProduceRequest,
} from './broker.ts';
import type { ProduceResult } from './parked-answers.ts';

export interface PartitionProduce extends Omit<ProduceRequest, 'topic'> {
  readonly topicId: TopicId;
}

export interface PartitionFetch extends Omit<FetchRequest, 'topic'> {
  readonly topicId: TopicId;
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
  /** Below it every replica has everything; releases before compaction do not say it. */
  readonly heldByAll?: Offset;
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

type Refusal<C extends 'NOT_LEADER' | 'SHUTTING_DOWN'> = { readonly ok: false; readonly problem: Problem<C> };

/** Nothing was done. */
export const notLeader = (partition: number): Refusal<'NOT_LEADER'> =>
  refused('NOT_LEADER', `no broker is known to lead partition ${partition} now`, { partition });

export const stopping = (): Refusal<'SHUTTING_DOWN'> => refused('SHUTTING_DOWN', 'the broker is stopping');

// What replicas of a group tell each other. A tagged union; every message says who, in which term, and of which recovery.
//
// Two ways lead to a peer, and what goes by which is the driver's: batches and snapshots by the bulk way, all else by the
// control way. An `append` always takes the bulk way, also an empty one: one that overtakes the batches before it looks
// like a loss.

import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import type { Position } from '../base/position.ts';
import type { ConfigurationAt } from './configuration-history.ts';
import type { Configuration } from './configuration.ts';
import type { ReplicaId } from './replica-id.ts';

export interface Envelope {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  readonly term: LeaderEpoch;
  /** Raised by each forced election; see raft-group.ts. */
  readonly recovery: number;
}

interface BatchPlace {
  /** Ends are above bases, but for an epoch start, which spans no offset. */
  readonly baseOffset: Offset;
  readonly endOffset: Offset;
  readonly epoch: LeaderEpoch;
  readonly byteLength: number;
  /** Opaque here. */
  readonly bytes: unknown;
}

export type Batch =
  | (BatchPlace & { readonly kind: 'data' })
  /** Holds nothing, and any part of it stands for itself: `bytes` may begin before `baseOffset`. */
  | (BatchPlace & { readonly kind: 'gap' })
  | (BatchPlace & { readonly kind: 'epoch-start' })
  | (BatchPlace & { readonly kind: 'configuration'; readonly configuration: Configuration });

/** Would you vote for me in `term`? Changes nothing at either side. `position`: how far the sender is durable. */
export interface PreVote extends Envelope {
  readonly kind: 'pre-vote';
  readonly position: Position;
}

/** `isTransfer`: the leader itself asked for this election, so that having heard it is no reason to refuse. */
export interface Vote extends Envelope {
  readonly kind: 'vote';
  readonly position: Position;
  readonly isTransfer: boolean;
}

/**
 * 'if-all' is the yes of a replica that may have lost what it acknowledged: it counts only where every voter says yes.
 * A yes to a pre-vote carries the term that was asked for, a no the sender's own.
 */
export type Answer = 'yes' | 'if-all' | 'no';

export interface PreVoteAnswer extends Envelope {
  readonly kind: 'pre-vote-answer';
  readonly answer: Answer;
}

export interface VoteAnswer extends Envelope {
  readonly kind: 'vote-answer';
  readonly answer: Answer;
}

/**
 * Batches that follow `prev` in the leader's log. Under whom the offsets between them lie, gaps included, is told by
 * prev's epoch and the epoch starts among the batches: starts survive compaction, so none is missing.
 */
export interface Append extends Envelope {
  readonly kind: 'append';
  readonly prev: Position;
  readonly batches: readonly Batch[];
  readonly commit: Position;
  readonly logStart: Offset;
}

/** Everything up to the position is the leader's log and durable here. */
export interface AppendMatched extends Envelope {
  readonly kind: 'append-matched';
  readonly position: Position;
  /** The sender's own commit point. */
  readonly commit: Position;
}

/** `prev` is not held; `hint` is the last own position before it. */
export interface AppendRejected extends Envelope {
  readonly kind: 'append-rejected';
  readonly prev: Position;
  readonly hint: Position;
  /** What was acknowledged may be gone (see 'recovering'), so that even a rejection below it counts. */
  readonly mayHaveLost: boolean;
}

/** `commit` is at most what the follower acknowledged in this term. `isLast`: the sender goes quiet. */
export interface Heartbeat extends Envelope {
  readonly kind: 'heartbeat';
  readonly commit: Position;
  readonly readRound: number;
  readonly isLast: boolean;
}

export interface HeartbeatAnswer extends Envelope {
  readonly kind: 'heartbeat-answer';
  /** The sender's own commit point. */
  readonly commit: Position;
  readonly readRound: number;
}

/** A snapshot has arrived whole and lies beside the follower's log; answered as an append that reaches to its base. */
export interface Snapshot extends Envelope {
  readonly kind: 'snapshot';
  readonly base: Position;
  readonly logStart: Offset;
  /** The last committed one; its position may lie above the base. */
  readonly configuration: ConfigurationAt;
}

/** Campaign now: the leader hands over, and with it what it would have told next. `commit` as in a heartbeat. */
export interface Transfer extends Envelope {
  readonly kind: 'transfer';
  readonly commit: Position;
  readonly logStart: Offset;
}

/** The answer to who speaks in a lower term or of a lower recovery number; both are in the envelope. */
export interface Outdated extends Envelope {
  readonly kind: 'outdated';
}

export type Message =
  | PreVote
  | Vote
  | PreVoteAnswer
  | VoteAnswer
  | Append
  | AppendMatched
  | AppendRejected
  | Heartbeat
  | HeartbeatAnswer
  | Snapshot
  | Transfer
  | Outdated;

export const positionOfBatch = (batch: Batch): Position => ({ epoch: batch.epoch, offset: batch.endOffset });

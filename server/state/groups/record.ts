// What can be said of consumer groups: one record a fact, decided by a command and replayed in order. A record says everything of
// what its key names, and without a value that it is no more; so of several records with one key only the last one counts, and the
// log can be compacted by key. How they become bytes is in record-codec.ts; what they do to the state is in groups-state.ts.
//
//   head      group                     its epoch, and since when it is empty
//   topics    group                     the topics that the target was made of
//   member    group, member             who it is and what it subscribes to
//   target    group, member             what it should have
//   holding   group, member             what it was told last: assigned, revoking
//   offset    group, topic, partition   a committed position

import type { Offset, TopicId } from '@sluice/protocol/ids';
import type { GivenPartitions, PartitionSet } from './partition-set.ts';

/** Ways to make a target, in the order in which they are preferred where as many members ask for each. */
export const assignorNames = ['uniform', 'range', 'round-robin'] as const;

export type AssignorName = (typeof assignorNames)[number];

export const isAssignorName = (text: string): text is AssignorName =>
  (assignorNames as readonly string[]).includes(text);

export interface GroupHead {
  /** Grows with each new target. */
  readonly epoch: number;
  readonly assignor: AssignorName;
  /** By the coordinator's clock; null while there are members, and where there never were any. */
  readonly emptySinceMs: number | null;
}

export interface SubscribedTopic {
  readonly topicId: TopicId;
  readonly partitionCount: number;
}

export interface GroupTopics {
  /** Of the image that the topics were looked up in. */
  readonly metadataVersion: number;
  /** In the order of their names. */
  readonly topics: readonly SubscribedTopic[];
}

export interface Subscription {
  /** Static membership: who comes with the same one takes this member's place. */
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly rack: string;
  /** Names, ascending, without repeats; empty where there is a pattern. */
  readonly topics: readonly string[];
  readonly topicPattern: string | null;
  /** Where to begin in a partition without a committed position. */
  readonly from: 'earliest' | 'latest';
  readonly sessionTimeoutMs: number;
  /** How long it may take to give back what it is asked for. */
  readonly rebalanceTimeoutMs: number;
  /** The one it asks for; null: any. */
  readonly assignor: AssignorName | null;
  /** Whose place it took. */
  readonly replacedMemberId: string | null;
}

/**
 * `memberEpoch` grows whenever the member is told something else, so that whoever comes with it has heard it. A partition is in
 * one of the two; both belong to this member alone.
 */
export interface Holding {
  readonly memberEpoch: number;
  /** Before the last change; 0: there was none. */
  readonly previousEpoch: number;
  readonly assigned: GivenPartitions;
  /** To be given back. */
  readonly revoking: GivenPartitions;
}

export interface CommittedOffset {
  readonly offset: Offset;
  /** Of the record before the position; null: not said. */
  readonly leaderEpoch: number | null;
  readonly metadata: string;
  readonly committedAtMs: number;
  /** Null: without membership. */
  readonly memberId: string | null;
  /** 0 without membership. */
  readonly memberEpoch: number;
}

interface Of<Kind extends string, Value> {
  readonly kind: Kind;
  readonly groupId: string;
  readonly value: Value | null;
}

export type HeadRecord = Of<'head', GroupHead>;
export type TopicsRecord = Of<'topics', GroupTopics>;
export type MemberRecord = Of<'member', Subscription> & { readonly memberId: string };
export type TargetRecord = Of<'target', PartitionSet> & { readonly memberId: string };
export type HoldingRecord = Of<'holding', Holding> & { readonly memberId: string };
export type OffsetRecord = Of<'offset', CommittedOffset> & { readonly topicId: TopicId; readonly partition: number };

export type GroupRecord = HeadRecord | TopicsRecord | MemberRecord | TargetRecord | HoldingRecord | OffsetRecord;

// Consumer groups, as doors use them: a part of the one interface below all doors (broker.ts). Topics have names here; any node serves any
// group.
//
// Refusals are values. Codes beside those that a call names: THROTTLED, COORDINATOR_LOADING, NOT_LEADER, NOT_ENOUGH_REPLICAS,
// REQUEST_TIMED_OUT, DISK_FULL, STORAGE_FAILED, SHUTTING_DOWN, INTERNAL.

import type { Result } from '@sluice/protocol/errors';
import type { Offset } from '@sluice/protocol/ids';

export const groupAssignors = ['uniform', 'range', 'round-robin'] as const;

export type GroupAssignor = (typeof groupAssignors)[number];

export interface TopicPartitions {
  readonly topic: string;
  /** Ascending. */
  readonly partitions: readonly number[];
}

export interface JoinGroupRequest {
  readonly group: string;
  /** These or a pattern. */
  readonly topics?: readonly string[] | undefined;
  readonly topicPattern?: string | undefined;
  readonly from?: 'earliest' | 'latest' | undefined;
  readonly instanceId?: string | undefined;
  readonly clientId?: string | undefined;
  readonly clientHost?: string | undefined;
  readonly rack?: string | undefined;
  readonly sessionTimeoutMs?: number | undefined;
  readonly rebalanceTimeoutMs?: number | undefined;
  readonly assignor?: GroupAssignor | undefined;
}

/** What a member is told. */
export interface Membership {
  readonly memberId: string;
  /** Goes with everything that the member says from now on. */
  readonly memberEpoch: number;
  readonly heartbeatIntervalMs: number;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  /** Where to begin in a partition without a committed position. */
  readonly from: 'earliest' | 'latest';
  readonly assignment: readonly TopicPartitions[];
  /** To be given back: finish, commit, and send a heartbeat that does not list them. */
  readonly revoking: readonly TopicPartitions[];
}

export interface MemberHeartbeat {
  readonly group: string;
  readonly memberId: string;
  readonly memberEpoch: number;
  /** What it still has; null: what it was told to have, and nothing of what it was asked for. */
  readonly owned: readonly TopicPartitions[] | null;
  /** How long to wait while there is no news; the session is kept alive meanwhile. */
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface GroupPosition {
  readonly topic: string;
  readonly partition: number;
  readonly offset: Offset;
  readonly leaderEpoch?: number | undefined;
  readonly metadata?: string | undefined;
}

export interface CommitGroupRequest {
  readonly group: string;
  /** Absent: without membership, which only a group without members allows. */
  readonly member?: { readonly memberId: string; readonly memberEpoch: number } | undefined;
  readonly offsets: readonly GroupPosition[];
  readonly timeoutMs?: number | undefined;
}

export interface CommittedPosition {
  readonly topic: string;
  readonly partition: number;
  readonly offset: Offset;
  readonly leaderEpoch: number | null;
  readonly metadata: string;
  readonly committedAtMs: number;
}

export type ResetTarget =
  | { readonly kind: 'earliest' | 'latest' }
  | { readonly kind: 'offset'; readonly offset: Offset }
  | { readonly kind: 'timestamp'; readonly timestampMs: number }
  /** Records further, or back; it ends at the ends of the partition. */
  | { readonly kind: 'shift'; readonly by: number };

export interface ResetGroupRequest {
  readonly group: string;
  readonly topic: string;
  /** Absent: all of the topic. */
  readonly partitions?: readonly number[] | undefined;
  readonly to: ResetTarget;
  /** Judged, and nothing done. */
  readonly isDryRun: boolean;
}

export interface ResetPosition {
  readonly topic: string;
  readonly partition: number;
  /** Null: there was none. */
  readonly before: Offset | null;
  readonly after: Offset;
}

/** `reconciling`: members have not got what they should have yet. */
export type GroupStanding = 'empty' | 'stable' | 'reconciling';

export interface GroupSummary {
  readonly group: string;
  readonly state: GroupStanding;
  readonly memberCount: number;
}

export interface ListGroupsRequest {
  readonly prefix: string;
  readonly limit: number;
  readonly after: string | null;
}

export interface GroupPage {
  readonly groups: readonly GroupSummary[];
  /** The name to continue after, or null when this was the last page. */
  readonly nextAfter: string | null;
}

export interface GroupMemberView {
  readonly memberId: string;
  readonly memberEpoch: number;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly rack: string;
  readonly topics: readonly string[];
  readonly topicPattern: string | null;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly assignment: readonly TopicPartitions[];
  readonly revoking: readonly TopicPartitions[];
  readonly target: readonly TopicPartitions[];
}

/** A partition that has a committed position, or a member that has it. */
export interface GroupPartitionView {
  readonly topic: string;
  readonly partition: number;
  readonly offset: Offset | null;
  /** What readers may have, at the time of the answer; null: its leader did not say. */
  readonly logEndOffset: Offset | null;
  /** Null where one of the two is. */
  readonly lag: number | null;
  readonly metadata: string;
  readonly memberId: string | null;
}

export interface GroupView extends GroupSummary {
  readonly epoch: number;
  readonly assignor: GroupAssignor;
  readonly members: readonly GroupMemberView[];
  readonly partitions: readonly GroupPartitionView[];
}

export interface Groups {
  /** Also INVALID_REQUEST, TOPIC_NOT_FOUND. */
  join(request: JoinGroupRequest): Promise<Result<Membership>>;
  /** Also UNKNOWN_MEMBER, FENCED_MEMBER_EPOCH: the member is out, and has to join again. */
  heartbeat(request: MemberHeartbeat): Promise<Result<Membership>>;
  /** Also UNKNOWN_MEMBER, FENCED_MEMBER_EPOCH. */
  leave(request: { readonly group: string; readonly memberId: string }): Promise<Result<null>>;
  /** Also INVALID_REQUEST, TOPIC_NOT_FOUND, PARTITION_NOT_FOUND, UNKNOWN_MEMBER, FENCED_MEMBER_EPOCH, GROUP_NOT_EMPTY. All of it or nothing. */
  commit(request: CommitGroupRequest): Promise<Result<null>>;
  /** Of all partitions, or of those named; a group that is not there has none. Also INVALID_REQUEST. */
  offsets(request: {
    readonly group: string;
    readonly places?: readonly TopicPartitions[] | undefined;
  }): Promise<Result<readonly CommittedPosition[]>>;
  /** Sets positions of a group without members, or of topics that nobody subscribes to: else GROUP_NOT_EMPTY. */
  setOffsets(request: {
    readonly group: string;
    readonly offsets: readonly GroupPosition[];
    readonly isDryRun: boolean;
  }): Promise<Result<readonly ResetPosition[]>>;
  /** The same for one topic, by where its records are; also OFFSET_OUT_OF_RANGE. */
  reset(request: ResetGroupRequest): Promise<Result<readonly ResetPosition[]>>;
  list(request: ListGroupsRequest): Promise<Result<GroupPage>>;
  /** Also GROUP_NOT_FOUND. */
  describe(group: string): Promise<Result<GroupView>>;
  /** Also GROUP_NOT_FOUND, GROUP_NOT_EMPTY. */
  delete(group: string): Promise<Result<null>>;
}

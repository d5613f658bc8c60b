// Consumer groups, as a program looks at them and changes them from outside.
//
// Every call rejects with a SluiceError whose code is the broker's. All of them may be repeated over a lost connection: doing one twice is the
// same as doing it once, but a group that was deleted may have been made again meanwhile, so deleting is not.

import type { CallOptions } from './producer.ts';

export interface TopicPartitions {
  readonly topic: string;
  readonly partitions: readonly number[];
}

export interface GroupSummary {
  readonly group: string;
  /** `empty`, `stable` or `reconciling`: members have not got what they should have yet. */
  readonly state: string;
  readonly memberCount: number;
}

export interface GroupMember {
  readonly memberId: string;
  readonly memberEpoch: number;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly rack: string;
  readonly topics: readonly string[];
  readonly topicPattern: string | null;
  readonly assignment: readonly TopicPartitions[];
  /** Asked for, and not given back yet. */
  readonly revoking: readonly TopicPartitions[];
  readonly target: readonly TopicPartitions[];
}

/** A partition with a committed position, or with a member that has it. */
export interface GroupPartition {
  readonly topic: string;
  readonly partition: number;
  /** Null: nothing is committed. */
  readonly offset: number | null;
  /** Null: the leader of the partition did not say. */
  readonly logEndOffset: number | null;
  readonly lag: number | null;
  readonly metadata: string;
  readonly memberId: string | null;
}

export interface GroupDescription {
  readonly group: string;
  readonly state: string;
  /** Grows with each new target assignment. */
  readonly epoch: number;
  readonly assignor: string;
  readonly members: readonly GroupMember[];
  readonly partitions: readonly GroupPartition[];
}

export interface GroupOffset {
  readonly topic: string;
  readonly partition: number;
  /** Of the next record to read. */
  readonly offset: number;
  readonly leaderEpoch?: number | undefined;
  readonly metadata?: string | undefined;
}

export type ResetTo =
  | 'earliest'
  | 'latest'
  | { readonly offset: number }
  /** Milliseconds since 1970: the first record at or after it, else the end. */
  | { readonly timestamp: number }
  /** Records further, or back; it ends at the ends of the partition. */
  | { readonly shiftBy: number };

export interface ResetOffsets {
  readonly group: string;
  readonly topic: string;
  /** Default: all of the topic. */
  readonly partitions?: readonly number[] | undefined;
  readonly to: ResetTo;
  /** Says what would be done, and does nothing. */
  readonly dryRun?: boolean | undefined;
}

export interface ResetPosition {
  readonly partition: number;
  /** Null: nothing was committed. */
  readonly before: number | null;
  readonly after: number;
}

export interface Groups {
  /** All of them, by name. */
  list(options?: CallOptions & { readonly prefix?: string }): Promise<readonly GroupSummary[]>;
  describe(group: string, options?: CallOptions): Promise<GroupDescription>;
  /** Only while it has no members. */
  delete(group: string, options?: CallOptions): Promise<void>;
  /** All that are committed. */
  offsets(group: string, options?: CallOptions): Promise<readonly GroupOffset[]>;
  /** Without membership, which only a group without members allows. All or nothing. */
  commit(group: string, offsets: readonly GroupOffset[], options?: CallOptions): Promise<void>;
  /** Only while the group has no members, or for a topic that none of them subscribes to. */
  reset(reset: ResetOffsets, options?: CallOptions): Promise<readonly ResetPosition[]>;
}

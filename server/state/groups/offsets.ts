// Committed positions: by members, without membership, set by hand, read, and forgotten.
//
// A member's commit counts for a partition that it holds, from the member epoch at which it was given on: the epoch may have moved on
// since, and honest members are not thrown out for that. All of a request counts, or nothing.
//
// A position does not go back by a commit that is late: what this member committed at the same member epoch, or a later one, stands. Who
// wants to go back sets positions while the group is empty, or reads from where it likes without committing.

import { type Problem, refused } from '@sluice/protocol/errors';
import { isOffset, type Offset, type TopicId } from '@sluice/protocol/ids';
import {
  GROUPS_PER_COORDINATOR_MAX,
  OFFSET_METADATA_CHARS_MAX,
  OFFSET_METADATA_CHARS_SUM_MAX,
  OFFSETS_PER_COORDINATOR_MAX,
  OFFSETS_PER_REQUEST_MAX,
} from '../../base/limits.ts';
import type { ClusterImage } from '../cluster/image.ts';
import { type Decided, decided } from '../decision.ts';
import { type Group, type GroupsState, type Member, offsetOf } from './groups-state.ts';
import { findMember, type MemberCode } from './membership.ts';
import { givenAt } from './partition-set.ts';
import type { CommittedOffset, GroupRecord } from './record.ts';
import { groupIdFault } from './subscription.ts';

export interface OffsetToCommit {
  readonly topicId: TopicId;
  readonly partition: number;
  readonly offset: Offset;
  readonly leaderEpoch?: number | undefined;
  readonly metadata?: string | undefined;
}

export interface CommitRequest {
  readonly groupId: string;
  /** Absent: without membership, which only a group without members allows. */
  readonly member?: { readonly memberId: string; readonly memberEpoch: number } | undefined;
  readonly offsets: readonly OffsetToCommit[];
}

export interface OffsetContext {
  readonly image: Pick<ClusterImage, 'topics' | 'topicNames'>;
  readonly nowMs: number;
}

type OffsetCode = 'INVALID_REQUEST' | 'TOPIC_NOT_FOUND' | 'PARTITION_NOT_FOUND' | 'THROTTLED';
export type CommitCode = OffsetCode | MemberCode | 'GROUP_NOT_EMPTY';

const placeFacts = (groupId: string, { topicId, partition }: Pick<OffsetToCommit, 'topicId' | 'partition'>) => ({
  group: groupId,
  topic_id: topicId,
  partition,
});

const formFault = (groupId: string, offsets: readonly OffsetToCommit[]): string | null => {
  const fault = groupIdFault(groupId);
  if (fault !== null) return fault;
  if (offsets.length > OFFSETS_PER_REQUEST_MAX) {
    return `at most ${OFFSETS_PER_REQUEST_MAX} positions are committed at once`;
  }
  let chars = 0;
  for (const { offset, leaderEpoch, metadata = '' } of offsets) {
    if (!isOffset(offset)) return `${String(offset)} is no offset`;
    if (leaderEpoch !== undefined && !isEpoch(leaderEpoch)) return `${leaderEpoch} is no leader epoch`;
    if (metadata.length > OFFSET_METADATA_CHARS_MAX) {
      return `the text beside a position has at most ${OFFSET_METADATA_CHARS_MAX} characters`;
    }
    chars += metadata.length;
  }
  return chars > OFFSET_METADATA_CHARS_SUM_MAX
    ? `the texts beside the positions of one request have at most ${OFFSET_METADATA_CHARS_SUM_MAX} characters`
    : null;
};

const isEpoch = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= 0x7fffffff;

type Refusal<C extends CommitCode> = { readonly ok: false; readonly problem: Problem<C> };

const placeFault = (
  { groupId, offsets }: CommitRequest,
  context: OffsetContext,
): Refusal<'TOPIC_NOT_FOUND' | 'PARTITION_NOT_FOUND'> | null => {
  for (const each of offsets) {
    const name = context.image.topicNames.get(each.topicId);
    const topic = name === undefined ? undefined : context.image.topics.get(name);
    const facts = placeFacts(groupId, each);
    if (topic === undefined) return refused('TOPIC_NOT_FOUND', 'the topic of a position is not there', facts);
    const count = topic.partitions.length;
    if (each.partition < 0 || each.partition >= count || !Number.isInteger(each.partition)) {
      const detail = `topic "${topic.name}" has partitions 0 to ${count - 1}, not ${each.partition}`;
      return refused('PARTITION_NOT_FOUND', detail, { ...facts, partition_count: count });
    }
  }
  return null;
};

const roomFault = (state: GroupsState, group: Group | undefined, offsets: readonly OffsetToCommit[]) => {
  if (group === undefined && state.groups.size >= GROUPS_PER_COORDINATOR_MAX) {
    return refused('THROTTLED', `this coordinator has ${GROUPS_PER_COORDINATOR_MAX} groups already`);
  }
  let added = 0;
  for (const { topicId, partition } of offsets) {
    if (group === undefined || offsetOf(group, topicId, partition) === undefined) added++;
  }
  return added > 0 && state.offsetCount + added > OFFSETS_PER_COORDINATOR_MAX
    ? refused('THROTTLED', `this coordinator keeps ${OFFSETS_PER_COORDINATOR_MAX} positions already`)
    : null;
};

/** Why this member may not say so of this partition. */
const ownershipFault = (group: Group, member: Member, epoch: number, each: OffsetToCommit) => {
  const { topicId, partition } = each;
  const { assigned, revoking, memberEpoch } = member.holding;
  const givenEpoch = givenAt(assigned, topicId, partition) ?? givenAt(revoking, topicId, partition);
  const facts = { ...placeFacts(group.groupId, each), member_id: member.memberId, member_epoch: memberEpoch };
  if (givenEpoch === undefined) {
    return refused('FENCED_MEMBER_EPOCH', `partition ${partition} of a topic is not assigned to this member`, facts);
  }
  if (epoch < givenEpoch || epoch > memberEpoch) {
    const detail = `partition ${partition} was given to this member at epoch ${givenEpoch}, and it is at ${memberEpoch} now, not ${epoch}`;
    return refused('FENCED_MEMBER_EPOCH', detail, facts);
  }
  const before = offsetOf(group, topicId, partition);
  if (before === undefined || before.memberId !== member.memberId || epoch > before.memberEpoch) return null;
  if (each.offset >= before.offset) return null;
  const detail = `position ${each.offset} of partition ${partition} lies before ${before.offset}, which this member committed already`;
  return refused('INVALID_REQUEST', detail, { ...facts, committed_offset: before.offset });
};

export const commitOffsets = (
  state: GroupsState,
  request: CommitRequest,
  context: OffsetContext,
): Decided<GroupRecord, null, CommitCode> => {
  const { groupId, member, offsets } = request;
  const fault = formFault(groupId, offsets);
  if (fault !== null) return refused('INVALID_REQUEST', fault, { group: groupId });
  const group = state.groups.get(groupId);
  if (member === undefined) {
    if (group !== undefined && group.members.size > 0) return notEmpty(group);
  } else {
    const known = findMember(state, { groupId, memberId: member.memberId });
    if (!known.ok) return known;
    for (const each of offsets) {
      const stranger = ownershipFault(known.value.group, known.value.member, member.memberEpoch, each);
      if (stranger !== null) return stranger;
    }
  }
  const misplaced = placeFault(request, context) ?? roomFault(state, group, offsets);
  if (misplaced !== null) return misplaced;
  const committer = member ?? { memberId: null, memberEpoch: 0 };
  return decided([...headOf(group, groupId), ...offsetRecords(request, committer, context.nowMs)], null);
};

/** A group that only has positions is a group all the same: it is listed, described and deleted. */
const headOf = (group: Group | undefined, groupId: string): readonly GroupRecord[] =>
  group === undefined ? [{ kind: 'head', groupId, value: { epoch: 0, assignor: 'uniform', emptySinceMs: null } }] : [];

const offsetRecords = (
  { groupId, offsets }: Pick<CommitRequest, 'groupId' | 'offsets'>,
  committer: Pick<CommittedOffset, 'memberId' | 'memberEpoch'>,
  committedAtMs: number,
): readonly GroupRecord[] =>
  offsets.map(
    ({ topicId, partition, offset, leaderEpoch = null, metadata = '' }): GroupRecord => ({
      kind: 'offset',
      groupId,
      topicId,
      partition,
      value: { offset, leaderEpoch, metadata, committedAtMs, ...committer },
    }),
  );

// ---- Set by hand

const notEmpty = ({ groupId, members }: Group) =>
  refused('GROUP_NOT_EMPTY', `group "${groupId}" has ${members.size} members: stop them first`, {
    group: groupId,
    members: members.size,
  });

export interface ResetRequest {
  readonly groupId: string;
  readonly offsets: readonly OffsetToCommit[];
  /** Judged, and nothing done. */
  readonly isDryRun: boolean;
}

export interface ResetOffset {
  readonly topicId: TopicId;
  readonly partition: number;
  readonly before: Offset | null;
  readonly after: Offset;
}

/** Of an empty group, or of topics that none of its members subscribes to. */
export const resetOffsets = (
  state: GroupsState,
  request: ResetRequest,
  context: OffsetContext,
): Decided<GroupRecord, readonly ResetOffset[], OffsetCode | 'GROUP_NOT_EMPTY'> => {
  const { groupId, offsets, isDryRun } = request;
  const fault = formFault(groupId, offsets);
  if (fault !== null) return refused('INVALID_REQUEST', fault, { group: groupId });
  const group = state.groups.get(groupId);
  if (group !== undefined && group.members.size > 0) {
    const busy = offsets.find(each => isInUse(group, each));
    if (busy !== undefined) {
      const name = context.image.topicNames.get(busy.topicId) ?? busy.topicId;
      const detail = `members of group "${groupId}" subscribe to topic "${name}": stop them first`;
      return refused('GROUP_NOT_EMPTY', detail, placeFacts(groupId, busy));
    }
  }
  const misplaced = placeFault(request, context) ?? roomFault(state, group, offsets);
  if (misplaced !== null) return misplaced;
  const answers = offsets.map(({ topicId, partition, offset: after }): ResetOffset => {
    const before = group === undefined ? undefined : offsetOf(group, topicId, partition);
    return { topicId, partition, before: before?.offset ?? null, after };
  });
  if (isDryRun) return decided([], answers);
  const records = offsetRecords(request, { memberId: null, memberEpoch: 0 }, context.nowMs);
  return decided([...headOf(group, groupId), ...records], answers);
};

/** Also what a member still holds of a topic that it is to give back. */
const isInUse = (group: Group, { topicId, partition }: OffsetToCommit): boolean =>
  group.topics.topics.some(topic => topic.topicId === topicId) || group.owners.get(topicId)?.has(partition) === true;

// ---- Read

export interface OffsetPlace {
  readonly topicId: TopicId;
  readonly partition: number;
}

export interface FetchedOffset extends OffsetPlace {
  readonly offset: Offset;
  readonly leaderEpoch: number | null;
  readonly metadata: string;
  readonly committedAtMs: number;
}

/** Those that are there, of all partitions or of some. A group that is not there has none. */
export const fetchOffsets = (
  state: GroupsState,
  request: { readonly groupId: string; readonly places?: readonly OffsetPlace[] | undefined },
): readonly FetchedOffset[] => {
  const group = state.groups.get(request.groupId);
  if (group === undefined) return [];
  const found: FetchedOffset[] = [];
  const take = (topicId: TopicId, partition: number, kept: CommittedOffset | undefined): void => {
    if (kept === undefined) return;
    const { offset, leaderEpoch, metadata, committedAtMs } = kept;
    found.push({ topicId, partition, offset, leaderEpoch, metadata, committedAtMs });
  };
  if (request.places !== undefined) {
    for (const { topicId, partition } of request.places) take(topicId, partition, offsetOf(group, topicId, partition));
    return found;
  }
  for (const [topicId, offsets] of group.offsets)
    for (const [partition, kept] of offsets) take(topicId, partition, kept);
  return found.sort(byPlace);
};

const byPlace = (a: OffsetPlace, b: OffsetPlace): number =>
  a.topicId < b.topicId ? -1 : a.topicId > b.topicId ? 1 : a.partition - b.partition;

// ---- Forgotten

/** In pieces, so that no batch grows without bounds; the group itself goes with the last one. */
export const deleteGroup = (
  state: GroupsState,
  groupId: string,
): Decided<GroupRecord, { readonly isDone: boolean }, 'GROUP_NOT_FOUND' | 'GROUP_NOT_EMPTY'> => {
  const group = state.groups.get(groupId);
  if (group === undefined) return refused('GROUP_NOT_FOUND', `there is no group "${groupId}"`, { group: groupId });
  if (group.members.size > 0) return notEmpty(group);
  const records: GroupRecord[] = [];
  for (const place of placesOf(group)) {
    if (records.length === OFFSETS_PER_REQUEST_MAX) return decided(records, { isDone: false });
    records.push({ kind: 'offset', groupId, ...place, value: null });
  }
  return decided([...records, ...goneGroup(group)], { isDone: true });
};

function* placesOf(group: Group): Generator<OffsetPlace, void> {
  for (const [topicId, offsets] of group.offsets) for (const partition of offsets.keys()) yield { topicId, partition };
}

const goneGroup = ({ groupId, topics }: Group): readonly GroupRecord[] => {
  const records: GroupRecord[] = [{ kind: 'head', groupId, value: null }];
  if (topics.metadataVersion > 0) records.push({ kind: 'topics', groupId, value: null });
  return records;
};

export interface ExpiryRules {
  readonly nowMs: number;
  readonly retentionMs: number;
  /** Positions of topics that the metadata does not know go after this: it may be this node that does not know them yet. */
  readonly unknownTopicMs: number;
  readonly image: Pick<ClusterImage, 'topicNames' | 'deletedTopics'>;
}

/**
 * Positions that nobody will come back for: of deleted topics at once; of a group without members some time after it became empty; where
 * there never were members, some time after the commit. A group without members and positions goes too.
 */
export const expireOffsets = (
  state: GroupsState,
  rules: ExpiryRules,
): Decided<GroupRecord, { readonly isDone: boolean }, never> => {
  const records: GroupRecord[] = [];
  for (const group of state.groups.values()) {
    const { groupId } = group;
    let kept = 0;
    for (const place of placesOf(group)) {
      if (!isExpired(group, place, rules)) kept++;
      else if (records.length >= OFFSETS_PER_REQUEST_MAX) return decided(records, { isDone: false });
      else records.push({ kind: 'offset', groupId, ...place, value: null });
    }
    if (kept === 0 && group.members.size === 0) records.push(...goneGroup(group));
  }
  return decided(records, { isDone: true });
};

const isExpired = (group: Group, { topicId, partition }: OffsetPlace, rules: ExpiryRules): boolean => {
  const { nowMs, retentionMs, unknownTopicMs, image } = rules;
  const committed = offsetOf(group, topicId, partition);
  if (committed === undefined) return false;
  const { committedAtMs } = committed;
  if (image.deletedTopics.has(topicId)) return true;
  if (!image.topicNames.has(topicId) && nowMs - committedAtMs > unknownTopicMs) return true;
  if (group.members.size > 0) return false;
  return nowMs - Math.max(committedAtMs, group.emptySinceMs ?? 0) > retentionMs;
};

// Members come, say that they live and what they own, and go.
//
//   no member          -> join: a new one, with what is free of its target
//   the same member id -> a repeat of a join whose answer was lost: answered again
//   a known instance   -> the new member takes the place of the one that has it, which is fenced
//
// Heartbeats carry the member epoch of the last answer that arrived. The present one moves the member a step towards its target; the previous
// one is a repeat, whose answer was lost, and is answered as before. Every other one is FENCED_MEMBER_EPOCH.

import { type Problem, problem, refused, type Result } from '@sluice/protocol/errors';
import type { TopicId } from '@sluice/protocol/ids';
import { GROUP_HEARTBEAT_MS_MAX, GROUP_MEMBERS_MAX, GROUPS_PER_COORDINATOR_MAX } from '../../base/limits.ts';
import { type Decided, decided } from '../decision.ts';
import type { Group, GroupsState, Member } from './groups-state.ts';
import { givenAt, membershipOf, pairsOf, partitionsOf, type PartitionSet } from './partition-set.ts';
import { type Assignee, type GroupContext, imageBehind, isImageOld, rebalance } from './rebalance.ts';
import { firstHolding, nextHolding } from './reconciliation.ts';
import type { GroupRecord, Holding, Subscription } from './record.ts';
import { isSameSubscription, type JoinRequest, subscriptionOf } from './subscription.ts';

/** What a member is told. */
export interface MemberAnswer {
  readonly memberId: string;
  readonly memberEpoch: number;
  readonly heartbeatIntervalMs: number;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly from: Subscription['from'];
  readonly assigned: PartitionSet;
  /** To be given back: finish, commit, and send a heartbeat that does not list them. */
  readonly revoking: PartitionSet;
}

export const heartbeatIntervalMs = (sessionTimeoutMs: number): number =>
  Math.min(GROUP_HEARTBEAT_MS_MAX, Math.floor(sessionTimeoutMs / 3));

export const answerTo = (memberId: string, subscription: Subscription, holding: Holding): MemberAnswer => ({
  memberId,
  memberEpoch: holding.memberEpoch,
  heartbeatIntervalMs: heartbeatIntervalMs(subscription.sessionTimeoutMs),
  sessionTimeoutMs: subscription.sessionTimeoutMs,
  rebalanceTimeoutMs: subscription.rebalanceTimeoutMs,
  from: subscription.from,
  assigned: partitionsOf(holding.assigned),
  revoking: partitionsOf(holding.revoking),
});

// ---- Who speaks

export type MemberCode = 'UNKNOWN_MEMBER' | 'FENCED_MEMBER_EPOCH';

export interface Speaker {
  readonly groupId: string;
  readonly memberId: string;
}

interface Known {
  readonly group: Group;
  readonly member: Member;
}

const fenced = (detail: string, facts: Problem['facts']) => problem('FENCED_MEMBER_EPOCH', detail, facts);

/** Of a group that is not there any more, too: whoever hears it joins again. */
export const findMember = (state: GroupsState, { groupId, memberId }: Speaker): Result<Known, MemberCode> => {
  const group = state.groups.get(groupId);
  const member = group?.members.get(memberId);
  if (group !== undefined && member !== undefined) return { ok: true, value: { group, member } };
  const facts = { group: groupId, member_id: memberId };
  return group?.replaced.has(memberId) === true
    ? { ok: false, problem: fenced('another client with the same instance id took the place of this member', facts) }
    : refused('UNKNOWN_MEMBER', `group "${groupId}" has no member "${memberId}": it has to join again`, facts);
};

// ---- Joining

export type JoinCode = 'INVALID_REQUEST' | 'TOPIC_NOT_FOUND' | 'THROTTLED' | 'COORDINATOR_LOADING';

const roomFault = (state: GroupsState, group: Group | undefined, groupId: string) => {
  if (group === undefined && state.groups.size >= GROUPS_PER_COORDINATOR_MAX) {
    return refused('THROTTLED', `this coordinator has ${GROUPS_PER_COORDINATOR_MAX} groups already`, {
      group: groupId,
    });
  }
  if (group !== undefined && group.members.size >= GROUP_MEMBERS_MAX) {
    return refused('THROTTLED', `group "${groupId}" has ${GROUP_MEMBERS_MAX} members already`, { group: groupId });
  }
  return null;
};

export const join = (
  state: GroupsState,
  request: JoinRequest,
  context: GroupContext,
): Decided<GroupRecord, MemberAnswer, JoinCode> => {
  const checked = subscriptionOf(request);
  if (!checked.ok) return checked;
  const subscription = checked.value;
  const { groupId, memberId } = request;
  const group = state.groups.get(groupId);
  const repeated = group?.members.get(memberId);
  if (repeated !== undefined) return decided([], answerTo(memberId, repeated.subscription, repeated.holding));
  if (isImageOld(group, context.image)) return imageBehind(groupId);
  for (const topic of subscription.topics) {
    // Whoever misspelled it would wait for ever without hearing why.
    if (!context.image.topics.has(topic)) return refused('TOPIC_NOT_FOUND', `there is no topic "${topic}"`, { topic });
  }
  const former = formerMember(group, subscription.instanceId);
  const fault = former === null ? roomFault(state, group, groupId) : null;
  if (fault !== null) return fault;
  return decidedJoin(group ?? newGroup(groupId), { memberId, subscription, former }, context);
};

/** Before its first record. */
const newGroup = (groupId: string): Group => ({
  groupId,
  epoch: 0,
  assignor: 'uniform',
  emptySinceMs: null,
  topics: { metadataVersion: 0, topics: [] },
  members: new Map(),
  instances: new Map(),
  replaced: new Map(),
  owners: new Map(),
  offsets: new Map(),
});

const formerMember = (group: Group | undefined, instanceId: string | null): Member | null => {
  if (group === undefined || instanceId === null) return null;
  const memberId = group.instances.get(instanceId);
  return memberId === undefined ? null : (group.members.get(memberId) ?? null);
};

interface Joining {
  readonly memberId: string;
  readonly subscription: Subscription;
  readonly former: Member | null;
}

const decidedJoin = (group: Group, joining: Joining, context: GroupContext) => {
  const { memberId, former } = joining;
  const { groupId } = group;
  const subscription = { ...joining.subscription, replacedMemberId: former?.memberId ?? null };
  const records: GroupRecord[] = former === null ? [] : goneRecords(groupId, former.memberId);
  records.push({ kind: 'member', groupId, memberId, value: subscription });
  let target = former?.target ?? new Map();
  if (former === null || !isSameSubscription(former.subscription, subscription)) {
    const members: Assignee[] = [{ memberId, subscription, target }];
    for (const member of group.members.values()) if (member !== former) members.push(member);
    const rebalanced = rebalance(group, members, context);
    target = rebalanced.targets.get(memberId) ?? target;
    records.push(...rebalanced.records.filter(record => record.kind !== 'target' || record.memberId !== memberId));
  }
  const holding = firstHolding(group, former, { memberId, target });
  records.push(
    { kind: 'target', groupId, memberId, value: target },
    { kind: 'holding', groupId, memberId, value: holding },
  );
  return decided<GroupRecord, MemberAnswer>(records, answerTo(memberId, subscription, holding));
};

const goneRecords = (groupId: string, memberId: string): GroupRecord[] => [
  { kind: 'member', groupId, memberId, value: null },
  { kind: 'target', groupId, memberId, value: null },
  { kind: 'holding', groupId, memberId, value: null },
];

// ---- Heartbeats

export interface HeartbeatRequest extends Speaker {
  readonly memberEpoch: number;
  /** What it still has; null: whatever it was told to have, and nothing of what it was asked for. */
  readonly owned: PartitionSet | null;
}

const isWithin = (owned: PartitionSet, { assigned, revoking }: Holding): boolean => {
  for (const pair of pairsOf(owned)) {
    if (givenAt(assigned, ...pair) === undefined && givenAt(revoking, ...pair) === undefined) return false;
  }
  return true;
};

export const heartbeat = (
  state: GroupsState,
  request: HeartbeatRequest,
): Decided<GroupRecord, MemberAnswer, MemberCode> => {
  const known = findMember(state, request);
  if (!known.ok) return known;
  const { group, member } = known.value;
  const { groupId, memberId, memberEpoch, owned } = request;
  const { holding, subscription } = member;
  if (memberEpoch !== holding.memberEpoch) {
    const isRepeat =
      memberEpoch > 0 && memberEpoch === holding.previousEpoch && (owned === null || isWithin(owned, holding));
    if (isRepeat) return decided([], answerTo(memberId, subscription, holding));
    const facts = { group: groupId, member_id: memberId, member_epoch: holding.memberEpoch };
    return { ok: false, problem: fenced(`the member is at epoch ${holding.memberEpoch}, not ${memberEpoch}`, facts) };
  }
  const isOwned = owned === null ? never : membershipOf(owned);
  const next = nextHolding(group, member, isOwned);
  const records: GroupRecord[] = next === holding ? [] : [{ kind: 'holding', groupId, memberId, value: next }];
  return decided(records, answerTo(memberId, subscription, next));
};

const never = (_topicId: TopicId, _partition: number): boolean => false;

// ---- Leaving

/** Everything of these members goes, and the others get a new target. */
export const withoutMembers = (
  group: Group,
  gone: ReadonlySet<string>,
  context: GroupContext,
): readonly GroupRecord[] => {
  const records: GroupRecord[] = [];
  for (const memberId of gone) records.push(...goneRecords(group.groupId, memberId));
  const rest = Array.from(group.members.values()).filter(({ memberId }) => !gone.has(memberId));
  records.push(...rebalance(group, rest, context).records);
  return records;
};

/** For good, also where it has an instance id: a client that means to come back just stays away. */
export const leave = (
  state: GroupsState,
  request: Speaker,
  context: GroupContext,
): Decided<GroupRecord, null, MemberCode | 'COORDINATOR_LOADING'> => {
  const known = findMember(state, request);
  if (!known.ok) return known;
  const { group, member } = known.value;
  if (isImageOld(group, context.image)) return imageBehind(group.groupId);
  return decided(withoutMembers(group, new Set([member.memberId]), context), null);
};

// Which members are out, and which groups have other topics now. Heartbeats are not records: the coordinator's runtime remembers what
// it heard when, and passes those times in. Only the judgement is a record.
//
//   silent for longer than its session time-out                        -> out
//   asked to give partitions back, and longer than its rebalance time-out -> out

import { decided, type Decision } from '../decision.ts';
import { GROUPS_PER_STEP_MAX } from '../../base/limits.ts';
import type { Group, GroupsState, Member } from './groups-state.ts';
import { withoutMembers } from './membership.ts';
import { changedTopics, type GroupContext, isImageOld, rebalance } from './rebalance.ts';
import type { GroupRecord } from './record.ts';

export interface MemberTimes {
  readonly nowMs: number;
  /** When this coordinator began to listen: a fail-over gives everybody the full time. */
  readonly listeningSinceMs: number;
  lastHeardMs(groupId: string, memberId: string): number | undefined;
  /** Since when the member is asked for what it has to give back at this member epoch. */
  revokingSinceMs(member: Member, groupId: string): number | undefined;
}

export interface FencedMember {
  readonly groupId: string;
  readonly memberId: string;
  readonly why: 'session' | 'rebalance';
}

const overdue = (group: Group, member: Member, times: MemberTimes): FencedMember['why'] | null => {
  const { nowMs, listeningSinceMs } = times;
  const { sessionTimeoutMs, rebalanceTimeoutMs } = member.subscription;
  const heardMs = Math.max(times.lastHeardMs(group.groupId, member.memberId) ?? listeningSinceMs, listeningSinceMs);
  if (nowMs - heardMs > sessionTimeoutMs) return 'session';
  if (member.holding.revoking.size === 0) return null;
  const askedMs = Math.max(times.revokingSinceMs(member, group.groupId) ?? listeningSinceMs, listeningSinceMs);
  return nowMs - askedMs > rebalanceTimeoutMs ? 'rebalance' : null;
};

/** Who is overdue, of all groups, without a decision yet: what a tick looks at. */
export const overdueMembers = (state: GroupsState, times: MemberTimes): readonly FencedMember[] => {
  const found: FencedMember[] = [];
  for (const group of state.groups.values()) {
    for (const member of group.members.values()) {
      const why = overdue(group, member, times);
      if (why !== null) found.push({ groupId: group.groupId, memberId: member.memberId, why });
    }
  }
  return found;
};

/** Puts them out. Nothing is refused: it is the coordinator's own judgement; a group whose topics this node does not know yet waits. */
export const judgeMembers = (
  state: GroupsState,
  times: MemberTimes,
  context: GroupContext,
): Decision<GroupRecord, { readonly fenced: readonly FencedMember[] }> => {
  const byGroup = new Map<string, FencedMember[]>();
  for (const each of overdueMembers(state, times)) {
    const list = byGroup.get(each.groupId);
    if (list === undefined) byGroup.set(each.groupId, [each]);
    else list.push(each);
  }
  const records: GroupRecord[] = [];
  const fenced: FencedMember[] = [];
  for (const [groupId, members] of byGroup) {
    const group = state.groups.get(groupId);
    if (group === undefined || isImageOld(group, context.image) || fenced.length >= GROUPS_PER_STEP_MAX) continue;
    fenced.push(...members);
    records.push(...withoutMembers(group, new Set(members.map(member => member.memberId)), context));
  }
  return { records, response: { fenced } };
};

/** New targets for groups whose topics came, went or grew; at most so many in one step, and whether others are left. */
export const followTopics = (
  state: GroupsState,
  context: GroupContext,
): Decision<GroupRecord, { readonly groups: readonly string[]; readonly isDone: boolean }> => {
  const records: GroupRecord[] = [];
  const groups: string[] = [];
  for (const group of state.groups.values()) {
    if (changedTopics(group, context.image) === null) continue;
    if (groups.length === GROUPS_PER_STEP_MAX) return { records, response: { groups, isDone: false } };
    groups.push(group.groupId);
    records.push(...rebalance(group, group.members.values(), context).records);
  }
  return decided(records, { groups, isDone: true }).value;
};

// Groups as people look at them.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import type { Group, GroupsState, Member } from './groups-state.ts';
import { fetchOffsets, type FetchedOffset } from './offsets.ts';
import { partitionsOf, type PartitionSet } from './partition-set.ts';
import { isSettled } from './reconciliation.ts';
import type { AssignorName, Subscription } from './record.ts';

/** `reconciling`: members have not got what the target says yet. */
export type GroupStanding = 'empty' | 'stable' | 'reconciling';

export interface GroupListing {
  readonly groupId: string;
  readonly state: GroupStanding;
  readonly memberCount: number;
}

export interface MemberDescription {
  readonly memberId: string;
  readonly memberEpoch: number;
  readonly subscription: Subscription;
  readonly assigned: PartitionSet;
  readonly revoking: PartitionSet;
  readonly target: PartitionSet;
}

export interface GroupDescription extends GroupListing {
  readonly epoch: number;
  readonly assignor: AssignorName;
  readonly members: readonly MemberDescription[];
  readonly offsets: readonly FetchedOffset[];
}

const standingOf = (group: Group): GroupStanding => {
  if (group.members.size === 0) return 'empty';
  return isSettled(group) ? 'stable' : 'reconciling';
};

const listingOf = (group: Group): GroupListing => ({
  groupId: group.groupId,
  state: standingOf(group),
  memberCount: group.members.size,
});

export interface ListRequest {
  readonly prefix: string;
  /** Those behind this one; null: from the first one on. */
  readonly after: string | null;
  readonly limit: number;
}

/** In the order of their names. */
export const listGroups = (state: GroupsState, { prefix, after, limit }: ListRequest): readonly GroupListing[] => {
  const found: string[] = [];
  for (const groupId of state.groups.keys()) {
    if (groupId.startsWith(prefix) && (after === null || groupId > after)) found.push(groupId);
  }
  return found
    .sort()
    .slice(0, limit)
    .map(groupId => listingOf(state.groups.get(groupId)!));
};

const describeMember = ({ memberId, subscription, holding, target }: Member): MemberDescription => ({
  memberId,
  memberEpoch: holding.memberEpoch,
  subscription,
  assigned: partitionsOf(holding.assigned),
  revoking: partitionsOf(holding.revoking),
  target,
});

export const describeGroup = (state: GroupsState, groupId: string): Result<GroupDescription, 'GROUP_NOT_FOUND'> => {
  const group = state.groups.get(groupId);
  if (group === undefined) return refused('GROUP_NOT_FOUND', `there is no group "${groupId}"`, { group: groupId });
  const members = Array.from(group.members.values()).sort((a, b) => (a.memberId < b.memberId ? -1 : 1));
  return accepted({
    ...listingOf(group),
    epoch: group.epoch,
    assignor: group.assignor,
    members: members.map(describeMember),
    offsets: fetchOffsets(state, { groupId }),
  });
};

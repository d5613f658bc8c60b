// How a member moves towards its target, one step with each heartbeat: first it gives back what is not in the target any more, then it
// gets what is in it and belongs to nobody.
//
//   holding ⊄ target ──> revoking ──(given back)──> what is free of the target is assigned ──> … until holding = target
//
// The step depends on this member and on who owns what, so nobody else has to stand still for it. A partition that is being given back is
// given back to the end, also when a newer target has it with this member again: the client has heard that it is to go.

import type { TopicId } from '@sluice/protocol/ids';
import { type Group, type Member, ownerOf } from './groups-state.ts';
import {
  type GivenPartitions,
  GivenBuilder,
  membershipOf,
  noneGiven,
  pairsOf,
  type PartitionSet,
} from './partition-set.ts';
import type { Holding } from './record.ts';

type IsIn = (topicId: TopicId, partition: number) => boolean;

interface Split {
  readonly kept: GivenBuilder;
  readonly dropped: GivenBuilder;
}

const split = (given: GivenPartitions, isKept: IsIn): Split => {
  const kept = new GivenBuilder();
  const dropped = new GivenBuilder();
  for (const [topicId, epochs] of given) {
    for (const [partition, epoch] of epochs)
      (isKept(topicId, partition) ? kept : dropped).add(topicId, partition, epoch);
  }
  return { kept, dropped };
};

/** What of the target the member may be given: owned by nobody, or by itself. */
function* free(group: Group, memberId: string, target: PartitionSet): Generator<readonly [TopicId, number], void> {
  for (const pair of pairsOf(target)) {
    const owner = ownerOf(group, ...pair);
    if (owner === undefined || owner === memberId) yield pair;
  }
}

/**
 * The next holding, or the same one where there is nothing to do. `isOwned` says which of the partitions that it was asked for the
 * member still has.
 */
export const nextHolding = (group: Group, member: Member, isOwned: IsIn): Holding => {
  const { memberId, holding, target } = member;
  const { kept, dropped } = split(holding.assigned, membershipOf(target));
  const revoking = new GivenBuilder();
  for (const given of [split(holding.revoking, isOwned).kept.given, dropped.given]) {
    for (const [topicId, epochs] of given)
      for (const [partition, epoch] of epochs) revoking.add(topicId, partition, epoch);
  }
  const memberEpoch = holding.memberEpoch + 1;
  let hasGained = false;
  if (revoking.count === 0) {
    for (const [topicId, partition] of free(group, memberId, target)) {
      if (holding.assigned.get(topicId)?.has(partition) === true) continue;
      kept.add(topicId, partition, memberEpoch);
      hasGained = true;
    }
  }
  const hasGivenBack = countIn(holding.revoking) + dropped.count > revoking.count;
  if (!hasGained && !hasGivenBack && dropped.count === 0) return holding;
  return { memberEpoch, previousEpoch: holding.memberEpoch, assigned: kept.given, revoking: revoking.given };
};

const countIn = (given: GivenPartitions): number => {
  let count = 0;
  for (const epochs of given.values()) count += epochs.size;
  return count;
};

/** Of a member that comes, or takes another one's place: it has nothing in hand, so there is nothing to give back. */
export const firstHolding = (
  group: Group,
  former: Member | null,
  joining: { memberId: string; target: PartitionSet },
): Holding => {
  const previousEpoch = former?.holding.memberEpoch ?? 0;
  const memberEpoch = previousEpoch + 1;
  const assigned = new GivenBuilder();
  const owner = former?.memberId ?? joining.memberId;
  for (const [topicId, partition] of free(group, owner, joining.target)) assigned.add(topicId, partition, memberEpoch);
  // Nobody has heard of an epoch before this one under the new id.
  return { memberEpoch, previousEpoch: 0, assigned: assigned.given, revoking: noneGiven() };
};

const all: IsIn = () => true;

/** There is something to tell it that it does not know yet, whatever it says that it owns. */
export const hasNews = (group: Group, member: Member): boolean => nextHolding(group, member, all) !== member.holding;

/** Everybody has what the target says. */
export const isSettled = (group: Group): boolean => {
  for (const { holding, target } of group.members.values()) {
    if (holding.revoking.size > 0) return false;
    let count = 0;
    for (const [topicId, partition] of pairsOf(target)) {
      if (holding.assigned.get(topicId)?.has(partition) !== true) return false;
      count++;
    }
    if (count !== countIn(holding.assigned)) return false;
  }
  return true;
};

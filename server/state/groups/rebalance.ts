// A new target: who should have what, once members or topics changed. It is made whole in the step that changes them, under the next epoch of
// the group; members then move towards it one by one (reconciliation.ts).

import { refused } from '@sluice/protocol/errors';
import { assert } from '../../base/assert.ts';
import { type Assignor, rangeAssignor, roundRobinAssignor } from './assignor.ts';
import type { Group, Member } from './groups-state.ts';
import { isSamePartitions, type PartitionSet } from './partition-set.ts';
import { type AssignorName, assignorNames, type GroupRecord, type GroupTopics } from './record.ts';
import { isSameTopics, type ResolvedTopics, resolveTopics, type TopicImage } from './subscribed-topics.ts';
import { uniformAssignor } from './uniform-assignor.ts';

export interface GroupContext {
  /** The cluster's metadata, as this coordinator knows it. */
  readonly image: TopicImage;
  /** The wall clock. */
  readonly nowMs: number;
}

/** What a member is to a new target: its holding does not matter. */
export type Assignee = Pick<Member, 'memberId' | 'subscription' | 'target'>;

export interface Rebalance {
  readonly records: readonly GroupRecord[];
  readonly epoch: number;
  /** Of every member. */
  readonly targets: ReadonlyMap<string, PartitionSet>;
}

const assignors: Readonly<Record<AssignorName, Assignor>> = {
  uniform: uniformAssignor,
  range: rangeAssignor,
  'round-robin': roundRobinAssignor,
};

/** The one that most members ask for; those without a wish do not count. */
const chooseAssignor = (members: readonly Assignee[]): AssignorName => {
  const votes = new Map<AssignorName, number>();
  for (const { assignor } of members.map(member => member.subscription)) {
    if (assignor !== null) votes.set(assignor, (votes.get(assignor) ?? 0) + 1);
  }
  let chosen: AssignorName = 'uniform';
  for (const name of assignorNames) if ((votes.get(name) ?? 0) > (votes.get(chosen) ?? 0)) chosen = name;
  return chosen;
};

/** Static members keep their place when their ids change. */
const orderKey = ({ memberId, subscription: { instanceId } }: Assignee): string =>
  instanceId === null ? `m/${memberId}` : `i/${instanceId}`;

const inOrder = (members: Iterable<Assignee>): readonly Assignee[] => {
  const keyed = Array.from(members, member => ({ key: orderKey(member), member }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ member }) => member);
};

/**
 * Topics that a target was made of must not come and go with the node that looks: an image older than the one of the last time is not
 * judged by.
 */
export const isImageOld = (group: Group | undefined, image: TopicImage): boolean =>
  group !== undefined && image.version < group.topics.metadataVersion;

export const imageBehind = (groupId: string) =>
  refused('COORDINATOR_LOADING', `this node does not know the topics of group "${groupId}" yet`, { group: groupId });

/** `members` as they are from now on; `removed` are targets to be forgotten. */
export const rebalance = (
  group: Pick<Group, 'groupId' | 'epoch' | 'topics'>,
  members: Iterable<Assignee>,
  context: GroupContext,
): Rebalance => {
  const ordered = inOrder(members);
  const { groupId } = group;
  const epoch = group.epoch + 1;
  if (ordered.length === 0) {
    const head = { epoch, assignor: 'uniform', emptySinceMs: context.nowMs } as const;
    const records: GroupRecord[] = [{ kind: 'head', groupId, value: head }];
    if (group.topics.metadataVersion > 0) records.push({ kind: 'topics', groupId, value: null });
    return { records, epoch, targets: new Map() };
  }
  const resolved = resolveTopics(
    context.image,
    ordered.map(member => member.subscription),
  );
  return assigned({ group, epoch, ordered, resolved });
};

interface Assigning {
  readonly group: Pick<Group, 'groupId' | 'topics'>;
  readonly epoch: number;
  readonly ordered: readonly Assignee[];
  readonly resolved: ResolvedTopics;
}

const assigned = ({ group, epoch, ordered, resolved }: Assigning): Rebalance => {
  const { groupId } = group;
  const assignor = chooseAssignor(ordered);
  const targets = assignors[assignor]({
    members: ordered.map(({ memberId, target }, index) => ({
      memberId,
      topics: resolved.subscribed[index]!,
      previous: target,
    })),
    topics: resolved.topics.topics,
  });
  const records: GroupRecord[] = [{ kind: 'head', groupId, value: { epoch, assignor, emptySinceMs: null } }];
  // The version alone is worth no record: it only keeps older images away, and one that gives the same topics does no harm.
  if (group.topics.metadataVersion === 0 || !isSameTopics(group.topics, resolved.topics)) {
    records.push({ kind: 'topics', groupId, value: resolved.topics });
  }
  for (const { memberId, target } of ordered) {
    const next = targets.get(memberId);
    assert(next !== undefined, 'every member has a target');
    if (!isSamePartitions(target, next)) records.push({ kind: 'target', groupId, memberId, value: next });
  }
  return { records, epoch, targets };
};

/** Null: the topics are what the target was made of, or not to be judged by this image. */
export const changedTopics = (group: Group, image: TopicImage): GroupTopics | null => {
  if (group.members.size === 0 || isImageOld(group, image)) return null;
  const subscriptions = Array.from(group.members.values(), member => member.subscription);
  const { topics } = resolveTopics(image, subscriptions);
  return isSameTopics(group.topics, topics) ? null : topics;
};

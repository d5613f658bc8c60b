// The state machine of consumer groups, as a coordinator runtime hosts it: commands look at `groups`, and only `replay` changes
// them. Everything else is functions: joining, heartbeats, leaving, time-outs, offsets.
//
// Replay takes the records of a log that was compacted by key: what one record needs of another may stand behind it then, so a
// group and its members come to be by whatever is heard of them first, and nothing is asserted across records until all of
// them are there (`check`).
//
// Invariants, once all records are there
// - a partition is in the holding of one member at most (`owners` says whose);
// - every member has a subscription, a target and a holding;
// - `offsetCount` is the number of committed positions of all groups.

import type { TopicId } from '@sluice/protocol/ids';
import { assert, unreachable } from '../../base/assert.ts';
import { emptyPartitions, type GivenPartitions, noneGiven, type PartitionSet } from './partition-set.ts';
import type {
  CommittedOffset,
  GroupHead,
  GroupRecord,
  GroupTopics,
  Holding,
  HoldingRecord,
  MemberRecord,
  OffsetRecord,
  Subscription,
  TargetRecord,
} from './record.ts';

export interface Member {
  readonly memberId: string;
  readonly subscription: Subscription;
  readonly target: PartitionSet;
  readonly holding: Holding;
}

export interface Group extends GroupHead {
  readonly groupId: string;
  readonly topics: GroupTopics;
  readonly members: ReadonlyMap<string, Member>;
  /** Members with an instance id, by it. */
  readonly instances: ReadonlyMap<string, string>;
  /** Members whose place another one took, with who did. */
  readonly replaced: ReadonlyMap<string, string>;
  /** Who holds a partition; nobody else may be given it. */
  readonly owners: ReadonlyMap<TopicId, ReadonlyMap<number, string>>;
  readonly offsets: ReadonlyMap<TopicId, ReadonlyMap<number, CommittedOffset>>;
}

export const ownerOf = (group: Group, topicId: TopicId, partition: number): string | undefined =>
  group.owners.get(topicId)?.get(partition);

export const offsetOf = (group: Group, topicId: TopicId, partition: number): CommittedOffset | undefined =>
  group.offsets.get(topicId)?.get(partition);

const nobody: Subscription = {
  instanceId: null,
  clientId: '',
  clientHost: '',
  rack: '',
  topics: [],
  topicPattern: null,
  from: 'earliest',
  sessionTimeoutMs: 0,
  rebalanceTimeoutMs: 0,
  assignor: null,
  replacedMemberId: null,
};

class KeptMember implements Member {
  readonly memberId: string;
  subscription: Subscription = nobody;
  target: PartitionSet = emptyPartitions();
  holding: Holding = { memberEpoch: 0, previousEpoch: 0, assigned: noneGiven(), revoking: noneGiven() };

  constructor(memberId: string) {
    this.memberId = memberId;
  }
}

class KeptGroup implements Group {
  readonly groupId: string;
  head: GroupHead | null = null;
  topics: GroupTopics = { metadataVersion: 0, topics: [] };
  readonly members = new Map<string, KeptMember>();
  readonly instances = new Map<string, string>();
  readonly replaced = new Map<string, string>();
  readonly owners = new Map<TopicId, Map<number, string>>();
  readonly offsets = new Map<TopicId, Map<number, CommittedOffset>>();

  constructor(groupId: string) {
    this.groupId = groupId;
  }

  get epoch(): number {
    return this.head?.epoch ?? 0;
  }
  get assignor(): GroupHead['assignor'] {
    return this.head?.assignor ?? 'uniform';
  }
  get emptySinceMs(): number | null {
    return this.head?.emptySinceMs ?? null;
  }

  get isNothing(): boolean {
    return (
      this.head === null && this.topics.metadataVersion === 0 && this.members.size === 0 && this.offsets.size === 0
    );
  }

  member(memberId: string): KeptMember {
    let member = this.members.get(memberId);
    if (member === undefined) {
      member = new KeptMember(memberId);
      this.members.set(memberId, member);
    }
    return member;
  }
}

/** Takes a value out of a map of maps, and the inner map with its last one. */
const take = <V>(map: Map<TopicId, Map<number, V>>, topicId: TopicId, partition: number): V | undefined => {
  const inner = map.get(topicId);
  const value = inner?.get(partition);
  inner?.delete(partition);
  if (inner?.size === 0) map.delete(topicId);
  return value;
};

const put = <V>(map: Map<TopicId, Map<number, V>>, place: readonly [TopicId, number], value: V): V | undefined => {
  const [topicId, partition] = place;
  let inner = map.get(topicId);
  if (inner === undefined) {
    inner = new Map();
    map.set(topicId, inner);
  }
  const before = inner.get(partition);
  inner.set(partition, value);
  return before;
};

export class GroupsState {
  readonly #groups = new Map<string, KeptGroup>();
  #offsetCount = 0;

  get groups(): ReadonlyMap<string, Group> {
    return this.#groups;
  }

  get offsetCount(): number {
    return this.#offsetCount;
  }

  replay(record: GroupRecord): void {
    const known = this.#groups.get(record.groupId);
    if (known === undefined && record.value === null) return;
    const group = known ?? this.#addGroup(record.groupId);
    switch (record.kind) {
      case 'head':
        group.head = record.value;
        break;
      case 'topics':
        group.topics = record.value ?? { metadataVersion: 0, topics: [] };
        break;
      case 'member':
        replayMember(group, record);
        break;
      case 'target':
        replayTarget(group, record);
        break;
      case 'holding':
        replayHolding(group, record);
        break;
      case 'offset':
        this.#replayOffset(group, record);
        break;
      default:
        unreachable(record);
    }
    if (record.value === null && group.isNothing) this.#groups.delete(record.groupId);
  }

  #addGroup(groupId: string): KeptGroup {
    const group = new KeptGroup(groupId);
    this.#groups.set(groupId, group);
    return group;
  }

  #replayOffset(group: KeptGroup, { topicId, partition, value }: OffsetRecord): void {
    const before =
      value === null ? take(group.offsets, topicId, partition) : put(group.offsets, [topicId, partition], value);
    this.#offsetCount += (value === null ? 0 : 1) - (before === undefined ? 0 : 1);
  }

  /** Once the log was read: what only all of its records together must keep. */
  check(): void {
    for (const group of this.#groups.values()) {
      assert(group.head !== null, 'a group has a head');
      let held = 0;
      for (const { subscription, holding } of group.members.values()) {
        assert(subscription !== nobody && holding.memberEpoch > 0, 'a member has a subscription and a holding');
        for (const given of [holding.assigned, holding.revoking])
          for (const epochs of given.values()) held += epochs.size;
      }
      let owned = 0;
      for (const owners of group.owners.values()) owned += owners.size;
      assert(held === owned, 'a partition is held by one member');
    }
  }
}

/** Nothing is left of a member when its last record is gone. */
const forgetIfNothing = (group: KeptGroup, member: KeptMember): void => {
  const { subscription, target, holding } = member;
  if (subscription === nobody && target.size === 0 && holding.memberEpoch === 0) group.members.delete(member.memberId);
};

const replayMember = (group: KeptGroup, { memberId, value }: MemberRecord): void => {
  if (value === null && !group.members.has(memberId)) return;
  const member = group.member(memberId);
  const { instanceId, replacedMemberId } = member.subscription;
  // Another one may have it already.
  if (instanceId !== null && group.instances.get(instanceId) === memberId) group.instances.delete(instanceId);
  if (replacedMemberId !== null) group.replaced.delete(replacedMemberId);
  member.subscription = value ?? nobody;
  if (value === null) return forgetIfNothing(group, member);
  if (value.instanceId !== null) group.instances.set(value.instanceId, memberId);
  if (value.replacedMemberId !== null) group.replaced.set(value.replacedMemberId, memberId);
};

const replayTarget = (group: KeptGroup, { memberId, value }: TargetRecord): void => {
  if (value === null && !group.members.has(memberId)) return;
  const member = group.member(memberId);
  member.target = value ?? emptyPartitions();
  if (value === null) forgetIfNothing(group, member);
};

const replayHolding = (group: KeptGroup, { memberId, value }: HoldingRecord): void => {
  if (value === null && !group.members.has(memberId)) return;
  const member = group.member(memberId);
  const { assigned, revoking } = member.holding;
  for (const given of [assigned, revoking]) release(group, memberId, given);
  const holding = value ?? { memberEpoch: 0, previousEpoch: 0, assigned: noneGiven(), revoking: noneGiven() };
  member.holding = holding;
  for (const given of [holding.assigned, holding.revoking]) hold(group, memberId, given);
  if (value === null) forgetIfNothing(group, member);
};

/** Unless another one has it by now: in a compacted log the record that gave it back may stand behind. */
const release = (group: KeptGroup, memberId: string, given: GivenPartitions): void => {
  for (const [topicId, epochs] of given) {
    const owners = group.owners.get(topicId);
    if (owners === undefined) continue;
    for (const partition of epochs.keys()) if (owners.get(partition) === memberId) owners.delete(partition);
    if (owners.size === 0) group.owners.delete(topicId);
  }
};

const hold = (group: KeptGroup, memberId: string, given: GivenPartitions): void => {
  for (const [topicId, epochs] of given) {
    for (const partition of epochs.keys()) put(group.owners, [topicId, partition], memberId);
  }
};

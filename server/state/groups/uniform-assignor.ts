// Balanced and sticky: everybody keeps what it had as far as the balance allows, and the rest goes to who has least.
//
// Where all members subscribe to the same topics, each gets the whole part of the average or one more, and as few partitions move as
// is possible at all: who had more than others gets the ones more.
//
// Where subscriptions differ, no partition is with a member that has two more than another one who could have it too; members with equal
// subscriptions therefore differ by at most one. Partitions move for this alone, one at a time, and each move makes the sum of the
// squares of all counts smaller, so it ends.

import { assert } from '../../base/assert.ts';
import { type Assignment, type Assignor, AssignmentBuilder, type AssignorRequest, subscribersOf } from './assignor.ts';

/** Who has what while it is worked out: indexes of members by topic and partition. */
class Draft {
  readonly request: AssignorRequest;
  /** -1: nobody. */
  readonly owners: readonly Int32Array[];
  readonly counts: Int32Array;

  constructor(request: AssignorRequest) {
    const { members, topics } = request;
    this.request = request;
    this.owners = topics.map(({ partitionCount }) => new Int32Array(partitionCount).fill(-1));
    this.counts = new Int32Array(members.length);
    const indexOf = new Map(topics.map(({ topicId }, index) => [topicId, index] as const));
    for (const [member, { topics: subscribed, previous }] of members.entries()) {
      for (const [topicId, partitions] of previous) {
        const owners = this.owners[indexOf.get(topicId) ?? -1];
        if (owners === undefined || !subscribed.has(topicId)) continue;
        for (const partition of partitions) if (owners[partition] === -1) this.give(owners, partition, member);
      }
    }
  }

  give(owners: Int32Array, partition: number, member: number): void {
    const before = owners[partition]!;
    if (before >= 0) this.counts[before]!--;
    owners[partition] = member;
    if (member >= 0) this.counts[member]!++;
  }

  build(): Assignment {
    const builder = new AssignmentBuilder(this.request.members);
    for (const [at, owners] of this.owners.entries()) {
      const { topicId } = this.request.topics[at]!;
      for (const [partition, member] of owners.entries()) if (member >= 0) builder.add(member, topicId, partition);
    }
    return builder.build();
  }
}

const isUniform = ({ members, topics }: AssignorRequest): boolean =>
  members.every(member => member.topics.size === topics.length);

// ---- Equal subscriptions

const assignEqually = (draft: Draft): void => {
  const { counts, owners } = draft;
  let total = 0;
  for (const each of owners) total += each.length;
  const quotas = quotasOf(counts, total);
  for (const each of owners.toReversed()) {
    for (let partition = each.length - 1; partition >= 0; partition--) {
      const member = each[partition]!;
      if (member >= 0 && counts[member]! > quotas[member]!) draft.give(each, partition, -1);
    }
  }
  let turn = 0;
  for (const each of owners) {
    for (const [partition, member] of each.entries()) {
      if (member >= 0) continue;
      while (counts[turn]! >= quotas[turn]!) turn = (turn + 1) % counts.length;
      draft.give(each, partition, turn);
      turn = (turn + 1) % counts.length;
    }
  }
};

/** The whole part of the average, and one more for those that have most now. */
const quotasOf = (counts: Int32Array, total: number): Int32Array => {
  const share = Math.floor(total / counts.length);
  const quotas = new Int32Array(counts.length).fill(share);
  // Sorting is stable, so the order of members decides between equals.
  const byCount = Array.from(counts.keys()).sort((a, b) => counts[b]! - counts[a]!);
  for (const member of byCount.slice(0, total % counts.length)) quotas[member]!++;
  return quotas;
};

// ---- Subscriptions that differ

const lightest = (counts: Int32Array, subscribers: readonly number[]): number => {
  let found = subscribers[0]!;
  for (const member of subscribers) if (counts[member]! < counts[found]!) found = member;
  return found;
};

/** Topics that few can have come first: who can have others too is filled up with those. */
const giveUnowned = (draft: Draft, subscribers: readonly (readonly number[])[]): void => {
  const order = Array.from(subscribers.keys()).sort((a, b) => subscribers[a]!.length - subscribers[b]!.length);
  for (const topic of order) {
    const owners = draft.owners[topic]!;
    const able = subscribers[topic]!;
    if (able.length === 0) continue;
    for (const [partition, member] of owners.entries()) {
      if (member < 0) draft.give(owners, partition, lightest(draft.counts, able));
    }
  }
};

/** Partitions of one topic by who has them, the last one of each last. */
const holdersOf = (owners: Int32Array): Map<number, number[]> => {
  const holders = new Map<number, number[]>();
  for (const [partition, member] of owners.entries()) {
    const list = holders.get(member);
    if (list === undefined) holders.set(member, [partition]);
    else list.push(partition);
  }
  return holders;
};

/** True when something moved. */
const balanceTopic = (draft: Draft, owners: Int32Array, subscribers: readonly number[]): boolean => {
  const { counts } = draft;
  const holders = holdersOf(owners);
  for (let hasMoved = false; ; hasMoved = true) {
    let heaviest = -1;
    for (const member of subscribers) {
      if ((heaviest < 0 || counts[member]! > counts[heaviest]!) && holders.has(member)) heaviest = member;
    }
    const to = lightest(counts, subscribers);
    if (heaviest < 0 || counts[heaviest]! - counts[to]! < 2) return hasMoved;
    const held = holders.get(heaviest)!;
    const partition = held.pop();
    assert(partition !== undefined, 'who holds a topic holds a partition of it');
    if (held.length === 0) holders.delete(heaviest);
    const gained = holders.get(to);
    if (gained === undefined) holders.set(to, [partition]);
    else gained.push(partition);
    draft.give(owners, partition, to);
  }
};

const assignUnequally = (draft: Draft): void => {
  const subscribers = subscribersOf(draft.request);
  giveUnowned(draft, subscribers);
  for (let isMoving = true; isMoving; ) {
    isMoving = false;
    for (const [topic, owners] of draft.owners.entries()) {
      const able = subscribers[topic]!;
      if (able.length > 1 && balanceTopic(draft, owners, able)) isMoving = true;
    }
  }
};

export const uniformAssignor: Assignor = request => {
  const draft = new Draft(request);
  if (request.members.length > 0) {
    if (isUniform(request)) assignEqually(draft);
    else assignUnequally(draft);
  }
  return draft.build();
};

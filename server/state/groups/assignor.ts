// Who should have which partitions: what the ways to decide it have in common, and the two simple ones. All are deterministic, and
// give each partition of a topic that somebody subscribes to exactly once.
//
//   range         topic by topic: members in their order get runs, the first ones the remainder. Partitions of one number of several
//                 topics come together, which joins need.
//   round-robin   all partitions in the order of topics, one to each member in turn who subscribes to it
//   uniform       uniform-assignor.ts

import type { TopicId } from '@sluice/protocol/ids';
import type { PartitionSet } from './partition-set.ts';
import type { SubscribedTopic } from './record.ts';

export interface AssignorMember {
  readonly memberId: string;
  /** What it subscribes to, of the topics of the request. */
  readonly topics: ReadonlySet<TopicId>;
  /** What it should have had until now. */
  readonly previous: PartitionSet;
}

export interface AssignorRequest {
  /** In the order that decides between equals: the same members stand in the same order each time. */
  readonly members: readonly AssignorMember[];
  /** In the order of their names. */
  readonly topics: readonly SubscribedTopic[];
}

/** One entry for each member, by its id. */
export type Assignment = ReadonlyMap<string, PartitionSet>;

export type Assignor = (request: AssignorRequest) => Assignment;

/** Collects what each member gets; partitions of one topic must come in their order. */
export class AssignmentBuilder {
  readonly #members: readonly AssignorMember[];
  readonly #sets: readonly Map<TopicId, number[]>[];

  constructor(members: readonly AssignorMember[]) {
    this.#members = members;
    this.#sets = members.map(() => new Map<TopicId, number[]>());
  }

  add(member: number, topicId: TopicId, partition: number): void {
    const set = this.#sets[member]!;
    const list = set.get(topicId);
    if (list === undefined) set.set(topicId, [partition]);
    else list.push(partition);
  }

  build(): Assignment {
    return new Map(this.#members.map(({ memberId }, index) => [memberId, this.#sets[index]!] as const));
  }
}

/** By topic, the indexes of the members that subscribe to it. */
export const subscribersOf = ({ members, topics }: AssignorRequest): readonly (readonly number[])[] =>
  topics.map(({ topicId }) => {
    const subscribers: number[] = [];
    for (const [index, member] of members.entries()) if (member.topics.has(topicId)) subscribers.push(index);
    return subscribers;
  });

export const rangeAssignor: Assignor = request => {
  const builder = new AssignmentBuilder(request.members);
  for (const [at, subscribers] of subscribersOf(request).entries()) {
    const { topicId, partitionCount } = request.topics[at]!;
    const share = Math.floor(partitionCount / subscribers.length);
    const remainder = partitionCount % subscribers.length;
    let partition = 0;
    for (const [place, member] of subscribers.entries()) {
      const end = partition + share + (place < remainder ? 1 : 0);
      for (; partition < end; partition++) builder.add(member, topicId, partition);
    }
  }
  return builder.build();
};

export const roundRobinAssignor: Assignor = request => {
  const { members, topics } = request;
  const builder = new AssignmentBuilder(members);
  let turn = 0;
  for (const { topicId, partitionCount } of topics) {
    if (!members.some(member => member.topics.has(topicId))) continue;
    for (let partition = 0; partition < partitionCount; partition++) {
      while (!members[turn % members.length]!.topics.has(topicId)) turn++;
      builder.add(turn % members.length, topicId, partition);
      turn++;
    }
  }
  return builder.build();
};

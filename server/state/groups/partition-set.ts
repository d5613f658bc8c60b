// Sets of partitions, by topic id: what a member should have, has, or says that it has. Never changed once they are made.

import type { TopicId } from '@sluice/protocol/ids';

/** Ascending, without repeats; no topic without a partition. */
export type PartitionSet = ReadonlyMap<TopicId, readonly number[]>;

/** The same, each partition with the member epoch at which it was given. */
export type GivenPartitions = ReadonlyMap<TopicId, ReadonlyMap<number, number>>;

export const emptyPartitions = (): PartitionSet => new Map();
export const noneGiven = (): GivenPartitions => new Map();

const ascending = (a: number, b: number): number => a - b;

/** Of pairs in any order, repeats included. */
export const partitionSet = (pairs: Iterable<readonly [TopicId, number]>): PartitionSet => {
  const sets = new Map<TopicId, Set<number>>();
  for (const [topicId, partition] of pairs) {
    const set = sets.get(topicId);
    if (set === undefined) sets.set(topicId, new Set([partition]));
    else set.add(partition);
  }
  return new Map(Array.from(sets, ([topicId, set]) => [topicId, Array.from(set).sort(ascending)] as const));
};

export function* pairsOf(partitions: PartitionSet): Generator<readonly [TopicId, number], void> {
  for (const [topicId, list] of partitions) for (const partition of list) yield [topicId, partition];
}

export const countOf = (partitions: PartitionSet | GivenPartitions): number => {
  let count = 0;
  for (const list of partitions.values()) count += 'size' in list ? list.size : list.length;
  return count;
};

export const isSamePartitions = (a: PartitionSet, b: PartitionSet): boolean => {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [topicId, list] of a) {
    const other = b.get(topicId);
    if (other === undefined || other.length !== list.length) return false;
    for (let at = 0; at < list.length; at++) if (list[at] !== other[at]) return false;
  }
  return true;
};

export const givenAt = (given: GivenPartitions, topicId: TopicId, partition: number): number | undefined =>
  given.get(topicId)?.get(partition);

export const partitionsOf = (given: GivenPartitions): PartitionSet =>
  new Map(Array.from(given, ([topicId, epochs]) => [topicId, Array.from(epochs.keys()).sort(ascending)] as const));

/** Builds what was given, topic by topic; topics without a partition leave no trace. */
export class GivenBuilder {
  readonly #given = new Map<TopicId, Map<number, number>>();
  #count = 0;

  add(topicId: TopicId, partition: number, epoch: number): void {
    const epochs = this.#given.get(topicId);
    if (epochs === undefined) this.#given.set(topicId, new Map([[partition, epoch]]));
    else epochs.set(partition, epoch);
    this.#count++;
  }

  get count(): number {
    return this.#count;
  }

  get given(): GivenPartitions {
    return this.#given;
  }
}

/** For many questions about one set. */
export const membershipOf = (partitions: PartitionSet): ((topicId: TopicId, partition: number) => boolean) => {
  const sets = new Map(Array.from(partitions, ([topicId, list]) => [topicId, new Set(list)] as const));
  return (topicId, partition) => sets.get(topicId)?.has(partition) === true;
};

// Where the replicas of new partitions go: racks first, then the broker with the fewest replicas, then the one that is first
// in the fewest partitions. The same metadata always gives the same placement.
//
// Each replica of a partition goes to the broker that comes first by, in this order:
//
//   1. running before fenced: a partition starts with replicas that are there, as long as there are enough;
//   2. the rack that has the fewest replicas of this partition;
//   3. the fewest replicas in all;
//   4. the rack with the most brokers that are equal so far: filling them takes the most partitions, as each takes one of a rack;
//   5. the fewest partitions in which it is first;
//   6. the lowest node id.
//
// Without (4) a greedy choice leaves brokers of one rack behind, which no later partition can fill both of at once.
// Then the running replica that is first in the fewest partitions becomes the first of this one; what a later partition of the
// same request makes uneven is evened at the end.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { assert } from '../../base/assert.ts';
import { PARTITIONS_MAX, REPLICATION_FACTOR_MAX } from '../../base/limits.ts';
import type { ClusterImage } from './image.ts';
import type { ClusterPartition, Replica } from './record.ts';

export type PlacementCode = 'INVALID_REPLICATION_FACTOR' | 'INVALID_PARTITION_COUNT' | 'NOT_ENOUGH_REPLICAS';

export interface PlacementRequest {
  readonly partitionCount: number;
  readonly replicationFactor: number;
}

/** A broker that takes new replicas, with its load as it grows. */
interface Candidate {
  readonly replica: Replica;
  readonly rack: string;
  readonly fenced: boolean;
  replicas: number;
  preferred: number;
}

/** Brokers that are draining, or that only control or serve as gateways, take no replicas. */
const candidatesOf = (image: ClusterImage): Candidate[] => {
  const candidates: Candidate[] = [];
  for (const [nodeId, { registration, fenced, draining }] of image.brokers.entries()) {
    if (draining || !registration.roles.includes('broker')) continue;
    const replica = { nodeId, directoryId: registration.directoryId };
    candidates.push({ replica, rack: registration.rack, fenced, ...image.loads.get(nodeId)! });
  }
  return candidates;
};

/** How many brokers take replicas. */
export const placeableBrokerCount = (image: ClusterImage): number => candidatesOf(image).length;

const factorFault = (factor: number, brokers: number): string | null => {
  if (Number.isInteger(factor) && factor >= 1 && factor <= Math.min(brokers, REPLICATION_FACTOR_MAX)) return null;
  if (brokers === 1) return `there is one broker, so the replication factor is 1, not ${factor}`;
  if (brokers > REPLICATION_FACTOR_MAX)
    return `the replication factor is 1 to ${REPLICATION_FACTOR_MAX}, not ${factor}`;
  return `there are ${brokers} brokers, so the replication factor is 1 to ${brokers}, not ${factor}`;
};

const judgeFactor = (factor: number, candidates: readonly Candidate[]): Result<null, PlacementCode> => {
  const brokers = candidates.length;
  const facts = { replication_factor: factor, brokers };
  const fault = brokers === 0 ? 'there is no broker that takes partitions' : factorFault(factor, brokers);
  if (fault !== null) return refused('INVALID_REPLICATION_FACTOR', fault, facts);
  const running = candidates.filter(candidate => !candidate.fenced).length;
  const needed = Math.floor(factor / 2) + 1;
  if (running >= needed) return accepted(null);
  const detail = `${running} of ${brokers} brokers are running, and a partition with ${factor} replicas needs ${needed}`;
  return refused('NOT_ENOUGH_REPLICAS', detail, { ...facts, running });
};

/** Whether there are brokers for this many replicas, before anything is placed. */
export const judgeReplicationFactor = (image: ClusterImage, factor: number): Result<null, PlacementCode> =>
  judgeFactor(factor, candidatesOf(image));

const rackUse = (chosen: readonly Candidate[], rack: string): number => {
  let count = 0;
  for (const other of chosen) if (other.rack === rack) count++;
  return count;
};

/** Those that come first by the rules 1 to 3. */
const equallyGood = (candidates: readonly Candidate[], chosen: readonly Candidate[]): readonly Candidate[] => {
  let best: Candidate[] = [];
  for (const candidate of candidates) {
    if (candidate.replicas >= PARTITIONS_MAX || chosen.includes(candidate)) continue;
    const [first] = best;
    const order =
      first === undefined
        ? -1
        : Number(candidate.fenced) - Number(first.fenced) ||
          rackUse(chosen, candidate.rack) - rackUse(chosen, first.rack) ||
          candidate.replicas - first.replicas;
    if (order < 0) best = [candidate];
    else if (order === 0) best.push(candidate);
  }
  return best;
};

/** Null when every broker is full. */
const nextReplica = (candidates: readonly Candidate[], chosen: readonly Candidate[]): Candidate | null => {
  const equals = equallyGood(candidates, chosen);
  const perRack = new Map<string, number>();
  for (const { rack } of equals) perRack.set(rack, (perRack.get(rack) ?? 0) + 1);
  let best: Candidate | null = null;
  for (const candidate of equals) {
    const order =
      best === null
        ? -1
        : perRack.get(best.rack)! - perRack.get(candidate.rack)! || candidate.preferred - best.preferred;
    // Candidates are in the order of node ids: of two that are equal in everything the first one stays.
    if (order < 0) best = candidate;
  }
  return best;
};

/** Who leads rather, of the replicas of one partition. */
const leadsBefore = (a: Candidate, b: Candidate): boolean => {
  const order = Number(a.fenced) - Number(b.fenced) || a.preferred - b.preferred || a.replica.nodeId - b.replica.nodeId;
  return order < 0;
};

/** The one to lead first, the others as they were. */
const ledBy = (first: Candidate, placed: readonly Candidate[]): readonly Candidate[] => [
  first,
  ...placed.filter(candidate => candidate !== first),
];

const firstLeader = (chosen: readonly Candidate[]): Candidate => {
  let [first] = chosen;
  assert(first !== undefined, 'a partition has a replica');
  for (const candidate of chosen) if (leadsBefore(candidate, first)) first = candidate;
  return first;
};

const placeOne = (candidates: readonly Candidate[], factor: number): readonly Candidate[] | null => {
  const chosen: Candidate[] = [];
  while (chosen.length < factor) {
    const next = nextReplica(candidates, chosen);
    if (next === null) return null;
    chosen.push(next);
  }
  for (const candidate of chosen) candidate.replicas++;
  const first = firstLeader(chosen);
  first.preferred++;
  return ledBy(first, chosen);
};

/**
 * Passes leadership on wherever a replica leads at least two less than the first one does. Each step makes the sum of squares
 * smaller, so it ends.
 */
const evenLeaders = (placed: (readonly Candidate[])[]): void => {
  for (let changed = true; changed; ) {
    changed = false;
    for (const [index, chosen] of placed.entries()) {
      const leader = chosen[0]!;
      const better = firstLeader(chosen);
      if (better.fenced || better.preferred > leader.preferred - 2) continue;
      leader.preferred--;
      better.preferred++;
      placed[index] = ledBy(better, chosen);
      changed = true;
    }
  }
};

export const placePartitions = (
  image: ClusterImage,
  request: PlacementRequest,
): Result<readonly ClusterPartition[], PlacementCode> => {
  const { partitionCount, replicationFactor } = request;
  const candidates = candidatesOf(image);
  const judged = judgeFactor(replicationFactor, candidates);
  if (!judged.ok) return judged;
  const placed: (readonly Candidate[])[] = [];
  while (placed.length < partitionCount) {
    const chosen = placeOne(candidates, replicationFactor);
    if (chosen === null) {
      return refused('INVALID_PARTITION_COUNT', `a broker has at most ${PARTITIONS_MAX} partitions in all`, {
        partition_count: partitionCount,
      });
    }
    placed.push(chosen);
  }
  evenLeaders(placed);
  return accepted(placed.map(chosen => ({ replicas: chosen.map(candidate => candidate.replica) })));
};

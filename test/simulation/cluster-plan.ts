// What one seed means: how many nodes, how they are set up, and which troubles they get into. Everything is drawn here and printed with a
// failure.

import type { SeededRandom } from './random.ts';

export const troubles = [
  'power',
  'kill',
  'cut',
  'partition',
  'isolate',
  'behead',
  'dethrone',
  'silent',
  'noise',
  'reset',
  'stall',
  'full',
  'sync-fault',
  'slow-disk',
  'misread',
  'read-fault',
  'rot',
  'clock-jump',
  'transfer',
  'retention',
  'membership',
] as const;

export type Trouble = (typeof troubles)[number];

export interface GroupPlan {
  readonly partition: number;
  /** Nodes that hold a replica; all of them vote. */
  readonly nodes: readonly number[];
}

export interface ClusterPlan {
  readonly nodes: number;
  readonly groups: readonly GroupPlan[];
  readonly troubles: readonly Trouble[];
  readonly troubleEveryMs: number;
  readonly safetyMs: number;
  readonly clients: number;
  readonly clientEveryMs: number;
  readonly readers: number;
  readonly segmentBytes: number;
  /** Of one request to a follower. */
  readonly appendBytesMax: number;
  /** How far clocks are off, as a part of their rate. */
  readonly drift: number;
  readonly tickMs: number;
  readonly electionTicks: number;
}

export const drawPlan = (random: SeededRandom, wishes: Partial<ClusterPlan> = {}): ClusterPlan => {
  const nodes = wishes.nodes ?? random.pick([1, 2, 3, 3, 3, 3, 4, 5, 5]);
  const all = Array.from({ length: nodes }, (_, index) => index + 1);
  const groups = Array.from({ length: random.between(1, 3) }, (_, partition) => ({
    partition,
    // Nodes without a replica hear of the leader all the same.
    nodes: random.chance(0.7)
      ? all
      : random
          .shuffled(all)
          .slice(0, random.between(1, nodes))
          .sort((a, b) => a - b),
  }));
  return {
    nodes,
    groups,
    troubles: troubles.filter(() => random.chance(0.5)),
    troubleEveryMs: random.pick([200, 500, 500, 1_500]),
    safetyMs: random.pick([5_000, 8_000, 15_000]),
    clients: random.between(1, 4),
    clientEveryMs: random.pick([15, 50, 150]),
    readers: random.between(1, 2),
    segmentBytes: random.pick([2_000, 8_000, 100_000]),
    appendBytesMax: random.pick([300, 2_000, 16 * 1024]),
    drift: random.pick([0, 0.001, 0.05]),
    tickMs: 50,
    electionTicks: random.pick([10, 16]),
    ...wishes,
  };
};

// What one seed means for a cluster of whole brokers. Everything is drawn here and printed with a failure.

import { type Trouble, troubles } from './cluster-plan.ts';
import type { SeededRandom } from './random.ts';

/** Membership of groups is not changed by anybody yet, and what moves log starts are clients. */
const notOfBrokers: ReadonlySet<Trouble> = new Set(['membership', 'retention', 'dethrone']);

export const brokerTroubles: readonly Trouble[] = troubles.filter(trouble => !notOfBrokers.has(trouble));

export interface BrokerClusterPlan {
  readonly nodes: number;
  readonly troubles: readonly Trouble[];
  readonly troubleEveryMs: number;
  readonly safetyMs: number;
  readonly producers: number;
  readonly readers: number;
  readonly clientEveryMs: number;
  readonly topicsMax: number;
  readonly partitionsMax: number;
  readonly segmentBytes: number;
  readonly snapshotEveryRecords: number;
  /** How far clocks are off, as a part of their rate. */
  readonly drift: number;
  /** Whether clients delete records, change and delete topics. */
  readonly hasAdministrators: boolean;
}

export const drawBrokerPlan = (random: SeededRandom, wishes: Partial<BrokerClusterPlan> = {}): BrokerClusterPlan => ({
  nodes: random.pick([1, 3, 3, 3, 3, 4, 5]),
  troubles: brokerTroubles.filter(() => random.chance(0.5)),
  troubleEveryMs: random.pick([300, 700, 700, 2_000]),
  safetyMs: random.pick([5_000, 8_000, 15_000]),
  producers: random.between(1, 4),
  readers: random.between(1, 3),
  clientEveryMs: random.pick([15, 50, 150]),
  topicsMax: random.between(1, 4),
  partitionsMax: random.between(1, 3),
  segmentBytes: random.pick([2_000, 8_000, 100_000]),
  snapshotEveryRecords: random.pick([10, 100]),
  drift: random.pick([0, 0.001, 0.05]),
  hasAdministrators: random.chance(0.7),
  ...wishes,
});

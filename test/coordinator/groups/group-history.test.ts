// One owner at a time and no position lost, whatever becomes of nodes and links. `GROUP_SEEDS` says how many seeds, GROUP_SEED which.

import { expect, test } from 'vitest';
import { SeededRandom } from '../../simulation/random.ts';
import { GroupCluster } from './group-cluster.ts';
import { GroupHistory } from './group-history.ts';

const SEEDS = Number(process.env['GROUP_SEEDS'] ?? 4);
const SEED = process.env['GROUP_SEED'];
const SAFETY_MS = 30_000;

const seeds = SEED === undefined ? Array.from({ length: SEEDS }, (_, index) => `group history ${index}`) : [SEED];

test.each(seeds)('%s', { timeout: 120_000 }, async seed => {
  let history: GroupHistory | null = null;
  await GroupCluster.play(seed, 3, cluster => {
    history = new GroupHistory(cluster, new SeededRandom(`${seed}/members`));
    return history.play(SAFETY_MS);
  });
  const { faults, tally } = history as unknown as GroupHistory;
  console.log(seed, tally);
  expect(faults).toEqual([]);
  // Something happened at all.
  expect(tally.commits).toBeGreaterThan(0);
  expect(tally.stints).toBeGreaterThan(10);
});

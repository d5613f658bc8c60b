// Clusters of real nodes in one process. More seeds: `npm run simulate -- --seeds N`; a failure prints the command that repeats it.

import { describe, expect, test } from 'vitest';
import { Cluster, type ClusterReport } from './cluster.ts';

const SEEDS = Number(process.env['SLUICE_SIMULATION_SEEDS'] ?? 4);

const short = { safetyMs: 3_000, clientEveryMs: 60, clients: 2, readers: 1 } as const;

describe('three nodes', () => {
  const three = { ...short, nodes: 3, groups: [{ partition: 0, nodes: [1, 2, 3] }] } as const;

  test('elect a leader and replicate what it takes', async () => {
    const report = await new Cluster('calm', { ...three, troubles: [] }).run();
    // The first leader dies at the end of each run.
    expect(report.terms).toBe(2);
    expect(report.acknowledged).toBeGreaterThan(50);
  });

  test('survive crashes of whoever it is', async () => {
    const report = await new Cluster('crashes', {
      ...three,
      safetyMs: 8_000,
      troubles: ['power'],
      troubleEveryMs: 1_000,
    }).run();
    expect(report.lives).toBeGreaterThan(4);
    expect(report.terms).toBeGreaterThan(1);
    expect(report.acknowledged).toBeGreaterThan(10);
  });

  test('go the same way twice from the same seed', async () => {
    const run = (): Promise<ClusterReport> => new Cluster('twice', { ...three, safetyMs: 1_500 }).run();
    expect(await run()).toEqual(await run());
  });
});

describe('a cluster under every kind of trouble', () => {
  test('keeps what it promised, and agrees when the trouble is over', {
    timeout: 60_000 + SEEDS * 20_000,
  }, async () => {
    let acknowledged = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      const report = await new Cluster(`short ${seed}`, short).run();
      acknowledged += report.acknowledged;
    }
    expect(acknowledged).toBeGreaterThan(SEEDS * 10);
  });
});

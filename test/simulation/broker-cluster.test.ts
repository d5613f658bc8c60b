// Clusters of whole brokers in one process. More seeds: `npm run simulate -- --kind brokers --seeds N`; a failure prints the command that
// repeats it.

import { describe, expect, test } from 'vitest';
import { BrokerCluster, type BrokerClusterReport } from './broker-cluster.ts';

const SEEDS = Number(process.env['SLUICE_SIMULATION_SEEDS'] ?? 2);

const short = { safetyMs: 2_000, clientEveryMs: 60, producers: 2, readers: 1, topicsMax: 2 } as const;

describe('three whole brokers', () => {
  const three = { ...short, nodes: 3, hasAdministrators: false, drift: 0 } as const;

  test('take and give records through any of them while they die one after another', async () => {
    const report = await new BrokerCluster('crashes', {
      ...three,
      safetyMs: 5_000,
      troubles: ['power'],
      troubleEveryMs: 1_000,
    }).run();
    expect(report.lives).toBeGreaterThan(2);
    expect(report.acknowledged).toBeGreaterThan(10);
  });

  test('go the same way twice from the same seed', async () => {
    const run = (): Promise<BrokerClusterReport> =>
      new BrokerCluster('twice', { ...three, safetyMs: 500, troubles: ['kill'], troubleEveryMs: 300 }).run();
    expect(await run()).toEqual(await run());
  });
});

describe('whole brokers under every kind of trouble', () => {
  test('keep what they promised, and agree when the trouble is over', {
    timeout: 60_000 + SEEDS * 30_000,
  }, async () => {
    let acknowledged = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      acknowledged += (await new BrokerCluster(`short ${seed}`, { ...short, nodes: 3 }).run()).acknowledged;
    }
    expect(acknowledged).toBeGreaterThan(SEEDS * 5);
  });
});

// Runs the seeds that its parent sends, one after another, and tells what became of each.

import { BrokerCluster } from './broker-cluster.ts';
import { brokerTroubles } from './broker-plan.ts';
import { Cluster } from './cluster.ts';
import { type Trouble, troubles } from './cluster-plan.ts';
import type { Outcome, SeedOrder } from './seed.ts';

const runSeed = async ({ seed, kind, nodes, troubles: wished }: SeedOrder): Promise<Outcome> => {
  const wishes = (all: readonly Trouble[]): { readonly nodes?: number; readonly troubles?: readonly Trouble[] } => ({
    ...(nodes === null ? {} : { nodes }),
    ...(wished === null ? {} : { troubles: all.filter(each => wished.includes(each)) }),
  });
  const name = String(seed);
  const cluster =
    kind === 'groups' ? new Cluster(name, wishes(troubles)) : new BrokerCluster(name, wishes(brokerTroubles));
  try {
    return { kind: 'held', report: { ...(await cluster.run()) } };
  } catch (fault) {
    const what = fault instanceof Error ? fault.message : String(fault);
    return { kind: 'failed', what, plan: cluster.plan, lastLines: cluster.lastLines };
  }
};

process.on('message', (order: SeedOrder) => {
  void runSeed(order).then(outcome => process.send?.(outcome));
});

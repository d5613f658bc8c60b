// npm run simulate -- --seeds N [--seed FIRST] [--kind groups|brokers] [--nodes N] [--trouble NAME,...]: clusters of real nodes on simulated
// disks, network and clocks, one a seed. Groups are Raft groups and their logs alone; brokers are whole ones; without a kind every fourth
// seed is one of brokers. Ends with 1 at the first seed that fails, and prints the command that repeats it.

import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { BrokerCluster } from './broker-cluster.ts';
import { brokerTroubles } from './broker-plan.ts';
import { Cluster } from './cluster.ts';
import { type Trouble, troubles } from './cluster-plan.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '20' },
    seed: { type: 'string' },
    kind: { type: 'string' },
    nodes: { type: 'string' },
    trouble: { type: 'string' },
    trace: { type: 'boolean', default: false },
  },
});

const kinds = ['groups', 'brokers'] as const;
type Kind = (typeof kinds)[number];

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const commit = (): string => {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
};

const wishesOf = (all: readonly Trouble[]): { readonly nodes?: number; readonly troubles?: readonly Trouble[] } => ({
  ...(values.nodes === undefined ? {} : { nodes: Number(values.nodes) }),
  ...(values.trouble === undefined ? {} : { troubles: all.filter(each => values.trouble!.split(',').includes(each)) }),
});

const kindOf = (seed: number): Kind =>
  kinds.find(kind => kind === values.kind) ?? (seed % 4 === 3 ? 'brokers' : 'groups');

const clusterOf = (kind: Kind, seed: string): Cluster | BrokerCluster =>
  kind === 'groups' ? new Cluster(seed, wishesOf(troubles)) : new BrokerCluster(seed, wishesOf(brokerTroubles));

const repeat = (kind: Kind, seed: string): string => {
  const nodes = values.nodes === undefined ? '' : ` --nodes ${values.nodes}`;
  const trouble = values.trouble === undefined ? '' : ` --trouble ${values.trouble}`;
  return `npm run simulate -- --kind ${kind} --seeds 1 --seed ${seed}${nodes}${trouble} --trace`;
};

/** False: it failed. */
const runOne = async (seed: number, totals: Map<string, number>): Promise<boolean> => {
  const kind = kindOf(seed);
  const cluster = clusterOf(kind, String(seed));
  try {
    const report = await cluster.run();
    for (const [name, value] of Object.entries(report)) {
      if (typeof value === 'number') totals.set(name, (totals.get(name) ?? 0) + value);
    }
    if (values.seeds === '1') say(JSON.stringify(report));
    return true;
  } catch (fault) {
    if (values.trace) for (const line of cluster.lastLines) say(line);
    say(`seed ${seed}: ${fault instanceof Error ? fault.message : String(fault)}`);
    say(`${kind}, plan ${JSON.stringify(cluster.plan)}`);
    say(`commit ${commit()}, Node ${process.version}; again: ${repeat(kind, String(seed))}`);
    return false;
  }
};

const main = async (): Promise<void> => {
  if (values.kind !== undefined && !kinds.some(kind => kind === values.kind)) {
    say(`--kind is ${kinds.join(' or ')}`);
    process.exitCode = 2;
    return;
  }
  const first = Number(values.seed ?? '0');
  const count = Number(values.seeds);
  say(`commit ${commit()}, Node ${process.version}, seeds ${first} to ${first + count - 1}`);
  const totals = new Map<string, number>();
  const startedMs = performance.now();
  for (let seed = first; seed < first + count; seed++) {
    if (await runOne(seed, totals)) continue;
    process.exitCode = 1;
    return;
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  say(`${count} seeds held in ${seconds.toFixed(1)} s: ${JSON.stringify(Object.fromEntries(totals))}`);
};

await main();

// npm run simulate -- --seeds N [--seed FIRST] [--nodes N] [--trouble NAME,...]: clusters of real nodes on simulated disks, network and
// clocks, one a seed. Ends with 1 at the first seed that fails, and prints the command that repeats it.

import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { Cluster, type ClusterReport } from './cluster.ts';
import { type ClusterPlan, troubles } from './cluster-plan.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '20' },
    seed: { type: 'string' },
    nodes: { type: 'string' },
    trouble: { type: 'string' },
    trace: { type: 'boolean', default: false },
  },
});

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const commit = (): string => {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
};

const wishes: Partial<ClusterPlan> = {
  ...(values.nodes === undefined ? {} : { nodes: Number(values.nodes) }),
  ...(values.trouble === undefined
    ? {}
    : { troubles: troubles.filter(each => values.trouble!.split(',').includes(each)) }),
};

const repeat = (seed: string): string => {
  const nodes = values.nodes === undefined ? '' : ` --nodes ${values.nodes}`;
  const trouble = values.trouble === undefined ? '' : ` --trouble ${values.trouble}`;
  return `npm run simulate -- --seeds 1 --seed ${seed}${nodes}${trouble} --trace`;
};

const main = async (): Promise<void> => {
  const first = Number(values.seed ?? '0');
  const count = Number(values.seeds);
  say(`commit ${commit()}, Node ${process.version}, seeds ${first} to ${first + count - 1}`);
  const totals = new Map<keyof ClusterReport, number>();
  const startedMs = performance.now();
  for (let seed = first; seed < first + count; seed++) {
    const cluster = new Cluster(String(seed), wishes);
    try {
      const report = await cluster.run();
      for (const [name, value] of Object.entries(report) as [keyof ClusterReport, number | string][]) {
        if (typeof value === 'number') totals.set(name, (totals.get(name) ?? 0) + value);
      }
      if (count === 1) say(JSON.stringify(report));
    } catch (fault) {
      if (values.trace) for (const line of cluster.lastLines) say(line);
      say(`seed ${seed}: ${fault instanceof Error ? fault.message : String(fault)}`);
      say(`plan ${JSON.stringify(cluster.plan)}`);
      say(`commit ${commit()}, Node ${process.version}; again: ${repeat(String(seed))}`);
      process.exitCode = 1;
      return;
    }
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  say(`${count} seeds held in ${seconds.toFixed(1)} s: ${JSON.stringify(Object.fromEntries(totals))}`);
};

await main();

// npm run simulate -- --seeds N [--seed FIRST] [--kind groups|brokers] [--nodes N] [--trouble NAME,...] [--processes P] [--hashes]
//                     [--keep-going] [--trace]
//
// Clusters of real nodes on simulated disks, network and clocks, one a seed. Groups are Raft groups and their logs alone; brokers are whole
// ones; without a kind every fourth seed is one of brokers. Ends with 1 at the first seed that fails (or goes on and tells all of them), and
// prints the command that repeats it. Seeds run in processes of their own, as many as there are processors unless said otherwise.
//   --hashes   the hash of each seed's trace, which is the same in every run and on every version of Node
//   --trace    what happened before a failure

import { execFileSync, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type Kind, kindOf, kinds, type Outcome, type SeedOrder } from './seed.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '20' },
    seed: { type: 'string', default: '0' },
    kind: { type: 'string' },
    nodes: { type: 'string' },
    trouble: { type: 'string' },
    processes: { type: 'string', default: String(availableParallelism()) },
    hashes: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
  },
});

const WORKER = new URL('seed-worker.ts', import.meta.url);
/** Most of what a seed makes is soon forgotten. */
const WORKER_ARGUMENTS = ['--max-semi-space-size=64'];

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const commit = (): string => {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return 'unknown';
  }
};

const orderOf = (seed: number): SeedOrder => ({
  seed,
  kind: kinds.find(kind => kind === values.kind) ?? kindOf(seed),
  nodes: values.nodes === undefined ? null : Number(values.nodes),
  troubles: values.trouble === undefined ? null : values.trouble.split(','),
});

const repeat = (kind: Kind, seed: number): string => {
  const nodes = values.nodes === undefined ? '' : ` --nodes ${values.nodes}`;
  const trouble = values.trouble === undefined ? '' : ` --trouble ${values.trouble}`;
  return `npm run simulate -- --kind ${kind} --seeds 1 --seed ${seed}${nodes}${trouble} --trace`;
};

class Campaign {
  readonly #first = Number(values.seed);
  readonly #count = Number(values.seeds);
  readonly #totals = new Map<string, number>();
  #next = this.#first;
  #held = 0;
  #failed = 0;

  async run(): Promise<void> {
    const last = this.#first + this.#count - 1;
    say(`commit ${commit()}, Node ${process.version}, seeds ${this.#first} to ${last}`);
    const startedMs = performance.now();
    const processes = Math.max(1, Math.min(Number(values.processes), this.#count));
    await Promise.all(Array.from({ length: processes }, () => this.#work()));
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
    if (this.#failed > 0) process.exitCode = 1;
    else if (this.#held < this.#count) throw new Error(`only ${this.#held} seeds were run`);
    const failed = this.#failed === 0 ? '' : `, ${this.#failed} failed`;
    say(`${this.#held} seeds held${failed} in ${seconds} s: ${JSON.stringify(Object.fromEntries(this.#totals))}`);
  }

  #take(): SeedOrder | null {
    if (this.#next === this.#first + this.#count || (this.#failed > 0 && !values['keep-going'])) return null;
    return orderOf(this.#next++);
  }

  /** One process, as long as there are seeds. */
  #work(): Promise<void> {
    return new Promise((resolve, reject) => {
      const worker = fork(WORKER, { execArgv: WORKER_ARGUMENTS });
      let order: SeedOrder | null = null;
      const give = (): void => {
        order = this.#take();
        if (order === null) worker.disconnect();
        else worker.send(order);
      };
      worker.on('message', message => {
        this.#note(order!, message as Outcome);
        give();
      });
      worker.on('error', reject);
      worker.on('exit', code => {
        if (order === null) resolve();
        else
          reject(
            new Error(`the process of seed ${order.seed} ended with ${code}; again: ${repeat(order.kind, order.seed)}`),
          );
      });
      give();
    });
  }

  #note({ seed, kind }: SeedOrder, outcome: Outcome): void {
    if (outcome.kind === 'held') {
      this.#held++;
      for (const [name, value] of Object.entries(outcome.report)) {
        if (typeof value === 'number') this.#totals.set(name, (this.#totals.get(name) ?? 0) + Math.round(value));
      }
      if (values.hashes) say(`${seed} ${kind} ${String(outcome.report['trace'])}`);
      if (this.#count === 1) say(JSON.stringify(outcome.report));
      return;
    }
    this.#failed++;
    if (values.trace) for (const line of outcome.lastLines) say(line);
    say(`seed ${seed}: ${outcome.what}`);
    say(`${kind}, plan ${JSON.stringify(outcome.plan)}`);
    say(`commit ${commit()}, Node ${process.version}; again: ${repeat(kind, seed)}`);
  }
}

if (values.kind !== undefined && !kinds.some(kind => kind === values.kind)) {
  say(`--kind is ${kinds.join(' or ')}`);
  process.exitCode = 2;
} else {
  await new Campaign().run();
}

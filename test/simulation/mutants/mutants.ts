// Known bugs of this field, each as a change of the source text, and the cluster with it in. They live here, so that no production code
// knows of them; a text that is not found exactly once is an error, so that none can wither unseen.

import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BrokerCluster } from '../broker-cluster.ts';
import type { BrokerClusterPlan } from '../broker-plan.ts';
import type { Cluster } from '../cluster.ts';
import type { ClusterPlan } from '../cluster-plan.ts';
import type { Directed, directed } from './directed.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const place = join(root, '.work/simulation-mutants');

interface Change {
  readonly name: string;
  /** Below server/. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Random seeds find it in hundreds or never, and this scenario does. */
  readonly directed?: Directed;
}

/** What makes it likely is wished; the rest is drawn. */
interface GroupsMutant extends Change {
  readonly wishes: Partial<ClusterPlan>;
}

/** A fault of a broker above its groups. */
interface BrokersMutant extends Change {
  readonly brokers: Partial<BrokerClusterPlan>;
}

export type Mutant = GroupsMutant | BrokersMutant;

const three = { nodes: 3, groups: [{ partition: 0, nodes: [1, 2, 3] }], safetyMs: 8_000, clientEveryMs: 40 } as const;
const crashes = { ...three, troubles: ['power', 'slow-disk'], troubleEveryMs: 300 } as const;
const splits = { ...three, troubles: ['isolate', 'behead'], troubleEveryMs: 900, safetyMs: 12_000 } as const;
/** Leaders that nobody heard of. */
const coups = {
  ...three,
  troubles: ['dethrone', 'behead', 'transfer'],
  troubleEveryMs: 250,
  safetyMs: 12_000,
  clientEveryMs: 400,
  appendBytesMax: 300,
} as const;
const slowSplits = {
  ...splits,
  troubles: ['isolate', 'slow-disk', 'dethrone'],
  troubleEveryMs: 300,
  clientEveryMs: 15,
} as const;
const fulls = { ...three, troubles: ['full', 'slow-disk', 'kill'], troubleEveryMs: 300 } as const;

const brokersSplit: Partial<BrokerClusterPlan> = {
  nodes: 3,
  troubles: ['isolate', 'behead', 'slow-disk'],
  troubleEveryMs: 700,
  safetyMs: 8_000,
  clientEveryMs: 40,
  producers: 3,
  topicsMax: 1,
  hasAdministrators: false,
};

export const mutants: readonly Mutant[] = [
  {
    name: 'acknowledgement before the sync',
    file: 'raft/outbox.ts',
    from: 'if (version > durable.version || !isDurable) waiting.push(held);',
    to: 'if (version > durable.version) waiting.push(held);',
    wishes: crashes,
  },
  {
    name: 'leader counts what it has not synced',
    file: 'raft/leader.ts',
    from: 'const position = this.#replica.acknowledgeable;',
    to: 'const position = this.#replica.shape.end;',
    wishes: crashes,
  },
  {
    name: 'lost sync',
    file: 'storage/log-sync.ts',
    from: "await syncGate.run('log', () => file.sync());",
    to: "await syncGate.run('log', () => Promise.resolve());",
    wishes: crashes,
  },
  {
    name: 'vote not persisted',
    file: 'replication/replica-records.ts',
    from: '      vote,\n      recovery,\n      configurations: configurations.map',
    to: '      vote: null,\n      recovery,\n      configurations: configurations.map',
    wishes: crashes,
  },
  {
    name: 'store notice before the sync',
    file: 'replication/replication.ts',
    from: 'await this.#options.records.flush();',
    to: 'void this.#options.records.flush();',
    wishes: crashes,
  },
  {
    name: 'durable notice of an older generation believed',
    directed: 'a write under way at a cut',
    file: 'storage/log-writer.ts',
    from: 'if (generation !== this.#log.generation) return;\n    this.#noteDurable(group.end);',
    to: 'this.#noteDurable(group.end);',
    wishes: slowSplits,
  },
  {
    name: 'starts left out of the comparison',
    file: 'raft/append-request.ts',
    from: 'const own = shape.startsAfter(from);',
    to: 'const own = shape.startsAfter(from).filter(start => start.startOffset < shape.end.offset);',
    wishes: coups,
  },
  {
    name: 'gap ignored: a request matches whatever stands before it',
    file: 'raft/append-request.ts',
    from: 'if (isBefore(settled, prev) && !shape.holds(prev)) {',
    to: 'if (isBefore(settled, prev) && prev.offset > shape.end.offset) {',
    wishes: splits,
  },
  {
    name: 'commit of an old term',
    file: 'raft/leader.ts',
    from: 'agreed.epoch !== this.#replica.term || ',
    to: '',
    wishes: coups,
  },
  {
    name: 'follower commits up to its own end',
    directed: 'the rules of the core, one by one',
    file: 'raft/replica.ts',
    from: 'this.commitTo(earlier(append.commit, judgement.matched));',
    to: 'this.commitTo(earlier(append.commit, this.shape.end));',
    wishes: splits,
  },
  {
    name: 'log of a candidate not looked at',
    file: 'raft/voter.ts',
    from: "if (isBefore(position, replica.claim)) return 'no';",
    to: '',
    wishes: splits,
  },
  {
    name: 'half the voters are a majority',
    file: 'raft/quorum.ts',
    from: 'Math.floor(voters.size / 2) + 1',
    to: 'Math.ceil(voters.size / 2)',
    wishes: { ...splits, nodes: 2, groups: [{ partition: 0, nodes: [1, 2] }] },
  },
  {
    name: 'quiet group that nobody wakes',
    file: 'replication/replication.ts',
    from: 'if (peer.judgeSilence(nowMs, this.#options.electionMs)) this.#wakeWith(peer.nodeId);',
    to: 'peer.judgeSilence(nowMs, this.#options.electionMs);',
    wishes: {
      ...three,
      clientEveryMs: 1_500,
      troubles: ['kill', 'power', 'cut'],
      troubleEveryMs: 1_500,
      safetyMs: 12_000,
    },
  },
  {
    name: 'a follower that is behind is sent to sleep',
    directed: 'the rules of the core, one by one',
    file: 'raft/leader.ts',
    from: 'if (isLast && !progress.hasAcknowledged(commit)) continue;',
    to: 'if (isLast && progress.acknowledged === null) continue;',
    wishes: {
      ...three,
      clientEveryMs: 700,
      clients: 1,
      troubles: ['stall', 'noise'],
      troubleEveryMs: 500,
      safetyMs: 20_000,
    },
  },
  {
    name: 'who hears no leader and may not campaign says nothing',
    file: 'replication/replication.ts',
    from: 'if (leader !== null) this.#peerOf(leader)?.control.wake(name);',
    to: 'void leader;',
    wishes: {
      nodes: 4,
      groups: [{ partition: 0, nodes: [1, 2, 3] }],
      troubles: ['membership', 'kill'],
      safetyMs: 4_000,
    },
  },
  {
    name: 'commit told before the log has it',
    file: 'replication/replicated-log.ts',
    from: "if (news === null || this.#busy !== 'no') return;",
    to: 'if (news === null) return;',
    wishes: splits,
  },
  {
    name: 'orders carried out while the log is being cut',
    file: 'replication/replicated-log.ts',
    from: "    if (this.#busy !== 'no') {\n      this.#orders.push(order);\n      return;\n    }\n",
    to: '',
    wishes: splits,
  },
  {
    name: 'a read that no majority confirmed',
    file: 'raft/read-rounds.ts',
    from: "if (jointVote(configuration, votes) === 'won') last = index;",
    to: 'last = index;',
    wishes: splits,
  },
  {
    name: 'a read of a leader that has committed nothing yet',
    file: 'raft/leader.ts',
    from: 'if (this.#reads.hasWaiting && this.#isReady) {',
    to: 'if (this.#reads.hasWaiting) {',
    wishes: { ...slowSplits, troubles: ['behead', 'slow-disk'], troubleEveryMs: 200, readers: 6, clients: 4 },
  },
  {
    name: 'core that is not told that its log lost something',
    file: 'replication/replicated-log.ts',
    from: 'else this.#restart();\n    this.#settleDurable(true);',
    to: '\n    this.#settleDurable(true);',
    wishes: fulls,
  },
  {
    name: 'order that is dropped with its session is never tried again',
    file: 'replication/replicated-log.ts',
    from: 'dropped: () => this.#unreadable(order, life),',
    to: 'dropped: () => undefined,',
    wishes: { ...three, troubles: ['reset', 'cut', 'kill'], troubleEveryMs: 300 },
  },
  {
    name: 'leaders are not announced when a session begins, nor again',
    file: 'replication/replication.ts',
    from: 'for (const peer of peers) {',
    to: 'for (const peer of [...peers].slice(1_000)) {',
    wishes: { nodes: 4, groups: [{ partition: 0, nodes: [1, 2, 3] }], troubles: ['kill'], safetyMs: 5_000 },
  },
  {
    name: 'acks=all answered by the leader alone',
    file: 'broker/partition.ts',
    from: "const waits = request.acks === 'all';",
    to: 'const waits = false;',
    brokers: brokersSplit,
  },
  {
    name: 'an outcome that is unknown is told as a refusal',
    file: 'broker/partition.ts',
    from: "return refused('REQUEST_TIMED_OUT', `${why}; they may be written`, { outcome: 'unknown', ...this.#where() });",
    to: "return refused('REQUEST_TIMED_OUT', `${why}; they may be written`, this.#where());",
    brokers: brokersSplit,
  },
];

interface Mutated {
  readonly Cluster: typeof Cluster;
  readonly BrokerCluster: typeof BrokerCluster;
  readonly directed: typeof directed;
}

/** Everything with the fault in it, loaded from a copy by Node's own import: a test runner would transform every copy of every file. */
export const mutated = ({ name, file, from, to }: Mutant): Mutated => {
  const folder = join(place, name.replaceAll(/[^a-z]+/g, '-'));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'test'), { recursive: true });
  const isSource = (path: string): boolean => !path.endsWith('node_modules');
  cpSync(join(root, 'server'), join(folder, 'server'), { recursive: true, filter: isSource });
  for (const part of ['simulation', 'history', 'storage', 'raft'])
    cpSync(join(root, 'test', part), join(folder, 'test', part), { recursive: true });
  const path = join(folder, 'server', file);
  const source = readFileSync(path, 'utf8');
  const parts = source.split(from);
  if (parts.length !== 2) throw new Error(`${file} holds the text of "${name}" ${parts.length - 1} times`);
  writeFileSync(path, parts.join(to));
  const load = createRequire(import.meta.url);
  const loaded = (module: string): Partial<Mutated> => load(join(folder, 'test/simulation', module)) as Mutated;
  return {
    ...loaded('cluster.ts'),
    ...loaded('broker-cluster.ts'),
    ...loaded('mutants/directed.ts'),
  } as Mutated;
};

export interface Caught {
  /** Seeds until it failed, or the scenario that did; null: nothing. */
  readonly by: number | Directed | null;
  readonly how: string;
}

const failureOf = async (work: () => Promise<unknown>): Promise<string | null> => {
  try {
    await work();
    return null;
  } catch (fault) {
    const [how = ''] = (fault instanceof Error ? fault.message : JSON.stringify(fault)).split('\n');
    return how;
  }
};

/** Seeds are tried first, scenarios then. */
export const hunt = async (mutant: Mutant, seedsMax: number): Promise<Caught> => {
  const faulty = mutated(mutant);
  for (let seed = 0; seed < seedsMax; seed++) {
    const name = `mutant ${seed}`;
    const how = await failureOf(() =>
      'brokers' in mutant
        ? new faulty.BrokerCluster(name, mutant.brokers).run()
        : new faulty.Cluster(name, mutant.wishes).run(),
    );
    if (how !== null) return { by: seed + 1, how };
  }
  const scenario = mutant.directed;
  const how = scenario === undefined ? null : await failureOf(faulty.directed[scenario]);
  return how === null ? { by: null, how: '' } : { by: scenario!, how };
};

// What happens to a cluster while it is used: one fault after another, each chosen by chance, lasting for a number of acknowledgements or a
// bounded time, then undone. Some come two at a time.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { ClusterLoad } from './cluster-load.ts';
import type { ClusterNode, TestCluster } from './cluster-processes.ts';
import { HttpClient } from './http-exchange.ts';

export interface Havoc {
  readonly cluster: TestCluster;
  readonly load: ClusterLoad;
  /** The node whose disk is small, and that disk's root; null where none could be mounted. */
  readonly smallDisk: { readonly node: number; readonly root: string } | null;
  /** One line a fault. */
  readonly told: (what: string) => void;
}

/** Undoes what it did. */
type Undo = () => Promise<void>;
type Fault = (havoc: Havoc) => Promise<Undo>;

const upTo = ({ load }: Havoc, max: number): number => 1 + Math.floor(load.random() * max);
const pick = <T>({ load }: Havoc, list: readonly T[]): T => list[Math.floor(load.random() * list.length)]!;

export interface Description {
  readonly partitions: readonly {
    readonly partition: number;
    readonly leader: number;
    readonly isr: readonly number[];
    readonly high_watermark: number;
  }[];
}

/** What a node says of the topic; null where it says nothing useful. */
export async function describeAt(node: ClusterNode, topic: string): Promise<Description | null> {
  const http = new HttpClient(node.http);
  try {
    return await http.json<Description>({ path: `/v1/topics/${topic}` });
  } catch {
    return null;
  } finally {
    http.close();
  }
}

/** One that leads some partition, as far as one that answers knows; else any. */
async function leader(havoc: Havoc): Promise<ClusterNode> {
  const { cluster, load } = havoc;
  const up = cluster.nodes.filter(node => node.isUp && !node.isPaused);
  const answerer = pick(havoc, up.length > 0 ? up : cluster.nodes);
  const led = (await describeAt(answerer, load.topic))?.partitions.map(partition => partition.leader) ?? [];
  const leaders = cluster.nodes.filter(node => led.includes(node.id));
  return pick(havoc, leaders.length > 0 ? leaders : cluster.nodes);
}

async function startAgain(node: ClusterNode): Promise<void> {
  if (!node.isUp) await node.start();
}

const kill: Fault = async havoc => {
  const victim = await leader(havoc);
  havoc.told(`kill ${victim.id}`);
  await victim.kill();
  return () => startAgain(victim);
};

const killAll: Fault = async havoc => {
  const { nodes } = havoc.cluster;
  havoc.told('kill all');
  await Promise.all(nodes.map(node => node.kill()));
  return async () => {
    await Promise.all(nodes.map(startAgain));
  };
};

const pause: Fault = async havoc => {
  const victim = await leader(havoc);
  havoc.told(`pause ${victim.id}`);
  victim.pause();
  return async () => victim.resume();
};

const isolate: Fault = async havoc => {
  const { network, nodes } = havoc.cluster;
  const victim = await leader(havoc);
  const others = nodes.filter(node => node !== victim);
  havoc.told(`isolate ${victim.id}`);
  for (const { id } of others) network.cut({ from: id, to: victim.id }, { from: victim.id, to: id });
  return async () => network.heal();
};

const cutLink: Fault = async havoc => {
  const { network, nodes } = havoc.cluster;
  const one = await leader(havoc);
  const other = pick(
    havoc,
    nodes.filter(node => node !== one),
  );
  const ways = [
    { from: one.id, to: other.id },
    { from: other.id, to: one.id },
  ];
  const cut = pick(havoc, [ways, ways.slice(0, 1), ways.slice(1)]);
  havoc.told(`cut ${cut.map(({ from, to }) => `${from} to ${to}`).join(', ')}`);
  network.cut(...cut);
  return async () => network.heal();
};

const sever: Fault = async havoc => {
  const victim = await leader(havoc);
  havoc.told(`sever ${victim.id}`);
  havoc.cluster.network.sever(victim.id);
  return async () => {};
};

const restart: Fault = async havoc => {
  const victim = await leader(havoc);
  havoc.told(`restart ${victim.id}`);
  await victim.terminate();
  return () => startAgain(victim);
};

const fillDisk: Fault = async havoc => {
  const { smallDisk } = havoc;
  if (smallDisk === null) return sever(havoc);
  const ballast = join(smallDisk.root, 'ballast');
  havoc.told(`fill the disk of ${smallDisk.node}`);
  const file = openSync(ballast, 'w');
  const piece = Buffer.alloc(65_536, 1);
  try {
    for (;;) if (writeSync(file, piece) < piece.length) break;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
  // Of two at a time the first one to be undone has taken it away.
  return async () => rmSync(ballast, { force: true });
};

/** A segment file that was damaged while its node was down, and what it has to be again. */
interface DamagedFile {
  readonly path: string;
  readonly digest: string;
}

const damagedFiles = new WeakMap<TestCluster, DamagedFile>();

/** Whether what was damaged last is whole again: until then the others have the only copies of it. */
export function isRepaired(cluster: TestCluster): boolean {
  const damaged = damagedFiles.get(cluster);
  return damaged === undefined || (existsSync(damaged.path) && digestOf(damaged.path) === damaged.digest);
}

function digestOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Sealed, and followed by others: what its node took last may be no other's. */
function oldSegments({ dataDir }: ClusterNode, topic: string): readonly string[] {
  const folders = readdirSync(dataDir).filter(name => name.startsWith(`${topic}-`) && /-\d+$/.test(name));
  return folders.flatMap(folder => {
    const names = readdirSync(join(dataDir, folder)).filter(name => /^\d{20}\.log$/.test(name));
    return names
      .sort()
      .slice(0, -2)
      .map(name => join(dataDir, folder, name));
  });
}

/** A node goes down, and comes back with a segment that is missing, cut short, or has something else in it from some place on. */
const damage: Fault = async havoc => {
  const victim = await leader(havoc);
  const segments = oldSegments(victim, havoc.load.topic);
  if (segments.length === 0 || !isRepaired(havoc.cluster)) return kill(havoc);
  await victim.kill();
  const path = pick(havoc, segments);
  const bytes = readFileSync(path);
  damagedFiles.set(havoc.cluster, { path, digest: digestOf(path) });
  const at = upTo(havoc, bytes.length - 1) - 1;
  const how = pick(havoc, ['missing', 'cut short', 'torn'] as const);
  havoc.told(`damage ${victim.id}: ${path.split('/').slice(-2).join('/')} ${how} at ${at} of ${bytes.length}`);
  if (how === 'missing') rmSync(path);
  else if (how === 'cut short') truncateSync(path, at);
  // Of another length, as the start finds without reading it.
  else writeFileSync(path, Buffer.concat([bytes.subarray(0, at), Buffer.alloc(100, 7), bytes.subarray(at + 50)]));
  return () => startAgain(victim);
};

const faults: readonly (readonly [weight: number, fault: Fault])[] = [
  [6, kill],
  [1, killAll],
  [3, pause],
  [3, isolate],
  [4, cutLink],
  [1, sever],
  [2, restart],
  [2, fillDisk],
  [3, damage],
];

function anyFault({ load }: Havoc): Fault {
  let left = load.random() * faults.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, fault] of faults) {
    left -= weight;
    if (left < 0) return fault;
  }
  return kill;
}

const SECOND_FAULT_CHANCE = 0.2;
const ACKNOWLEDGEMENTS_MAX = 300;
const FAULT_MS_MAX = 6_000;
const CALM_ACKNOWLEDGEMENTS = 30;
const CALM_MS_MAX = 6_000;

/** Faults until the time is over; how many there were. Everything is whole again when it returns. */
export async function wreak(havoc: Havoc, untilMs: number): Promise<number> {
  const { load } = havoc;
  let count = 0;
  while (performance.now() < untilMs && !load.over.aborted) {
    const undo: Undo[] = [];
    for (let again = true; again; again = undo.length < 2 && load.random() < SECOND_FAULT_CHANCE) {
      undo.push(await anyFault(havoc)(havoc));
      count++;
      await load.tally.more(upTo(havoc, ACKNOWLEDGEMENTS_MAX), upTo(havoc, FAULT_MS_MAX));
    }
    // Also in this order two that need each other come back: a node that starts listens only once it has a quorum.
    await Promise.all(undo.map(each => each()));
    await load.tally.more(CALM_ACKNOWLEDGEMENTS, CALM_MS_MAX);
  }
  return count;
}

/** A small disk of its own; null where none can be mounted, which is said aloud. */
export function mountSmallDisk(folder: string, mebibytes: number): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', folder], { stdio: 'pipe' });
    return true;
  } catch (error) {
    process.stderr.write(
      `\nSKIPPED the full disk of a cluster: no tmpfs can be mounted (${String(error).split('\n')[0]})\n`,
    );
    return false;
  }
}

export function unmount(folder: string): void {
  execFileSync('umount', ['--lazy', folder]);
}

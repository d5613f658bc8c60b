// What three brokers on this machine do together, and what the loss of one costs.
//
//   node bench/three-brokers.ts [--only produce,failover,restart,idle,leaders,catch-up] [--rounds 50] [--partitions 1000]
//                               [--records 2000000] [--away-bytes 2000000000]
//
//   produce    SDK, 100 B, acks=all, replication factor 3, one partition; reading it back from any node
//   failover   kill -9 of the leader to the next acknowledged produce of a client at another node, so many rounds
//   restart    SIGTERM of the leader, started again: the longest time between two acknowledgements, and errors of an SDK producer
//   idle       processor time of brokers with so many quiet partitions of three replicas
//   leaders    a broker with its share of so many leaders dies: until all partitions have leaders again
//   catch-up   a follower that was away for so many bytes: how fast it comes back, and what that does to a producer's p99

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { Sluice } from '@sluice/client';
import { LocalBrokers, type Node } from './local-brokers.ts';
import { processorMs } from './load/process-usage.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'produce,failover,restart,idle,leaders,catch-up' },
    rounds: { type: 'string', default: '50' },
    partitions: { type: 'string', default: '1000' },
    records: { type: 'string', default: '2000000' },
    'away-bytes': { type: 'string', default: '2000000000' },
  },
});
const execute = promisify(execFile);
const root = path.resolve(import.meta.dirname, '..');
const IDLE_SECONDS = 20;
const VALUE_BYTES = 10_000;

const say = (text: string): boolean => process.stdout.write(`${text}\n`);
const quantile = (sorted: readonly number[], part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
const sortedOf = (numbers: readonly number[]): number[] => numbers.toSorted((a, b) => a - b);

interface Partition {
  readonly partition: number;
  readonly leader: number;
  readonly isr: readonly number[];
  readonly log_end_offset: number;
}

const describe = async (brokers: LocalBrokers, node: Node, topic: string): Promise<readonly Partition[]> =>
  ((await brokers.ask(node, `/v1/topics/${topic}`)).body as { partitions: Partition[] }).partitions;

const create = async (brokers: LocalBrokers, name: string, partitions: number): Promise<number> => {
  const began = performance.now();
  const topic = { name, partition_count: partitions, replication_factor: 3 };
  const { status, body } = await brokers.ask(1, '/v1/topics', topic);
  if (status !== 201) throw new Error(`no topic: ${JSON.stringify(body)}`);
  while ((await describe(brokers, 1, name)).some(each => each.leader < 0 || each.isr.length < 3)) await sleep(50);
  return performance.now() - began;
};

const otherThan = (node: Node): Node => (node === 1 ? 2 : 1);

const produce = async (brokers: LocalBrokers): Promise<void> => {
  await create(brokers, 'load', 1);
  const leader = (await describe(brokers, 1, 'load'))[0]!.leader as Node;
  for (const [what, node] of [
    ['at the leader', leader],
    ['at another node', otherThan(leader)],
  ] as const) {
    const server = brokers.address(node).grpc;
    const words = [
      'perf',
      'produce',
      '--topic',
      'load',
      '--num-records',
      values.records,
      '--record-size',
      '100',
      '--server',
      server,
    ];
    const { stdout } = await execute(process.execPath, [path.join(root, 'server/sluice.cjs'), ...words]);
    say(`produce, bootstrapped ${what}: ${stdout.trim().split('\n').at(-1)}`);
  }
};

/** One small record a time, at a node that stays, until `isOver`; the times of acknowledgements. */
const probe = async (brokers: LocalBrokers, node: Node, isOver: () => boolean): Promise<readonly number[]> => {
  const times: number[] = [];
  while (!isOver()) {
    const { status } = await brokers
      .ask(node, '/v1/topics/probe/partitions/0/records?timeout_ms=3000', { records: [{ value: 1 }] })
      .catch(() => ({ status: 0 }));
    if (status === 200) times.push(performance.now());
    else await sleep(2);
  }
  return times;
};

const failover = async (brokers: LocalBrokers): Promise<void> => {
  await create(brokers, 'probe', 1);
  const gaps: number[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    const leader = (await describe(brokers, 1, 'probe'))[0]!.leader as Node;
    const at = brokers.nodes.find(node => node !== leader)!;
    let killedAt = Number.POSITIVE_INFINITY;
    let isOver = false;
    const probing = probe(brokers, at, () => isOver);
    await sleep(100 + Math.random() * 300);
    killedAt = performance.now();
    await brokers.kill(leader);
    await sleep(2_500);
    isOver = true;
    const next = (await probing).find(time => time > killedAt + 1);
    gaps.push((next ?? Number.POSITIVE_INFINITY) - killedAt);
    await brokers.start(leader);
    await brokers.ready(leader);
    while ((await describe(brokers, at, 'probe'))[0]!.isr.length < 3) await sleep(50);
  }
  const sorted = sortedOf(gaps);
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map(part => Math.round(quantile(sorted, part)));
  say(
    `failover: ${gaps.length} rounds, p50 ${p50} ms (<= 800), p90 ${p90} ms, p99 ${p99} ms (<= 1500), longest ${Math.round(sorted.at(-1)!)} ms`,
  );
};

const restart = async (brokers: LocalBrokers): Promise<void> => {
  await create(brokers, 'rolling', 3);
  const sluice = new Sluice({ servers: [...brokers.grpcAddresses] });
  const producer = sluice.producer({ topic: 'rolling', lingerMs: 1 });
  const over = new AbortController();
  let errors = 0;
  const times: number[] = [];
  const sending = (async () => {
    while (!over.signal.aborted) {
      try {
        await producer.send({ value: 'x' });
        times.push(performance.now());
      } catch (error) {
        errors++;
        say(`restart: ${String(error)}`);
      }
    }
  })();
  for (const node of brokers.nodes) {
    await sleep(2_000);
    await brokers.terminate(node);
    await brokers.start(node);
    await brokers.ready(node);
  }
  await sleep(2_000);
  over.abort();
  await sending;
  await sluice.close();
  const gaps = sortedOf(times.slice(1).map((time, index) => time - times[index]!));
  say(
    `restart: 3 graceful restarts under ${times.length} sends, ${errors} errors (0), longest pause ${Math.round(gaps.at(-1)!)} ms (< 300), p99 ${quantile(gaps, 0.99).toFixed(1)} ms`,
  );
};

const idle = async (brokers: LocalBrokers): Promise<void> => {
  const count = Number(values.partitions);
  const made = await create(brokers, 'quiet', count);
  say(`idle: ${count} partitions of three replicas made in ${(made / 1_000).toFixed(1)} s`);
  await sleep(10_000);
  const before = brokers.nodes.map(node => processorMs(brokers.pid(node)) ?? Number.NaN);
  await sleep(IDLE_SECONDS * 1_000);
  const shares = brokers.nodes.map(
    (node, index) => ((processorMs(brokers.pid(node)) ?? Number.NaN) - before[index]!) / (IDLE_SECONDS * 10),
  );
  say(`idle: ${shares.map(share => `${share.toFixed(1)} %`).join(', ')} of a core a broker (< 10 % at 1,000)`);
};

const leaders = async (brokers: LocalBrokers): Promise<void> => {
  const all = await describe(brokers, 1, 'quiet');
  const share = all.filter(each => each.leader === 3).length;
  const began = performance.now();
  await brokers.kill(3);
  let slowest = 0;
  for (;;) {
    const now = await describe(brokers, 1, 'quiet');
    slowest = performance.now() - began;
    if (now.every(each => each.leader > 0 && each.leader !== 3)) break;
    await sleep(50);
  }
  say(
    `leaders: ${share} of ${all.length} partitions were led by the broker that died; all led again after ${(slowest / 1_000).toFixed(2)} s (<= 5)`,
  );
  await brokers.start(3);
  await brokers.ready(3);
};

const latencies = async (
  producer: { send(record: { value: Uint8Array }): Promise<unknown> },
  until: () => boolean,
): Promise<number[]> => {
  const found: number[] = [];
  const value = new Uint8Array(100);
  while (!until()) {
    const began = performance.now();
    await producer.send({ value });
    found.push(performance.now() - began);
    await sleep(1);
  }
  return sortedOf(found);
};

const catchUp = async (brokers: LocalBrokers): Promise<void> => {
  await create(brokers, 'away', 1);
  const leader = (await describe(brokers, 1, 'away'))[0]!.leader as Node;
  const follower = brokers.nodes.find(node => node !== leader)!;
  const sluice = new Sluice({ servers: [brokers.address(leader).grpc] });
  const producer = sluice.producer({ topic: 'away' });
  const before = await latencies(producer, deadline(5_000));
  await brokers.kill(follower);
  const records = Math.ceil(Number(values['away-bytes']) / VALUE_BYTES);
  const words = [
    'perf',
    'produce',
    '--topic',
    'away',
    '--num-records',
    String(records),
    '--record-size',
    String(VALUE_BYTES),
    '--server',
    brokers.address(leader).grpc,
  ];
  await execute(process.execPath, [path.join(root, 'server/sluice.cjs'), ...words]);
  await brokers.start(follower);
  const began = performance.now();
  let isBack = false;
  const during = latencies(producer, () => isBack);
  while (!(await describe(brokers, leader, 'away'))[0]!.isr.includes(follower)) await sleep(50);
  const seconds = (performance.now() - began) / 1_000;
  isBack = true;
  const meanwhile = await during;
  await sluice.close();
  const megabytes = (records * VALUE_BYTES) / 1e6;
  const [calm, busy] = [quantile(before, 0.99), quantile(meanwhile, 0.99)];
  say(
    `catch-up: ${megabytes.toFixed(0)} MB in ${seconds.toFixed(1)} s, ${(megabytes / seconds).toFixed(0)} MB/s (>= 100); p99 of a producer ${calm.toFixed(1)} -> ${busy.toFixed(1)} ms (<= 2 x)`,
  );
};

const deadline = (ms: number): (() => boolean) => {
  const end = performance.now() + ms;
  return () => performance.now() >= end;
};

const works: Readonly<Record<string, (brokers: LocalBrokers) => Promise<void>>> = {
  produce,
  failover,
  restart,
  idle,
  leaders,
  'catch-up': catchUp,
};

const directory = mkdtempSync(path.join(tmpdir(), 'sluice-three-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const brokers = await LocalBrokers.start(directory);
for (const name of values.only.split(',')) await works[name]!(brokers);
await brokers.stop();

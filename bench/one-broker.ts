// Every budget of one broker beside its figure, in one run.
//
//   npm run bench                      three rounds of everything that fits into a few minutes
//   npm run bench -- --full            also a start with 10 GB after kill -9, and produce behind a 20 GB log; needs 30 GB
//   npm run bench -- --only NAME,…     some loads (their names are the keys of LOADS below)
//   npm run bench:smoke                one short round: shows that the benchmarks run, not how fast
//
// The broker, and each load, is a process of its own; loads run one at a time. Rounds go through all loads in turn, so that a drift
// of the machine meets all of them, and the table holds medians. Loads leave their own warm-up out. Who writes is held against
// a bare loop that writes and syncs the same bytes in the groups that the broker itself made of them in that round (bytes
// divided by its syncs). Each line tells how busy broker and client were, in percent of one processor, start and end
// of the client's process included: with a client at 100 the figure is the client's.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { BrokerProcess } from '../test/integration/broker-process.ts';
import { BUDGETS, type BudgetName, FigureTable } from './budget.ts';
import { endedChildrenMs, processorMs, residentBytes } from './load/process-usage.ts';
import { syncLoop } from './sync-loop.ts';

const { values: settings } = parseArgs({
  options: {
    smoke: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    only: { type: 'string' },
  },
});
const isSmoke = settings.smoke;
const rounds = Number(settings.rounds ?? (isSmoke ? 1 : 3));
const records = isSmoke ? 200_000 : 5_000_000;
/** All of it fits into the cache of the newest batches. */
const tailRecords = isSmoke ? 200_000 : 1_000_000;
const seconds = String(isSmoke ? 1 : 5);
const readers = String(isSmoke ? 100 : 1_000);

const GB = 1e9;
const FULL_FREE_BYTES = 30 * GB;
const SETTLE_MS = isSmoke ? 500 : 3_000;
const FILL_RECORD_BYTES = 10_000;
const SHORT_MS_MAX = 300_000;
const FILL_MS_MAX = 900_000;
const LAUNCHER = 'server/sluice.cjs';
const PUBLISHED_LAUNCHER = 'dist/server/sluice.cjs';

const root = path.resolve(import.meta.dirname, '..');
const directory = mkdtempSync(path.join(tmpdir(), 'sluice-bench-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const table = new FigureTable();
const execute = promisify(execFile);

const numberIn = (text: string, pattern: RegExp): number => {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`no figure ${pattern} in:\n${text}`);
  return Number(found.replaceAll(',', ''));
};
const recordsPerSecond = (text: string): number => numberIn(text, /([\d,.]+) records\/s/);

interface Served {
  readonly text: string;
  /** Bytes that the broker put under one sync, when the load wrote so many. */
  readonly groupBytes: (written: number) => number;
}

/** Runs a program of this repository as the only client of the broker, and says how busy both were. */
const serve = async (broker: BrokerProcess, words: readonly string[], timeout = SHORT_MS_MAX): Promise<Served> => {
  const pid = broker.child.pid!;
  const busy = (): [number, number] => [processorMs(pid) ?? Number.NaN, endedChildrenMs(process.pid) ?? Number.NaN];
  const [script, ...rest] = words as [string, ...string[]];
  const syncsBefore = await syncsOf(broker);
  const before = busy();
  const began = performance.now();
  const { stdout } = await execute(process.execPath, [path.join(root, script), ...rest], { timeout });
  const elapsedMs = performance.now() - began;
  const [brokerBusy, clientBusy] = busy().map((ms, index) => ((ms - before[index]!) / elapsedMs) * 100);
  const syncs = (await syncsOf(broker)) - syncsBefore;
  const outcome = stdout.trim().split('\n').at(-1)!;
  console.log(
    `    ${outcome}\n    broker ${brokerBusy!.toFixed(0)} %, client ${clientBusy!.toFixed(0)} %, ${syncs} syncs`,
  );
  return { text: stdout, groupBytes: written => Math.max(1, Math.round(written / Math.max(1, syncs))) };
};

const syncsOf = async (broker: BrokerProcess): Promise<number> => {
  const metrics = await (await fetch(`http://${broker.management}/metrics`)).text();
  const counts = metrics.matchAll(/^sluice_sync_duration_seconds_count(?:\{[^}]*\})? (\d+)/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
};

/** A figure of records a second, beside the loop for the same bytes in the same groups. */
const noteBesideLoop = (name: BudgetName, rate: number, recordBytes: number, groupBytes: number): void => {
  const loop = syncLoop(path.join(directory, 'loop'), records * 100, groupBytes) / recordBytes;
  console.log(`    bare loop, ${groupBytes} bytes a sync: ${Math.round(loop)} records/s`);
  table.note(name, rate, rate / loop);
};

const createTopic = async (broker: BrokerProcess, name: string, partitions = 1): Promise<void> => {
  const words = ['topic', 'create', name, '--partitions', String(partitions), '--server', broker.grpc];
  await execute(process.execPath, [path.join(root, LAUNCHER), ...words]);
};

const perf = (broker: BrokerProcess, verb: string, topic: string, count: number, more: readonly string[] = []) =>
  serve(broker, [
    LAUNCHER,
    'perf',
    verb,
    '--topic',
    topic,
    '--num-records',
    String(count),
    '--server',
    broker.grpc,
    ...more,
  ]);

const size100 = ['--record-size', '100'];

/** What `perf` writes before it counts, by default. */
const warmUpOf = (count: number): number => Math.min(200_000, Math.ceil(count / 10));

let names = 0;
const freshName = (): string => `bench-${++names}`;

type BrokerUse = (broker: BrokerProcess) => Promise<void>;

/** A broker for this use alone; its data is gone afterwards. */
const withBroker = async (use: BrokerUse): Promise<void> => {
  const data = path.join(directory, freshName());
  const broker = await BrokerProcess.start(data);
  try {
    await use(broker);
  } finally {
    await broker.terminate();
    rmSync(data, { recursive: true, force: true });
  }
};

const produce: BrokerUse = async broker => {
  const topic = freshName();
  await createTopic(broker, topic);
  const { text, groupBytes } = await perf(broker, 'produce', topic, records, size100);
  const written = (records + warmUpOf(records)) * 100;
  noteBesideLoop('produce', numberIn(text, /([\d.]+) records\/sec/), 100, groupBytes(written));
};

/** Nothing is in the cache of a broker that has just come up: every byte is read from its file. */
const consumeFromDisk = async (): Promise<void> => {
  const data = path.join(directory, freshName());
  const topic = freshName();
  const writer = await BrokerProcess.start(data);
  await createTopic(writer, topic);
  await perf(writer, 'produce', topic, records, size100);
  await writer.terminate();
  const broker = await BrokerProcess.start(data);
  const { text } = await perf(broker, 'consume', topic, records);
  table.note('consume-disk', numberIn(text, /([\d.]+) records\/sec/));
  await broker.terminate();
  rmSync(data, { recursive: true, force: true });
};

const consumeFromTail: BrokerUse = async broker => {
  const topic = freshName();
  await createTopic(broker, topic);
  await perf(broker, 'produce', topic, tailRecords, size100);
  const { text } = await perf(broker, 'consume', topic, tailRecords);
  table.note('consume-tail', numberIn(text, /([\d.]+) records\/sec/));
};

const latency: BrokerUse = async broker => {
  const { text } = await serve(broker, ['bench/load/latency.ts', '--server', broker.grpc, '--seconds', seconds]);
  table.note('latency-p50', numberIn(text, /p50 ([\d.]+) ms/));
  table.note('latency-p99', numberIn(text, /p99 ([\d.]+) ms/));
};

/** A record of this load as it is stored: key, value and what a batch adds to them. */
const REST_RECORD_BYTES = 130;
const REST_WARM_UP_S = 1;

const rest =
  (load: 'one' | 'batch'): BrokerUse =>
  async broker => {
    const words = ['--server', broker.http, '--case', load, '--seconds', seconds, '--connections', '64'];
    const { text, groupBytes } = await serve(broker, ['bench/load/rest.ts', ...words]);
    const rate = recordsPerSecond(text);
    const written = rate * (Number(seconds) + REST_WARM_UP_S) * REST_RECORD_BYTES;
    noteBesideLoop(`rest-${load}`, rate, REST_RECORD_BYTES, groupBytes(written));
  };

const noteFanOut = (door: 'sse' | 'websocket', text: string): void => {
  table.note(`fan-out-${door}`, numberIn(text, /([\d.]+) deliveries\/s/));
  if (text.includes('KiB a reader')) table.note(`fan-out-${door}-memory`, numberIn(text, /([\d.]+) KiB a reader/));
};

const fanOutOverSse: BrokerUse = async broker => {
  const words = ['--server', broker.http, '--readers', readers, '--seconds', seconds];
  const { text } = await serve(broker, ['bench/load/sse.ts', ...words, '--broker-pid', String(broker.child.pid)]);
  noteFanOut('sse', text);
};

const fanOutOverWebSocket: BrokerUse = async broker => {
  const words = ['--server', broker.http, '--case', 'fan-out', '--readers', readers, '--seconds', seconds];
  const { text } = await serve(broker, ['bench/load/websocket.ts', ...words, '--pid', String(broker.child.pid)]);
  noteFanOut('websocket', text);
};

const produceOverWebSocket: BrokerUse = async broker => {
  const words = ['--server', broker.http, '--case', 'produce', '--seconds', seconds];
  const { text } = await serve(broker, ['bench/load/websocket.ts', ...words]);
  table.note('websocket', recordsPerSecond(text));
};

const ask = async (broker: BrokerProcess, path: string, body: object): Promise<void> => {
  const answer = await fetch(`http://${broker.http}${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'Content-Type': 'application/json' },
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
};

/** From the start of the process to an acknowledged record: seconds. */
const startTo = async (data: string, first: BrokerUse, launcher?: string): Promise<number> => {
  const began = performance.now();
  const broker = await BrokerProcess.start(data, {}, launcher);
  await first(broker);
  const elapsedMs = performance.now() - began;
  await broker.terminate();
  return elapsedMs / 1_000;
};

/** As users of the package start it, and as whoever works on it does. */
const startFresh = async (): Promise<void> => {
  await execute(process.execPath, [path.join(root, '.build/packages.ts')]);
  const firstRecord: BrokerUse = async broker => {
    await ask(broker, '/v1/topics', { name: 'first', partition_count: 1 });
    await ask(broker, '/v1/topics/first/records', { records: [{ value: 1 }] });
  };
  // What was compiled by the start before is kept for the next one.
  for (const launcher of [PUBLISHED_LAUNCHER, LAUNCHER]) {
    await startTo(path.join(directory, freshName()), firstRecord, path.join(root, launcher));
    const taken = await startTo(path.join(directory, freshName()), firstRecord, path.join(root, launcher));
    console.log(`    ${launcher}: ${taken.toFixed(3)} s, the topic made and a record acknowledged`);
    table.note(launcher === LAUNCHER ? 'start-clone' : 'start', taken);
  }
};

const settledBytes = async (child: ChildProcess): Promise<number> => {
  await sleep(SETTLE_MS);
  return residentBytes(child.pid!) ?? Number.NaN;
};

const idle = async (): Promise<void> => {
  const bare = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { stdio: 'ignore' });
  const ended = once(bare, 'exit');
  const node = await settledBytes(bare);
  bare.kill();
  await ended;
  await withBroker(async broker => {
    const bytes = await settledBytes(broker.child);
    console.log(
      `    ${(bytes / 1e6).toFixed(1)} MB, of which a bare Node ${process.version} is ${(node / 1e6).toFixed(1)} MB`,
    );
    table.note('idle', bytes / 1e6);
    table.note('idle-node', node / 1e6);
  });
};

const partitions: BrokerUse = async broker => {
  const rateOver = async (count: number): Promise<number> => {
    const topic = freshName();
    await createTopic(broker, topic, count);
    const { text } = await perf(broker, 'produce', topic, records, [...size100, '--batch-size', '65536']);
    return numberIn(text, /([\d.]+) records\/sec/);
  };
  const one = await rateOver(1);
  table.note('partitions', (await rateOver(1_000)) / one);
};

/** Writes this much in large records: no figure, only a long log. */
const fill = async (broker: BrokerProcess, topic: string, bytes: number): Promise<void> => {
  const count = [
    '--num-records',
    String(Math.ceil(bytes / FILL_RECORD_BYTES)),
    '--record-size',
    String(FILL_RECORD_BYTES),
  ];
  const words = [
    LAUNCHER,
    'perf',
    'produce',
    '--topic',
    topic,
    ...count,
    '--batch-size',
    '1000000',
    '--server',
    broker.grpc,
  ];
  await serve(broker, words, FILL_MS_MAX);
};

const longLog = async (): Promise<void> => {
  const { bavail, bsize } = statfsSync(directory);
  const reason = !settings.full
    ? 'only with --full'
    : bavail * bsize < FULL_FREE_BYTES
      ? `needs ${FULL_FREE_BYTES / GB} GB free, there are ${Math.floor((bavail * bsize) / GB)}`
      : null;
  if (reason !== null) {
    table.missing('start-10-gb', reason);
    table.missing('log-20-gb', reason);
    return;
  }
  const data = path.join(directory, freshName());
  const topic = 'long';
  const rates = async (broker: BrokerProcess): Promise<number> => {
    const all: number[] = [];
    for (let round = 0; round < 3; round++) {
      const { text } = await perf(broker, 'produce', topic, records, size100);
      all.push(numberIn(text, /([\d.]+) records\/sec/));
    }
    return all.toSorted((a, b) => a - b)[1]!;
  };
  try {
    const first = await BrokerProcess.start(data);
    await createTopic(first, topic);
    const empty = await rates(first);
    await fill(first, topic, 10 * GB);
    await first.kill();
    const taken = await startTo(data, broker =>
      ask(broker, `/v1/topics/${topic}/records`, { records: [{ value: 1 }] }),
    );
    console.log(`    ${taken.toFixed(3)} s, a record acknowledged after 10 GB and kill -9`);
    table.note('start-10-gb', taken);
    const second = await BrokerProcess.start(data);
    await fill(second, topic, 10 * GB);
    table.note('log-20-gb', (await rates(second)) / empty);
    await second.terminate();
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
};

interface Load {
  readonly budgets: readonly BudgetName[];
  /** Once in a run, after the rounds: it takes too long for more. */
  readonly isOnce?: boolean;
  readonly run: () => Promise<void>;
}

const LOADS: Readonly<Record<string, Load>> = {
  produce: { budgets: ['produce'], run: () => withBroker(produce) },
  'consume-disk': { budgets: ['consume-disk'], run: consumeFromDisk },
  'consume-tail': { budgets: ['consume-tail'], run: () => withBroker(consumeFromTail) },
  latency: { budgets: ['latency-p50', 'latency-p99'], run: () => withBroker(latency) },
  'rest-one': { budgets: ['rest-one'], run: () => withBroker(rest('one')) },
  'rest-batch': { budgets: ['rest-batch'], run: () => withBroker(rest('batch')) },
  'fan-out-sse': { budgets: ['fan-out-sse', 'fan-out-sse-memory'], run: () => withBroker(fanOutOverSse) },
  websocket: { budgets: ['websocket'], run: () => withBroker(produceOverWebSocket) },
  'fan-out-websocket': {
    budgets: ['fan-out-websocket', 'fan-out-websocket-memory'],
    run: () => withBroker(fanOutOverWebSocket),
  },
  start: { budgets: ['start', 'start-clone'], run: startFresh },
  idle: { budgets: ['idle', 'idle-node'], run: idle },
  partitions: { budgets: ['partitions'], run: () => withBroker(partitions) },
  'long-log': { budgets: ['start-10-gb', 'log-20-gb'], isOnce: true, run: longLog },
};

const chosen = settings.only?.split(',') ?? Object.keys(LOADS);
for (const name of chosen) {
  if (!(name in LOADS)) throw new Error(`--only ${name}: there is ${Object.keys(LOADS).join(', ')}`);
}
for (let round = 0; round < rounds; round++) {
  for (const name of chosen) {
    const load = LOADS[name]!;
    if (load.isOnce === true && round < rounds - 1) continue;
    console.log(`round ${round + 1} of ${rounds}: ${name}`);
    await load.run();
  }
}

const shown =
  settings.only === undefined ? (Object.keys(BUDGETS) as BudgetName[]) : chosen.flatMap(name => LOADS[name]!.budgets);
console.log(
  `\nmedians of ${rounds} rounds, Node ${process.version}${isSmoke ? '; a smoke run says nothing about speed' : ''}`,
);
for (const row of table.rows(shown)) console.log(row);

// The figures of one broker side by side, in one run: `npm run bench` (about two minutes), `npm run bench:smoke` (seconds,
// for continuous integration: it shows that the benchmarks run, not how fast).
//
//   sync loop     writes and syncs the bytes of 256 KiB batches, five at a time: what the disk allows
//   perf produce  100-byte records through the SDK, one partition, acks=all
//   perf consume  the same records back, from disk and cache
//   rest one      one JSON record a request, acks=all      rest batch   500 JSON records a request
//
// The broker, and each load, is a process of its own. Each figure is the median of the rounds; the loop runs before every
// produce, so that their ratio holds when the disk's speed drifts.

import { execFileSync } from 'node:child_process';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writevSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BrokerProcess } from '../test/integration/broker-process.ts';

const isSmoke = process.argv.includes('--smoke');
const rounds = isSmoke ? 1 : 3;
const records = isSmoke ? 200_000 : 5_000_000;
const seconds = isSmoke ? 1 : 5;

const root = path.resolve(import.meta.dirname, '..');
const directory = mkdtempSync(path.join(tmpdir(), 'sluice-bench-'));

/** MB/s of a loop that only writes and syncs, in groups as the log writes them. */
const syncLoop = (bytes: number): number => {
  const batch = Buffer.alloc(256 * 1024, 'x');
  const group = Array.from({ length: 5 }, () => batch);
  const groupBytes = batch.length * group.length;
  const file = path.join(directory, 'loop');
  const descriptor = openSync(file, 'w');
  const began = performance.now();
  for (let position = 0; position < bytes; position += groupBytes) {
    writevSync(descriptor, group, position);
    fdatasyncSync(descriptor);
  }
  const elapsed = (performance.now() - began) / 1_000;
  closeSync(descriptor);
  rmSync(file);
  return bytes / 1e6 / elapsed;
};

const run = (script: string, words: readonly string[]): string =>
  execFileSync(process.execPath, [path.join(root, script), ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 300_000,
  });

const numberIn = (text: string, pattern: RegExp): number => {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`no figure ${pattern} in:\n${text}`);
  return Number(found.replaceAll(',', ''));
};

const median = (figures: readonly number[]): number => figures.toSorted((a, b) => a - b)[figures.length >> 1]!;

const figures = new Map<string, number[]>();
const note = (name: string, figure: number): void => {
  figures.set(name, [...(figures.get(name) ?? []), figure]);
};

const broker = await BrokerProcess.start(path.join(directory, 'data'));
try {
  const { grpc, http } = broker;
  for (let round = 0; round < rounds; round++) {
    const topic = `perf-${round}`;
    const common = ['--topic', topic, '--num-records', String(records), '--server', grpc];
    run('server/sluice.cjs', ['topic', 'create', topic, '--server', grpc]);
    note('sync loop, MB/s', syncLoop(records * 100));
    const produced = run('server/sluice.cjs', ['perf', 'produce', ...common, '--record-size', '100']);
    note('perf produce, records/s', numberIn(produced, /([\d.]+) records\/sec/));
    note('perf produce, MB/s', numberIn(produced, /([\d.]+) records\/sec/) / 1e4);
    const consumed = run('server/sluice.cjs', ['perf', 'consume', ...common]);
    note('perf consume, records/s', numberIn(consumed, /([\d.]+) records\/sec/));
    for (const load of ['one', 'batch']) {
      const words = ['--server', http, '--case', load, '--seconds', String(seconds), '--connections', '64'];
      const text = run('bench/load/rest.ts', words);
      process.stdout.write(text);
      note(`rest ${load}, records/s`, numberIn(text, /([\d,.]+) records\/s/));
    }
  }
} finally {
  await broker.terminate();
  rmSync(directory, { recursive: true, force: true });
}

console.log(`\nmedians of ${rounds} rounds`);
for (const [name, all] of figures) console.log(`${name.padEnd(26)} ${Math.round(median(all)).toLocaleString('en')}`);
const ratios = figures
  .get('perf produce, MB/s')!
  .map((figure, index) => figure / figures.get('sync loop, MB/s')![index]!);
console.log(`${'produce / sync loop'.padEnd(26)} ${median(ratios).toFixed(2)}`);

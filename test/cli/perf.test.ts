// perf against a real broker: that the figures are of what happened. How high they are is for the benchmarks.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startBroker, type TestBroker } from 'sluice/testing';
import { LatencySample } from '../../server/cli/latency-sample.ts';
import { payloadPool } from '../../server/cli/perf-payload.ts';
import { type CommandRun, runCommand } from './command-run.ts';

let broker: TestBroker;

beforeAll(async () => {
  broker = await startBroker();
});

afterAll(() => broker.stop());

const sluice = (...words: readonly string[]): Promise<CommandRun> =>
  runCommand(words, { environment: { SLUICE_SERVER: broker.grpc } });

const number = String.raw`(\d+\.?\d*)`;
const kafkaLine = new RegExp(
  `^(\\d+) records sent, ${number} records/sec \\(${number} MB/sec\\), ${number} ms avg latency, ${number} ms max latency, ` +
    String.raw`(\d+) ms 50th, (\d+) ms 95th, (\d+) ms 99th, (\d+) ms 99\.9th\.$`,
);

describe('perf produce', () => {
  test('prints its settings first and ends with the line of the Kafka tool', async () => {
    await sluice('topic', 'create', 'load', '--partitions', '2');
    const words = ['--topic', 'load', '--num-records', '5000', '--record-size', '100', '--linger-ms', '1'];
    const { exitCode, text, notes } = await sluice('perf', 'produce', ...words, '--compression', 'zstd');
    expect([exitCode, notes]).toEqual([0, '']);
    const lines = text.trimEnd().split('\n');
    expect(lines[0]).toMatch(
      /topic load.*5000 records of 100 bytes, acks all, batch size 262144, linger 1 ms, compression zstd, 5 batches in flight.*first 500 records \(warm-up\)/,
    );
    const figures = (kafkaLine.exec(lines.at(-1) ?? '') ?? []).slice(1).map(Number);
    expect(figures).toHaveLength(9);
    const [records, rate, megabytes, average, max, p50, p95, p99, p999] = figures as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    expect(records).toBe(5_000);
    expect(megabytes).toBeCloseTo((rate * 100) / 1024 / 1024, 1);
    expect(average).toBeLessThanOrEqual(max);
    expect([p50, p95, p99, p999]).toEqual([p50, p95, p99, p999].toSorted((one, other) => one - other));
    const values = await sluice('consume', 'load', '--from-beginning', '--exit-at-end');
    const stored = values.text.replace(/\n$/, '').split('\n');
    expect(stored).toHaveLength(5_000);
    expect(stored.every(value => /^[ -~]{100}$/.test(value))).toBe(true);
  });

  test('holds to a throughput', async () => {
    await sluice('topic', 'create', 'slow');
    const words = [
      '--topic',
      'slow',
      '--num-records',
      '400',
      '--record-size',
      '10',
      '--throughput',
      '1000',
      '-o',
      'json',
    ];
    const { text } = await sluice('perf', 'produce', ...words, '--warmup-records', '100');
    const result = JSON.parse(text) as {
      records: number;
      warm_up_records: number;
      seconds: number;
      records_per_second: number;
    };
    expect(result).toMatchObject({ records: 400, warm_up_records: 100 });
    expect(result.seconds).toBeGreaterThan(0.28);
    expect(result.records_per_second).toBeCloseTo(300 / result.seconds, 5);
  });

  test.each<[string, string[], RegExp]>([
    ['no topic', ['--num-records', '1', '--record-size', '1'], /--topic is missing/],
    ['no number', ['--topic', 't', '--record-size', '1'], /--num-records is missing/],
    ['no size', ['--topic', 't', '--num-records', '1'], /--record-size is missing/],
    [
      'nothing but warm-up',
      ['--topic', 't', '--num-records', '1', '--record-size', '1', '--warmup-records', '1'],
      /less than/,
    ],
  ])('%s is wrong usage', async (_, flags, expected) => {
    const { exitCode, notes } = await sluice('perf', 'produce', ...flags);
    expect([exitCode, notes]).toEqual([2, expect.stringMatching(expected)]);
  });

  test('records that the topic does not take fail the run', async () => {
    await sluice('topic', 'create', 'narrow', '--config', 'max.message.bytes=200');
    const { exitCode, notes } = await sluice(
      'perf',
      'produce',
      '--topic',
      'narrow',
      '--num-records',
      '5',
      '--record-size',
      '500',
    );
    expect([exitCode, notes]).toEqual([1, expect.stringMatching(/^error: RECORD_TOO_LARGE: /)]);
  });
});

describe('perf consume', () => {
  test('reads all that there is, or as many as asked for', async () => {
    await sluice('topic', 'create', 'read', '--partitions', '2');
    await sluice('perf', 'produce', '--topic', 'read', '--num-records', '3000', '--record-size', '50');
    const all = await sluice('perf', 'consume', '--topic', 'read');
    expect(all.text).toMatch(
      /\n3000 records received, \d+\.\d records\/sec \(\d+\.\d\d MB\/sec\), 0\.14 MB in \d+\.\d+ s\.\n$/,
    );
    const some = await sluice('perf', 'consume', '--topic', 'read', '--num-records', '1000', '-o', 'json');
    expect(JSON.parse(some.text)).toMatchObject({ records: 1000, warm_up_records: 0 });
  });
});

describe('latencies', () => {
  test('are averaged and ranked as the Kafka tool does it', () => {
    const sample = new LatencySample(1_000);
    for (let ms = 1_000; ms > 0; ms--) sample.add(ms);
    expect(sample.summary()).toEqual({
      averageMs: 500.5,
      maxMs: 1_000,
      p50Ms: 501,
      p95Ms: 951,
      p99Ms: 991,
      p999Ms: 1_000,
    });
    expect(new LatencySample(1).summary().maxMs).toBe(0);
  });
});

describe('payload', () => {
  test('is printable, of the size asked for, and not the same twice', () => {
    const values = payloadPool(40, 16_384).map(value => Buffer.from(value).toString('latin1'));
    expect(values.every(value => /^[ -~]{40}$/.test(value))).toBe(true);
    expect(new Set(values).size).toBe(values.length);
    expect(values.length * 40).toBeGreaterThan(16_384);
    expect(payloadPool(0, 1)[0]).toHaveLength(0);
  });
});

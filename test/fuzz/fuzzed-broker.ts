// A broker in a process of its own, for one door to be fuzzed, and what is counted meanwhile: requests, the slowest of them, the
// broker's memory.
//
//   FUZZ_RUNS   runs of every property, in place of its usual share; one run is several requests, and what was really sent is
//               printed at the end
//   FUZZ_SEED   a whole number: the same requests again; printed too
//
// At the end the process must still be there, have logged no error (an exception in a handler is one), and stop when it is told.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'vitest';
import { BrokerProcess } from '../integration/broker-process.ts';
import { call, expectStatus, post } from '../integration/http-call.ts';

const RUNS = process.env['FUZZ_RUNS'];
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31);

/** Slower answers are counted. A test fails only far above: other processes may have had the processor or the disk. */
const SLOW_MS = 100;
const HANG_MS = 20_000;

const REFILL_REQUESTS = 3_000;

/** Of a test with `FUZZ_RUNS` of any size. */
export const FUZZ_TEST_MS = 7_200_000;

/** What a broker under no load and with a sound disk may never answer. */
export const NEVER: ReadonlySet<string> = new Set([
  'INTERNAL',
  'STORAGE_FAILED',
  'PARTITION_DAMAGED',
  'DISK_FULL',
  'CORRUPT_BATCH',
]);

/** Parameters for a property whose share in every run of the tests is `usual` runs. */
export const plan = (usual: number): { readonly numRuns: number; readonly seed: number } => ({
  numRuns: RUNS === undefined ? usual : Number(RUNS),
  seed: SEED,
});

/** Time in which this process ran: a machine that stops it, or gives its processor to others, adds little. */
class WakingClock {
  static readonly #BEAT_MS = 20;
  static readonly #BEAT_MS_MAX = 100;
  #sumMs = 0;
  #lastMs = performance.now();
  readonly #timer = setInterval(() => this.nowMs(), WakingClock.#BEAT_MS).unref();

  nowMs(): number {
    const now = performance.now();
    this.#sumMs += Math.min(now - this.#lastMs, WakingClock.#BEAT_MS_MAX);
    this.#lastMs = now;
    return this.#sumMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

interface TimedAnswer {
  readonly what: string;
  readonly ms: number;
}

export class FuzzedBroker {
  readonly process: BrokerProcess;
  readonly #door: string;
  readonly #folder: string;
  readonly #clock = new WakingClock();
  readonly #startedMs = performance.now();
  readonly #startBytes: number;
  #requests = 0;
  #refillAt = REFILL_REQUESTS;
  #slow = 0;
  #slowest: TimedAnswer = { what: '', ms: 0 };

  private constructor(door: string, folder: string, broker: { process: BrokerProcess; bytes: number }) {
    this.#door = door;
    this.#folder = folder;
    this.process = broker.process;
    this.#startBytes = broker.bytes;
  }

  /** With a topic `t` of three partitions and a few records. */
  static async start(door: string): Promise<FuzzedBroker> {
    const folder = await mkdtemp(path.join(tmpdir(), 'sluice-fuzz-'));
    const broker = await BrokerProcess.start(path.join(folder, 'data'), { 'log-level': 'error' });
    const fuzzed = new FuzzedBroker(door, folder, { process: broker, bytes: await residentBytes(broker) });
    await fuzzed.#fill();
    return fuzzed;
  }

  /** http://HOST:PORT */
  get http(): string {
    return `http://${this.process.http}`;
  }

  async #fill(): Promise<void> {
    expectStatus(await post(this.http, '/v1/topics', { name: 't', partition_count: 3 }), 201);
    const records = [0, 1, 2].flatMap(partition => [
      { partition, value: 1 },
      { partition, key: 'k', value_text: 'x' },
    ]);
    expectStatus(await post(this.http, '/v1/topics/t/records', { records }), 200);
  }

  /** Between runs: `t` as it was at the start, now and then, because reads of all of it would take longer and longer. */
  async refillWhenGrown(): Promise<void> {
    if (this.#requests < this.#refillAt) return;
    this.#refillAt = this.#requests + REFILL_REQUESTS;
    await call(this.http, '/v1/topics/t', { method: 'DELETE' });
    await this.#fill();
  }

  /** Counts `count` requests, and the time until they were answered. */
  async timed<T>(what: string, count: number, answer: Promise<T>): Promise<T> {
    this.#requests += count;
    const startedMs = this.#clock.nowMs();
    const value = await answer;
    const ms = this.#clock.nowMs() - startedMs;
    if (ms > SLOW_MS) this.#slow++;
    if (ms > this.#slowest.ms) this.#slowest = { what, ms };
    return value;
  }

  /** Stops the broker, tells what was counted, and judges. */
  async stop(): Promise<void> {
    this.#clock.stop();
    const endBytes = await residentBytes(this.process);
    const { status, stderr } = await this.process.terminate();
    await rm(this.#folder, { recursive: true, force: true });
    const seconds = Math.round((performance.now() - this.#startedMs) / 1_000);
    const mebibytes = [this.#startBytes, endBytes].map(bytes => Math.round(bytes / 2 ** 20));
    const slowest = `slowest ${Math.round(this.#slowest.ms)} ms (${this.#slowest.what}), ${this.#slow} above ${SLOW_MS} ms`;
    console.log(
      `${this.#door}: ${this.#requests} requests in ${seconds} s, FUZZ_SEED=${SEED}; ${slowest}; ` +
        `memory ${mebibytes.join(' -> ')} MiB`,
    );
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(this.#slowest.ms).toBeLessThan(HANG_MS);
  }
}

const residentBytes = async (broker: BrokerProcess): Promise<number> => {
  const { text } = expectStatus(await call(`http://${broker.management}`, '/metrics'), 200);
  const bytes = Number(/^sluice_process_resident_memory_bytes (\S+)$/m.exec(text)?.[1]);
  expect(bytes).toBeGreaterThan(0);
  return bytes;
};

// A broker that is killed under load, again and again, and what is left each time.
//
// All doors send at once; the process dies at a random point of their traffic; it is started again on the same directory,
// and the whole log is held against what was sent and acknowledged (ledger.ts says which faults there are). Rounds by
// SLUICE_KILL_ROUNDS (default 5). The seed is printed and decides what is drawn; SLUICE_KILL_SEED sets it. Timing is the
// machine's, so a seed narrows a failure down but does not replay it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeRecords, splitBatches } from '@sluice/protocol/record';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommand } from '../cli/command-run.ts';
import { BrokerProcess } from './broker-process.ts';
import { GrpcClient } from './grpc-streams.ts';
import { HttpClient } from './http-exchange.ts';
import { leaveSegments } from './left-segments.ts';
import { Ledger, Reading } from './ledger.ts';
import { sendFromEveryDoor, type Load } from './senders.ts';

const ROUNDS = Number(process.env['SLUICE_KILL_ROUNDS'] ?? 5);
const SEED = Number(process.env['SLUICE_KILL_SEED'] ?? Date.now() % 1_000_000);
const PARTITIONS = 4;
const TOPIC = 'ledger';
/** Small segments, so that some kills meet a roll. */
const SEGMENT_BYTES = '262144';
/** A hang, not a slow machine. */
const ROUND_MS_MAX = 60_000;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-kill-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

test(
  `whatever moment it is killed at, what was acknowledged is there once and in order (${ROUNDS} rounds)`,
  async () => {
    const random = randomFrom(SEED);
    const dataDir = join(folder, 'killed');
    const ledger = new Ledger();
    const reading = new Reading(ledger);
    let broker = await BrokerProcess.start(dataDir);
    await createTopic(broker);
    const readyMs: number[] = [];
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const acknowledged = 1 + Math.floor(random() ** 2 * 150);
        const plan = { name: `${round}`, random, acknowledged, sentAfter: Math.floor(random() * 8) };
        const deserters = await runLoad(broker, ledger, plan, () => broker.kill());
        // What a kill leaves is no damage, before anybody repaired it.
        const doctor = await runCommand(['doctor', '--data-dir', dataDir]);
        expect({ seed: SEED, round, exitCode: doctor.exitCode, text: doctor.text }).toMatchObject({
          exitCode: 0,
          text: expect.stringContaining(': healthy'),
        });
        const before = performance.now();
        broker = await BrokerProcess.start(dataDir);
        await ready(broker);
        readyMs.push(Math.round(performance.now() - before));
        await readOn(broker, reading);
        expect({ seed: SEED, round, deserters, faults: reading.faults() }).toEqual({
          seed: SEED,
          round,
          deserters: [],
          faults: [],
        });
      }
      const whole = new Reading(ledger);
      await readOn(broker, whole);
      expect(whole.faults()).toEqual([]);
      // What a reading saw once never changes: nothing that was gone comes back.
      expect(whole.recordCount).toBe(reading.recordCount);
      expect(ledger.count('acknowledged')).toBeGreaterThanOrEqual(ROUNDS);
      expect(ledger.sightings.size).toBeGreaterThan(0);
      expect((await broker.terminate()).status).toBe(0);
      await leaveSegments(dataDir, 'kill');
      process.stderr.write(
        `kill: seed ${SEED}, ${ROUNDS} rounds, ${ledger.count()} records sent, ${ledger.count('acknowledged')} ` +
          `acknowledged, ${whole.recordCount} found; ready again after ${readyMs.join(', ')} ms\n`,
      );
    } finally {
      await broker.kill();
    }
  },
  ROUNDS * ROUND_MS_MAX,
);

test('asked to stop under load, it loses nothing acknowledged and exits 0', async () => {
  const random = randomFrom(SEED + 1);
  const dataDir = join(folder, 'terminated');
  const ledger = new Ledger();
  const first = await BrokerProcess.start(dataDir);
  try {
    await createTopic(first);
    const plan = { name: 'stop', random, acknowledged: 150, sentAfter: 3 };
    const ended = await runLoad(first, ledger, plan, () => first.terminate());
    expect(ended).toEqual([]);
    expect(await first.ended).toMatchObject({ status: 0, signal: null });
  } finally {
    await first.kill();
  }
  const second = await BrokerProcess.start(dataDir);
  try {
    const reading = new Reading(ledger);
    await readOn(second, reading);
    expect({ seed: SEED, faults: reading.faults() }).toEqual({ seed: SEED, faults: [] });
    expect(ledger.count('acknowledged')).toBeGreaterThan(0);
    expect((await second.terminate()).status).toBe(0);
    await leaveSegments(dataDir, 'terminated');
  } finally {
    await second.kill();
  }
});

interface LoadPlan {
  readonly name: string;
  readonly random: () => number;
  readonly acknowledged: number;
  readonly sentAfter: number;
}

/**
 * Sends from every door until so many requests were acknowledged, and some more sent; then ends the broker, then waits
 * for the senders.
 */
async function runLoad(
  broker: BrokerProcess,
  ledger: Ledger,
  plan: LoadPlan,
  endBroker: () => Promise<unknown>,
): Promise<readonly string[]> {
  const over = new AbortController();
  let { acknowledged, sentAfter } = plan;
  let ending: Promise<unknown> | null = null;
  const beat: Load['beat'] = what => {
    if (what === 'acknowledged') acknowledged--;
    else if (acknowledged <= 0) sentAfter--;
    if (acknowledged > 0 || sentAfter > 0) return;
    ending ??= endBroker().finally(() => over.abort());
  };
  const { name, random } = plan;
  const load = { broker, topic: TOPIC, ledger, name, random, over: over.signal, beat, ending: () => ending !== null };
  const deserters = await sendFromEveryDoor(load, PARTITIONS);
  await (ending ?? endBroker());
  return deserters;
}

async function createTopic(broker: BrokerProcess): Promise<void> {
  const http = new HttpClient(broker.http);
  const topic = { name: TOPIC, partition_count: PARTITIONS, config: { 'segment.bytes': SEGMENT_BYTES } };
  await http.json(
    {
      method: 'POST',
      path: '/v1/topics',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(topic),
    },
    201,
  );
  http.close();
}

/** Asks until it is; each answer is what is waited for, not time. */
async function ready(broker: BrokerProcess): Promise<void> {
  const http = new HttpClient(broker.management);
  while ((await http.send({ path: '/readyz' })).status !== 200);
  http.close();
}

/** Every partition from where the reading stands to its end. */
async function readOn(broker: BrokerProcess, reading: Reading): Promise<void> {
  const client = new GrpcClient(broker.grpc);
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const start = reading.position(partition);
    const from = { case: 'offset', value: BigInt(start) } as const;
    for await (const { payload } of client.readToEnd({ topic: TOPIC, partition, from })) {
      if (payload.case !== 'batches') continue;
      const split = splitBatches(payload.value, { bytesMax: Number.MAX_SAFE_INTEGER });
      if (!split.ok) throw new Error(JSON.stringify(split.fault));
      for (const batch of split.batches) {
        const decoded = decodeRecords(batch);
        if (!decoded.ok) throw new Error(JSON.stringify(decoded.fault));
        for (const { offset, value } of decoded.records) {
          // The first batch may begin below the offset asked for.
          if (offset >= start) reading.take(partition, offset, Buffer.from(value ?? []).toString('utf8'));
        }
      }
    }
  }
  client.close();
}

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

// A compacted topic through the doors of one broker: what it takes, what is left of it once it was cleaned, and what its files look like to
// the offline commands.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sluice } from '@sluice/client';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ClusterBroker } from '../../server/broker/cluster-broker.ts';
import { runCommand } from '../cli/command-run.ts';
import { type Answer, call, expectStatus, post } from './http-call.ts';

let dataDir: string;
let broker: TestBroker;
let sluice: Sluice;
let topics = 0;

const start = async (): Promise<void> => {
  broker = await startBroker({ dataDir });
  sluice = new Sluice({ servers: [broker.grpc] });
};
const stop = async (): Promise<void> => {
  await sluice.close();
  await broker.stop();
};
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'sluice-'));
  await start();
});
afterAll(async () => {
  await stop();
  await rm(dataDir, { recursive: true, force: true });
});

const SMALL = { 'cleanup.policy': 'compact', 'segment.bytes': '600', 'min.cleanable.dirty.ratio': '0.1' };

const newTopic = async (config: Readonly<Record<string, string>> = SMALL): Promise<string> => {
  const name = `keyed${++topics}`;
  expectStatus(await post(broker.http, '/v1/topics', { name, partition_count: 1, config }), 201);
  return name;
};

const send = (topic: string, records: readonly unknown[]): Promise<Answer> =>
  post(broker.http, `/v1/topics/${topic}/records`, { records });

const read = async (topic: string): Promise<readonly Record<string, unknown>[]> => {
  const answer = await call(broker.http, `/v1/topics/${topic}/partitions/0/records?from=earliest&limit=1000`);
  return expectStatus(answer, 200).json['records'] as Record<string, unknown>[];
};

/** What the broker does every half minute. */
const clean = (): Promise<void> => (broker.broker as ClusterBroker).clean();

describe('a compacted topic', () => {
  it('takes no record without a key at any door, and then nothing of the request is written', async () => {
    const topic = await newTopic();
    const refused = { status: 400, code: 'INVALID_REQUEST', field: 'key' };
    expect((await send(topic, [{ value: 1 }])).json).toMatchObject({ ...refused, index: 0 });
    expect((await send(topic, [{ key: 'a', value: 1 }, { value: 2 }])).json).toMatchObject({ ...refused, index: 1 });
    const together = await Promise.all([send(topic, [{ key: 'b', value: 1 }]), send(topic, [{ value: 2 }])]);
    expect(together.map(answer => answer.status)).toEqual([200, 400]);
    const keyless = { value: 'x', partition: 0 };
    for (const compression of ['none', 'zstd'] as const) {
      const producer = sluice.producer({ topic, compression });
      await expect(producer.send(keyless)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
      producer.close();
    }
    expect(await read(topic)).toMatchObject([{ offset: 0, key: 'b' }]);
  });

  it('is left with the newest record of each key, which offsets that are gone say with 404', async () => {
    const topic = await newTopic();
    for (let round = 0; round < 20; round++) {
      await send(
        topic,
        ['a', 'b', 'c'].map(key => ({ key, value: `${key}${round}`.padEnd(40, '.') })),
      );
    }
    await send(topic, [{ key: 'a', value: null }]);
    for (let round = 0; round < 4; round++) await send(topic, [{ key: 'end', value: 'x'.repeat(300) }]);
    const before = await read(topic);
    await clean();
    const after = await read(topic);
    expect(after.length).toBeLessThan(before.length / 3);
    const newest = new Map(before.map(record => [record['key'], record]));
    for (const record of newest.values()) expect(after).toContainEqual(record);
    const at = (offset: number): Promise<Answer> =>
      call(broker.http, `/v1/topics/${topic}/partitions/0/records/${offset}`);
    expect((await at(0)).json).toMatchObject({ status: 404, code: 'RECORD_NOT_FOUND' });
    expect((await at(Number(after[0]!['offset']))).status).toBe(200);
    const seen: unknown[] = [];
    for await (const message of sluice.reader({ topic, from: 'earliest', untilEnd: true })) seen.push(message.offset);
    expect(seen).toEqual(after.map(record => record['offset']));
    const metrics = await (await fetch(`${broker.management}/metrics`)).text();
    expect(metrics).toMatch(/^sluice_cleaner_runs [1-9]/m);
    expect(metrics).toContain(`sluice_log_dirty_ratio{topic="${topic}",partition="0"} 0`);
    await stop();
    const doctor = await runCommand(['doctor', '--data-dir', dataDir]);
    expect(doctor.exitCode, doctor.notes).toBe(0);
    const file = join(dataDir, `${topic}-0`, '00000000000000000000.log');
    const dumped = await runCommand(['dump-log', file]);
    expect(dumped.exitCode, dumped.notes).toBe(0);
    await start();
    expect(await read(topic)).toEqual(after);
  });

  it('refuses settings that contradict each other, and takes policies in any order', async () => {
    const create = (config: Readonly<Record<string, string>>): Promise<Answer> =>
      post(broker.http, '/v1/topics', { name: `keyed${++topics}`, partition_count: 1, config });
    for (const policy of ['compact', 'compact,delete', 'delete,compact']) {
      expectStatus(await create({ 'cleanup.policy': policy }), 201);
    }
    const refused = [
      { 'cleanup.policy': 'keep' },
      { 'min.cleanable.dirty.ratio': '1.5' },
      { 'min.cleanable.dirty.ratio': '-1' },
      { 'max.compaction.lag.ms': '0' },
      { 'min.compaction.lag.ms': '5', 'max.compaction.lag.ms': '4' },
    ];
    for (const config of refused) expect((await create(config)).json).toMatchObject({ code: 'INVALID_CONFIG' });
  });
});

// Deleting records below an offset, through every door of one broker: the log start moves, for good.

import { mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sluice, SluiceError } from '@sluice/client';
import { offset } from '@sluice/protocol/ids';
import { AdminService } from '@sluice/protocol/services';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CallRefused, RawClient } from '../gateway/grpc/raw-client.ts';
import { type Answer, call, expectStatus, post } from './http-call.ts';

let dataDir: string;
let broker: TestBroker;
let topics = 0;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'sluice-'));
  broker = await startBroker({ dataDir });
});
afterAll(async () => {
  await broker.stop();
  await rm(dataDir, { recursive: true, force: true });
});

/** A topic of two partitions with records of 0 to `count` - 1 in the first, one a batch. */
const topicWith = async (count: number, config: Readonly<Record<string, string>> = {}): Promise<string> => {
  const name = `d${++topics}`;
  expectStatus(await post(broker.http, '/v1/topics', { name, partition_count: 2, config }), 201);
  for (let value = 0; value < count; value++) {
    const records = [{ value, partition: 0 }];
    expectStatus(await post(broker.http, `/v1/topics/${name}/records`, { records }), 200);
  }
  return name;
};

const remove = (topic: string, before: string, partition = 0): Promise<Answer> =>
  call(broker.http, `/v1/topics/${topic}/partitions/${partition}/records?before=${before}`, { method: 'DELETE' });

const read = (topic: string, query: string): Promise<Answer> =>
  call(broker.http, `/v1/topics/${topic}/partitions/0/records?${query}`);

const valuesOf = (answer: Answer): unknown[] =>
  (expectStatus(answer, 200).json['records'] as { value: unknown }[]).map(record => record.value);

const segmentsOf = async (topic: string): Promise<number[]> => {
  const names = await readdir(join(dataDir, `${topic}-0`));
  return names.flatMap(name => (name.endsWith('.log') ? [Number.parseInt(name, 10)] : [])).sort((a, b) => a - b);
};

describe('records below an offset', () => {
  it('are gone when it answers: reads begin there, below is 416 with the facts', async () => {
    const topic = await topicWith(6);
    expect(expectStatus(await remove(topic, '4'), 200).json).toEqual({ earliest_offset: 4 });
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([4, 5]);
    expect(valuesOf(await read(topic, 'tail=100'))).toEqual([4, 5]);
    expect((await read(topic, 'offset=3')).json).toMatchObject({
      status: 416,
      code: 'OFFSET_OUT_OF_RANGE',
      earliest_offset: 4,
      high_watermark: 6,
    });
    expect((await call(broker.http, `/v1/topics/${topic}/partitions/0/records/3`)).status).toBe(416);
    const { partitions } = (await call(broker.http, `/v1/topics/${topic}/offsets`)).json as {
      partitions: { earliest_offset: number }[];
    };
    expect(partitions.map(partition => partition.earliest_offset)).toEqual([4, 0]);
  });

  it('in the middle of a batch go as well as whole batches', async () => {
    const topic = await topicWith(0);
    const records = Array.from({ length: 10 }, (_, value) => ({ value, partition: 0 }));
    expectStatus(await post(broker.http, `/v1/topics/${topic}/records`, { records }), 200);
    expect((await remove(topic, '7')).json).toEqual({ earliest_offset: 7 });
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([7, 8, 9]);
  });

  it('already gone stay gone: the answer is the start that is in force', async () => {
    const topic = await topicWith(5);
    expect((await remove(topic, '3')).json).toEqual({ earliest_offset: 3 });
    for (const before of ['3', '1', '0']) expect((await remove(topic, before)).json).toEqual({ earliest_offset: 3 });
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([3, 4]);
  });

  it('may be all there are, and what comes next goes behind them', async () => {
    const topic = await topicWith(3);
    expect((await remove(topic, '3')).json).toEqual({ earliest_offset: 3 });
    expect(await segmentsOf(topic)).toEqual([]);
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([]);
    const written = await post(broker.http, `/v1/topics/${topic}/records`, { records: [{ value: 'x', partition: 0 }] });
    expect(written.json).toMatchObject({ offsets: [{ partition: 0, offset: 3 }] });
    expect(valuesOf(await read(topic, 'offset=3'))).toEqual(['x']);
    expect(await segmentsOf(topic)).toEqual([3]);
  });

  it('take whole segments along', async () => {
    const topic = await topicWith(12, { 'segment.bytes': '200' });
    const before = await segmentsOf(topic);
    expect(before.length).toBeGreaterThan(3);
    expectStatus(await remove(topic, '7'), 200);
    const kept = before.filter((_, index) => (before[index + 1] ?? Number.POSITIVE_INFINITY) > 7);
    expect(await segmentsOf(topic)).toEqual(kept);
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([7, 8, 9, 10, 11]);
  });

  it('at or above the high watermark are never deleted', async () => {
    const topic = await topicWith(4);
    for (const before of ['5', '9007199254740991']) {
      expect((await remove(topic, before)).json).toMatchObject({
        status: 416,
        code: 'OFFSET_OUT_OF_RANGE',
        retriable: false,
        offset: Number(before),
        earliest_offset: 0,
        high_watermark: 4,
      });
    }
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([0, 1, 2, 3]);
  });

  it('stay deleted after a restart', async () => {
    const topic = await topicWith(6);
    await remove(topic, '5');
    await broker.stop();
    broker = await startBroker({ dataDir });
    expect((await read(topic, 'offset=4')).status).toBe(416);
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([5]);
    expect((await remove(topic, '2')).json).toEqual({ earliest_offset: 5 });
  });

  it('deleted by several at once leave the highest of the starts', async () => {
    const topic = await topicWith(8);
    const answers = await Promise.all(['3', '7', '5', '7', '1'].map(before => remove(topic, before)));
    for (const [index, asked] of [3, 7, 5, 7, 1].entries()) {
      expect(expectStatus(answers[index]!, 200).json['earliest_offset']).toBeGreaterThanOrEqual(asked);
    }
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([7]);
  });

  it('are deleted while others write: nothing written is lost', async () => {
    const topic = await topicWith(1);
    const writes = Array.from({ length: 60 }, (_, value) =>
      post(broker.http, `/v1/topics/${topic}/records`, { records: [{ value, partition: 0 }] }),
    );
    const removals: Answer[] = [];
    for (let turn = 0; turn < 10; turn++) {
      const { partitions } = (await call(broker.http, `/v1/topics/${topic}/offsets`)).json as {
        partitions: { high_watermark: number }[];
      };
      removals.push(await remove(topic, String(partitions[0]!.high_watermark)));
    }
    for (const answer of [...removals, ...(await Promise.all(writes))]) expectStatus(answer, 200);
    const start = removals.at(-1)!.json['earliest_offset'] as number;
    const records = expectStatus(await read(topic, 'from=earliest'), 200).json['records'] as { offset: number }[];
    expect(records.map(record => record.offset)).toEqual(
      Array.from({ length: 61 - start }, (_, index) => start + index),
    );
  });
});

describe('what cannot be deleted', () => {
  it.each([
    ['', 'before'],
    ['?before=', 'before'],
    ['?before=-1', 'before'],
    ['?before=latest', 'before'],
    ['?before=1.5', 'before'],
    ['?before=9007199254740992', 'before'],
    ['?before=1&before=2', 'before'],
    ['?before=1&until=2', 'until'],
  ])('%j is refused, naming %s', async (query, field) => {
    const topic = await topicWith(1);
    const answer = await call(broker.http, `/v1/topics/${topic}/partitions/0/records${query}`, { method: 'DELETE' });
    expect(answer.json).toMatchObject({ status: 400, code: 'INVALID_REQUEST', field });
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([0]);
  });

  it('lies inside damage; to the end of it the damage goes as well', async () => {
    const topic = await topicWith(6);
    await broker.stop();
    const file = await open(join(dataDir, `${topic}-0`, '00000000000000000000.log'), 'r+');
    const { size } = await file.stat();
    // In the middle of the third and of the fourth batch.
    for (const batch of [2, 3]) await file.write(Buffer.from([0xff]), 0, 1, Math.floor((size * (batch + 0.9)) / 6));
    await file.close();
    broker = await startBroker({ dataDir });
    expect((await read(topic, 'offset=2')).json).toMatchObject({ code: 'PARTITION_DAMAGED', resume_offset: 4 });
    const inside = await remove(topic, '3');
    expect(inside.json).toMatchObject({ status: 500, code: 'PARTITION_DAMAGED', damaged_from: 2, resume_offset: 4 });
    expect(valuesOf(await read(topic, 'offset=0&limit=2'))).toEqual([0, 1]);
    expect(expectStatus(await remove(topic, '4'), 200).json).toEqual({ earliest_offset: 4 });
    expect(valuesOf(await read(topic, 'from=earliest'))).toEqual([4, 5]);
  });

  it('is in no topic and no partition that there is not', async () => {
    const topic = await topicWith(0);
    expect((await remove('none', '0')).json).toMatchObject({ status: 404, code: 'TOPIC_NOT_FOUND' });
    expect((await remove(topic, '0', 2)).json).toMatchObject({ status: 404, code: 'PARTITION_NOT_FOUND' });
  });
});

describe('the other doors', () => {
  it('gRPC answers and refuses alike', async () => {
    const topic = await topicWith(3);
    const client = new RawClient(broker.grpc);
    const { deleteRecords } = AdminService.method;
    const refusal = async (request: { topic: string; partition?: number; beforeOffset: bigint }): Promise<unknown> => {
      const thrown: unknown = await client.unary(deleteRecords, request).then(
        () => null,
        (error: unknown) => error,
      );
      return thrown instanceof CallRefused ? { status: thrown.status, ...thrown.info } : thrown;
    };
    try {
      expect(await client.unary(deleteRecords, { topic, beforeOffset: 2n })).toMatchObject({ earliestOffset: 2n });
      expect(await refusal({ topic, beforeOffset: 4n })).toMatchObject({
        status: 11,
        reason: 'OFFSET_OUT_OF_RANGE',
        metadata: { earliest_offset: '2', high_watermark: '3' },
      });
      expect(await refusal({ topic, beforeOffset: -1n })).toMatchObject({ status: 3, reason: 'INVALID_REQUEST' });
      expect(await refusal({ topic, partition: 2, beforeOffset: 0n })).toMatchObject({ reason: 'PARTITION_NOT_FOUND' });
      expect(await refusal({ topic, partition: -1, beforeOffset: 0n })).toMatchObject({
        reason: 'PARTITION_NOT_FOUND',
      });
    } finally {
      client.close();
    }
  });

  it('the SDK answers a number, and refuses what is none before it asks', async () => {
    const topic = await topicWith(3);
    const sluice = new Sluice({ servers: [broker.grpc] });
    try {
      expect(await sluice.admin.deleteRecords({ topic, partition: 0, before: 2 })).toEqual({ earliestOffset: 2 });
      for (const [partition, before, code] of [
        [0, 4, 'OFFSET_OUT_OF_RANGE'],
        [0, -1, 'INVALID_REQUEST'],
        [0, 0.5, 'INVALID_REQUEST'],
        [-1, 0, 'PARTITION_NOT_FOUND'],
        [2, 0, 'PARTITION_NOT_FOUND'],
      ] as const) {
        const deleting = sluice.admin.deleteRecords({ topic, partition, before });
        await expect(deleting).rejects.toBeInstanceOf(SluiceError);
        await expect(deleting).rejects.toMatchObject({ code });
      }
    } finally {
      await sluice.close();
    }
  });

  it('a broker that stops deletes nothing any more', async () => {
    const own = await startBroker();
    const { broker: inside } = own;
    await inside.createTopic({ name: 'last' });
    await own.stop();
    const refused = await inside.deleteRecords({ topic: 'last', partition: 0, beforeOffset: offset(0) });
    expect(refused).toMatchObject({ ok: false, problem: { code: 'SHUTTING_DOWN' } });
  });
});

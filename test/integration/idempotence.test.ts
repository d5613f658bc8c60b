// Producers that send everything twice, at every door, to one broker and to three whose leaders are killed: every record is written once.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sluice } from '@sluice/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startBroker, type TestBroker } from '../../server/testing.ts';
import { TestCluster } from './cluster-processes.ts';
import { GrpcClient } from './grpc-streams.ts';
import { type Answer, call, expectStatus, post } from './http-call.ts';
import { TestSocket } from './web-socket-client.ts';

const LONG_MS = 240_000;

interface Identity {
  readonly producer_id: number;
  readonly producer_epoch: number;
}

const identityOf = async (base: string): Promise<Identity> =>
  expectStatus(await call(base, '/v1/producers', { method: 'POST' }), 201).json as unknown as Identity;

const query = (options: object): string =>
  Object.entries(options)
    .map(([name, value]) => `${name}=${value}`)
    .join('&');

const textsIn = async (base: string, topic: string): Promise<string[]> => {
  const answer = expectStatus(await call(base, `/v1/topics/${topic}/records?limit=10000`), 200);
  return (answer.json['records'] as { value_text?: string; value?: unknown }[]).map(
    record => record.value_text ?? JSON.stringify(record.value),
  );
};

describe('one broker', () => {
  let broker: TestBroker;

  beforeAll(async () => {
    broker = await startBroker();
    for (const name of ['rest', 'socket', 'grpc', 'many']) {
      const partitionCount = name === 'many' ? 3 : 1;
      expect(await broker.broker.createTopic({ name, partitionCount })).toMatchObject({ ok: true });
    }
  });

  afterAll(async () => {
    await broker?.stop();
  });

  test('gives every producer an identity of its own, and none for a transaction', async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, () => identityOf(broker.http)));
    expect(new Set(ids.map(identity => identity.producer_id)).size).toBe(20);
    expect(ids.every(identity => identity.producer_epoch === 0)).toBe(true);
    expect((await post(broker.http, '/v1/producers', {})).status).toBe(201);
    const refused = expectStatus(await post(broker.http, '/v1/producers', { transactional_id: 'copy' }), 400);
    expect(refused.json).toMatchObject({ code: 'INVALID_REQUEST', field: 'transactional_id' });
    expect((await post(broker.http, '/v1/producers', '{}', 'text/plain')).status).toBe(415);
  });

  test('over REST: a repeat is answered as the first was, and what is no repeat says what it is', async () => {
    const identity = await identityOf(broker.http);
    const send = (sequence: number, values: readonly string[], more: object = {}): Promise<Answer> =>
      post(broker.http, `/v1/topics/rest/records?${query({ ...identity, sequence, ...more })}`, {
        records: values.map(value_text => ({ value_text })),
      });
    const first = expectStatus(await send(0, ['a', 'b']), 200);
    expect(expectStatus(await send(0, ['a', 'b']), 200).json).toEqual(first.json);
    expect((await send(2, ['c'])).json).toMatchObject({ offsets: [{ offset: 2 }] });
    const gap = expectStatus(await send(5, ['e']), 409);
    expect(gap.json).toMatchObject({ code: 'OUT_OF_ORDER_SEQUENCE', expected_sequence: 3, partition: 0 });
    for (let sequence = 3; sequence < 8; sequence++) expectStatus(await send(sequence, [`${sequence}`]), 200);
    expect(expectStatus(await send(0, ['a', 'b']), 409).json).toMatchObject({ code: 'DUPLICATE_SEQUENCE' });
    expectStatus(await send(0, ['next'], { producer_epoch: 1 }), 200);
    const zombie = expectStatus(await send(8, ['zombie']), 409);
    expect(zombie.json).toMatchObject({ code: 'PRODUCER_FENCED', current_epoch: 1, retriable: false });
    const stranger = await send(4, ['x'], { producer_id: identity.producer_id + 500 });
    expect(expectStatus(stranger, 409).json).toMatchObject({ code: 'UNKNOWN_PRODUCER_ID' });
    const raw = `/v1/topics/rest/partitions/0/records?${query({ ...identity, producer_epoch: 1, sequence: 1 })}`;
    for (let turn = 0; turn < 2; turn++) {
      const answer = expectStatus(await post(broker.http, raw, 'raw', 'application/octet-stream'), 200);
      expect(answer.json).toMatchObject({ offsets: [{ offset: 9 }] });
    }
    expect(await textsIn(broker.http, 'rest')).toEqual(['a', 'b', 'c', '3', '4', '5', '6', '7', 'next', 'raw']);
  });

  test('over REST: an expected offset is met or refused with the actual one', async () => {
    const send = (expected_offset: number): Promise<Answer> =>
      post(broker.http, `/v1/topics/many/partitions/1/records?${query({ expected_offset })}`, {
        records: [{ value: 1 }],
      });
    expectStatus(await send(0), 200);
    const refused = expectStatus(await send(0), 412);
    expect(refused.json).toMatchObject({ code: 'EXPECTED_OFFSET_MISMATCH', expected_offset: 0, actual_offset: 1 });
    expectStatus(await send(1), 200);
  });

  test('over REST: what a repeat could not find again is refused before anything is written', async () => {
    const identity = await identityOf(broker.http);
    const exact = query({ ...identity, sequence: 0 });
    const refusals: [string, unknown, string?][] = [
      [`/v1/topics/many/records?producer_id=${identity.producer_id}&sequence=0`, { records: [{ value: 1 }] }],
      [`/v1/topics/many/records?${exact}`, { records: [{ value: 1 }] }],
      [
        `/v1/topics/many/records?${exact}`,
        {
          records: [
            { value: 1, partition: 0 },
            { value: 2, partition: 2 },
          ],
        },
      ],
      [`/v1/topics/many/records?expected_offset=0`, { records: [{ value: 1 }, { value: 2 }] }],
      [`/v1/topics/many/partitions/0/records?${exact}`, '{"value":1}\n', 'application/x-ndjson'],
      [`/v1/topics/many/partitions/0/records?${exact}`, 'a\n', 'text/plain'],
      [`/v1/topics/many/partitions/0/records?${query({ ...identity, sequence: -1 })}`, { records: [{ value: 1 }] }],
    ];
    for (const [path, body, type] of refusals) {
      expect([path, (await post(broker.http, path, body, type)).status]).toEqual([path, 400]);
    }
    const keyed = await post(broker.http, `/v1/topics/many/records?${exact}`, { records: [{ key: 'k', value: 1 }] });
    const again = await post(broker.http, `/v1/topics/many/records?${exact}`, { records: [{ key: 'k', value: 1 }] });
    expect(again.json).toEqual(expectStatus(keyed, 200).json);
  });

  test('over a WebSocket the options are members of the frame', async () => {
    const identity = await identityOf(broker.http);
    await using socket = await TestSocket.open(broker.http);
    const frame = (id: number, sequence: number, more: object = {}): Parameters<TestSocket['ask']>[0] => ({
      id,
      op: 'produce',
      topic: 'socket',
      records: [{ value_text: `${sequence}` }],
      ...identity,
      sequence,
      ...more,
    });
    const first = await socket.ask(frame(1, 0));
    expect(first).toMatchObject({ op: 'produced', offsets: [{ partition: 0, offset: 0 }] });
    expect(await socket.ask(frame(2, 0))).toEqual({ ...first, id: 2 });
    const gap = await socket.ask(frame(3, 2));
    expect(gap).toMatchObject({ op: 'error', problem: { code: 'OUT_OF_ORDER_SEQUENCE', expected_sequence: 1 } });
    const mismatch = await socket.ask(frame(4, 1, { expected_offset: 7 }));
    expect(mismatch).toMatchObject({ problem: { code: 'EXPECTED_OFFSET_MISMATCH', actual_offset: 1, status: 412 } });
    expect(await socket.ask(frame(5, 1, { expected_offset: 1 }))).toMatchObject({ offsets: [{ offset: 1 }] });
    expect(await socket.ask(frame(6, 2, { producer_epoch: 40_000 }))).toMatchObject({
      problem: { field: 'producer_epoch' },
    });
    expect(await textsIn(broker.http, 'socket')).toEqual(['0', '1']);
  });

  test('over gRPC records are signed by the broker, and batches by whoever made them', async () => {
    const { producer_id } = await identityOf(broker.http);
    const client = new GrpcClient(broker.grpc);
    const stream = client.produce();
    const send = (sequence: number, more: object = {}): ReturnType<typeof stream.send> =>
      stream.send({
        topic: 'grpc',
        partition: 0,
        records: [{ value: Buffer.from(`${sequence}`) }],
        producer: { producerId: BigInt(producer_id), producerEpoch: 0, sequence },
        ...more,
      });
    const answers = await Promise.all([send(0), send(0), send(1), send(0), send(3)]);
    expect(answers.map(answer => (answer.case === 'ack' ? answer.value.baseOffset : answer.value?.code))).toEqual([
      0n,
      0n,
      1n,
      0n,
      'OUT_OF_ORDER_SEQUENCE',
    ]);
    const refused = await send(2, { expectedOffset: 9n });
    expect(refused).toMatchObject({ case: 'error', value: { code: 'EXPECTED_OFFSET_MISMATCH' } });
    expect(await send(2, { expectedOffset: 2n })).toMatchObject({ case: 'ack', value: { baseOffset: 2n } });
    stream.end();
    client.close();
    expect(await textsIn(broker.http, 'grpc')).toEqual(['0', '1', '2']);
  });

  test('a restart forgets nobody', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'sluice-producers-'));
    try {
      let base = '';
      const send = (identity: Identity, sequence: number): Promise<Answer> =>
        post(base, `/v1/topics/t/records?${query({ ...identity, sequence })}`, { records: [{ value: sequence }] });
      let identity: Identity;
      {
        await using before = await startBroker({ dataDir });
        base = before.http;
        await before.broker.createTopic({ name: 't' });
        identity = await identityOf(base);
        expectStatus(await send(identity, 0), 200);
        expectStatus(await send(identity, 1), 200);
      }
      await using after = await startBroker({ dataDir });
      base = after.http;
      expect(expectStatus(await send(identity, 1), 200).json).toMatchObject({ offsets: [{ offset: 1 }] });
      expect(expectStatus(await send(identity, 2), 200).json).toMatchObject({ offsets: [{ offset: 2 }] });
      expect((await identityOf(base)).producer_id).not.toBe(identity.producer_id);
      expect(await textsIn(base, 't')).toEqual(['0', '1', '2']);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});

describe('three brokers whose leaders are killed', () => {
  let folder: string;
  let cluster: TestCluster;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-idempotence-'));
    cluster = await TestCluster.start({ folder });
  }, LONG_MS);

  afterAll(async () => {
    await cluster?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const httpOf = (index: number): string => `http://${cluster.nodes[index]!.http}`;

  test(
    'every record is written once, and in order, by whoever sends each request twice',
    async () => {
      await using sluice = new Sluice({ servers: cluster.nodes.map(node => node.grpc) });
      for (const name of ['client', 'door'])
        await sluice.admin.createTopic({ name, partitionCount: 1, replicationFactor: 3 });
      await using producer = sluice.producer({ topic: 'client', lingerMs: 0, batchBytes: 200 });
      const identity = await identityOf(httpOf(0));
      const count = 300;
      const sending = { isOver: false, killed: 0 };
      // Twice each, at two nodes at once, until one of them says that it is written.
      const doorSends = async (): Promise<void> => {
        for (let sequence = 0; sequence < count; sequence++) {
          const path = `/v1/topics/door/partitions/0/records?${query({ ...identity, sequence, timeout_ms: 3_000 })}`;
          for (let attempt = sequence; ; attempt++) {
            const body = { records: [{ value: sequence }] };
            const pair = [attempt, attempt + 1].map(at => post(httpOf(at % 3), path, body).catch(() => null));
            const answers = await Promise.all(pair);
            const codes = answers.map(answer => (answer === null || answer.status === 200 ? '' : answer.json['code']));
            expect(codes).not.toContain('OUT_OF_ORDER_SEQUENCE');
            expect(codes).not.toContain('UNKNOWN_PRODUCER_ID');
            if (answers.some(answer => answer?.status === 200)) break;
          }
        }
      };
      const clientSends = async (): Promise<void> => {
        const sends: Promise<unknown>[] = [];
        for (let at = 0; at < count * 10; at++) {
          sends.push(producer.send({ value: `${at}` }));
          if (at % 10 === 9) await sends.at(-1);
        }
        await Promise.all(sends);
      };
      const kills = async (): Promise<void> => {
        for (let turn = 0; !sending.isOver && turn < 4; turn++) {
          const described = await sluice.admin.describeTopic(turn % 2 === 0 ? 'client' : 'door');
          const leader = cluster.nodes.find(node => node.id === described.partitions[0]!.leader);
          if (leader === undefined) continue;
          await leader.kill();
          if (!sending.isOver) sending.killed++;
          await leader.start();
          await leader.ready();
        }
      };
      const killing = kills();
      await Promise.all([doorSends(), clientSends()]);
      sending.isOver = true;
      await killing;
      expect(sending.killed).toBeGreaterThan(0);
      expect(await textsIn(httpOf(0), 'door')).toEqual(Array.from({ length: count }, (_, at) => `${at}`));
      const values: string[] = [];
      for await (const { value } of sluice.reader({ topic: 'client', untilEnd: true })) {
        values.push(Buffer.from(value!).toString());
      }
      expect(values).toEqual(Array.from({ length: count * 10 }, (_, at) => `${at}`));
    },
    LONG_MS,
  );
});

// What open calls see of a stopping broker, and that it stops whatever clients do.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { encodeBatch } from '@sluice/protocol/record';
import { FetchRequestSchema, Form, Health, MetadataService } from '@sluice/protocol/services';
import { startBroker } from 'sluice/testing';
import { expect, test } from 'vitest';
import { errorInfo, RawClient } from '../gateway/grpc/raw-client.ts';
import { UnreadCall } from '../gateway/grpc/unread-call.ts';

const batch = (value: string): Uint8Array => encodeBatch([{ key: null, value, timestamp: 1 }]);

test('open calls are told and ended, each in its own way', async () => {
  const broker = await startBroker();
  const client = new RawClient(broker.grpc);
  await client.createTopic('t');
  const health = client.serverStream(Health.method.watch, {});
  expect(await health.next()).toMatchObject({ status: 1 });
  const metadata = client.serverStream(MetadataService.method.watch, {});
  expect((await metadata.next())?.brokers[0]?.state).toBe('running');
  const produce = client.produce();
  produce.write({ id: 1n, topic: 't', batches: batch('a') });
  await produce.only();
  const fetch = client.fetch();
  fetch.open({ stream: 1, topic: 't' });
  fetch.open({ stream: 2, topic: 't', form: Form.RECORDS, credit: { records: 0n, bytes: 0n } });
  await fetch.take(3);

  const stopped = broker.stop();
  expect(await health.rest()).toMatchObject([{ status: 2 }]);
  const byStream = Map.groupBy(await fetch.rest(), ({ stream }) => stream);
  expect(byStream.get(1)).toMatchObject([
    { payload: { case: 'draining', value: { resumeWithinMs: 1_000n } } },
    { payload: { case: 'end', value: { offset: 1n } } },
  ]);
  expect(byStream.get(2)).toMatchObject([
    { payload: { case: 'draining' } },
    { payload: { case: 'end', value: { offset: 0n } } },
  ]);
  for (const call of [health, metadata, produce, fetch]) {
    const status = await call.status;
    expect(status.code).toBe(14);
    expect(errorInfo(status.metadata)?.reason).toBe('SHUTTING_DOWN');
  }
  await stopped;
  client.close();
});

test('what a produce stream was sent is answered before it ends, and what is not answered was not written', async () => {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'sluice-'));
  const broker = await startBroker({ dataDir });
  const client = new RawClient(broker.grpc);
  await client.createTopic('t');
  const stream = client.produce();
  for (let id = 0; id < 2_000; id++) stream.write({ id: BigInt(id), topic: 't', batches: batch(`${id}`) });
  const first = await stream.only();
  await Promise.all([broker.stop(), stream.status]);
  const answers = [first, ...(await stream.rest())];
  expect((await stream.status).code).toBe(14);
  expect(answers.map(({ id }) => Number(id))).toEqual(answers.map((_, index) => index));
  const acknowledged = answers.filter(({ result }) => result.case === 'ack').length;
  for (const { result } of answers.slice(acknowledged)) {
    expect(result).toMatchObject({ case: 'error', value: { code: 'SHUTTING_DOWN', retriable: true } });
  }
  client.close();

  const again = await startBroker({ dataDir });
  const described = await again.broker.describeTopic('t');
  if (!described.ok) throw new Error(described.problem.detail);
  expect(described.value.partitions[0]?.highWatermark).toBe(acknowledged);
  await again.stop();
  await rm(dataDir, { recursive: true });
});

test('a client that reads nothing is cut off after a while, and the broker stops', async () => {
  const broker = await startBroker();
  const client = new RawClient(broker.grpc);
  await client.createTopic('t');
  const batches = encodeBatch([{ key: null, value: Buffer.alloc(1_000_000), timestamp: 1 }]);
  await broker.broker.produce({ topic: 't', partition: 0, batches, acks: 'all', timeoutMs: 10_000 });
  const unread = new UnreadCall(broker.grpc, '/sluice.v1.FetchService/Fetch');
  await unread.send(FetchRequestSchema, { request: { case: 'open', value: { stream: 1, topic: 't' } } });
  await unread.response();
  await broker.stop();
  await expect(unread.closed).resolves.toBeDefined();
  client.close();
});

test('a stopped broker takes no connections', async () => {
  const broker = await startBroker();
  const { grpc } = broker;
  await broker.stop();
  const client = new RawClient(grpc);
  await expect(client.unary(Health.method.check, {})).rejects.toMatchObject({ status: 14 });
  client.close();
});

// AdminService and MetadataService as a client without the SDK sees them.

import { AdminService, MetadataService, type Metadata } from '@sluice/protocol/services';
import { encodeBatch } from '@sluice/protocol/record';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CallRefused, RawClient } from '../gateway/grpc/raw-client.ts';

const { createTopic, listTopics, describeTopic, alterTopic, deleteTopic, listOffsets } = AdminService.method;

let broker: TestBroker;
let client: RawClient;

beforeAll(async () => {
  broker = await startBroker();
  client = new RawClient(broker.grpc);
});

afterAll(async () => {
  client.close();
  await broker.stop();
});

const refusal = async (
  call: Promise<unknown>,
): Promise<{ status: number; code: string | undefined; facts: unknown }> => {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof CallRefused)) throw new Error(`not refused: ${String(error)}`);
  expect(error.message).not.toBe('');
  expect(error.info?.domain).toBe('sluice');
  return { status: error.status, code: error.info?.reason, facts: error.info?.metadata };
};

test('a topic is created with what was asked for, and described', async () => {
  const created = await client.unary(createTopic, {
    name: 'orders',
    partitionCount: 3,
    config: { 'retention.ms': '60000' },
  });
  expect(created).toMatchObject({
    name: 'orders',
    partitionCount: 3,
    replicationFactor: 1,
    internal: false,
    config: { 'retention.ms': '60000' },
    allConfig: [],
  });
  expect(created.topicId).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  expect(
    created.partitions.map(({ partition, leader, replicas, isr }) => ({ partition, leader, replicas, isr })),
  ).toEqual([0, 1, 2].map(partition => ({ partition, leader: 1, replicas: [1], isr: [1] })));
  expect(await client.unary(describeTopic, { name: 'orders' })).toEqual(created);
  const whole = await client.unary(describeTopic, { name: 'orders', includeDefaults: true });
  expect(whole.allConfig).toContainEqual(
    expect.objectContaining({ name: 'retention.ms', value: '60000', source: 'topic' }),
  );
  expect(whole.allConfig).toContainEqual(expect.objectContaining({ name: 'cleanup.policy', source: 'default' }));
});

test('without numbers a topic has one partition', async () => {
  expect(await client.unary(createTopic, { name: 'plain' })).toMatchObject({ partitionCount: 1, replicationFactor: 1 });
});

test('refusals of unary calls are statuses with the code and the facts in the details', async () => {
  await client.unary(createTopic, { name: 'taken' });
  expect(await refusal(client.unary(createTopic, { name: 'taken' }))).toMatchObject({
    status: 6,
    code: 'TOPIC_EXISTS',
  });
  expect(await refusal(client.unary(createTopic, { name: 'no spaces' }))).toMatchObject({
    status: 3,
    code: 'INVALID_TOPIC_NAME',
  });
  expect(await refusal(client.unary(createTopic, { name: 'n', partitionCount: -1 }))).toMatchObject({
    status: 3,
    code: 'INVALID_PARTITION_COUNT',
  });
  expect(await refusal(client.unary(createTopic, { name: 'n', replicationFactor: 3 }))).toMatchObject({
    status: 3,
    code: 'INVALID_REPLICATION_FACTOR',
  });
  expect(await refusal(client.unary(createTopic, { name: 'n', config: { nonsense: '1' } }))).toMatchObject({
    status: 3,
    code: 'INVALID_CONFIG',
  });
  expect(await refusal(client.unary(describeTopic, { name: 'absent' }))).toMatchObject({
    status: 5,
    code: 'TOPIC_NOT_FOUND',
  });
  expect(await refusal(client.unary(alterTopic, { name: 'absent' }))).toMatchObject({
    status: 5,
    code: 'TOPIC_NOT_FOUND',
  });
  expect(await refusal(client.unary(deleteTopic, { name: 'absent' }))).toMatchObject({
    status: 5,
    code: 'TOPIC_NOT_FOUND',
  });
  expect(await refusal(client.unary(listOffsets, { topic: 'absent' }))).toMatchObject({
    status: 5,
    code: 'TOPIC_NOT_FOUND',
  });
});

test('a refusal that quotes what the client sent keeps its trailers small', async () => {
  const name = 'x'.repeat(1_000_000);
  expect((await refusal(client.unary(createTopic, { name }))).code).toBe('INVALID_TOPIC_NAME');
  expect((await refusal(client.unary(describeTopic, { name }))).code).toBe('TOPIC_NOT_FOUND');
});

test('topics are listed in pages', async () => {
  for (const name of ['page-a', 'page-b', 'page-c']) await client.unary(createTopic, { name });
  const first = await client.unary(listTopics, { prefix: 'page-', limit: 2 });
  expect(first.topics.map(({ name }) => name)).toEqual(['page-a', 'page-b']);
  expect(first.nextAfter).toBe('page-b');
  const second = await client.unary(listTopics, { prefix: 'page-', limit: 2, after: 'page-b' });
  expect(second.topics.map(({ name }) => name)).toEqual(['page-c']);
  expect(second.nextAfter).toBeUndefined();
  expect(second.topics[0]).toMatchObject({ partitionCount: 1, replicationFactor: 1, internal: false });
  for (const limit of [-1, 1_001]) {
    expect(await refusal(client.unary(listTopics, { limit }))).toMatchObject({ status: 3, code: 'INVALID_REQUEST' });
  }
});

test('settings are set and deleted, partitions added', async () => {
  await client.unary(createTopic, { name: 'alter', config: { 'retention.ms': '1000', 'segment.ms': '5000' } });
  const altered = await client.unary(alterTopic, {
    name: 'alter',
    partitionCount: 4,
    setConfig: { 'retention.ms': '2000' },
    deleteConfig: ['segment.ms'],
  });
  expect(altered).toMatchObject({ partitionCount: 4, config: { 'retention.ms': '2000' } });
  expect(altered.config).not.toHaveProperty('segment.ms');
  expect(
    await refusal(
      client.unary(alterTopic, { name: 'alter', setConfig: { 'segment.ms': '1' }, deleteConfig: ['segment.ms'] }),
    ),
  ).toMatchObject({ status: 3, code: 'INVALID_REQUEST' });
  expect(await refusal(client.unary(alterTopic, { name: 'alter', partitionCount: 2 }))).toMatchObject({
    status: 3,
    code: 'INVALID_PARTITION_COUNT',
  });
});

test('a deleted topic is gone and its name free', async () => {
  const { topicId } = await client.unary(createTopic, { name: 'short-lived' });
  await client.unary(deleteTopic, { name: 'short-lived' });
  expect(await refusal(client.unary(describeTopic, { name: 'short-lived' }))).toMatchObject({
    code: 'TOPIC_NOT_FOUND',
  });
  expect((await client.unary(createTopic, { name: 'short-lived' })).topicId).not.toBe(topicId);
});

test('offsets of all partitions, and the first one at or after a time', async () => {
  await client.unary(createTopic, { name: 'offsets', partitionCount: 2 });
  for (const timestamp of [1_000, 2_000]) {
    const batches = encodeBatch([{ key: null, value: 'v', timestamp }]);
    await broker.broker.produce({ topic: 'offsets', partition: 1, batches, acks: 'all', timeoutMs: 1_000 });
  }
  const { partitions } = await client.unary(listOffsets, { topic: 'offsets', timestampMs: 1_500n });
  expect(partitions).toMatchObject([
    { partition: 0, earliestOffset: 0n, highWatermark: 0n, lastStableOffset: 0n },
    { partition: 1, earliestOffset: 0n, highWatermark: 2n, lastStableOffset: 2n, offset: 1n, timestampMs: 2_000n },
  ]);
  expect(partitions[0]?.offset).toBeUndefined();
  const plain = await client.unary(listOffsets, { topic: 'offsets' });
  expect(plain.partitions.map(({ offset }) => offset)).toEqual([undefined, undefined]);
  expect(await refusal(client.unary(listOffsets, { topic: 'offsets', timestampMs: -1n }))).toMatchObject({
    code: 'INVALID_TIMESTAMP',
  });
});

const topicNames = (metadata: Metadata | null): string[] => metadata?.topics.map(({ name }) => name) ?? [];

test('metadata names the brokers, the topics and who leads them', async () => {
  await client.unary(createTopic, { name: 'led', partitionCount: 2, config: { 'max.message.bytes': '5000' } });
  const metadata = await client.unary(MetadataService.method.getMetadata, { topics: ['led', 'absent', 'led'] });
  expect(metadata.clusterId).not.toBe('');
  expect(metadata.controller).toBe(1);
  expect(metadata.brokers).toMatchObject([{ nodeId: 1, grpcAddress: broker.grpc, state: 'running' }]);
  expect(metadata.missingTopics).toEqual(['absent']);
  expect(metadata.topics).toMatchObject([
    {
      name: 'led',
      maxMessageBytes: 5_000,
      partitions: [
        { partition: 0, leader: 1 },
        { partition: 1, leader: 1 },
      ],
    },
  ]);
  const everything = await client.unary(MetadataService.method.getMetadata, {});
  expect(topicNames(everything)).toContain('led');
});

test('a watcher gets the whole first, and again after each change of what it asked for', async () => {
  const watch = client.serverStream(MetadataService.method.watch, { topics: ['watched'] });
  expect(await watch.next()).toMatchObject({ topics: [], missingTopics: ['watched'] });
  await client.unary(createTopic, { name: 'unrelated' });
  await client.unary(createTopic, { name: 'watched' });
  // A partition is there before it is led, and both are told; nothing is told twice.
  let before: unknown = null;
  const allLed = async (count: number): Promise<void> => {
    for (let leaders: number[] = []; leaders.length < count || leaders.includes(-1); ) {
      const next = await watch.next();
      expect([topicNames(next), next?.missingTopics]).toEqual([['watched'], []]);
      expect(next?.topics).not.toEqual(before);
      before = next?.topics;
      leaders = next?.topics[0]?.partitions.map(({ leader }) => leader) ?? [];
      expect(leaders.every(leader => leader === 1 || leader === -1)).toBe(true);
    }
  };
  await allLed(1);
  await client.unary(alterTopic, { name: 'watched', partitionCount: 2 });
  await allLed(2);
  await client.unary(deleteTopic, { name: 'watched' });
  expect((await watch.next())?.missingTopics).toEqual(['watched']);
  // Nothing came for the topic that nobody asked for.
  expect(watch.arrivedCount).toBe(0);
  watch.cancel();
});

test('after a burst of changes the newest state arrives', async () => {
  const watch = client.serverStream(MetadataService.method.watch, {});
  await watch.next();
  watch.call.pause();
  const count = 20;
  await Promise.all(Array.from({ length: count }, (_, index) => client.unary(createTopic, { name: `burst-${index}` })));
  watch.call.resume();
  const bursts = (metadata: Metadata | null): string[] =>
    topicNames(metadata).filter(name => name.startsWith('burst-'));
  let states = 0;
  while (bursts(await watch.next()).length < count) states++;
  expect(states).toBeLessThan(count);
  watch.cancel();
});

test('an unknown method is unimplemented', async () => {
  const call = client.bytes('/sluice.v1.AdminService/Nonsense');
  call.end();
  expect((await call.status).code).toBe(12);
  const service = client.bytes('/sluice.v2.Nothing/AtAll');
  service.end();
  expect((await service.status).code).toBe(12);
});

// The admin calls against a real broker, and the codes of what it refuses.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Sluice, SluiceError } from '@sluice/client';
import { startBroker, type TestBroker } from 'sluice/testing';

let broker: TestBroker;
let sluice: Sluice;

beforeAll(async () => {
  broker = await startBroker();
  sluice = new Sluice({ servers: [broker.grpc] });
});

afterAll(async () => {
  await sluice.close();
  await broker.stop();
});

const code = async (promise: Promise<unknown>): Promise<string> => {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SluiceError);
  return (error as SluiceError).code;
};

describe('a topic', () => {
  test('is created, described, altered, listed and deleted', async () => {
    const { admin } = sluice;
    const created = await admin.createTopic({
      name: 'life',
      partitionCount: 2,
      config: { 'retention.ms': 60_000, 'cleanup.policy': 'delete' },
    });
    expect(created).toMatchObject({ name: 'life', partitionCount: 2, replicationFactor: 1, internal: false });
    expect(created.config).toEqual({ 'retention.ms': '60000', 'cleanup.policy': 'delete' });
    expect(created.allConfig).toEqual([]);
    expect(created.partitions.map(({ partition, highWatermark }) => [partition, highWatermark])).toEqual([
      [0, 0],
      [1, 0],
    ]);

    const altered = await admin.alterTopic({
      name: 'life',
      partitionCount: 3,
      config: { 'retention.ms': null, 'max.message.bytes': 2_000 },
    });
    expect(altered.partitionCount).toBe(3);
    expect(altered.config).toEqual({ 'cleanup.policy': 'delete', 'max.message.bytes': '2000' });

    const described = await admin.describeTopic('life', { includeDefaults: true });
    expect(described.topicId).toBe(created.topicId);
    expect(described.allConfig.find(setting => setting.name === 'max.message.bytes')).toEqual({
      name: 'max.message.bytes',
      value: '2000',
      source: 'topic',
    });
    expect(described.allConfig.find(setting => setting.name === 'retention.ms')?.source).toBe('default');

    expect((await admin.listTopics({ prefix: 'li' })).map(topic => topic.name)).toEqual(['life']);
    await admin.deleteTopic('life');
    expect(await admin.listTopics({ prefix: 'li' })).toEqual([]);
    expect(await code(admin.describeTopic('life'))).toBe('TOPIC_NOT_FOUND');
  });

  test('is refused with a code that says why', async () => {
    const { admin } = sluice;
    await admin.createTopic({ name: 'taken' });
    expect(await code(admin.createTopic({ name: 'taken' }))).toBe('TOPIC_EXISTS');
    expect(await code(admin.createTopic({ name: 'no spaces' }))).toBe('INVALID_TOPIC_NAME');
    expect(await code(admin.createTopic({ name: 'ok', config: { 'no.such.setting': 1 } }))).toBe('INVALID_CONFIG');
    expect(await code(admin.createTopic({ name: 'ok', partitionCount: 0 }))).toBe('INVALID_PARTITION_COUNT');
    expect(await code(admin.createTopic({ name: 'ok', partitionCount: 1.5 }))).toBe('INVALID_PARTITION_COUNT');
    expect(await code(admin.createTopic({ name: 'ok', replicationFactor: 3 }))).toBe('INVALID_REPLICATION_FACTOR');
    expect(await code(admin.alterTopic({ name: 'nothing', partitionCount: 2 }))).toBe('TOPIC_NOT_FOUND');
    expect(await code(admin.deleteTopic('nothing'))).toBe('TOPIC_NOT_FOUND');
  });

  test('that was deleted and created again is another one, for a producer too', async () => {
    const { admin } = sluice;
    await using producer = sluice.producer({ topic: 'again' });
    expect(await code(producer.send({ value: 'too early' }))).toBe('TOPIC_NOT_FOUND');
    const first = await admin.createTopic({ name: 'again' });
    expect((await producer.send({ value: 'a' })).offset).toBe(0);
    await admin.deleteTopic('again');
    const second = await admin.createTopic({ name: 'again' });
    expect(second.topicId).not.toBe(first.topicId);
    const sent = await producer.send({ value: 'b' }).catch(() => producer.send({ value: 'b' }));
    expect(sent.offset).toBe(0);
  });

  test('lists come whole, however many pages they take', async () => {
    const { admin } = sluice;
    const names = Array.from({ length: 30 }, (_, index) => `many-${String(index).padStart(2, '0')}`);
    for (const name of names) await admin.createTopic({ name });
    expect((await admin.listTopics({ prefix: 'many-' })).map(topic => topic.name)).toEqual(names);
  });
});

describe('offsets and the cluster', () => {
  test('offsets are those of the log, with the record at a time', async () => {
    const { admin } = sluice;
    await admin.createTopic({ name: 'offsets', partitionCount: 2 });
    await using producer = sluice.producer({ topic: 'offsets' });
    for (let index = 0; index < 5; index++) await producer.send({ value: 'v', partition: 1, timestamp: 100 + index });
    expect(await admin.listOffsets('offsets')).toEqual([
      { partition: 0, earliestOffset: 0, highWatermark: 0, lastStableOffset: 0, offset: null, timestamp: null },
      { partition: 1, earliestOffset: 0, highWatermark: 5, lastStableOffset: 5, offset: null, timestamp: null },
    ]);
    const [empty, found] = await admin.listOffsets('offsets', { timestamp: 103 });
    expect(empty).toMatchObject({ offset: null, timestamp: null });
    expect(found).toMatchObject({ offset: 3, timestamp: 103 });
    expect(await code(admin.listOffsets('nothing'))).toBe('TOPIC_NOT_FOUND');
    expect(await code(admin.listOffsets('offsets', { timestamp: 0.5 }))).toBe('INVALID_TIMESTAMP');
  });

  test('the cluster says who is in it', async () => {
    const cluster = await sluice.admin.cluster();
    expect(cluster.clusterId).not.toBe('');
    expect(cluster.brokers).toEqual([
      expect.objectContaining({ nodeId: cluster.controller, grpcAddress: broker.grpc }),
    ]);
  });
});

describe('a call', () => {
  test('rejects with the reason of its signal', async () => {
    const reason = new Error('no longer');
    await expect(sluice.admin.cluster({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const pending = sluice.admin.listTopics({ signal: controller.signal });
    controller.abort(reason);
    await expect(pending).rejects.toBe(reason);
  });

  test('says so when no server answers, and then that the client is closed', async () => {
    // A port that was free a moment ago: whoever had it has stopped.
    const gone = await startBroker();
    await gone.stop();
    const lost = new Sluice({ servers: [gone.grpc], connectTimeoutMs: 300 });
    expect(await code(lost.admin.cluster())).toBe('REQUEST_TIMED_OUT');
    expect(await code(lost.producer({ topic: 't' }).send({ value: 'v' }))).toBe('REQUEST_TIMED_OUT');
    await lost.close();
    expect(await code(lost.admin.cluster())).toBe('INVALID_REQUEST');
    expect(() => lost.producer({ topic: 't' })).toThrow(/closed/);
  });

  test('goes to the next server when one does not answer', async () => {
    const gone = await startBroker();
    await gone.stop();
    await using spare = new Sluice({ servers: [gone.grpc, broker.grpc] });
    expect((await spare.admin.cluster()).brokers).toHaveLength(1);
  });
});

// ProduceService as a client without the SDK sees it.

import { create, toBinary } from '@bufbuild/protobuf';
import {
  AdminService,
  ProduceRequestSchema,
  ProduceResponseSchema,
  type ProduceResponse,
} from '@sluice/protocol/services';
import {
  ATTRIBUTES_AT,
  BatchBuilder,
  decodeRecords,
  encodeBatch,
  sealBatch,
  splitBatches,
} from '@sluice/protocol/record';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawClient } from '../gateway/grpc/raw-client.ts';
import { frame, UnreadCall } from '../gateway/grpc/unread-call.ts';

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

let topics = 0;
const freshTopic = async (partitionCount = 1, config: Record<string, string> = {}): Promise<string> => {
  const name = `produce-${topics++}`;
  await client.createTopic(name, partitionCount, config);
  return name;
};

const batchOf = (values: readonly string[], timestamp = 1_700_000_000_000): Uint8Array =>
  encodeBatch(values.map(value => ({ key: null, value, timestamp })));

const values = async (topic: string, partition = 0): Promise<(string | null)[]> => {
  const fetched = await broker.broker.fetch({
    topic,
    positions: [{ partition, offset: 0 as never }],
    bytesMax: 16 * 1024 * 1024,
    isolation: 'read_uncommitted',
    waitMs: 0,
  });
  if (!fetched.ok) throw new Error(fetched.problem.detail);
  return (fetched.value[0]?.batches ?? []).flatMap(batch => {
    const decoded = decodeRecords(batch);
    if (!decoded.ok) throw new Error(decoded.fault.kind);
    return decoded.records.map(({ value }) => (value === null ? null : Buffer.from(value).toString()));
  });
};

const summary = ({ id, result }: ProduceResponse): string => {
  if (result.case === 'ack') return `${id}@${result.value.baseOffset}+${result.value.count}`;
  return `${id}:${result.value?.code}`;
};

test('ready-made batches are stored and acknowledged with their offsets', async () => {
  const topic = await freshTopic();
  const stream = client.produce();
  stream.write({ id: 7n, topic, batches: batchOf(['a', 'b']) });
  stream.write({ id: 8n, topic, batches: Buffer.concat([batchOf(['c']), batchOf(['d', 'e'], 1_700_000_000_005)]) });
  stream.end();
  const answers = await stream.rest();
  expect(answers.map(summary)).toEqual(['7@0+2', '8@2+3']);
  expect(answers[1]?.result.value).toMatchObject({ timestampMs: 1_700_000_000_005n });
  expect((await stream.status).code).toBe(0);
  expect(await values(topic)).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('records become one batch, with keys, headers, nulls and the times given', async () => {
  const topic = await freshTopic();
  const stream = client.produce();
  stream.write({
    id: 1n,
    topic,
    records: [
      {
        key: Buffer.from('k'),
        value: Buffer.from('v'),
        headers: [{ key: 'h', value: Buffer.from('1') }, { key: 'h' }],
        timestampMs: 5n,
      },
      { key: Buffer.alloc(0), timestampMs: 6n },
    ],
  });
  expect((await stream.only()).result).toMatchObject({ case: 'ack', value: { count: 2, timestampMs: 6n } });
  const fetched = await broker.broker.fetch({
    topic,
    positions: [{ partition: 0, offset: 0 as never }],
    bytesMax: 1_000_000,
    isolation: 'read_uncommitted',
    waitMs: 0,
  });
  if (!fetched.ok) throw new Error('not fetched');
  const batches = fetched.value[0]?.batches ?? [];
  expect(batches).toHaveLength(1);
  const decoded = decodeRecords(batches[0] as Uint8Array);
  if (!decoded.ok) throw new Error('not decoded');
  expect(decoded.records).toMatchObject([
    { timestamp: 5, headers: [{ key: 'h' }, { key: 'h', value: null }] },
    { timestamp: 6, value: null, headers: [] },
  ]);
  expect(decoded.records.map(({ key }) => Buffer.from(key ?? 'null').toString())).toEqual(['k', '']);
  stream.end();
});

test('a record without a time gets the clock of the broker', async () => {
  const topic = await freshTopic();
  const before = Date.now();
  const stream = client.produce();
  stream.write({ id: 1n, topic, records: [{ value: Buffer.from('v') }] });
  const { result } = await stream.only();
  stream.end();
  if (result.case !== 'ack') throw new Error('refused');
  expect(Number(result.value.timestampMs)).toBeGreaterThanOrEqual(before);
  expect(Number(result.value.timestampMs)).toBeLessThanOrEqual(Date.now());
});

test('records are compressed as asked, and a codec that there is not is refused', async () => {
  const topic = await freshTopic();
  const stream = client.produce();
  const records = Array.from({ length: 2_000 }, (_, index) => ({ value: Buffer.from(`value ${index} `.repeat(10)) }));
  stream.write({ id: 1n, topic, records, compression: 4 });
  stream.write({ id: 2n, topic, records: [{ value: Buffer.from('after') }] });
  stream.write({ id: 3n, topic, records: records.slice(0, 2), compression: 1 });
  stream.write({ id: 4n, topic, records: records.slice(0, 2), compression: 77 as never });
  stream.write({ id: 5n, topic, records, compression: 2 });
  stream.write({ id: 6n, topic, records, compression: 3 });
  stream.end();
  const answers = await stream.rest();
  expect(answers.map(summary)).toEqual([
    '1@0+2000',
    '2@2000+1',
    '3@2001+2',
    '4:INVALID_REQUEST',
    '5@2003+2000',
    '6@4003+2000',
  ]);
  const stored = await values(topic);
  expect(stored[1_999]).toBe('value 1999 '.repeat(10));
  expect(stored[2_000]).toBe('after');
  expect(stored[4_002]).toBe('value 1999 '.repeat(10));
  expect(stored[6_002]).toBe('value 1999 '.repeat(10));
  expect(stored).toHaveLength(6_003);
});

test('batches of the codec ids that mean nothing are refused', async () => {
  const topic = await freshTopic();
  const stream = client.produce();
  for (const id of [5, 6, 7]) {
    const batch = batchOf(['x']);
    batch[ATTRIBUTES_AT + 1] = id;
    sealBatch(batch);
    stream.write({ id: BigInt(id), topic, batches: batch });
  }
  stream.end();
  const answers = await stream.rest();
  expect(answers.map(summary).sort()).toEqual([5, 6, 7].map(id => `${id}:UNSUPPORTED_COMPRESSION`));
});

test('refusals are answers: the stream goes on after each of them', async () => {
  const topic = await freshTopic();
  const stream = client.produce();
  const damaged = batchOf(['x']);
  damaged[damaged.length - 1] = 0xff;
  stream.write({ id: 1n, topic: 'no-such-topic', batches: batchOf(['x']) });
  stream.write({ id: 2n, topic: 'no-such-topic', records: [{}] });
  stream.write({ id: 3n, topic, partition: 5, batches: batchOf(['x']) });
  stream.write({ id: 4n, topic, partition: -1, batches: batchOf(['x']) });
  stream.write({ id: 5n, topic, batches: damaged });
  stream.write({ id: 6n, topic });
  stream.write({ id: 7n, topic, batches: batchOf(['x']), records: [{}] });
  stream.write({ id: 8n, topic, batches: batchOf(['x']), acks: 9 as never });
  stream.write({ id: 9n, topic, batches: batchOf(['x']), timeoutMs: 300_001 });
  stream.write({ id: 10n, topic, records: [{ timestampMs: -1n }] });
  stream.write({ id: 11n, topic, records: [{ timestampMs: 2n ** 60n }] });
  stream.write({ id: 12n, topic, batches: batchOf(['written']) });
  stream.end();
  const answers = await stream.rest();
  const byId = new Map(answers.map(answer => [Number(answer.id), summary(answer)]));
  expect([...byId].sort(([a], [b]) => a - b).map(([, text]) => text)).toEqual([
    '1:TOPIC_NOT_FOUND',
    '2:TOPIC_NOT_FOUND',
    '3:PARTITION_NOT_FOUND',
    '4:INVALID_REQUEST',
    '5:CORRUPT_BATCH',
    '6:INVALID_REQUEST',
    '7:INVALID_REQUEST',
    '8:INVALID_REQUEST',
    '9:INVALID_REQUEST',
    '10:INVALID_TIMESTAMP',
    '11:INVALID_TIMESTAMP',
    '12@0+1',
  ]);
  expect(await values(topic)).toEqual(['written']);
});

test('what is too large for the topic is refused with the sizes', async () => {
  const topic = await freshTopic(1, { 'max.message.bytes': '1000' });
  const stream = client.produce();
  const large = Buffer.alloc(2_000);
  stream.write({ id: 1n, topic, records: [{ value: large }] });
  stream.write({ id: 2n, topic, batches: encodeBatch([{ key: null, value: large, timestamp: 1 }]) });
  stream.write({ id: 3n, topic, records: Array.from({ length: 20 }, () => ({ value: Buffer.alloc(100) })) });
  // Zeros shrink: what counts is the batch as it is stored.
  stream.write({ id: 4n, topic, records: [{ value: large }], compression: 4 });
  stream.end();
  const answers = await stream.rest();
  expect(answers.map(summary)).toEqual(['1:RECORD_TOO_LARGE', '2:RECORD_TOO_LARGE', '3:RECORD_TOO_LARGE', '4@0+1']);
  expect(answers[0]?.result.value).toMatchObject({ retriable: false, facts: { batch_bytes_max: '1000' } });
});

test('answers of one partition keep the order of its requests, refusals and acks of all kinds included', async () => {
  const topic = await freshTopic(2);
  const stream = client.produce();
  const count = 203;
  for (let index = 0; index < count; index++) {
    const partition = index % 2;
    const id = BigInt(index);
    const kind = index % 7;
    if (kind === 3) stream.write({ id, topic, partition });
    else if (kind === 5) stream.write({ id, topic, partition, batches: Buffer.alloc(70) });
    else stream.write({ id, topic, partition, acks: kind === 2 ? 1 : 0, batches: batchOf([`v${index}`]) });
  }
  stream.end();
  const answers = await stream.rest();
  expect(answers).toHaveLength(count);
  for (const partition of [0, 1]) {
    const ids = answers.map(({ id }) => Number(id)).filter(id => id % 2 === partition);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  }
  const stored = [...(await values(topic, 0)), ...(await values(topic, 1))];
  expect(stored).toHaveLength(answers.filter(({ result }) => result.case === 'ack').length);
});

test('order holds where a large batch is compressed beside small ones', async () => {
  const topic = await freshTopic();
  const stream = client.produce();
  const noise = (): Buffer => Buffer.from(Array.from({ length: 30_000 }, (_, index) => (index * 7919) % 251));
  for (let index = 0; index < 30; index++) {
    const id = BigInt(index);
    if (index % 3 === 0) {
      const records = Array.from({ length: 5 }, () => ({ key: Buffer.from(`${index}`), value: noise() }));
      stream.write({ id, topic, records, compression: index % 2 === 0 ? 4 : 1 });
    } else {
      stream.write({ id, topic, records: [{ key: Buffer.from(`${index}`), value: Buffer.from('small') }] });
    }
  }
  stream.end();
  const answers = await stream.rest();
  expect(answers.map(({ id }) => Number(id))).toEqual(Array.from({ length: 30 }, (_, index) => index));
  const bases = answers.map(({ result }) => (result.case === 'ack' ? Number(result.value.baseOffset) : -1));
  expect(bases).toEqual(bases.toSorted((a, b) => a - b));
  expect(bases[0]).toBe(0);
});

test('acks none is not answered, unless it is refused', async () => {
  const topic = await freshTopic();
  const stream = client.produce();
  stream.write({ id: 1n, topic, batches: batchOf(['quiet']), acks: 2 });
  stream.write({ id: 2n, topic: 'no-such-topic', batches: batchOf(['x']), acks: 2 });
  stream.write({ id: 3n, topic, batches: batchOf(['heard']) });
  stream.end();
  expect((await stream.rest()).map(summary).sort()).toEqual(['2:TOPIC_NOT_FOUND', '3@1+1']);
  expect(await values(topic)).toEqual(['quiet', 'heard']);
});

test('after a half-close everything pending is answered and the call ends well', async () => {
  const topic = await freshTopic(4);
  const stream = client.produce();
  for (let index = 0; index < 500; index++) {
    stream.write({ id: BigInt(index), topic, partition: index % 4, batches: batchOf([`${index}`]) });
  }
  stream.end();
  expect(await stream.rest()).toHaveLength(500);
  expect((await stream.status).code).toBe(0);
});

test('a client that goes away leaves what it sent in the log', async () => {
  const topic = await freshTopic();
  const impatient = new RawClient(broker.grpc);
  const stream = impatient.produce();
  stream.write({ id: 1n, topic, batches: batchOf(['first']) });
  await stream.only();
  await stream.sent({ id: 2n, topic, batches: batchOf(['second']), acks: 2 });
  stream.cancel();
  impatient.close();
  // The next append is ordered behind whatever the broker took from the stream that is gone.
  const after = client.produce();
  after.write({ id: 1n, topic, batches: batchOf(['third']) });
  expect((await after.only()).result.case).toBe('ack');
  after.end();
  const stored = await values(topic);
  expect(stored[0]).toBe('first');
  expect(stored.at(-1)).toBe('third');
});

test('a stream that does not take its answers stops being read, and goes on when it does', async () => {
  const unread = new UnreadCall(broker.grpc, '/sluice.v1.ProduceService/Produce');
  const count = 100_000;
  const request = create(ProduceRequestSchema, { id: 1n, topic: 'no-such-topic', batches: batchOf(['x']) });
  const requests = Buffer.concat(Array.from({ length: 1_000 }, () => frame(toBinary(ProduceRequestSchema, request))));
  let taken = 0;
  const sending = (async () => {
    for (; taken < count; taken += 1_000) await unread.sendBytes(requests);
  })();
  await unread.response();
  // Others are served, many times over, and the stream still stands where its windows ended.
  const topic = await freshTopic();
  const other = client.produce();
  for (let index = 0; index < 2_000; index++) {
    other.write({ id: BigInt(index), topic, batches: batchOf(['x']) });
    await other.only();
  }
  other.end();
  expect(taken).toBeLessThan(count / 2);
  const got = unread.readToEnd();
  await sending;
  unread.stream.end();
  const answer = create(ProduceResponseSchema, {
    id: 1n,
    result: { case: 'error', value: { code: 'TOPIC_NOT_FOUND' } },
  });
  expect(await got).toBeGreaterThan(count * toBinary(ProduceResponseSchema, answer).byteLength);
  unread.close();
});

test('more bytes under way than one stream may hold are all written in the end', async () => {
  const topic = await freshTopic();
  const stream = client.produce();
  const builder = new BatchBuilder();
  const value = 'x'.repeat(500_000);
  for (let index = 0; index < 80; index++) {
    builder.append({ key: null, value, timestamp: 1 });
    stream.write({ id: BigInt(index), topic, batches: builder.build() });
  }
  stream.end();
  const answers = await stream.rest();
  expect(answers.map(summary)).toEqual(Array.from({ length: 80 }, (_, index) => `${index}@${index}+1`));
});

test('batches on the wire are what is stored, but for the offset and the epoch', async () => {
  const topic = await freshTopic();
  const batch = batchOf(['one', 'two']);
  const stream = client.produce();
  stream.write({ id: 1n, topic, batches: batchOf(['zero']) });
  stream.write({ id: 2n, topic, batches: batch });
  stream.end();
  await stream.rest();
  const read = client.fetch();
  read.open({ stream: 1, topic, untilEnd: true });
  const responses = await read.take(3);
  const bytes = responses[1]?.payload.value as Uint8Array;
  const split = splitBatches(bytes, { bytesMax: 1_000_000 });
  if (!split.ok) throw new Error(split.fault.kind);
  expect(Buffer.from(split.batches[1] as Uint8Array).subarray(16)).toEqual(Buffer.from(batch).subarray(16));
  read.cancel();
  await client.unary(AdminService.method.deleteTopic, { name: topic });
});

// FetchService as a client without the SDK sees it.

import { type MessageInitShape } from '@bufbuild/protobuf';
import type { FetchResponse, OpenReadSchema } from '@sluice/protocol/services';
import { AdminService, FetchRequestSchema, Form, Isolation, Position } from '@sluice/protocol/services';
import { BatchView, decodeRecords, encodeBatch, splitBatches } from '@sluice/protocol/record';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type FetchStream, RawClient } from '../gateway/grpc/raw-client.ts';
import { UnreadCall } from '../gateway/grpc/unread-call.ts';

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

type Read = MessageInitShape<typeof OpenReadSchema>;

let topics = 0;
const freshTopic = async (partitionCount = 1, config: Record<string, string> = {}): Promise<string> => {
  const name = `fetch-${topics++}`;
  await client.createTopic(name, partitionCount, config);
  return name;
};

const append = async (
  topic: string,
  values: readonly string[],
  options: { partition?: number; timestamp?: number } = {},
): Promise<void> => {
  const { partition = 0, timestamp = 1_700_000_000_000 } = options;
  const batches = encodeBatch(values.map(value => ({ key: null, value, timestamp })));
  const result = await broker.broker.produce({ topic, partition, batches, acks: 'all', timeoutMs: 30_000 });
  if (!result.ok) throw new Error(result.problem.detail);
};

const numbered = (count: number, from = 0): string[] => Array.from({ length: count }, (_, index) => `v${from + index}`);

/** The records of a response, whichever form it has. */
const valuesOf = ({ payload }: FetchResponse): string[] => {
  if (payload.case === 'records') {
    return payload.value.records.map(({ value }) => (value === undefined ? 'null' : Buffer.from(value).toString()));
  }
  if (payload.case !== 'batches') return [];
  const split = splitBatches(payload.value, { bytesMax: 64 * 1024 * 1024 });
  if (!split.ok) throw new Error(split.fault.kind);
  return split.batches.flatMap(batch => {
    const decoded = decodeRecords(batch);
    if (!decoded.ok) throw new Error(decoded.fault.kind);
    return decoded.records.map(({ value }) => Buffer.from(value ?? 'null').toString());
  });
};

const readAll = async (read: Read): Promise<{ values: string[]; responses: FetchResponse[] }> => {
  const stream = client.fetch();
  stream.open({ stream: 1, untilEnd: true, ...read });
  stream.end();
  const responses = await stream.rest();
  return { values: responses.flatMap(valuesOf), responses };
};

const untilOver = async (stream: FetchStream): Promise<FetchResponse[]> => {
  const responses: FetchResponse[] = [];
  for (;;) {
    const response = await stream.only();
    responses.push(response);
    if (response.payload.case === 'end' || response.payload.case === 'error') return responses;
  }
};

test('a read to the end opens, brings everything and says where it ended', async () => {
  const topic = await freshTopic();
  await append(topic, ['a', 'b']);
  await append(topic, ['c']);
  const { values, responses } = await readAll({ topic });
  expect(values).toEqual(['a', 'b', 'c']);
  expect(responses[0]?.payload).toMatchObject({ case: 'opened', value: { offset: 0n, earliestOffset: 0n } });
  expect(responses[0]).toMatchObject({ stream: 1, highWatermark: 3n, lastStableOffset: 3n });
  expect(responses.at(-1)?.payload).toMatchObject({ case: 'end', value: { offset: 3n } });
});

test('an empty partition ends at once', async () => {
  const topic = await freshTopic();
  const { responses } = await readAll({ topic });
  expect(responses.map(({ payload }) => payload.case)).toEqual(['opened', 'end']);
});

test('small batches come together, up to the size asked for', async () => {
  const topic = await freshTopic();
  for (let index = 0; index < 40; index++) await append(topic, [`${'x'.repeat(1_000)}${index}`]);
  const whole = await readAll({ topic });
  expect(whole.responses.filter(({ payload }) => payload.case === 'batches')).toHaveLength(1);
  const pieces = await readAll({ topic, maxBytes: 4_000 });
  const sizes = pieces.responses.flatMap(({ payload }) =>
    payload.case === 'batches' ? [payload.value.byteLength] : [],
  );
  expect(sizes.length).toBeGreaterThan(10);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(4_000);
  expect(pieces.values).toEqual(whole.values);
  // One batch is always given.
  const singles = await readAll({ topic, maxBytes: 1 });
  expect(singles.responses.filter(({ payload }) => payload.case === 'batches')).toHaveLength(40);
});

test('records begin at exactly the offset asked for, batches at the one that holds it', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(10));
  await append(topic, numbered(10, 10));
  const records = await readAll({ topic, form: Form.RECORDS, from: { case: 'offset', value: 13n } });
  expect(records.values).toEqual(numbered(7, 13));
  expect(records.responses[0]?.payload).toMatchObject({ case: 'opened', value: { offset: 13n } });
  const batches = await readAll({ topic, from: { case: 'offset', value: 13n } });
  expect(batches.values).toEqual(numbered(10, 10));
});

test('records carry offset, time, key, value and headers as stored', async () => {
  const topic = await freshTopic();
  const batches = encodeBatch([
    {
      key: 'k',
      value: 'v',
      timestamp: 5,
      headers: [
        { key: 'h', value: '1' },
        { key: 'h', value: null },
      ],
    },
    { key: '', value: null, timestamp: 7 },
  ]);
  await broker.broker.produce({ topic, partition: 0, batches, acks: 'all', timeoutMs: 1_000 });
  const { responses } = await readAll({ topic, form: Form.RECORDS });
  const payload = responses[1]?.payload;
  if (payload?.case !== 'records') throw new Error('no records');
  const [first, second] = payload.value.records;
  expect(first).toMatchObject({ offset: 0n, timestampMs: 5n });
  expect(first?.headers.map(({ key, value }) => [key, value && Buffer.from(value).toString()])).toEqual([
    ['h', '1'],
    ['h', undefined],
  ]);
  expect(
    [first?.key, first?.value, first?.headers[0]?.value].map(bytes => Buffer.from(bytes ?? []).toString()),
  ).toEqual(['k', 'v', '1']);
  expect(second).toMatchObject({ offset: 1n, timestampMs: 7n, headers: [] });
  expect(second?.value).toBeUndefined();
  expect(second?.key).toHaveLength(0);
});

test('compressed batches are inflated for records', async () => {
  const topic = await freshTopic();
  for (const codec of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
    const values = numbered(5_000);
    const batches = encodeBatch(
      values.map(value => ({ key: null, value, timestamp: 1 })),
      { codec },
    );
    await broker.broker.produce({ topic, partition: 0, batches, acks: 'all', timeoutMs: 1_000 });
  }
  const { values } = await readAll({ topic, form: Form.RECORDS, maxBytes: 10_000 });
  expect(values).toEqual([1, 2, 3, 4].flatMap(() => numbered(5_000)));
});

test('a read may begin at the end, at a time, or some records before the end', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(3), { timestamp: 1_000 });
  await append(topic, numbered(3, 3), { timestamp: 2_000 });
  const begin = async (from: Read['from'] & object): Promise<string[]> =>
    (await readAll({ topic, form: Form.RECORDS, from })).values;
  expect(await begin({ case: 'position', value: Position.EARLIEST })).toEqual(numbered(6));
  expect(await begin({ case: 'position', value: Position.LATEST })).toEqual([]);
  expect(await begin({ case: 'timestampMs', value: 1_001n })).toEqual(numbered(3, 3));
  expect(await begin({ case: 'timestampMs', value: 0n })).toEqual(numbered(6));
  expect(await begin({ case: 'timestampMs', value: 5_000n })).toEqual([]);
  expect(await begin({ case: 'tail', value: 2n })).toEqual(numbered(2, 4));
  expect(await begin({ case: 'tail', value: 0n })).toEqual([]);
  expect(await begin({ case: 'tail', value: 1_000_000n })).toEqual(numbered(6));
  expect(await begin({ case: 'offset', value: 6n })).toEqual([]);
});

test('what is appended later arrives, in both forms', async () => {
  const topic = await freshTopic();
  const stream = client.fetch();
  stream.open({ stream: 1, topic });
  stream.open({ stream: 2, topic, form: Form.RECORDS });
  await stream.take(2);
  for (const value of ['one', 'two', 'three']) {
    await append(topic, [value]);
    const responses = await stream.take(2);
    expect(responses.map(({ stream: id }) => id).sort((a, b) => a - b)).toEqual([1, 2]);
    expect(responses.flatMap(valuesOf)).toEqual([value, value]);
  }
  stream.cancel();
});

test('a read until the end does not bring what came after its opening', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(3));
  for (const form of [Form.BATCHES, Form.RECORDS]) {
    const stream = client.fetch();
    stream.open({ stream: 1, topic, form, untilEnd: true, credit: { records: 0n, bytes: 0n } });
    const opened = await stream.only();
    const end = opened.highWatermark;
    await append(topic, ['later']);
    stream.grant(1, 1_000, 1_000_000);
    const responses = await untilOver(stream);
    expect(responses.flatMap(valuesOf)).not.toContain(form === Form.BATCHES ? 'later' : numbered(0)[0]);
    expect(responses.flatMap(valuesOf)).toHaveLength(Number(end));
    expect(responses.at(-1)?.payload).toMatchObject({ case: 'end', value: { offset: end } });
    stream.cancel();
  }
});

test('credit in batches: the last one goes whole, and nothing more before the next grant', async () => {
  const topic = await freshTopic();
  for (let index = 0; index < 10; index++) await append(topic, numbered(5, index * 5));
  const stream = client.fetch();
  stream.open({ stream: 1, topic, credit: { records: 12n, bytes: 1_000_000n } });
  stream.open({ stream: 2, topic, untilEnd: true });
  const first: FetchResponse[] = [];
  // The second read shows that the call goes on while the first one waits.
  for (let isOver = false; !isOver; ) {
    const response = await stream.only();
    if (response.stream === 1) first.push(response);
    else isOver = response.payload.case === 'end';
  }
  expect(first.flatMap(valuesOf)).toEqual(numbered(15));
  stream.grant(1, 3, 1);
  stream.grant(1, 1, 1);
  expect(valuesOf(await stream.only())).toEqual(numbered(5, 15));
  stream.closeRead(1);
  expect((await stream.only()).payload).toMatchObject({ case: 'end', value: { offset: 20n } });
  stream.cancel();
});

test('credit in bytes: one byte brings one batch', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(5));
  await append(topic, numbered(5, 5));
  const stream = client.fetch();
  stream.open({ stream: 1, topic, credit: { records: 1_000n, bytes: 1n } });
  await stream.only();
  const piece = await stream.only();
  expect(valuesOf(piece)).toEqual(numbered(5));
  if (piece.payload.case !== 'batches') throw new Error('no batches');
  stream.grant(1, 0, piece.payload.value.byteLength);
  expect(valuesOf(await stream.only())).toEqual(numbered(5, 5));
  stream.cancel();
});

test('credit in records: counted one by one, cut within a batch, resumed where it stopped', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(20));
  await append(topic, numbered(5, 20));
  const stream = client.fetch();
  stream.open({ stream: 1, topic, form: Form.RECORDS, untilEnd: true, credit: { records: 7n, bytes: 1_000_000n } });
  await stream.only();
  expect(valuesOf(await stream.only())).toEqual(numbered(7));
  stream.grant(1, 1, 0);
  expect(valuesOf(await stream.only())).toEqual(numbered(1, 7));
  stream.grant(1, 100, 0);
  const rest = await untilOver(stream);
  expect(rest.flatMap(valuesOf)).toEqual(numbered(17, 8));
  stream.cancel();
});

test('credit in stored bytes of records: key, value and headers', async () => {
  const topic = await freshTopic();
  const record = { key: 'kk', value: 'vvv', timestamp: 1, headers: [{ key: 'h', value: 'xy' }] };
  const batches = encodeBatch(Array.from({ length: 10 }, () => record));
  await broker.broker.produce({ topic, partition: 0, batches, acks: 'all', timeoutMs: 1_000 });
  const stream = client.fetch();
  // 8 bytes a record: 17 bytes are used up by the third.
  stream.open({ stream: 1, topic, form: Form.RECORDS, credit: { records: 100n, bytes: 17n } });
  await stream.only();
  expect(valuesOf(await stream.only())).toHaveLength(3);
  // The debt of 7 is paid first.
  stream.grant(1, 0, 7);
  stream.grant(1, 0, 1);
  expect(valuesOf(await stream.only())).toHaveLength(1);
  stream.cancel();
});

test('bad credit ends the read that it names, and no other', async () => {
  const topic = await freshTopic();
  const stream = client.fetch();
  for (const id of [1, 2, 3, 4, 5]) stream.open({ stream: id, topic, credit: { records: 1n, bytes: 1n } });
  stream.open({ stream: 6, topic });
  await stream.take(6);
  stream.grant(1, -1, 1);
  stream.grant(2, 0, 0);
  stream.grant(3, 2n ** 62n, 1);
  stream.grant(4, Number.MAX_SAFE_INTEGER, 1);
  stream.write({ request: { case: 'credit', value: { stream: 5 } } });
  stream.grant(6, 1, 1);
  const refusals = await stream.take(6);
  expect(refusals.map(({ stream: id }) => id)).toEqual([1, 2, 3, 4, 5, 6]);
  for (const { payload } of refusals)
    expect(payload).toMatchObject({ case: 'error', value: { code: 'INVALID_REQUEST' } });
  stream.open({ stream: 7, topic, credit: { records: -1n, bytes: 1n } });
  expect((await stream.only()).payload).toMatchObject({ case: 'error', value: { code: 'INVALID_REQUEST' } });
  // Ids are free again after `error`.
  stream.open({ stream: 1, topic, untilEnd: true });
  expect((await stream.take(2)).map(({ payload }) => payload.case)).toEqual(['opened', 'end']);
  stream.cancel();
});

test('what names a read that is over means nothing', async () => {
  const topic = await freshTopic();
  const stream = client.fetch();
  stream.grant(9, 1, 1);
  stream.closeRead(9);
  stream.open({ stream: 9, topic, untilEnd: true });
  expect((await stream.take(2)).map(({ payload }) => payload.case)).toEqual(['opened', 'end']);
  stream.grant(9, -5, 1);
  stream.closeRead(9);
  stream.open({ stream: 1, topic, untilEnd: true });
  expect((await stream.take(2)).map(({ stream: id, payload }) => [id, payload.case])).toEqual([
    [1, 'opened'],
    [1, 'end'],
  ]);
  stream.cancel();
});

test('a second read under the same number is refused, and the first goes on', async () => {
  const topic = await freshTopic();
  const stream = client.fetch();
  stream.open({ stream: 1, topic });
  await stream.only();
  stream.open({ stream: 1, topic });
  expect((await stream.only()).payload).toMatchObject({
    case: 'error',
    value: { code: 'INVALID_REQUEST', facts: { duplicate: 'true' } },
  });
  await append(topic, ['still here']);
  expect(valuesOf(await stream.only())).toEqual(['still here']);
  stream.cancel();
});

test('closing a read answers with its position, while it waits for records or for credit', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(4));
  const stream = client.fetch();
  stream.open({ stream: 1, topic });
  stream.open({ stream: 2, topic, credit: { records: 0n, bytes: 0n } });
  await stream.take(3);
  stream.closeRead(1);
  expect(await stream.only()).toMatchObject({ stream: 1, payload: { case: 'end', value: { offset: 4n } } });
  stream.closeRead(2);
  expect(await stream.only()).toMatchObject({ stream: 2, payload: { case: 'end', value: { offset: 0n } } });
  stream.end();
  expect(await stream.rest()).toEqual([]);
  expect((await stream.status).code).toBe(0);
});

test('refusals come in band with the facts and end only their read', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(3));
  const stream = client.fetch();
  const refusals: [Read, string][] = [
    [{ topic: 'no-such-topic' }, 'TOPIC_NOT_FOUND'],
    [{ topic, partition: 7 }, 'PARTITION_NOT_FOUND'],
    [{ topic, partition: -1 }, 'INVALID_REQUEST'],
    [{ topic, from: { case: 'offset', value: 4n } }, 'OFFSET_OUT_OF_RANGE'],
    [{ topic, from: { case: 'offset', value: -1n } }, 'INVALID_REQUEST'],
    [{ topic, from: { case: 'offset', value: 2n ** 53n } }, 'INVALID_REQUEST'],
    [{ topic, from: { case: 'tail', value: -1n } }, 'INVALID_REQUEST'],
    [{ topic, from: { case: 'timestampMs', value: -1n } }, 'INVALID_TIMESTAMP'],
    [{ topic, from: { case: 'position', value: 5 as never } }, 'INVALID_REQUEST'],
    [{ topic, isolation: 9 as never }, 'INVALID_REQUEST'],
    [{ topic, form: 9 as never }, 'INVALID_REQUEST'],
    [{ topic, maxBytes: 16 * 1024 * 1024 + 1 }, 'INVALID_REQUEST'],
  ];
  for (const [index, [read]] of refusals.entries()) stream.open({ stream: index, ...read });
  const answers = await stream.take(refusals.length);
  const codes = new Map(
    answers.map(({ stream: id, payload }) => [id, payload.case === 'error' ? payload.value.code : payload.case]),
  );
  for (const [index, [, code]] of refusals.entries()) expect([index, codes.get(index)]).toEqual([index, code]);
  const outside = answers.find(({ stream: id }) => id === 3);
  expect(outside?.payload.value).toMatchObject({ facts: { earliest_offset: '0', high_watermark: '3' } });
  stream.open({ stream: 1, topic, untilEnd: true });
  expect((await untilOver(stream)).flatMap(valuesOf)).toEqual(numbered(3));
  stream.cancel();
});

test('deleting a topic ends its reads, those that wait included', async () => {
  const topic = await freshTopic(2);
  const other = await freshTopic();
  await append(topic, ['x']);
  const stream = client.fetch();
  stream.open({ stream: 1, topic });
  stream.open({ stream: 2, topic, partition: 1, form: Form.RECORDS });
  stream.open({ stream: 3, topic: other });
  await stream.take(4);
  await client.unary(AdminService.method.deleteTopic, { name: topic });
  const ends = await stream.take(2);
  expect(ends.map(({ stream: id }) => id).sort((a, b) => a - b)).toEqual([1, 2]);
  for (const { payload } of ends) expect(payload).toMatchObject({ case: 'error', value: { code: 'TOPIC_NOT_FOUND' } });
  await append(other, ['goes on']);
  expect(valuesOf(await stream.only())).toEqual(['goes on']);
  stream.cancel();
});

test('a topic created anew under the name is not what was being read', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(2));
  const stream = client.fetch();
  stream.open({ stream: 1, topic, credit: { records: 1n, bytes: 1n } });
  await stream.take(2);
  await client.unary(AdminService.method.deleteTopic, { name: topic });
  await client.createTopic(topic);
  await append(topic, ['other', 'other', 'other', 'other']);
  stream.grant(1, 100, 100_000);
  expect((await stream.only()).payload).toMatchObject({ case: 'error', value: { code: 'TOPIC_NOT_FOUND' } });
  stream.cancel();
});

test('many reads share one call, and each gets all of its partition', async () => {
  const partitionCount = 50;
  const topic = await freshTopic(partitionCount);
  await Promise.all(
    Array.from({ length: partitionCount }, (_, partition) =>
      append(topic, numbered(20, partition * 100), { partition }),
    ),
  );
  const stream = client.fetch();
  for (let partition = 0; partition < partitionCount; partition++) {
    stream.open({ stream: partition, topic, partition, untilEnd: true, maxBytes: 100 });
  }
  stream.end();
  const byStream = Map.groupBy(await stream.rest(), response => response.stream);
  for (let partition = 0; partition < partitionCount; partition++) {
    const responses = byStream.get(partition) ?? [];
    expect(responses.flatMap(valuesOf)).toEqual(numbered(20, partition * 100));
    expect(responses.at(-1)?.payload.case).toBe('end');
  }
});

test('one call has a bounded number of reads', async () => {
  const topic = await freshTopic();
  const stream = client.fetch();
  for (let id = 0; id <= 1_024; id++) stream.open({ stream: id, topic });
  const answers = await stream.take(1_025);
  const refusals = answers.filter(({ payload }) => payload.case === 'error');
  expect(refusals).toMatchObject([{ stream: 1_024, payload: { value: { code: 'THROTTLED', retriable: true } } }]);
  stream.cancel();
});

const sentBytes = async (): Promise<number> => {
  const metrics = await (await fetch(`${broker.management}/metrics`)).text();
  return Number(/^sluice_sent_bytes_total\{door="grpc",verb="fetch"\} (\d+)/m.exec(metrics)?.[1] ?? 0);
};

test('a client that does not read is sent little more than its window, while others are served', async () => {
  const topic = await freshTopic();
  const value = Buffer.alloc(500_000, 'x').toString();
  const count = 60;
  for (let index = 0; index < count; index++) await append(topic, [`${index} ${value}`]);
  const unread = new UnreadCall(broker.grpc, '/sluice.v1.FetchService/Fetch');
  const before = await sentBytes();
  for (const stream of [1, 2, 3]) {
    await unread.send(FetchRequestSchema, { request: { case: 'open', value: { stream, topic, untilEnd: true } } });
  }
  await unread.response();
  const { values, responses } = await readAll({ topic });
  expect(values.map(each => each.split(' ', 1)[0])).toEqual(Array.from({ length: count }, (_, index) => `${index}`));
  const served = responses.reduce(
    (sum, { payload }) => sum + (payload.case === 'batches' ? payload.value.byteLength : 0),
    0,
  );
  const unreadBytes = (await sentBytes()) - before - served;
  expect(unreadBytes).toBeGreaterThan(0);
  expect(unreadBytes).toBeLessThan(4_000_000);
  // Once it reads, it gets the rest.
  unread.stream.end();
  expect(await unread.readToEnd()).toBeGreaterThan(3 * served);
  unread.close();
});

test('a request that is none ends the call with a status', async () => {
  const stream = client.fetch();
  stream.write({});
  expect(await stream.rest()).toEqual([]);
  expect((await stream.status).code).toBe(3);
});

test('a read that is opened behind a request that is none is not begun, and everybody else is served', async () => {
  const topic = await freshTopic();
  await append(topic, ['a']);
  const stream = client.fetch();
  stream.write({});
  stream.open({ stream: 1, topic });
  expect(await stream.rest()).toEqual([]);
  expect((await stream.status).code).toBe(3);
  expect((await readAll({ topic })).values).toEqual(['a']);
});

test('after a half-close open reads go on until the client cancels', async () => {
  const topic = await freshTopic();
  const stream = client.fetch();
  stream.open({ stream: 1, topic });
  stream.end();
  await stream.only();
  await append(topic, ['late']);
  expect(valuesOf(await stream.only())).toEqual(['late']);
  stream.cancel();
  expect((await stream.status).code).toBe(1);
});

test('a half-closed call without reads ends at once', async () => {
  const stream = client.fetch();
  stream.end();
  expect(await stream.rest()).toEqual([]);
  expect((await stream.status).code).toBe(0);
});

test('committed and uncommitted reads see the same where there are no transactions', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(5));
  const { values } = await readAll({ topic, isolation: Isolation.READ_COMMITTED });
  expect(values).toEqual(numbered(5));
});

test('batches come as stored: offsets and checksums are those of the log', async () => {
  const topic = await freshTopic();
  await append(topic, numbered(3));
  await append(topic, numbered(2, 3));
  const { responses } = await readAll({ topic });
  const payload = responses[1]?.payload;
  if (payload?.case !== 'batches') throw new Error('no batches');
  const split = splitBatches(payload.value, { bytesMax: 1_000_000 });
  if (!split.ok) throw new Error(split.fault.kind);
  expect(split.batches.map(batch => new BatchView(batch).baseOffset)).toEqual([0, 3]);
});

// Server-Sent Events over real HTTP against a real broker.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBroker, type TestBroker } from 'sluice/testing';
import { EventSourceReader, type EventSourceOptions, type ReceivedEvent } from './event-source.ts';
import { call, expectStatus, post } from './http-call.ts';

let broker: TestBroker;
let serial = 0;
const open: EventSourceReader[] = [];

beforeAll(async () => {
  broker = await startBroker();
});
afterAll(async () => {
  for (const reader of open) reader.close();
  await broker.stop();
});

const newTopic = async (partitionCount = 1): Promise<string> => {
  serial += 1;
  const name = `events-${serial}`;
  expectStatus(await post(broker.http, '/v1/topics', { name, partition_count: partitionCount }), 201);
  return name;
};

const produce = async (topic: string, values: readonly unknown[]): Promise<void> => {
  const records = values.map(value => ({ key: `k${String(value)}`, value }));
  expectStatus(await post(broker.http, `/v1/topics/${topic}/records`, { records }), 200);
};

const listen = (topic: string, query = '', options: EventSourceOptions = {}): EventSourceReader => {
  const reader = new EventSourceReader(`${broker.http}/v1/topics/${topic}/records${query}`, options);
  open.push(reader);
  return reader;
};

const valuesOf = (events: readonly ReceivedEvent[]): unknown[] =>
  events.map(({ data }) => (JSON.parse(data) as { value: unknown }).value);

const counting = (from: number, count: number): number[] => Array.from({ length: count }, (_, index) => from + index);

const refusal = async (topic: string, query: string, headers: Record<string, string> = {}) =>
  call(broker.http, `/v1/topics/${topic}/records${query}`, { headers: { Accept: 'text/event-stream', ...headers } });

describe('a stream of events', () => {
  it('is opened with a retry time, and gives what is there and what comes, in order, as unnamed events', async () => {
    const topic = await newTopic();
    await produce(topic, counting(0, 3));
    const reader = await listen(topic).opened();
    expect(reader.status).toBe(200);
    expect(reader.headers['content-type']).toBe('text/event-stream');
    expect(reader.headers['cache-control']).toBe('no-store');
    expect(reader.retryMs).toBe(1000);
    await reader.until(({ messages }) => messages.length === 3);
    await produce(topic, counting(3, 2));
    await reader.until(({ messages }) => messages.length === 5);
    expect(valuesOf(reader.messages)).toEqual(counting(0, 5));
    expect(JSON.parse(reader.messages[4]!.data)).toMatchObject({
      topic,
      partition: 0,
      offset: 4,
      key: 'k4',
      headers: [],
    });
    reader.close();
  });

  it('is resumed behind the last event that was seen, whatever start the request names', async () => {
    const topic = await newTopic(3);
    await produce(topic, counting(0, 30));
    const reader = await listen(topic).until(({ messages }) => messages.length === 30);
    reader.close();
    const seen = reader.messages.slice(0, 17);
    const again = listen(topic, '?from=latest', { lastEventId: seen[16]!.id });
    await again.until(({ messages }) => messages.length >= 13);
    await produce(topic, [30]);
    await again.until(({ messages }) => messages.length === 14);
    const all = [...valuesOf(seen), ...valuesOf(again.messages)] as number[];
    expect(all.toSorted((a, b) => a - b)).toEqual(counting(0, 31));
    again.close();
  });

  it('from the end is resumed where it began when nothing had come yet', async () => {
    const topic = await newTopic();
    await produce(topic, [0]);
    const reader = await listen(topic, '?from=latest').opened();
    reader.close();
    expect(reader.lastEventId).not.toBe('');
    await produce(topic, [1]);
    const again = listen(topic, '?from=latest', { lastEventId: reader.lastEventId });
    await again.until(({ messages }) => messages.length === 1);
    expect(valuesOf(again.messages)).toEqual([1]);
    again.close();
  });

  it('gives readers that began at different places the same records, each once', async () => {
    const topic = await newTopic(2);
    for (const partition of [0, 1]) {
      const records = counting(partition * 25, 25).map(value => ({ key: `k${value}`, value, partition }));
      expectStatus(await post(broker.http, `/v1/topics/${topic}/records`, { records }), 200);
    }
    const readers = [listen(topic), listen(topic, '?from=latest'), listen(topic, '?tail=5')];
    await Promise.all(readers.map(reader => reader.opened()));
    for (let round = 0; round < 20; round++) {
      await produce(topic, counting(50 + round * 10, 10));
      if (round === 7) readers.push(listen(topic), listen(topic, '?values=text'));
    }
    // The last five of each partition, and all that came after.
    const expected = [250, 200, 210, 250, 250];
    for (const [index, reader] of readers.entries()) {
      await reader.until(({ messages }) => messages.length >= expected[index]!);
      const keys = reader.messages.map(({ data }) => (JSON.parse(data) as { key: string }).key);
      expect(new Set(keys).size).toBe(expected[index]);
      reader.close();
    }
  });

  it('ends after `limit` records, and after `wait` without one', async () => {
    const topic = await newTopic();
    await produce(topic, counting(0, 10));
    const limited = await listen(topic, '?limit=4').untilEnd();
    expect(valuesOf(limited.messages)).toEqual([0, 1, 2, 3]);
    const rest = await listen(topic, '?wait=20', { lastEventId: limited.lastEventId }).untilEnd();
    expect(valuesOf(rest.messages)).toEqual(counting(4, 6));
  });

  it('gives the whole backlog, however short `wait` is', async () => {
    const topic = await newTopic();
    for (let from = 0; from < 10_000; from += 1_000) await produce(topic, counting(from, 1_000));
    const reader = await listen(topic, '?wait=1').untilEnd();
    expect(reader.messages).toHaveLength(10_000);
  });

  it('keeps a value with line ends inside one event', async () => {
    const topic = await newTopic();
    const body = '{\n  "a":\r\n 1 }';
    expectStatus(await post(broker.http, `/v1/topics/${topic}/records`, body, 'application/octet-stream'), 200);
    expectStatus(await post(broker.http, `/v1/topics/${topic}/records`, 'a\r\nb', 'application/octet-stream'), 200);
    const reader = await listen(topic).until(({ messages }) => messages.length === 2);
    expect(JSON.parse(reader.messages[0]!.data)).toMatchObject({ value: { a: 1 } });
    expect(JSON.parse(reader.messages[1]!.data)).toMatchObject({ value_text: 'a\r\nb' });
    reader.close();
  });

  it('answers HEAD with the headers alone', async () => {
    const topic = await newTopic();
    const headers = { Accept: 'text/event-stream' };
    const answer = await call(broker.http, `/v1/topics/${topic}/records`, { method: 'HEAD', headers });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('text/event-stream');
  });
});

describe('what can be known beforehand is a status', () => {
  it('for a topic, a partition, a cursor or a start that is not there', async () => {
    const topic = await newTopic();
    expect((await refusal('no-such', '')).json).toMatchObject({ status: 404, code: 'TOPIC_NOT_FOUND' });
    expect((await refusal(topic, '?partitions=7')).json).toMatchObject({ status: 404, code: 'PARTITION_NOT_FOUND' });
    expect((await refusal(topic, '?cursor=abc')).json).toMatchObject({ status: 400, code: 'INVALID_CURSOR' });
    const last = { 'Last-Event-ID': 'garbage' };
    expect((await refusal(topic, '', last)).json).toMatchObject({ status: 400, code: 'INVALID_CURSOR' });
    expect((await refusal(topic, '?from=latest&tail=1')).json).toMatchObject({ code: 'INVALID_REQUEST' });
    const path = `/v1/topics/${topic}/partitions/0/records?offset=9`;
    const beyond = await call(broker.http, path, { headers: { Accept: 'text/event-stream' } });
    expect(beyond.json).toMatchObject({ status: 416, code: 'OFFSET_OUT_OF_RANGE', high_watermark: 0 });
  });

  it('for a cursor that is older than the log, unless `reset` says where to go on', async () => {
    const topic = await newTopic();
    await produce(topic, counting(0, 10));
    const first = await listen(topic, '?limit=2').untilEnd();
    const path = `/v1/topics/${topic}/partitions/0/records?before=6`;
    expectStatus(await call(broker.http, path, { method: 'DELETE' }), 200);
    const cursor = first.lastEventId;
    const refused = await refusal(topic, `?cursor=${cursor}`);
    expect(refused.json).toMatchObject({ status: 416, earliest_offset: 6, high_watermark: 10 });
    const earliest = await listen(topic, `?cursor=${cursor}&reset=earliest&wait=20`).untilEnd();
    expect(valuesOf(earliest.messages)).toEqual([6, 7, 8, 9]);
    const latest = await listen(topic, '?reset=latest&wait=20', { lastEventId: cursor }).untilEnd();
    expect(latest.messages).toEqual([]);
    const page = await call(broker.http, `/v1/topics/${topic}/records?cursor=${cursor}&reset=earliest`);
    expect(page.json['records']).toHaveLength(4);
  });
});

describe('the end of a stream', () => {
  it('is told as a problem when its topic is deleted, even where the name is taken again', async () => {
    const topic = await newTopic();
    await produce(topic, [0]);
    const reader = await listen(topic).until(({ messages }) => messages.length === 1);
    expectStatus(await call(broker.http, `/v1/topics/${topic}`, { method: 'DELETE' }), 204);
    expectStatus(await post(broker.http, '/v1/topics', { name: topic }), 201);
    await produce(topic, [1]);
    await reader.untilEnd();
    expect(reader.events.at(-1)).toMatchObject({ event: 'problem' });
    expect(JSON.parse(reader.events.at(-1)!.data)).toMatchObject({ code: 'TOPIC_NOT_FOUND', status: 404 });
    expect(valuesOf(reader.messages)).toEqual([0]);
  });

  it('is told before the broker stops, and its cursor works after the restart', async () => {
    const dataDir = `${broker.dataDir}/restarted`;
    const first = await startBroker({ dataDir });
    expectStatus(await post(first.http, '/v1/topics', { name: 't' }), 201);
    expectStatus(await post(first.http, '/v1/topics/t/records', { records: [{ value: 1 }] }), 200);
    const reader = new EventSourceReader(`${first.http}/v1/topics/t/records`);
    await reader.until(({ messages }) => messages.length === 1);
    await first.stop();
    await reader.untilEnd();
    expect(reader.events.at(-1)).toMatchObject({ event: 'draining', data: '{"resume_within_ms":1000}' });
    const second = await startBroker({ dataDir });
    expectStatus(await post(second.http, '/v1/topics/t/records', { records: [{ value: 2 }] }), 200);
    const again = new EventSourceReader(`${second.http}/v1/topics/t/records`, { lastEventId: reader.lastEventId });
    await again.until(({ messages }) => messages.length === 1);
    expect(valuesOf(again.messages)).toEqual([2]);
    again.close();
    await second.stop();
  });
});

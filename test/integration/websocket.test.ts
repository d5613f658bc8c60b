// The WebSocket door of a real broker: every op, every refusal, credit, back-pressure and the stop.

import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { offset } from '@sluice/protocol/ids';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestBroker } from '../../server/testing.ts';
import { startBroker } from '../../server/testing.ts';
import type { Frame } from './web-socket-client.ts';
import { TestSocket } from './web-socket-client.ts';

let broker: TestBroker;
let topics = 0;

beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.stop());

const post = async (to: TestBroker, route: string, body: unknown): Promise<unknown> => {
  const answer = await fetch(`${to.http}${route}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};

const newTopic = async (partitions = 1, config: Record<string, unknown> = {}, at = broker): Promise<string> => {
  const name = `t${++topics}`;
  await post(at, '/v1/topics', { name, partition_count: partitions, config });
  return name;
};

const written = (topic: string, values: readonly unknown[], at = broker): Promise<unknown> =>
  post(at, `/v1/topics/${topic}/records`, { records: values.map(value => ({ value })) });

const valuesOf = (frames: readonly Frame[]): readonly unknown[] =>
  frames.flatMap(frame => frame.records!.map(record => record.value));

/** In one packet. */
const sendTogether = (socket: TestSocket, frames: readonly unknown[]): void => {
  const raw = socket.raw as unknown as { readonly _socket: Socket };
  raw._socket.cork();
  for (const frame of frames) socket.send(frame);
  raw._socket.uncork();
};

const counted = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);

/** The answer to a request written by hand. */
const rawExchange = (text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(broker.http);
    let answer = '';
    const socket = connect(Number(port), hostname, () => socket.write(text.replaceAll('HOST', `${hostname}:${port}`)));
    socket.setEncoding('utf8').on('data', (piece: string) => {
      answer += piece;
      if (answer.startsWith('HTTP/1.1 101')) socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });

const handshake = (changes: Record<string, string | null> = {}, first = 'GET /v1/ws HTTP/1.1'): string => {
  const headers: Record<string, string | null> = {
    Host: 'HOST',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    ...changes,
  };
  const lines = Object.entries(headers).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}`]));
  return `${first}\r\n${lines.join('\r\n')}\r\n\r\n`;
};

describe('the handshake', () => {
  it('is answered with the subprotocol when it is offered, and without one when none is', async () => {
    await using offered = await TestSocket.open(broker.http, ['other', 'sluice.v1.json']);
    expect(offered.raw.protocol).toBe('sluice.v1.json');
    await using plain = await TestSocket.open(broker.http, []);
    expect(plain.raw.protocol).toBe('');
  });

  it.each([
    ['an unknown subprotocol', handshake({ 'Sec-WebSocket-Protocol': 'mqtt' }), 400, 'INVALID_REQUEST'],
    ['a broken list of subprotocols', handshake({ 'Sec-WebSocket-Protocol': 'a, ,b' }), 400, 'INVALID_REQUEST'],
    ['a foreign origin', handshake({ Origin: 'http://evil.example' }), 403, 'ORIGIN_NOT_ALLOWED'],
    ['a foreign host', handshake({ Host: 'evil.example' }), 403, 'ORIGIN_NOT_ALLOWED'],
    ['no host', handshake({ Host: null }), 403, 'ORIGIN_NOT_ALLOWED'],
    ['another route', handshake({}, 'GET /v1/topics HTTP/1.1'), 404, 'ROUTE_NOT_FOUND'],
    ['a query', handshake({}, 'GET /v1/ws?x=1 HTTP/1.1'), 400, 'INVALID_REQUEST'],
    ['another method', handshake({}, 'POST /v1/ws HTTP/1.1'), 400, 'INVALID_REQUEST'],
    ['no key', handshake({ 'Sec-WebSocket-Key': null }), 400, 'INVALID_REQUEST'],
    ['a short key', handshake({ 'Sec-WebSocket-Key': 'abc=' }), 400, 'INVALID_REQUEST'],
    ['another version', handshake({ 'Sec-WebSocket-Version': '7' }), 400, 'INVALID_REQUEST'],
    ['no upgrade', handshake({ Upgrade: null, Connection: 'close' }), 400, 'INVALID_REQUEST'],
  ])('is refused with a problem document: %s', async (_name, text, status, code) => {
    const answer = await rawExchange(text);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer.toLowerCase()).toContain('content-type: application/problem+json');
    const document = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as Record<string, unknown>;
    expect(document).toMatchObject({ status, code });
    expect(answer.toLowerCase()).toContain(`request-id: ${String(document['request_id'])}`);
  });

  it('of the listener itself as origin is let in', async () => {
    expect(await rawExchange(handshake({ Origin: 'http://HOST' }))).toMatch(/^HTTP\/1.1 101 /);
  });

  it('leaves a request that asks for another protocol to HTTP', async () => {
    const text = 'GET /v1/cluster HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n';
    expect(await rawExchange(text)).toMatch(/^HTTP\/1.1 200 /);
  });
});

describe('produce', () => {
  it('answers the offsets in the order of the records', async () => {
    const topic = await newTopic(2);
    await using socket = await TestSocket.open(broker.http);
    const answer = await socket.ask({
      id: 7,
      op: 'produce',
      topic,
      records: [
        { value: 1, partition: 1 },
        { value: 2, partition: 0 },
        { value: 3, partition: 1, timestamp: 5 },
      ],
    });
    expect(answer).toMatchObject({
      id: 7,
      op: 'produced',
      offsets: [
        { partition: 1, offset: 0 },
        { partition: 0, offset: 0 },
        { partition: 1, offset: 1, timestamp: 5 },
      ],
    });
  });

  it('takes acks, time-out, compression and a partition for all records', async () => {
    const topic = await newTopic(3);
    await using socket = await TestSocket.open(broker.http);
    for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
      const options = { acks: 1, timeout_ms: 1000, compression, partition: 2 };
      const answer = await socket.ask({ id: 'a', op: 'produce', topic, records: [{ value: 'x' }], ...options });
      expect(answer.offsets).toMatchObject([{ partition: 2 }]);
    }
    const refusal = await socket.ask({
      id: 2,
      op: 'produce',
      topic,
      partition: 2,
      records: [{ value: 1 }, { value: 1, partition: 0 }],
    });
    expect(refusal.problem).toMatchObject({ code: 'INVALID_REQUEST', index: 1, field: 'partition' });
  });

  it('with acks 0 answers without offsets, and the records are there', async () => {
    const topic = await newTopic();
    await using socket = await TestSocket.open(broker.http);
    const name = await socket.subscribe({ topic });
    expect(await socket.ask({ id: 1, op: 'produce', topic, acks: 0, records: [{ value: 9 }] })).toEqual({
      id: 1,
      op: 'produced',
    });
    expect(valuesOf(await socket.records(name, 1))).toEqual([9]);
  });

  it('is answered in order within a partition, compressed or not, and offsets follow the order of requests', async () => {
    const topic = await newTopic(2);
    await using socket = await TestSocket.open(broker.http);
    const long = Array.from({ length: 3000 }, (_, index) => ({
      value: `${index} ${'x'.repeat(40)}`,
      partition: index % 2,
    }));
    const answers: Promise<Frame>[] = [];
    const order: number[] = [];
    for (const id of counted(30)) {
      const records = id % 5 === 0 ? long : [{ value: id, partition: 0 }];
      const answer = socket.ask({ id, op: 'produce', topic, records, compression: id % 5 === 0 ? 'gzip' : 'none' });
      answers.push(answer);
      // oxlint-disable-next-line typescript/no-floating-promises -- awaited below
      answer.then(() => order.push(id));
    }
    const offsets = (await Promise.all(answers)).map(answer => answer.offsets!.find(at => at.partition === 0)!.offset!);
    expect(order).toEqual(counted(30));
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
  });

  it('stores frames that arrive together in one batch, and answers each with its own offset', async () => {
    const topic = await newTopic(2);
    await using socket = await TestSocket.open(broker.http);
    const ids = counted(20);
    const frames = ids.map(id => ({ id, op: 'produce', topic, records: [{ value: id, partition: id % 2 }] }));
    sendTogether(socket, frames);
    for (const id of ids) {
      const answer = await socket.next(frame => frame.id === id);
      expect(answer.offsets).toEqual([
        { partition: id % 2, offset: Math.floor(id / 2), timestamp: expect.any(Number) },
      ]);
    }
    const positions = [0, 1].map(partition => ({ partition, offset: offset(0) }));
    const fetched = await broker.broker.fetch({
      topic,
      positions,
      bytesMax: 100_000,
      isolation: 'read_uncommitted',
      waitMs: 0,
    });
    expect(fetched.ok && fetched.value.map(({ batches }) => batches.length)).toEqual([1, 1]);
  });

  it('keeps the order of frames that share a batch with those that cannot, and lets none refuse another', async () => {
    const topic = await newTopic();
    await using socket = await TestSocket.open(broker.http);
    const ahead = Date.now() + 10 * 365 * 86_400_000;
    sendTogether(socket, [
      { id: 0, op: 'produce', topic, records: [{ value: 'a' }] },
      { id: 1, op: 'produce', topic, records: [{ value: 'b' }, { value: 'c' }] },
      { id: 2, op: 'produce', topic, records: [{ value: 'd' }] },
      { id: 3, op: 'produce', topic, records: [{ value: 'no', timestamp: ahead }] },
      { id: 4, op: 'produce', topic, records: [{ value: 'no', partition: 1 }] },
      { id: 5, op: 'produce', topic, records: [{ value: 'e' }] },
      { id: 6, op: 'produce', topic, records: [{ value: 'f', timestamp: 7 }] },
      { id: 7, op: 'produce', topic, records: [{ value: 'g' }], compression: 'gzip' },
      { id: 8, op: 'produce', topic, records: [{ value: 'h' }] },
    ]);
    const answers: Frame[] = [];
    for (const id of counted(9)) answers.push(await socket.next(frame => frame.id === id));
    expect(answers.map(answer => answer.problem?.code ?? answer.offsets!.map(at => at.offset))).toEqual([
      [0],
      [1, 2],
      [3],
      'INVALID_TIMESTAMP',
      'PARTITION_NOT_FOUND',
      [4],
      [5],
      [6],
      [7],
    ]);
    expect(answers[6]!.offsets![0]!.timestamp).toBe(7);
    const name = await socket.subscribe({ topic, from: 'earliest' });
    expect(valuesOf(await socket.records(name, 8))).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
  });

  it('answers the timestamp of the append to frames that share a batch where the topic wants it', async () => {
    const topic = await newTopic(1, { 'message.timestamp.type': 'LogAppendTime' });
    await using socket = await TestSocket.open(broker.http);
    sendTogether(
      socket,
      counted(3).map(id => ({ id, op: 'produce', topic, records: [{ value: id }] })),
    );
    const answers: Frame[] = [];
    for (const id of counted(3)) answers.push(await socket.next(frame => frame.id === id));
    const name = await socket.subscribe({ topic, from: 'earliest' });
    const read = (await socket.records(name, 3)).flatMap(frame => frame.records!) as unknown as { timestamp: number }[];
    expect(answers.map(answer => answer.offsets![0]!.timestamp)).toEqual(read.map(({ timestamp }) => timestamp));
  });

  it('checks all records before it writes any', async () => {
    const topic = await newTopic(1, { 'max.message.bytes': 1000 });
    await using socket = await TestSocket.open(broker.http);
    const ask = (records: unknown): Promise<Frame> => socket.ask({ id: 1, op: 'produce', topic, records });
    const good = { value: 1 };
    expect((await ask([good, { value_base64: '!' }])).problem).toMatchObject({ code: 'INVALID_REQUEST', index: 1 });
    expect((await ask([good, { value: 1, partition: 1 }])).problem).toMatchObject({ code: 'PARTITION_NOT_FOUND' });
    expect((await ask([good, { value: 'x'.repeat(2000) }])).problem).toMatchObject({
      code: 'RECORD_TOO_LARGE',
      index: 1,
    });
    expect((await ask([good, { ['__proto__x']: 1, value: 1 }])).problem).toMatchObject({ code: 'INVALID_REQUEST' });
    expect((await ask([])).problem).toMatchObject({ code: 'INVALID_REQUEST', field: 'records' });
    expect((await ask([good])).offsets).toMatchObject([{ offset: 0 }]);
  });

  it('refuses nesting without end and __proto__', async () => {
    const topic = await newTopic();
    await using socket = await TestSocket.open(broker.http);
    const frame = (value: string): string =>
      `{"id":1,"op":"produce","topic":"${topic}","records":[{"value":${value}}]}`;
    for (const value of [`${'['.repeat(65)}${']'.repeat(65)}`, '{"__proto__":1}', '['.repeat(500_000)]) {
      socket.send(frame(value));
      expect((await socket.next()).problem).toMatchObject({ code: 'INVALID_REQUEST' });
    }
  });

  it('keeps 64 requests under way and refuses the next', async () => {
    const topic = await newTopic();
    await using socket = await TestSocket.open(broker.http);
    const answers = await Promise.all(
      counted(200).map(id => socket.ask({ id, op: 'produce', topic, records: [{ value: id }] })),
    );
    const refused = answers.filter(answer => answer.problem !== undefined);
    expect(answers.slice(0, 64).every(answer => answer.op === 'produced')).toBe(true);
    expect(refused.every(answer => answer.problem!.code === 'THROTTLED')).toBe(true);
    // What was refused was not written.
    const last = await socket.ask({ id: 'last', op: 'produce', topic, records: [{ value: 0 }] });
    expect(last.offsets![0]!.offset).toBe(200 - refused.length);
  });
});

describe('a subscription', () => {
  it('reads what is there and what comes, and goes on behind a cursor', async () => {
    const topic = await newTopic();
    await written(topic, [0, 1, 2]);
    await using socket = await TestSocket.open(broker.http);
    const name = await socket.subscribe({ topic, from: 'earliest' });
    const first = await socket.records(name, 3);
    expect(valuesOf(first)).toEqual([0, 1, 2]);
    await written(topic, [3]);
    expect(valuesOf(await socket.records(name, 1))).toEqual([3]);
    const again = await socket.subscribe({ topic, cursor: first.at(-1)!.cursor });
    expect(again).not.toBe(name);
    expect(valuesOf(await socket.records(again, 1))).toEqual([3]);
  });

  it('begins where it was told to', async () => {
    const topic = await newTopic();
    await post(broker, `/v1/topics/${topic}/records`, {
      records: counted(10).map(value => ({ value, timestamp: 1_000 + value })),
    });
    await using socket = await TestSocket.open(broker.http);
    const cases: readonly (readonly [Record<string, unknown>, readonly number[]])[] = [
      [{}, counted(10)],
      [{ from: 'earliest' }, counted(10)],
      [{ partition: 0, offset: 7 }, [7, 8, 9]],
      [{ partition: 0, offset: 'earliest' }, counted(10)],
      [{ timestamp: 1_008 }, [8, 9]],
      [{ timestamp: '1970-01-01T00:00:01.009Z' }, [9]],
      [{ tail: 2 }, [8, 9]],
      [{ partitions: '0', tail: 1 }, [9]],
    ];
    for (const [parameters, expected] of cases) {
      const name = await socket.subscribe({ topic, ...parameters });
      expect(valuesOf(await socket.records(name, expected.length))).toEqual(expected);
    }
    const latest = [await socket.subscribe({ topic, from: 'latest' })];
    latest.push(await socket.subscribe({ topic, partition: 0, offset: 'latest' }));
    await written(topic, [10]);
    for (const name of latest) expect(valuesOf(await socket.records(name, 1))).toEqual([10]);
  });

  it('gives values in the form asked for, and a text beyond 4 MiB as base64', async () => {
    const topic = await newTopic(1, { 'max.message.bytes': 8_000_000 });
    await post(broker, `/v1/topics/${topic}/records`, {
      records: [{ value: { a: 1 } }, { value_text: '\u0001'.repeat(800_000) }],
    });
    await using socket = await TestSocket.open(broker.http);
    const text = await socket.subscribe({ topic, values: 'text', tail: 2 });
    const [first, second] = (await socket.records(text, 2)).flatMap(frame => frame.records!);
    expect(first).toMatchObject({ value_text: '{"a":1}' });
    expect(second).toHaveProperty('value_base64');
    const binary = await socket.subscribe({ topic, values: 'base64', partition: 0, offset: 0 });
    expect((await socket.records(binary, 1))[0]!.records![0]).toMatchObject({ value_base64: 'eyJhIjoxfQ==' });
  });

  it.each([
    ['an unknown topic', { topic: 'nowhere' }, 'TOPIC_NOT_FOUND'],
    ['a topic that cannot be', { topic: 'a b' }, 'INVALID_TOPIC_NAME'],
    ['an unknown partition', { partition: 5 }, 'PARTITION_NOT_FOUND'],
    ['an unknown partition among some', { partitions: '0-5' }, 'PARTITION_NOT_FOUND'],
    ['partition and partitions', { partition: 0, partitions: '0' }, 'INVALID_REQUEST'],
    ['two starts', { from: 'earliest', tail: 1 }, 'INVALID_REQUEST'],
    ['an offset of no partition', { offset: 1 }, 'INVALID_REQUEST'],
    ['an offset above the end', { partition: 0, offset: 99 }, 'OFFSET_OUT_OF_RANGE'],
    ['a cursor that is none', { cursor: 'abc' }, 'INVALID_CURSOR'],
    ['a timestamp that is none', { timestamp: 'yesterday' }, 'INVALID_TIMESTAMP'],
    ['a size out of range', { max_bytes: 0 }, 'INVALID_REQUEST'],
    ['credit without bytes', { credit: { records: 1 } }, 'INVALID_REQUEST'],
    ['negative credit', { credit: { records: -1, bytes: 1 } }, 'INVALID_REQUEST'],
    ['a limit, which a subscription has not', { limit: 5 }, 'INVALID_REQUEST'],
    ['an isolation that is none', { isolation: 'serializable' }, 'INVALID_REQUEST'],
  ])('is refused: %s', async (_name, parameters, code) => {
    const topic = await newTopic(2);
    await using socket = await TestSocket.open(broker.http);
    const answer = await socket.ask({ id: 1, op: 'subscribe', topic, ...parameters });
    expect(answer).toMatchObject({ id: 1, op: 'error', problem: { code } });
  });

  it('sends as much as it has credit for, the last record whole, and goes on when more is granted', async () => {
    const topic = await newTopic();
    await written(topic, ['aaaa', 'bbbb', 'cccc', 'dddd', 'eeee']);
    await using socket = await TestSocket.open(broker.http);
    const name = await socket.subscribe({ topic, credit: { records: 100, bytes: 8 } });
    // Six bytes each: the second takes the credit below zero.
    expect(valuesOf(await socket.records(name, 2))).toEqual(['aaaa', 'bbbb']);
    // Four below zero: four more are not enough for anything.
    socket.send({ op: 'credit', subscription: name, records: 0, bytes: 4 });
    // Its answer comes behind whatever the grant would have brought.
    await socket.ask({ id: 'x', op: 'produce', topic, records: [{ value: 'ffff' }] });
    expect(socket.unread).toEqual([]);
    socket.send({ op: 'credit', subscription: name, records: 0, bytes: 1 });
    expect(valuesOf(await socket.records(name, 1))).toEqual(['cccc']);
    socket.send({ op: 'credit', subscription: name, records: 0, bytes: 1_000 });
    expect(valuesOf(await socket.records(name, 3))).toEqual(['dddd', 'eeee', 'ffff']);
  });

  it('waits for its first grant when it begins with none, and counts records', async () => {
    const topic = await newTopic();
    await written(topic, counted(10));
    await using socket = await TestSocket.open(broker.http);
    const name = await socket.subscribe({ topic, credit: { records: 0, bytes: 1_000_000 } });
    socket.send({ op: 'credit', subscription: name, records: 3, bytes: 0 });
    const frames = await socket.records(name, 3);
    expect(valuesOf(frames)).toEqual([0, 1, 2]);
    socket.send({ op: 'credit', subscription: name, records: 1, bytes: 0 });
    expect(valuesOf(await socket.records(name, 1))).toEqual([3]);
  });

  it('cannot be granted credit without having begun with some, nor more than can be counted', async () => {
    const topic = await newTopic();
    await using socket = await TestSocket.open(broker.http);
    const free = await socket.subscribe({ topic });
    const grant = (name: string, records: number): Promise<Frame> =>
      socket.ask({ id: 'g', op: 'credit', subscription: name, records, bytes: 0 });
    expect((await grant(free, 1)).problem).toMatchObject({ code: 'INVALID_REQUEST' });
    const counting = await socket.subscribe({ topic, credit: { records: 1, bytes: 1 } });
    expect((await grant(counting, Number.MAX_SAFE_INTEGER)).problem).toMatchObject({ code: 'INVALID_REQUEST' });
    expect((await grant(counting, 0)).problem).toMatchObject({ code: 'INVALID_REQUEST' });
    expect((await grant('s99', 1)).problem).toMatchObject({ code: 'INVALID_REQUEST', field: 'subscription' });
  });

  it('ends when it is unsubscribed, and only that one', async () => {
    const topic = await newTopic();
    await using socket = await TestSocket.open(broker.http);
    const first = await socket.subscribe({ topic });
    const second = await socket.subscribe({ topic });
    expect(await socket.ask({ id: 5, op: 'unsubscribe', subscription: first })).toEqual({ id: 5, op: 'unsubscribed' });
    await written(topic, [1]);
    await socket.records(second, 1);
    // A second time is no mistake: it may have ended by itself.
    expect(await socket.ask({ id: 6, op: 'unsubscribe', subscription: first })).toMatchObject({ op: 'unsubscribed' });
    socket.send({ op: 'credit', subscription: first, records: 1, bytes: 1 });
    expect(await socket.ask({ id: 7, op: 'unsubscribe', subscription: 's07' })).toMatchObject({ op: 'error' });
    expect(socket.unread).toEqual([]);
  });

  it('ends with a problem that names it when its topic is deleted, and the connection goes on', async () => {
    const topic = await newTopic();
    await using socket = await TestSocket.open(broker.http);
    const name = await socket.subscribe({ topic });
    await fetch(`${broker.http}/v1/topics/${topic}`, { method: 'DELETE' });
    const ending = await socket.next(frame => frame.op === 'error');
    expect(ending).toMatchObject({ subscription: name, problem: { code: 'TOPIC_NOT_FOUND' } });
    expect(ending).not.toHaveProperty('id');
    expect(await socket.subscribe({ topic: await newTopic() })).toBe('s2');
  });

  it('follows the start of the log where reset says so', async () => {
    const topic = await newTopic();
    await written(topic, counted(5));
    await fetch(`${broker.http}/v1/topics/${topic}/partitions/0/records?before=3`, { method: 'DELETE' });
    await using socket = await TestSocket.open(broker.http);
    const refusal = await socket.ask({ id: 1, op: 'subscribe', topic, partition: 0, offset: 1 });
    expect(refusal.problem).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', earliest_offset: 3, high_watermark: 5 });
    const name = await socket.subscribe({ topic, partition: 0, offset: 1, reset: 'earliest' });
    expect(valuesOf(await socket.records(name, 2))).toEqual([3, 4]);
  });

  it('is one of 64 a connection', async () => {
    const topic = await newTopic();
    await using socket = await TestSocket.open(broker.http);
    for (const _ of counted(64)) await socket.subscribe({ topic });
    const refusal = await socket.ask({ id: 1, op: 'subscribe', topic });
    expect(refusal.problem).toMatchObject({ code: 'THROTTLED' });
    await socket.ask({ id: 2, op: 'unsubscribe', subscription: 's1' });
    // A place is free again.
    expect(await socket.subscribe({ topic })).toBe('s65');
  });
});

describe('a frame', () => {
  it.each([
    ['text that is not JSON', '{', null],
    ['no object', '[1]', null],
    ['no op', '{"id":1}', 1],
    ['an unknown op', '{"id":"a","op":"join"}', 'a'],
    ['an op that every object has', '{"id":1,"op":"constructor"}', 1],
    ['an unknown field', '{"id":1,"op":"unsubscribe","subscription":"s1","x":1}', 1],
    ['__proto__ as a field', '{"id":1,"op":"unsubscribe","subscription":"s1","__proto__":{}}', 1],
    ['a missing field', '{"id":1,"op":"produce","topic":"t"}', 1],
    ['no id', '{"op":"unsubscribe","subscription":"s1"}', null],
    ['an id that is none', '{"id":{},"op":"unsubscribe","subscription":"s1"}', null],
    ['a number out of range', '{"id":1,"op":"produce","topic":"t","records":[{"value":1}],"timeout_ms":0}', 1],
  ])('that is wrong is an error, and the connection stays: %s', async (_name, text, id) => {
    await using socket = await TestSocket.open(broker.http);
    socket.send(text);
    const answer = await socket.next();
    expect(answer).toMatchObject({ op: 'error', problem: { code: 'INVALID_REQUEST', status: 400, retriable: false } });
    expect(answer.id ?? null).toBe(id);
    const topic = await newTopic();
    expect(await socket.ask({ id: 2, op: 'produce', topic, records: [{ value: 1 }] })).toMatchObject({
      op: 'produced',
    });
  });

  it('is answered before the close frame that came right behind it', async () => {
    await using socket = await TestSocket.open(broker.http);
    const raw = socket.raw as unknown as { readonly _socket: Socket };
    raw._socket.cork();
    socket.send('no JSON');
    socket.raw.close(1000);
    raw._socket.uncork();
    expect((await socket.next()).problem?.code).toBe('INVALID_REQUEST');
    expect((await socket.closed).code).toBe(1000);
  });

  it('of bytes is an error, and the connection stays', async () => {
    await using socket = await TestSocket.open(broker.http);
    socket.raw.send(Buffer.from('{"id":1}'));
    expect(await socket.next()).toMatchObject({ op: 'error', problem: { code: 'INVALID_REQUEST' } });
    expect(socket.raw.readyState).toBe(socket.raw.OPEN);
  });

  it('that is too large closes with 1009', async () => {
    await using socket = await TestSocket.open(broker.http);
    socket.raw.send('x'.repeat(8 * 1024 * 1024 + 1));
    expect((await socket.closed).code).toBe(1009);
  });

  it('in too many pieces closes with 1008', async () => {
    await using socket = await TestSocket.open(broker.http);
    for (let piece = 0; piece < 2_000 && socket.raw.readyState === socket.raw.OPEN; piece++) {
      socket.raw.send(' ', { fin: false });
    }
    expect((await socket.closed).code).toBe(1008);
  });
});

describe('a reader that does not read', () => {
  it('costs the others nothing and gets everything when it goes on', async () => {
    const topic = await newTopic(1, { 'max.message.bytes': 2_000_000 });
    await using slow = await TestSocket.open(broker.http);
    await using quick = await TestSocket.open(broker.http);
    const slowName = await slow.subscribe({ topic });
    slow.raw.pause();
    const quickName = await quick.subscribe({ topic });
    const text = 'x'.repeat(1_000_000);
    // More than the kernel takes for the slow one.
    for (const index of counted(24)) await written(topic, [`${index} ${text}`]);
    expect(valuesOf(await quick.records(quickName, 24))).toHaveLength(24);
    slow.raw.resume();
    const frames = await slow.records(slowName, 24);
    expect(frames.flatMap(frame => frame.records!.map(record => record.offset))).toEqual(counted(24));
  });
});

describe('a stop', () => {
  it('is told, answers what is under way, closes with 1012, and a cursor goes on after the restart', async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), 'sluice-ws-'));
    try {
      const before = await startBroker({ dataDir });
      const topic = await newTopic(2, {}, before);
      await written(topic, counted(20), before);
      const socket = await TestSocket.open(before.http);
      const name = await socket.subscribe({ topic, credit: { records: 5, bytes: 1_000_000 } });
      const seen = await socket.records(name, 5);
      const answer = socket.ask({ id: 1, op: 'produce', topic, records: [{ value: 20 }] });
      // Sent before the stop began, so it is answered before the connection is closed.
      expect(await answer).toMatchObject({ op: 'produced' });
      const stopped = before.stop();
      expect(await socket.next(frame => frame.op === 'draining')).toEqual({ op: 'draining', resume_within_ms: 5000 });
      expect((await socket.closed).code).toBe(1012);
      await stopped;
      await using after = await startBroker({ dataDir });
      await using resumed = await TestSocket.open(after.http);
      const rest = await resumed.subscribe({ topic, cursor: seen.at(-1)!.cursor });
      const values = [...valuesOf(seen), ...valuesOf(await resumed.records(rest, 16))];
      expect(values.toSorted((a, b) => Number(a) - Number(b))).toEqual(counted(21));
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });

  it('does not wait for a client that does not answer the close', async () => {
    const own = await startBroker();
    const socket = await TestSocket.open(own.http);
    socket.raw.pause();
    await own.stop();
    socket.raw.resume();
    await socket.closed;
  });
});

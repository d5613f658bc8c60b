// The browser's reader against a scripted socket, and what it asks over REST.

import { defineTopic, json, Sluice, text, type Message, type Reader } from '@sluice/client/browser';
import { beforeEach, describe, expect, test } from 'vitest';
import { record, ScriptedWorld, type ScriptedSocket } from './scripted-socket.ts';

const topic = defineTopic({ name: 't', key: text, value: text });

let world: ScriptedWorld;
let sluice: Sluice;

beforeEach(() => {
  world = new ScriptedWorld();
  sluice = new Sluice({ url: 'http://127.0.0.1:8080' }, world);
});

const subscribed = (socket: ScriptedSocket): void => {
  const { id } = socket.ops('subscribe').at(-1) ?? {};
  socket.answer({ id, op: 'subscribed', subscription: 's1' });
};
const frame = (cursor: string, ...records: unknown[]): unknown => ({
  op: 'records',
  subscription: 's1',
  records,
  cursor,
});

type Taken = Message<string, string>;
const iterate = (reader: Reader<string, string>): { next(): Promise<Taken | undefined> } => {
  const iterator = reader[Symbol.asyncIterator]();
  return { next: async () => ((await iterator.next()) as { value?: Taken }).value };
};

describe('a subscription', () => {
  test('asks for values as text, with credit, and hands out what comes', async () => {
    const reader = sluice.reader({ topic, from: { tail: 5 }, partitions: [0, 2], isolation: 'read_committed' });
    const messages = iterate(reader);
    world.socket.open();
    expect(world.socket.sent).toEqual([
      {
        id: 1,
        op: 'subscribe',
        topic: 't',
        tail: 5,
        partitions: '0,2',
        values: 'text',
        isolation: 'read_committed',
        credit: { records: 2_000, bytes: 1_048_576 },
      },
    ]);
    expect(reader.isConnected).toBe(false);
    subscribed(world.socket);
    expect(reader.isConnected).toBe(true);
    const bytes = { ...record(4, 'x'), value_text: undefined, value_base64: '/wA=', key: 'k' };
    world.socket.answer(frame('c1', record(3, 'one'), bytes));
    expect(await messages.next()).toMatchObject({ topic: 't', partition: 0, offset: 3, key: null, value: 'one' });
    const second = await messages.next();
    expect(second?.key).toBe('k');
    expect(second?.valueBytes).toEqual(new Uint8Array([255, 0]));
    expect(() => second?.value).toThrow(
      'INVALID_REQUEST: the value at offset 4 of t/0: the stored bytes are not UTF-8',
    );
  });

  test('json values are parsed from the text that came', async () => {
    const parsed = sluice.reader({ topic: defineTopic({ name: 't', value: json<{ n: number }>() }) });
    const next = parsed[Symbol.asyncIterator]().next();
    world.socket.open();
    subscribed(world.socket);
    world.socket.answer(frame('c1', record(0, '{"n":  1.50}')));
    const { value } = await next;
    expect(value.value).toEqual({ n: 1.5 });
    expect(new TextDecoder().decode(value.valueBytes)).toBe('{"n":  1.50}');
  });

  test('credit is given back as the program takes, in records and in stored bytes', async () => {
    const messages = iterate(sluice.reader({ topic, bufferBytesMax: 1_000 }));
    world.socket.open();
    subscribed(world.socket);
    world.socket.answer(frame('c1', record(0, 'é'.repeat(200)), record(1, 'x'.repeat(100)), record(2, 'y')));
    expect(world.socket.ops('credit')).toEqual([]);
    await messages.next();
    expect(world.socket.ops('credit')).toEqual([]);
    await messages.next();
    expect(world.socket.ops('credit')).toEqual([{ op: 'credit', subscription: 's1', records: 2, bytes: 500 }]);
  });

  test.each([
    'no json',
    'null',
    '[]',
    '{"op":"records","subscription":"s1","cursor":"c1","records":[null]}',
    '{"op":"records","subscription":"s1","cursor":"c1","records":[{"partition":0,"offset":0,"timestamp":0}]}',
    JSON.stringify(frame('c1', { ...record(0, 'x'), value_text: undefined, value_base64: '?' })),
    '{"op":"error","subscription":"s1","problem":null}',
  ])('%s is no frame: the connection is taken for lost', async text => {
    const messages = iterate(sluice.reader({ topic }));
    const next = messages.next();
    world.socket.open();
    subscribed(world.socket);
    const [first] = world.sockets;
    first!.receive(text);
    expect(first!.isClosed).toBe(true);
    await world.clock.advance(1_000);
    expect(world.sockets).toHaveLength(2);
    world.socket.open();
    subscribed(world.socket);
    world.socket.answer(frame('c1', record(0, 'one')));
    expect(await next).toMatchObject({ offset: 0, value: 'one' });
  });

  test('a refusal ends the loop; one for a passing reason is asked again', async () => {
    const messages = iterate(sluice.reader({ topic }));
    const next = messages.next();
    world.socket.open();
    const problem = (code: string): unknown => ({ code, detail: 'why' });
    world.socket.answer({ id: 1, op: 'error', problem: problem('THROTTLED') });
    await world.clock.advance(100);
    expect(world.socket.ops('subscribe')).toHaveLength(2);
    subscribed(world.socket);
    world.socket.answer({ op: 'error', subscription: 's1', problem: problem('TOPIC_NOT_FOUND') });
    await expect(next).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' });
  });
});

describe('resuming', () => {
  test('after a lost connection it begins behind what was received, taken or not', async () => {
    const reader = sluice.reader({ topic });
    const messages = iterate(reader);
    world.socket.open();
    subscribed(world.socket);
    world.socket.answer(frame('c1', record(0, 'a'), record(1, 'b')));
    expect((await messages.next())?.offset).toBe(0);
    const old = world.socket;
    old.cut();
    expect(reader.isConnected).toBe(false);
    await world.clock.advance(2_000);
    world.socket.open();
    expect(world.socket.sent).toMatchObject([{ op: 'subscribe', cursor: 'c1', credit: { records: 1_999 } }]);
    expect(world.socket.sent[0]).not.toHaveProperty('from');
    subscribed(world.socket);
    // A late frame of the lost connection is not heard.
    old.answer(frame('c9', record(9, 'late')));
    world.socket.answer(frame('c2', record(2, 'c')));
    expect((await messages.next())?.offset).toBe(1);
    expect((await messages.next())?.offset).toBe(2);
    expect(reader.cursor).toBe('c2');
  });

  test('`latest` is the end as it was when the subscription was made, not when it came back', async () => {
    world.answers.push({ status: 200, text: '{"records":[],"next":{"cursor":"c0"}}' });
    const reader = sluice.reader({ topic, from: 'latest' });
    const messages = iterate(reader);
    await world.clock.advance(0);
    expect(world.requests.map(request => request.url)).toEqual([
      'http://127.0.0.1:8080/v1/topics/t/records?limit=1&from=latest&values=text',
    ]);
    expect(reader.cursor).toBe('c0');
    world.socket.open();
    subscribed(world.socket);
    world.socket.cut();
    await world.clock.advance(2_000);
    world.socket.open();
    expect(world.socket.sent).toMatchObject([{ op: 'subscribe', cursor: 'c0' }]);
    subscribed(world.socket);
    world.socket.answer(frame('c1', record(0, 'a')));
    expect((await messages.next())?.offset).toBe(0);
  });

  test('the cursor kept in the middle of a frame leaves out what was taken, and nothing else', async () => {
    const records = [record(0, 'a', 0), record(0, 'b', 1), record(1, 'c', 0), record(1, 'd', 1)];
    const seen: string[] = [];
    let cursor = 'c0';
    for (let turn = 0; turn < records.length; turn++) {
      const own = new Sluice({ url: 'http://127.0.0.1:8080' }, world);
      const reader = own.reader({ topic, from: { cursor } });
      const messages = iterate(reader);
      world.socket.open();
      expect(world.socket.ops('subscribe')).toMatchObject([{ cursor: 'c0' }]);
      subscribed(world.socket);
      world.socket.answer(frame('c1', ...records));
      seen.push((await messages.next())?.value ?? '');
      cursor = reader.cursor ?? '';
      reader.close();
    }
    expect(seen).toEqual(['a', 'b', 'c', 'd']);
    expect(cursor).toBe('c1');
  });

  test('what is no cursor is refused before anything is asked', () => {
    expect(() => sluice.reader({ topic, from: { cursor: 'c~x' } })).toThrow('INVALID_CURSOR');
    expect(world.sockets).toEqual([]);
  });
});

describe('the end', () => {
  test('closing unsubscribes, ends the loop, and lets go of the connection', async () => {
    const reader = sluice.reader({ topic });
    const messages = iterate(reader);
    const next = messages.next();
    world.socket.open();
    subscribed(world.socket);
    reader.close();
    expect(await next).toBeUndefined();
    expect(world.socket.ops('unsubscribe')).toMatchObject([{ subscription: 's1' }]);
    expect(world.socket.isClosed).toBe(true);
    expect(world.clock.pending).toBe(0);
  });

  test('an abort throws its reason, whatever waits', async () => {
    const controller = new AbortController();
    const messages = iterate(sluice.reader({ topic, signal: controller.signal }));
    world.socket.open();
    subscribed(world.socket);
    world.socket.answer(frame('c1', record(0, 'a'), record(1, 'b')));
    await messages.next();
    controller.abort(new Error('enough'));
    await expect(messages.next()).rejects.toThrow('enough');
  });

  test('untilEnd reads pages to where the partitions ended, over failures', async () => {
    const page = (cursor: string, ...records: unknown[]): { status: number; text: string } => ({
      status: 200,
      text: JSON.stringify({ records, next: { cursor } }),
    });
    const offsets = { partitions: [{ partition: 0, high_watermark: 3, last_stable_offset: 3 }] };
    world.answers.push(
      { status: 200, text: JSON.stringify(offsets) },
      page('c1', record(0, 'a'), record(1, 'b')),
      new Error('lost'),
      page('c2', record(2, 'c'), record(3, 'too new')),
    );
    const seen: string[] = [];
    const reader = sluice.reader({ topic, untilEnd: true });
    const reading = (async () => {
      for await (const message of reader) seen.push(message.value ?? '');
    })();
    await world.clock.advance(2_000);
    await reading;
    expect(seen).toEqual(['a', 'b', 'c']);
    expect(world.requests.map(request => request.url.replace('http://127.0.0.1:8080', ''))).toEqual([
      '/v1/topics/t/offsets',
      '/v1/topics/t/records?limit=1000&from=earliest&values=text',
      '/v1/topics/t/records?limit=1000&cursor=c1&values=text',
      '/v1/topics/t/records?limit=1000&cursor=c1&values=text',
    ]);
    expect(world.sockets).toEqual([]);
  });
});

describe('admin calls', () => {
  test('what reads is asked again; a change without an answer is of unknown outcome', async () => {
    const { admin } = sluice;
    world.answers.push(new Error('lost'), { status: 200, text: '{"topics":[],"next":null}' });
    const listed = admin.listTopics();
    await world.clock.advance(2_000);
    expect(await listed).toEqual([]);
    world.answers.push(new Error('lost'));
    await expect(admin.deleteTopic('t')).rejects.toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown' });
    expect(world.requests).toHaveLength(3);
    expect(world.clock.pending).toBe(0);
  });
});

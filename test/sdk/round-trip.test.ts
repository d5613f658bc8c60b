// What is sent is what is read, through a real broker: keys, values, headers, timestamps, codecs, positions.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  Sluice,
  SluiceError,
  defineTopic,
  json,
  text,
  type Message,
  type ReadFrom,
  type Reader,
  type StandardSchema,
} from '@sluice/client';
import { startBroker, type TestBroker } from 'sluice/testing';

let broker: TestBroker;
let sluice: Sluice;
let names = 0;

beforeAll(async () => {
  broker = await startBroker();
  sluice = new Sluice({ servers: [broker.grpc] });
});

afterAll(async () => {
  await sluice.close();
  await broker.stop();
});

async function newTopic(partitionCount = 1, config: Record<string, string | number> = {}): Promise<string> {
  const name = `round-trip-${names++}`;
  await sluice.admin.createTopic({ name, partitionCount, config });
  return name;
}

async function all<K, V>(reader: Reader<K, V>): Promise<Message<K, V>[]> {
  const messages: Message<K, V>[] = [];
  for await (const message of reader) messages.push(message);
  return messages;
}

const valuesFrom = async (topic: string, from: ReadFrom): Promise<string[]> => {
  const typed = defineTopic({ name: topic, value: text });
  return (await all(sluice.reader({ topic: typed, from, untilEnd: true }))).map(message => message.value!);
};

const failure = async (promise: Promise<unknown>): Promise<SluiceError> => {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SluiceError);
  return error as SluiceError;
};

describe('a record', () => {
  test('comes back with everything that it was sent with', async () => {
    const name = await newTopic();
    const topic = defineTopic({ name, key: text, value: json<{ total: number; note: string }>() });
    await using producer = sluice.producer({ topic });
    const delivery = await producer.send({
      key: 'ключ',
      value: { total: 12, note: '🧾 ü' },
      headers: [
        { key: 'trace', value: 'a' },
        { key: 'trace', value: new Uint8Array([0, 255]) },
        { key: 'none', value: null },
      ],
      timestamp: 1_234,
    });
    expect(delivery).toEqual({ topic: name, partition: 0, offset: 0, timestamp: 1_234 });
    const [message] = await all(sluice.reader({ topic, untilEnd: true }));
    expect(message).toMatchObject({
      topic: name,
      partition: 0,
      offset: 0,
      timestamp: 1_234,
      key: 'ключ',
      value: { total: 12, note: '🧾 ü' },
    });
    expect(message!.headers.map(header => [header.key, header.value && [...header.value]])).toEqual([
      ['trace', [97]],
      ['trace', [0, 255]],
      ['none', null],
    ]);
    // Looking twice gives the same object, not another parse.
    expect(message!.value).toBe(message!.value);
  });

  test('keeps null, empty and absent apart', async () => {
    const topic = await newTopic();
    await using producer = sluice.producer({ topic });
    await producer.send({ key: 'gone', value: null });
    await producer.send({ key: '', value: '' });
    await producer.send({ value: new Uint8Array([1, 2, 3]), headers: { a: 'b', c: null } });
    const messages = await all(sluice.reader({ topic, untilEnd: true }));
    expect(messages.map(({ key, value }) => [key && [...key], value && [...value]])).toEqual([
      [[...Buffer.from('gone')], null],
      [[], []],
      [null, [1, 2, 3]],
    ]);
    expect(messages[2]!.headers.map(header => header.key)).toEqual(['a', 'c']);
    expect(messages[0]!.headers).toEqual([]);
  });

  test('can be kept: a copy is free of its batch and equal to the message', async () => {
    const name = await newTopic();
    const topic = defineTopic({ name, key: text });
    await using producer = sluice.producer({ topic });
    for (let index = 0; index < 100; index++) {
      producer.enqueue({
        key: `k${index}`,
        value: 'x'.repeat(1_000),
        headers: index % 2 === 0 ? { h: `${index}` } : {},
      });
    }
    await producer.flush();
    const messages = await all(sluice.reader({ topic, untilEnd: true }));
    for (const message of messages) {
      const copy = message.copy();
      expect(copy.key).toBe(message.key);
      expect(copy.offset).toBe(message.offset);
      expect(copy.timestamp).toBe(message.timestamp);
      expect(copy.value).toEqual(message.value);
      expect(copy.headers).toEqual(message.headers);
      expect(copy.value!.buffer.byteLength).toBeLessThan(2_000);
      expect(message.value!.buffer.byteLength).toBeGreaterThan(50_000);
    }
  });

  test('gets the time of the broker where the topic says so', async () => {
    const topic = await newTopic(1, { 'message.timestamp.type': 'LogAppendTime' });
    await using producer = sluice.producer({ topic });
    const delivery = await producer.send({ value: 'v', timestamp: 5 });
    const [message] = await all(sluice.reader({ topic, untilEnd: true }));
    expect(delivery.timestamp).toBeGreaterThan(1_000_000);
    expect(message!.timestamp).toBe(delivery.timestamp);
  });
});

describe('many records', () => {
  for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
    test(`keep their order within each partition, with compression ${compression}`, async () => {
      const topic = await newTopic(7);
      await using producer = sluice.producer({ topic, compression, batchBytes: 100_000 });
      const count = 20_000;
      for (let index = 0; index < count; index++) {
        if (!producer.hasRoom) await producer.ready();
        producer.enqueue({ key: `key-${index % 501}`, value: `${index}-${'filler'.repeat(10)}` });
      }
      await producer.flush();
      const last = new Map<string, number>();
      const offsets = new Map<number, number>();
      let seen = 0;
      for await (const messages of sluice.reader({ topic, untilEnd: true }).batches()) {
        expect(new Set(messages.map(message => message.partition)).size).toBe(1);
        for (const message of messages) {
          const key = Buffer.from(message.key!).toString();
          const index = Number(Buffer.from(message.value!).toString().split('-')[0]);
          expect(index).toBeGreaterThan(last.get(key) ?? -1);
          last.set(key, index);
          expect(message.offset).toBe(offsets.get(message.partition) ?? 0);
          offsets.set(message.partition, message.offset + 1);
          seen++;
        }
      }
      expect(seen).toBe(count);
      expect(last.size).toBe(501);
      expect([...offsets.values()].reduce((sum, next) => sum + next)).toBe(count);
    });
  }

  test('are answered with the offsets under which they are read', async () => {
    const topic = await newTopic(3);
    await using producer = sluice.producer({ topic, partitioner: 'round-robin', batchBytes: 500 });
    const deliveries = await Promise.all(
      Array.from({ length: 300 }, (_, index) => producer.send({ value: `${index}` })),
    );
    const read = await all(sluice.reader({ topic, untilEnd: true }));
    const places = new Map(
      read.map(message => [`${message.partition}/${message.offset}`, Buffer.from(message.value!)]),
    );
    for (const [index, { partition, offset }] of deliveries.entries()) {
      expect(places.get(`${partition}/${offset}`)?.toString()).toBe(`${index}`);
    }
  });

  test('without acknowledgement are all with the broker after drain', async () => {
    const topic = await newTopic();
    const producer = sluice.producer({ topic, acks: 'none' });
    const first = await producer.send({ value: '0' });
    expect(first.offset).toBe(-1);
    for (let index = 1; index < 5_000; index++) producer.enqueue({ value: `${index}` });
    await producer.drain();
    // They become readable when they are durable, which nobody waited for.
    const values: string[] = [];
    for await (const message of sluice.reader({ topic: defineTopic({ name: topic, value: text }) })) {
      if (values.push(message.value!) === 5_000) break;
    }
    expect(values).toEqual(Array.from({ length: 5_000 }, (_, index) => `${index}`));
  });

  test('acknowledged by the leader alone have offsets', async () => {
    const topic = await newTopic();
    await using producer = sluice.producer({ topic, acks: 'leader' });
    expect((await producer.send({ value: 'a' })).offset).toBe(0);
    expect((await producer.send({ value: 'b' })).offset).toBe(1);
  });
});

describe('where reading begins', () => {
  test('earliest, an offset, positions, a time, a tail', async () => {
    const topic = await newTopic(2);
    await using producer = sluice.producer({ topic, batchBytes: 200 });
    for (let index = 0; index < 20; index++) {
      await producer.send({ value: `${index}`, partition: index % 2, timestamp: 1_000 + index });
    }
    const sorted = async (from: ReadFrom): Promise<number[]> =>
      (await valuesFrom(topic, from)).map(Number).sort((a, b) => a - b);
    expect(await sorted('earliest')).toHaveLength(20);
    expect(await sorted({ offset: 7, partition: 1 })).toEqual([15, 17, 19]);
    expect(
      await sorted({
        positions: new Map([
          [0, 9],
          [1, 8],
        ]),
      }),
    ).toEqual([17, 18, 19]);
    expect(await sorted({ timestamp: 1_015 })).toEqual([15, 16, 17, 18, 19]);
    expect(await sorted({ tail: 2 })).toEqual([16, 17, 18, 19]);
    expect(await sorted('latest')).toEqual([]);
    expect(await sorted({ timestamp: 9_999 })).toEqual([]);
  });

  test('latest sees what is written afterwards, and positions feed the next reader', async () => {
    const name = await newTopic(1);
    const topic = defineTopic({ name, value: text });
    await using producer = sluice.producer({ topic });
    await producer.send({ value: 'before' });
    const reader = sluice.reader({ topic, from: 'latest' });
    const messages = reader[Symbol.asyncIterator]();
    const next = messages.next();
    while (reader.position(0) === null) await new Promise(resolve => setImmediate(resolve));
    for (const value of ['a', 'b', 'c']) await producer.send({ value });
    expect((await next).value!.value).toBe('a');
    expect(reader.position(0)).toBe(2);
    expect((await messages.next()).value!.value).toBe('b');
    const positions = reader.positions();
    expect(positions).toEqual(new Map([[0, 3]]));
    await messages.return!();
    expect(await valuesFrom(name, { positions })).toEqual(['c']);
  });

  test('an offset outside the log is refused with the log bounds', async () => {
    const topic = await newTopic();
    await using producer = sluice.producer({ topic });
    await producer.send({ value: 'only' });
    const error = await failure(valuesFrom(topic, { offset: 5, partition: 0 }));
    expect(error).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', retriable: false });
    expect(Number(error.facts['earliest_offset'])).toBe(0);
    expect(Number(error.facts['high_watermark'])).toBe(1);
    expect(await valuesFrom(topic, { offset: 1, partition: 0 })).toEqual([]);
  });

  test('a partition or topic that does not exist is refused', async () => {
    const topic = await newTopic();
    expect((await failure(valuesFrom(topic, { offset: 0, partition: 9 }))).code).toBe('PARTITION_NOT_FOUND');
    expect((await failure(valuesFrom('no-such-topic', 'earliest'))).code).toBe('TOPIC_NOT_FOUND');
  });
});

describe('a reader', () => {
  test('ends without an error when it is closed or left, and with the reason when aborted', async () => {
    const topic = await newTopic();
    await using producer = sluice.producer({ topic });
    await producer.send({ value: 'v' });

    const closed = sluice.reader({ topic });
    let seen = 0;
    for await (const message of closed) {
      seen += message.offset + 1;
      setImmediate(() => closed.close());
    }
    expect(seen).toBe(1);

    const controller = new AbortController();
    const aborted = all(sluice.reader({ topic, signal: controller.signal }));
    const reason = new Error('enough');
    setImmediate(() => controller.abort(reason));
    await expect(aborted).rejects.toBe(reason);

    const reader = sluice.reader({ topic });
    for await (const _ of reader) break;
    expect(() => reader[Symbol.asyncIterator]()).toThrow(/once/);
  });

  test('holds no more than its buffer while the program does not take', async () => {
    const topic = await newTopic();
    await using producer = sluice.producer({ topic, batchBytes: 20_000 });
    const value = 'x'.repeat(1_000);
    for (let index = 0; index < 5_000; index++) producer.enqueue({ value });
    await producer.flush();
    const bufferBytesMax = 200_000;
    const reader = sluice.reader({ topic, untilEnd: true, bufferBytesMax });
    const batches = reader.batches()[Symbol.asyncIterator]();
    await batches.next();
    // The broker has had every chance to send more than it may: a second reader reads everything meanwhile.
    expect(await valuesFrom(topic, 'earliest')).toHaveLength(5_000);
    const { bufferedBytes } = reader;
    expect(bufferedBytes).toBeGreaterThan(0);
    expect(bufferedBytes).toBeLessThan(2 * bufferBytesMax + 20_000);
    let taken = 0;
    for (let turn = await batches.next(); turn.done !== true; turn = await batches.next()) taken += turn.value.length;
    expect(taken).toBeGreaterThan(4_000);
    expect(reader.position(0)).toBe(5_000);
    expect(reader.lag(0)).toBe(0);
  });

  test('follows partitions that are added', async () => {
    const name = await newTopic(1);
    const topic = defineTopic({ name, value: text });
    await using producer = sluice.producer({ topic });
    await producer.send({ value: 'old' });
    const messages = sluice.reader({ topic })[Symbol.asyncIterator]();
    expect((await messages.next()).value!.value).toBe('old');
    await sluice.admin.alterTopic({ name, partitionCount: 2 });
    await using later = sluice.producer({ topic });
    // The producer learns of the second partition by itself, too.
    for (;;) {
      const error: unknown = await later.send({ value: 'new', partition: 1 }).then(
        () => null,
        (reason: unknown) => reason,
      );
      if (error === null) break;
      expect(error).toMatchObject({ code: 'PARTITION_NOT_FOUND' });
    }
    expect((await messages.next()).value).toMatchObject({ value: 'new', partition: 1 });
    await messages.return!();
  });

  test('ends with TOPIC_NOT_FOUND when its topic is deleted', async () => {
    const topic = await newTopic();
    await using producer = sluice.producer({ topic });
    await producer.send({ value: 'v' });
    const messages = sluice.reader({ topic })[Symbol.asyncIterator]();
    await messages.next();
    const next = failure(messages.next());
    await sluice.admin.deleteTopic(topic);
    expect((await next).code).toBe('TOPIC_NOT_FOUND');
  });
});

describe('schemas', () => {
  /** A validator as small as the interface allows: an object with a numeric total; reading gives it doubled. */
  const order: StandardSchema<{ total: number }, { doubled: number }> = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: value => {
        const total = (value as { total?: unknown } | null)?.total;
        return typeof total === 'number'
          ? { value: { doubled: total * 2 } }
          : { issues: [{ message: 'must be a number', path: ['total'] }] };
      },
    },
  };

  test('check what is sent, and shape what is read', async () => {
    const name = await newTopic();
    const topic = defineTopic({ name, value: order });
    await using producer = sluice.producer({ topic });
    await producer.send({ value: { total: 21 } });
    const wrong = await failure(producer.send({ value: { total: 'much' } as never }));
    expect(wrong).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(wrong.detail).toContain('total: must be a number');
    const [message, ...rest] = await all(sluice.reader({ topic, untilEnd: true }));
    expect(message!.value).toEqual({ doubled: 42 });
    expect(rest).toEqual([]);
  });

  test('name the record that does not match when it is looked at, and not before', async () => {
    const name = await newTopic();
    await using raw = sluice.producer({ topic: name });
    await raw.send({ value: '{"total":1}' });
    await raw.send({ value: 'not json' });
    const messages = await all(sluice.reader({ topic: defineTopic({ name, value: order }), untilEnd: true }));
    expect(messages[0]!.value).toEqual({ doubled: 2 });
    let error: unknown;
    try {
      void messages[1]!.value;
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      code: 'INVALID_REQUEST',
      facts: { topic: name, partition: 0, offset: 1, field: 'value' },
    });
    expect(Buffer.from(messages[1]!.valueBytes!).toString()).toBe('not json');
  });
});

// The browser's producer against a scripted socket.

import { json, defineTopic, Sluice, SluiceError, text, type Producer } from '@sluice/client/browser';
import { beforeEach, describe, expect, test } from 'vitest';
import { ScriptedWorld, type SentFrame } from './scripted-socket.ts';

let world: ScriptedWorld;
let sluice: Sluice;
let producer: Producer<string | Uint8Array, string | Uint8Array>;

const produced = (frame: SentFrame | undefined, firstOffset: number): unknown => ({
  id: frame?.id,
  op: 'produced',
  offsets: ((frame?.['records'] ?? []) as unknown[]).map((_, index) => ({
    partition: 0,
    offset: firstOffset + index,
    timestamp: 7,
  })),
});
const problem = (frame: SentFrame | undefined, code: string, facts: object = {}): unknown => ({
  id: frame?.id,
  op: 'error',
  problem: {
    type: 'urn',
    title: 'title',
    status: 400,
    code,
    detail: 'why',
    retriable: false,
    request_id: 'r',
    ...facts,
  },
});
const values = (frame: SentFrame | undefined): unknown[] =>
  ((frame?.['records'] ?? []) as { value_text: string }[]).map(sent => sent.value_text);
const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => null,
    (error: unknown) => error,
  );

beforeEach(() => {
  world = new ScriptedWorld();
  sluice = new Sluice({ url: 'http://127.0.0.1:8080' }, world);
  producer = sluice.producer({ topic: 't' });
});

describe('sending', () => {
  test('records that come within the linger go in one frame, each answered with its own place', async () => {
    const first = producer.send({ key: 'k', value: 'one', headers: { h: 'v' }, partition: 0, timestamp: 5 });
    const second = producer.enqueue({ value: new Uint8Array([255, 0]) });
    const third = producer.enqueue({ value: null });
    world.socket.open();
    expect(world.socket.url).toBe('ws://127.0.0.1:8080/v1/ws');
    expect(world.socket.sent).toEqual([]);
    await world.clock.advance(5);
    expect(world.socket.sent).toEqual([
      {
        id: 1,
        op: 'produce',
        topic: 't',
        acks: 'all',
        timeout_ms: 30_000,
        records: [
          { value_text: 'one', key: 'k', headers: [{ key: 'h', value: 'v' }], partition: 0, timestamp: 5 },
          { value_base64: '/wA=' },
          { value: null },
        ],
      },
    ]);
    world.socket.answer(produced(world.socket.sent[0], 10));
    expect(await first).toEqual({ topic: 't', partition: 0, offset: 10, timestamp: 7 });
    expect((await second.ack()).offset).toBe(11);
    expect((await third.ack()).offset).toBe(12);
    await producer.drain();
    expect(world.socket.isClosed).toBe(true);
    expect(world.clock.pending).toBe(0);
  });

  test('codecs write, and refuse what is not theirs', async () => {
    const topic = defineTopic({ name: 't', key: text, value: json<{ n: number }>() });
    const typed = sluice.producer({ topic, lingerMs: 0 });
    const sent = typed.send({ key: 'k', value: { n: 1 } });
    world.socket.open();
    await world.clock.advance(0);
    expect(world.socket.sent[0]?.['records']).toEqual([{ value_text: '{"n":1}', key: 'k' }]);
    world.socket.answer(produced(world.socket.sent[0], 0));
    await sent;
    expect(await failure(typed.send({ key: 5 as never, value: { n: 1 } }))).toMatchObject({ code: 'INVALID_REQUEST' });
  });

  test('at most inFlightMax frames are on the wire, and at most 64 requests of a client are unanswered', async () => {
    const small = sluice.producer({ topic: 't', batchBytes: 1, inFlightMax: 100 });
    const three = sluice.producer({ topic: 'u', batchBytes: 1, inFlightMax: 3 });
    for (let index = 0; index < 5; index++) three.enqueue({ value: 'u' });
    world.socket.open();
    expect(world.socket.ops('produce')).toHaveLength(3);
    for (let index = 0; index < 90; index++) small.enqueue({ value: 't' });
    expect(world.socket.ops('produce')).toHaveLength(64);
    world.socket.answer(produced(world.socket.sent[0], 0));
    expect(world.socket.ops('produce')).toHaveLength(65);
  });

  test('the buffer is bounded: enqueue is refused, send waits its turn', async () => {
    const small = sluice.producer({ topic: 't', bufferBytesMax: 30, lingerMs: 0 });
    const first = small.enqueue({ value: 'x'.repeat(40) });
    expect(small.hasRoom).toBe(false);
    expect(() => small.enqueue({ value: 'y' })).toThrow('THROTTLED');
    const waiting = small.send({ value: 'z' });
    world.socket.open();
    await world.clock.advance(0);
    expect(world.socket.sent).toHaveLength(1);
    world.socket.answer(produced(world.socket.sent[0], 0));
    await first.ack();
    await world.clock.advance(0);
    expect(values(world.socket.sent[1])).toEqual(['z']);
    world.socket.answer(produced(world.socket.sent[1], 1));
    expect((await waiting).offset).toBe(1);
  });
});

describe('a lost connection', () => {
  test('what was on the wire is of unknown outcome and not sent again; what was not is sent on the next one', async () => {
    const one = sluice.producer({ topic: 't', batchBytes: 1, inFlightMax: 1 });
    const onWire = failure(one.send({ value: 'on the wire' }));
    const waiting = one.send({ value: 'waiting' });
    world.socket.open();
    expect(world.socket.sent).toHaveLength(1);
    world.socket.cut();
    const error = await onWire;
    expect(error).toBeInstanceOf(SluiceError);
    expect(error).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown' });
    expect(world.sockets).toHaveLength(1);
    await world.clock.advance(2_000);
    expect(world.sockets).toHaveLength(2);
    world.socket.open();
    expect(world.socket.sent.map(values)).toEqual([['waiting']]);
    world.socket.answer(produced(world.socket.sent[0], 3));
    expect((await waiting).offset).toBe(3);
  });

  test('attempts come further and further apart, and a first connection that never stands is told', async () => {
    const sent = failure(producer.send({ value: 'x' }));
    const waitsMs: number[] = [];
    while (world.clock.monotonicMs() < 10_000) {
      const lostMs = world.clock.monotonicMs();
      const attempts = world.sockets.length;
      world.socket.cut();
      while (world.sockets.length === attempts) await world.clock.advance(world.clock.nextMs ?? 0);
      waitsMs.push(world.clock.monotonicMs() - lostMs);
    }
    world.socket.cut();
    expect(waitsMs.slice(0, 7)).toEqual([37.5, 75, 150, 300, 600, 1_200, 1_500]);
    expect(Math.max(...waitsMs)).toBe(1_500);
    expect(await sent).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: undefined });
  });

  test('a draining broker gets no new requests, is heard out, and left', async () => {
    const one = sluice.producer({ topic: 't', batchBytes: 1 });
    const first = one.send({ value: '1' });
    world.socket.open();
    const draining = world.socket;
    draining.answer({ op: 'draining', resume_within_ms: 5_000 });
    const second = one.send({ value: '2' });
    expect(draining.sent).toHaveLength(1);
    draining.answer(produced(draining.sent[0], 0));
    expect((await first).offset).toBe(0);
    expect(draining.isClosed).toBe(true);
    await world.clock.advance(100);
    world.socket.open();
    expect(world.socket.sent.map(values)).toEqual([['2']]);
    world.socket.answer(produced(world.socket.sent[0], 1));
    expect((await second).offset).toBe(1);
  });
});

describe('refusals', () => {
  test('one for a passing reason is sent again, in its place and after a wait', async () => {
    const one = sluice.producer({ topic: 't', batchBytes: 1, inFlightMax: 2 });
    const answers = ['1', '2', '3'].map(value => one.send({ value }));
    world.socket.open();
    const [first, second] = world.socket.sent;
    world.socket.answer(problem(first, 'THROTTLED'));
    expect(world.socket.sent).toHaveLength(2);
    world.socket.answer(produced(second, 0));
    expect(world.socket.sent).toHaveLength(2);
    await world.clock.advance(50);
    expect(world.socket.sent.slice(2).map(values)).toEqual([['1'], ['3']]);
    for (const [index, frame] of world.socket.sent.slice(2).entries()) world.socket.answer(produced(frame, 1 + index));
    expect((await Promise.all(answers)).map(place => place.offset)).toEqual([1, 0, 2]);
  });

  test('one that names a record fails that record, and the others go again', async () => {
    const good = producer.send({ value: 'good' });
    const bad = failure(producer.send({ value: 'bad', partition: 9 }));
    world.socket.open();
    await world.clock.advance(5);
    world.socket.answer(problem(world.socket.sent[0], 'PARTITION_NOT_FOUND', { index: 1, partition: 9 }));
    expect(await bad).toMatchObject({ code: 'PARTITION_NOT_FOUND', facts: { partition: 9 } });
    await world.clock.advance(50);
    expect(values(world.socket.sent[1])).toEqual(['good']);
    world.socket.answer(produced(world.socket.sent[1], 0));
    expect((await good).offset).toBe(0);
  });

  test('of partitions that fail alone only the records fail', async () => {
    const good = producer.send({ value: 'good' });
    const bad = failure(producer.send({ value: 'bad' }));
    world.socket.open();
    await world.clock.advance(5);
    const offsets = [
      { partition: 0, offset: 4, timestamp: 1 },
      { partition: 1, problem: { code: 'STORAGE_FAILED', detail: 'the disk' } },
    ];
    world.socket.answer({ id: 1, op: 'produced', offsets });
    expect((await good).offset).toBe(4);
    expect(await bad).toMatchObject({ code: 'STORAGE_FAILED' });
  });

  test('a loss that nobody asked about comes out of drain', async () => {
    producer.enqueue({ value: 'x' });
    world.socket.open();
    const drained = failure(producer.drain());
    await world.clock.advance(5);
    world.socket.answer(problem(world.socket.sent[0], 'TOPIC_NOT_FOUND'));
    expect(await drained).toMatchObject({ code: 'TOPIC_NOT_FOUND' });
  });

  test('time runs out: known as not written while it waits, unknown once it was sent', async () => {
    const quick = sluice.producer({ topic: 't', batchBytes: 1, inFlightMax: 1, deliveryTimeoutMs: 1_000 });
    const sent = failure(quick.send({ value: 'sent' }));
    const waiting = failure(quick.send({ value: 'waiting' }));
    world.socket.open();
    await world.clock.advance(1_000);
    expect(await sent).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown' });
    expect(await waiting).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: undefined });
  });

  test('close says of each record whether it may be written', async () => {
    const one = sluice.producer({ topic: 't', batchBytes: 1, inFlightMax: 1 });
    const sent = failure(one.send({ value: 'sent' }));
    const waiting = failure(one.send({ value: 'waiting' }));
    world.socket.open();
    one.close();
    expect(await sent).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown' });
    expect(await waiting).toMatchObject({ code: 'INVALID_REQUEST', outcome: undefined });
    expect(await failure(one.send({ value: 'late' }))).toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

// When a producer sends, waits, repeats and gives up, on a clock that the test moves and a wire that it plays.

import { describe, expect, test } from 'vitest';
import { Sluice, SluiceError, type Producer, type ProducerOptions } from '@sluice/client';
import { ManualClock, ManualRandom, settled } from './manual-runtime.ts';
import { ScriptedWire } from './scripted-wire.ts';

interface World {
  readonly clock: ManualClock;
  readonly random: ManualRandom;
  readonly wire: ScriptedWire;
  readonly sluice: Sluice;
  readonly producer: Producer<Uint8Array | string, Uint8Array | string>;
}

function world(options: Partial<ProducerOptions> & { partitionCount?: number; maxMessageBytes?: number } = {}): World {
  const { partitionCount = 1, maxMessageBytes = 1_048_588, ...rest } = options;
  const clock = new ManualClock();
  const random = new ManualRandom();
  const wire = new ScriptedWire({ name: 't', partitionCount, maxMessageBytes });
  const sluice = new Sluice({ servers: ['script:1'] }, { clock, random, transport: wire });
  return { clock, random, wire, sluice, producer: sluice.producer({ topic: 't', ...rest }) };
}

/** The topic is known and a stream is open, after one record that was acknowledged. */
async function warmWorld(options: Parameters<typeof world>[0] = {}): Promise<World> {
  const made = world(options);
  made.producer.enqueue({ value: 'first', partition: 0 });
  const flushed = made.producer.flush();
  await settled();
  made.wire.stream.ack(0, 0);
  await flushed;
  await made.clock.advance(options.lingerMs ?? 5);
  made.wire.stream.frames.length = 0;
  return made;
}

const failure = async (promise: Promise<unknown>): Promise<SluiceError> => {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SluiceError);
  return error as SluiceError;
};

describe('a batch', () => {
  test('lingers for more records, and not longer', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 5 });
    const one = producer.enqueue({ value: 'a' });
    await clock.advance(4);
    const two = producer.enqueue({ value: 'b' });
    expect(wire.stream.frames).toHaveLength(0);
    await clock.advance(1);
    expect(wire.stream.frames).toHaveLength(1);
    expect(wire.stream.values(0)).toEqual(['a', 'b']);
    wire.stream.ack(0, 7);
    expect(await one.ack()).toEqual({ topic: 't', partition: 0, offset: 7, timestamp: clock.wallMs() - 5 });
    expect(await two.ack()).toMatchObject({ offset: 8, timestamp: clock.wallMs() - 1 });
  });

  test('without linger goes at the end of the turn', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0 });
    producer.enqueue({ value: 'a' });
    producer.enqueue({ value: 'b' });
    expect(wire.stream.frames).toHaveLength(0);
    await clock.advance(0);
    expect(wire.stream.values(0)).toEqual(['a', 'b']);
  });

  test('goes at once when it is full, and never exceeds its size', async () => {
    const { wire, producer } = await warmWorld({ batchBytes: 1_000, lingerMs: 1_000 });
    for (let index = 0; index < 30; index++) producer.enqueue({ value: 'x'.repeat(100) });
    expect(wire.stream.frames.length).toBeGreaterThanOrEqual(3);
    for (const frame of wire.stream.frames) expect(frame.batches.length).toBeLessThanOrEqual(1_000);
  });

  test('is as large as the topic allows where that is less than asked for', async () => {
    const { wire, producer } = await warmWorld({ batchBytes: 10_000, maxMessageBytes: 500, lingerMs: 1_000 });
    for (let index = 0; index < 30; index++) producer.enqueue({ value: 'x'.repeat(100) });
    for (const frame of wire.stream.frames) expect(frame.batches.length).toBeLessThanOrEqual(500);
    expect(() => producer.enqueue({ value: 'x'.repeat(500) })).toThrow(/RECORD_TOO_LARGE/);
    producer.enqueue({ value: 'still open' });
  });

  test('holds a record larger than a batch by itself, when the topic takes it', async () => {
    const { clock, wire, producer } = await warmWorld({ batchBytes: 200, lingerMs: 5 });
    producer.enqueue({ value: 'small' });
    producer.enqueue({ value: 'L'.repeat(5_000) });
    await clock.advance(5);
    expect(wire.stream.frames.map((_, index) => wire.stream.values(index)[0]![0])).toEqual(['s', 'L']);
  });

  test('keeps filling while all places on the wire are taken', async () => {
    const { clock, wire, producer } = await warmWorld({ inFlightMax: 1, lingerMs: 1 });
    producer.enqueue({ value: 'a' });
    await clock.advance(1);
    producer.enqueue({ value: 'b' });
    await clock.advance(10);
    producer.enqueue({ value: 'c' });
    await clock.advance(10);
    expect(wire.stream.frames).toHaveLength(1);
    wire.stream.ack(0, 1);
    expect(wire.stream.values(1)).toEqual(['b', 'c']);
  });

  test('tells the append time that the broker stamped', async () => {
    const { clock, wire, producer } = await warmWorld();
    const ticket = producer.enqueue({ value: 'a', timestamp: 5 });
    await clock.advance(5);
    wire.stream.ack(0, 1, 99);
    expect((await ticket.ack()).timestamp).toBe(99);
  });
});

describe('partitions', () => {
  test('records without a key stay together until their batch is complete', async () => {
    const made = world({ partitionCount: 4, lingerMs: 5 });
    const { clock, random, wire, producer } = made;
    random.push(0.99, 0.3);
    const first = ['a', 'b', 'c'].map(value => producer.enqueue({ value }).ack());
    await clock.advance(5);
    producer.enqueue({ value: 'd' });
    await clock.advance(5);
    expect(wire.stream.frames.map(frame => frame.partition)).toEqual([3, 1]);
    expect(wire.stream.values(0)).toEqual(['a', 'b', 'c']);
    wire.stream.ack(0, 0);
    expect((await Promise.all(first)).map(delivery => delivery.offset)).toEqual([0, 1, 2]);
  });

  test('records with a key go where murmur2 says', async () => {
    const { clock, wire, producer } = await warmWorld({ partitionCount: 16 });
    // From Kafka's own test of its hash, reduced to 16 partitions.
    producer.enqueue({ key: '21', value: 'v' });
    producer.enqueue({ key: new TextEncoder().encode('foobar'), value: 'v' });
    await clock.advance(5);
    const expected = [-973932308, -790332482].map(hash => (hash & 0x7fffffff) % 16);
    expect(wire.stream.frames.map(frame => frame.partition)).toEqual(expected);
  });

  test('round-robin takes turns, and a function decides by itself', async () => {
    const turns = await warmWorld({ partitionCount: 3, partitioner: 'round-robin' });
    for (const value of 'abcd') turns.producer.enqueue({ value });
    await turns.clock.advance(5);
    const { stream } = turns.wire;
    expect(stream.frames.map((frame, index) => [frame.partition, stream.values(index)])).toEqual([
      [0, ['a', 'd']],
      [1, ['b']],
      [2, ['c']],
    ]);

    const own = await warmWorld({
      partitionCount: 3,
      partitioner: input => (input.key === null ? 7 : input.key.length),
    });
    own.producer.enqueue({ key: 'xx', value: 'v' });
    expect(() => own.producer.enqueue({ value: 'v' })).toThrow(/PARTITION_NOT_FOUND/);
    await own.clock.advance(5);
    expect(own.wire.stream.frames.map(frame => frame.partition)).toEqual([2]);
  });

  test('a partition that does not exist is refused, also when the topic is not known yet', async () => {
    const { clock, producer } = world();
    const early = failure(producer.send({ value: 'v', partition: 1 }));
    await clock.advance(0);
    expect((await early).code).toBe('PARTITION_NOT_FOUND');
    expect(() => producer.enqueue({ value: 'v', partition: 1 })).toThrow(/PARTITION_NOT_FOUND/);
  });
});

describe('a refusal', () => {
  test('that may pass is sent again, before what came later', async () => {
    const { clock, wire, producer } = await warmWorld({ inFlightMax: 2, lingerMs: 0 });
    for (const value of ['a', 'b', 'c']) {
      producer.enqueue({ value });
      await clock.advance(0);
    }
    const { stream } = wire;
    expect(stream.frames).toHaveLength(2);
    stream.refuse(0, 'THROTTLED');
    // Nothing goes out until what is on the wire is answered, and the wait is over.
    expect(stream.frames).toHaveLength(2);
    stream.refuse(1, 'NOT_LEADER');
    await clock.advance(24);
    expect(stream.frames).toHaveLength(2);
    await clock.advance(1);
    expect([2, 3].map(index => stream.values(index)[0])).toEqual(['a', 'b']);
    stream.ack(2, 1);
    expect(stream.values(4)).toEqual(['c']);
  });

  test('that is final rejects the batch and nothing else', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0 });
    const bad = producer.enqueue({ value: 'bad' });
    await clock.advance(0);
    const good = producer.enqueue({ value: 'good' });
    await clock.advance(0);
    wire.stream.refuse(0, 'INVALID_TIMESTAMP');
    wire.stream.ack(1, 1);
    expect(await failure(bad.ack())).toMatchObject({ code: 'INVALID_TIMESTAMP', retriable: false, outcome: undefined });
    expect((await good.ack()).offset).toBe(1);
    expect(wire.stream.frames).toHaveLength(2);
  });

  test('waits longer each time, and only until the delivery time is over', async () => {
    const { clock, wire, producer } = await warmWorld({ deliveryTimeoutMs: 600, lingerMs: 0 });
    const outcome = failure(producer.send({ value: 'v' }));
    const waits: number[] = [];
    await clock.advance(0);
    for (let attempt = 0; wire.stream.frames.length > attempt && attempt < 4; attempt++) {
      wire.stream.refuse(attempt, 'THROTTLED');
      const before = clock.monotonicMs();
      while (wire.stream.frames.length === attempt + 1 && clock.monotonicMs() < 600) await clock.advance(1);
      waits.push(clock.monotonicMs() - before);
    }
    expect(waits).toEqual([25, 50, 100, 200]);
    wire.stream.refuse(4, 'THROTTLED');
    await clock.advance(1_000);
    expect(await outcome).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: undefined });
  });
});

describe('an unknown outcome of a producer that is not idempotent', () => {
  test('follows a stream that broke after the batch was written: it is not sent again', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0, idempotent: false });
    const sent = failure(producer.send({ value: 'maybe' }));
    await clock.advance(0);
    wire.stream.break();
    expect(await sent).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown', retriable: true });
    const next = producer.send({ value: 'next' });
    await clock.advance(100);
    expect(wire.streams).toHaveLength(2);
    expect(wire.stream.frames.map((_, index) => wire.stream.values(index))).toEqual([['next']]);
    wire.stream.ack(0, 1);
    await next;
  });

  test('does not touch what was not written yet', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0, inFlightMax: 1, idempotent: false });
    const written = failure(producer.send({ value: 'written' }));
    await clock.advance(0);
    const waiting = producer.send({ value: 'waiting' });
    await clock.advance(0);
    wire.stream.break();
    expect((await written).outcome).toBe('unknown');
    await clock.advance(100);
    expect(wire.stream.values(0)).toEqual(['waiting']);
    wire.stream.ack(0, 3);
    expect((await waiting).offset).toBe(3);
  });

  test('is what a broker answers that ran out of time', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0, idempotent: false });
    const sent = failure(producer.send({ value: 'v' }));
    await clock.advance(0);
    wire.stream.refuse(0, 'REQUEST_TIMED_OUT');
    expect((await sent).outcome).toBe('unknown');
    expect(wire.stream.frames).toHaveLength(1);
  });

  test('is what silence becomes when the delivery time is over', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0, deliveryTimeoutMs: 500, idempotent: false });
    const sent = failure(producer.send({ value: 'v' }));
    await clock.advance(499);
    wire.stream.takesMore = false;
    await clock.advance(1);
    expect(await sent).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown' });
    // The late answer is nobody's.
    wire.stream.ack(0, 1);
    expect(producer.bufferedBytes).toBe(0);
  });

  test('is what a leader says that was deposed in between, and is not sent again', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0, idempotent: false });
    const sent = failure(producer.send({ value: 'v' }));
    await clock.advance(0);
    wire.stream.refuse(0, 'NOT_LEADER', { outcome: 'unknown' });
    expect(await sent).toMatchObject({ code: 'NOT_LEADER', outcome: 'unknown' });
    await clock.advance(10_000);
    expect(wire.stream.frames).toHaveLength(1);
  });

  test('is not what a broker leaves that stops: what it did not answer was not written, and goes again', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0 });
    const sent = producer.send({ value: 'v' });
    await clock.advance(0);
    const [before] = wire.streams;
    before!.break(new SluiceError('SHUTTING_DOWN', 'the broker is stopping'));
    await clock.advance(1_000);
    expect(wire.stream).not.toBe(before);
    expect(wire.stream.values(0)).toEqual(['v']);
    wire.stream.ack(0, 7);
    expect(await sent).toMatchObject({ offset: 7 });
  });

  test('a stream refused as a whole has written nothing', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0 });
    const sent = failure(producer.send({ value: 'v' }));
    await clock.advance(0);
    wire.stream.break(new SluiceError('UNAUTHENTICATED', 'no token'));
    expect(await sent).toMatchObject({ code: 'UNAUTHENTICATED', outcome: undefined });
  });
});

describe('the buffer', () => {
  test('refuses an enqueue beyond its bytes, and lets ready() know when there is room', async () => {
    const { clock, wire, producer } = await warmWorld({ bufferBytesMax: 500, lingerMs: 0 });
    while (producer.hasRoom) producer.enqueue({ value: 'x'.repeat(100) });
    expect(producer.bufferedBytes).toBeGreaterThanOrEqual(500);
    expect(producer.bufferedBytes).toBeLessThan(700);
    expect(() => producer.enqueue({ value: 'x' })).toThrow(/THROTTLED/);
    let isReady = false;
    const ready = producer.ready().then(() => {
      isReady = true;
    });
    await clock.advance(0);
    expect(isReady).toBe(false);
    wire.stream.ack(0, 1);
    await ready;
    expect(producer.bufferedBytes).toBe(0);
  });

  test('makes sends wait in their order, and later ones do not overtake', async () => {
    const { clock, wire, producer } = await warmWorld({ bufferBytesMax: 200, batchBytes: 150, lingerMs: 0 });
    const sends = ['a', 'b', 'c', 'd', 'e'].map(letter => producer.send({ value: letter.repeat(100) }));
    const answered: string[] = [];
    for (let frame = 0; answered.length < 5; frame++) {
      await clock.advance(0);
      answered.push(wire.stream.values(frame)[0]![0]!);
      wire.stream.ack(frame, frame);
    }
    expect(answered.join('')).toBe('abcde');
    expect((await Promise.all(sends)).map(delivery => delivery.offset)).toEqual([0, 1, 2, 3, 4]);
  });

  test('a send aborted while it waits for room is never written', async () => {
    const { clock, wire, producer } = await warmWorld({ bufferBytesMax: 100, lingerMs: 0 });
    const first = producer.send({ value: 'x'.repeat(200) });
    const controller = new AbortController();
    const second = producer.send({ value: 'never' }, { signal: controller.signal });
    const third = producer.send({ value: 'third' });
    const reason = new Error('changed my mind');
    controller.abort(reason);
    await expect(second).rejects.toBe(reason);
    await clock.advance(0);
    wire.stream.ack(0, 1);
    await first;
    await clock.advance(0);
    expect(wire.stream.values(1)).toEqual(['third']);
    wire.stream.ack(1, 2);
    await third;
  });

  test('a stream that takes no more holds batches back, and they are still certainly not sent', async () => {
    const { clock, wire, producer } = await warmWorld({ lingerMs: 0, inFlightMax: 5 });
    wire.stream.takesMore = false;
    producer.enqueue({ value: 'a' });
    await clock.advance(0);
    producer.enqueue({ value: 'b' });
    await clock.advance(0);
    expect(wire.stream.frames).toHaveLength(1);
    wire.stream.drain();
    expect(wire.stream.frames).toHaveLength(2);
  });
});

describe('the end of a producer', () => {
  test('flush sends what lingers and waits for the answers', async () => {
    const { wire, producer } = await warmWorld({ lingerMs: 60_000 });
    producer.enqueue({ value: 'a' });
    let isFlushed = false;
    const flushed = producer.flush().then(() => {
      isFlushed = true;
    });
    await settled();
    expect(wire.stream.values(0)).toEqual(['a']);
    expect(isFlushed).toBe(false);
    wire.stream.ack(0, 1);
    await flushed;
  });

  test('flush tells of a failure that nobody asked about, once', async () => {
    const { wire, producer } = await warmWorld();
    producer.enqueue({ value: 'a' });
    const flushed = failure(producer.flush());
    await settled();
    wire.stream.refuse(0, 'STORAGE_FAILED');
    expect((await flushed).code).toBe('STORAGE_FAILED');
    await producer.flush();
  });

  test('drain refuses new records and ends the stream', async () => {
    const { wire, producer } = await warmWorld();
    const ticket = producer.enqueue({ value: 'a' });
    const drained = producer.drain();
    expect(() => producer.enqueue({ value: 'late' })).toThrow(/closed/);
    await settled();
    wire.stream.ack(0, 1);
    await drained;
    expect((await ticket.ack()).offset).toBe(1);
    expect(wire.stream.isEnded).toBe(true);
  });

  test('close rejects what is not answered: unknown on the wire, not written before', async () => {
    const { clock, producer } = await warmWorld({ inFlightMax: 1, lingerMs: 0 });
    const onWire = failure(producer.send({ value: 'a' }));
    await clock.advance(0);
    const waiting = failure(producer.send({ value: 'b' }));
    producer.close();
    expect((await onWire).outcome).toBe('unknown');
    expect((await waiting).outcome).toBeUndefined();
    await expect(producer.send({ value: 'c' })).rejects.toThrow(/closed/);
  });

  test('an aborted producer closes with the reason as cause, and leaves no timer behind', async () => {
    const controller = new AbortController();
    const { clock, producer, sluice } = await warmWorld({ signal: controller.signal });
    const sent = failure(producer.send({ value: 'a' }));
    const reason = new Error('enough');
    controller.abort(reason);
    expect((await sent).cause).toBe(reason);
    await sluice.close();
    await settled();
    expect(clock.pending).toBe(0);
  });
});

describe('servers that cannot be reached', () => {
  test('are looked for until the connect time-out, with waits in between', async () => {
    const { clock, wire, producer } = world();
    wire.isReachable = false;
    const sent = failure(producer.send({ value: 'v' }));
    await clock.advance(9_999);
    expect(wire.attempts).toBeGreaterThan(5);
    expect(wire.attempts).toBeLessThan(30);
    await clock.advance(1);
    expect(await sent).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: undefined });
    expect((await sent).message).toContain('script:1');
  });

  test('a server that comes back in time loses nothing', async () => {
    const { clock, wire, producer } = world({ lingerMs: 0 });
    wire.isReachable = false;
    const sent = producer.send({ value: 'v' });
    await clock.advance(5_000);
    wire.isReachable = true;
    await clock.advance(3_000);
    wire.stream.ack(0, 0);
    expect((await sent).offset).toBe(0);
  });

  test('closing the client ends every wait, and leaves no timer behind', async () => {
    for (const isReachable of [true, false]) {
      const { clock, wire, producer, sluice } = world();
      wire.isReachable = isReachable;
      wire.isSilent = true;
      const sent = failure(producer.send({ value: 'v' }));
      const reader = sluice.reader({ topic: 't' })[Symbol.asyncIterator]();
      const next = reader.next();
      await clock.advance(1_000);
      producer.close();
      await sluice.close();
      expect((await sent).code).toBe('INVALID_REQUEST');
      expect(await next).toEqual({ done: true, value: undefined });
      await settled();
      expect(clock.pending).toBe(0);
    }
  });

  test('a server that refuses the client for good is not waited for', async () => {
    const { clock, wire, producer } = world();
    wire.refusal = new SluiceError('UNAUTHENTICATED', 'no token');
    const sent = failure(producer.send({ value: 'v' }));
    await clock.advance(0);
    expect((await sent).code).toBe('UNAUTHENTICATED');
  });
});

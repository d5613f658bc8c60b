// The small parts by themselves: codecs, partitions, waits, buffers, the hand-written frame, the decoder of pieces.

import { create, fromBinary } from '@bufbuild/protobuf';
import * as fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { bytes, defineTopic, json, text, type Message, type StandardSchema, type Topic } from '@sluice/client';
import { encodeBatch, encodeEpochStart, stampBatch, type RecordInput } from '@sluice/protocol/record';
import { ProduceRequestSchema, type Acks } from '@sluice/protocol/services';
import { Backoff } from '../../sdk/backoff.ts';
import { BufferPool } from '../../sdk/buffer-pool.ts';
import { Deadline, pause } from '../../sdk/deadline.ts';
import { Fifo } from '../../sdk/fifo.ts';
import { MessageDecoder } from '../../sdk/message-decoder.ts';
import { PartitionRead, type PartitionReadOptions } from '../../sdk/partition-read.ts';
import { PartitionChooser } from '../../sdk/partitioner.ts';
import { encodeProduceFrame, produceFrameBytesMax } from '../../sdk/transport/wire.ts';
import { ManualClock, ManualRandom, settled } from './manual-runtime.ts';

describe('codecs', () => {
  test('text is UTF-8 both ways, a byte order mark included, and refuses what is not', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), value => {
        expect(text.decode(new TextEncoder().encode(text.encode(value) as string))).toBe(value);
      }),
    );
    expect(text.decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61]))).toBe('\u{feff}a');
    expect(() => text.decode(new Uint8Array([0xff]))).toThrow(/INVALID_REQUEST/);
    expect(() => text.encode(5 as never)).toThrow(/INVALID_REQUEST/);
  });

  test('json writes compact JSON and refuses what JSON has no form for', () => {
    const codec = json<unknown>();
    fc.assert(
      fc.property(fc.jsonValue(), value => {
        const written = codec.encode(value) as string;
        expect(codec.decode(new TextEncoder().encode(written))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    for (const value of [undefined, () => 1, Symbol('s'), 10n, circular]) {
      expect(() => codec.encode(value)).toThrow(/INVALID_REQUEST/);
    }
    expect(() => codec.decode(new TextEncoder().encode('{'))).toThrow(/INVALID_REQUEST/);
  });

  test('an asynchronous schema is refused by name', () => {
    const late: StandardSchema<string> = {
      '~standard': { version: 1, vendor: 'test', validate: value => Promise.resolve({ value: value as string }) },
    };
    expect(() => json(late).encode('a')).toThrow(/asynchronously/);
    expect(() => json(late).decode(new TextEncoder().encode('"a"'))).toThrow(/asynchronously/);
  });

  test('a topic has the types of its codecs and schemas', () => {
    type Schema = StandardSchema<{ at: string }, { at: Date }>;
    const schema = {} as Schema;
    const make = () => defineTopic({ name: 't', key: text, value: schema });
    expectTypeOf(make).returns.toEqualTypeOf<Topic<string, string, { at: string }, { at: Date }>>();
    const plain = () => defineTopic({ name: 't', value: json<{ total: number }>() });
    expectTypeOf(plain).returns.toEqualTypeOf<
      Topic<Uint8Array | string, Uint8Array, { total: number }, { total: number }>
    >();
    expect(defineTopic({ name: 't' }).key).toBe(bytes);
    expect(() => defineTopic({ name: 'a b' })).toThrow(/INVALID_TOPIC_NAME/);
  });
});

describe('choosing a partition', () => {
  const choose = (chooser: PartitionChooser, key: string | null, partitionCount = 8): number =>
    chooser.choose({ topic: 't', partitionCount, key });

  test('a key decides alike as text and as bytes', () => {
    const chooser = new PartitionChooser('default', new ManualRandom());
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 300 }), (key, partitionCount) => {
        const chosen = choose(chooser, key, partitionCount);
        const asBytes = chooser.choose({ topic: 't', partitionCount, key: new TextEncoder().encode(key) });
        expect(chosen).toBe(asBytes);
        expect(chosen).toBeGreaterThanOrEqual(0);
        expect(chosen).toBeLessThan(partitionCount);
      }),
    );
  });

  test('without a key it stays until the batch is complete, and moves when partitions are fewer', () => {
    const random = new ManualRandom();
    random.push(0.5, 0.99, 0);
    const chooser = new PartitionChooser('default', random);
    expect([choose(chooser, null), choose(chooser, null)]).toEqual([4, 4]);
    chooser.batchCompleted(3);
    expect(choose(chooser, null)).toBe(4);
    chooser.batchCompleted(4);
    expect(choose(chooser, null)).toBe(7);
    expect(choose(chooser, null, 2)).toBe(0);
  });
});

describe('waits', () => {
  test('double up to two seconds, half of each drawn, and start again after a success', () => {
    const least = new Backoff(new ManualRandom(0));
    expect(Array.from({ length: 8 }, () => least.nextMs())).toEqual([25, 50, 100, 200, 400, 800, 1_000, 1_000]);
    const most = new Backoff(new ManualRandom(1));
    expect([most.nextMs(), most.nextMs()]).toEqual([50, 100]);
    most.reset();
    expect(most.nextMs()).toBe(50);
  });

  test('a deadline aborts with its own reason or the caller’s, and leaves no timer', async () => {
    const clock = new ManualClock();
    const late = new Error('late');
    const expired = new Deadline(clock, { ms: 10, onExpiry: () => late });
    await clock.advance(10);
    expect(expired.signal.reason).toBe(late);

    const caller = new AbortController();
    const aborted = new Deadline(clock, { ms: 10, onExpiry: () => late, signal: caller.signal });
    caller.abort('mine');
    expect(aborted.signal.reason).toBe('mine');
    aborted.release();
    expect(clock.pending).toBe(0);

    const paused = pause(clock, 5, aborted.signal);
    await expect(paused).rejects.toBe('mine');
    expect(clock.pending).toBe(0);
  });
});

describe('a queue', () => {
  test('gives back what was put in, in order, however long', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant('shift' as const), fc.integer({ min: 1, max: 3_000 })), { maxLength: 30 }),
        steps => {
          const fifo = new Fifo<number>();
          const model: number[] = [];
          let next = 0;
          for (const step of steps) {
            if (step === 'shift') {
              for (let turn = 0; turn < 1_500; turn++) expect(fifo.shift()).toBe(model.shift());
            } else {
              for (let turn = 0; turn < step; turn++) {
                fifo.push(next);
                model.push(next++);
              }
            }
            expect(fifo.length).toBe(model.length);
            expect(fifo.first).toBe(model[0]);
          }
          expect(fifo.takeAll()).toEqual(model);
          expect(fifo.length).toBe(0);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('the buffer pool', () => {
  test('hands a buffer to one owner at a time, large enough and not wastefully large', () => {
    const pool = new BufferPool();
    const first = pool.take(100_000);
    expect(pool.take(100_000).buffer).not.toBe(first.buffer);
    pool.give(first.subarray(10, 20));
    const again = pool.take(90_000);
    expect(again.buffer).toBe(first.buffer);
    expect(again.length).toBeGreaterThanOrEqual(90_000);
    pool.give(again);
    expect(pool.take(20_000).buffer).not.toBe(first.buffer);
    expect(pool.take(200_000).length).toBeGreaterThanOrEqual(200_000);
  });

  test('keeps a bounded amount', () => {
    const pool = new BufferPool();
    const taken = Array.from({ length: 30 }, () => pool.take(1024 * 1024));
    for (const buffer of taken) pool.give(buffer);
    const known = new Set(taken.map(buffer => buffer.buffer));
    const reused = Array.from({ length: 30 }, () => pool.take(1024 * 1024)).filter(buffer => known.has(buffer.buffer));
    expect(reused).toHaveLength(8);
  });
});

describe('the hand-written produce frame', () => {
  test('is what the generated code reads', () => {
    fc.assert(
      fc.property(
        fc.record({
          id: fc.maxSafeNat(),
          topic: fc.stringMatching(/^[a-zA-Z0-9._-]{1,249}$/),
          partition: fc.nat(),
          acks: fc.nat({ max: 2 }),
          timeoutMs: fc.nat(),
          batches: fc.uint8Array({ maxLength: 40_000 }),
        }),
        fields => {
          const frame = { ...fields, allocate: (size: number) => Buffer.allocUnsafe(size) };
          const written = encodeProduceFrame(frame, Buffer.alloc(produceFrameBytesMax(frame)));
          const { id, acks, ...rest } = fields;
          expect(fromBinary(ProduceRequestSchema, new Uint8Array(written))).toEqual(
            create(ProduceRequestSchema, { ...rest, id: BigInt(id), acks: acks as Acks }),
          );
        },
      ),
    );
  });
});

describe('a received piece', () => {
  const options: PartitionReadOptions = {
    topic: 't',
    partition: 0,
    start: { kind: 'earliest' },
    isolation: 'read_uncommitted',
    untilEnd: false,
    windowBytes: 1_000,
  };
  const records = (count: number, from = 0): RecordInput[] =>
    Array.from({ length: count }, (_, index) => ({ key: null, value: `${from + index}`, timestamp: 1_000 + index }));
  const batch = (baseOffset: number, count: number): Uint8Array => {
    const made = encodeBatch(records(count, baseOffset));
    stampBatch(made, { baseOffset, leaderEpoch: 1 });
    return made;
  };
  const joined = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

  async function decoded(read: PartitionRead, bytes: Uint8Array): Promise<Message[][]> {
    const decoder = new MessageDecoder(read.received(bytes)!, defineTopic({ name: 't' }));
    const arrays: Message[][] = [];
    while (!decoder.isDone) {
      const { messages, nextOffset } = await decoder.next();
      arrays.push(messages);
      read.position = nextOffset;
    }
    return arrays;
  }

  test('becomes messages from the position on, without what the broker wrote for itself', async () => {
    const read = new PartitionRead(options, new ManualRandom());
    read.opened({ offset: 3, endOffset: 100 });
    const marker = encodeEpochStart({ epoch: 2, baseOffset: 5, timestamp: 1 });
    const arrays = await decoded(read, joined(batch(0, 5), marker, batch(5, 2)));
    const messages = arrays.flat();
    expect(messages.map(message => message.offset)).toEqual([3, 4, 5, 6]);
    expect(messages.map(message => Buffer.from(message.value!).toString())).toEqual(['3', '4', '5', '6']);
    expect(messages.map(message => message.timestamp)).toEqual([1_003, 1_004, 1_000, 1_001]);
    expect(read.nextOffset).toBe(7);
  });

  test('stops at the end that the reader began with', async () => {
    const read = new PartitionRead({ ...options, untilEnd: true }, new ManualRandom());
    read.opened({ offset: 0, endOffset: 7 });
    const messages = (await decoded(read, joined(batch(0, 5), batch(5, 5)))).flat();
    expect(messages.map(message => message.offset)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(read.isComplete).toBe(true);
  });

  test('joins small batches and hands large ones out by themselves', async () => {
    const read = new PartitionRead(options, new ManualRandom());
    read.opened({ offset: 0, endOffset: 0 });
    const parts = Array.from({ length: 600 }, (_, index) => batch(index, 1));
    const arrays = await decoded(read, joined(...parts, batch(600, 700)));
    expect(arrays.map(messages => messages.length)).toEqual([500, 800]);
  });

  test('is refused when a byte changed on the way, or when it is not whole', () => {
    const sound = batch(0, 5);
    fc.assert(
      fc.property(fc.integer({ min: 17, max: sound.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const damaged = new Uint8Array(sound);
        damaged[at]! ^= change;
        const read = new PartitionRead(options, new ManualRandom());
        read.opened({ offset: 0, endOffset: 0 });
        const piece = read.received(damaged);
        if (piece === null) return;
        expect(() => new MessageDecoder(piece, defineTopic({ name: 't' })).next()).toThrow(/CORRUPT_BATCH/);
      }),
    );
    expect(new PartitionRead(options, new ManualRandom()).received(sound.subarray(0, 40))).toBeNull();
  });

  test('is granted again when a quarter of the window was taken, byte for byte', async () => {
    const read = new PartitionRead(options, new ManualRandom());
    let [taken, granted] = [0, 0];
    for (let index = 0; index < 100; index++) {
      const piece = read.received(batch(index, 1))!;
      taken += piece.bytes.length;
      granted += read.taken(piece)?.bytes ?? 0;
      expect(taken - granted).toBeLessThan(options.windowBytes / 4);
    }
    await settled();
    expect(granted).toBeGreaterThan(taken / 2);
  });
});

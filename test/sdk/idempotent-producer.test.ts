// How an idempotent producer numbers what it sends, sends again and gives up, on a clock that the test moves and a wire that it plays.

import { describe, expect, test } from 'vitest';
import { Sluice, SluiceError, type Producer, type ProducerOptions } from '@sluice/client';
import { BatchView } from '@sluice/protocol/record';
import { LinkFailure } from '../../sdk/transport/transport.ts';
import { ManualClock, ManualRandom, settled } from './manual-runtime.ts';
import { ScriptedWire } from './scripted-wire.ts';

interface World {
  readonly clock: ManualClock;
  readonly wire: ScriptedWire;
  readonly producer: Producer<Uint8Array | string, Uint8Array | string>;
  /** Of the frames of the present stream: who signed, in which epoch, from which sequence on, and what. */
  readonly signed: () => string[];
  readonly send: (...values: string[]) => Promise<Promise<string>[]>;
}

const world = (options: Partial<ProducerOptions> & { partitionCount?: number } = {}): World => {
  const { partitionCount = 1, ...rest } = options;
  const clock = new ManualClock();
  const wire = new ScriptedWire({ name: 't', partitionCount });
  const sluice = new Sluice({ servers: ['script:1'] }, { clock, random: new ManualRandom(), transport: wire });
  const producer = sluice.producer({ topic: 't', lingerMs: 0, ...rest });
  return {
    clock,
    wire,
    producer,
    signed: () =>
      wire.stream.frames.map(({ batches }, index) => {
        const { producerId, producerEpoch, baseSequence } = new BatchView(batches);
        return `${producerId}/${producerEpoch}/${baseSequence} ${wire.stream.values(index).join(',')}`;
      }),
    /** Each its own batch. What became of it: its offset, or the code and whether it may be written. */
    send: async (...values) => {
      const outcomes: Promise<string>[] = [];
      for (const value of values) {
        const sent = producer.send({ value, partition: 0 }).then(
          delivery => `${delivery.offset}`,
          (error: SluiceError) => `${error.code} ${error.outcome ?? 'not written'}`,
        );
        outcomes.push(sent);
        await settled();
        await clock.advance(0);
      }
      return outcomes;
    },
  };
};

describe('the identity of a producer', () => {
  test('is asked for once, and signs the batches of each partition from 0 on', async () => {
    const { wire, producer, clock, signed } = world({ partitionCount: 2 });
    producer.enqueue({ value: 'a', partition: 0 });
    producer.enqueue({ value: 'b', partition: 0 });
    producer.enqueue({ value: 'c', partition: 1 });
    await settled();
    await clock.advance(0);
    producer.enqueue({ value: 'd', partition: 0 });
    await settled();
    await clock.advance(0);
    expect(signed()).toEqual(['7/0/0 a,b', '7/0/0 c', '7/0/2 d']);
    expect(wire.identities).toEqual([]);
    producer.close();
  });

  test('is asked for again until it comes, and nothing is sent before', async () => {
    const { wire, clock, producer, send, signed } = world();
    wire.identities.unshift(
      new LinkFailure('script:1', 'call', 'cut'),
      new SluiceError('COORDINATOR_LOADING', 'not yet'),
    );
    const [sent] = await send('a');
    expect(wire.streams.flatMap(stream => stream.frames)).toEqual([]);
    await clock.advance(1_000);
    expect(signed()).toEqual(['7/0/0 a']);
    wire.stream.ack(0, 3);
    expect(await sent).toBe('3');
    producer.close();
  });

  test('that is refused for good refuses what waits for it', async () => {
    const { wire, send } = world();
    wire.identities.unshift(new SluiceError('FORBIDDEN', 'no producers here'));
    const [sent] = await send('a');
    expect(await sent).toBe('FORBIDDEN not written');
  });

  test('needs all acknowledgements, and at most five batches on the wire', async () => {
    expect(() => world({ acks: 'leader', idempotent: true })).toThrow(/acks: 'all'/);
    expect(() => world({ inFlightMax: 6 })).toThrow(/at most 5 batches/);
    const { producer, send, signed } = world({ acks: 'leader', inFlightMax: 6 });
    expect(await send('a')).toHaveLength(1);
    expect(signed()).toEqual(['-1/-1/-1 a']);
    producer.close();
  });
});

describe('what was written and not answered', () => {
  test('is sent again as it was, in its order, when the connection is lost', async () => {
    const { clock, wire, producer, send, signed } = world();
    const sent = await send('a', 'b', 'c');
    expect(signed()).toEqual(['7/0/0 a', '7/0/1 b', '7/0/2 c']);
    wire.stream.ack(0, 10);
    wire.stream.break();
    await clock.advance(1_000);
    expect(signed()).toEqual(['7/0/1 b', '7/0/2 c']);
    wire.stream.ack(0, 11);
    wire.stream.ack(1, 12);
    expect(await Promise.all(sent)).toEqual(['10', '11', '12']);
    producer.close();
  });

  test('is sent again when the broker does not know what became of it', async () => {
    const { clock, wire, producer, send, signed } = world();
    const [sent] = await send('a');
    wire.stream.refuse(0, 'NOT_LEADER', { outcome: 'unknown' });
    await clock.advance(1_000);
    wire.stream.refuse(1, 'REQUEST_TIMED_OUT', { outcome: 'unknown' });
    await clock.advance(1_000);
    expect(signed()).toEqual(['7/0/0 a', '7/0/0 a', '7/0/0 a']);
    wire.stream.ack(2, 5);
    expect(await sent).toBe('5');
    producer.close();
  });

  test('and written before the broker can say where, is done', async () => {
    const { wire, producer, send, signed } = world();
    const [sent] = await send('a');
    wire.stream.refuse(0, 'DUPLICATE_SEQUENCE');
    expect(await sent).toBe('-1');
    expect(await send('b')).toHaveLength(1);
    expect(signed().at(-1)).toBe('7/0/1 b');
    producer.close();
  });
});

describe('a gap', () => {
  test('behind a batch that is refused for now is none: all go again with their numbers', async () => {
    const { clock, wire, producer, send, signed } = world();
    const sent = await send('a', 'b');
    wire.stream.refuse(0, 'NOT_LEADER');
    wire.stream.refuse(1, 'OUT_OF_ORDER_SEQUENCE', { expected_sequence: '0' });
    await clock.advance(1_000);
    expect(signed().slice(2)).toEqual(['7/0/0 a', '7/0/1 b']);
    wire.stream.ack(2, 0);
    wire.stream.ack(3, 1);
    expect(await Promise.all(sent)).toEqual(['0', '1']);
    producer.close();
  });

  test('behind a batch that is refused for good is closed by a new epoch, in which the rest is numbered anew', async () => {
    const { clock, wire, producer, send, signed } = world();
    const sent = await send('a', 'b', 'c');
    wire.stream.refuse(0, 'INVALID_TIMESTAMP');
    wire.stream.refuse(1, 'OUT_OF_ORDER_SEQUENCE');
    wire.stream.refuse(2, 'OUT_OF_ORDER_SEQUENCE');
    await clock.advance(1_000);
    expect(signed().slice(3)).toEqual(['7/1/0 b', '7/1/1 c']);
    wire.stream.ack(3, 0);
    wire.stream.ack(4, 1);
    expect(await Promise.all(sent)).toEqual(['INVALID_TIMESTAMP not written', '0', '1']);
    producer.close();
  });

  test('behind a batch that was given up begins a new epoch only when that is known', async () => {
    const { clock, wire, producer, send, signed } = world({ deliveryTimeoutMs: 500, inFlightMax: 2 });
    const [first] = await send('a');
    await clock.advance(400);
    const [second] = await send('b');
    await clock.advance(100);
    expect(await first).toBe('REQUEST_TIMED_OUT unknown');
    wire.stream.break();
    await clock.advance(200);
    // The broker takes it for the next one where `a` was written, and the producer hears where it was not.
    expect(signed()).toEqual(['7/0/1 b']);
    wire.stream.refuse(0, 'OUT_OF_ORDER_SEQUENCE');
    await clock.advance(100);
    expect(signed()).toEqual(['7/0/1 b', '7/1/0 b']);
    wire.stream.ack(1, 4);
    expect(await second).toBe('4');
    producer.close();
  });

  test('of a batch that expired before it was ever sent is none', async () => {
    const { clock, wire, producer, send, signed } = world({ deliveryTimeoutMs: 500 });
    const [warm] = await send('warm');
    wire.stream.ack(0, 0);
    await warm;
    wire.stream.takesMore = false;
    const [first] = await send('a');
    wire.stream.ack(1, 1);
    expect(await first).toBe('1');
    const [second] = await send('b');
    await clock.advance(400);
    const [third] = await send('c');
    await clock.advance(100);
    expect(await second).toBe('REQUEST_TIMED_OUT not written');
    wire.stream.takesMore = true;
    wire.stream.drain();
    expect(signed()).toEqual(['7/0/0 warm', '7/0/1 a', '7/0/2 c']);
    wire.stream.ack(2, 2);
    expect(await third).toBe('2');
    producer.close();
  });
});

describe('a producer that the broker forgot', () => {
  test('goes on in a new epoch with what was certainly not written', async () => {
    const { clock, wire, producer, send, signed } = world();
    const [first] = await send('a');
    wire.stream.ack(0, 0);
    await first;
    const sent = await send('b', 'c');
    wire.stream.refuse(1, 'UNKNOWN_PRODUCER_ID');
    wire.stream.refuse(2, 'UNKNOWN_PRODUCER_ID');
    await clock.advance(1_000);
    expect(signed().slice(3)).toEqual(['7/1/0 b', '7/1/1 c']);
    wire.stream.ack(3, 1);
    wire.stream.ack(4, 2);
    expect(await Promise.all(sent)).toEqual(['1', '2']);
    producer.close();
  });

  test('does not send again what may have been written', async () => {
    const { clock, wire, producer, send, signed } = world();
    const [first] = await send('a');
    wire.stream.ack(0, 0);
    await first;
    const [maybe] = await send('b');
    wire.stream.break();
    await clock.advance(1_000);
    expect(signed()).toEqual(['7/0/1 b']);
    wire.stream.refuse(0, 'UNKNOWN_PRODUCER_ID');
    expect(await maybe).toBe('REQUEST_TIMED_OUT unknown');
    const [next] = await send('c');
    await clock.advance(1_000);
    expect(signed().at(-1)).toBe('7/1/0 c');
    wire.stream.ack(1, 9);
    expect(await next).toBe('9');
    producer.close();
  });
});

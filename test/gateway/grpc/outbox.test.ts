// What may be on its way out at once, and in which turn, over a stream whose reader takes messages when told to.

import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { Outbox } from '../../../server/gateway/grpc/outbox.ts';
import { OutgoingBudget, type OutgoingQueue } from '../../../server/gateway/outgoing-budget.ts';
import { realClock } from '../../../server/io/real/clock.ts';

/** A transport that takes one message each time it is told to. */
const transport = (): { call: Writable; takeOne: () => void; taken: string[] } => {
  const taken: string[] = [];
  const pending: (() => void)[] = [];
  const call = new Writable({
    objectMode: true,
    write(message: string, _encoding, callback) {
      pending.push(() => {
        taken.push(message);
        callback();
      });
    },
  });
  return { call, taken, takeOne: () => pending.shift()?.() };
};

/** In a budget that is never short. */
const ownQueue = (): OutgoingQueue => new OutgoingBudget(realClock, 1_000_000).open('grpc', () => {});

const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) {
    await new Promise(resolve => {
      setImmediate(resolve);
    });
  }
};

test('what can wait is made only when there is room, first come, first served', async () => {
  const { call, taken, takeOne } = transport();
  const outbox = new Outbox<string>(call, { bytesMax: 10, messagesMax: 100, queue: ownQueue() }, () => {});
  const made: string[] = [];
  const send = (name: string): Promise<void> =>
    outbox.send(() => {
      made.push(name);
      return { message: name, bytes: 10 };
    });
  const all = Promise.all(['a', 'b', 'c'].map(send));
  await settled();
  expect(made).toEqual(['a']);
  takeOne();
  await settled();
  expect(made).toEqual(['a', 'b']);
  takeOne();
  await settled();
  expect(made).toEqual(['a', 'b', 'c']);
  await all;
  takeOne();
  await settled();
  expect(taken).toEqual(['a', 'b', 'c']);
});

test('one that has nothing to say any more passes its turn on', async () => {
  const { call, takeOne } = transport();
  const outbox = new Outbox<string>(call, { bytesMax: 10, messagesMax: 100, queue: ownQueue() }, () => {});
  const made: string[] = [];
  await outbox.send(() => ({ message: 'a', bytes: 10 }));
  const silent = outbox.send(() => null);
  const last = outbox.send(() => {
    made.push('last');
    return { message: 'last', bytes: 10 };
  });
  takeOne();
  await Promise.all([silent, last]);
  expect(made).toEqual(['last']);
});

test('an answer is put whatever waits, and many of them make it crowded until they are taken', async () => {
  const { call, takeOne } = transport();
  let roomMade = 0;
  const outbox = new Outbox<string>(call, { bytesMax: 1_000, messagesMax: 2, queue: ownQueue() }, () => roomMade++);
  outbox.put('a', 1);
  expect(outbox.isCrowded).toBe(false);
  outbox.put('b', 1);
  expect(outbox.isCrowded).toBe(true);
  takeOne();
  await settled();
  expect(outbox.isCrowded).toBe(false);
  expect(roomMade).toBe(1);
});

test('when the call is gone nobody waits and nothing is made', async () => {
  const { call } = transport();
  const outbox = new Outbox<string>(call, { bytesMax: 10, messagesMax: 100, queue: ownQueue() }, () => {});
  await outbox.send(() => ({ message: 'a', bytes: 10 }));
  let isMade = false;
  const waiting = outbox.send(() => {
    isMade = true;
    return null;
  });
  call.destroy();
  await waiting;
  expect(isMade).toBe(false);
  expect(outbox.isClosed).toBe(true);
});

test('with nothing of its own on the way it waits until clients of others make room', async () => {
  const { call } = transport();
  const budget = new OutgoingBudget(realClock, 10);
  const other = budget.open('rest', () => {});
  other.add(10);
  const outbox = new Outbox<string>(
    call,
    { bytesMax: 10, messagesMax: 100, queue: budget.open('grpc', () => {}) },
    () => {},
  );
  const made: string[] = [];
  const sent = outbox.send(() => {
    made.push('a');
    return { message: 'a', bytes: 10 };
  });
  await settled();
  expect(made).toEqual([]);
  other.taken(10);
  await sent;
  expect(made).toEqual(['a']);
});

// What may be on its way out at once, and in which turn, over a stream whose reader takes messages when told to.

import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { Outbox } from '../../../server/gateway/grpc/outbox.ts';

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

const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) {
    await new Promise(resolve => {
      setImmediate(resolve);
    });
  }
};

test('what can wait is made only when there is room, first come, first served', async () => {
  const { call, taken, takeOne } = transport();
  const outbox = new Outbox<string>(call, { bytesMax: 10, messagesMax: 100 }, () => {});
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
  const outbox = new Outbox<string>(call, { bytesMax: 10, messagesMax: 100 }, () => {});
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
  const outbox = new Outbox<string>(call, { bytesMax: 1_000, messagesMax: 2 }, () => roomMade++);
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
  const outbox = new Outbox<string>(call, { bytesMax: 10, messagesMax: 100 }, () => {});
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

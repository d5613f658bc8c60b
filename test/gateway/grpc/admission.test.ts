// Messages that arrive in pieces at a live door, with a byte budget and a clock that the test holds in its hand: what finds no
// room, or takes too long, has its stream reset, and gives back what it held.

import { constants } from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { ProduceRequestSchema } from '@sluice/protocol/services';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MESSAGE_MS_MAX } from '../../../server/base/limits.ts';
import { createLogger } from '../../../server/base/logger.ts';
import { createMetrics } from '../../../server/base/metrics.ts';
import { BodyBudget } from '../../../server/gateway/body-budget.ts';
import type { Listener } from '../../../server/gateway/gateway.ts';
import { listenGrpc } from '../../../server/gateway/grpc/listen.ts';
import { LoopShare } from '../../../server/gateway/loop-share.ts';
import { OutgoingBudget } from '../../../server/gateway/outgoing-budget.ts';
import { RecordFeeds } from '../../../server/gateway/record-feed.ts';
import { realClock } from '../../../server/io/real/clock.ts';
import { realRandom } from '../../../server/io/real/random.ts';
import { TurnedClock } from '../turned-clock.ts';
import { RawClient } from './raw-client.ts';
import { frame, UnreadCall } from './unread-call.ts';

const PRODUCE = '/sluice.v1.ProduceService/Produce';
const BUDGET_BYTES = 10_000;

let broker: TestBroker;
let clock: TurnedClock;
let budget: BodyBudget;
let door: Listener;
let client: RawClient;

beforeEach(async () => {
  broker = await startBroker();
  clock = new TurnedClock();
  budget = new BodyBudget(BUDGET_BYTES);
  const loopShare = new LoopShare(realClock, 4);
  door = await listenGrpc(
    {
      broker: broker.broker,
      clock,
      random: realRandom,
      logger: createLogger('silent'),
      metrics: createMetrics(),
      bodyBudget: budget,
      outgoing: new OutgoingBudget(realClock, 1_000_000),
      loopShare,
      recordFeeds: new RecordFeeds(broker.broker, loopShare),
      version: 'test',
    },
    { listen: { host: '127.0.0.1', port: 0 } },
  );
  client = new RawClient(door.address);
  await client.createTopic('t');
});

afterEach(async () => {
  client.close();
  await door.close();
  await broker.stop();
});

const message = (valueBytes: number): Uint8Array =>
  frame(
    toBinary(
      ProduceRequestSchema,
      create(ProduceRequestSchema, { id: 1n, topic: 't', records: [{ value: new Uint8Array(valueBytes) }] }),
    ),
  );

const ping = (call: UnreadCall): Promise<void> =>
  new Promise((resolve, reject) => {
    call.stream.session!.ping(error => (error === null ? resolve() : reject(error)));
  });

/** Until the door holds so many bytes: what was sent before a ping is there with its answer, or one later. */
const untilHeld = async (call: UnreadCall, bytes: number): Promise<void> => {
  while (budget.usedBytes !== bytes) await ping(call);
};

/** The code that the broker resets the stream with. */
const resetOf = (call: UnreadCall): Promise<number> =>
  new Promise(resolve => call.stream.once('close', () => resolve(call.stream.rstCode)));

const expectServing = async (): Promise<void> => {
  const stream = client.produce();
  stream.write({ id: 7n, topic: 't', records: [{ value: Buffer.from('v') }] });
  expect(await stream.only()).toMatchObject({ id: 7n, result: { case: 'ack' } });
  stream.end();
  await stream.status;
};

test('a part of a message is counted as it comes, and given back when its client is gone', async () => {
  const call = new UnreadCall(door.address, PRODUCE);
  const watcher = new UnreadCall(door.address, PRODUCE);
  await call.sendBytes(message(5_000).subarray(0, 3_000));
  await untilHeld(call, 3_000);
  await call.sendBytes(message(5_000).subarray(3_000, 4_000));
  await untilHeld(call, 4_000);
  call.close();
  await untilHeld(watcher, 0);
  watcher.close();
});

test('a message that finds no room has its stream reset, others are served, and the room comes back', async () => {
  const first = new UnreadCall(door.address, PRODUCE);
  await first.sendBytes(message(9_000).subarray(0, 8_000));
  await untilHeld(first, 8_000);
  const second = new UnreadCall(door.address, PRODUCE);
  const reset = resetOf(second);
  await second.sendBytes(message(9_000).subarray(0, 1_500));
  await untilHeld(second, 9_500);
  await second.sendBytes(message(9_000).subarray(1_500, 3_000));
  expect(await reset).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  // What the refused one held is free, and what the other holds is not.
  await untilHeld(first, 8_000);
  await expectServing();
  first.close();
  second.close();
});

test('a message that takes too long has its stream reset; one that ends in time has a new time for the next', async () => {
  const slow = new UnreadCall(door.address, PRODUCE);
  const steady = new UnreadCall(door.address, PRODUCE);
  const part = message(2_000).subarray(0, 1_000);
  await slow.sendBytes(part);
  await untilHeld(slow, 1_000);
  await steady.sendBytes(part);
  await untilHeld(steady, 2_000);
  // The steady one becomes whole, and the next one has begun when its time is looked at.
  await steady.sendBytes(message(2_000).subarray(1_000));
  await steady.response();
  await steady.sendBytes(part);
  await untilHeld(steady, 2_000);
  const reset = resetOf(slow);
  expect(clock.elapse(MESSAGE_MS_MAX)).toBe(2);
  expect(await reset).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  await untilHeld(steady, 1_000);
  expect(steady.stream.closed).toBe(false);
  const late = resetOf(steady);
  expect(clock.elapse(MESSAGE_MS_MAX)).toBe(1);
  expect(await late).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  await expectServing();
  expect(budget.usedBytes).toBe(0);
  slow.close();
  steady.close();
});

test('a call without a message under way is never late', async () => {
  const call = new UnreadCall(door.address, PRODUCE);
  await call.sendBytes(message(2_000).subarray(0, 1_000));
  await untilHeld(call, 1_000);
  await call.sendBytes(message(2_000).subarray(1_000));
  await call.response();
  await untilHeld(call, 0);
  expect(clock.elapse(MESSAGE_MS_MAX)).toBe(1);
  await ping(call);
  expect(call.stream.closed).toBe(false);
  call.close();
});

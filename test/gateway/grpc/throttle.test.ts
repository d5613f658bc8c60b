// A door of its own before a real broker, with a byte budget that the test holds in its hand.

import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
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
import { RawClient } from './raw-client.ts';

const bodyBudget = new BodyBudget(1_000);
let broker: TestBroker;
let door: Listener;
let client: RawClient;

beforeAll(async () => {
  broker = await startBroker();
  const loopShare = new LoopShare(realClock, 4);
  const context = {
    broker: broker.broker,
    clock: realClock,
    random: realRandom,
    logger: createLogger('silent'),
    metrics: createMetrics(),
    bodyBudget,
    outgoing: new OutgoingBudget(realClock, 1_000_000),
    loopShare,
    recordFeeds: new RecordFeeds(broker.broker, loopShare),
    version: 'test',
  };
  door = await listenGrpc(context, { listen: { host: '127.0.0.1', port: 0 } });
  client = new RawClient(door.address);
  await client.createTopic('t');
});

afterAll(async () => {
  client.close();
  await door.close();
  await broker.stop();
});

test('beyond the budget of all doors a request is refused, in order, and may be sent again', async () => {
  const stream = client.produce();
  const records = [{ value: Buffer.alloc(600) }];
  expect(bodyBudget.reserve(600)).toBe(true);
  stream.write({ id: 1n, topic: 't', records });
  expect(await stream.only()).toMatchObject({
    id: 1n,
    result: { case: 'error', value: { code: 'THROTTLED', retriable: true } },
  });
  bodyBudget.release(600);
  stream.write({ id: 1n, topic: 't', records });
  expect(await stream.only()).toMatchObject({ id: 1n, result: { case: 'ack', value: { baseOffset: 0n } } });
  stream.end();
});

test('what was answered is given back to the budget, refusals included', async () => {
  const stream = client.produce();
  for (let id = 0n; id < 50n; id++) {
    stream.write({ id, topic: id % 2n === 0n ? 't' : 'no-such-topic', records: [{ value: Buffer.alloc(100) }] });
    await stream.only();
  }
  stream.end();
  await stream.status;
  expect(bodyBudget.usedBytes).toBe(0);
});

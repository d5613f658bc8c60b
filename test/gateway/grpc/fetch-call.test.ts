// A fetch call over a transport of which the test says when it is gone.

import { EventEmitter } from 'node:events';
import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { FetchRequestSchema, type FetchRequest } from '@sluice/protocol/services';
import { expect, test } from 'vitest';
import { createLogger } from '../../../server/base/logger.ts';
import { createMetrics } from '../../../server/base/metrics.ts';
import type { Broker } from '../../../server/broker/broker.ts';
import { BodyBudget } from '../../../server/gateway/body-budget.ts';
import type { GatewayContext } from '../../../server/gateway/gateway.ts';
import { FetchCall } from '../../../server/gateway/grpc/fetch.ts';
import { OpenCalls } from '../../../server/gateway/grpc/open-calls.ts';
import type { ReadGate } from '../../../server/gateway/grpc/read-gate.ts';
import type { FetchAnswer } from '../../../server/gateway/grpc/read.ts';
import { LoopShare } from '../../../server/gateway/loop-share.ts';
import { OutgoingBudget } from '../../../server/gateway/outgoing-budget.ts';
import { RecordFeeds } from '../../../server/gateway/record-feed.ts';
import { realClock } from '../../../server/io/real/clock.ts';
import { realRandom } from '../../../server/io/real/random.ts';

const FETCHES_MAX = 100;

test('a read that is opened when its call is gone asks for nothing for ever', async () => {
  let asked = 0;
  const broker = {
    findTopic: () => ({ name: 't', id: 'an id' }),
    listOffsets: () => {
      const offsets = { partition: 0, earliestOffset: 0, highWatermark: 1, lastStableOffset: 1, found: null };
      return Promise.resolve({ ok: true, value: [offsets] });
    },
    fetch: () => {
      // Every promise of it is settled at once: without an end nothing else would ever run in this process.
      if (++asked > FETCHES_MAX) throw new Error('it asks for ever');
      const batches = [new Uint8Array(100)];
      const piece = { partition: 0, batches, nextOffset: 1, earliestOffset: 0, highWatermark: 1, lastStableOffset: 1 };
      return Promise.resolve({ ok: true, value: [piece] });
    },
  } as unknown as Broker;
  const metrics = createMetrics();
  const loopShare = new LoopShare(realClock, 1);
  const context: GatewayContext = {
    broker,
    clock: realClock,
    random: realRandom,
    logger: createLogger('silent'),
    metrics,
    bodyBudget: new BodyBudget(1_000_000),
    outgoing: new OutgoingBudget(realClock, 1_000_000),
    loopShare,
    recordFeeds: new RecordFeeds(broker, loopShare),
    version: '0',
  };
  const gate: ReadGate = { hold: () => {}, release: () => {}, cut: () => {} };
  const call = Object.assign(new EventEmitter(), { write: () => true, end: () => {} });
  const calls = new OpenCalls(context);
  const fetchCall = new FetchCall(context, call as unknown as ServerDuplexStream<FetchRequest, FetchAnswer>, {
    gate,
    calls,
    metrics: metrics.verb('grpc', 'fetch'),
  });
  fetchCall.start();
  call.emit('cancelled');
  call.emit('data', create(FetchRequestSchema, { request: { case: 'open', value: { stream: 1, topic: 't' } } }));
  await new Promise(resolve => {
    setImmediate(resolve);
  });
  expect(asked).toBe(0);
});

// The WebSocket door on a socket of its own: pings with a clock that the test turns, the common byte budget, hostile
// clients, and handshakes while it drains.

import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../server/base/logger.ts';
import { createMetrics } from '../../../server/base/metrics.ts';
import { BodyBudget } from '../../../server/gateway/body-budget.ts';
import { LoopShare } from '../../../server/gateway/loop-share.ts';
import { OutgoingBudget } from '../../../server/gateway/outgoing-budget.ts';
import { OriginRule } from '../../../server/gateway/origin-rule.ts';
import { RecordFeeds } from '../../../server/gateway/record-feed.ts';
import { WebSocketDoor } from '../../../server/gateway/websocket/door.ts';
import { realClock } from '../../../server/io/real/clock.ts';
import { realRandom } from '../../../server/io/real/random.ts';
import { TestSocket } from '../../integration/web-socket-client.ts';
import { TurnedClock } from '../turned-clock.ts';

const BUDGET_BYTES = 1_000_000;
const PING_MS = 20_000;

let broker: TestBroker;
let clock: TurnedClock;
let bodyBudget: BodyBudget;
let door: WebSocketDoor;
let server: Server;
let http: string;

beforeEach(async () => {
  broker = await startBroker();
  clock = new TurnedClock();
  bodyBudget = new BodyBudget(BUDGET_BYTES);
  const loopShare = new LoopShare(realClock, 4);
  door = new WebSocketDoor(
    {
      broker: broker.broker,
      clock,
      random: realRandom,
      logger: createLogger('silent'),
      metrics: createMetrics(),
      bodyBudget,
      outgoing: new OutgoingBudget(realClock, 100_000_000),
      loopShare,
      recordFeeds: new RecordFeeds(broker.broker, loopShare),
      version: 'test',
    },
    OriginRule.of({ host: '127.0.0.1', hostNames: [], allowOrigins: [] }),
  );
  server = createServer();
  server.on('upgrade', (request, socket, head) => door.upgrade(request, socket, head));
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  http = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  await door.close();
  await new Promise(resolve => {
    server.close(resolve);
  });
  await broker.stop();
});

const pinged = (socket: TestSocket): Promise<void> =>
  new Promise(resolve => {
    socket.raw.once('ping', () => resolve());
  });

/** An answer is behind everything that was sent before it. */
const settled = (socket: TestSocket): Promise<unknown> =>
  socket.ask({ id: 'settled', op: 'unsubscribe', subscription: 's9' });

describe('pings', () => {
  it('come every 20 seconds to who says nothing, and who answers stays', async () => {
    await using socket = await TestSocket.open(http);
    await settled(socket);
    for (let round = 0; round < 3; round++) {
      const ping = pinged(socket);
      clock.elapse(PING_MS);
      await ping;
      // The pong is before this.
      await settled(socket);
    }
    expect(socket.raw.readyState).toBe(socket.raw.OPEN);
  });

  it('that are not answered until the next is due end the connection', async () => {
    await using socket = await TestSocket.open(http);
    await settled(socket);
    socket.raw.pong = () => {};
    const ping = pinged(socket);
    clock.elapse(PING_MS);
    await ping;
    await settled(socket);
    clock.elapse(PING_MS);
    expect((await socket.closed).code).toBe(1006);
  });
});

describe('memory', () => {
  it('of a message that is not whole is counted, and given back when it is or its client is gone', async () => {
    await using socket = await TestSocket.open(http);
    socket.raw.send(' '.repeat(500_000), { fin: false });
    await settledBudget(used => used >= 400_000);
    socket.raw.send(' ', { fin: true });
    expect((await socket.next()).problem?.code).toBe('INVALID_REQUEST');
    await settled(socket);
    expect(bodyBudget.usedBytes).toBe(0);
    socket.raw.send(' '.repeat(500_000), { fin: false });
    await settledBudget(used => used >= 400_000);
    socket.raw.terminate();
    await settledBudget(used => used === 0);
  });

  it('that is used up refuses a request that fits in no more, and closes half of one with 1013', async () => {
    await broker.broker.createTopic({ name: 't', partitionCount: 1, replicationFactor: 1, config: {} });
    await using socket = await TestSocket.open(http);
    await using other = await TestSocket.open(http);
    bodyBudget.reserve(BUDGET_BYTES - 1_000);
    const records = [{ value: 'x'.repeat(2_000) }];
    const refusal = await socket.ask({ id: 1, op: 'produce', topic: 't', records });
    expect(refusal.problem).toMatchObject({ code: 'THROTTLED', status: 429 });
    const fits = await socket.ask({ id: 2, op: 'produce', topic: 't', records: [{ value: 1 }] });
    expect(fits.op).toBe('produced');
    other.raw.send(' '.repeat(100_000), { fin: false });
    expect((await other.next()).problem).toMatchObject({ code: 'THROTTLED' });
    expect((await other.closed).code).toBe(1013);
    await settled(socket);
    expect(bodyBudget.usedBytes).toBe(BUDGET_BYTES - 1_000);
  });

  it('of pings between the pieces of a message is not counted', async () => {
    await using socket = await TestSocket.open(http);
    socket.raw.send(' '.repeat(20_000), { fin: false });
    await settledBudget(used => used > 0);
    const before = bodyBudget.usedBytes;
    for (let count = 0; count < 50; count++) {
      const pong = new Promise(resolve => {
        socket.raw.once('pong', resolve);
      });
      socket.raw.ping('x'.repeat(125));
      await pong;
    }
    expect(bodyBudget.usedBytes).toBe(before);
  });

  it('of answers that are not taken is bounded by not reading on, and all of them come once they are', async () => {
    // More than the kernel takes: each answer has about 300 bytes.
    const FRAMES = 40_000;
    await using socket = await TestSocket.open(http);
    await using other = await TestSocket.open(http);
    socket.raw.removeAllListeners('message');
    socket.raw.pause();
    for (let count = 0; count < FRAMES; count++) socket.raw.send('x');
    await settled(other);
    const all = new Promise<void>(resolve => {
      let answers = 0;
      socket.raw.on('message', () => {
        if (++answers === FRAMES) resolve();
      });
    });
    socket.raw.resume();
    await all;
    expect(socket.raw.readyState).toBe(socket.raw.OPEN);
  });
});

describe('a door that drains', () => {
  it('refuses handshakes with SHUTTING_DOWN and requests too, and closes with 1012', async () => {
    await using socket = await TestSocket.open(http);
    await settled(socket);
    const drained = door.drain();
    expect(await socket.next()).toMatchObject({ op: 'draining' });
    await expect(TestSocket.open(http)).rejects.toThrow('503');
    expect((await socket.closed).code).toBe(1012);
    await drained;
  });

  it('does not wait for ever for who does not answer', async () => {
    await using socket = await TestSocket.open(http);
    await settled(socket);
    socket.raw.pause();
    const drained = door.drain();
    clock.elapse(5_000);
    await drained;
  });
});

const settledBudget = async (wanted: (used: number) => boolean): Promise<void> => {
  while (!wanted(bodyBudget.usedBytes)) {
    await new Promise(resolve => {
      setImmediate(resolve);
    });
  }
};

// The largest number of WebSockets, over connections without a descriptor each: the door sees what it would see of sockets.

import { createServer, type Server } from 'node:http';
import { duplexPair, type Duplex } from 'node:stream';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WEBSOCKET_CONNECTIONS_MAX } from '../../../server/base/limits.ts';
import { createLogger } from '../../../server/base/logger.ts';
import { createMetrics } from '../../../server/base/metrics.ts';
import { BodyBudget } from '../../../server/gateway/body-budget.ts';
import { LoopShare } from '../../../server/gateway/loop-share.ts';
import { OriginRule } from '../../../server/gateway/origin-rule.ts';
import { OutgoingBudget } from '../../../server/gateway/outgoing-budget.ts';
import { RecordFeeds } from '../../../server/gateway/record-feed.ts';
import { WebSocketDoor } from '../../../server/gateway/websocket/door.ts';
import { realClock } from '../../../server/io/real/clock.ts';
import { realRandom } from '../../../server/io/real/random.ts';

let broker: TestBroker;
let door: WebSocketDoor;
let server: Server;

beforeAll(async () => {
  broker = await startBroker();
  const loopShare = new LoopShare(realClock, 4);
  door = new WebSocketDoor(
    {
      broker: broker.broker,
      clock: realClock,
      random: realRandom,
      logger: createLogger('silent'),
      metrics: createMetrics(),
      bodyBudget: new BodyBudget(1_000_000),
      outgoing: new OutgoingBudget(realClock, 100_000_000),
      loopShare,
      recordFeeds: new RecordFeeds(broker.broker, loopShare),
      version: 'test',
    },
    OriginRule.of({ host: '127.0.0.1', hostNames: [], allowOrigins: [] }),
  );
  server = createServer();
  server.on('upgrade', (request, socket, head) => door.upgrade(request, socket, head));
});

afterAll(async () => {
  await door.close();
  await broker.stop();
});

const HANDSHAKE =
  'GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

/** A close frame without a status, masked by zeros. */
const CLOSE = Buffer.from([0x88, 0x80, 0, 0, 0, 0]);

/** The client's end, and the head of what it was answered. */
const connect = async (): Promise<{ readonly socket: Duplex; readonly answer: string }> => {
  const [socket, accepted] = duplexPair();
  server.emit('connection', accepted);
  socket.write(HANDSHAKE);
  const answer = await new Promise<string>(resolve =>
    socket.once('data', (bytes: Buffer) => resolve(bytes.toString())),
  );
  return { socket, answer };
};

test('as many as are allowed are taken, the next is told to come again, and does when one has gone', async () => {
  let last: Duplex | null = null;
  for (let count = 0; count < WEBSOCKET_CONNECTIONS_MAX; count++) {
    const { socket, answer } = await connect();
    if (!answer.startsWith('HTTP/1.1 101 ')) throw new Error(`connection ${count}: ${answer}`);
    last = socket;
  }
  const { answer } = await connect();
  expect(answer).toMatch(/^HTTP\/1\.1 429 /);
  expect(answer).toContain('Retry-After: 1\r\n');
  expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({
    code: 'THROTTLED',
    retriable: true,
    limit: WEBSOCKET_CONNECTIONS_MAX,
  });
  const gone = new Promise(resolve => last!.once('end', resolve));
  last!.resume();
  last!.end(CLOSE);
  await gone;
  expect((await connect()).answer).toMatch(/^HTTP\/1\.1 101 /);
  expect((await connect()).answer).toMatch(/^HTTP\/1\.1 429 /);
});

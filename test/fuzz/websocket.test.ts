// Whatever is sent to the WebSocket door, it answers as the contract says: never INTERNAL, never a crash, and it still works
// afterwards. How many frames, and which: fuzzed-broker.ts.

import * as fc from 'fast-check';
import { errorTable, isErrorCode } from '@sluice/protocol/errors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sendBytes } from '../integration/http-call.ts';
import type { Frame } from '../integration/web-socket-client.ts';
import { TestSocket } from '../integration/web-socket-client.ts';
import { FUZZ_TEST_MS, FuzzedBroker, NEVER, plan } from './fuzzed-broker.ts';

let broker: FuzzedBroker;
beforeAll(async () => {
  broker = await FuzzedBroker.start('WebSocket');
});
afterAll(() => broker.stop());

const OPS = new Set(['produced', 'subscribed', 'unsubscribed', 'records', 'error']);

const judge = (frame: Frame): void => {
  expect(OPS).toContain(frame.op);
  if (frame.op !== 'error') return;
  const { code, status } = frame.problem!;
  if (!isErrorCode(code)) throw new Error(`not a code: ${code}`);
  expect(status).toBe(errorTable[code].http);
  if (NEVER.has(code) || status >= 500) throw new Error(JSON.stringify(frame));
};

/** Behind everything before it, and the proof that the connection still works. */
const stillWorks = async (socket: TestSocket): Promise<void> => {
  // Requests under way may still fill all places.
  for (let attempt = 0; ; attempt++) {
    const answer = await socket.ask({ id: `end${attempt}`, op: 'produce', topic: 't', records: [{ value: 1 }] });
    if (answer.op === 'produced') return;
    expect(answer.problem?.code).toBe('THROTTLED');
  }
};

const scalar = fc.oneof(
  fc.constantFrom<unknown>(null, true, 0, 1, -1, 0.5, 1e300, 2 ** 53, '', 't', 's1', 's2', 'earliest', 'all', [], {}),
  fc.string({ maxLength: 8 }),
  fc.integer(),
);
const record = fc.oneof(
  fc.constant({ value: 1 }),
  fc.dictionary(
    fc.constantFrom('key', 'value', 'value_text', 'headers', 'partition', 'timestamp', 'x'),
    fc.jsonValue(),
    {
      maxKeys: 4,
    },
  ),
  scalar,
);
const member = fc.oneof(
  fc.tuple(
    fc.constantFrom(
      'topic',
      'records',
      'acks',
      'timeout_ms',
      'compression',
      'partition',
      'partitions',
      'from',
      'offset',
      'timestamp',
      'tail',
      'cursor',
      'isolation',
      'values',
      'reset',
      'max_bytes',
      'credit',
      'subscription',
      'bytes',
      '__proto__',
      'constructor',
    ),
    fc.oneof(scalar, fc.record({ records: scalar, bytes: scalar })),
  ),
  fc.tuple(fc.constant('topic'), fc.constant<unknown>('t')),
  fc.tuple(fc.constant('subscription'), fc.constant<unknown>('s1')),
  fc.tuple(fc.constant('records'), fc.array(record, { maxLength: 4 }) as fc.Arbitrary<unknown>),
);
const request = fc
  .tuple(
    fc.constantFrom<unknown>('produce', 'subscribe', 'credit', 'unsubscribe', 'commit', null, 'toString'),
    fc.oneof(fc.nat(), scalar),
    fc.array(member, { maxLength: 5 }),
  )
  .map(([op, id, members]) => {
    const fields = members.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
    return `{${[`"op":${JSON.stringify(op)}`, `"id":${JSON.stringify(id)}`, ...fields].join()}}`;
  });

const frame = fc.oneof(
  request,
  request,
  fc.json(),
  fc.string({ unit: 'binary', maxLength: 40 }).map(text => text.toWellFormed()),
);
const conversation = fc.array(frame, { minLength: 1, maxLength: 24, size: 'max' });

const hold = async (frames: readonly string[]): Promise<void> => {
  await using socket = await TestSocket.open(broker.http);
  for (const text of frames) socket.send(text);
  await stillWorks(socket);
  for (const answer of socket.unread) judge(answer);
};

describe('the WebSocket door', () => {
  it('answers any frames with frames that it knows', { timeout: FUZZ_TEST_MS }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(conversation, { minLength: 1, maxLength: 8, size: 'max' }), async conversations => {
        await Promise.all(
          conversations.map(frames => broker.timed('frames on a connection', frames.length, hold(frames))),
        );
        await broker.refillWhenGrown();
      }),
      plan(50),
    );
  });

  it('answers or closes on any bytes behind the handshake', { timeout: FUZZ_TEST_MS }, async () => {
    const { host } = new URL(broker.http);
    const handshake = Buffer.from(
      `GET /v1/ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    // Headers of frames with little or nothing behind them, among noise.
    const header = fc
      .tuple(
        fc.constantFrom(0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8a, 0xc1),
        fc.constantFrom(0x80, 0x85, 0xfe, 0xff, 5),
      )
      .map(pair => Buffer.from(pair));
    const noise = fc.uint8Array({ maxLength: 20 }).map(bytes => Buffer.from(bytes));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(header, noise), { maxLength: 10 }), async pieces => {
        const bytes = Buffer.concat([handshake, ...pieces]);
        const answer = await broker.timed('bytes on a connection', 1, sendBytes(broker.http, bytes, true));
        expect(answer).toMatch(/^HTTP\/1.1 101 /);
      }),
      plan(200),
    );
    await using socket = await TestSocket.open(broker.http);
    await stillWorks(socket);
  });

  it('answers or refuses any handshake', { timeout: FUZZ_TEST_MS }, async () => {
    const lines = fc.record(
      {
        Host: fc.constantFrom(new URL(broker.http).host, 'evil.example', ''),
        Connection: fc.constantFrom('Upgrade', 'upgrade, keep-alive', 'close', ''),
        Upgrade: fc.constantFrom('websocket', 'WebSocket', 'h2c', 'websocket, h2c', ''),
        'Sec-WebSocket-Version': fc.constantFrom('13', '8', '13, 8', 'x'),
        'Sec-WebSocket-Key': fc.constantFrom('dGhlIHNhbXBsZSBub25jZQ==', 'x', '', 'AAAA'),
        'Sec-WebSocket-Protocol': fc.constantFrom('sluice.v1.json', 'x', 'x, sluice.v1.json', ',', ''),
        'Sec-WebSocket-Extensions': fc.constantFrom('permessage-deflate', 'x; y="', ''),
        Origin: fc.constantFrom('https://evil.example', 'null', '://', broker.http),
        'Content-Length': fc.constantFrom('0', '3', 'x'),
      },
      { requiredKeys: ['Host', 'Connection', 'Upgrade'], noNullPrototype: true },
    );
    const target = fc.constantFrom('/v1/ws', '/v1/ws?x=1', '/v1/ws/', '/v1/topics', '*');
    const method = fc.constantFrom('GET', 'GET', 'GET', 'POST', 'HEAD');
    await fc.assert(
      fc.asyncProperty(method, target, lines, async (verb, at, headers) => {
        const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
        const bytes = `${verb} ${at} HTTP/1.1\r\n${head.join('')}\r\n`;
        const answer = await broker.timed('a handshake', 1, sendBytes(broker.http, bytes, true));
        // Nothing at all: what could be read in two ways is cut.
        expect(answer).toMatch(/^(HTTP\/1\.1 (101|200|4\d\d) |$)/);
      }),
      plan(200),
    );
  });
});

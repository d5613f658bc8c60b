// HTTP/2 peers that send what costs them little and the broker more: their session ends, and others are served.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Health } from '@sluice/protocol/services';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  GRPC_CONTROL_FRAMES_PER_SECOND_MAX,
  GRPC_RESETS_BURST_MAX,
  GRPC_SETTINGS_MAX,
} from '../../server/base/limits.ts';
import { RawClient } from '../gateway/grpc/raw-client.ts';
import { call } from './http-call.ts';

let broker: TestBroker;
let client: RawClient;
beforeAll(async () => {
  broker = await startBroker();
  client = new RawClient(broker.grpc);
});
afterAll(async () => {
  client.close();
  await broker.stop();
});

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const NOTHING = Buffer.alloc(0);
const HEADERS = 1;
const RESET = 3;
const SETTINGS = 4;
const PING = 6;
const CONTINUATION = 9;
/** `:method POST`, `:scheme http`, `:path /` of HPACK's static table. */
const REQUEST = Buffer.from([0x83, 0x86, 0x84]);

const frame = (type: number, flags: number, about: { readonly stream?: number; readonly payload?: Buffer }): Buffer => {
  const { stream = 0, payload = NOTHING } = about;
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};

const opened = async (): Promise<Socket> => {
  const [host, port] = broker.grpc.split(':') as [string, string];
  const socket = connect({ host, port: Number(port) });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.resume();
  socket.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, {})]));
  return socket;
};

const times = (count: number, make: (index: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));

const anEntry = Buffer.from([0, 4, 0, 0, 0xff, 0xff]);

const floods: readonly (readonly [name: string, bytes: Buffer])[] = [
  ['pings', times(2 * GRPC_CONTROL_FRAMES_PER_SECOND_MAX, () => frame(PING, 0, { payload: Buffer.alloc(8) }))],
  ['settings', times(2 * GRPC_CONTROL_FRAMES_PER_SECOND_MAX, () => frame(SETTINGS, 0, {}))],
  ['settings of many entries', frame(SETTINGS, 0, { payload: times(GRPC_SETTINGS_MAX + 1, () => anEntry) })],
  [
    'streams opened and reset',
    times(2 * GRPC_RESETS_BURST_MAX, index =>
      Buffer.concat([
        frame(HEADERS, 4, { stream: 2 * index + 1, payload: REQUEST }),
        frame(RESET, 0, { stream: 2 * index + 1, payload: Buffer.from([0, 0, 0, 8]) }),
      ]),
    ),
  ],
  [
    'headers that go on without an end',
    Buffer.concat([
      frame(HEADERS, 0, { stream: 1, payload: REQUEST }),
      times(5_000, () => frame(CONTINUATION, 0, { stream: 1, payload: Buffer.from([0x83]) })),
    ]),
  ],
];

test.each(floods)('a flood of %s ends its session, and others are served', async (_name, bytes) => {
  const socket = await opened();
  const closed = once(socket, 'close');
  socket.write(bytes);
  await closed;
  expect(await client.unary(Health.method.check, {})).toMatchObject({ status: 1 });
});

test('what was cut shows in the metrics, by listener', async () => {
  const { text } = await call(broker.management, '/metrics');
  expect(Number(/^sluice_connections_cut_total\{listener="grpc"\} (\d+)/m.exec(text)?.[1])).toBeGreaterThan(0);
  expect(text).toMatch(/^sluice_connections\{listener="grpc"\} \d+/m);
  expect(text).toMatch(/^sluice_connections_refused_total\{listener="http"\} 0/m);
});

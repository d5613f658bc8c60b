// More connections than a listener takes: those beyond are closed without a word and counted, those before are served.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MANAGEMENT_CONNECTIONS_MAX } from '../../server/base/limits.ts';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.stop());

const open = async (): Promise<Socket> => {
  const { hostname, port } = new URL(broker.management);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
};

/** What comes back until the end; empty for a connection that was turned away. */
const ask = (socket: Socket, path: string): Promise<string> =>
  new Promise(resolve => {
    let received = '';
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => (received += text));
    socket.on('close', () => resolve(received));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  });

test('the management port takes so many connections and no more', async () => {
  const sockets: Socket[] = [];
  while (sockets.length < MANAGEMENT_CONNECTIONS_MAX) sockets.push(await open());
  expect(await ask(await open(), '/livez')).toBe('');
  expect(await ask(sockets.pop()!, '/livez')).toMatch(/^HTTP\/1\.1 200 /);
  // Its place is free again, once the broker has seen the end of it too.
  let metrics = '';
  while (metrics === '') metrics = await ask(await open(), '/metrics');
  expect(metrics).toMatch(/^sluice_connections\{listener="management"\} 256$/m);
  expect(metrics).toMatch(/^sluice_connections_refused_total\{listener="management"\} [1-9]\d*$/m);
  for (const socket of sockets) socket.destroy();
});

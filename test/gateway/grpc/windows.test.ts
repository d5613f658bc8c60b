// The receive windows and limits that a client is really given, measured on the wire: the server library has no public
// option for them, so a change inside it must show here.

import { connect, type ClientHttp2Session, type Settings } from 'node:http2';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { startBroker } from 'sluice/testing';

const MIB = 1024 * 1024;

const session = async (address: string): Promise<{ session: ClientHttp2Session; settings: Settings }> => {
  const session = connect(`http://${address}`);
  const [settings] = (await once(session, 'remoteSettings')) as [Settings];
  return { session, settings };
};

test('a stream may send 1 MiB ahead, and at most 100 streams are open', async () => {
  await using broker = await startBroker();
  const { session: client, settings } = await session(broker.grpc);
  expect(settings.initialWindowSize).toBe(MIB);
  expect(settings.maxConcurrentStreams).toBe(100);
  expect(settings.maxHeaderListSize).toBe(32 * 1024);
  client.destroy();
});

test('a connection may send 4 MiB ahead', async () => {
  await using broker = await startBroker();
  const { session: client } = await session(broker.grpc);
  // The connection's window comes in a frame of its own; an answered ping is behind it.
  await new Promise<void>((resolve, reject) => {
    client.ping(error => (error === null ? resolve() : reject(error)));
  });
  expect(client.state.remoteWindowSize).toBe(4 * MIB);
  client.destroy();
});

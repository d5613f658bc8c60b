// The management port over plain HTTP.

import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { Health } from '@sluice/protocol/services';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawClient } from '../gateway/grpc/raw-client.ts';

let broker: TestBroker;

beforeAll(async () => {
  broker = await startBroker();
});

afterAll(() => broker.stop());

const get = (path: string, method = 'GET'): Promise<Response> => fetch(`${broker.management}${path}`, { method });

test('a living broker says so', async () => {
  const response = await get('/livez');
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ live: true });
});

test('a ready broker misses nothing', async () => {
  const response = await get('/readyz?verbose');
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('application/json');
  expect(response.headers.get('cache-control')).toBe('no-store');
  expect(await response.json()).toEqual({ ready: true, missing: [] });
});

test('metrics are in the text form that Prometheus scrapes, and count what doors did', async () => {
  const client = new RawClient(broker.grpc);
  await client.createTopic('counted');
  const stream = client.produce();
  stream.write({ id: 1n, topic: 'counted', records: [{ value: Buffer.from('v') }] });
  stream.write({ id: 2n, topic: 'no-such-topic', records: [{ value: Buffer.from('v') }] });
  stream.end();
  await stream.rest();
  client.close();
  const response = await get('/metrics');
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
  const text = await response.text();
  expect(text).toContain('sluice_requests_total{door="grpc",verb="produce",outcome="ok"} 1');
  expect(text).toContain('sluice_requests_total{door="grpc",verb="produce",outcome="TOPIC_NOT_FOUND"} 1');
  expect(text).toContain('sluice_requests_total{door="grpc",verb="admin",outcome="ok"} 1');
  expect(text).toMatch(/^sluice_received_bytes_total\{door="grpc",verb="produce"\} [1-9]/m);
});

test('open calls are counted while they are open', async () => {
  const open = async (): Promise<number> =>
    Number(/^sluice_open_streams\{door="grpc"\} (\d+)/m.exec(await (await get('/metrics')).text())?.[1] ?? 0);
  const client = new RawClient(broker.grpc);
  await client.createTopic('open');
  const produce = client.produce();
  produce.write({ id: 1n, topic: 'open', records: [{}] });
  await produce.only();
  const fetch = client.fetch();
  fetch.open({ stream: 1, topic: 'open' });
  await fetch.take(2);
  expect(await open()).toBe(2);
  produce.end();
  await produce.status;
  fetch.cancel();
  const health = client.serverStream(Health.method.watch, {});
  await health.next();
  expect(await open()).toBe(1);
  health.cancel();
  client.close();
});

test('HEAD answers the headers alone', async () => {
  const response = await get('/metrics', 'HEAD');
  expect(response.status).toBe(200);
  expect(Number(response.headers.get('content-length'))).toBeGreaterThan(0);
  expect(await response.text()).toBe('');
});

test('other paths and methods are problems', async () => {
  const missing = await get('/nowhere');
  expect(missing.status).toBe(404);
  expect(missing.headers.get('content-type')).toBe('application/problem+json');
  expect(await missing.json()).toMatchObject({
    code: 'ROUTE_NOT_FOUND',
    status: 404,
    request_id: missing.headers.get('request-id'),
  });
  const posted = await get('/livez', 'POST');
  expect(posted.status).toBe(405);
  expect(posted.headers.get('allow')).toBe('GET, HEAD');
  expect(await posted.json()).toMatchObject({ code: 'METHOD_NOT_ALLOWED' });
});

test('an address in use is refused at start, by name, and leaves nothing behind', async () => {
  const taken = createServer();
  taken.listen({ host: '127.0.0.1', port: 0 });
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  for (const door of ['management', 'grpc'] as const) {
    await expect(startBroker({ settings: { [door]: { host: '127.0.0.1', port } } })).rejects.toMatchObject({
      name: 'ListenFailure',
      reason: 'in-use',
      address: `127.0.0.1:${port}`,
    });
  }
  taken.close();
});

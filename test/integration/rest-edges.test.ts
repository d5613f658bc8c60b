// The edges of the REST door: who may call, what is refused early, clients that go away, and the end of the broker.

import { once } from 'node:events';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBroker, type TestBroker } from 'sluice/testing';
import { BODY_BUDGET_BYTES, BODY_BYTES_MAX, DRAIN_BYTES_MAX, HEADER_BYTES_MAX } from '../../server/base/limits.ts';
import { ListenFailure } from '../../server/gateway/gateway.ts';
import type { Answer, Call } from './http-call.ts';
import { call, expectStatus, post, sendBytes } from './http-call.ts';

let broker: TestBroker;
const ALLOWED = 'https://app.example';

beforeAll(async () => {
  broker = await startBroker({ settings: { allowOrigins: [ALLOWED], hostNames: ['broker.example'] } });
  await post(broker.http, '/v1/topics', { name: 't' });
});
afterAll(() => broker.stop());

const get = (path: string, options?: Call): Promise<Answer> => call(broker.http, path, options);
const host = (): string => broker.http.slice('http://'.length);
const opened = async (): Promise<Socket> => {
  const { hostname, port } = new URL(broker.http);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  return socket;
};
/** Everything until `pattern` was received; the socket stays open. */
const receive = (socket: Socket, pattern: RegExp): Promise<string> =>
  new Promise((resolve, reject) => {
    let received = '';
    const onData = (chunk: Buffer): void => {
      received += chunk.toString('latin1');
      if (!pattern.test(received)) return;
      socket.off('data', onData);
      resolve(received);
    };
    socket.on('data', onData);
    socket.once('close', () => reject(new Error(`closed after: ${received}`)));
  });
const recordCount = async (): Promise<number> => {
  const { partitions } = (await get('/v1/topics/t/offsets')).json as { partitions: { high_watermark: number }[] };
  return partitions[0]!.high_watermark;
};

const bodyBytes = async (): Promise<number> =>
  Number(/^sluice_body_bytes (\d+)/m.exec((await call(broker.management, '/metrics')).text)?.[1]);

describe('hosts and origins', () => {
  it.each(['GET', 'POST', 'DELETE', 'OPTIONS', 'PUT'])(
    'refuses %s from a foreign page before anything is done',
    async method => {
      const answer = await get('/v1/topics/t', { method, headers: { Origin: 'http://evil.example' } });
      expect(answer.json).toMatchObject({ status: 403, code: 'ORIGIN_NOT_ALLOWED' });
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
      expect((await get('/v1/topics/t')).status).toBe(200);
    },
  );

  it('refuses a text post from a foreign page, which needs no preflight', async () => {
    const before = await recordCount();
    const headers = { Origin: 'http://evil.example' };
    const answer = await get('/v1/topics/t/records', { method: 'POST', type: 'text/plain', body: 'x', headers });
    expect(answer.status).toBe(403);
    expect(await recordCount()).toBe(before);
  });

  it('refuses the origin null', async () => {
    expect((await get('/v1/cluster', { headers: { Origin: 'null' } })).status).toBe(403);
  });

  it('refuses a foreign host name, and a request without one', async () => {
    const answer = await get('/v1/cluster', { headers: { Host: 'evil.example' } });
    expect(answer.json).toMatchObject({ status: 403, code: 'ORIGIN_NOT_ALLOWED' });
    expect(await sendBytes(broker.http, 'GET /v1/cluster HTTP/1.0\r\n\r\n')).toContain('ORIGIN_NOT_ALLOWED');
  });

  it('answers under its names', async () => {
    for (const name of ['localhost', '127.0.0.1:1', '[::1]', 'broker.example']) {
      expect((await get('/v1/cluster', { headers: { Host: name } })).status).toBe(200);
    }
  });

  it('gives allowed origins the headers to read answers, refusals too', async () => {
    for (const [path, status] of [
      ['/v1/cluster', 200],
      ['/v1/topics/none', 404],
      ['/nowhere', 404],
    ] as const) {
      const answer = await get(path, { headers: { Origin: ALLOWED } });
      expect(answer.status).toBe(status);
      expect(answer.headers).toMatchObject({ 'access-control-allow-origin': ALLOWED, vary: 'Origin' });
      expect(answer.headers['access-control-expose-headers']).toContain('Request-Id');
    }
    const own = await get('/v1/cluster', { headers: { Origin: broker.http } });
    expect(own.headers['access-control-allow-origin']).toBe(broker.http);
  });

  it('answers preflights of allowed origins', async () => {
    const headers = {
      Origin: ALLOWED,
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'content-type,sluice-key',
    };
    const answer = await get('/v1/topics/t/records', { method: 'OPTIONS', headers });
    expect(answer.status).toBe(204);
    expect(answer.headers['access-control-allow-methods']).toContain('POST');
    expect(answer.headers['access-control-allow-headers']).toBe('content-type,sluice-key');
  });
});

describe('routes and methods', () => {
  it.each([
    ['PUT', '/v1/topics', 'GET, HEAD, POST'],
    ['OPTIONS', '/v1/topics', 'GET, HEAD, POST'],
    ['TRACE', '/v1/topics/t', 'GET, HEAD, PATCH, DELETE'],
    ['DELETE', '/v1/topics/t/records', 'GET, HEAD, POST'],
    ['POST', '/v1/cluster', 'GET, HEAD'],
    ['PROPFIND', '/openapi.yaml', 'GET, HEAD'],
  ])('%s %s is not allowed', async (method, path, allow) => {
    const answer = await get(path, { method });
    expect(answer.json).toMatchObject({ status: 405, code: 'METHOD_NOT_ALLOWED', allow });
    expect(answer.headers.allow).toBe(allow);
  });

  it.each(['/v1', '/v1/topics/', '/V1/topics', '/v1/topics/t/records/', '/v1/transactions', '//v1/topics'])(
    '%s is no route',
    async path => {
      expect((await get(path)).json).toMatchObject({ status: 404, code: 'ROUTE_NOT_FOUND' });
    },
  );

  it('says what is wrong with a path', async () => {
    expect((await get('/v1/topics/%ff')).json).toMatchObject({ status: 400, code: 'INVALID_REQUEST' });
    expect((await get('/v1/topics/a%2Fb')).json).toMatchObject({ status: 400, code: 'INVALID_TOPIC_NAME' });
    expect((await get('/v1/topics/t/partitions/x/records')).json).toMatchObject({ status: 400, field: 'partition' });
    expect((await get('/v1/topics/t/partitions/9/records')).json).toMatchObject({ code: 'PARTITION_NOT_FOUND' });
  });

  it('names every request', async () => {
    const first = await get('/v1/cluster');
    const second = await get('/nowhere');
    expect(first.headers['request-id']).toMatch(/^[0-9a-f-]{36}$/);
    expect(second.json['request_id']).toBe(second.headers['request-id']);
    expect(second.headers['request-id']).not.toBe(first.headers['request-id']);
    expect(second.json).toMatchObject({ type: 'urn:sluice:problem:route_not_found', retriable: false });
  });
});

describe('bodies', () => {
  const refused = { status: 415, code: 'UNSUPPORTED_MEDIA_TYPE' };
  it.each([
    [{ 'Content-Type': 'application/xml' }, refused],
    [{ 'Content-Type': 'text/plain; charset=latin1' }, refused],
    [{ 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' }, refused],
    [{ 'Content-Type': 'text/plain', 'Content-Encoding': 'br' }, refused],
    [{ 'Content-Type': 'text/plain; charset="UTF-8"' }, { count: 1 }],
    [{ 'Content-Type': 'Text/Plain', 'Content-Encoding': 'identity' }, { count: 1 }],
  ])('with %j are answered %j', async (headers, expected) => {
    const answer = await get('/v1/topics/t/records', {
      method: 'POST',
      body: 'x',
      headers: headers as unknown as Record<string, string>,
    });
    expect(answer.json).toMatchObject(expected);
  });

  it('need a content type', async () => {
    expect((await get('/v1/topics/t/records', { method: 'POST', body: 'x' })).status).toBe(415);
    expect((await get('/v1/topics', { method: 'POST', body: '{}' })).status).toBe(415);
  });

  it('too large are refused early, and the client that sends on reads the answer', async () => {
    const body = Buffer.alloc(BODY_BYTES_MAX + 1, 0x20);
    const answer = await post(broker.http, '/v1/topics/t/records', body);
    expect(answer.json).toMatchObject({ status: 413, code: 'BODY_TOO_LARGE', limit_bytes: BODY_BYTES_MAX });
  });

  it('too large are refused in chunks as well', async () => {
    const socket = await opened();
    const answered = receive(socket, /BODY_TOO_LARGE/);
    socket.write(
      `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    const chunk = Buffer.alloc(1024 * 1024, 0x20);
    for (let sent = 0; sent <= BODY_BYTES_MAX; sent += chunk.length) {
      socket.write(`${chunk.length.toString(16)}\r\n`);
      socket.write(chunk);
      socket.write('\r\n');
    }
    socket.write('0\r\n\r\n');
    expect(await answered).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  it('without an end are cut off once the client has had time to read the refusal', async () => {
    const socket = await opened();
    socket.on('error', () => undefined);
    const closed = once(socket, 'close');
    const answered = receive(socket, /BODY_TOO_LARGE/);
    socket.write(
      `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: application/json\r\nContent-Length: ${10 * DRAIN_BYTES_MAX}\r\n\r\n`,
    );
    expect(await answered).toContain('Connection: close');
    await closed;
  });

  it('are not asked for when they would be refused', async () => {
    const { hostname, port } = new URL(broker.http);
    const sent = request({
      host: hostname,
      port,
      path: '/v1/topics/t/records',
      method: 'POST',
      headers: { Expect: '100-continue', 'Content-Type': 'application/json', 'Content-Length': BODY_BYTES_MAX + 1 },
    });
    let wasAsked = false;
    sent.on('continue', () => {
      wasAsked = true;
    });
    sent.on('error', () => undefined);
    sent.flushHeaders();
    const [response] = (await once(sent, 'response')) as [{ statusCode: number }];
    expect(response.statusCode).toBe(413);
    expect(wasAsked).toBe(false);
    sent.destroy();
  });

  it('are asked for where the client waits', async () => {
    const { hostname, port } = new URL(broker.http);
    for (const type of ['text/plain', 'application/octet-stream']) {
      const sent = request({
        host: hostname,
        port,
        path: '/v1/topics/t/records',
        method: 'POST',
        headers: { Expect: '100-continue', 'Content-Type': type, 'Content-Length': 1 },
      });
      sent.flushHeaders();
      await once(sent, 'continue');
      sent.end('x');
      const [response] = (await once(sent, 'response')) as [{ statusCode: number; resume(): void }];
      expect(response.statusCode).toBe(200);
      response.resume();
    }
  });

  it('are refused before they are read when too many are in memory, and so are large pages', async () => {
    const big = Array.from({ length: 100 }, () => ({ value_text: 'x'.repeat(1_000) }));
    await post(broker.http, '/v1/topics', { name: 'big' });
    expectStatus(await post(broker.http, '/v1/topics/big/records', { records: big }), 200);
    const waiting: Socket[] = [];
    // What the tests before this one held is given back as the broker notices that they are gone.
    while ((await bodyBytes()) > 0);
    // A little room stays, for what the requests of this test itself bring.
    const share = BODY_BYTES_MAX - 1_024;
    // Sent but for the last byte: what was only announced takes no room from others.
    const almostWhole = Buffer.alloc(share - 1, 0x20);
    for (let reserved = 0; reserved + BODY_BYTES_MAX <= BODY_BUDGET_BYTES; reserved += BODY_BYTES_MAX) {
      const socket = await opened();
      waiting.push(socket);
      const asked = receive(socket, /100 Continue/);
      socket.write(
        `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${host()}\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: ${share}\r\n\r\n`,
      );
      await asked;
      const before = await bodyBytes();
      await new Promise(resolve => socket.write(almostWhole, resolve));
      while ((await bodyBytes()) < before + almostWhole.length);
    }
    const sizeable = '{"records":[{"value":1}]}'.padEnd(100_000);
    const refused = await post(broker.http, '/v1/topics/t/records', sizeable);
    expect(refused.json).toMatchObject({ status: 429, code: 'THROTTLED', retriable: true });
    expect(refused.headers['retry-after']).toBe('1');
    expectStatus(await post(broker.http, '/v1/topics/t/records', 'x'.repeat(100_000), 'text/plain'), 429);
    expectStatus(await get('/v1/topics/big/records'), 429);
    expectStatus(await get('/v1/topics/big/records?limit=10'), 200);
    for (const socket of waiting) socket.destroy();
    // The room is given back as the broker notices; until then the refusal is right.
    for (;;) {
      const answer = await post(broker.http, '/v1/topics/t/records', { records: [{ value: 1 }] });
      if (answer.status === 200) break;
      expectStatus(answer, 429);
    }
    for (let round = 0; round < 3; round++) {
      expectStatus(await get('/v1/topics/big/records'), 200);
      const lines = await get('/v1/topics/big/records', { headers: { Accept: 'text/plain' } });
      expect(lines.bytes).toHaveLength(100 * 1_001);
    }
  });

  it('that are announced and do not come take no room from others', async () => {
    const waiting: Socket[] = [];
    for (let announced = 0; announced <= 2 * BODY_BUDGET_BYTES; announced += BODY_BYTES_MAX) {
      const socket = await opened();
      waiting.push(socket);
      const asked = receive(socket, /100 Continue/);
      socket.write(
        `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${host()}\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: ${BODY_BYTES_MAX}\r\n\r\n`,
      );
      await asked;
    }
    expectStatus(await post(broker.http, '/v1/topics/t/records', { records: [{ value: 1 }] }), 200);
    for (const socket of waiting) socket.destroy();
  });

  it('are counted by verb and outcome', async () => {
    const count = async (verb: string, outcome: string): Promise<number> => {
      const { text } = await call(broker.management, '/metrics');
      const pattern = `^sluice_requests_total\\{door="rest",verb="${verb}",outcome="${outcome}"\\} (\\d+)`;
      return Number(new RegExp(pattern, 'm').exec(text)?.[1] ?? 0);
    };
    const before = [
      await count('produce', 'ok'),
      await count('produce', 'INVALID_REQUEST'),
      await count('topics', 'TOPIC_NOT_FOUND'),
    ];
    await post(broker.http, '/v1/topics/t/records', { records: [{ value: 1 }] });
    await post(broker.http, '/v1/topics/t/records', { records: [] });
    await get('/v1/topics/none');
    const after = [
      await count('produce', 'ok'),
      await count('produce', 'INVALID_REQUEST'),
      await count('topics', 'TOPIC_NOT_FOUND'),
    ];
    expect(after.map((value, index) => value - before[index]!)).toEqual([1, 1, 1]);
  });
});

describe('connections', () => {
  it('get a problem document for what is no HTTP', async () => {
    for (const bytes of ['nonsense\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'GET /\u0000 HTTP/1.1\r\n\r\n']) {
      const received = await sendBytes(broker.http, bytes);
      expect(received).toMatch(/^HTTP\/1\.1 400 /);
      expect(received).toContain('application/problem+json');
      expect(received).toContain('INVALID_REQUEST');
    }
  });

  it('are refused headers beyond the limit', async () => {
    const received = await sendBytes(
      broker.http,
      `GET / HTTP/1.1\r\nHost: ${host()}\r\nX: ${'x'.repeat(HEADER_BYTES_MAX + 1)}\r\n\r\n`,
    );
    expect(received).toContain('INVALID_REQUEST');
    expect(received).toContain('the headers are longer');
  });

  it('refuse two lengths for one body', async () => {
    const received = await sendBytes(
      broker.http,
      `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: text/plain\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    );
    expect(received).toMatch(/^HTTP\/1\.1 400 /);
  });

  it('are kept for the next request, after refusals too', async () => {
    const socket = await opened();
    const one = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: ${host()}\r\n\r\n`;
    const received = receive(socket, /cluster_id[^]*TOPIC_NOT_FOUND[^]*cluster_id[^]*\}$/);
    socket.write(one('/v1/cluster') + one('/v1/topics/none') + one('/v1/cluster'));
    expect((await received).match(/HTTP\/1\.1 \d/g)).toHaveLength(3);
    socket.destroy();
  });

  it('of HTTP/1.0 get lines without trailers', async () => {
    const received = await sendBytes(
      broker.http,
      `GET /v1/topics/t/records?limit=1 HTTP/1.0\r\nHost: ${host()}\r\nAccept: application/x-ndjson\r\n\r\n`,
    );
    expect(received).toContain('200 OK');
    expect(received).not.toContain('Trailer');
  });

  it('broken off in the middle of a line add no partial line', async () => {
    await post(broker.http, '/v1/topics', { name: 'cut' });
    const socket = await opened();
    socket.write(
      `POST /v1/topics/cut/records HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nwhole\npart`,
    );
    const read = await get('/v1/topics/cut/records?wait=30000');
    expect(read.json).toMatchObject({ records: [{ value_text: 'whole' }] });
    socket.destroy();
    await once(socket, 'close');
    const after = await get('/v1/topics/cut/records?wait=200&offset=1'.replace('/records', '/partitions/0/records'));
    expect(after.json).toMatchObject({ records: [], high_watermark: 1 });
  });

  it('that upload forever do not hold up others, and each line is there when it was sent', async () => {
    await post(broker.http, '/v1/topics', { name: 'live' });
    const socket = await opened();
    socket.write(
      `POST /v1/topics/live/records HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    for (let index = 0; index < 5; index++) {
      const line = `{"value":${index}}\n`;
      socket.write(`${line.length.toString(16)}\r\n${line}\r\n`);
      const read = await get(`/v1/topics/live/partitions/0/records?offset=${index}&wait=30000`);
      expect(read.json).toMatchObject({ records: [{ value: index }] });
    }
    const answered = receive(socket, /"count":5/);
    socket.write('0\r\n\r\n');
    expect(await answered).toMatch(/^HTTP\/1\.1 200 /);
    socket.destroy();
  });

  it('that go away while waiting for records end the wait', async () => {
    const openStreams = async (): Promise<string | undefined> =>
      /^sluice_open_streams\{door="rest"\} (\d+)/m.exec((await call(broker.management, '/metrics')).text)?.[1];
    const socket = await opened();
    const startedAt = performance.now();
    socket.write(
      `GET /v1/topics/t/records?from=latest&wait=30000 HTTP/1.1\r\nHost: ${host()}\r\nAccept: application/x-ndjson\r\n\r\n`,
    );
    while ((await openStreams()) !== '1') expect(socket.closed).toBe(false);
    socket.destroy();
    // Without the disconnect the wait would go on for its 30 seconds.
    while ((await openStreams()) !== '0') expect(performance.now() - startedAt).toBeLessThan(20_000);
  });

  it('that do not read hold the broker to what the sockets take', async () => {
    await post(broker.http, '/v1/topics', { name: 'slow' });
    const line = `${'x'.repeat(9_999)}\n`;
    const uploaded = await post(broker.http, '/v1/topics/slow/records', line.repeat(6_000), 'text/plain');
    expect(uploaded.json).toMatchObject({ count: 6_000 });
    const socket = await opened();
    socket.pause();
    const before = process.memoryUsage().arrayBuffers;
    socket.write(`GET /v1/topics/slow/records HTTP/1.1\r\nHost: ${host()}\r\nAccept: text/plain\r\n\r\n`);
    // Other readers go on meanwhile.
    for (let index = 0; index < 5; index++) expect((await get('/v1/topics/slow/records?limit=1')).status).toBe(200);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40 * 1024 * 1024);
    let received = 0;
    socket.on('data', chunk => {
      received += chunk.length;
      if (chunk.subarray(-200).includes('Sluice-Cursor: ')) socket.end();
    });
    socket.resume();
    await once(socket, 'close');
    expect(received).toBeGreaterThan(60_000_000);
  });
});

describe('the end of the broker', () => {
  it('cuts waits short, answers them, and refuses what comes later', async () => {
    const ending = await startBroker();
    await post(ending.http, '/v1/topics', { name: 't' });
    const page = call(ending.http, '/v1/topics/t/records?wait=30000');
    const lines = call(ending.http, '/v1/topics/t/records?wait=30000', { headers: { Accept: 'application/x-ndjson' } });
    const upload = await openUpload(ending.http);
    const uploaded = receive(upload, /SHUTTING_DOWN[^]*\}$/);
    upload.write('6\r\nfirst\n\r\n4\r\npart\r\n');
    const read = await call(ending.http, '/v1/topics/t/records?wait=30000');
    expect(read.json).toMatchObject({ records: [{ value_text: 'first' }] });
    await ending.stop();
    expect((await page).status).toBe(200);
    expect((await lines).text).toContain('first');
    expect(await uploaded).toContain('"line":2,"count":1');
    upload.destroy();
    await expect(call(ending.http, '/v1/cluster')).rejects.toThrow('ECONNREFUSED');
  });

  it('refuses to listen where somebody else does', async () => {
    const taken = createServer();
    taken.listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const start = startBroker({ settings: { http: { host: '127.0.0.1', port } } });
    await expect(start).rejects.toThrow(ListenFailure);
    await expect(start).rejects.toMatchObject({ reason: 'in-use', address: `127.0.0.1:${port}` });
    taken.close();
  });
});

const openUpload = async (base: string): Promise<Socket> => {
  const { hostname, port } = new URL(base);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(
    `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${hostname}\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n`,
  );
  await receive(socket, /100 Continue/);
  return socket;
};

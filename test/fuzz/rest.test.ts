// Whatever is sent to the REST door, it answers: never INTERNAL, never silence, and it still works afterwards.

import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorTable, isErrorCode } from '@sluice/protocol/errors';
import { startBroker, type TestBroker } from 'sluice/testing';
import type { Answer } from '../integration/http-call.ts';
import { call, post, sendBytes } from '../integration/http-call.ts';

const RUNS = Number(process.env['FUZZ_RUNS'] ?? 300);
/** What a broker under no load and with a sound disk may never answer. */
const NEVER = new Set(['INTERNAL', 'STORAGE_FAILED', 'PARTITION_DAMAGED', 'DISK_FULL', 'CORRUPT_BATCH']);

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
  await post(broker.http, '/v1/topics', { name: 't', partition_count: 3 });
  await post(broker.http, '/v1/topics/t/records', { records: [{ value: 1 }, { key: 'k', value_text: 'x' }] });
});
afterAll(() => broker.stop());

/** An answer as the contract knows it: a problem document of the table, or one of the good statuses. */
const judge = (answer: Answer): void => {
  if ([200, 201, 202, 204, 207].includes(answer.status)) return;
  expect(answer.headers['content-type']).toBe('application/problem+json');
  const { code, status, request_id: requestId } = answer.json as { code: string; status: number; request_id: string };
  if (!isErrorCode(code)) throw new Error(`not a code: ${answer.text}`);
  expect(errorTable[code].http).toBe(answer.status);
  expect(status).toBe(answer.status);
  expect(requestId).toBe(answer.headers['request-id']);
  if (NEVER.has(code)) throw new Error(answer.text);
};

const token = fc.string({ unit: 'binary-ascii', maxLength: 12 }).map(text => encodeURIComponent(text));
const names = fc.constantFrom(
  'from',
  'offset',
  'timestamp',
  'tail',
  'cursor',
  'limit',
  'max_bytes',
  'isolation',
  'values',
  'partitions',
  'acks',
  'timeout_ms',
  'compression',
  'envelope',
  'key',
  'include',
  'prefix',
  'after',
  'internal',
  'nope',
);
const texts = fc.constantFrom(
  '',
  '0',
  '1',
  '-1',
  '1e3',
  '9007199254740991',
  '9007199254740993',
  '99999999999999999999',
  'earliest',
  'latest',

  'all',
  'none',
  'zstd',
  'text',
  'base64',
  'read_committed',
  'true',
  'null',
  '/a',
  '~',
  '0-2',
  '2-0',
  '0-9999999999',
  '%00',
  '%ff',
  '%F0%9F%98%80',
  '2024-01-01T00:00:00Z',
  '2024-13-01T00:00:00Z',
  'AAAA',
  '[]',
  '{}',
  "'",
);
const query = fc
  .array(fc.tuple(fc.oneof(names, token), fc.oneof(texts, token)), { maxLength: 4 })
  .map(pairs => (pairs.length === 0 ? '' : `?${pairs.map(([name, text]) => `${name}=${text}`).join('&')}`));
const segment = fc.oneof(fc.constantFrom('t', 'none', '0', '1', '99', '..', '%2F', '%00', '-1', '1e3'), token);
const path = fc.oneof(
  fc.constantFrom('/v1/topics', '/v1/cluster', '/v1/brokers', '/openapi.json', '/', '/v1/topics/t/records'),
  fc.tuple(segment).map(([topic]) => `/v1/topics/${topic}`),
  fc.tuple(segment, fc.constantFrom('records', 'offsets', 'partitions')).map(parts => `/v1/topics/${parts.join('/')}`),
  fc.tuple(segment, segment).map(([topic, partition]) => `/v1/topics/${topic}/partitions/${partition}/records`),
  fc.tuple(segment, segment).map(([partition, at]) => `/v1/topics/t/partitions/${partition}/records/${at}`),
);
const headerText = fc.string({ unit: fc.constantFrom(...'azAZ09 ,;=*/"%+-.'.split('')), maxLength: 20 });
const headers = fc.dictionary(
  fc.constantFrom('Accept', 'Origin', 'Content-Encoding', 'Sluice-Key', 'Sluice-Headers', 'Sluice-Header-A', 'Range'),
  headerText.map(text => text.trim()),
  { maxKeys: 2, noNullPrototype: true },
);
const type = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom('application/json', 'application/x-ndjson', 'text/plain', 'application/octet-stream'),
  },
  { weight: 1, arbitrary: fc.constantFrom('', 'x', 'text/plain;charset', 'application/json; charset=utf-8') },
);
const recordLike = fc.dictionary(
  fc.constantFrom('key', 'key_base64', 'value', 'value_text', 'value_base64', 'headers', 'partition', 'timestamp', 'x'),
  fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.nat(3), fc.constantFrom('AA==', '\ud800', { a: 'b' }, [{ key: 'k' }])),
  { maxKeys: 4, noNullPrototype: true },
);
const body = fc.oneof(
  fc.array(recordLike, { maxLength: 4 }).map(records => JSON.stringify({ records })),
  fc.array(recordLike, { maxLength: 4 }).map(records => records.map(record => JSON.stringify(record)).join('\n')),
  fc.json(),
  fc.uint8Array({ maxLength: 200 }),
  fc.string({ unit: 'binary', maxLength: 50 }),
  fc.constantFrom('['.repeat(50_000), `{"records":[{"value":${'['.repeat(500)}${']'.repeat(500)}}]}`, '\ufeff{}', ''),
);

describe('the REST door', () => {
  it('answers any request with a status that it knows', async () => {
    const method = fc.constantFrom('GET', 'POST', 'PATCH', 'PUT', 'OPTIONS', 'HEAD', 'TRACE');
    await fc.assert(
      fc.asyncProperty(method, path, query, headers, async (verb, at, search, extra) => {
        const answer = await call(broker.http, `${at}${search}`, { method: verb, headers: extra });
        expect(answer.status).toBeLessThan(500);
        // An answer to HEAD has no body to judge.
        if (verb !== 'HEAD') judge(answer);
      }),
      { numRuns: RUNS * 3 },
    );
    expect((await call(broker.http, '/v1/cluster')).status).toBe(200);
  });

  it('answers any body', async () => {
    const target = fc.constantFrom('/v1/topics/t/records', '/v1/topics/t/partitions/1/records', '/v1/topics');
    await fc.assert(
      fc.asyncProperty(target, query, type, fc.tuple(body, headers), async (at, search, contentType, [sent, extra]) => {
        const answer = await call(broker.http, `${at}${search}`, {
          method: 'POST',
          headers: { ...extra, 'Content-Type': contentType },
          body: sent,
        });
        judge(answer);
      }),
      { numRuns: RUNS * 3 },
    );
    expect((await call(broker.http, '/v1/cluster')).status).toBe(200);
  });

  it('reads back whatever it took', async () => {
    const read = (accept: string): Promise<Answer> =>
      call(broker.http, '/v1/topics/t/records?limit=10000', { headers: { Accept: accept } });
    expect((await read('application/json')).json).toHaveProperty('records');
    const lines = (await read('application/x-ndjson')).text.trimEnd().split('\n');
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty('offset');
    expect((await read('text/plain')).status).toBe(200);
  });

  it('answers or closes on any bytes', async () => {
    const host = broker.http.slice('http://'.length);
    const frame = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes)),
      fc
        .tuple(fc.constantFrom('GET', 'POST', 'BREW', 'get', ''), fc.string({ maxLength: 20 }), headerText)
        .map(([verb, target, header]) =>
          Buffer.from(`${verb} /${target} HTTP/1.1\r\nHost: ${host}\r\nX: ${header}\r\n`),
        ),
      fc
        .tuple(fc.constantFrom('0', '5', '-1', '1e1', '99999999999999999999', 'x'), fc.string({ maxLength: 20 }))
        .map(([length, content]) =>
          Buffer.from(
            `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${host}\r\nContent-Type: text/plain\r\nContent-Length: ${length}\r\n\r\n${content}`,
          ),
        ),
      fc
        .tuple(fc.constantFrom('0', '3', 'ffffffffffffffff', 'zz', '-1'), fc.string({ maxLength: 20 }))
        .map(([size, content]) =>
          Buffer.from(
            `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${host}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n${size}\r\n${content}\r\n`,
          ),
        ),
    );
    await fc.assert(
      fc.asyncProperty(frame, async bytes => {
        // The end of what we send ends the connection: nothing may be left open on the other side.
        const received = await sendBytes(broker.http, bytes, true);
        expect(received).not.toMatch(/^HTTP\/1\.1 5/);
      }),
      { numRuns: RUNS },
    );
  });
});

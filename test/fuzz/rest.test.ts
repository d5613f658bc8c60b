// Whatever is sent to the REST door and to the management port, they answer: never INTERNAL, never silence, and they still work
// afterwards. How many requests, and which: fuzzed-broker.ts.

import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorTable, isErrorCode } from '@sluice/protocol/errors';
import type { Answer } from '../integration/http-call.ts';
import { call, sendBytes } from '../integration/http-call.ts';
import { FUZZ_TEST_MS, FuzzedBroker, NEVER, plan } from './fuzzed-broker.ts';
import {
  anyRequest,
  exampleRequests,
  type FuzzRequest,
  headerText,
  managementRequest,
  operations,
} from './rest-requests.ts';

let broker: FuzzedBroker;
beforeAll(async () => {
  broker = await FuzzedBroker.start('REST and management');
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
  if (NEVER.has(code) || answer.status >= 500) throw new Error(answer.text);
};

/** How often each operation was asked. */
const asked = new Map<string, number>();
/** Given with the last page. */
let cursor = 'AAAA';
/** The last one that joined. */
let member = 'none';

const ask = async ({ operation, path, call: sent }: FuzzRequest): Promise<Answer> => {
  if (operation !== null) asked.set(operation, (asked.get(operation) ?? 0) + 1);
  const { 'Last-Event-ID': lastEvent, ...headers } = sent.headers ?? {};
  const resumed =
    lastEvent === undefined ? headers : { ...headers, 'Last-Event-ID': lastEvent.replace('CURSOR', cursor) };
  const work = call(broker.http, path.replaceAll('CURSOR', cursor).replaceAll('MEMBER', member), {
    ...sent,
    headers: resumed,
  });
  const answer = await broker.timed(`${sent.method ?? 'GET'} ${path}`, 1, work);
  // An answer to HEAD has no body to judge.
  if (sent.method !== 'HEAD') judge(answer);
  member = /^\{"member_id":"([\w-]+)"/.exec(answer.text)?.[1] ?? member;
  cursor = /"next":\{"cursor":"([\w-]+)"/.exec(answer.text)?.[1] ?? cursor;
  return answer;
};

describe('the REST door', () => {
  it('answers a sound request of every operation that the document lists', async () => {
    for (const request of exampleRequests()) {
      const { status } = await ask(request);
      if (request.operation === 'openWebSocket') expect(status).toBe(400);
      else expect(status, request.operation!).toBeLessThan(300);
    }
    expect([...asked.keys()].sort()).toEqual(operations.map(({ id }) => id).sort());
  });

  it('answers any requests, several at once, with a status that it knows', { timeout: FUZZ_TEST_MS }, async () => {
    asked.clear();
    await fc.assert(
      fc.asyncProperty(fc.array(anyRequest, { minLength: 1, maxLength: 30, size: 'max' }), async requests => {
        await Promise.all(requests.map(ask));
        await broker.refillWhenGrown();
      }),
      plan(150),
    );
    expect((await call(broker.http, '/v1/cluster')).status).toBe(200);
    for (const { id } of operations) expect(asked.get(id) ?? 0, `${id} was asked`).toBeGreaterThan(0);
  });

  it('reads back whatever it took', async () => {
    const read = (accept: string): Promise<Answer> =>
      call(broker.http, '/v1/topics/t/records?limit=10000', { headers: { Accept: accept } });
    expect((await read('application/json')).json).toHaveProperty('records');
    const lines = (await read('application/x-ndjson')).text.trimEnd().split('\n');
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty('offset');
    expect((await read('text/plain')).status).toBe(200);
  });

  it('answers or closes on any bytes', { timeout: FUZZ_TEST_MS }, async () => {
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
        const received = await broker.timed('bytes', 1, sendBytes(broker.http, bytes, true));
        expect(received).not.toMatch(/^HTTP\/1\.1 5/);
      }),
      plan(300),
    );
  });
});

describe('the management port', () => {
  it('answers any request with a status that it knows', { timeout: FUZZ_TEST_MS }, async () => {
    const management = `http://${broker.process.management}`;
    await fc.assert(
      fc.asyncProperty(managementRequest, async ({ path, call: sent }) => {
        const answer = await broker.timed(`management ${path}`, 1, call(management, path, sent));
        if (sent.method !== 'HEAD') judge(answer);
      }),
      plan(100),
    );
    expect((await call(management, '/readyz')).status).toBe(200);
  });
});

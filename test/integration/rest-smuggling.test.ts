// Requests that a proxy might read differently than the broker does: each is refused with a problem, its connection ends,
// and what stands behind it in the same bytes is never taken for a request.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBroker, type TestBroker } from 'sluice/testing';
import { HEADER_LINES_MAX } from '../../server/base/limits.ts';
import { call, post, sendBytes } from './http-call.ts';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
  await post(broker.http, '/v1/topics', { name: 't' });
});
afterAll(() => broker.stop());

const host = (): string => broker.http.slice('http://'.length);
const recordCount = async (): Promise<number> => {
  const { partitions } = (await call(broker.http, '/v1/topics/t/offsets')).json as {
    partitions: { high_watermark: number }[];
  };
  return partitions[0]!.high_watermark;
};
const smuggled = (): string =>
  `POST /v1/topics/t/records HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nsmuggled`;
const postHead = 'POST /v1/topics/t/records HTTP/1.1\r\nContent-Type: text/plain\r\n';

/** Head and body of the request, without its Host line. */
const CASES: readonly (readonly [name: string, head: string, body: string])[] = [
  ['two different lengths', `${postHead}Content-Length: 1\r\nContent-Length: 5\r\n`, 'x'],
  ['the same length twice', `${postHead}Content-Length: 1\r\nContent-Length: 1\r\n`, 'x'],
  ['a list of lengths', `${postHead}Content-Length: 1, 1\r\n`, 'x'],
  ['a length with a sign', `${postHead}Content-Length: +1\r\n`, 'x'],
  ['a length in another base', `${postHead}Content-Length: 0x1\r\n`, 'x'],
  ['a length beside chunks', `${postHead}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n`, '0\r\n\r\n'],
  ['chunks beside a length', `${postHead}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n`, '0\r\n\r\n'],
  ['chunks named twice', `${postHead}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n`, '0\r\n\r\n'],
  ['another coding before chunks', `${postHead}Transfer-Encoding: gzip, chunked\r\n`, '0\r\n\r\n'],
  ['another coding after chunks', `${postHead}Transfer-Encoding: chunked, identity\r\n`, '0\r\n\r\n'],
  ['an unknown coding', `${postHead}Transfer-Encoding: xchunked\r\n`, '0\r\n\r\n'],
  ['a space before the colon', `${postHead}Transfer-Encoding : chunked\r\n`, '0\r\n\r\n'],
  ['a folded line', `${postHead}X: a\r\n b\r\nContent-Length: 1\r\n`, 'x'],
  ['a line that begins with a space', `${postHead} Content-Length: 1\r\n`, 'x'],
  ['a NUL in a value', `${postHead}X: a\u0000b\r\nContent-Length: 1\r\n`, 'x'],
  ['a bare CR in a value', `${postHead}X: a\rContent-Length: 5\r\nContent-Length: 1\r\n`, 'x'],
  ['a chunk with a bare LF', `${postHead}Transfer-Encoding: chunked\r\n`, '1\nx\r\n0\r\n\r\n'],
  ['a chunk size with a sign', `${postHead}Transfer-Encoding: chunked\r\n`, '+1\r\nx\r\n0\r\n\r\n'],
  ['a chunk longer than it says', `${postHead}Transfer-Encoding: chunked\r\n`, '1\r\nxyz\r\n0\r\n\r\n'],
  ['a chunk size beyond all numbers', `${postHead}Transfer-Encoding: chunked\r\n`, 'fffffffffffffffff\r\nx'],
  ['a target of another host', 'GET http://evil.example/v1/cluster HTTP/1.1\r\n', ''],
  ['a target of a scheme', 'GET file:///etc/passwd HTTP/1.1\r\n', ''],
  ['a target without a slash', 'GET v1/cluster HTTP/1.1\r\n', ''],
  ['a tunnel', 'CONNECT evil.example:443 HTTP/1.1\r\n', ''],
  ['a second host', 'GET /v1/cluster HTTP/1.1\r\nHost: evil.example\r\n', ''],
  ['another expectation', `${postHead}Expect: 200-maybe\r\nContent-Length: 1\r\n`, 'x'],
  ['too many lines', `GET /v1/cluster HTTP/1.1\r\n${'a: b\r\n'.repeat(HEADER_LINES_MAX)}`, ''],
  ['another version', 'GET /v1/cluster HTTP/2.0\r\n', ''],
  ['chunks in HTTP/1.0', `${postHead.replace('1.1', '1.0')}Transfer-Encoding: chunked\r\n`, '0\r\n\r\n'],
];

describe('a request with', () => {
  it.each(CASES)('%s is refused, and nothing behind it is done', async (_name, head, body) => {
    const before = await recordCount();
    const received = await sendBytes(broker.http, `${head}Host: ${host()}\r\n\r\n${body}${smuggled()}`);
    const answers = received.match(/HTTP\/1\.1 \d+/g) ?? [];
    // A bad chunk is met when the request was under way already: then the connection just ends.
    if (received !== '') {
      expect(answers).toEqual(['HTTP/1.1 400']);
      expect(received).toContain('application/problem+json');
      expect(received).toContain('"code":"INVALID_REQUEST"');
    }
    expect(await recordCount()).toBe(before);
    expect((await call(broker.http, '/v1/cluster')).status).toBe(200);
  });

  it('trailing white space and capital letters is none of these', async () => {
    const received = await sendBytes(
      broker.http,
      `${postHead}hOST: ${host()}\r\nTransfer-Encoding:  CHUNKED \r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
    );
    expect(received).toMatch(/^HTTP\/1\.1 200 /);
  });
});

// Messages in pieces, over a real HTTP/2 stream.

import { once } from 'node:events';
import { type ClientHttp2Session, connect, createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeMessage } from '../../../server/gateway/grpc/message-pieces.ts';

const server = createServer();
let session: ClientHttp2Session;

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});

afterAll(() => {
  session.destroy();
  server.close();
});

/** What a client is sent while `write` has the stream. */
const sent = async (write: (stream: ServerHttp2Stream) => Promise<void>): Promise<Buffer> => {
  const opened = once(server, 'stream');
  const request = session.request({ ':path': '/' });
  const received = buffer(request);
  const [stream] = (await opened) as [ServerHttp2Stream];
  stream.respond();
  await write(stream);
  stream.end();
  return received;
};

const written = (stream: ServerHttp2Stream, pieces: readonly Uint8Array[]): Promise<void> =>
  new Promise(resolve => {
    writeMessage(stream, pieces, resolve);
  });

const framed = (pieces: readonly Uint8Array[]): Buffer => {
  const message = Buffer.concat(pieces);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
};

test('pieces arrive as one message behind its length, empty ones too', async () => {
  const anyMessage = fc.array(fc.uint8Array({ maxLength: 40_000, size: 'max' }), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(fc.array(anyMessage, { maxLength: 4 }), async messages => {
      const received = await sent(async stream => {
        await Promise.all(messages.map(pieces => written(stream, pieces)));
      });
      expect(received.equals(Buffer.concat(messages.map(framed)))).toBe(true);
    }),
    { numRuns: 30 },
  );
});

test('nothing is written to a stream that is gone, and nobody is told that it was', async () => {
  const opened = once(server, 'stream');
  const request = session.request({ ':path': '/' });
  const [stream] = (await opened) as [ServerHttp2Stream];
  stream.respond();
  const closed = once(stream, 'close');
  request.on('error', () => {});
  request.destroy();
  await closed;
  let isSent = false;
  writeMessage(stream, [Buffer.from('late')], () => {
    isSent = true;
  });
  expect(stream.writableLength).toBe(0);
  await sent(stream => written(stream, []));
  expect(isSent).toBe(false);
});

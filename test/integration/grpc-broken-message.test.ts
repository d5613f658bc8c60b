// A message that cannot be read, among others of its call: grpc-js ends the call by itself, whatever the handler still has to
// say, and the client must learn it.

import type { IncomingHttpHeaders } from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { encodeBatch } from '@sluice/protocol/record';
import { FetchRequestSchema, ProduceRequestSchema } from '@sluice/protocol/services';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawClient } from '../gateway/grpc/raw-client.ts';
import { frame, UnreadCall } from '../gateway/grpc/unread-call.ts';

let broker: TestBroker;
let client: RawClient;

beforeAll(async () => {
  broker = await startBroker();
  client = new RawClient(broker.grpc);
  await client.createTopic('t');
  // More than a client takes that does not read.
  const stream = client.produce();
  const batches = encodeBatch([{ key: null, value: 'x'.repeat(100_000), timestamp: 1 }]);
  for (let id = 1n; id <= 8n; id++) stream.write({ id, topic: 't', batches });
  stream.end();
  expect((await stream.rest()).map(({ result }) => result.case)).toEqual(Array.from({ length: 8 }, () => 'ack'));
});

afterAll(async () => {
  client.close();
  await broker.stop();
});

const produce = (topic: string): Uint8Array =>
  frame(
    toBinary(
      ProduceRequestSchema,
      create(ProduceRequestSchema, { id: 1n, topic, batches: encodeBatch([{ key: null, value: 'v', timestamp: 1 }]) }),
    ),
  );
const open = (stream: number): Uint8Array =>
  frame(
    toBinary(
      FetchRequestSchema,
      create(FetchRequestSchema, { request: { case: 'open', value: { stream, topic: 't', maxBytes: 1 } } }),
    ),
  );
/** A field without its value. */
const broken = frame(Uint8Array.from([0x35]));

const trailersOf = (call: UnreadCall): Promise<IncomingHttpHeaders> =>
  new Promise(resolve => call.stream.once('trailers', resolve));

/** Resolves when the broker has everything that was sent before. */
const arrived = (call: UnreadCall): Promise<void> =>
  new Promise((resolve, reject) => {
    call.stream.session!.ping(error => (error === null ? resolve() : reject(error)));
  });

const unreadable = { 'grpc-status': '13', 'grpc-message': 'Error%20deserializing%20request' };

test('a read whose answers wait for its client ends when a broken message follows', async () => {
  const call = new UnreadCall(broker.grpc, '/sluice.v1.FetchService/Fetch');
  const trailers = trailersOf(call);
  await call.sendBytes(open(1));
  // The headers are out, so a status has to be trailers.
  await call.response();
  await arrived(call);
  await call.sendBytes(broken);
  await arrived(call);
  call.stream.resume();
  expect(await trailers).toMatchObject(unreadable);
  call.close();
});

test('so does a call of refused requests', async () => {
  const call = new UnreadCall(broker.grpc, '/sluice.v1.ProduceService/Produce');
  const trailers = trailersOf(call);
  await call.sendBytes(produce('none'));
  await call.response();
  call.stream.resume();
  await call.sendBytes(Buffer.concat([...Array.from({ length: 20 }, () => produce('none')), broken]));
  expect(await trailers).toMatchObject(unreadable);
  call.close();
});

test('nothing of such calls stays open in the broker', async () => {
  const metrics = await (await fetch(`${broker.management}/metrics`)).text();
  expect(metrics).toMatch(/^sluice_open_streams\{door="grpc"\} 0$/m);
});

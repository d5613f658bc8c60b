// Whatever a peer sends to the gRPC port, the broker answers that peer and goes on serving the others.

import { once } from 'node:events';
import { constants } from 'node:http2';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { encodeBatch } from '@sluice/protocol/record';
import { FetchRequestSchema, Health, ProduceRequestSchema } from '@sluice/protocol/services';
import * as fc from 'fast-check';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawClient } from '../gateway/grpc/raw-client.ts';
import { frame, UnreadCall } from '../gateway/grpc/unread-call.ts';

let broker: TestBroker;
let client: RawClient;

beforeAll(async () => {
  broker = await startBroker();
  client = new RawClient(broker.grpc);
  await client.createTopic('t', 2);
});

/** The broker is still there. */
const expectServing = async (): Promise<void> => {
  expect(await client.unary(Health.method.check, {})).toMatchObject({ status: 1 });
};

afterAll(async () => {
  client.close();
  await broker.stop();
});

const methods = [
  '/sluice.v1.ProduceService/Produce',
  '/sluice.v1.FetchService/Fetch',
  '/sluice.v1.AdminService/CreateTopic',
  '/sluice.v1.AdminService/ListTopics',
  '/sluice.v1.AdminService/DescribeTopic',
  '/sluice.v1.AdminService/AlterTopic',
  '/sluice.v1.AdminService/DeleteTopic',
  '/sluice.v1.AdminService/ListOffsets',
  '/sluice.v1.MetadataService/GetMetadata',
  '/grpc.health.v1.Health/Check',
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
];

/** Every call ends by itself once the client has half-closed, but one that opened a read of the tail. */
const exchange = async (path: string, messages: readonly Uint8Array[]): Promise<number> => {
  const call = client.bytes(path);
  for (const message of messages) call.write(message);
  call.end();
  if (path.endsWith('/Fetch')) {
    const probe = await client.unary(Health.method.check, {});
    expect(probe.status).toBe(1);
    call.cancel();
  }
  return (await call.status).code;
};

test('random bytes as messages end at most their own call', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...methods),
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 4 }),
      async (path, messages) => {
        const code = await exchange(path, messages);
        // OK, CANCELLED, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, UNIMPLEMENTED (two messages to a unary method), INTERNAL (not a message).
        expect([0, 1, 3, 5, 6, 12, 13]).toContain(code);
      },
    ),
    { numRuns: 400 },
  );
  await expectServing();
});

const anInt64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const anInt32 = fc.oneof(fc.integer({ min: -2, max: 3 }), fc.integer());
const aTopic = fc.oneof(fc.constant('t'), fc.string({ unit: 'grapheme', maxLength: 10 }));
const aCredit = fc.record({ records: anInt64, bytes: anInt64 });

const aFetchRequest = fc
  .oneof(
    fc.record({
      case: fc.constant('open' as const),
      value: fc.record({
        stream: fc.integer({ min: 0, max: 3 }),
        topic: aTopic,
        partition: anInt32,
        from: fc.oneof(
          fc.record({
            case: fc.constantFrom('offset', 'timestampMs', 'tail'),
            value: fc.oneof(fc.constant(0n), anInt64),
          }),
          fc.record({ case: fc.constant('position'), value: anInt32 }),
          fc.constant({ case: undefined }),
        ),
        isolation: anInt32,
        form: anInt32,
        credit: fc.option(aCredit, { nil: undefined }),
        maxBytes: fc.nat(),
        untilEnd: fc.boolean(),
      }),
    }),
    fc.record({
      case: fc.constant('credit' as const),
      value: fc.record({ stream: fc.integer({ min: 0, max: 3 }), credit: fc.option(aCredit, { nil: undefined }) }),
    }),
    fc.record({ case: fc.constant('close' as const), value: fc.record({ stream: fc.integer({ min: 0, max: 3 }) }) }),
  )
  .map(request => toBinary(FetchRequestSchema, create(FetchRequestSchema, { request } as never)));

test('any fetch requests in any order leave a call that ends when it is cancelled', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(aFetchRequest, { maxLength: 12 }), async messages => {
      expect([0, 1]).toContain(await exchange('/sluice.v1.FetchService/Fetch', messages));
    }),
    { numRuns: 300 },
  );
  await expectServing();
});

const someBytes = fc.uint8Array({ maxLength: 100 });
const aRecord = fc.record(
  { key: someBytes, value: someBytes, timestampMs: fc.oneof(fc.constant(1n), anInt64) },
  { requiredKeys: [] },
);
const goodBatch = encodeBatch([{ key: 'k', value: 'v', timestamp: 1 }]);
const aBatch = fc.oneof(
  fc.constant(goodBatch),
  someBytes,
  fc.tuple(fc.nat(goodBatch.length - 1), fc.nat(255)).map(([at, byte]) => {
    const damaged = Uint8Array.from(goodBatch);
    damaged[at] = byte;
    return damaged;
  }),
);

test('every produce request that asks for an answer gets exactly one, with its id', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          topic: aTopic,
          partition: anInt32,
          acks: fc.constantFrom(0, 1, 5),
          timeoutMs: fc.constantFrom(0, 1_000, 400_000),
          batches: fc.oneof(fc.constant(new Uint8Array()), aBatch),
          records: fc.array(aRecord, { maxLength: 3 }),
          compression: fc.integer({ min: -1, max: 6 }),
        }),
        { maxLength: 10 },
      ),
      async requests => {
        const stream = client.produce();
        for (const [id, request] of requests.entries()) stream.write({ id: BigInt(id), ...request } as never);
        stream.end();
        const ids = (await stream.rest()).map(answer => Number(answer.id));
        expect(ids.toSorted((a, b) => a - b)).toEqual(requests.map((_, index) => index));
        expect((await stream.status).code).toBe(0);
      },
    ),
    { numRuns: 200 },
  );
  await expectServing();
});

test('a message beyond the largest size ends its call, before it is read', async () => {
  const call = new UnreadCall(broker.grpc, '/sluice.v1.ProduceService/Produce');
  await call.sendBytes(Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]));
  expect(await call.status()).toBe(8);
  call.close();
  await expectServing();
});

test('a compressed message that inflates without end, or not at all, ends its call', async () => {
  const bodies: [Uint8Array, number][] = [
    [gzipSync(Buffer.alloc(64 * 1024 * 1024)), 8],
    [Buffer.from('not gzip at all'), 13],
  ];
  for (const [body, status] of bodies) {
    const call = new UnreadCall(broker.grpc, '/sluice.v1.ProduceService/Produce', { 'grpc-encoding': 'gzip' });
    await call.sendBytes(frame(body, true));
    expect(await call.status()).toBe(status);
    call.close();
  }
  await expectServing();
});

test('a call cut in the middle of a message is forgotten', async () => {
  const request = create(ProduceRequestSchema, { id: 1n, topic: 't', batches: goodBatch });
  const bytes = frame(toBinary(ProduceRequestSchema, request));
  const before = await broker.broker.describeTopic('t');
  for (let cutAt = 0; cutAt < bytes.length; cutAt += 7) {
    const call = new UnreadCall(broker.grpc, '/sluice.v1.ProduceService/Produce');
    await call.sendBytes(bytes.subarray(0, cutAt));
    if (cutAt % 2 === 0) call.stream.close(constants.NGHTTP2_CANCEL);
    call.close();
    await call.closed;
  }
  expect(await broker.broker.describeTopic('t')).toEqual(before);
  await expectServing();
});

test('bytes that are no HTTP/2 at all end at most their own connection', async () => {
  const [host = '', port = ''] = broker.grpc.split(':');
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.uint8Array({ minLength: 1, maxLength: 300 }), async (hasPreface, bytes) => {
      const socket = connect({ host, port: Number(port) });
      socket.on('error', () => {});
      await once(socket, 'connect');
      await new Promise<void>(resolve => {
        socket.write(hasPreface ? Buffer.concat([preface, bytes]) : bytes, () => resolve());
      });
      socket.destroy();
    }),
    { numRuns: 100 },
  );
  expect(await client.unary(Health.method.check, {})).toMatchObject({ status: 1 });
});

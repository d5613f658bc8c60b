// Whatever a peer sends to the gRPC port, the broker answers that peer and goes on serving the others. How many requests, and
// which: fuzzed-broker.ts.

import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:http2';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { create, type DescMethod, type DescService, fromBinary, toBinary } from '@bufbuild/protobuf';
import { errorTable, grpcStatus, isErrorCode } from '@sluice/protocol/errors';
import * as services from '@sluice/protocol/services';
import {
  Acks,
  AdminService,
  FetchResponseSchema,
  Health,
  ProduceRequestSchema,
  ProduceResponseSchema,
} from '@sluice/protocol/services';
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { errorInfo, RawClient } from '../gateway/grpc/raw-client.ts';
import { frame, UnreadCall } from '../gateway/grpc/unread-call.ts';
import { anyMessage, soundBatch } from './any-message.ts';
import { FUZZ_TEST_MS, FuzzedBroker, NEVER, plan } from './fuzzed-broker.ts';

let broker: FuzzedBroker;
let address: string;
let client: RawClient;

beforeAll(async () => {
  broker = await FuzzedBroker.start('gRPC');
  address = broker.process.grpc;
  client = new RawClient(address);
});

afterAll(async () => {
  client.close();
  await broker.stop();
});

/** The broker is still there. */
const expectServing = async (): Promise<void> => {
  expect(await client.unary(Health.method.check, {})).toMatchObject({ status: 1 });
};

// ---- Every method -------------------------------------------------------------------------------------------------

const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

const methods: readonly DescMethod[] = Object.values(services)
  .filter(each => typeof each === 'object' && 'kind' in each && (each as { kind: string }).kind === 'service')
  .flatMap(service => (service as DescService).methods);

/** What stands in the documents, read as text. What brokers say to each other has a port of its own (test/io/peer-link.test.ts). */
const documentedPaths = (): string[] => {
  const root = new URL('../../proto/', import.meta.url);
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.proto') && !name.includes('node_modules') && !name.startsWith('sluice/internal/'))
    .flatMap(name => {
      const source = readFileSync(new URL(name, root), 'utf8');
      const packageName = /^package ([\w.]+);/m.exec(source)?.[1];
      return [...source.matchAll(/^service (\w+) \{([^}]*)\}/gm)].flatMap(([, service, body]) =>
        [...body!.matchAll(/^ *rpc (\w+)/gm)].map(([, rpc]) => `/${packageName}.${service}/${rpc}`),
      );
    });
};

test('every method that the documents list is fuzzed', () => {
  expect(methods.map(pathOf).sort()).toEqual(documentedPaths().sort());
  expect(methods.length).toBeGreaterThan(10);
});

/** Cancelled calls that one connection is used for: the broker ends a session that resets many streams. */
const CANCELLED_MAX = 150;

class Connection {
  #client = new RawClient(address);
  #cancelled = 0;

  /** The call; `isOpen` for one that the broker may not end by itself. */
  bytes(path: string, isOpen: boolean): ReturnType<RawClient['bytes']> {
    if (isOpen) this.#cancelled++;
    return this.#client.bytes(path);
  }

  /** Between runs. */
  renewWhenUsed(): void {
    if (this.#cancelled < CANCELLED_MAX) return;
    this.#client.close();
    this.#client = new RawClient(address);
    this.#cancelled = 0;
  }

  close(): void {
    this.#client.close();
  }
}

interface FuzzCall {
  readonly path: string;
  readonly method: DescMethod | null;
  readonly messages: readonly Uint8Array[];
}

/** Some go on until the client has enough. */
const isOpenEnded = ({ path, method }: FuzzCall): boolean =>
  path.endsWith('/Fetch') || method?.methodKind === 'server_streaming';

/** Answers the status, and the problems of calls that tell them in band. */
const exchange = async (
  connection: Connection,
  fuzzed: FuzzCall,
): Promise<{ readonly code: number; readonly problems: readonly string[] }> => {
  const { path, method, messages } = fuzzed;
  const isOpen = isOpenEnded(fuzzed);
  const call = connection.bytes(path, isOpen);
  for (const message of messages) call.write(message);
  call.end();
  const answers: Buffer[] = [];
  if (isOpen) {
    // One message or the end shows that it was taken; a fetch may have nothing to say, so another request shows it.
    if (method?.methodKind === 'server_streaming') answers.push(...[await call.next()].filter(each => each !== null));
    else await expectServing();
    call.cancel();
  }
  answers.push(...(await call.rest()));
  const { code, metadata } = await call.status;
  const reason = errorInfo(metadata)?.reason;
  return { code, problems: [...(reason === undefined ? [] : [reason]), ...inBand(method, answers)] };
};

const inBand = (method: DescMethod | null, answers: readonly Buffer[]): string[] => {
  const problems: string[] = [];
  for (const answer of answers) {
    if (method?.output === ProduceResponseSchema) {
      const { result } = fromBinary(ProduceResponseSchema, answer);
      if (result.case === 'error') problems.push(result.value.code);
    } else if (method?.output === FetchResponseSchema) {
      const { payload } = fromBinary(FetchResponseSchema, answer);
      if (payload.case === 'error') problems.push(payload.value.code);
    }
  }
  return problems;
};

/** A batch may be broken, and be stored with records that cannot be read. */
const isAllowed = (code: string): boolean =>
  isErrorCode(code) && (code === 'CORRUPT_BATCH' || (!NEVER.has(code) && errorTable[code].http < 500));

const runCalls = async (
  connection: Connection,
  calls: readonly FuzzCall[],
  codes: ReadonlySet<number>,
): Promise<void> => {
  await Promise.all(
    calls.map(async call => {
      const work = exchange(connection, call);
      const { code, problems } = await broker.timed(call.path, Math.max(1, call.messages.length), work);
      expect(codes, call.path).toContain(code);
      for (const problem of problems) expect(isAllowed(problem), `${call.path}: ${problem}`).toBe(true);
    }),
  );
  connection.renewWhenUsed();
  await broker.refillWhenGrown();
};

const someOf = (call: fc.Arbitrary<FuzzCall>): fc.Arbitrary<FuzzCall[]> =>
  fc.array(call, { minLength: 1, maxLength: 16, size: 'max' });

const OLDER_REFLECTION = '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo';

test('random bytes as messages end at most their own call', { timeout: FUZZ_TEST_MS }, async () => {
  const strange = [OLDER_REFLECTION, '/sluice.v1.AdminService/Nothing', '/'];
  const targets = [
    ...methods.map(method => ({ path: pathOf(method), method })),
    ...strange.map(path => ({ path, method: null })),
  ];
  const anyCall = fc
    .tuple(fc.constantFrom(...targets), fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 4 }))
    .map(([{ path, method }, messages]) => ({ path, method, messages }));
  const connection = new Connection();
  // INTERNAL is how grpc-js says that something is no message; UNIMPLEMENTED is also for two messages where one is right.
  const codes = new Set([0, 1, 3, 5, 6, 8, 9, 11, 12, 13]);
  await fc.assert(
    fc.asyncProperty(someOf(anyCall), calls => runCalls(connection, calls, codes)),
    plan(60),
  );
  connection.close();
  await expectServing();
});

test('any messages of every method are answered as the error table says', { timeout: FUZZ_TEST_MS }, async () => {
  const ofMethod = (method: DescMethod): { weight: number; arbitrary: fc.Arbitrary<FuzzCall> } => {
    const isStream = method.methodKind === 'bidi_streaming';
    const most = isStream ? 12 : 1;
    const messages = fc.array(anyMessage(method.input), { minLength: isStream ? 0 : 1, maxLength: most, size: 'max' });
    // Changes of topics wait for the disk several times each.
    const weight = isStream ? 6 : /Create|Alter|Delete/.test(method.name) ? 1 : 2;
    return { weight, arbitrary: messages.map(each => ({ path: pathOf(method), method, messages: each })) };
  };
  const asked = new Set<string>();
  const connection = new Connection();
  const refusals = Object.values(errorTable).filter(({ http }) => http < 500);
  const codes = new Set([0, 1, ...refusals.map(({ grpc }) => grpcStatus[grpc])]);
  await fc.assert(
    fc.asyncProperty(someOf(fc.oneof(...methods.map(ofMethod))), calls => {
      for (const { path } of calls) asked.add(path);
      return runCalls(connection, calls, codes);
    }),
    plan(60),
  );
  connection.close();
  await expectServing();
  expect([...asked].sort()).toEqual(methods.map(pathOf).sort());
});

test('every produce request that asks for an answer gets exactly one, with its id', {
  timeout: FUZZ_TEST_MS,
}, async () => {
  const aRequest = anyMessage(ProduceRequestSchema).map(bytes => {
    const request = fromBinary(ProduceRequestSchema, bytes);
    // Without acknowledgement only refusals are answered.
    if (request.acks === Acks.NONE) request.acks = Acks.LEADER;
    return request;
  });
  const stream = async (requests: readonly services.ProduceRequest[]): Promise<void> => {
    const call = client.produce();
    for (const [id, request] of requests.entries()) call.write({ ...request, id: BigInt(id) });
    call.end();
    const ids = (await call.rest()).map(answer => Number(answer.id));
    expect(ids.toSorted((a, b) => a - b)).toEqual(requests.map((_, index) => index));
    expect((await call.status).code).toBe(0);
  };
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(aRequest, { maxLength: 10, size: 'max' }), { minLength: 1, maxLength: 6 }),
      async streams => {
        await Promise.all(
          streams.map(requests => broker.timed('a stream of produce requests', requests.length, stream(requests))),
        );
        await broker.refillWhenGrown();
      },
    ),
    plan(60),
  );
  await expectServing();
});

test('a message beyond the largest size ends its call, before it is read', async () => {
  const call = new UnreadCall(address, '/sluice.v1.ProduceService/Produce');
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
    const call = new UnreadCall(address, '/sluice.v1.ProduceService/Produce', { 'grpc-encoding': 'gzip' });
    await call.sendBytes(frame(body, true));
    expect(await call.status()).toBe(status);
    call.close();
  }
  await expectServing();
});

test('a call cut in the middle of a message is forgotten', async () => {
  const request = create(ProduceRequestSchema, { id: 1n, topic: 't', batches: soundBatch });
  const bytes = frame(toBinary(ProduceRequestSchema, request));
  const before = await client.unary(AdminService.method.describeTopic, { name: 't' });
  for (let cutAt = 0; cutAt < bytes.length; cutAt += 7) {
    const call = new UnreadCall(address, '/sluice.v1.ProduceService/Produce');
    await call.sendBytes(bytes.subarray(0, cutAt));
    if (cutAt % 2 === 0) call.stream.close(constants.NGHTTP2_CANCEL);
    call.close();
    await call.closed;
  }
  expect(await client.unary(AdminService.method.describeTopic, { name: 't' })).toEqual(before);
  await expectServing();
});

test('bytes that are no HTTP/2 at all end at most their own connection', { timeout: FUZZ_TEST_MS }, async () => {
  const [host = '', port = ''] = address.split(':');
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const send = async (bytes: Uint8Array): Promise<void> => {
    const socket = connect({ host, port: Number(port) });
    socket.on('error', () => {});
    await once(socket, 'connect');
    await new Promise<void>(resolve => {
      socket.write(bytes, () => resolve());
    });
    socket.destroy();
  };
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.uint8Array({ minLength: 1, maxLength: 300 }), (hasPreface, bytes) =>
      broker.timed('bytes', 1, send(hasPreface ? Buffer.concat([preface, bytes]) : bytes)),
    ),
    plan(100),
  );
  await expectServing();
});

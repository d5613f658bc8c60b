// The decoders that the bytes of a broker's answers reach in the clients, Node's and the browser's: whatever comes, a program
// is told by a SluiceError, or reads something.

import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { encodeBatch, sealBatch, type Codec } from '@sluice/protocol/record';
import { ErrorInfoSchema, StatusSchema } from '@sluice/protocol/services';
import { json, SluiceError, text } from '@sluice/client';
import { defineTopic, type Message, Sluice, text as browserText } from '@sluice/client/browser';
import { MessageDecoder } from '../../sdk/message-decoder.ts';
import { PartitionRead } from '../../sdk/partition-read.ts';
import { failureOfStatus } from '../../sdk/transport/status.ts';
import { readPosition } from '../../sdk/browser/position.ts';
import { record, ScriptedWorld } from '../sdk/browser/scripted-socket.ts';
import type { Decoder } from './decoder-run.ts';

const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const HEADER_BYTES = 61;
const batches = CODECS.map(codec =>
  encodeBatch(
    [
      { key: 'k', value: '{"a":1}', headers: [{ key: 'h', value: 'x' }], timestamp: 1 },
      { key: null, value: 'x'.repeat(100), headers: [], timestamp: 2 },
    ],
    { codec },
  ),
);

/** What a program may be told. */
const told = (look: () => unknown): void => {
  try {
    look();
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
  }
};

const readMessages = async (bytes: Uint8Array): Promise<void> => {
  const read = new PartitionRead(
    {
      topic: 't',
      partition: 0,
      start: { kind: 'earliest' },
      isolation: 'read_uncommitted',
      untilEnd: false,
      windowBytes: 1_000,
    },
    { fraction: () => 0.5 },
  );
  // Bytes that are no whole batches are told from others before anything is decoded.
  const piece = read.received(bytes);
  if (piece === null) return;
  const decoder = new MessageDecoder(piece, { name: 't', key: text, value: json<unknown>() });
  try {
    while (!decoder.isDone) {
      const decoded = decoder.next();
      const { messages } = decoded instanceof Promise ? await decoded : decoded;
      for (const message of messages) {
        told(() => message.key);
        told(() => message.value);
        const { keyBytes, valueBytes, headers } = message.copy();
        if (keyBytes?.length !== message.keyBytes?.length) throw new Error('a copy has another key');
        if (valueBytes?.length !== message.valueBytes?.length) throw new Error('a copy has another value');
        if (headers.length !== message.headers.length) throw new Error('a copy has other headers');
      }
    }
  } catch (error) {
    if (!(error instanceof SluiceError) || error.code !== 'CORRUPT_BATCH') throw error;
  }
};

const topic = defineTopic({ name: 't', key: browserText, value: browserText });

/** A page that reads and writes, and is sent `frame` by whatever answers at its broker's address. */
const receiveInBrowser = async (frame: string): Promise<void> => {
  const world = new ScriptedWorld();
  const sluice = new Sluice({ url: 'http://127.0.0.1:8080' }, world);
  const leaving = new AbortController();
  const reader = sluice.reader({ topic, signal: leaving.signal });
  const producer = sluice.producer({ topic, lingerMs: 0, signal: leaving.signal });
  // Both may end by a refusal that came.
  const taken = reader[Symbol.asyncIterator]()
    .next()
    .then(({ value }) => value as Message<string, string> | undefined, expectTold);
  const sent = producer.send({ value: 'x' }).then(() => {}, expectTold);
  await world.clock.advance(0);
  const { socket } = world;
  socket.open();
  socket.answer({ id: 1, op: 'subscribed', subscription: 's1' });
  socket.receive(frame);
  socket.answer({ op: 'records', subscription: 's1', cursor: 'c9', records: [record(9, 'z')] });
  leaving.abort(new SluiceError('REQUEST_TIMED_OUT', 'the page is left'));
  const message = await taken;
  await sent;
  if (message === undefined) return;
  told(() => message.key);
  told(() => message.value);
  for (const { value } of message.headers) {
    if (value !== null && !(value instanceof Uint8Array)) throw new Error('a header that is no bytes');
  }
};

const expectTold = (error: unknown): undefined => {
  if (!(error instanceof SluiceError)) throw error;
};

const frameText = (frame: unknown): Uint8Array => Buffer.from(JSON.stringify(frame));

const statusDetails = toBinary(
  StatusSchema,
  create(StatusSchema, {
    code: 5,
    message: 'm',
    details: [
      anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: 'TOPIC_NOT_FOUND', metadata: { topic: 't' } })),
    ],
  }),
);

export const clientDecoders: readonly Decoder[] = [
  { name: 'messages of a client', sound: batches, decode: readMessages },
  {
    name: 'messages of a client, with a checksum that fits',
    sound: batches,
    decode(bytes) {
      if (bytes.length >= HEADER_BYTES) sealBatch(bytes);
      return readMessages(bytes);
    },
  },
  {
    name: 'frame in a browser',
    sound: [
      frameText({ op: 'records', subscription: 's1', cursor: 'c1', records: [record(0, 'x'), record(1, 'y', 2)] }),
      frameText({
        op: 'records',
        subscription: 's1',
        cursor: 'c1',
        records: [
          { ...record(0, ''), key_base64: '/wA=', value_text: undefined, value_base64: 'AAA=' },
          {
            ...record(1, ''),
            headers: [
              { key: 'a', value: 'b' },
              { key: 'c', value_base64: '/w==' },
            ],
          },
        ],
      }),
      frameText({ id: 2, op: 'produced', offsets: [{ partition: 0, offset: 1, timestamp: 1 }] }),
      frameText({ id: 2, op: 'produced', offsets: [{ partition: 0, problem: { code: 'THROTTLED', status: 429 } }] }),
      frameText({ id: 2, op: 'error', problem: { code: 'TOPIC_NOT_FOUND', status: 404, detail: 'd', topic: 't' } }),
      frameText({ op: 'error', subscription: 's1', problem: { code: 'OFFSET_OUT_OF_RANGE', status: 416 } }),
      frameText({ op: 'draining', resume_within_ms: 5 }),
    ],
    decode: bytes => receiveInBrowser(Buffer.from(bytes).toString('utf8')),
  },
  {
    name: 'position of a reader in a browser',
    sound: [Buffer.from('AbC-_9~0.17~3.9007199254740991')],
    decode: bytes => told(() => readPosition(Buffer.from(bytes).toString('utf8'))),
  },
  {
    name: 'details of a status',
    sound: [statusDetails],
    decode(bytes) {
      const metadata = new Metadata();
      metadata.set('grpc-status-details-bin', Buffer.from(bytes));
      const error: ServiceError = Object.assign(new Error('e'), { code: status.NOT_FOUND, details: 'd', metadata });
      return failureOfStatus('127.0.0.1:1', error);
    },
  },
];

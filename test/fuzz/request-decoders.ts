// The decoders that the bytes of requests reach.

import { fromBinary, toBinary, create } from '@bufbuild/protobuf';
import {
  checkClientBatch,
  compressSync,
  decodeRecords,
  decompressSync,
  encodeBatch,
  inspectBatch,
  sealBatch,
  splitBatches,
  type Codec,
} from '@sluice/protocol/record';
import {
  CreateTopicRequestSchema,
  FetchRequestSchema,
  ProduceRequestSchema,
  ServerReflectionRequestSchema,
} from '@sluice/protocol/services';
import { decodeCursor, encodeCursor } from '../../server/gateway/cursor.ts';
import { MessageFraming } from '../../server/gateway/grpc/message-admission.ts';
import { checkOpen } from '../../server/gateway/grpc/read-request.ts';
import { decodeText, parseJson } from '../../server/gateway/json-text.ts';
import { readHeaderForm, readRecordForm, readRecordList } from '../../server/gateway/record-json.ts';
import { RecordScan } from '../../server/gateway/record-scan.ts';
import { LineSplitter } from '../../server/gateway/rest/line-splitter.ts';
import { parseTimestamp } from '../../server/gateway/timestamp-text.ts';
import { readFrame } from '../../server/gateway/websocket/request.ts';
import { offset, topicId } from '@sluice/protocol/ids';
import type { Decoder } from './decoder-run.ts';

const DECOMPRESSED_BYTES_MAX = 100_000;
const LIMITS = { bytesMax: 100_000, verifyCrc: true };
const HEADER_BYTES = 61;
const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const records = [
  { key: 'k', value: 'v', headers: [{ key: 'h', value: 'x' }], timestamp: 1 },
  { key: null, value: 'x'.repeat(200), headers: [], timestamp: 2 },
];

const bytesOf = (text: string): Uint8Array => Buffer.from(text);
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
const recordText =
  '{"key":"k","value":{"a":[1,2.50,null,"\\ud83d\\ude00"]},"headers":{"h":"x"},"partition":1,"timestamp":1}';
const aCursor = encodeCursor({
  topicId: topicId('00000000-0000-4000-8000-000000000001'),
  positions: [
    { partition: 0, offset: offset(5) },
    { partition: 7, offset: offset(2 ** 40) },
  ],
});

const json = (bytes: Uint8Array): unknown => {
  const text = decodeText(Buffer.from(bytes));
  if (text === null) return null;
  const parsed = parseJson(text);
  return parsed.ok ? parsed.value : null;
};

const compressed = (codec: Codec): Decoder => ({
  name: `frame of ${codec}`,
  sound: [compressSync(codec, bytesOf('sluice '.repeat(40))), compressSync(codec, new Uint8Array(1_000))],
  decode: bytes => decompressSync(codec, bytes, DECOMPRESSED_BYTES_MAX),
});

export const requestDecoders: readonly Decoder[] = [
  {
    name: 'batch',
    sound: CODECS.map(codec => encodeBatch(records, { codec })),
    decode(bytes) {
      inspectBatch(bytes, 0, LIMITS);
      splitBatches(bytes, LIMITS);
      if (bytes.length >= HEADER_BYTES) checkClientBatch(bytes, 0);
      return decodeRecords(bytes, { decompressedBytesMax: DECOMPRESSED_BYTES_MAX });
    },
  },
  {
    name: 'batch with a checksum that fits',
    sound: CODECS.map(codec => encodeBatch(records, { codec })),
    decode(bytes) {
      if (bytes.length >= HEADER_BYTES) sealBatch(bytes);
      return decodeRecords(bytes, { decompressedBytesMax: DECOMPRESSED_BYTES_MAX });
    },
  },
  ...CODECS.filter(codec => codec !== 'none').map(compressed),
  { name: 'cursor', sound: [bytesOf(aCursor)], decode: bytes => decodeCursor(textOf(bytes)) },
  {
    name: 'cursor of any bytes',
    sound: [Buffer.from(aCursor, 'base64url')],
    decode: bytes => decodeCursor(Buffer.from(bytes).toString('base64url')),
  },
  { name: 'record form', sound: [bytesOf(recordText)], decode: bytes => readRecordForm(json(bytes)) },
  {
    name: 'record in its text',
    sound: [bytesOf(recordText), bytesOf('{ "key":"k", "value_text":"x", "partition":1 }')],
    decode(bytes) {
      const scan = new RecordScan();
      return scan.recordLine(bytes) || scan.valueLine(bytes);
    },
  },
  {
    name: 'record list',
    sound: [bytesOf(`[${recordText},{"value":null}]`)],
    decode: bytes => readRecordList(json(bytes)),
  },
  {
    name: 'headers',
    sound: [bytesOf('[{"key":"a","value_base64":"AA=="}]')],
    decode: bytes => readHeaderForm(json(bytes)),
  },
  {
    name: 'lines',
    sound: [bytesOf(`${recordText}\n{"value":1}\n\n`)],
    decode(bytes) {
      const splitter = new LineSplitter();
      const lines: Uint8Array[] = [];
      const middle = bytes.length >> 1;
      for (const piece of [bytes.subarray(0, middle), bytes.subarray(middle)]) {
        splitter.push(Buffer.from(piece));
        for (let line = splitter.next(); line !== null; line = splitter.next()) lines.push(line);
      }
      return lines.map(line => readRecordForm(json(line)));
    },
  },
  {
    name: 'timestamp',
    sound: [bytesOf('2026-01-02T03:04:05.678Z'), bytesOf('17')],
    decode: bytes => parseTimestamp(textOf(bytes)),
  },
  {
    name: 'WebSocket frame',
    sound: [
      bytesOf(`{"id":1,"op":"produce","topic":"t","records":[${recordText}]}`),
      bytesOf('{"id":2,"op":"subscribe","topic":"t","from":"earliest","credit":{"records":5,"bytes":100}}'),
      bytesOf('{"op":"credit","subscription":"s1","records":5,"bytes":6}'),
      bytesOf('{"id":5,"op":"unsubscribe","subscription":"s1"}'),
    ],
    decode: bytes => readFrame(textOf(bytes)),
  },
  {
    name: 'gRPC produce request',
    sound: [
      toBinary(
        ProduceRequestSchema,
        create(ProduceRequestSchema, { id: 1n, topic: 't', batches: encodeBatch(records) }),
      ),
    ],
    decode: bytes => message(() => fromBinary(ProduceRequestSchema, bytes)),
  },
  {
    name: 'gRPC fetch request',
    sound: [
      toBinary(
        FetchRequestSchema,
        create(FetchRequestSchema, {
          request: { case: 'open', value: { stream: 1, topic: 't', from: { case: 'offset', value: 5n } } },
        }),
      ),
    ],
    decode(bytes) {
      const request = message(() => fromBinary(FetchRequestSchema, bytes))?.request;
      return request?.case === 'open' ? checkOpen(request.value) : null;
    },
  },
  {
    name: 'gRPC admin request',
    sound: [toBinary(CreateTopicRequestSchema, create(CreateTopicRequestSchema, { name: 't', partitionCount: 1 }))],
    decode: bytes => message(() => fromBinary(CreateTopicRequestSchema, bytes)),
  },
  {
    name: 'gRPC reflection request',
    sound: [toBinary(ServerReflectionRequestSchema, create(ServerReflectionRequestSchema, { host: 'h' }))],
    decode: bytes => message(() => fromBinary(ServerReflectionRequestSchema, bytes)),
  },
  {
    name: 'gRPC framing',
    sound: [Buffer.from([0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0])],
    decode: bytes => new MessageFraming().receive(bytes),
  },
];

/** The generated decoder throws on what is no message; grpc-js answers INTERNAL then, as it must. */
const message = <Message>(decode: () => Message): Message | null => {
  try {
    return decode();
  } catch (error) {
    // The decoder's own refusals are plain errors; text that is not UTF-8 has a code of Node's.
    const isRefusal = error instanceof Error && (error.name === 'Error' || error.name === 'RangeError');
    const { code } = error as { readonly code?: string };
    if (isRefusal || code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return null;
    throw error;
  }
};

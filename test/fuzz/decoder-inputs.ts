// Every decoder that outside bytes reach, each with sound inputs to start from, and a run of mutated ones: what must hold is
// that it answers, without throwing, within a bound of time.
//
// Input `n` of decoder `d` is a function of the seed, `d` and `n` alone, so that one input can be replayed.

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
import { LineSplitter } from '../../server/gateway/rest/line-splitter.ts';
import { parseTimestamp } from '../../server/gateway/timestamp-text.ts';
import { readFrame } from '../../server/gateway/websocket/request.ts';
import { offset, topicId } from '@sluice/protocol/ids';
import { SeededRandom } from '../simulation/random.ts';

export interface Decoder {
  readonly name: string;
  readonly sound: readonly Uint8Array[];
  readonly decode: (bytes: Uint8Array) => unknown;
}

export interface FuzzFinding {
  readonly decoder: string;
  readonly seed: string;
  readonly input: number;
  readonly bytes: string;
  readonly fault: string;
}

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

export const decoders: readonly Decoder[] = [
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

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x5b, 0x7b, 0x7d, 0x0a];

/** A sound input with a few bytes changed, a part left out, doubled or moved, or bytes without any sense. */
export const makeInput = (decoder: Decoder, random: SeededRandom): Uint8Array => {
  if (random.chance(0.05)) return Uint8Array.from({ length: random.below(120) }, () => random.below(256));
  let bytes = Uint8Array.from(random.pick(decoder.sound));
  for (let edits = random.between(1, 4); edits > 0 && bytes.length > 0; edits--) {
    const at = random.below(bytes.length);
    switch (random.below(5)) {
      case 0:
        bytes[at] = random.below(256);
        break;
      case 1:
        bytes[at] = random.pick(INTERESTING);
        break;
      case 2:
        bytes[at]! ^= 1 << random.below(8);
        break;
      case 3:
        bytes = bytes.slice(0, at);
        break;
      default: {
        const end = Math.min(bytes.length, at + random.below(16));
        bytes = Uint8Array.from([...bytes.subarray(0, end), ...bytes.subarray(at)]);
      }
    }
  }
  return bytes;
};

export interface FuzzOutcome {
  readonly inputs: number;
  readonly findings: readonly FuzzFinding[];
  readonly slowest: FuzzFinding | null;
  readonly slowestMs: number;
}

/** Runs `inputs` inputs over all decoders in turn, from number `from` on. */
export const fuzzDecoders = (
  all: readonly Decoder[],
  plan: { readonly seed: string; readonly inputs: number; readonly from?: number },
): FuzzOutcome => {
  const findings: FuzzFinding[] = [];
  let slowest: FuzzFinding | null = null;
  let slowestMs = 0;
  const from = plan.from ?? 0;
  for (let input = from; input < from + plan.inputs; input++) {
    const decoder = all[input % all.length]!;
    const bytes = makeInput(decoder, new SeededRandom(`${plan.seed}/${decoder.name}/${input}`));
    const finding = (fault: string): FuzzFinding => ({
      decoder: decoder.name,
      seed: plan.seed,
      input,
      bytes: Buffer.from(bytes).toString('hex'),
      fault,
    });
    const startedMs = performance.now();
    try {
      decoder.decode(bytes);
    } catch (error) {
      findings.push(finding(String(error)));
    }
    const tookMs = performance.now() - startedMs;
    if (tookMs > slowestMs) {
      slowestMs = tookMs;
      slowest = finding(`${tookMs.toFixed(1)} ms`);
    }
  }
  return { inputs: plan.inputs, findings, slowest, slowestMs };
};

// Every way in which records go in. Each takes a set and resolves when all of it is acknowledged.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { isUtf8 } from 'node:buffer';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { BatchBuilder, type Codec } from '@sluice/protocol/record';
import { Compression, type RecordSchema } from '@sluice/protocol/services';
import type { Delivery, Ticket } from '@sluice/client';
import { sluice } from './command-line.ts';
import type { Doors } from './doors.ts';
import type { Answer } from './grpc-streams.ts';
import type { RecordSet, SetRecord, Spelling } from './record-set.ts';
import { TestSocket } from './web-socket-client.ts';

export type WayCodec = Codec;

export interface WayIn {
  readonly name: string;
  /** `records`: everything. `values`: values alone, into one partition. */
  readonly carries: 'records' | 'values';
  /** What becomes of a JSON value's spelling. */
  readonly spelling: Spelling;
  readonly codecs: readonly WayCodec[];
  send(doors: Doors, topic: string, set: RecordSet, codec: WayCodec): Promise<void>;
}

const ALL_CODECS: readonly WayCodec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const RECORDS_A_REQUEST = 500;
const PIECE_BYTES = 64 * 1024;

const compressions = {
  none: Compression.NONE,
  gzip: Compression.GZIP,
  snappy: Compression.SNAPPY,
  lz4: Compression.LZ4,
  zstd: Compression.ZSTD,
};

/** A record as the JSON doors take it. JSON values go as values where that keeps their bytes. */
function recordForm(record: SetRecord): object {
  const { key, value, headers, timestamp, partition } = record;
  return {
    ...(key === null ? { partition } : isUtf8(key) ? { key: key.toString() } : { key_base64: key.toString('base64') }),
    ...valueForm(value),
    headers: headers.map(header => {
      if (header.value === null) return { key: header.key, value: null };
      return isUtf8(header.value)
        ? { key: header.key, value: header.value.toString() }
        : { key: header.key, value_base64: header.value.toString('base64') };
    }),
    ...(timestamp === null ? {} : { timestamp }),
  };
}

function valueForm(value: Buffer | null): object {
  if (value === null) return { value: null };
  if (!isUtf8(value)) return { value_base64: value.toString('base64') };
  const text = value.toString();
  try {
    const parsed = JSON.parse(text) as unknown;
    if (JSON.stringify(parsed) === text && parsed !== null) return { value: parsed };
  } catch {
    // No JSON: a text.
  }
  return { value_text: text };
}

/** Lines cut into pieces that do not end where lines end. The last line has no LF. */
function* pieces(lines: Iterable<Buffer | string>): Generator<Buffer> {
  let pending: Buffer[] = [];
  let bytes = 0;
  let isFirst = true;
  for (const line of lines) {
    if (!isFirst) pending.push(Buffer.from('\n'));
    isFirst = false;
    const piece = typeof line === 'string' ? Buffer.from(line) : line;
    pending.push(piece);
    bytes += piece.length + 1;
    if (bytes >= PIECE_BYTES) {
      yield Buffer.concat(pending);
      pending = [];
      bytes = 0;
    }
  }
  yield Buffer.concat(pending);
}

function* recordLines({ records }: RecordSet): Generator<string> {
  for (const record of records) yield JSON.stringify(recordForm(record));
}

function* valueLines({ records }: RecordSet): Generator<Buffer> {
  for (const { value } of records) yield value ?? Buffer.from('null');
}

function chunks(records: readonly SetRecord[], size = RECORDS_A_REQUEST): SetRecord[][] {
  return Array.from({ length: Math.ceil(records.length / size) }, (_, index) =>
    records.slice(index * size, (index + 1) * size),
  );
}

async function streamed(
  { http }: Doors,
  path: string,
  contentType: string,
  { lines, count }: { readonly lines: Iterable<Buffer | string>; readonly count: number },
): Promise<void> {
  const answer = await http.json<{ count: number }>({
    method: 'POST',
    path,
    headers: { 'content-type': contentType },
    body: pieces(lines),
  });
  if (answer.count !== count) throw new Error(`${answer.count} of ${count} lines were counted`);
}

const restJson: WayIn = {
  name: 'REST, JSON body',
  carries: 'records',
  spelling: 'exact',
  codecs: ALL_CODECS,
  async send({ http }, topic, set, codec) {
    for (const records of chunks(set.records)) {
      const { offsets } = await http.json<{ offsets: unknown[] }>({
        method: 'POST',
        path: `/v1/topics/${topic}/records?compression=${codec}`,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ records: records.map(recordForm) }),
      });
      if (offsets.length !== records.length) throw new Error(`${offsets.length} offsets for ${records.length} records`);
    }
  },
};

const restNdjson: WayIn = {
  name: 'REST, NDJSON records',
  carries: 'records',
  spelling: 'exact',
  codecs: ALL_CODECS,
  send: (doors, topic, set, codec) =>
    streamed(doors, `/v1/topics/${topic}/records?compression=${codec}`, 'application/x-ndjson', {
      lines: recordLines(set),
      count: set.records.length,
    }),
};

const restBareNdjson: WayIn = {
  name: 'REST, NDJSON values',
  carries: 'values',
  spelling: 'json',
  codecs: ['none', 'zstd'],
  send: (doors, topic, set, codec) =>
    streamed(doors, `/v1/topics/${topic}/records?envelope=none&compression=${codec}`, 'application/x-ndjson', {
      lines: valueLines(set),
      count: set.records.length,
    }),
};

export const restText: WayIn = {
  name: 'REST, text lines',
  carries: 'values',
  spelling: 'exact',
  codecs: ['none', 'gzip'],
  send: (doors, topic, set, codec) =>
    streamed(doors, `/v1/topics/${topic}/records?compression=${codec}`, 'text/plain', {
      lines: valueLines(set),
      count: set.records.length,
    }),
};

const grpcBatches: WayIn = {
  name: 'gRPC, ready-made batches',
  carries: 'records',
  spelling: 'exact',
  codecs: ALL_CODECS,
  async send({ grpc }, topic, set, codec) {
    const stream = grpc.produce();
    const answers: Promise<Answer>[] = [];
    for (let partition = 0; partition < set.partitionCount; partition++) {
      for (const records of chunks(set.records.filter(record => record.partition === partition))) {
        const builder = new BatchBuilder({ codec });
        for (const { key, value, headers, timestamp } of records) {
          builder.append({ key, value, headers, timestamp: timestamp ?? Date.now() });
        }
        answers.push(stream.send({ topic, partition, batches: builder.build() }));
      }
    }
    await allAcknowledged(answers);
    stream.end();
  },
};

function recordMessage({ key, value, headers, timestamp }: SetRecord): MessageInitShape<typeof RecordSchema> {
  const message: MessageInitShape<typeof RecordSchema> = {
    headers: headers.map(({ key: name, value: bytes }) =>
      bytes === null ? { key: name } : { key: name, value: bytes },
    ),
  };
  if (key !== null) message.key = key;
  if (value !== null) message.value = value;
  if (timestamp !== null) message.timestampMs = BigInt(timestamp);
  return message;
}

const grpcRecords: WayIn = {
  name: 'gRPC, records',
  carries: 'records',
  spelling: 'exact',
  codecs: ALL_CODECS,
  async send({ grpc }, topic, set, codec) {
    const stream = grpc.produce();
    const answers: Promise<Answer>[] = [];
    for (let partition = 0; partition < set.partitionCount; partition++) {
      for (const chunk of chunks(set.records.filter(record => record.partition === partition))) {
        const records = chunk.map(recordMessage);
        answers.push(stream.send({ topic, partition, records, compression: compressions[codec] }));
      }
    }
    await allAcknowledged(answers);
    stream.end();
  },
};

async function allAcknowledged(answers: readonly Promise<Answer>[]): Promise<void> {
  for (const answer of await Promise.all(answers)) {
    if (answer.case !== 'ack') throw new Error(`not acknowledged: ${answer.value?.code}: ${answer.value?.detail}`);
  }
}

export const sdk: WayIn = {
  name: 'SDK',
  carries: 'records',
  spelling: 'exact',
  codecs: ALL_CODECS,
  async send(doors, topic, set, codec) {
    await using producer = doors.sluice.producer({ topic, compression: codec });
    let last: Ticket | null = null;
    let first: Promise<Delivery> | null = null;
    for (const { key, value, headers, timestamp, partition } of set.records) {
      if (!producer.hasRoom) await producer.ready();
      last = producer.enqueue({
        key,
        value,
        headers,
        ...(timestamp === null ? {} : { timestamp }),
        ...(key === null ? { partition } : {}),
      });
      first ??= last.ack();
    }
    await producer.flush();
    const [start, end] = await Promise.all([first, last?.ack()]);
    if (start === null || end === undefined) throw new Error('nothing was sent');
  },
};

/** Frames in flight on one connection, fewer than the broker lets wait. */
const FRAMES_IN_FLIGHT = 16;

const webSocket: WayIn = {
  name: 'WebSocket',
  carries: 'records',
  spelling: 'exact',
  codecs: ALL_CODECS,
  async send({ broker }, topic, set, codec) {
    await using socket = await TestSocket.open(`http://${broker.http}`);
    const inFlight: Promise<void>[] = [];
    for (const [id, records] of chunks(set.records).entries()) {
      const request = { id, op: 'produce', topic, compression: codec, records: records.map(recordForm) };
      inFlight.push(
        socket.ask(request).then(answer => {
          if (answer.offsets?.length !== records.length) throw new Error(JSON.stringify(answer));
        }),
      );
      if (inFlight.length === FRAMES_IN_FLIGHT) await inFlight.shift();
    }
    await Promise.all(inFlight);
  },
};

function commandLine(input: 'record' | 'json' | 'text', codecs: readonly WayCodec[]): WayIn {
  return {
    name: `sluice produce --input ${input}`,
    carries: input === 'record' ? 'records' : 'values',
    spelling: input === 'json' ? 'json' : 'exact',
    codecs,
    async send({ broker }, topic, set, codec) {
      const lines = input === 'record' ? recordLines(set) : valueLines(set);
      const words = ['--server', broker.grpc, '--input', input, '--compression', codec];
      const { status, stderr } = await sluice(['produce', topic, ...words], pieces(lines));
      if (status !== 0) throw new Error(`exit code ${status}: ${stderr}`);
    },
  };
}

/** The real curl with a file, as the README shows it. */
export function curl(input: 'ndjson' | 'text'): WayIn {
  return {
    name: `curl, ${input}`,
    carries: 'values',
    spelling: input === 'ndjson' ? 'json' : 'exact',
    codecs: ['none'],
    async send({ broker, folder }, topic, set) {
      const file = join(folder, `${topic}.lines`);
      await writeFile(file, Buffer.concat([...pieces(valueLines(set))]));
      const isJson = input === 'ndjson';
      const { stdout } = await promisify(execFile)('curl', [
        '--silent',
        '--show-error',
        '--fail-with-body',
        '-H',
        `Content-Type: ${isJson ? 'application/x-ndjson' : 'text/plain'}`,
        '--data-binary',
        `@${file}`,
        `http://${broker.http}/v1/topics/${topic}/records${isJson ? '?envelope=none' : ''}`,
      ]);
      const { count } = JSON.parse(stdout) as { count: number };
      if (count !== set.records.length) throw new Error(`curl got ${stdout}`);
    },
  };
}

/** One request a record: for a few records. */
export const octetStream: WayIn = {
  name: 'REST, raw body',
  carries: 'records',
  spelling: 'exact',
  codecs: ALL_CODECS,
  async send({ http }, topic, set, codec) {
    for (const { partition, key, value, headers } of set.records) {
      const list = headers.map(({ key: name, value: bytes }) =>
        bytes === null ? { key: name, value: null } : { key: name, value_base64: bytes.toString('base64') },
      );
      await http.json({
        method: 'POST',
        path: `/v1/topics/${topic}/partitions/${partition}/records?compression=${codec}`,
        headers: {
          'content-type': 'application/octet-stream',
          ...(key === null ? {} : { 'sluice-key-base64': key.toString('base64') }),
          ...(list.length === 0 ? {} : { 'sluice-headers': Buffer.from(JSON.stringify(list)).toString('base64url') }),
        },
        body: value ?? Buffer.alloc(0),
      });
    }
  },
};

export const waysIn: readonly WayIn[] = [
  restJson,
  restNdjson,
  restBareNdjson,
  restText,
  webSocket,
  grpcBatches,
  grpcRecords,
  sdk,
  commandLine('record', ALL_CODECS),
  commandLine('json', ['none']),
  commandLine('text', ['zstd']),
];

export const textWaysIn: readonly WayIn[] = [restText, commandLine('text', ['none'])];

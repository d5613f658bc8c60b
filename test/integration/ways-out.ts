// Every way in which records come back. Each reads a whole topic (or a sample of it) from its beginning to its end.

import { createInterface } from 'node:readline';
import { decodeRecords, splitBatches } from '@sluice/protocol/record';
import { Form } from '@sluice/protocol/services';
import { sluice } from './command-line.ts';
import type { Doors } from './doors.ts';
import { EventSourceReader } from './event-source.ts';
import type { ReadRecord, SetHeader, Spelling } from './record-set.ts';
import { TestSocket } from './web-socket-client.ts';

export interface WayOut {
  readonly name: string;
  readonly spelling: Spelling;
  /** `sample`: some records of the topic. */
  readonly gives: 'all' | 'sample';
  read(doors: Doors, topic: string, partitionCount: number): Promise<ReadRecord[]>;
}

/** A record as the JSON doors read it back. */
interface RecordForm {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key?: string | null;
  readonly key_base64?: string;
  readonly value?: unknown;
  readonly value_text?: string;
  readonly value_base64?: string;
  readonly headers: readonly { key: string; value?: string | null; value_base64?: string }[];
}

const RECORDS_A_PAGE = 997;
const SAMPLE_SIZE = 25;

function fromForm(form: RecordForm): ReadRecord {
  const { partition, offset, timestamp, key, key_base64, headers } = form;
  return {
    partition,
    offset,
    timestamp,
    key: key_base64 === undefined ? (typeof key === 'string' ? Buffer.from(key) : null) : fromBase64(key_base64),
    value: formValue(form),
    headers: headers.map(
      (header): SetHeader => ({
        key: header.key,
        value:
          header.value_base64 === undefined
            ? typeof header.value === 'string'
              ? Buffer.from(header.value)
              : null
            : fromBase64(header.value_base64),
      }),
    ),
  };
}

/** Only the value null is a tombstone; its text comes as `value_text`. */
function formValue({ value, value_text, value_base64 }: RecordForm): Buffer | null {
  if (value_text !== undefined) return Buffer.from(value_text);
  if (value_base64 !== undefined) return fromBase64(value_base64);
  if (value === undefined) throw new Error('a record without a value');
  return value === null ? null : Buffer.from(JSON.stringify(value));
}

const fromBase64 = (text: string): Buffer => Buffer.from(text, 'base64');
const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
const orNull = (bytes: Uint8Array | null | undefined): Buffer | null =>
  bytes === null || bytes === undefined ? null : asBuffer(bytes);

export const pages: WayOut = {
  name: 'REST, JSON pages by cursor',
  spelling: 'json',
  gives: 'all',
  async read({ http }, topic) {
    const records: ReadRecord[] = [];
    let query = `from=earliest&limit=${RECORDS_A_PAGE}&max_bytes=16777216`;
    for (;;) {
      const page = await http.json<{ records: RecordForm[]; next: { cursor: string } }>({
        path: `/v1/topics/${topic}/records?${query}`,
      });
      if (page.records.length === 0) return records;
      for (const form of page.records) records.push(fromForm(form));
      query = `cursor=${page.next.cursor}&limit=${RECORDS_A_PAGE}&max_bytes=16777216`;
    }
  },
};

function ndjson(values: 'auto' | 'base64'): WayOut {
  return {
    name: `REST, NDJSON stream${values === 'auto' ? '' : ', values in base64'}`,
    spelling: values === 'auto' ? 'json' : 'exact',
    gives: 'all',
    async read({ http }, topic) {
      const answer = await http.open({
        path: `/v1/topics/${topic}/records${values === 'auto' ? '' : '?values=base64'}`,
        headers: { accept: 'application/x-ndjson' },
      });
      if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
      const records: ReadRecord[] = [];
      const lines = createInterface({ input: answer, crlfDelay: Number.POSITIVE_INFINITY });
      for await (const line of lines) records.push(fromForm(JSON.parse(line) as RecordForm));
      if (answer.trailers['sluice-cursor'] === undefined) throw new Error('no cursor behind the stream');
      return records;
    },
  };
}

/** How many records a topic has; none of these topics begins behind 0. */
async function recordCount({ http }: Doors, topic: string): Promise<number> {
  const { partitions } = await http.json<{ partitions: { high_watermark: number }[] }>({
    path: `/v1/topics/${topic}/offsets`,
  });
  return partitions.reduce((sum, { high_watermark: end }) => sum + end, 0);
}

function events(values: 'auto' | 'base64'): WayOut {
  return {
    name: `Server-Sent Events${values === 'auto' ? '' : ', values in base64'}`,
    spelling: values === 'auto' ? 'json' : 'exact',
    gives: 'all',
    async read(doors, topic) {
      const count = await recordCount(doors, topic);
      const url = `http://${doors.broker.http}/v1/topics/${topic}/records?values=${values}`;
      const reader = new EventSourceReader(values === 'auto' ? url.replace('?values=auto', '') : url);
      await reader.until(({ events: received }) => received.length >= count);
      reader.close();
      return reader.messages.map(({ data }) => fromForm(JSON.parse(data) as RecordForm));
    },
  };
}

function webSocket(values: 'text' | 'base64', credit?: { records: number; bytes: number }): WayOut {
  return {
    name: `WebSocket, values in ${values}${credit === undefined ? '' : ', by credit'}`,
    spelling: 'exact',
    gives: 'all',
    async read(doors, topic) {
      const count = await recordCount(doors, topic);
      await using socket = await TestSocket.open(`http://${doors.broker.http}`);
      const granted = credit === undefined ? {} : { credit };
      const subscription = await socket.subscribe({ topic, from: 'earliest', values, ...granted });
      const records: ReadRecord[] = [];
      while (records.length < count) {
        const frame = await socket.next(({ op }) => op === 'records' || op === 'error');
        if (frame.op === 'error') throw new Error(JSON.stringify(frame));
        for (const form of frame.records ?? []) records.push(fromForm(form as unknown as RecordForm));
        if (credit !== undefined) socket.send({ op: 'credit', subscription, ...credit });
      }
      return records;
    },
  };
}

function grpc(form: Form): WayOut {
  return {
    name: `gRPC, ${form === Form.BATCHES ? 'batches' : 'records'}`,
    spelling: 'exact',
    gives: 'all',
    async read(doors, topic, partitionCount) {
      const records: ReadRecord[] = [];
      for (let partition = 0; partition < partitionCount; partition++) {
        for await (const { payload } of doors.grpc.readToEnd({ topic, partition, form })) {
          if (payload.case === 'batches') {
            for (const record of decoded(payload.value)) records.push({ partition, ...record });
          } else if (payload.case === 'records') {
            for (const { offset, timestampMs, key, value, headers } of payload.value.records) {
              records.push({
                partition,
                offset: Number(offset),
                timestamp: Number(timestampMs),
                key: orNull(key),
                value: orNull(value),
                headers: headers.map(header => ({ key: header.key, value: orNull(header.value) })),
              });
            }
          }
        }
      }
      return records;
    },
  };
}

function* decoded(bytes: Uint8Array): Generator<Omit<ReadRecord, 'partition'>> {
  const split = splitBatches(bytes, { bytesMax: Number.MAX_SAFE_INTEGER });
  if (!split.ok) throw new Error(JSON.stringify(split.fault));
  for (const batch of split.batches) {
    const result = decodeRecords(batch);
    if (!result.ok) throw new Error(JSON.stringify(result.fault));
    for (const { offset, timestamp, key, value, headers } of result.records) {
      const list = headers.map(header => ({ key: header.key, value: orNull(header.value) }));
      yield { offset, timestamp, key: orNull(key), value: orNull(value), headers: list };
    }
  }
}

export const grpcBatchesOut = grpc(Form.BATCHES);

const sdk: WayOut = {
  name: 'SDK',
  spelling: 'exact',
  gives: 'all',
  async read(doors, topic) {
    const records: ReadRecord[] = [];
    for await (const message of doors.sluice.reader({ topic, from: 'earliest', untilEnd: true })) {
      const { partition, offset, timestamp, headers } = message;
      records.push({
        partition,
        offset,
        timestamp,
        key: orNull(message.keyBytes),
        value: orNull(message.valueBytes),
        headers: headers.map(header => ({ key: header.key, value: orNull(header.value) })),
      });
    }
    return records;
  },
};

const commandLine: WayOut = {
  name: 'sluice consume -o ndjson',
  spelling: 'json',
  gives: 'all',
  async read({ broker }, topic) {
    const words = ['--server', broker.grpc, '--from-beginning', '--exit-at-end', '-o', 'ndjson'];
    const { status, stdout, stderr } = await sluice(['consume', topic, ...words]);
    if (status !== 0) throw new Error(`exit code ${status}: ${stderr}`);
    const lines = stdout.toString().split('\n');
    if (lines.pop() !== '') throw new Error('the last line does not end');
    return lines.map(line => fromForm(JSON.parse(line) as RecordForm));
  },
};

/** Evenly spread over every partition, first and last included. */
async function sampleOf({ http }: Doors, topic: string): Promise<{ partition: number; offset: number }[]> {
  const { partitions } = await http.json<{ partitions: { partition: number; high_watermark: number }[] }>({
    path: `/v1/topics/${topic}/offsets`,
  });
  return partitions.flatMap(({ partition, high_watermark: end }) =>
    Array.from({ length: Math.min(end, SAMPLE_SIZE) }, (_, index) => ({
      partition,
      offset: Math.floor((index * (end - 1)) / Math.max(1, Math.min(end, SAMPLE_SIZE) - 1)),
    })),
  );
}

const singleJson: WayOut = {
  name: 'REST, single records as JSON',
  spelling: 'json',
  gives: 'sample',
  async read(doors, topic) {
    const records: ReadRecord[] = [];
    for (const { partition, offset } of await sampleOf(doors, topic)) {
      const path = `/v1/topics/${topic}/partitions/${partition}/records/${offset}`;
      records.push(fromForm(await doors.http.json<RecordForm>({ path })));
    }
    return records;
  },
};

const singleBytes: WayOut = {
  name: 'REST, single records as bytes',
  spelling: 'exact',
  gives: 'sample',
  async read(doors, topic) {
    const records: ReadRecord[] = [];
    for (const { partition, offset } of await sampleOf(doors, topic)) {
      const answer = await doors.http.send({
        path: `/v1/topics/${topic}/partitions/${partition}/records/${offset}`,
        headers: { accept: 'application/octet-stream' },
      });
      if (answer.status !== 200) throw new Error(`status ${answer.status}: ${answer.body.toString()}`);
      const one = (name: string): string | undefined => answer.headers[name] as string | undefined;
      const list = JSON.parse(
        Buffer.from(one('sluice-headers') ?? 'W10', 'base64url').toString(),
      ) as RecordForm['headers'];
      const [key, keyBase64] = [one('sluice-key'), one('sluice-key-base64')];
      const form = {
        topic: one('sluice-topic') ?? '',
        partition: Number(one('sluice-partition')),
        offset: Number(one('sluice-offset')),
        timestamp: Number(one('sluice-timestamp')),
        ...(keyBase64 === undefined ? { key: key ?? null } : { key_base64: keyBase64 }),
        ...(one('sluice-tombstone') === 'true' ? { value: null } : { value_base64: answer.body.toString('base64') }),
        headers: list,
      };
      records.push(fromForm(form));
    }
    return records;
  },
};

export const waysOut: readonly WayOut[] = [
  pages,
  ndjson('auto'),
  ndjson('base64'),
  events('auto'),
  events('base64'),
  webSocket('text'),
  webSocket('base64', { records: 311, bytes: 100_000 }),
  grpcBatchesOut,
  grpc(Form.RECORDS),
  sdk,
  commandLine,
  singleJson,
  singleBytes,
];

/** One partition's values as text, each with an LF behind it, tombstones left out. */
export async function textByHttp({ http }: Doors, topic: string, partition: number): Promise<Buffer> {
  const answer = await http.send({
    path: `/v1/topics/${topic}/partitions/${partition}/records`,
    headers: { accept: 'text/plain' },
  });
  if (answer.status !== 200) throw new Error(`status ${answer.status}: ${answer.body.toString()}`);
  return answer.body;
}

/** One partition's values as `sluice consume` prints them: each with an LF behind it. */
export async function textByCommandLine({ broker }: Doors, topic: string, partition: number): Promise<Buffer> {
  const where = ['--server', broker.grpc, '--partition', `${partition}`, '--offset', '0'];
  const { status, stdout, stderr } = await sluice(['consume', topic, ...where, '--exit-at-end']);
  if (status !== 0) throw new Error(`exit code ${status}: ${stderr}`);
  return stdout;
}

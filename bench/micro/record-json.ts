// How fast stored records become the JSON that readers get, and JSON becomes records: `node bench/micro/record-json.ts`.
//
// Bytes are those of the text that is written or read, so that forms of different length can be compared.

import { offset, topicId } from '@sluice/protocol/ids';
import { encodeBatch, RecordCursor, stampBatch, type RecordInput } from '@sluice/protocol/record';
import type { TopicView } from '../../server/broker/broker.ts';
import { FeedRendering, type FeedStyle } from '../../server/gateway/feed-rendering.ts';
import { judgeJson } from '../../server/gateway/json-bytes.ts';
import { parseJson } from '../../server/gateway/json-text.ts';
import { readRecordForm, recordPrefix, renderRecord, type ValueForm } from '../../server/gateway/record-json.ts';
import { RecordScan } from '../../server/gateway/record-scan.ts';
import { TextBuffer } from '../../server/gateway/text-buffer.ts';
import { measure } from './measuring.ts';

const RECORDS_PER_BATCH = 500;
/** A log that has been in use for a while: positions are long. */
const BASE_OFFSET = 1_234_567_890;

const json = JSON.stringify({ id: 'order-0012345', total: 12.5, items: ['a', 'b', 'c'], note: 'x'.repeat(34) });
const longJson = `{"items":[${Array.from({ length: 40 }, () => json).join(',')}]}`;
const text = 'x'.repeat(99);
const wide = 'д'.repeat(50);
const noise = Uint8Array.from({ length: 100 }, (_, index) => 255 - index);
const headers = [{ key: 'trace', value: '0af7651916cd43dd' }];

type Made = Omit<RecordInput, 'timestamp'>;

function batchOf(made: Made): Uint8Array {
  const record = { ...made, timestamp: 1_700_000_000_000 };
  const batch = encodeBatch(Array.from({ length: RECORDS_PER_BATCH }, () => record));
  stampBatch(batch, { baseOffset: BASE_OFFSET, leaderEpoch: 1 });
  return batch;
}

function opened(batch: Uint8Array): RecordCursor {
  const result = RecordCursor.open(batch);
  if (!result.ok) throw new Error(result.fault.kind);
  return result.cursor;
}

const topic: TopicView = {
  name: 'orders',
  id: topicId('01234567-89ab-4def-8123-456789abcdef'),
  partitionCount: 16,
  replicationFactor: 1,
  internal: false,
  batchBytesMax: 1_048_588,
  isCompacted: false,
  config: {},
};

// ---- One record ---------------------------------------------------------------------------------------------------

function rendering(name: string, made: Made, form: ValueForm = 'auto'): void {
  const batch = batchOf(made);
  const prefix = recordPrefix(topic.name, 0);
  const out = new TextBuffer();
  const render = (): number => {
    out.truncate(0);
    const cursor = opened(batch);
    while (cursor.next()) renderRecord(cursor, prefix, form, out);
    return out.length;
  };
  const bytes = render();
  measure(`render, ${name}`, { unit: 'records', bytes: bytes / RECORDS_PER_BATCH }, () => {
    if (render() !== bytes) throw new Error('text was lost');
    return RECORDS_PER_BATCH;
  });
}

console.log(`records of 100 bytes, ${RECORDS_PER_BATCH} a batch; bytes are of the JSON text\n`);
rendering('JSON value', { key: null, value: json });
rendering('JSON value, short key, one header', { key: 'key-17', value: json, headers });
rendering(`JSON value of ${longJson.length} bytes`, { key: null, value: longJson });
rendering('ASCII text', { key: null, value: text });
rendering('non-ASCII text', { key: null, value: wide });
rendering('bytes that are not UTF-8', { key: null, value: noise });
rendering('JSON value as base64', { key: null, value: json }, 'base64');

// ---- Pieces of a feed ----------------------------------------------------------------------------------------------

function feeding(style: FeedStyle, partitionCount: number): void {
  const batch = batchOf({ key: null, value: json });
  const positions = Array.from({ length: partitionCount }, (_, partition) => ({
    partition,
    offset: offset(BASE_OFFSET),
  }));
  const most = { recordsMax: Number.POSITIVE_INFINITY, storedBytesMax: Number.POSITIVE_INFINITY };
  const piece = (): FeedRendering =>
    new FeedRendering({ topic, values: 'auto', style, positions, bounds: null, ...most });
  const render = (): number => {
    const cursor = opened(batch);
    let rendered = piece();
    let bytes = 0;
    while (cursor.next()) {
      if (rendered.visit(0, cursor)) continue;
      bytes += rendered.out.length;
      rendered = piece();
    }
    return bytes + rendered.out.length;
  };
  const bytes = render();
  const name = `feed, ${style}, ${partitionCount} ${partitionCount === 1 ? 'partition' : 'partitions'}`;
  measure(name, { unit: 'records', bytes: bytes / RECORDS_PER_BATCH }, () => {
    if (render() !== bytes) throw new Error('text was lost');
    return RECORDS_PER_BATCH;
  });
}

for (const partitionCount of [1, 16, 256]) feeding('events', partitionCount);
for (const partitionCount of [1, 16, 256]) feeding('members', partitionCount);

// ---- Judging and splicing ------------------------------------------------------------------------------------------

const CALLS = 1_000;

function judging(value: string): void {
  const bytes = Buffer.from(value);
  measure(`judgeJson, ${bytes.length} bytes`, { unit: 'calls', bytes: bytes.length }, () => {
    for (let call = 0; call < CALLS; call++)
      if (judgeJson(bytes, 0, bytes.length) !== 'json') throw new Error('not JSON');
    return CALLS;
  });
  const out = new TextBuffer(bytes.length * CALLS);
  measure(`judgeJson and splice, ${bytes.length} bytes`, { unit: 'calls', bytes: bytes.length }, () => {
    out.truncate(0);
    for (let call = 0; call < CALLS; call++) {
      if (judgeJson(bytes, 0, bytes.length) !== 'json') throw new Error('not JSON');
      out.bytes(bytes, 0, bytes.length);
    }
    return out.length === bytes.length * CALLS ? CALLS : 0;
  });
  measure(`JSON.parse and JSON.stringify, ${bytes.length} bytes`, { unit: 'calls', bytes: bytes.length }, () => {
    let length = 0;
    for (let call = 0; call < CALLS; call++) length += JSON.stringify(JSON.parse(bytes.toString())).length;
    return length === value.length * CALLS ? CALLS : 0;
  });
}

judging(json);
judging(longJson);

// ---- Reading ------------------------------------------------------------------------------------------------------

function reading(name: string, form: object): void {
  const forms = Array.from({ length: RECORDS_PER_BATCH }, () => structuredClone(form));
  const bytes = JSON.stringify(form).length;
  measure(`readRecordForm, ${name}`, { unit: 'records', bytes }, () => {
    for (const each of forms) if (readRecordForm(each).kind !== 'record') throw new Error('refused');
    return RECORDS_PER_BATCH;
  });
  const body = JSON.stringify({ records: forms });
  measure(`body parsed and read, ${name}`, { unit: 'records', bytes }, () => {
    const parsed = parseJson(body);
    if (!parsed.ok) throw new Error('not JSON');
    const { records } = parsed.value as { records: readonly unknown[] };
    for (const each of records) if (readRecordForm(each).kind !== 'record') throw new Error('refused');
    return records.length;
  });
  const line = Buffer.from(JSON.stringify(form));
  const scan = new RecordScan();
  if (!scan.recordLine(line)) return;
  measure(`read where it lies, ${name}`, { unit: 'records', bytes }, () => {
    for (let call = 0; call < CALLS; call++) if (!scan.recordLine(line)) throw new Error('not plain');
    return CALLS;
  });
}

reading('JSON value', { value: JSON.parse(json) as unknown });
reading('text', { value_text: text });
reading('text, key, one header', { key: 'key-17', value_text: text, headers: { trace: '0af7651916cd43dd' } });
reading('base64', { value_base64: Buffer.from(noise).toString('base64') });

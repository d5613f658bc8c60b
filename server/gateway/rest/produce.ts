// Produce: from a body to batches, one produce a partition, and an answer in request order.
//
// A whole body (JSON, one raw value) is checked to its end before anything is appended; this happens in one synchronous
// step, so the builders need no protection from other requests. Streamed bodies are in streamed-produce.ts.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import type { Codec, HeaderInput } from '@sluice/protocol/record';
import { assert } from '../../base/assert.ts';
import type { Acks, Broker, ProduceAck, ProduceCode, TopicView } from '../../broker/broker.ts';
import type { Clock } from '../../io/clock.ts';
import { problemDocument } from '../error-mapping.ts';
import type { GatewayContext } from '../gateway.ts';
import { structureFault } from '../json-text.ts';
import { BuilderPool, fitsOneBatch, PartitionBatches } from '../partition-batches.ts';
import { PartitionChoice } from '../partition-choice.ts';
import type { WrittenRecord } from '../record-json.ts';
import { ABSENT, bareValue, base64Bytes, isObject, readHeaderForm, readRecordForm } from '../record-json.ts';
import { mediaType, parseBody, readWholeBody } from './body.ts';
import type { Query } from './contract.ts';
import type { Exchange } from './exchange.ts';
import type { Handler, HandlerTable } from './handlers.ts';
import { parsePointer, pointedKey } from './key-pointer.ts';
import { produceStream } from './streamed-produce.ts';
import { findPartition, findTopic, unknownPartition } from './topic-lookup.ts';

/** Where the records of one request go and how. */
export interface ProducePlan {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly choice: PartitionChoice;
  readonly pool: BuilderPool;
  readonly topic: TopicView;
  /** From the path; null lets records choose. */
  readonly partition: number | null;
  readonly acks: Acks;
  readonly timeoutMs: number;
  readonly codec: Codec;
  /** Each JSON text is the value itself. */
  readonly isBare: boolean;
  /** Where in a bare value its key is; null for no keys. */
  readonly keyPointer: readonly string[] | null;
}

/** What the requests of a door have in common. */
interface SharedState {
  readonly choice: PartitionChoice;
  readonly pool: BuilderPool;
}

type Outcome = Result<ProduceAck, ProduceCode>;

/** One record's share of the answer: which partition, and the how-manieth of it there. */
interface Place {
  readonly partition: number;
  readonly index: number;
  readonly timestamp: number;
}

const ACKS: Readonly<Record<string, Acks>> = { all: 'all', 1: 'leader', 0: 'none' };
const LOG_APPEND_TIME = 'LogAppendTime';

export const createProduceHandlers = (context: GatewayContext): HandlerTable => {
  const shared: SharedState = { choice: new PartitionChoice(), pool: new BuilderPool() };
  const produce: Handler = (exchange, query) => {
    const plan = makePlan(context, shared, { exchange, query });
    if (!plan.ok) {
      exchange.problem(plan.problem);
      return undefined;
    }
    const type = mediaType(exchange);
    if (!type.ok) {
      exchange.problem(type.problem);
      return undefined;
    }
    switch (type.value) {
      case 'application/json':
      case 'application/octet-stream':
        return produceWhole(exchange, plan.value, type.value);
      case 'application/x-ndjson':
      case 'text/plain':
        return produceStream(exchange, plan.value, type.value);
      default: {
        const detail = 'records come as application/json, application/x-ndjson, text/plain or application/octet-stream';
        exchange.problem(problem('UNSUPPORTED_MEDIA_TYPE', detail));
        return undefined;
      }
    }
  };
  return { produce: { verb: 'produce', handle: produce }, produceToPartition: { verb: 'produce', handle: produce } };
};

const makePlan = (
  context: GatewayContext,
  { choice, pool }: SharedState,
  { exchange, query }: { readonly exchange: Exchange; readonly query: Query },
): Result<ProducePlan> => {
  const { broker, clock } = context;
  const topic = findTopic(broker, exchange);
  if (!topic.ok) return topic;
  let partition: number | null = null;
  if (exchange.params['partition'] !== undefined) {
    const found = findPartition(exchange, topic.value);
    if (!found.ok) return found;
    partition = found.value;
  }
  const isBare = query['envelope'] === 'none';
  const pointer = query['key'];
  if (pointer !== undefined && !isBare) {
    return refused('INVALID_REQUEST', 'the query parameter key needs envelope=none', { field: 'key' });
  }
  const acks = ACKS[String(query['acks'])];
  assert(acks !== undefined, 'the schema lets no other acks through');
  return accepted({
    broker,
    clock,
    choice,
    pool,
    topic: topic.value,
    partition,
    acks,
    timeoutMs: Number(query['timeout_ms']),
    codec: query['compression'] as Codec,
    isBare,
    keyPointer: pointer === undefined ? null : parsePointer(String(pointer)),
  });
};

const produceWhole = async (exchange: Exchange, plan: ProducePlan, type: string): Promise<void> => {
  const body = await readWholeBody(exchange);
  if (body.kind === 'gone') return;
  if (body.kind === 'refused') {
    exchange.problem(body.problem);
    return;
  }
  const records = type === 'application/json' ? jsonRecords(body.bytes, plan) : rawRecord(body.bytes, exchange);
  if (!records.ok) {
    exchange.problem(records.problem);
    return;
  }
  const placed = placeRecords(records.value, plan, body.bytes.length);
  if (!placed.ok) exchange.problem(placed.problem);
  else await append(exchange, plan, placed.value);
};

const jsonRecords = (bytes: Buffer, plan: ProducePlan): Result<readonly WrittenRecord[]> => {
  const parsed = parseBody(bytes);
  if (!parsed.ok) return parsed;
  const form = parsed.value;
  if (plan.isBare) {
    const record = bareRecord(form, plan);
    return record.ok ? accepted([record.value]) : record;
  }
  if (!isObject(form)) return refused('INVALID_REQUEST', 'the body must be an object {"records": […]}', { field: '' });
  for (const name in form) {
    if (name !== 'records') {
      return refused('INVALID_REQUEST', `there is no field ${JSON.stringify(name)} here`, { field: name });
    }
  }
  const list = form['records'];
  if (!Array.isArray(list) || list.length === 0) {
    return refused('INVALID_REQUEST', 'records must be a list of at least one record', { field: 'records' });
  }
  const records: WrittenRecord[] = [];
  for (let index = 0; index < list.length; index++) {
    const record = readRecordForm(list[index]);
    if (record.kind === 'fault') {
      return refused('INVALID_REQUEST', `record ${index}: ${record.detail}`, { index, field: record.field });
    }
    records.push(record);
  }
  return accepted(records);
};

/** A record from a JSON value that stands alone. */
export const bareRecord = (value: unknown, plan: ProducePlan): Result<WrittenRecord> => {
  const fault = structureFault(value);
  if (fault !== null) return refused('INVALID_REQUEST', `the value ${fault}`, { field: 'value' });
  let key: string | null = null;
  if (plan.keyPointer !== null) {
    const found = pointedKey(value, plan.keyPointer);
    if (!found.ok) return found;
    key = found.value;
  }
  return accepted({
    kind: 'record',
    key,
    value: bareValue(value),
    headers: [],
    timestamp: ABSENT,
    partition: ABSENT,
  });
};

/** The body is the value; key and headers stand in the request's headers. */
const rawRecord = (bytes: Buffer, exchange: Exchange): Result<readonly WrittenRecord[]> => {
  const headers: HeaderInput[] = [];
  let key: Uint8Array | string | null = null;
  let keys = 0;
  const { rawHeaders } = exchange.request;
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!.toLowerCase();
    const text = rawHeaders[at + 1]!;
    if (!name.startsWith('sluice-')) continue;
    if (!/^[\t\x20-\x7e]*$/.test(text)) {
      return refused('INVALID_REQUEST', `the header ${name} is not ASCII; use Sluice-Key-Base64 or Sluice-Headers`, {
        field: name,
      });
    }
    if (name === 'sluice-key') {
      key = text;
      keys++;
    } else if (name === 'sluice-key-base64') {
      key = base64Bytes(text);
      keys++;
      if (key === null) return refused('INVALID_REQUEST', 'Sluice-Key-Base64 is not base64', { field: name });
    } else if (name === 'sluice-headers') {
      const list = headerListFromText(text);
      if (!list.ok) return list;
      headers.push(...list.value);
    } else if (name.startsWith('sluice-header-') && name.length > 'sluice-header-'.length) {
      headers.push({ key: name.slice('sluice-header-'.length), value: text });
    } else return refused('INVALID_REQUEST', `there is no header ${name} here`, { field: name });
  }
  if (keys > 1) return refused('INVALID_REQUEST', 'a record has one key', { field: 'sluice-key' });
  return accepted([{ kind: 'record', key, value: bytes, headers, timestamp: ABSENT, partition: ABSENT }]);
};

const headerListFromText = (text: string): Result<readonly HeaderInput[]> => {
  const field = 'sluice-headers';
  if (!/^[A-Za-z0-9_-]*={0,2}$/.test(text))
    return refused('INVALID_REQUEST', 'Sluice-Headers is not base64url', { field });
  const parsed = parseBody(Buffer.from(text, 'base64url'));
  if (!parsed.ok || !Array.isArray(parsed.value)) {
    return refused('INVALID_REQUEST', 'Sluice-Headers is not the base64url of a JSON list', { field });
  }
  const list = readHeaderForm(parsed.value);
  return 'kind' in list ? refused('INVALID_REQUEST', `Sluice-Headers: ${list.detail}`, { field }) : accepted(list);
};

interface Placed {
  readonly places: readonly Place[];
  readonly batches: readonly PartitionBatches[];
}

/** All records into batches by partition, or the first that can be in none. Nothing has been appended yet. */
const placeRecords = (records: readonly WrittenRecord[], plan: ProducePlan, bodyBytes: number): Result<Placed> => {
  const { topic, codec } = plan;
  const now = plan.clock.wallMs();
  const isFitting = fitsOneBatch(bodyBytes, records.length, topic.batchBytesMax);
  const options = { pool: plan.pool, codec, batchBytesMax: topic.batchBytesMax };
  const places: Place[] = [];
  const byPartition = new Map<number, PartitionBatches>();
  let sticky = ABSENT;
  let latest: PartitionBatches | undefined;
  for (let index = 0; index < records.length; index++) {
    const record = records[index]!;
    let { partition } = record;
    if (partition !== ABSENT) {
      const fault = partitionFault(partition, plan, index);
      if (fault !== null) {
        for (const batches of byPartition.values()) batches.drop();
        return { ok: false, problem: fault };
      }
    } else if (plan.partition !== null) partition = plan.partition;
    else if (record.key !== null) partition = plan.choice.forKey(record.key, topic.partitionCount);
    else {
      if (sticky === ABSENT) sticky = plan.choice.nextSticky(topic.partitionCount);
      partition = sticky;
    }
    if (record.timestamp === ABSENT) record.timestamp = now;
    if (latest?.partition !== partition) {
      latest = byPartition.get(partition);
      if (latest === undefined) {
        latest = new PartitionBatches(partition, options);
        byPartition.set(partition, latest);
      }
    }
    places.push({ partition, index: latest.recordCount, timestamp: record.timestamp });
    if (isFitting) latest.addFitting(record);
    else if (!latest.add(record)) {
      for (const batches of byPartition.values()) batches.drop();
      return recordTooLarge(topic, { index });
    }
  }
  return accepted({ places, batches: [...byPartition.values()] });
};

/** Why a record may not name this partition. */
export const partitionFault = (partition: number, plan: ProducePlan, index: number | null): Problem | null => {
  const { topic } = plan;
  const at = index === null ? {} : { index };
  if (partition >= topic.partitionCount) {
    const { problem: unknown } = unknownPartition(topic, partition);
    return { ...unknown, facts: { ...unknown.facts, ...at } };
  }
  if (plan.partition === null || partition === plan.partition) return null;
  const detail = `the record names partition ${partition}, the path ${plan.partition}`;
  return problem('INVALID_REQUEST', detail, { ...at, field: 'partition' });
};

export const recordTooLarge = (
  topic: TopicView,
  at: Readonly<Record<string, number>>,
): { readonly ok: false; readonly problem: Problem } =>
  refused('RECORD_TOO_LARGE', `the record does not fit into a batch of ${topic.batchBytesMax} bytes`, {
    ...at,
    limit_bytes: topic.batchBytesMax,
  });

const append = async (exchange: Exchange, plan: ProducePlan, { places, batches }: Placed): Promise<void> => {
  const { broker, topic, acks, timeoutMs } = plan;
  const produceOne = async (of: PartitionBatches): Promise<Outcome> =>
    broker.produce({ topic: topic.name, partition: of.partition, batches: await of.take(), acks, timeoutMs });
  if (acks === 'none') {
    const pending = Promise.all(batches.map(produceOne));
    exchange.asciiJson(202, '{}');
    await pending;
    return;
  }
  const [only] = batches;
  if (only !== undefined && batches.length === 1) {
    const outcome = await produceOne(only);
    if (!outcome.ok) exchange.problem(outcome.problem);
    else exchange.asciiJson(200, renderOffsets(places, topic, outcome.value));
    return;
  }
  const outcomes = new Map<number, Outcome>();
  await Promise.all(
    batches.map(async of => {
      outcomes.set(of.partition, await produceOne(of));
    }),
  );
  const failures = [...outcomes.values()].filter(outcome => !outcome.ok);
  const [first] = failures;
  if (first !== undefined && failures.length === outcomes.size) {
    if (failures.every(failure => failure.problem.code === first.problem.code)) {
      exchange.problem(first.problem);
      return;
    }
  }
  const timestamps = new Map<number, number>();
  const offsets = places.map(({ partition, index, timestamp }) => {
    const outcome = outcomes.get(partition);
    assert(outcome !== undefined, 'every partition has an outcome');
    if (!outcome.ok) return { partition, problem: problemDocument(outcome.problem, exchange.requestId) };
    let stored = timestamps.get(partition);
    if (stored === undefined) {
      stored = appendTime(places, partition, topic, outcome.value);
      timestamps.set(partition, stored);
    }
    return { partition, offset: outcome.value.baseOffset + index, timestamp: stored === ABSENT ? timestamp : stored };
  });
  exchange.json(first === undefined ? 200 : 207, { offsets });
};

const renderOffsets = (places: readonly Place[], topic: TopicView, ack: ProduceAck): string => {
  const stored = appendTime(places, places[0]?.partition ?? 0, topic, ack);
  let text = '{"offsets":[';
  for (let at = 0; at < places.length; at++) {
    const { partition, index, timestamp } = places[at]!;
    const time = stored === ABSENT ? timestamp : stored;
    text += `${at === 0 ? '' : ','}{"partition":${partition},"offset":${ack.baseOffset + index},"timestamp":${time}}`;
  }
  return `${text}]}`;
};

/** The one timestamp that all records of a partition were stored with, or ABSENT when each kept its own. */
const appendTime = (places: readonly Place[], partition: number, topic: TopicView, ack: ProduceAck): number => {
  if (topic.config['message.timestamp.type'] === LOG_APPEND_TIME) return ack.timestampMs;
  let largest = ABSENT;
  for (const place of places) {
    if (place.partition === partition && place.timestamp > largest) largest = place.timestamp;
  }
  // The setting may also come from the broker's defaults; then only the answer tells.
  return largest === ack.timestampMs ? ABSENT : ack.timestampMs;
};

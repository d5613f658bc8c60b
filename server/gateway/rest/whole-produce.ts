// Produce from a body that is read whole: JSON, or one raw value.
//
// The body is checked to its end before anything is appended. Then each partition's records go to the broker in one
// produce, all partitions at once, and the answer is put together in request order.

import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import { assert } from '../../base/assert.ts';
import type { ProduceAck, ProduceCode, TopicView } from '../../broker/broker.ts';
import { problemDocument } from '../error-mapping.ts';
import { fitsOneBatch, PartitionBatches } from '../partition-batches.ts';
import type { WrittenRecord } from '../record-json.ts';
import { ABSENT, isObject, readRecordForm } from '../record-json.ts';
import { parseBody, readWholeBody } from './body.ts';
import type { Exchange } from './exchange.ts';
import type { ProducePlan } from './produce-plan.ts';
import { bareRecord, partitionFault, recordTooLarge } from './produce-plan.ts';
import { rawRecord } from './raw-record.ts';

type Outcome = Result<ProduceAck, ProduceCode>;

/** One record's share of the answer: which partition, and the how-manieth of it there. */
interface Place {
  readonly partition: number;
  readonly index: number;
  readonly timestamp: number;
}

const LOG_APPEND_TIME = 'LogAppendTime';

export const produceWhole = async (exchange: Exchange, plan: ProducePlan, type: string): Promise<void> => {
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

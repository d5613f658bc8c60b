// Produce from a body that is read whole: JSON, or one raw value.
//
// The body is checked to its end before anything is appended. A single record may share a batch with those of other requests
// (record-gathering.ts). Otherwise each partition's records go to the broker in one produce, all partitions at once, and the
// answer is put together in request order.

import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import type { GatheredBatch } from '../record-gathering.ts';
import type { WrittenRecord } from '../record-json.ts';
import { isObject, readRecordList } from '../record-json.ts';
import type { Placed } from '../record-placement.ts';
import { appendPlaced, placeRecords, produceBatches } from '../record-placement.ts';
import type { WholeBody } from './body.ts';
import { parseBody, readWholeBody } from './body.ts';
import type { Exchange } from './exchange.ts';
import type { GatheredAppend, GatheredRequest, ProducePlan } from './produce-plan.ts';
import { bareRecord } from './produce-plan.ts';
import { rawRecord } from './raw-record.ts';
import { placeScanned } from './scanned-body.ts';

export const produceWhole = (exchange: Exchange, plan: ProducePlan, type: string): Promise<void> =>
  readWholeBody(exchange).then(body => produceBody(exchange, plan, { body, type }));

interface TypedBody {
  readonly body: WholeBody;
  readonly type: string;
}

/**
 * Not async: while an append is under way the frame of an async function keeps alive what it had in its variables, and here that is
 * the body and all that was made of it. With many connections that was most of what a collection of the young generation found alive.
 */
const produceBody = (exchange: Exchange, plan: ProducePlan, { body, type }: TypedBody): Promise<void> | undefined => {
  if (body.kind === 'gone') return undefined;
  if (body.kind === 'refused') {
    exchange.problem(body.problem);
    return undefined;
  }
  if (type === 'application/json' && !plan.isBare) {
    const scanned = placeScanned(body.bytes, plan);
    if (scanned !== null) return append(exchange, plan, scanned);
  }
  const records = type === 'application/json' ? jsonRecords(body.bytes, plan) : rawRecord(body.bytes, exchange);
  if (!records.ok) {
    exchange.problem(records.problem);
    return undefined;
  }
  const [only] = records.value;
  if (only !== undefined && records.value.length === 1) {
    const pending = gather(only, plan, body.bytes.length);
    if (pending !== null) return pending.then(appended => answerGathered(exchange, appended));
  }
  const placed = placeRecords(records.value, plan, body.bytes.length);
  if (placed.ok) return append(exchange, plan, placed.value);
  exchange.problem(placed.problem);
  return undefined;
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
  return readRecordList(form['records']);
};

/** Null where the record must have a batch of its own. */
const gather = (record: WrittenRecord, plan: ProducePlan, bodyBytes: number): Promise<GatheredAppend> | null => {
  const { promise, resolve, reject } = Promise.withResolvers<GatheredAppend>();
  const request: GatheredRequest = { appended: resolve, failed: reject };
  return plan.gathering.add(request, record, { plan, bodyBytes }) ? promise : null;
};

export const appendGathered = ({ plan, of, requests }: GatheredBatch<GatheredRequest>): void => {
  const { partition } = of;
  produceBatches(plan, of).then(
    outcome => {
      for (const [index, request] of requests.entries()) request.appended({ outcome, partition, index });
    },
    (error: unknown) => {
      for (const request of requests) request.failed(error);
    },
  );
};

const answerGathered = (exchange: Exchange, { outcome, partition, index }: GatheredAppend): void => {
  if (!outcome.ok) {
    exchange.problem(outcome.problem);
    return;
  }
  // One timestamp for the whole batch: the gateway's, or the one of the append.
  const { baseOffset, timestampMs } = outcome.value;
  const place = `{"partition":${partition},"offset":${baseOffset + index},"timestamp":${timestampMs}}`;
  exchange.asciiJson(200, `{"offsets":[${place}]}`);
};

const append = async (exchange: Exchange, plan: ProducePlan, placed: Placed): Promise<void> => {
  if (plan.acks === 'none') {
    const pending = Promise.all(placed.batches.map(of => produceBatches(plan, of)));
    exchange.asciiJson(202, '{}');
    await pending;
    return;
  }
  const answer = await appendPlaced(plan, placed, { requestId: exchange.requestId, produce: produceBatches });
  if (!answer.ok) exchange.problem(answer.problem);
  else if (!answer.value.isPartial) exchange.asciiJson(200, `{"offsets":${answer.value.offsets}}`);
  else exchange.answer(207, 'application/json', `{"offsets":${answer.value.offsets}}`);
};

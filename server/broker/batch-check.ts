// Everything that can be said of produced bytes without the log: whole batches, sound, of a size and an age that the topic takes.

import { accepted, type Problem, problem, refused, type Result } from '@sluice/protocol/errors';
import {
  BatchView,
  checkClientBatch,
  readBaseTimestamp,
  readMaxTimestamp,
  readProducerEpoch,
  readProducerId,
  RecordCursor,
  splitBatches,
} from '@sluice/protocol/record';
import { GRPC_MESSAGE_BYTES_MAX } from '../base/limits.ts';
import { KEY_REQUIRED } from '../base/topic-config.ts';
import type { ProduceCode } from './broker.ts';
import type { TopicSettings } from './topic-settings.ts';

/** The batches, one view each; a problem names the first one that is wrong. */
export const checkBatches = (
  bytes: Uint8Array,
  settings: TopicSettings,
  nowMs: number,
): Result<readonly Uint8Array[], ProduceCode> => {
  const split = splitBatches(bytes, { bytesMax: GRPC_MESSAGE_BYTES_MAX });
  if (!split.ok) {
    const { fault, index } = split;
    const detail = 'detail' in fault ? `${fault.kind}: ${fault.detail}` : 'the last batch is incomplete';
    return refused('CORRUPT_BATCH', detail, { batch: index });
  }
  if (split.batches.length === 0) return refused('INVALID_REQUEST', 'there is no batch in the request');
  const [first] = split.batches;
  for (const [index, batch] of split.batches.entries()) {
    if (index > 0 && !isOfProducer(batch, first!)) {
      return refused('INVALID_REQUEST', 'the batches of a request are of one producer in one epoch', { batch: index });
    }
    const refusal = batchProblem(batch, settings, nowMs);
    if (refusal !== null) return { ok: false, problem: { ...refusal, facts: { ...refusal.facts, batch: index } } };
  }
  return accepted(split.batches);
};

const isOfProducer = (batch: Uint8Array, first: Uint8Array): boolean =>
  readProducerId(batch, 0) === readProducerId(first, 0) && readProducerEpoch(batch, 0) === readProducerEpoch(first, 0);

const batchProblem = (batch: Uint8Array, settings: TopicSettings, nowMs: number): Problem<ProduceCode> | null => {
  if (batch.length > settings.batchBytesMax) {
    const detail = `a batch of ${batch.length} bytes; the topic takes at most ${settings.batchBytesMax}`;
    return problem('RECORD_TOO_LARGE', detail, { size: batch.length, max_message_bytes: settings.batchBytesMax });
  }
  const fault = checkClientBatch(batch, 0);
  if (fault !== null) {
    const detail = 'detail' in fault ? `${fault.kind}: ${fault.detail}` : 'the batch is incomplete';
    return problem(fault.kind === 'codec' ? 'UNSUPPORTED_COMPRESSION' : 'CORRUPT_BATCH', detail);
  }
  if (new BatchView(batch).isTransactional) {
    return problem('INVALID_REQUEST', 'this broker has no transactions, so a batch cannot be part of one');
  }
  const late = settings.timestampType === 'LogAppendTime' ? null : timestampProblem(batch, settings, nowMs);
  return late ?? (settings.log.compaction === null ? null : keyProblem(batch));
};

/** Whoever keeps the newest record of each key has to know all keys. */
const keyProblem = (batch: Uint8Array): Problem<ProduceCode> | null => {
  const opened = RecordCursor.open(batch);
  let fault = opened.ok ? null : opened.fault;
  if (opened.ok) {
    const { cursor } = opened;
    for (let index = 0; cursor.next(); index++) {
      if (cursor.keyStart < 0) return problem('INVALID_REQUEST', KEY_REQUIRED, { record: index });
    }
    ({ fault } = cursor);
  }
  if (fault === null) return null;
  return problem('CORRUPT_BATCH', `${fault.kind}: ${'detail' in fault ? fault.detail : 'the records are cut off'}`);
};

const timestampProblem = (
  batch: Uint8Array,
  { timestampAfterMaxMs, timestampBeforeMaxMs }: TopicSettings,
  nowMs: number,
): Problem<ProduceCode> | null => {
  const ahead = readMaxTimestamp(batch, 0) - nowMs;
  if (ahead > timestampAfterMaxMs) {
    const detail = `a record is ${ahead} ms ahead of the broker's clock; the topic allows ${timestampAfterMaxMs}`;
    return problem('INVALID_TIMESTAMP', detail);
  }
  const behind = nowMs - readBaseTimestamp(batch, 0);
  if (behind > timestampBeforeMaxMs) {
    return problem('INVALID_TIMESTAMP', `a record is ${behind} ms old; the topic allows ${timestampBeforeMaxMs}`);
  }
  return null;
};

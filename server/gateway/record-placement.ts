// The records of one produce request, from a checked list to offsets: into batches by partition, to the broker, and the
// offsets in the order of the request. Shared by the doors whose requests are read whole.
//
// Guarantees: every record is placed before anything is appended; the first that can be in no batch refuses all. The
// records of one request for one partition are in one batch, whole or not at all (in several where they exceed what the
// topic allows for one). Partitions that fail while appending are told one by one, unless all failed alike.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import type { Codec } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import type { Acks, Broker, ProduceAck, ProduceCode, TopicView } from '../broker/broker.ts';
import type { Clock } from '../io/clock.ts';
import { problemDocument } from './error-mapping.ts';
import type { BuilderPool } from './partition-batches.ts';
import { fitsOneBatch, PartitionBatches } from './partition-batches.ts';
import type { PartitionChoice } from './partition-choice.ts';
import type { WrittenRecord } from './record-json.ts';
import { ABSENT } from './record-json.ts';
import { unknownPartition } from './topic-lookup.ts';

/** Where the records of one request go and how. */
export interface PlacementPlan {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly choice: PartitionChoice;
  readonly pool: BuilderPool;
  readonly topic: TopicView;
  /** The one that the request as a whole names; null lets records choose. */
  readonly partition: number | null;
  /** Where the request names it, in words. */
  readonly partitionOf: 'path' | 'request';
  readonly acks: Acks;
  readonly timeoutMs: number;
  readonly codec: Codec;
}

export type AppendOutcome = Result<ProduceAck, ProduceCode>;

/** One record's share of the answer: which partition, and the how-manieth of it there. */
interface Place {
  readonly partition: number;
  readonly index: number;
  readonly timestamp: number;
}

export interface Placed {
  readonly places: readonly Place[];
  readonly batches: readonly PartitionBatches[];
}

export interface ProducedOffsets {
  /** A JSON list: an entry a record. */
  readonly offsets: string;
  /** Some entries are problems. */
  readonly isPartial: boolean;
}

const LOG_APPEND_TIME = 'LogAppendTime';

/** All records into batches by partition, or the first that can be in none. Nothing has been appended yet. */
export const placeRecords = (
  records: readonly WrittenRecord[],
  plan: PlacementPlan,
  bodyBytes: number,
): Result<Placed> => {
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
    } else if (record.key === null && plan.partition === null) {
      if (sticky === ABSENT) sticky = partitionFor(record, plan);
      partition = sticky;
    } else partition = partitionFor(record, plan);
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

/** Where a record of its own goes; records of one request that have no key stay together. */
export const partitionFor = ({ partition, key }: WrittenRecord, plan: PlacementPlan): number => {
  if (partition !== ABSENT) return partition;
  if (plan.partition !== null) return plan.partition;
  const { choice, topic } = plan;
  return key === null ? choice.nextSticky(topic.partitionCount) : choice.forKey(key, topic.partitionCount);
};

/** Why a record may not name this partition. */
export const partitionFault = (partition: number, plan: PlacementPlan, index: number | null): Problem | null => {
  const { topic } = plan;
  const at = index === null ? {} : { index };
  if (partition >= topic.partitionCount) {
    const { problem: unknown } = unknownPartition(topic, partition);
    return { ...unknown, facts: { ...unknown.facts, ...at } };
  }
  if (plan.partition === null || partition === plan.partition) return null;
  const detail = `the record names partition ${partition}, the ${plan.partitionOf} ${plan.partition}`;
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

/** One partition's batches to the broker. */
export const produceBatches = async (plan: PlacementPlan, of: PartitionBatches): Promise<AppendOutcome> => {
  const { broker, topic, acks, timeoutMs } = plan;
  return broker.produce({ topic: topic.name, partition: of.partition, batches: await of.take(), acks, timeoutMs });
};

export interface AppendOptions {
  /** Named in the problems of single partitions. */
  readonly requestId: string;
  readonly produce: (plan: PlacementPlan, of: PartitionBatches) => Promise<AppendOutcome>;
}

/** All partitions at once. Refused where all of them failed alike. */
export const appendPlaced = async (
  plan: PlacementPlan,
  { places, batches }: Placed,
  { requestId, produce }: AppendOptions,
): Promise<Result<ProducedOffsets>> => {
  const { topic } = plan;
  const [only] = batches;
  if (only !== undefined && batches.length === 1) {
    const outcome = await produce(plan, only);
    return outcome.ok
      ? accepted({ offsets: renderOffsets(places, topic, outcome.value), isPartial: false })
      : { ok: false, problem: outcome.problem };
  }
  const outcomes = new Map<number, AppendOutcome>();
  await Promise.all(
    batches.map(async of => {
      outcomes.set(of.partition, await produce(plan, of));
    }),
  );
  const failures = [...outcomes.values()].filter(outcome => !outcome.ok);
  const [first] = failures;
  if (first !== undefined && failures.length === outcomes.size) {
    if (failures.every(failure => failure.problem.code === first.problem.code)) {
      return { ok: false, problem: first.problem };
    }
  }
  const timestamps = new Map<number, number>();
  const offsets = places.map(({ partition, index, timestamp }) => {
    const outcome = outcomes.get(partition);
    assert(outcome !== undefined, 'every partition has an outcome');
    if (!outcome.ok) return { partition, problem: problemDocument(outcome.problem, requestId) };
    let stored = timestamps.get(partition);
    if (stored === undefined) {
      stored = appendTime(places, partition, topic, outcome.value);
      timestamps.set(partition, stored);
    }
    return { partition, offset: outcome.value.baseOffset + index, timestamp: stored === ABSENT ? timestamp : stored };
  });
  return accepted({ offsets: JSON.stringify(offsets), isPartial: first !== undefined });
};

const renderOffsets = (places: readonly Place[], topic: TopicView, ack: ProduceAck): string => {
  const stored = appendTime(places, places[0]?.partition ?? 0, topic, ack);
  let text = '[';
  for (let at = 0; at < places.length; at++) {
    const { partition, index, timestamp } = places[at]!;
    const time = stored === ABSENT ? timestamp : stored;
    text += `${at === 0 ? '' : ','}{"partition":${partition},"offset":${ack.baseOffset + index},"timestamp":${time}}`;
  }
  return `${text}]`;
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

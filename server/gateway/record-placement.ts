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
import { KEY_REQUIRED } from '../base/topic-config.ts';
import type { Acks, Broker, ProduceAck, ProduceCode, TopicView } from '../broker/broker.ts';
import type { Clock } from '../io/clock.ts';
import { problemDocument } from './error-mapping.ts';
import { type ExactAppend, needsFixedPartition, needsOnePartition } from './exact-append.ts';
import type { BuilderPool } from './partition-batches.ts';
import { fitsOneBatch, PartitionBatches } from './partition-batches.ts';
import type { PartitionChoice } from './partition-choice.ts';
import type { WrittenRecord } from './record-json.ts';
import type { RecordScan } from './record-scan.ts';
import type { TextBuffer } from './text-buffer.ts';
import { ABSENT } from './record-json.ts';
import { unknownPartition } from './topic-lookup.ts';

/** Where the records of one request go and how. */
export interface PlacementPlan {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly choice: PartitionChoice;
  readonly pool: BuilderPool;
  /** What answers are put together in. */
  readonly text: TextBuffer;
  readonly topic: TopicView;
  /** The one that the request as a whole names; null lets records choose. */
  readonly partition: number | null;
  /** Where the request names it, in words. */
  readonly partitionOf: 'path' | 'request';
  readonly acks: Acks;
  readonly timeoutMs: number;
  readonly codec: Codec;
  readonly exact: ExactAppend | null;
}

export type AppendOutcome = Result<ProduceAck, ProduceCode>;

/** The records of one request in batches, and in columns what the answer says of each; nothing is kept a record where all are alike. */
export interface Placed {
  readonly count: number;
  /** By record; null when all go to one partition. */
  readonly partitions: readonly number[] | null;
  /** By record; null when all have `timestamp`. */
  readonly timestamps: readonly number[] | null;
  readonly timestamp: number;
  readonly batches: readonly PartitionBatches[];
}

export interface ProducedOffsets {
  /** A JSON list: an entry a record. */
  readonly offsets: string;
  /** Some entries are problems. */
  readonly isPartial: boolean;
}

const LOG_APPEND_TIME = 'LogAppendTime';
const LIST_START = 0x5b;
const LIST_END = 0x5d;
const COMMA = 0x2c;
const OBJECT_END = 0x7d;

/** The records of one request on their way into batches. Nothing is appended to a log here. */
export class Placement {
  readonly #plan: PlacementPlan;
  readonly #now: number;
  readonly #byPartition = new Map<number, PartitionBatches>();
  #latest: PartitionBatches | null = null;
  #sticky = ABSENT;
  #count = 0;
  #partitions: number[] | null = null;
  #timestamps: number[] | null = null;

  constructor(plan: PlacementPlan) {
    this.#plan = plan;
    this.#now = plan.clock.wallMs();
  }

  /** `isFitting`: everything together certainly fits into one batch. Whoever is told a problem drops the placement. */
  add(record: WrittenRecord, isFitting: boolean): Problem | null {
    const fault = this.#partitionFault(record) ?? this.#keyFault(record.key !== null);
    if (fault !== null) return fault;
    const partition = this.#partitionOf(record);
    const inexact = this.#plan.exact === null ? null : this.#exactFault(partition);
    if (inexact !== null) return inexact;
    const batches = this.#place(record, partition);
    if (isFitting) batches.addFitting(record);
    else if (!batches.add(record)) return this.#tooLarge();
    this.#count++;
    return null;
  }

  /** The same for a record that lies in bytes. */
  addScanned(record: RecordScan): Problem | null {
    const fault = this.#partitionFault(record) ?? this.#keyFault(record.keyStart >= 0);
    if (fault !== null) return fault;
    const partition = this.#partitionOfScanned(record);
    const inexact = this.#plan.exact === null ? null : this.#exactFault(partition);
    if (inexact !== null) return inexact;
    if (!this.#place(record, partition).addSpans(record)) return this.#tooLarge();
    this.#count++;
    return null;
  }

  #exactFault(partition: number): Problem | null {
    const { exact, topic } = this.#plan;
    if (exact === null) return null;
    if (this.#latest !== null && this.#latest.partition !== partition) return needsOnePartition(exact);
    return this.#sticky !== ABSENT && topic.partitionCount > 1 ? needsFixedPartition(exact) : null;
  }

  done(): Placed {
    const batches = [...this.#byPartition.values()];
    return {
      count: this.#count,
      partitions: this.#partitions,
      timestamps: this.#timestamps,
      timestamp: this.#now,
      batches,
    };
  }

  /** Gives back what the batches were being built in. */
  drop(): void {
    for (const batches of this.#byPartition.values()) batches.drop();
  }

  #partitionFault({ partition }: { readonly partition: number }): Problem | null {
    return partition === ABSENT ? null : partitionFault(partition, this.#plan, this.#count);
  }

  #keyFault(hasKey: boolean): Problem | null {
    if (hasKey || !this.#plan.topic.isCompacted) return null;
    return problem('INVALID_REQUEST', KEY_REQUIRED, { index: this.#count, field: 'key' });
  }

  #tooLarge(): Problem {
    return recordTooLarge(this.#plan.topic, { index: this.#count }).problem;
  }

  #partitionOf(record: WrittenRecord): number {
    if (record.partition !== ABSENT || record.key !== null) return partitionFor(record, this.#plan);
    return this.#plan.partition ?? this.#stickyPartition();
  }

  #partitionOfScanned(record: RecordScan): number {
    if (record.partition !== ABSENT) return record.partition;
    const { partition, choice, topic } = this.#plan;
    if (partition !== null) return partition;
    return record.keyStart < 0 ? this.#stickyPartition() : choice.forKeySpan(record, topic.partitionCount);
  }

  #stickyPartition(): number {
    const { choice, topic } = this.#plan;
    if (this.#sticky === ABSENT) this.#sticky = choice.nextSticky(topic.partitionCount);
    return this.#sticky;
  }

  /** Settles what the client left open, and notes it. */
  #place(record: { timestamp: number }, partition: number): PartitionBatches {
    const now = this.#now;
    const count = this.#count;
    if (record.timestamp === ABSENT) record.timestamp = now;
    if (record.timestamp !== now) this.#timestamps ??= filled(count, now);
    this.#timestamps?.push(record.timestamp);
    const latest = this.#latest;
    if (latest !== null && latest.partition !== partition) this.#partitions ??= filled(count, latest.partition);
    this.#partitions?.push(partition);
    return latest?.partition === partition ? latest : this.#batchesOf(partition);
  }

  #batchesOf(partition: number): PartitionBatches {
    let batches = this.#byPartition.get(partition);
    if (batches === undefined) {
      const { pool, codec, topic, exact } = this.#plan;
      const producer = exact?.producer ?? null;
      batches = new PartitionBatches(partition, { pool, codec, producer, batchBytesMax: topic.batchBytesMax });
      this.#byPartition.set(partition, batches);
    }
    this.#latest = batches;
    return batches;
  }
}

const filled = (count: number, value: number): number[] => Array.from({ length: count }, () => value);

/** All records into batches by partition, or the first that can be in none. Nothing has been appended yet. */
export const placeRecords = (
  records: readonly WrittenRecord[],
  plan: PlacementPlan,
  bodyBytes: number,
): Result<Placed> => {
  const isFitting = fitsOneBatch(bodyBytes, records.length, plan.topic.batchBytesMax);
  const placement = new Placement(plan);
  for (const record of records) {
    const fault = placement.add(record, isFitting);
    if (fault === null) continue;
    placement.drop();
    return { ok: false, problem: fault };
  }
  return accepted(placement.done());
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
export const produceBatches = async (plan: PlacementPlan, of: PartitionBatches): Promise<AppendOutcome> =>
  produceTaken(plan, of.partition, await of.take());

/** The same when they are taken. */
export const produceTaken = (plan: PlacementPlan, partition: number, batches: Uint8Array): Promise<AppendOutcome> => {
  const { broker, topic, acks, timeoutMs } = plan;
  const request = { topic: topic.name, partition, batches, acks, timeoutMs };
  const expectedOffset = plan.exact?.expectedOffset ?? null;
  return broker.produce(expectedOffset === null ? request : { ...request, expectedOffset });
};

export interface AppendOptions {
  /** Named in the problems of single partitions. */
  readonly requestId: string;
  readonly produce: (plan: PlacementPlan, of: PartitionBatches) => Promise<AppendOutcome>;
}

/** All partitions at once. Refused where all of them failed alike. */
export const appendPlaced = async (
  plan: PlacementPlan,
  placed: Placed,
  { requestId, produce }: AppendOptions,
): Promise<Result<ProducedOffsets>> => {
  const [only] = placed.batches;
  if (only !== undefined && placed.batches.length === 1) {
    const outcome = await produce(plan, only);
    return outcome.ok
      ? accepted({
          offsets: offsetsOfOne(placed, plan, { partition: only.partition, ack: outcome.value }),
          isPartial: false,
        })
      : { ok: false, problem: outcome.problem };
  }
  const outcomes = new Map<number, AppendOutcome>();
  await Promise.all(
    placed.batches.map(async of => {
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
  return accepted({ offsets: offsetsOfMany(placed, plan, { outcomes, requestId }), isPartial: first !== undefined });
};

/** The answer in JSON: an entry a record. Written into memory that is there, because strings put together cost several times as much. */
const offsetsOfOne = (
  placed: Placed,
  { text, topic }: PlacementPlan,
  { partition, ack }: { readonly partition: number; readonly ack: ProduceAck },
): string => {
  const stored = appendTime(placed, topic, { partition, ack });
  const timestamps = stored === ABSENT ? placed.timestamps : null;
  const before = `{"partition":${partition},"offset":`;
  const after = `,"timestamp":${stored === ABSENT ? placed.timestamp : stored}}`;
  for (let at = 0; at < placed.count; at++) {
    text.byte(at === 0 ? LIST_START : COMMA);
    text.ascii(before);
    text.integer(ack.baseOffset + at);
    if (timestamps === null) text.ascii(after);
    else writeTimestamp(text, timestamps[at]!);
  }
  text.byte(LIST_END);
  return text.takeText();
};

interface PartitionAnswer {
  readonly before: string;
  nextOffset: number;
  /** ABSENT when each record kept its own. */
  readonly stored: number;
}

const offsetsOfMany = (
  placed: Placed,
  { text, topic }: PlacementPlan,
  { outcomes, requestId }: { readonly outcomes: ReadonlyMap<number, AppendOutcome>; readonly requestId: string },
): string => {
  const { partitions, timestamps, timestamp } = placed;
  assert(partitions !== null, 'with several batches records have different partitions');
  const answers = new Map<number, PartitionAnswer | string>();
  for (const [partition, outcome] of outcomes) {
    if (outcome.ok) {
      const stored = appendTime(placed, topic, { partition, ack: outcome.value });
      answers.set(partition, {
        before: `{"partition":${partition},"offset":`,
        nextOffset: outcome.value.baseOffset,
        stored,
      });
    } else answers.set(partition, JSON.stringify({ partition, problem: problemDocument(outcome.problem, requestId) }));
  }
  for (let at = 0; at < placed.count; at++) {
    const answer = answers.get(partitions[at]!);
    assert(answer !== undefined, 'every partition has an outcome');
    text.byte(at === 0 ? LIST_START : COMMA);
    if (typeof answer === 'string') {
      text.utf8(answer);
      continue;
    }
    text.ascii(answer.before);
    text.integer(answer.nextOffset++);
    writeTimestamp(text, answer.stored === ABSENT ? (timestamps?.[at] ?? timestamp) : answer.stored);
  }
  text.byte(LIST_END);
  return text.takeText();
};

const writeTimestamp = (text: TextBuffer, timestamp: number): void => {
  text.ascii(',"timestamp":');
  text.integer(timestamp);
  text.byte(OBJECT_END);
};

/** The one timestamp that all records of a partition were stored with, or ABSENT when each kept its own. */
const appendTime = (
  placed: Placed,
  topic: TopicView,
  { partition, ack }: { readonly partition: number; readonly ack: ProduceAck },
): number => {
  if (topic.config['message.timestamp.type'] === LOG_APPEND_TIME) return ack.timestampMs;
  const { partitions, timestamps } = placed;
  let largest = timestamps === null ? placed.timestamp : ABSENT;
  if (timestamps !== null) {
    for (let at = 0; at < timestamps.length; at++) {
      const isOfPartition = partitions === null || partitions[at] === partition;
      if (isOfPartition && timestamps[at]! > largest) largest = timestamps[at]!;
    }
  }
  // The setting may also come from the broker's defaults; then only the answer tells.
  return largest === ack.timestampMs ? ABSENT : ack.timestampMs;
};

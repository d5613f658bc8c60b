// Produce from a body of lines, appended as they arrive.
//
//   chunks -> lines -> records -> one builder a partition -> at most one append a partition under way
//
// While an append of a partition is under way its next batch grows; it is sent when that append is answered, so batches
// are as large as the disk is slow, and small when the client is. A chunk is read only when less than
// HELD_BYTES_MAX is held, so a fast client waits for the disk, and memory is bounded whatever the body's length.
//
// Guarantees: within a partition, lines are appended in order and each append begins after the one before succeeded;
// what is appended of a partition is thus always a prefix. The answer counts exactly what was acknowledged. Nothing from
// a bad line on is appended; the lines before it are. A body that was broken off adds no partial line.

import { isUtf8 } from 'node:buffer';
import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import { LINE_BYTES_MAX } from '../../base/limits.ts';
import type { ProduceAck } from '../../broker/broker.ts';
import { decodeText, parseJson } from '../json-text.ts';
import { PartitionBatches } from '../partition-batches.ts';
import type { WrittenRecord } from '../record-json.ts';
import { ABSENT, readRecordForm } from '../record-json.ts';
import type { RecordScan } from '../record-scan.ts';
import { partitionFault, recordTooLarge } from '../record-placement.ts';
import { stopping, throttled } from './body.ts';
import { BodyChunks } from './body-chunks.ts';
import type { Exchange } from './exchange.ts';
import { LineSplitter } from './line-splitter.ts';
import type { ProducePlan } from './produce-plan.ts';
import { bareRecord } from './produce-plan.ts';

/** A batch this large is sent at once, or as soon as the one before it is answered. */
const BATCH_BYTES_GOAL = 256 * 1024;
/** Lines in builders and appends under way; beyond it the client waits. */
const HELD_BYTES_MAX = 1024 * 1024;

/** One partition's lines on their way. */
interface Lane {
  readonly batches: PartitionBatches;
  /** The line of the first record that is in the builder now. */
  firstLine: number;
  appending: Promise<void> | null;
  appendingBytes: number;
  firstOffset: number;
  lastOffset: number;
  count: number;
}

interface LineFailure {
  readonly line: number;
  readonly problem: Problem;
}

interface LineReaders {
  /** True when the line was read where it lies, as nearly all are; what it says is in the plan's scan then. */
  scan(line: Buffer): boolean;
  /** Every other line; null for one that says nothing. */
  read(line: Buffer): Result<WrittenRecord | null>;
}

export const produceStream = async (exchange: Exchange, plan: ProducePlan, type: string): Promise<void> => {
  const announced = Number(exchange.request.headers['content-length'] ?? HELD_BYTES_MAX);
  if (!exchange.reserve(Math.min(announced, HELD_BYTES_MAX))) {
    exchange.problem(throttled());
    return;
  }
  exchange.continue();
  await new LineUpload(exchange, plan, type === 'text/plain' ? textLines(plan) : jsonLines(plan)).run();
};

class LineUpload {
  readonly #exchange: Exchange;
  readonly #plan: ProducePlan;
  readonly #readers: LineReaders;
  readonly #chunks: BodyChunks;
  readonly #lanes = new Map<number, Lane>();
  readonly #sticky: number;
  #line = 0;
  /** What an unfinished line takes beyond the request's first reservation. */
  #reservedCarryBytes = 0;
  #failure: LineFailure | null = null;
  #hasAppendFailed = false;

  constructor(exchange: Exchange, plan: ProducePlan, readers: LineReaders) {
    this.#exchange = exchange;
    this.#plan = plan;
    this.#readers = readers;
    this.#chunks = new BodyChunks(exchange);
    this.#sticky = plan.partition ?? plan.choice.nextSticky(plan.topic.partitionCount);
  }

  async run(): Promise<void> {
    const chunks = this.#chunks;
    const splitter = new LineSplitter();
    let arrival = await chunks.next();
    while (arrival instanceof Buffer) {
      this.#exchange.metrics.received(arrival.length);
      this.#takeLines(arrival, splitter);
      if (this.#failure !== null) break;
      this.#sendWhatWaits(chunks.hasMore ? BATCH_BYTES_GOAL : 1);
      await this.#untilThereIsRoom();
      if (this.#failure !== null) break;
      arrival = await chunks.next();
    }
    chunks.release();
    // The client broke the body off: a partial last line is not a line, and nobody waits for an answer.
    if (arrival === 'gone') {
      this.#dropLines();
      return;
    }
    if (arrival === 'stopped') this.#fail(this.#line + 1, stopping());
    const last = arrival === 'end' ? splitter.rest() : null;
    if (last !== null) this.#take(last, this.#plan.clock.wallMs());
    await this.#finish();
  }

  #takeLines(chunk: Buffer, splitter: LineSplitter): void {
    const now = this.#plan.clock.wallMs();
    splitter.push(chunk);
    for (let line = splitter.next(); line !== null; line = splitter.next()) if (!this.#take(line, now)) return;
    const { carriedBytes } = splitter;
    if (carriedBytes > LINE_BYTES_MAX) this.#fail(this.#line + 1, lineTooLong());
    else if (carriedBytes > this.#reservedCarryBytes + HELD_BYTES_MAX) {
      if (this.#exchange.reserve(carriedBytes - this.#reservedCarryBytes)) this.#reservedCarryBytes = carriedBytes;
      else this.#fail(this.#line + 1, throttled());
    }
  }

  /** False when this line ended the request. */
  #take(line: Buffer, now: number): boolean {
    this.#line++;
    if (this.#readers.scan(line)) return this.#takeScanned(this.#plan.scan, now);
    const read = this.#readers.read(line);
    if (!read.ok) return this.#fail(this.#line, read.problem);
    const record = read.value;
    if (record === null) return true;
    if (record.partition !== ABSENT && !this.#mayName(record.partition)) return false;
    if (record.timestamp === ABSENT) record.timestamp = now;
    const { choice, partition, topic } = this.#plan;
    const lane = this.#laneFor(
      record.partition !== ABSENT
        ? record.partition
        : partition === null && record.key !== null
          ? choice.forKey(record.key, topic.partitionCount)
          : this.#sticky,
    );
    return this.#added(lane, lane.batches.add(record));
  }

  #takeScanned(record: RecordScan, now: number): boolean {
    if (record.partition !== ABSENT && !this.#mayName(record.partition)) return false;
    if (record.timestamp === ABSENT) record.timestamp = now;
    const { choice, partition, topic } = this.#plan;
    const lane = this.#laneFor(
      record.partition !== ABSENT
        ? record.partition
        : partition === null && record.keyStart >= 0
          ? choice.forKeySpan(record, topic.partitionCount)
          : this.#sticky,
    );
    return this.#added(lane, lane.batches.addSpans(record));
  }

  #mayName(partition: number): boolean {
    const fault = partitionFault(partition, this.#plan, null);
    return fault === null || this.#fail(this.#line, fault);
  }

  #laneFor(partition: number): Lane {
    const lane = this.#lane(partition);
    if (lane.batches.recordCount === 0) lane.firstLine = this.#line;
    return lane;
  }

  #added(lane: Lane, hasRoom: boolean): boolean {
    if (!hasRoom) return this.#fail(this.#line, recordTooLarge(this.#plan.topic, {}).problem);
    if (lane.batches.byteLength >= BATCH_BYTES_GOAL && lane.appending === null) this.#send(lane);
    return true;
  }

  #fail(line: number, refusal: Problem): false {
    this.#failure ??= { line, problem: refusal };
    return false;
  }

  #lane(partition: number): Lane {
    let lane = this.#lanes.get(partition);
    if (lane === undefined) {
      const { codec, pool, topic } = this.#plan;
      lane = {
        batches: new PartitionBatches(partition, { pool, codec, batchBytesMax: topic.batchBytesMax }),
        firstLine: 0,
        appending: null,
        appendingBytes: 0,
        firstOffset: ABSENT,
        lastOffset: ABSENT,
        count: 0,
      };
      this.#lanes.set(partition, lane);
    }
    return lane;
  }

  #sendWhatWaits(bytesMin: number): void {
    for (const lane of this.#lanes.values()) {
      if (lane.appending === null && lane.batches.byteLength >= bytesMin) this.#send(lane);
    }
  }

  #send(lane: Lane): void {
    lane.appendingBytes = lane.batches.byteLength;
    lane.appending = this.#append(lane);
  }

  async #append(lane: Lane): Promise<void> {
    const { broker, topic, acks, timeoutMs } = this.#plan;
    const line = lane.firstLine;
    const { partition } = lane.batches;
    const batches = await lane.batches.take();
    const outcome = await broker.produce({ topic: topic.name, partition, batches, acks, timeoutMs });
    if (outcome.ok) acknowledge(lane, outcome.value);
    else this.#failAppend(line, outcome.problem);
    lane.appending = null;
    lane.appendingBytes = 0;
    // What gathered meanwhile goes at once: the client may be waiting to see it before it sends more.
    if (this.#failure === null && lane.batches.recordCount > 0) this.#send(lane);
  }

  /** An append that failed belongs to an earlier line than whatever was found wrong meanwhile. */
  #failAppend(line: number, refusal: Problem): void {
    this.#hasAppendFailed = true;
    this.#chunks.stop();
    if (this.#failure === null || line < this.#failure.line) this.#failure = { line, problem: refusal };
  }

  async #untilThereIsRoom(): Promise<void> {
    for (;;) {
      let held = 0;
      const appending: Promise<void>[] = [];
      for (const lane of this.#lanes.values()) {
        held += lane.appendingBytes + lane.batches.byteLength;
        if (lane.appending !== null) appending.push(lane.appending);
      }
      if (held < HELD_BYTES_MAX || this.#failure !== null) return;
      if (appending.length > 0) await Promise.race(appending);
      if (this.#failure === null) this.#sendWhatWaits(1);
    }
  }

  /** Sends the lines that are left, unless an append failed: then nothing more is appended anywhere. */
  async #finish(): Promise<void> {
    for (const lane of this.#lanes.values()) {
      while (lane.appending !== null) await lane.appending;
    }
    if (!this.#hasAppendFailed) {
      this.#sendWhatWaits(1);
      for (const lane of this.#lanes.values()) if (lane.appending !== null) await lane.appending;
    }
    this.#dropLines();
    this.#answer();
  }

  #dropLines(): void {
    for (const lane of this.#lanes.values()) lane.batches.drop();
  }

  #answer(): void {
    const ranges: { partition: number; first_offset: number; last_offset: number; count: number }[] = [];
    let count = 0;
    for (const [partition, lane] of this.#lanes) {
      if (lane.count === 0) continue;
      count += lane.count;
      ranges.push({ partition, first_offset: lane.firstOffset, last_offset: lane.lastOffset, count: lane.count });
    }
    ranges.sort((a, b) => a.partition - b.partition);
    const failure = this.#failure;
    if (failure !== null) this.#exchange.problem(failure.problem, { line: failure.line, count, partitions: ranges });
    else if (this.#plan.acks === 'none') this.#exchange.answer(202, 'application/json', '{}');
    else this.#exchange.json(200, { count, partitions: ranges });
  }
}

const acknowledge = (lane: Lane, ack: ProduceAck): void => {
  if (lane.firstOffset === ABSENT) lane.firstOffset = ack.baseOffset;
  lane.lastOffset = ack.baseOffset + ack.count - 1;
  lane.count += ack.count;
};

const lineTooLong = (): Problem =>
  problem('RECORD_TOO_LARGE', `a line has at most ${LINE_BYTES_MAX} bytes`, { limit_bytes: LINE_BYTES_MAX });

/** The line's bytes as they are; the builder copies them. */
const textLines = ({ scan }: ProducePlan): LineReaders => ({
  scan(line) {
    scan.text(line);
    return true;
  },
  read: () => accepted(null),
});

const jsonLines = (plan: ProducePlan): LineReaders => {
  const { isBare, keyPointer, scan } = plan;
  let isFirst = true;
  return {
    scan(line) {
      // What a key pointer says can only be found by parsing.
      const isPlain = isBare ? keyPointer === null && scan.valueLine(line) : scan.recordLine(line);
      if (!isPlain || (scan.hasWideBytes && !isUtf8(line))) return false;
      isFirst = false;
      return true;
    },
    read(line) {
      const text = isFirst ? decodeText(line) : isUtf8(line) ? line.toString('utf8') : null;
      // A byte order mark belongs to the body, not to its lines.
      isFirst = false;
      if (text === null) return refused('INVALID_REQUEST', 'the line is not UTF-8');
      if (/^[ \t\r]*$/.test(text)) return accepted(null);
      const parsed = parseJson(text);
      if (!parsed.ok) return refused('INVALID_REQUEST', `the line is not JSON: ${parsed.fault}`);
      if (isBare) return bareRecord(parsed.value, plan);
      const record = readRecordForm(parsed.value);
      if (record.kind === 'fault') return refused('INVALID_REQUEST', record.detail, { field: record.field });
      return accepted(record);
    },
  };
};

// One partition as its leader serves it: checks what is produced, moves the high watermark, answers those who wait.
//
// With one broker the quorum is this disk: the high watermark is what the log reports durable. Everything judged on the log
// is answered only when that is durable, in order: `#parked` is a queue by end offset.
//
// Invariants: highWatermark <= log.durableOffset; it never falls; parked answers are settled in the order of their offsets.

import { accepted, type Problem, problem, refused, type Result } from '@sluice/protocol/errors';
import { type LeaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import {
  BatchView,
  checkClientBatch,
  readBaseTimestamp,
  readLastOffset,
  readMaxTimestamp,
  splitBatches,
  stampAppendTime,
} from '@sluice/protocol/record';
import { GRPC_MESSAGE_BYTES_MAX } from '../base/limits.ts';
import type { DurableNotice } from '../base/position.ts';
import type { Clock, Timer } from '../io/clock.ts';
import { DiskFault } from '../io/disk.ts';
import type { DamagedRange } from '../storage/damage.ts';
import type { LogListener, PartitionLog } from '../storage/partition-log.ts';
import type {
  DeletedRecords,
  DeleteRecordsCode,
  FetchCode,
  OffsetQuery,
  PartitionOffsets,
  ProduceAck,
  ProduceCode,
  ProduceRequest,
} from './broker.ts';
import type { TopicSettings } from './topic-settings.ts';

/** The node's count of bytes accepted and not yet durable. */
export interface PendingBytes {
  readonly used: number;
  readonly limit: number;
  add(bytes: number): void;
  release(bytes: number): void;
}

interface Parked {
  readonly endOffset: Offset;
  readonly bytes: number;
  /** Null where nobody waits (acks leader and none): only the bytes are counted. */
  readonly answer: ((result: Result<ProduceAck, ProduceCode>) => void) | null;
  readonly ack: ProduceAck;
  readonly deadlineMs: number;
  answered: boolean;
}

export interface ReadPiece {
  readonly batches: readonly Uint8Array[];
  readonly nextOffset: Offset;
}

export interface PartitionOptions {
  readonly topic: string;
  readonly partition: number;
  readonly clock: Clock;
  readonly pending: PendingBytes;
}

/** With one broker nobody else is ever elected. */
const SOLE_EPOCH = 0 as LeaderEpoch;

export class Partition implements LogListener {
  readonly topic: string;
  readonly partition: number;
  readonly #clock: Clock;
  readonly #pending: PendingBytes;
  #log: PartitionLog | null = null;
  #settings: TopicSettings;
  #highWatermark = offset(0);
  /** In order of end offset. */
  #parked: Parked[] = [];
  #parkedHead = 0;
  #deadlineTimer: Timer | null = null;
  #deadlineTimerMs = Number.POSITIVE_INFINITY;
  readonly #watchers = new Set<() => void>();
  /** Set once by the node's stop or the topic's deletion. */
  #closed: 'SHUTTING_DOWN' | 'TOPIC_NOT_FOUND' | null = null;

  constructor(options: PartitionOptions, settings: TopicSettings) {
    this.topic = options.topic;
    this.partition = options.partition;
    this.#clock = options.clock;
    this.#pending = options.pending;
    this.#settings = settings;
  }

  /** The log tells this partition what is durable, so it is made second. */
  attach(log: PartitionLog): void {
    this.#log = log;
    this.#highWatermark = log.durableOffset;
  }

  get log(): PartitionLog {
    if (this.#log === null) throw new TypeError('the partition has no log yet');
    return this.#log;
  }

  get highWatermark(): Offset {
    return this.#highWatermark;
  }

  get leaderEpoch(): LeaderEpoch {
    return SOLE_EPOCH;
  }

  changeSettings(settings: TopicSettings): void {
    this.#settings = settings;
    this.log.changeSettings(settings.log);
  }

  // --------------------------------------------------------------------------------------------------------- produce

  produce(request: ProduceRequest): Promise<Result<ProduceAck, ProduceCode>> {
    if (this.#closed !== null) return Promise.resolve(this.#closedRefusal());
    const checked = this.#check(request.batches);
    if (!checked.ok) return Promise.resolve(checked);
    const bytes = request.batches.length;
    if (this.#pending.used > 0 && this.#pending.used + bytes > this.#pending.limit) {
      return Promise.resolve(
        refused('THROTTLED', 'too many bytes wait to become durable; slow down and try again', {
          pending_bytes: this.#pending.used,
        }),
      );
    }
    return this.#append(request, checked.value);
  }

  #append(request: ProduceRequest, batches: readonly Uint8Array[]): Promise<Result<ProduceAck, ProduceCode>> {
    let timestampMs = Number.NEGATIVE_INFINITY;
    if (this.#settings.timestampType === 'LogAppendTime') {
      timestampMs = this.#clock.wallMs();
      for (const batch of batches) stampAppendTime(batch, timestampMs);
    } else {
      for (const batch of batches) timestampMs = Math.max(timestampMs, readMaxTimestamp(batch, 0));
    }
    const outcome = this.log.append(batches, SOLE_EPOCH);
    if (!outcome.ok) return Promise.resolve({ ok: false, problem: this.#appendProblem(outcome.refusal) });
    const bytes = request.batches.length;
    this.#pending.add(bytes);
    const ack: ProduceAck = {
      baseOffset: outcome.baseOffset,
      count: outcome.endOffset - outcome.baseOffset,
      timestampMs,
    };
    const waits = request.acks === 'all';
    const deadlineMs = waits ? this.#clock.monotonicMs() + request.timeoutMs : Number.POSITIVE_INFINITY;
    const { endOffset } = outcome;
    if (!waits) {
      this.#parked.push({ endOffset, bytes, answer: null, ack, deadlineMs, answered: true });
      return Promise.resolve(accepted(ack));
    }
    return new Promise(resolve => {
      this.#parked.push({ endOffset, bytes, answer: resolve, ack, deadlineMs, answered: false });
      this.#watchDeadline(deadlineMs);
    });
  }

  /** Everything that can be said of the bytes without the log. */
  #check(bytes: Uint8Array): Result<readonly Uint8Array[], ProduceCode> {
    const split = splitBatches(bytes, { bytesMax: GRPC_MESSAGE_BYTES_MAX });
    if (!split.ok) {
      const { fault, index } = split;
      const detail = 'detail' in fault ? `${fault.kind}: ${fault.detail}` : 'the last batch is incomplete';
      return refused('CORRUPT_BATCH', detail, { batch: index });
    }
    if (split.batches.length === 0) return refused('INVALID_REQUEST', 'there is no batch in the request');
    const now = this.#clock.wallMs();
    for (const [index, batch] of split.batches.entries()) {
      const refusal = this.#batchProblem(batch, now);
      if (refusal !== null) {
        return { ok: false, problem: { ...refusal, facts: { ...refusal.facts, batch: index } } };
      }
    }
    return accepted(split.batches);
  }

  #batchProblem(batch: Uint8Array, now: number): Problem<ProduceCode> | null {
    const settings = this.#settings;
    if (batch.length > settings.batchBytesMax) {
      return problem(
        'RECORD_TOO_LARGE',
        `a batch of ${batch.length} bytes; the topic takes at most ${settings.batchBytesMax}`,
        {
          size: batch.length,
          max_message_bytes: settings.batchBytesMax,
        },
      );
    }
    const fault = checkClientBatch(batch, 0);
    if (fault !== null) {
      const detail = 'detail' in fault ? `${fault.kind}: ${fault.detail}` : 'the batch is incomplete';
      return problem(fault.kind === 'codec' ? 'UNSUPPORTED_COMPRESSION' : 'CORRUPT_BATCH', detail);
    }
    const view = new BatchView(batch);
    if (view.producerId !== -1) {
      return problem('INVALID_REQUEST', 'this broker gives out no producer ids, so a batch cannot carry one');
    }
    if (settings.timestampType === 'LogAppendTime') return null;
    const ahead = readMaxTimestamp(batch, 0) - now;
    if (ahead > settings.timestampAfterMaxMs) {
      return problem(
        'INVALID_TIMESTAMP',
        `a record is ${ahead} ms ahead of the broker's clock; the topic allows ${settings.timestampAfterMaxMs}`,
      );
    }
    const behind = now - readBaseTimestamp(batch, 0);
    if (behind > settings.timestampBeforeMaxMs) {
      return problem(
        'INVALID_TIMESTAMP',
        `a record is ${behind} ms old; the topic allows ${settings.timestampBeforeMaxMs}`,
      );
    }
    return null;
  }

  #appendProblem(refusal: 'full' | 'failed' | 'closed' | 'backlog'): Problem<ProduceCode> {
    switch (refusal) {
      case 'full':
        return problem(
          'DISK_FULL',
          'the disk is full; the partition takes records again when there is room',
          this.#where(),
        );
      case 'failed':
        return problem(
          'STORAGE_FAILED',
          'a write or sync failed; the partition takes no records until a restart',
          this.#where(),
        );
      case 'backlog':
        return problem('THROTTLED', 'the partition has too much to write; slow down and try again', this.#where());
      case 'closed':
        return this.#closedRefusal().problem;
    }
  }

  #where(): { readonly partition: number } {
    return { partition: this.partition };
  }

  #closedRefusal(): { readonly ok: false; readonly problem: Problem<'SHUTTING_DOWN' | 'TOPIC_NOT_FOUND'> } {
    return this.#closed === 'TOPIC_NOT_FOUND'
      ? refused('TOPIC_NOT_FOUND', `topic "${this.topic}" was deleted`)
      : refused('SHUTTING_DOWN', 'the broker is stopping');
  }

  // ------------------------------------------------------------------------------------------------- from the log

  durable(notice: DurableNotice): void {
    const { offset: end } = notice.position;
    if (end <= this.#highWatermark) return;
    this.#highWatermark = end;
    while (this.#parkedHead < this.#parked.length) {
      const first = this.#parked[this.#parkedHead]!;
      if (first.endOffset > end) break;
      this.#parkedHead++;
      this.#pending.release(first.bytes);
      if (!first.answered) {
        first.answered = true;
        first.answer?.(accepted(first.ack));
      }
    }
    this.#compactParked();
    this.#wake();
  }

  dropped(state: 'full' | 'failed', endOffset: Offset): void {
    const refusal = { ok: false, problem: this.#appendProblem(state) } as const;
    this.#dropParked(parked => parked.endOffset > endOffset, refusal);
    this.#wake();
  }

  #dropParked(which: (parked: Parked) => boolean, refusal: Result<ProduceAck, ProduceCode>): void {
    const kept: Parked[] = [];
    for (let index = this.#parkedHead; index < this.#parked.length; index++) {
      const parked = this.#parked[index]!;
      if (!which(parked)) {
        kept.push(parked);
        continue;
      }
      this.#pending.release(parked.bytes);
      if (!parked.answered) {
        parked.answered = true;
        parked.answer?.(refusal);
      }
    }
    this.#parked = kept;
    this.#parkedHead = 0;
  }

  #compactParked(): void {
    if (this.#parkedHead === this.#parked.length) {
      this.#parked = [];
      this.#parkedHead = 0;
    } else if (this.#parkedHead > 256 && this.#parkedHead * 2 > this.#parked.length) {
      this.#parked = this.#parked.slice(this.#parkedHead);
      this.#parkedHead = 0;
    }
  }

  /** One timer for all parked answers, at the earliest deadline. */
  #watchDeadline(deadlineMs: number): void {
    if (deadlineMs >= this.#deadlineTimerMs) return;
    this.#deadlineTimer?.cancel();
    this.#deadlineTimerMs = deadlineMs;
    this.#deadlineTimer = this.#clock.schedule(Math.max(0, deadlineMs - this.#clock.monotonicMs()), () => {
      this.#deadlineTimer = null;
      this.#deadlineTimerMs = Number.POSITIVE_INFINITY;
      this.#expire();
    });
  }

  #expire(): void {
    const now = this.#clock.monotonicMs();
    let earliest = Number.POSITIVE_INFINITY;
    for (let index = this.#parkedHead; index < this.#parked.length; index++) {
      const parked = this.#parked[index]!;
      if (parked.answered) continue;
      if (parked.deadlineMs > now) {
        earliest = Math.min(earliest, parked.deadlineMs);
        continue;
      }
      parked.answered = true;
      parked.answer?.(
        refused('REQUEST_TIMED_OUT', 'the records were not durable in time; they may be written', {
          outcome: 'unknown',
          ...this.#where(),
        }),
      );
    }
    if (earliest < Number.POSITIVE_INFINITY) this.#watchDeadline(earliest);
  }

  // ------------------------------------------------------------------------------------------------------------ read

  async read(from: Offset, bytesMax: number): Promise<Result<ReadPiece, FetchCode>> {
    if (this.#closed !== null) return this.#closedRefusal();
    const endMax = this.#highWatermark;
    if (from > endMax || from < this.log.startOffset) return this.#outOfRange(from);
    const outcome = await this.log.read(from, { endMax, bytesMax });
    switch (outcome.kind) {
      case 'batches': {
        const last = outcome.batches.at(-1);
        const nextOffset = last === undefined ? from : offset(readLastOffset(last, 0) + 1);
        return accepted({ batches: outcome.batches, nextOffset });
      }
      case 'below-start':
        return this.#outOfRange(from);
      case 'damaged':
        return this.#damaged(outcome.range);
      case 'failed':
        return refused('STORAGE_FAILED', 'the disk could not be read', this.#where());
    }
  }

  #damaged(range: DamagedRange): { readonly ok: false; readonly problem: Problem<'PARTITION_DAMAGED'> } {
    return refused('PARTITION_DAMAGED', `offsets ${range.from} to ${range.to - 1} cannot be read: ${range.reason}`, {
      partition: this.partition,
      file: range.file.split('/').slice(-2).join('/'),
      position: range.position,
      damaged_from: range.from,
      resume_offset: range.to,
    });
  }

  #outOfRange(from: Offset): { readonly ok: false; readonly problem: Problem<'OFFSET_OUT_OF_RANGE'> } {
    const earliest = this.log.startOffset;
    return refused(
      'OFFSET_OUT_OF_RANGE',
      `offset ${from} of partition ${this.partition} is outside ${earliest} to ${this.#highWatermark}`,
      { partition: this.partition, offset: from, earliest_offset: earliest, high_watermark: this.#highWatermark },
    );
  }

  /** Calls `wake` at the next change that a waiting reader may care about, until the returned function is called. */
  watch(wake: () => void): () => void {
    this.#watchers.add(wake);
    return () => this.#watchers.delete(wake);
  }

  #wake(): void {
    for (const wake of this.#watchers) wake();
  }

  async offsets(query: OffsetQuery): Promise<PartitionOffsets> {
    const highWatermark = this.#highWatermark;
    const earliestOffset = this.log.startOffset;
    let found: PartitionOffsets['found'] = null;
    if (query.kind === 'timestamp') found = await this.log.findTimestamp(query.timestampMs, highWatermark);
    if (query.kind === 'tail') {
      const start = offset(Math.max(earliestOffset, highWatermark - query.count));
      found = { offset: start, timestampMs: -1 };
    }
    return { partition: this.partition, earliestOffset, highWatermark, lastStableOffset: highWatermark, found };
  }

  // ----------------------------------------------------------------------------------------------------- deleting records

  async deleteRecords(before: Offset): Promise<Result<DeletedRecords, DeleteRecordsCode>> {
    if (this.#closed !== null) return this.#closedRefusal();
    const { log } = this;
    if (before > this.#highWatermark) return this.#outOfRange(before);
    if (log.state === 'failed') {
      return refused('STORAGE_FAILED', 'a write or sync failed; nothing is deleted until a restart', this.#where());
    }
    // Across damage is a way to be rid of it; a start inside of it would be one that nobody can read.
    const damaged = log.damagedRanges.find(range => range.from < before && before < range.to);
    if (damaged !== undefined) return this.#damaged(damaged);
    try {
      await log.advanceStart(before);
    } catch (cause) {
      if (!(cause instanceof DiskFault)) throw cause;
      return cause.kind === 'full'
        ? refused('DISK_FULL', 'the disk is full', this.#where())
        : refused('STORAGE_FAILED', 'the new log start could not be written', this.#where());
    }
    return accepted({ earliestOffset: log.startOffset });
  }

  // ------------------------------------------------------------------------------------------------------------- end

  applyRetention(): Promise<void> {
    return this.log.advanceStart(this.log.retentionStart(this.#clock.wallMs(), this.#highWatermark));
  }

  /** Takes no more requests; what was accepted is written, synced and answered before this returns. */
  async close(): Promise<void> {
    this.#closed ??= 'SHUTTING_DOWN';
    await this.log.close();
    this.#end();
  }

  /** The topic is gone: everybody who waits is told. */
  async abandon(): Promise<void> {
    this.#closed = 'TOPIC_NOT_FOUND';
    this.#wake();
    await this.log.abandon();
    this.#end();
  }

  #end(): void {
    this.#deadlineTimer?.cancel();
    const refusal: Result<ProduceAck, ProduceCode> =
      this.#closed === 'TOPIC_NOT_FOUND'
        ? this.#closedRefusal()
        : refused('REQUEST_TIMED_OUT', 'the broker stopped before the records were durable; they may be written', {
            outcome: 'unknown',
            ...this.#where(),
          });
    this.#dropParked(() => true, refusal);
    this.#wake();
  }
}

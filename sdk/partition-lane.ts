// One partition of a producer: the batch in the making, those that wait, and how many are on the wire.
//
// Order: batches go out in their order. After a refusal nothing more goes out until all that is on the wire is
// answered; then the refused ones go again, in their order and after a wait.
//
// An idempotent producer numbers the records of the partition and signs its batches: a batch that was written and not answered is sent again
// with the same number, and the broker writes each number once and in order. Whatever overtook a refused batch is refused as well. A number
// that will never be written leaves a gap that the broker takes nothing behind: then a new epoch begins, in which what was certainly not
// written is numbered anew; what may have been is given up, since the broker could not tell it from new records.
//
// Without an identity the broker cannot put back in order what overtook a refused batch (`inFlightMax: 1` leaves nothing to overtake), and a
// batch that was written and not answered is never sent again.

import { BatchBuilder, type ProducerStamp, type RecordInput, stampProducer } from '@sluice/protocol/record';
import { Backoff } from './backoff.ts';
import type { BufferPool } from './buffer-pool.ts';
import { ProduceBatch, type BatchAnswer, type BatchTicket } from './produce-batch.ts';
import type { Compression } from './producer.ts';
import { SequenceLine, type IdentitySource } from './sequence-line.ts';
import type { Clock, Random, Timer } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';

/** The stream to the partition's leader. */
export interface LaneChannel {
  readonly isWritable: boolean;
  /** The lane is pumped when the stream takes batches again. */
  whenWritable(lane: PartitionLane): void;
  /** Only while `isWritable`. The batch comes back exactly once: acknowledged, refused or lost. */
  write(lane: PartitionLane, batch: ProduceBatch): void;
}

/** What a lane asks of its producer. */
export interface LaneHost {
  readonly topic: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly compression: Compression;
  readonly inFlightMax: number;
  /** A batch is complete from here on. */
  readonly batchBytes: number;
  /** The topic's limit. */
  readonly batchBytesMax: number;
  readonly pool: BufferPool;
  /** Null: the producer is not idempotent. Lanes that wait for it are pumped when it is there. */
  readonly identity: IdentitySource | null;
  channelOf(partition: number): LaneChannel;
  opened(lane: PartitionLane, batch: ProduceBatch): void;
  sealed(batch: ProduceBatch): void;
  buffered(bytes: number): void;
  done(batch: ProduceBatch): void;
}

/** Room for the lengths and deltas of a record without headers, and for UTF-8 at its longest. */
const ROOM_RECORD_BYTES = 64;
const UTF8_BYTES_PER_UNIT = 3;

export class PartitionLane {
  readonly partition: number;
  private readonly host: LaneHost;
  private readonly builder: BatchBuilder;
  private readonly backoff: Backoff;
  private readonly line: SequenceLine | null;
  private open: ProduceBatch | null = null;
  /** Sealed and not on the wire, in order. */
  private waiting: ProduceBatch[] = [];
  private readonly onWire = new Set<ProduceBatch>();
  private sequence = 0;
  /** A batch was refused: nothing goes out until the wait is over. */
  private isHeldBack = false;
  private retry: Timer | null = null;

  constructor(host: LaneHost, partition: number) {
    this.host = host;
    this.partition = partition;
    this.backoff = new Backoff(host.random);
    this.line = host.identity === null ? null : new SequenceLine(host.identity);
    this.builder = new BatchBuilder({ codec: host.compression, allocate: bytes => host.pool.take(bytes) });
  }

  /** Throws RECORD_TOO_LARGE, and INVALID_TIMESTAMP; nothing was accepted then. */
  append(record: RecordInput, ticket: BatchTicket): void {
    const { builder, host } = this;
    if (this.open !== null && !this.fits(record)) this.complete();
    let size: number;
    try {
      size = builder.append(record);
    } catch (cause) {
      throw new SluiceError('INVALID_TIMESTAMP', `${record.timestamp} cannot be a record's timestamp`, { cause });
    }
    if (this.open === null) {
      const bytes = builder.byteLength;
      if (bytes > host.batchBytesMax) {
        builder.reset();
        throw new SluiceError(
          'RECORD_TOO_LARGE',
          `a batch with this record alone has ${bytes} bytes; ${host.topic} takes at most ${host.batchBytesMax}`,
          { facts: { bytes, limit_bytes: host.batchBytesMax } },
        );
      }
      size = bytes;
      const { topic, clock } = host;
      const place = { topic, partition: this.partition, sequence: this.sequence++ };
      this.open = new ProduceBatch(place, clock.monotonicMs());
      this.open.baseTimestamp = record.timestamp;
      host.opened(this, this.open);
    }
    const batch = this.open;
    ticket.place(batch, batch.recordCount++, record.timestamp);
    if (record.timestamp > batch.maxTimestamp) batch.maxTimestamp = record.timestamp;
    batch.bufferedBytes += size;
    host.buffered(size);
    if (builder.byteLength >= host.batchBytes) this.complete();
  }

  /** The batch has lingered, or somebody flushes: it goes out as soon as it can. Until then it takes more records. */
  due(): void {
    if (this.open === null || this.open.isDue) return;
    this.open.isDue = true;
    this.pump();
  }

  /** Sends what may go. Called whenever something changed: room on the wire, a batch built, a wait over. */
  pump(): void {
    while (!this.isHeldBack && this.onWire.size < this.host.inFlightMax) {
      if (this.waiting.length === 0 && this.open?.isDue === true) this.seal();
      const batch = this.waiting[0];
      if (batch === undefined || batch.bytes === null) return;
      if (this.line?.isBroken === true) {
        // Answers that are still to come tell what else was not written.
        if (this.onWire.size > 0) return;
        this.beginEpoch(this.line);
        continue;
      }
      const channel = this.host.channelOf(this.partition);
      if (!channel.isWritable) {
        channel.whenWritable(this);
        return;
      }
      if (this.line !== null && !this.number(batch, this.line)) return;
      this.waiting.shift();
      batch.state = 'on-wire';
      this.onWire.add(batch);
      channel.write(this, batch);
    }
  }

  acknowledged(batch: ProduceBatch, answer: BatchAnswer): void {
    this.onWire.delete(batch);
    this.backoff.reset();
    // Unanswered, or given up, it may still be read from.
    if (answer.baseOffset >= 0 && batch.bytes !== null) this.host.pool.give(batch.bytes);
    this.finish(batch, { answer });
    this.proceed();
  }

  refused(batch: ProduceBatch, error: SluiceError): void {
    this.onWire.delete(batch);
    if (this.line !== null) this.refusedNumber(batch, error, this.line);
    else if (batch.state === 'on-wire' && error.retriable && error.outcome === undefined) this.sendAgain(batch);
    else this.finish(batch, { error });
    this.proceed();
  }

  /** Written and never answered. */
  lost(batch: ProduceBatch, cause: unknown): void {
    this.onWire.delete(batch);
    if (this.line === null) {
      this.finish(batch, { error: outcomeUnknown('the connection was lost before the answer came', cause) });
    } else {
      batch.mayBeWritten = true;
      if (batch.state === 'on-wire') this.sendAgain(batch);
    }
    this.proceed();
  }

  private sendAgain(batch: ProduceBatch): void {
    batch.state = 'sealed';
    this.waiting.push(batch);
    this.waiting.sort((a, b) => a.sequence - b.sequence);
    this.isHeldBack = true;
  }

  // The numbers of an idempotent producer.

  /** False: there is no identity yet. */
  private number(batch: ProduceBatch, line: SequenceLine): boolean {
    if (batch.isNumbered) return true;
    const stamp = line.take(batch.recordCount);
    if (stamp === null) return false;
    batch.isNumbered = true;
    if (!isSame(batch.signature, stamp)) stampProducer(batch.bytes!, stamp);
    batch.signature = stamp;
    return true;
  }

  /** Signed as it will be if nothing happens before it goes out. */
  private foresee(batch: ProduceBatch): void {
    if (this.line === null) return;
    let count = 0;
    for (const other of this.waiting) if (!other.isNumbered && other !== batch) count += other.recordCount;
    const stamp = this.line.foresee(count);
    if (stamp === null) return;
    batch.signature = stamp;
    this.builder.setProducer(stamp);
  }

  private refusedNumber(batch: ProduceBatch, error: SluiceError, line: SequenceLine): void {
    if (error.code === 'DUPLICATE_SEQUENCE') {
      this.finish(batch, { answer: { baseOffset: -1, appendTimestamp: null } });
      return;
    }
    // Given up: whether its number is a gap the next one finds out.
    if (batch.state !== 'on-wire') return;
    if (error.code === 'OUT_OF_ORDER_SEQUENCE') {
      // The broker knows all numbers before the one that is due, and this is none of them.
      batch.mayBeWritten = false;
      if (!this.isBehindAnother(batch)) line.isBroken = true;
      this.sendAgain(batch);
    } else if (error.code === 'UNKNOWN_PRODUCER_ID') {
      line.isBroken = true;
      if (batch.mayBeWritten) this.finish(batch, { error: outcomeUnknown('the broker forgot the producer', error) });
      else this.sendAgain(batch);
    } else if (error.retriable) {
      if (error.outcome !== undefined) batch.mayBeWritten = true;
      this.sendAgain(batch);
    } else {
      line.isBroken = true;
      this.finish(batch, { error });
    }
  }

  /** Of an earlier one nobody knows yet what becomes of it. */
  private isBehindAnother({ sequence }: ProduceBatch): boolean {
    return [...this.onWire, ...this.waiting].some(other => other.sequence < sequence && other.isNumbered);
  }

  private beginEpoch(line: SequenceLine): void {
    line.beginEpoch();
    const uncertain = this.waiting.filter(batch => batch.mayBeWritten);
    this.waiting = this.waiting.filter(batch => !batch.mayBeWritten);
    for (const batch of this.waiting) batch.isNumbered = false;
    for (const batch of uncertain) {
      this.finish(batch, { error: outcomeUnknown('an earlier batch of the partition is lost', undefined) });
    }
  }

  /** Gives up on batches that began before `createdBeforeMs`; answers when the oldest one left began, or null. */
  expire(createdBeforeMs: number, cause: unknown): number | null {
    for (const batch of this.unfinished()) {
      if (batch.createdMs <= createdBeforeMs) this.giveUp(batch, 'not acknowledged in time', cause);
    }
    this.proceed();
    return this.unfinished()[0]?.createdMs ?? null;
  }

  /** There is no identity for what has none yet. */
  refuseUnsigned(error: SluiceError): void {
    const refused = this.waiting.filter(batch => !batch.isNumbered && batch.bytes !== null);
    this.waiting = this.waiting.filter(batch => !refused.includes(batch));
    for (const batch of refused) this.finish(batch, { error });
  }

  /** Gives up on everything. */
  abandon(detail: string, cause: unknown): void {
    this.retry?.cancel();
    for (const batch of this.unfinished()) this.giveUp(batch, detail, cause);
  }

  /** In order. What expired on the wire still takes its place there, but is done. */
  private unfinished(): ProduceBatch[] {
    const all = [...this.onWire, ...this.waiting, ...(this.open === null ? [] : [this.open])];
    return all.filter(batch => batch.state !== 'done').sort((a, b) => a.sequence - b.sequence);
  }

  private giveUp(batch: ProduceBatch, detail: string, cause: unknown): void {
    if (batch.state === 'on-wire') {
      this.finish(batch, { error: outcomeUnknown(detail, cause) });
      return;
    }
    if (batch === this.open) {
      this.builder.reset();
      this.open = null;
      this.host.sealed(batch);
    } else {
      this.waiting = this.waiting.filter(other => other !== batch);
    }
    if (batch.mayBeWritten) this.finish(batch, { error: outcomeUnknown(detail, cause) });
    else this.finish(batch, { error: new SluiceError('REQUEST_TIMED_OUT', `${detail}; not written`, { cause }) });
  }

  private finish(batch: ProduceBatch, settled: Parameters<ProduceBatch['settle']>[0]): void {
    // It may have expired on the wire.
    if (batch.state === 'done') return;
    batch.settle(settled);
    this.host.done(batch);
  }

  /** After a batch left the wire. */
  private proceed(): void {
    if (!this.isHeldBack) this.pump();
    else if (this.onWire.size === 0 && this.retry === null) {
      this.retry = this.host.clock.schedule(this.backoff.nextMs(), () => {
        this.retry = null;
        this.isHeldBack = false;
        this.pump();
      });
    }
  }

  /** A cheap bound first: measuring a long string costs more than writing it. */
  private fits(record: RecordInput): boolean {
    const { builder, host } = this;
    if (record.headers === undefined) {
      const bytes = builder.byteLength + ROOM_RECORD_BYTES + bytesAtMost(record.key) + bytesAtMost(record.value);
      if (bytes <= host.batchBytes) return true;
    }
    return builder.estimatedBytesWith(record) <= host.batchBytes;
  }

  private complete(): void {
    this.seal();
    this.pump();
  }

  private seal(): void {
    const { builder } = this;
    const batch = this.open!;
    this.open = null;
    batch.state = 'sealed';
    this.waiting.push(batch);
    this.host.sealed(batch);
    this.foresee(batch);
    if (this.host.compression === 'none') {
      batch.bytes = builder.build();
      return;
    }
    // oxlint-disable-next-line typescript/no-floating-promises -- tells its failure itself
    this.compress(batch);
  }

  private async compress(batch: ProduceBatch): Promise<void> {
    try {
      const bytes = await this.builder.buildOffLoop();
      if (batch.state !== 'done') batch.bytes = bytes;
    } catch (cause) {
      this.waiting = this.waiting.filter(other => other !== batch);
      this.finish(batch, { error: new SluiceError('INTERNAL', 'the batch could not be compressed', { cause }) });
    }
    this.pump();
  }
}

const isSame = (one: ProducerStamp | null, other: ProducerStamp): boolean =>
  one !== null && one.id === other.id && one.epoch === other.epoch && one.baseSequence === other.baseSequence;

function bytesAtMost(field: Uint8Array | string | null): number {
  if (field === null) return 0;
  return typeof field === 'string' ? field.length * UTF8_BYTES_PER_UNIT : field.length;
}

const outcomeUnknown = (detail: string, cause: unknown): SluiceError =>
  new SluiceError('REQUEST_TIMED_OUT', `${detail}; the records may or may not have been written`, {
    outcome: 'unknown',
    cause,
  });

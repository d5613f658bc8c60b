// One batch of a producer, from its first record to its answer, and the tickets for its records.
//
//   open ──seal──▶ sealed ──built──▶ sealed with bytes ──write──▶ on the wire ──answer──▶ done
//     │               ▲                                                │
//     │               └──────── refused, certainly not written ────────┘
//     │                  or, of an idempotent producer, unanswered
//     └─────────────── any state: expired or closed ─────────────────────────────────────▶ done
//
// Guarantees: settled exactly once. One promise serves all tickets and is made only when somebody asks, so that a record
// nobody asks about costs none.

import type { ProducerStamp } from '@sluice/protocol/record';
import type { Delivery, Ticket } from './producer.ts';
import type { SluiceError } from './sluice-error.ts';

export interface BatchAnswer {
  /** -1: not known (acks none, or written so long ago that the broker does not know it either). */
  readonly baseOffset: number;
  /** What the broker stamped on all records; null where their own timestamps hold. */
  readonly appendTimestamp: number | null;
}

export type BatchState = 'open' | 'sealed' | 'on-wire' | 'done';

type Settled = { readonly answer: BatchAnswer } | { readonly error: SluiceError };

export class ProduceBatch {
  readonly topic: string;
  readonly partition: number;
  /** Batches of a partition are numbered in their order. */
  readonly sequence: number;
  /** Monotonic. */
  readonly createdMs: number;
  state: BatchState = 'open';
  /** Lingered long enough: goes out as soon as there is a place on the wire. */
  isDue = false;
  /** Set when built, dropped when done. */
  bytes: Uint8Array | null = null;
  /** What its bytes are signed with. */
  signature: ProducerStamp | null = null;
  /** It has its place among the producer's sequences: it went out with that signature, or is about to. */
  isNumbered = false;
  /** It was on the wire, and what became of it there is not known. */
  mayBeWritten = false;
  recordCount = 0;
  /** What it takes of the buffer. */
  bufferedBytes = 0;
  /** The first record's. */
  baseTimestamp = 0;
  maxTimestamp = Number.NEGATIVE_INFINITY;
  /** A ticket will tell how it ended. */
  isAskedFor = false;
  #settled: Settled | null = null;
  #answer: PromiseWithResolvers<BatchAnswer> | null = null;
  #onDone: (() => void)[] | null = null;

  constructor(
    place: { readonly topic: string; readonly partition: number; readonly sequence: number },
    createdMs: number,
  ) {
    this.topic = place.topic;
    this.partition = place.partition;
    this.sequence = place.sequence;
    this.createdMs = createdMs;
  }

  get error(): SluiceError | null {
    return this.#settled !== null && 'error' in this.#settled ? this.#settled.error : null;
  }

  settle(settled: Settled): void {
    if (this.#settled !== null) throw new RangeError('a batch is settled once');
    this.#settled = settled;
    this.state = 'done';
    this.bytes = null;
    if ('answer' in settled) this.#answer?.resolve(settled.answer);
    else this.#answer?.reject(settled.error);
    for (const action of this.#onDone ?? []) action();
    this.#onDone = null;
  }

  answer(): Promise<BatchAnswer> {
    this.isAskedFor = true;
    if (this.#answer === null) {
      this.#answer = Promise.withResolvers();
      if (this.#settled !== null) {
        if ('answer' in this.#settled) this.#answer.resolve(this.#settled.answer);
        else this.#answer.reject(this.#settled.error);
      }
    }
    return this.#answer.promise;
  }

  /** Resolves when settled, however. */
  done(): Promise<void> {
    if (this.#settled !== null) return Promise.resolve();
    return new Promise(resolve => {
      this.#onDone ??= [];
      this.#onDone.push(resolve);
    });
  }
}

/** A record's place. It has none while the record waits for the topic's metadata or for room. */
export class BatchTicket implements Ticket {
  private batch: ProduceBatch | null = null;
  private index = -1;
  /** To the batch's first record: a small integer needs no box of its own. */
  private timestampDelta = 0;
  private failure: SluiceError | null = null;
  private waiting: PromiseWithResolvers<void> | null = null;
  /** Nobody waits for it any more; a record without a place will get none. */
  isAbandoned = false;

  place(batch: ProduceBatch, index: number, timestamp: number): void {
    this.batch = batch;
    this.index = index;
    this.timestampDelta = timestamp - batch.baseTimestamp;
    if (this.waiting !== null) {
      batch.isAskedFor = true;
      this.waiting.resolve();
    }
  }

  /** For a record that got no place. False: nobody has asked about it. */
  fail(error: SluiceError): boolean {
    this.failure = error;
    this.waiting?.resolve();
    return this.waiting !== null;
  }

  async ack(): Promise<Delivery> {
    if (this.batch === null && this.failure === null) {
      this.waiting ??= Promise.withResolvers();
      await this.waiting.promise;
    }
    if (this.failure !== null) throw this.failure;
    const batch = this.batch!;
    const { baseOffset, appendTimestamp } = await batch.answer();
    return {
      topic: batch.topic,
      partition: batch.partition,
      offset: baseOffset < 0 ? -1 : baseOffset + this.index,
      timestamp: appendTimestamp ?? batch.baseTimestamp + this.timestampDelta,
    };
  }
}

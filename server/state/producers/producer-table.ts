// What one partition knows of its idempotent producers: of each its epoch and its last batches, so that a batch that comes again is told
// from a new one.
//
// Two layers. Below `settledTo` the log is committed and durable here, and of each producer the last five batches of its latest epoch are
// kept. Above stand the batches that are not, all of them, in the order of the log: a cut takes from their end, `settle` folds from their
// beginning. A batch that stands below `settledTo` is in the state already, also where the log is not that far yet: whoever is given a
// snapshot of a leader's state reads the log up to it afterwards.
//
//      batches of a producer     5  6  7  8  9 | 10 11
//      in the log                --------------|-------->
//                                          settledTo
//
// Judging looks at both layers at once: a leader must not take a batch again that it took a moment ago.
//
// Nothing is forgotten because the log forgets it. A producer goes when it was not heard of for long (`expire`), by the timestamps of the
// batches that are remembered and by when this replica saw it last, whichever is later: records may be older than the day they are written
// on, and their producer tries again all the same.

import { type Offset, offset } from '@sluice/protocol/ids';
import {
  readBaseOffset,
  readBaseSequence,
  readLastOffset,
  readMaxTimestamp,
  readProducerEpoch,
  readProducerId,
  readRecordCount,
} from '@sluice/protocol/record';
import { assert } from '../../base/assert.ts';
import { PRODUCER_BATCHES_KEPT, PRODUCERS_PER_PARTITION_MAX } from '../../base/limits.ts';
import { SEQUENCES_AHEAD_MAX, sequenceAfter, sequenceDistance } from './sequence.ts';

/** One batch as it stands in the log. */
export interface ProducedBatch {
  readonly epoch: number;
  readonly baseSequence: number;
  readonly count: number;
  readonly baseOffset: number;
  /** Of its newest record; -1 where its records are gone. */
  readonly timestamp: number;
}

/** What a producer says of a batch. */
export interface BatchClaim {
  readonly producerId: number;
  readonly epoch: number;
  readonly baseSequence: number;
  readonly count: number;
}

export type Verdict =
  | { readonly kind: 'fresh' }
  /** The very batch is in the log, from this offset on. */
  | { readonly kind: 'repeat'; readonly baseOffset: Offset; readonly timestamp: number }
  /** It was written, before the batches that are remembered. */
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'out-of-order'; readonly expected: number }
  | { readonly kind: 'fenced'; readonly epoch: number }
  | { readonly kind: 'unknown' }
  /** A producer of which nothing is known, and there is no room for another one. */
  | { readonly kind: 'full' };

export interface ProducerView {
  readonly producerId: number;
  readonly batches: readonly ProducedBatch[];
}

interface Producer {
  readonly id: number;
  /** In the order of the log; never empty. */
  readonly batches: NotedBatch[];
  /** When this replica noted its last batch. */
  seenMs: number;
}

interface NotedBatch extends ProducedBatch {
  readonly producer: Producer;
}

const FRESH: Verdict = { kind: 'fresh' };
const NO_TIMESTAMP = -1;
/** What was settled goes from the front of its array once it is so much. */
const HEAD_MAX = 256;

export class ProducerTable {
  readonly #producers = new Map<number, Producer>();
  #settledTo: Offset;
  /** Batches at or above `settledTo`, in the order of the log, from `#head` on. */
  #above: NotedBatch[] = [];
  #head = 0;

  constructor(settledTo: Offset) {
    this.#settledTo = settledTo;
  }

  get settledTo(): Offset {
    return this.#settledTo;
  }

  get producerCount(): number {
    return this.#producers.size;
  }

  get isEmpty(): boolean {
    return this.#producers.size === 0;
  }

  // ---- What the log has

  /** A batch that was appended to the log. One without a producer costs a look at its id. */
  note(bytes: Uint8Array, at: number, nowMs: number): void {
    const id = readProducerId(bytes, at);
    if (id < 0) return;
    const baseOffset = readBaseOffset(bytes, at);
    // An empty batch, left where records were given up, tells what its producer wrote; a control batch has no sequence.
    const baseSequence = readBaseSequence(bytes, at);
    if (baseOffset < this.#settledTo || baseSequence < 0) return;
    let producer = this.#producers.get(id);
    if (producer === undefined) {
      producer = { id, batches: [], seenMs: nowMs };
      this.#producers.set(id, producer);
    }
    producer.seenMs = nowMs;
    const batch = {
      producer,
      epoch: readProducerEpoch(bytes, at),
      baseSequence,
      count: readLastOffset(bytes, at) - baseOffset + 1,
      baseOffset,
      timestamp: readRecordCount(bytes, at) === 0 ? NO_TIMESTAMP : readMaxTimestamp(bytes, at),
    };
    producer.batches.push(batch);
    this.#above.push(batch);
  }

  /** What ends at or below `to` is committed and durable here: no cut takes it back. */
  settle(to: Offset): void {
    if (to <= this.#settledTo) return;
    this.#settledTo = to;
    while (this.#head < this.#above.length) {
      const batch = this.#above[this.#head]!;
      if (batch.baseOffset + batch.count > to) break;
      this.#head++;
      this.#fold(batch);
    }
    if (this.#head === this.#above.length) {
      this.#above = [];
      this.#head = 0;
    } else if (this.#head > HEAD_MAX && this.#head * 2 > this.#above.length) {
      this.#above = this.#above.slice(this.#head);
      this.#head = 0;
    }
  }

  /** The batch is the last one below `settledTo` now: what it makes superfluous goes. */
  #fold({ producer, baseOffset }: NotedBatch): void {
    const { batches } = producer;
    const last = batches.findLastIndex(each => each.baseOffset === baseOffset);
    let first = last;
    while (last - first + 1 < PRODUCER_BATCHES_KEPT && isFollowed(batches[first - 1], batches[first]!)) first--;
    if (first > 0) batches.splice(0, first);
  }

  /**
   * The log ends at `to` now. False: that is below what was settled, which is only so where committed records were lost; what is left
   * then is less than what the log below can tell, and is to be made anew of it.
   */
  cut(to: Offset): boolean {
    while (this.#above.length > this.#head) {
      const batch = this.#above.at(-1)!;
      if (batch.baseOffset < to) break;
      this.#above.pop();
      const removed = batch.producer.batches.pop();
      assert(removed === batch, 'the last batch of the log is the last one of its producer');
      if (batch.producer.batches.length === 0) this.#producers.delete(batch.producer.id);
    }
    if (to >= this.#settledTo) return true;
    for (const producer of this.#producers.values()) {
      while (producer.batches.length > 0 && producer.batches.at(-1)!.baseOffset >= to) producer.batches.pop();
      if (producer.batches.length === 0) this.#producers.delete(producer.id);
    }
    this.#settledTo = to;
    return false;
  }

  /** Everything that is known is what another replica, or this one before, knew as of `settledTo`. */
  restore(settledTo: Offset, producers: readonly ProducerView[], nowMs: number): void {
    this.#producers.clear();
    this.#above = [];
    this.#head = 0;
    this.#settledTo = settledTo;
    for (const { producerId, batches } of producers) {
      const producer: Producer = { id: producerId, batches: [], seenMs: nowMs };
      for (const batch of batches) producer.batches.push({ ...batch, producer });
      this.#producers.set(producerId, producer);
    }
  }

  /** Forgets producers that were silent for `silentMs`; answers how many. */
  expire(nowMs: number, silentMs: number): number {
    const before = this.#producers.size;
    const oldest = nowMs - silentMs;
    for (const { id, batches, seenMs } of this.#producers.values()) {
      const last = batches.at(-1)!;
      const isSettled = last.baseOffset + last.count <= this.#settledTo;
      if (isSettled && seenMs < oldest && batches.every(batch => batch.timestamp < oldest)) this.#producers.delete(id);
    }
    return before - this.#producers.size;
  }

  // ---- What is asked

  /** Of a batch that a producer wants to have written, by all that the log has. */
  judge({ producerId, epoch, baseSequence, count }: BatchClaim): Verdict {
    const batches = this.#producers.get(producerId)?.batches;
    if (batches === undefined) {
      if (baseSequence !== 0) return { kind: 'unknown' };
      return this.#producers.size < PRODUCERS_PER_PARTITION_MAX ? FRESH : { kind: 'full' };
    }
    const last = batches.at(-1)!;
    if (epoch < last.epoch) return { kind: 'fenced', epoch: last.epoch };
    if (epoch > last.epoch) return baseSequence === 0 ? FRESH : { kind: 'out-of-order', expected: 0 };
    const expected = sequenceAfter(last.baseSequence, last.count);
    if (baseSequence === expected) return FRESH;
    let at = batches.length - 1;
    let kept = 1;
    for (;;) {
      const batch = batches[at]!;
      if (batch.baseSequence === baseSequence && batch.count === count) {
        return { kind: 'repeat', baseOffset: offset(batch.baseOffset), timestamp: batch.timestamp };
      }
      if (kept === PRODUCER_BATCHES_KEPT || !isFollowed(batches[at - 1], batch)) break;
      at--;
      kept++;
    }
    const oldest = batches[at]!;
    // An epoch begins at 0, so that nothing stood before a first batch that is remembered.
    const mayBeOlder = kept === PRODUCER_BATCHES_KEPT || oldest.baseSequence !== 0;
    const end = sequenceAfter(baseSequence, count);
    const isOlder = mayBeOlder && sequenceDistance(end, oldest.baseSequence) < SEQUENCES_AHEAD_MAX;
    return isOlder ? { kind: 'duplicate' } : { kind: 'out-of-order', expected };
  }

  /** As of `settledTo`, in no order that means anything. */
  settled(): readonly ProducerView[] {
    const views: ProducerView[] = [];
    for (const { id: producerId, batches } of this.#producers.values()) {
      const settled = batches.filter(batch => batch.baseOffset < this.#settledTo);
      if (settled.length > 0) views.push({ producerId, batches: settled });
    }
    return views;
  }

  /** Both layers: what `judge` goes by. */
  all(): readonly ProducerView[] {
    return Array.from(this.#producers.values(), ({ id: producerId, batches }) => ({ producerId, batches }));
  }
}

/** A leader that had forgotten the producer took a batch that follows no other; those before it count no more. */
const isFollowed = (batch: ProducedBatch | undefined, next: ProducedBatch): boolean =>
  batch !== undefined &&
  batch.epoch === next.epoch &&
  sequenceAfter(batch.baseSequence, batch.count) === next.baseSequence;

// The batches of a cleaned log one after another, without a hole: where batches went, one batch without records keeps their offsets.
//
//   before   | 0..9 | 10..14 | 15 | 16..20 | start of epoch 3 | 21..30 | 31 |
//   after    | 0..9 |    10..20 empty       | start of epoch 3 |   21..31 empty |
//
// Offsets without holes are what everybody relies on who tells a missing batch from damage (decision 33). A gap lies within one epoch,
// so that it ends where another replica may have to cut. What stays besides records: the starts of epochs, and the last batch of each
// producer that is remembered, which tells its newest sequence number.

import {
  emptyBatch,
  NONE,
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
  readMaxTimestamp,
  readProducerId,
} from '@sluice/protocol/record';
import { type CleanedBatch, emptied } from './batch-cleaning.ts';

/** The last offset of a batch is told relative to its first one, as an int32. */
const SPAN_MAX = 0x7fff_ffff;

export interface ProducerRules {
  /** Base offset of the last batch of each producer in the part that is being cleaned for the first time. */
  readonly lastBatches: ReadonlyMap<number, number>;
  /** Who wrote nothing since then is forgotten. */
  readonly heardSinceMs: number;
}

export interface Gap {
  readonly from: number;
  readonly to: number;
  readonly epoch: number;
}

export class CleanedSequence {
  readonly #producers: ProducerRules;
  readonly #emit: (batch: Uint8Array) => void;
  #gap: Gap | null = null;

  constructor(producers: ProducerRules, emit: (batch: Uint8Array) => void) {
    this.#producers = producers;
    this.#emit = emit;
  }

  /** What is not emitted yet. */
  get gap(): Gap | null {
    return this.#gap;
  }

  /** Back to where it was when the gap was this one. */
  restore(gap: Gap | null): void {
    this.#gap = gap;
  }

  /** The next batch of the log, and what became of it. */
  add(batch: Uint8Array, cleaned: CleanedBatch): void {
    switch (cleaned.kind) {
      case 'whole':
      case 'unreadable':
        this.#put(batch);
        break;
      case 'rewritten':
        this.#put(cleaned.bytes);
        break;
      case 'nothing':
        if (this.#isProducersLast(batch)) this.#put(emptied(batch));
        else this.#skip(batch);
        break;
    }
  }

  /** Nothing comes behind. */
  end(): void {
    if (this.#gap === null) return;
    const { from, to, epoch } = this.#gap;
    this.#gap = null;
    this.#emit(emptyBatch({ baseOffset: from, lastOffset: to - 1, leaderEpoch: epoch }));
  }

  #put(batch: Uint8Array): void {
    this.end();
    this.#emit(batch);
  }

  #skip(batch: Uint8Array): void {
    const epoch = readLeaderEpoch(batch, 0);
    const to = readLastOffset(batch, 0) + 1;
    const goesOn = this.#gap !== null && this.#gap.epoch === epoch && to - 1 - this.#gap.from <= SPAN_MAX;
    if (!goesOn) this.end();
    this.#gap = { from: this.#gap?.from ?? readBaseOffset(batch, 0), to, epoch };
  }

  #isProducersLast(batch: Uint8Array): boolean {
    const producer = readProducerId(batch, 0);
    if (producer === NONE || readMaxTimestamp(batch, 0) < this.#producers.heardSinceMs) return false;
    return readBaseOffset(batch, 0) >= (this.#producers.lastBatches.get(producer) ?? NONE);
  }
}

// The numbers that an idempotent producer gives to its records in one partition: id, epoch, and a sequence from 0 on.
//
// Numbers are taken in the order in which batches go out for the first time. One that will never be written breaks the line; it goes on
// with the next epoch, which every partition counts for itself: nothing but the partition's leader compares them.

import type { ProducerStamp } from '@sluice/protocol/record';

export interface IdentitySource {
  /** Null: there is none yet. */
  want(): number | null;
  /** All epochs of this id are used up. */
  wear(id: number): void;
}

const EPOCH_MAX = 32_767;
const SEQUENCES = 0x8000_0000;

export class SequenceLine {
  readonly #identity: IdentitySource;
  #id: number | null = null;
  #epoch = 0;
  #next = 0;
  /** Nothing is taken until a new epoch begins. */
  isBroken = false;

  constructor(identity: IdentitySource) {
    this.#identity = identity;
  }

  /** The numbers of so many records; null: there is no identity yet. */
  take(count: number): ProducerStamp | null {
    this.#id ??= this.#identity.want();
    const stamp = this.foresee(0);
    if (stamp !== null) this.#next = (this.#next + count) % SEQUENCES;
    return stamp;
  }

  /** What a batch behind so many records will get; null: that is not known. */
  foresee(recordsBefore: number): ProducerStamp | null {
    if (this.#id === null || this.isBroken) return null;
    return { id: this.#id, epoch: this.#epoch, baseSequence: (this.#next + recordsBefore) % SEQUENCES };
  }

  beginEpoch(): void {
    this.isBroken = false;
    this.#next = 0;
    if (this.#epoch < EPOCH_MAX) {
      this.#epoch++;
      return;
    }
    this.#epoch = 0;
    if (this.#id !== null) this.#identity.wear(this.#id);
    this.#id = null;
  }
}

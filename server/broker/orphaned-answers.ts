// Producers whose leader lost its leadership before their records were committed. The records are in this replica's log, and may be in
// others: what becomes of them is known as soon as the commit point passes their place. The log then has them there, in their epoch, or
// another leader's records, and they are nowhere.
//
// Nobody is kept for long: who cannot be told in time is told that the outcome is unknown.

import { accepted } from '@sluice/protocol/errors';
import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import type { Clock, Timer } from '../io/clock.ts';
import type { ParkedAnswer, PendingBytes, ProduceResult } from './parked-answers.ts';

/** Several elections: a leader that lives hears of its successor's commit point within a fraction. */
const ORPHANED_MS_MAX = 2_000;

interface Orphan {
  readonly epoch: LeaderEpoch;
  readonly parked: ParkedAnswer;
}

export interface OrphanedAnswersOptions {
  readonly clock: Clock;
  readonly pending: PendingBytes;
  /** What is said of records that were not written, and of those that may be. */
  readonly notWritten: () => ProduceResult;
  readonly unknown: () => ProduceResult;
}

export class OrphanedAnswers {
  readonly #options: OrphanedAnswersOptions;
  #orphans: Orphan[] = [];
  #timer: Timer | null = null;

  constructor(options: OrphanedAnswersOptions) {
    this.#options = options;
  }

  /** Of a leader of `epoch`, in the order of the log. */
  adopt(epoch: LeaderEpoch, parked: readonly ParkedAnswer[]): void {
    for (const each of parked) this.#orphans.push({ epoch, parked: each });
    if (this.#orphans.length === 0 || this.#timer !== null) return;
    this.#timer = this.#options.clock.schedule(ORPHANED_MS_MAX, () => {
      this.#timer = null;
      this.dropAll(this.#options.unknown());
    });
  }

  /** Everything below `end` is committed; `epochAt` says under whom an offset was written, null where that is not known any more. */
  committed(end: Offset, epochAt: (offset: number) => LeaderEpoch | null): void {
    if (this.#orphans.length === 0) return;
    const kept: Orphan[] = [];
    for (const orphan of this.#orphans) {
      const { epoch, parked } = orphan;
      if (parked.endOffset > end) {
        kept.push(orphan);
        continue;
      }
      const found = epochAt(parked.endOffset - 1);
      if (found === null) this.#answer(orphan, this.#options.unknown());
      else this.#answer(orphan, found === epoch ? accepted(parked.ack) : this.#options.notWritten());
    }
    this.#orphans = kept;
    if (kept.length === 0) this.#stop();
  }

  dropAll(result: ProduceResult): void {
    for (const orphan of this.#orphans) this.#answer(orphan, result);
    this.#orphans = [];
    this.#stop();
  }

  #stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #answer({ parked }: Orphan, result: ProduceResult): void {
    this.#options.pending.release(parked.bytes);
    parked.answer?.(result);
    parked.answer = null;
  }
}

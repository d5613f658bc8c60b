// Producers of one partition that wait until what they wrote is committed, in the order of the log.
//
// All entries are of one epoch: when leadership or the log ends, whoever is left is answered in the same turn.

import { accepted, type Result } from '@sluice/protocol/errors';
import type { Offset } from '@sluice/protocol/ids';
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../io/clock.ts';
import type { ProduceAck, ProduceCode } from './broker.ts';

/** The node's count of bytes accepted and not yet committed. */
export interface PendingBytes {
  readonly used: number;
  readonly limit: number;
  add(bytes: number): void;
  release(bytes: number): void;
}

export const countPending = (limit: number): PendingBytes => {
  let used = 0;
  return {
    get used() {
      return used;
    },
    limit,
    add(bytes) {
      used += bytes;
    },
    release(bytes) {
      used -= bytes;
      assert(used >= 0, 'no more is released than was added');
    },
  };
};

export type ProduceResult = Result<ProduceAck, ProduceCode>;

export interface ParkedAnswer {
  readonly endOffset: Offset;
  readonly bytes: number;
  /** Null once answered, and where nobody waits (acks leader and none): then only the bytes are counted. */
  answer: ((result: ProduceResult) => void) | null;
  readonly ack: ProduceAck;
  /** Monotonic; infinite where nobody waits. */
  readonly deadlineMs: number;
}

/** What was given up at the front is only removed from the array once it is so much. */
const HEAD_MAX = 256;

export class ParkedAnswers {
  readonly #clock: Clock;
  readonly #pending: PendingBytes;
  /** What a request that waited too long is told. */
  readonly #late: () => ProduceResult;
  #parked: ParkedAnswer[] = [];
  #head = 0;
  #timer: Timer | null = null;
  #timerMs = Number.POSITIVE_INFINITY;

  constructor(options: { readonly clock: Clock; readonly pending: PendingBytes; readonly late: () => ProduceResult }) {
    this.#clock = options.clock;
    this.#pending = options.pending;
    this.#late = options.late;
  }

  /** End offsets never fall from one entry to the next: what was written before takes its place among those that wait for it. */
  add(parked: ParkedAnswer): void {
    this.#pending.add(parked.bytes);
    let at = this.#parked.length;
    while (at > this.#head && this.#parked[at - 1]!.endOffset > parked.endOffset) at--;
    if (at === this.#parked.length) this.#parked.push(parked);
    else this.#parked.splice(at, 0, parked);
    if (parked.answer !== null) this.#watchDeadline(parked.deadlineMs);
  }

  /** Everything that ends at or below `offset` is committed, as safely as was asked for. */
  settle(offset: Offset): void {
    while (this.#head < this.#parked.length) {
      const first = this.#parked[this.#head]!;
      if (first.endOffset > offset) break;
      this.#head++;
      this.#pending.release(first.bytes);
      first.answer?.(accepted(first.ack));
      first.answer = null;
    }
    if (this.#head === this.#parked.length) {
      this.#parked = [];
      this.#head = 0;
    } else if (this.#head > HEAD_MAX && this.#head * 2 > this.#parked.length) {
      this.#parked = this.#parked.slice(this.#head);
      this.#head = 0;
    }
  }

  /** What ends above `offset` is answered with this. */
  drop(above: number, result: ProduceResult): void {
    const kept: ParkedAnswer[] = [];
    for (let index = this.#head; index < this.#parked.length; index++) {
      const parked = this.#parked[index]!;
      if (parked.endOffset <= above) {
        kept.push(parked);
        continue;
      }
      this.#pending.release(parked.bytes);
      parked.answer?.(result);
      parked.answer = null;
    }
    this.#parked = kept;
    this.#head = 0;
  }

  dropAll(result: ProduceResult): void {
    this.drop(-1, result);
    this.#stop();
  }

  /** Whoever still waits, in the order of the log; from now on the caller answers them and releases their bytes. */
  takeAll(): readonly ParkedAnswer[] {
    const waiting: ParkedAnswer[] = [];
    for (const parked of this.#parked.slice(this.#head)) {
      if (parked.answer === null) this.#pending.release(parked.bytes);
      else waiting.push(parked);
    }
    this.#parked = [];
    this.#head = 0;
    this.#stop();
    return waiting;
  }

  #stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#timerMs = Number.POSITIVE_INFINITY;
  }

  /** One timer for all, at the earliest deadline. */
  #watchDeadline(deadlineMs: number): void {
    if (deadlineMs >= this.#timerMs) return;
    this.#timer?.cancel();
    this.#timerMs = deadlineMs;
    this.#timer = this.#clock.schedule(Math.max(0, deadlineMs - this.#clock.monotonicMs()), () => {
      this.#timer = null;
      this.#timerMs = Number.POSITIVE_INFINITY;
      this.#expire();
    });
  }

  #expire(): void {
    const now = this.#clock.monotonicMs();
    let earliest = Number.POSITIVE_INFINITY;
    for (let index = this.#head; index < this.#parked.length; index++) {
      const parked = this.#parked[index]!;
      if (parked.answer === null) continue;
      if (parked.deadlineMs > now) {
        earliest = Math.min(earliest, parked.deadlineMs);
        continue;
      }
      parked.answer(this.#late());
      parked.answer = null;
    }
    if (earliest < Number.POSITIVE_INFINITY) this.#watchDeadline(earliest);
  }
}

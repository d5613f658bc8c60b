// The one queue of a simulation: (virtual time, draw, sequence, action). Everything that happens outside of plain code is
// an action here: a disk call completes, a timer fires.
//
//   take the earliest action -> run it -> let every promise and tick drain -> take the next
//
// Guarantees: the same seed and the same program give the same order; actions due at the same time run in a drawn order,
// since code may not rely on one; nothing left to run while somebody waits is a deadlock and throws.
// Relies on: the code under test settles nothing by itself but through promises (no real timers, no real I/O).

import { setImmediate as immediate } from 'node:timers/promises';
import type { SeededRandom } from './random.ts';

interface Entry {
  readonly dueMs: number;
  /** Breaks ties: drawn for completions and timers; beyond all draws for what was deferred. */
  readonly tie: number;
  readonly sequence: number;
  readonly action: () => void;
  cancelled: boolean;
}

export class Deadlock extends Error {
  override readonly name = 'Deadlock';
}

const AFTER_ALL_DRAWS = 1;
const TURNS_AT_ONCE = 64;

const isBefore = (left: Entry, right: Entry): boolean => {
  if (left.dueMs !== right.dueMs) return left.dueMs < right.dueMs;
  if (left.tie !== right.tie) return left.tie < right.tie;
  return left.sequence < right.sequence;
};

export class Scheduler {
  readonly #random: SeededRandom;
  /** A binary heap: each entry is before its children (2i + 1, 2i + 2). */
  readonly #heap: Entry[] = [];
  #nowMs = 0;
  #sequence = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Actions that wait, cancelled ones included. */
  get waiting(): number {
    return this.#heap.length;
  }

  after(delayMs: number, action: () => void): { cancel(): void } {
    return this.#add(this.#nowMs + Math.max(0, delayMs), this.#random.fraction(), action);
  }

  /** Runs at the present time, after everything that is due by now. */
  defer(action: () => void): void {
    this.#add(this.#nowMs, AFTER_ALL_DRAWS, action);
  }

  /** Runs actions until `work` is settled, and answers what it is. */
  async drive<T>(work: Promise<T>): Promise<T> {
    const state = { isSettled: false };
    const settle = (): void => {
      state.isSettled = true;
    };
    work.then(settle, settle);
    await this.driveUntil(() => state.isSettled);
    return work;
  }

  /** Runs actions until `condition` holds; it is looked at after each action. */
  async driveUntil(condition: () => boolean): Promise<void> {
    if (!(await this.run(condition))) throw new Deadlock('somebody waits and nothing is left to run');
  }

  /** Runs all that is due within the next `durationMs`, and lets that time pass. */
  async advance(durationMs: number): Promise<void> {
    const untilMs = this.#nowMs + durationMs;
    await this.run(() => {
      const next = this.#heap[0];
      return next === undefined || next.dueMs > untilMs;
    });
    this.#nowMs = untilMs;
  }

  /** Runs the earliest action and all that follows from it at once. False when nothing waits. */
  async step(): Promise<boolean> {
    if (!this.#runNext()) return false;
    await immediate();
    return true;
  }

  /**
   * Runs one action after another until the condition holds, which is looked at before the first and after each, when all that follows from it
   * at once has happened; false when nothing waits before that.
   *
   * Each has a `setImmediate` of its own, since Node lets every promise and tick drain between two of them; many are asked for at once, since
   * each round of the event loop costs a system call.
   */
  run(condition: () => boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      let asked = 0;
      const end = (isThere: boolean): void => {
        isOver = true;
        resolve(isThere);
      };
      const turn = (): void => {
        asked--;
        if (isOver) return;
        try {
          if (condition()) end(true);
          else if (!this.#runNext()) end(false);
          else if (asked === 0) ask();
        } catch (fault) {
          isOver = true;
          reject(fault);
        }
      };
      const ask = (): void => {
        for (; asked < TURNS_AT_ONCE; asked++) setImmediate(turn);
      };
      ask();
    });
  }

  #runNext(): boolean {
    for (;;) {
      const entry = this.#take();
      if (entry === null) return false;
      if (entry.cancelled) continue;
      this.#nowMs = entry.dueMs;
      entry.action();
      return true;
    }
  }

  #add(dueMs: number, tie: number, action: () => void): { cancel(): void } {
    const entry: Entry = { dueMs, tie, sequence: this.#sequence++, action, cancelled: false };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above] as Entry;
      if (!isBefore(entry, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = entry;
    return {
      cancel() {
        entry.cancelled = true;
      },
    };
  }

  #take(): Entry | null {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined) return null;
    if (first === last) return first;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Entry, heap[below] as Entry)) below++;
      const least = heap[below] as Entry;
      if (!isBefore(least, last)) break;
      heap[at] = least;
      at = below;
    }
    heap[at] = last;
    return first;
  }
}

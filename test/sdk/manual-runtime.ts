// Time that stands still until a test moves it, and randomness that is what a test says.

import type { Clock, Random } from '@sluice/client/internal';

interface Scheduled {
  readonly dueMs: number;
  readonly sequence: number;
  readonly action: () => void;
}

export class ManualClock implements Clock {
  #nowMs = 0;
  #sequence = 0;
  readonly #timers = new Set<Scheduled>();
  #deferred: (() => void)[] = [];

  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, action: () => void): { cancel(): void } {
    const timer = { dueMs: this.#nowMs + delayMs, sequence: this.#sequence++, action };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  defer(action: () => void): void {
    this.#deferred.push(action);
  }

  get pending(): number {
    return this.#timers.size + this.#deferred.length;
  }

  /** When the next timer is due, from now; null without one. */
  get nextMs(): number | null {
    const due = [...this.#timers].map(timer => timer.dueMs - this.#nowMs);
    return due.length === 0 ? null : Math.min(...due);
  }

  /** Runs what is due on the way, in order, each with its promises settled before the next. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settled();
    for (;;) {
      const deferred = this.#deferred;
      this.#deferred = [];
      for (const action of deferred) action();
      if (deferred.length > 0) {
        await settled();
        continue;
      }
      const [next] = [...this.#timers]
        .filter(timer => timer.dueMs <= untilMs)
        .sort((a, b) => a.dueMs - b.dueMs || a.sequence - b.sequence);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.action();
      await settled();
    }
    this.#nowMs = untilMs;
  }
}

/** Every promise that can settle without the outside world has. */
export const settled = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

export class ManualRandom implements Random {
  #next: number[] = [];
  readonly #otherwise: number;

  constructor(otherwise = 0) {
    this.#otherwise = otherwise;
  }

  push(...fractions: number[]): void {
    this.#next.push(...fractions);
  }

  fraction(): number {
    return this.#next.shift() ?? this.#otherwise;
  }
}

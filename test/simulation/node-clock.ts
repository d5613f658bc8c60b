// The clock of one life of a node: it runs faster or slower than true time, and stops firing while the process stands still.
//
// A stall is what a long garbage collection or a stopped process looks like from inside: when it ends, timers that came due meanwhile run
// first, then what arrived; time has passed all the same.

import type { Clock, Timer } from '../../server/io/clock.ts';
import { SimulatedClock } from './clock.ts';
import type { Scheduler } from './scheduler.ts';

export class NodeClock implements Clock {
  readonly #inner: SimulatedClock;
  /** Its seconds in a true one. */
  readonly #rate: number;
  readonly #stall: Stall;

  constructor(scheduler: Scheduler, options: { readonly rate: number; readonly stall: Stall }) {
    this.#inner = new SimulatedClock(scheduler);
    this.#rate = options.rate;
    this.#stall = options.stall;
  }

  wallMs(): number {
    return this.#inner.wallMs();
  }

  monotonicMs(): number {
    return this.#inner.monotonicMs() * this.#rate;
  }

  schedule(delayMs: number, action: () => void): Timer {
    let isCancelled = false;
    const timer = this.#inner.schedule(delayMs / this.#rate, () =>
      this.#stall.whenRunning('timer', () => {
        if (!isCancelled) action();
      }),
    );
    return {
      cancel() {
        isCancelled = true;
        timer.cancel();
      },
    };
  }

  defer(action: () => void): void {
    this.#inner.defer(() => this.#stall.whenRunning('input', action));
  }

  moveWall(byMs: number): void {
    this.#inner.moveWall(byMs);
  }

  kill(): void {
    this.#inner.kill();
  }
}

/** Whether one life of a node stands still, and what waits until it goes on. */
export class Stall {
  #isStalled = false;
  #isDead = false;
  #timers: (() => void)[] = [];
  #inputs: (() => void)[] = [];

  get isStalled(): boolean {
    return this.#isStalled;
  }

  begin(): void {
    this.#isStalled = true;
  }

  end(): void {
    this.#isStalled = false;
    const waiting = [...this.#timers, ...this.#inputs];
    this.#timers = [];
    this.#inputs = [];
    for (const action of waiting) if (!this.#isDead) action();
  }

  kill(): void {
    this.#isDead = true;
    this.#timers = [];
    this.#inputs = [];
  }

  whenRunning(kind: 'timer' | 'input', action: () => void): void {
    if (this.#isDead) return;
    if (!this.#isStalled) action();
    else if (kind === 'timer') this.#timers.push(action);
    else this.#inputs.push(action);
  }

  /** Settles as the promise does, once the process runs. */
  hold<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      work.then(
        value => this.whenRunning('input', () => resolve(value)),
        (fault: unknown) => this.whenRunning('input', () => reject(fault)),
      );
    });
  }
}

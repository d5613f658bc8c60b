// Virtual time as server/io/clock.ts describes it. Time passes only when the scheduler runs an action that is due later.
//
// One object serves one life of a node: after `kill` its timers never fire, as those of a process that is gone. The wall
// clock can be moved on its own; the monotonic one never goes back.

import type { Clock, Timer } from '../../server/io/clock.ts';
import type { Scheduler } from './scheduler.ts';

/** 2026-01-01T00:00:00Z: any fixed time does. */
export const WALL_START_MS = 1_767_225_600_000;

export class SimulatedClock implements Clock {
  readonly #scheduler: Scheduler;
  #wallStartMs: number;
  #isDead = false;

  constructor(scheduler: Scheduler, wallStartMs: number = WALL_START_MS) {
    this.#scheduler = scheduler;
    this.#wallStartMs = wallStartMs;
  }

  wallMs(): number {
    return Math.floor(this.#wallStartMs + this.#scheduler.nowMs);
  }

  monotonicMs(): number {
    return this.#scheduler.nowMs;
  }

  schedule(delayMs: number, action: () => void): Timer {
    return this.#scheduler.after(delayMs, this.#whileAlive(action));
  }

  defer(action: () => void): void {
    this.#scheduler.defer(this.#whileAlive(action));
  }

  /** As when an operator or NTP sets the clock. */
  moveWall(byMs: number): void {
    this.#wallStartMs += byMs;
  }

  kill(): void {
    this.#isDead = true;
  }

  #whileAlive(action: () => void): () => void {
    return () => {
      if (!this.#isDead) action();
    };
  }
}

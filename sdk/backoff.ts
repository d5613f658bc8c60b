// How long to wait before the next attempt: doubling, with jitter so that clients which failed together do not return
// together. Half of each wait is fixed, half drawn.

import type { Random } from './clock.ts';

const FIRST_MS = 50;
const LONGEST_MS = 2_000;

export class Backoff {
  readonly #random: Random;
  #nextMs = FIRST_MS;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The wait after one more failure. */
  nextMs(): number {
    const ms = this.#nextMs;
    this.#nextMs = Math.min(ms * 2, LONGEST_MS);
    return ms / 2 + (ms / 2) * this.#random.fraction();
  }

  reset(): void {
    this.#nextMs = FIRST_MS;
  }
}

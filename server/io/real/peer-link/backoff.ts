// How long to wait before the next attempt: doubling, half of it drawn, so that peers that lost each other together do not
// return together. Never below half of PEER_BACKOFF_MS_MIN.

import { PEER_BACKOFF_MS_MAX, PEER_BACKOFF_MS_MIN } from '../../../base/limits.ts';
import type { Random } from '../../random.ts';

export class Backoff {
  readonly #random: Random;
  #nextMs = PEER_BACKOFF_MS_MIN;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The wait after one more failure. */
  nextMs(): number {
    const ms = this.#nextMs;
    this.#nextMs = Math.min(ms * 2, PEER_BACKOFF_MS_MAX);
    return ms / 2 + (ms / 2) * this.#random.fraction();
  }

  /** Trying again soon changes nothing. */
  toLongest(): void {
    this.#nextMs = PEER_BACKOFF_MS_MAX;
  }

  reset(): void {
    this.#nextMs = PEER_BACKOFF_MS_MIN;
  }
}

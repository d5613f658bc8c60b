// One count of request bytes held in memory by all doors together. A door asks before it reads and gives back when the
// bytes are with the broker or dropped; a refusal is THROTTLED, early, before anything was read.
//
// Invariant: 0 <= used <= limit, except that one request is always admitted when nothing else is held.

import { assert } from '../base/assert.ts';

export class BodyBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** True when the bytes could be reserved now. */
  hasRoom(bytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + bytes <= this.#limitBytes;
  }

  /** True when the bytes were reserved. */
  reserve(bytes: number): boolean {
    assert(bytes >= 0, 'a reservation is not negative');
    if (!this.hasRoom(bytes)) return false;
    this.#usedBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes;
    assert(this.#usedBytes >= 0, 'no more is released than was reserved');
  }
}

// The state that travels before a snapshot, in parts, and is put together again at the other end.
//
// Parts come in order; one that does not follow ends the whole: the snapshot that comes after it finds nothing and is dropped, and
// the leader begins again.

import { SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_STATE_BYTES_MAX } from '../base/limits.ts';
import { isSame, type Position } from '../base/position.ts';

export interface StatePart {
  readonly base: Position;
  /** Of the whole state. */
  readonly byteLength: number;
  /** Where this part belongs in it. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** One part at least, if only an empty one. */
export const partAt = (base: Position, state: Uint8Array, at: number): StatePart => ({
  base,
  byteLength: state.length,
  at,
  bytes: state.subarray(at, at + SNAPSHOT_CHUNK_BYTES_MAX),
});

/** Of one group. */
export class StateAssembly {
  #base: Position | null = null;
  #whole = new Uint8Array(0);
  #length = 0;

  take({ base, byteLength, at, bytes }: StatePart): void {
    if (at === 0 && byteLength <= SNAPSHOT_STATE_BYTES_MAX) {
      this.#base = base;
      this.#whole = new Uint8Array(byteLength);
      this.#length = 0;
    }
    const isNext = this.#base !== null && isSame(this.#base, base) && at === this.#length;
    if (!isNext || byteLength !== this.#whole.length || at + bytes.length > byteLength) {
      this.#drop();
      return;
    }
    this.#whole.set(bytes, at);
    this.#length += bytes.length;
  }

  /** The state as of the base, whole; null where it is not here. Given once. */
  finish(base: Position): Uint8Array | null {
    const isWhole = this.#base !== null && isSame(this.#base, base) && this.#length === this.#whole.length;
    const state = isWhole ? this.#whole : null;
    this.#drop();
    return state;
  }

  #drop(): void {
    this.#base = null;
    this.#whole = new Uint8Array(0);
    this.#length = 0;
  }
}

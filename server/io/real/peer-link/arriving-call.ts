// A request or an answer that arrives in parts. One of one part is a view of what arrived, nothing is copied.

import type { CallPart } from '@sluice/protocol/peer';

export class ArrivingCall {
  readonly total: number;
  #whole: Uint8Array | null = null;
  #arrivedBytes = 0;

  /** Relies on the total being within the limits, and on room having been made for it. */
  constructor(first: CallPart) {
    this.total = first.total;
  }

  /** False when the part does not follow the one before. */
  take(part: CallPart): boolean {
    const { at, bytes, total } = part;
    if (total !== this.total || at !== this.#arrivedBytes || (bytes.length === 0 && total > 0)) return false;
    if (bytes.length === total) {
      this.#whole = bytes;
    } else {
      this.#whole ??= new Uint8Array(total);
      this.#whole.set(bytes, at);
    }
    this.#arrivedBytes += bytes.length;
    return true;
  }

  /** Null until the last part is there. */
  get whole(): Uint8Array | null {
    return this.#arrivedBytes === this.total ? this.#whole : null;
  }
}

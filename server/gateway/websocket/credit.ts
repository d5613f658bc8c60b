// What a client allows one subscription to send, counted in records and in stored bytes of key, value and headers. Grants
// add up; the record that uses up the last of it goes whole, so that credit may fall below zero.
//
// Credit is left while both counts are above zero: if either were enough, a limit in bytes would bound nothing.
// Invariant: both counts are safe integers, or both infinite.

import type { FeedDemand } from '../record-feed.ts';

export interface CreditForm {
  readonly records: number;
  readonly bytes: number;
}

export class Credit {
  #records: number;
  #bytes: number;

  private constructor(records: number, bytes: number) {
    this.#records = records;
    this.#bytes = bytes;
  }

  /** Nothing at all is fine: the subscription then waits for its first grant. */
  static of({ records, bytes }: CreditForm): Credit {
    return new Credit(records, bytes);
  }

  /** Without credit the socket's back-pressure is all there is. */
  static unlimited(): Credit {
    return new Credit(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  }

  get isLeft(): boolean {
    return this.#records > 0 && this.#bytes > 0;
  }

  /** What the next frame may hold; `bytesMax` is the subscription's own bound. Undefined where there is none. */
  demand(bytesMax: number): FeedDemand | undefined {
    const bytes = Math.min(this.#bytes, bytesMax);
    if (this.#records === Number.POSITIVE_INFINITY && bytes === Number.POSITIVE_INFINITY) return undefined;
    return { records: this.#records, bytes };
  }

  spend(records: number, bytes: number): void {
    this.#records -= records;
    this.#bytes -= bytes;
  }

  /** Null when granted, else why not. */
  grant({ records, bytes }: CreditForm): string | null {
    if (this.#records === Number.POSITIVE_INFINITY) {
      return 'the subscription was opened without credit and cannot be granted any';
    }
    if (records === 0 && bytes === 0) return 'a grant of nothing';
    if (!Number.isSafeInteger(this.#records + records) || !Number.isSafeInteger(this.#bytes + bytes)) {
      return 'credit adds up to more than 2^53 - 1';
    }
    this.#records += records;
    this.#bytes += bytes;
    return null;
  }
}

// What a client allows one read to send, counted in records and in stored bytes. Grants add up; the piece that uses up
// the last of it goes whole, so that credit may fall below zero.
//
// Invariant: both counts are safe integers.

import type { Credit as CreditMessage } from '@sluice/protocol/services';
import { naturalNumber } from './safe-number.ts';

export class Credit {
  #records: number;
  #bytes: number;

  private constructor(records: number, bytes: number) {
    this.#records = records;
    this.#bytes = bytes;
  }

  /** Null where an amount is negative or too large. Nothing at all is fine: the read then waits for its first grant. */
  static of(message: CreditMessage): Credit | null {
    const records = naturalNumber(message.records);
    const bytes = naturalNumber(message.bytes);
    return records === null || bytes === null ? null : new Credit(records, bytes);
  }

  /** Without credit the transport's back-pressure is all there is. */
  static unlimited(): Credit {
    return new Credit(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  }

  get isLeft(): boolean {
    return this.#records > 0 && this.#bytes > 0;
  }

  /** What a fetch needs to bring at most; more would be thrown away. */
  get bytes(): number {
    return this.#bytes;
  }

  get isUnlimited(): boolean {
    return this.#records === Number.POSITIVE_INFINITY;
  }

  spend(records: number, bytes: number): void {
    this.#records -= records;
    this.#bytes -= bytes;
  }

  /** Null when granted, else why not. */
  grant(message: CreditMessage | undefined): string | null {
    if (this.isUnlimited) return 'the read was opened without credit and cannot be granted any';
    const records = message === undefined ? null : naturalNumber(message.records);
    const bytes = message === undefined ? null : naturalNumber(message.bytes);
    if (records === null || bytes === null) return 'credit is counted from 0 to 2^53 - 1';
    if (records === 0 && bytes === 0) return 'a grant of nothing';
    if (!Number.isSafeInteger(this.#records + records) || !Number.isSafeInteger(this.#bytes + bytes)) {
      return 'credit adds up to more than 2^53 - 1';
    }
    this.#records += records;
    this.#bytes += bytes;
    return null;
  }
}

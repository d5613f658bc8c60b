// The records of one frame, from the first to the answer, and the ticket of each.
//
//   open ──linger or full──▶ waiting ──▶ on the wire ──▶ settled, each record for itself
//                               ▲             │
//                               └── refused, certainly not written

import type { Timer } from '../clock.ts';
import type { Delivery, Ticket } from '../producer.ts';
import type { SluiceError } from '../sluice-error.ts';

type Settled = { readonly delivery: Delivery } | { readonly error: SluiceError };

export class RecordTicket implements Ticket {
  #settled: Settled | null = null;
  #answer: PromiseWithResolvers<Delivery> | null = null;
  /** Nobody waits for it any more; a record that still waits for room is not sent. */
  isAbandoned = false;

  /** False when it failed and nobody has asked. */
  settle(settled: Settled): boolean {
    if (this.#settled !== null) return true;
    this.#settled = settled;
    if (this.#answer === null) return 'delivery' in settled;
    if ('delivery' in settled) this.#answer.resolve(settled.delivery);
    else this.#answer.reject(settled.error);
    return true;
  }

  ack(): Promise<Delivery> {
    if (this.#settled !== null) {
      return 'delivery' in this.#settled
        ? Promise.resolve(this.#settled.delivery)
        : Promise.reject(this.#settled.error);
    }
    this.#answer ??= Promise.withResolvers();
    return this.#answer.promise;
  }
}

export interface EncodedRecord {
  /** Its JSON. */
  readonly text: string;
  readonly ticket: RecordTicket;
}

export class ProduceBatch {
  /** Batches are numbered in their order. */
  readonly sequence: number;
  records: EncodedRecord[] = [];
  /** Characters of the records' JSON. */
  length = 0;
  state: 'open' | 'waiting' | 'on-wire' | 'settled' = 'open';
  expiry: Timer | null = null;

  constructor(sequence: number) {
    this.sequence = sequence;
  }

  add(record: EncodedRecord): void {
    this.records.push(record);
    this.length += record.text.length;
  }
}

// What became of the records that `produce` handed over, in the order of its input.
//
// Tickets come in by the chunk of input and are settled one after another. Nothing is printed before it is acknowledged.
// The first failure is kept with its line; what succeeds after it still counts, because it is written.
// Invariant: at most WAITING_MAX tickets and one chunk's wait here, because whoever adds awaits the room; the producer's
// own bound does not see tickets that are answered but not settled yet.

import type { Delivery, Ticket } from '@sluice/client';

export interface DeliveryFailure {
  readonly line: number;
  readonly error: unknown;
}

const WAITING_MAX = 20_000;

export class DeliveryLog {
  /** Records acknowledged so far. */
  written = 0;
  failure: DeliveryFailure | null = null;
  private waiting = 0;
  private settled: Promise<void> = Promise.resolve();
  private readonly report: (deliveries: readonly Delivery[]) => Promise<void>;

  /** `report` gets each chunk's deliveries, one call at a time. */
  constructor(report: (deliveries: readonly Delivery[]) => Promise<void>) {
    this.report = report;
  }

  /** The tickets of consecutive lines, from `firstLine` on. Await `room` before the next. */
  add(tickets: readonly Ticket[], firstLine: number): void {
    this.waiting += tickets.length;
    this.settled = this.settled.then(() => this.settle(tickets, firstLine));
  }

  /** Resolves when few enough tickets wait. */
  async room(): Promise<void> {
    if (this.waiting > WAITING_MAX) await this.settled;
  }

  /** Resolves when everything added is answered. */
  end(): Promise<void> {
    return this.settled;
  }

  private async settle(tickets: readonly Ticket[], firstLine: number): Promise<void> {
    const deliveries: Delivery[] = [];
    for (const [index, ticket] of tickets.entries()) {
      try {
        deliveries.push(await ticket.ack());
      } catch (error) {
        this.failure ??= { line: firstLine + index, error };
      }
    }
    this.written += deliveries.length;
    this.waiting -= tickets.length;
    await this.report(deliveries);
  }
}

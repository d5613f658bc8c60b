// The calls that stay open, so that a stopping broker can tell them.
//
// Invariant: every call in the set was opened and has not ended. Once draining, what is opened is told at once.

import type { GatewayContext } from '../gateway.ts';

export interface OpenCall {
  /** Answer what is pending, give notice, end. Called once. */
  drain(): void;
}

export class OpenCalls {
  readonly #calls = new Set<OpenCall>();
  readonly #gauge: { inc(): void; dec(): void };
  #isDraining = false;

  constructor(context: GatewayContext) {
    this.#gauge = context.metrics.openStreams.labels('grpc');
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  opened(call: OpenCall): void {
    this.#calls.add(call);
    this.#gauge.inc();
    if (this.#isDraining) call.drain();
  }

  /** May be called more than once. */
  ended(call: OpenCall): void {
    if (this.#calls.delete(call)) this.#gauge.dec();
  }

  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    for (const call of this.#calls) call.drain();
  }
}

// A request body piece by piece, pulled: nothing is read from the socket beyond what its buffers hold until the last
// piece was dealt with, so a body of any length takes bounded memory.

import type { Exchange } from './exchange.ts';

/** `end`: the body was whole. `gone`: its client broke it off. `stopped`: it is not worth waiting for more. */
export type Arrival = Buffer | 'end' | 'gone' | 'stopped';

export class BodyChunks {
  readonly #exchange: Exchange;
  #wake: (() => void) | null = null;
  #isStopped = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    const { request } = exchange;
    const wake = (): void => this.#wake?.();
    request.on('readable', wake).on('end', wake).on('close', wake);
    // The close that follows says the same.
    request.on('error', wake);
    exchange.onStop = () => this.stop();
  }

  /** Ends a wait for the client, now and later: the door drains, or the answer is known already. */
  stop(): void {
    this.#isStopped = true;
    this.#wake?.();
  }

  /** True when more can be had without waiting for the client. */
  get hasMore(): boolean {
    return this.#exchange.request.readableLength > 0;
  }

  async next(): Promise<Arrival> {
    const { request } = this.#exchange;
    for (;;) {
      const chunk = request.read() as Buffer | null;
      if (chunk !== null) return chunk;
      if (request.readableEnded) return 'end';
      if (request.destroyed) return 'gone';
      if (this.#isStopped) return 'stopped';
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  /** Leaves what is unread to whoever answers. */
  release(): void {
    this.#exchange.onStop = null;
    this.#exchange.request.removeAllListeners('readable');
  }
}

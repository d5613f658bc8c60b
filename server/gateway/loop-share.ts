// Long streams share the event loop with everybody else: in one turn only so many pieces are rendered, first come, first
// served. Without it, hundreds of streams that begin at once would each render what the kernel takes (megabytes) before a
// new request is even read.

import type { Clock } from '../io/clock.ts';

export class LoopShare {
  readonly #clock: Clock;
  readonly #piecesPerTurn: number;
  #waiting: (() => void)[] = [];

  constructor(clock: Clock, piecesPerTurn: number) {
    this.#clock = clock;
    this.#piecesPerTurn = piecesPerTurn;
  }

  /** Resolves in a later turn of the event loop, when it is the caller's to render a piece. */
  next(): Promise<void> {
    return new Promise(resolve => {
      this.#waiting.push(resolve);
      if (this.#waiting.length === 1) this.#clock.defer(() => this.#turn());
    });
  }

  #turn(): void {
    const now = this.#waiting.slice(0, this.#piecesPerTurn);
    this.#waiting = this.#waiting.slice(this.#piecesPerTurn);
    if (this.#waiting.length > 0) this.#clock.defer(() => this.#turn());
    for (const resolve of now) resolve();
  }
}

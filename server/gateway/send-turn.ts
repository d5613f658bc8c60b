// How much all connections of a door send in one turn of the event loop. Readers that catch up find their pieces ready, and
// the kernel takes megabytes from each of them: without this, a thousand of them would send gigabytes before the next
// request is read. Readers at the end of a topic send little each and stay below it.

import type { Clock } from '../io/clock.ts';
import type { LoopShare } from './loop-share.ts';

/** A few milliseconds. */
const TURN_BYTES_MAX = 2 * 1024 * 1024;

export class SendTurn {
  readonly #clock: Clock;
  readonly #loopShare: LoopShare;
  #bytes = 0;

  constructor(clock: Clock, loopShare: LoopShare) {
    this.#clock = clock;
    this.#loopShare = loopShare;
  }

  get isOver(): boolean {
    return this.#bytes >= TURN_BYTES_MAX;
  }

  spend(bytes: number): void {
    if (this.#bytes === 0) {
      this.#clock.defer(() => {
        this.#bytes = 0;
      });
    }
    this.#bytes += bytes;
  }

  /** Resolves in a later turn. */
  next(): Promise<void> {
    return this.#loopShare.next();
  }
}

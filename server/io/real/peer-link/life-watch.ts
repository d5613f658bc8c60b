// Whether the other end of a control lane still lives, as seen from one end: something must come between two looks, now and then.
//
//   every PEER_PING_MS → (what came meanwhile is handled first) → did anything come? → PEER_SILENT_LOOKS_MAX times not: lost
//
// After a stall of this process due timers run before the input that waited, and one look is late, however long it took: so a
// look is deferred until that input was handled, and looks are counted instead of time.

import { PEER_PING_MS, PEER_SILENT_LOOKS_MAX } from '../../../base/limits.ts';
import type { Clock, Timer } from '../../clock.ts';

export interface LifeWatchOptions {
  readonly clock: Clock;
  /** Before each look: the time to ask for the next sign. */
  readonly ask: () => void;
  readonly lost: () => void;
}

export class LifeWatch {
  readonly #options: LifeWatchOptions;
  #timer: Timer | null = null;
  #silentLooks = 0;
  #isStopped = false;

  constructor(options: LifeWatchOptions) {
    this.#options = options;
    this.#arm();
  }

  /** Something came. */
  heard(): void {
    this.#silentLooks = 0;
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #arm(): void {
    const { clock } = this.#options;
    this.#timer = clock.schedule(PEER_PING_MS, () => clock.defer(() => this.#look()));
  }

  #look(): void {
    if (this.#isStopped) return;
    if (this.#silentLooks >= PEER_SILENT_LOOKS_MAX) {
      this.stop();
      this.#options.lost();
      return;
    }
    this.#silentLooks++;
    this.#options.ask();
    this.#arm();
  }
}

// What the client is given of the outside world: time, randomness, connections. `real-defaults.ts` has the real ones;
// tests bring their own.

import type { Transport } from './transport/transport.ts';

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970: stamps records. */
  wallMs(): number;
  /** Milliseconds since some fixed point; never goes back. Measures time-outs. */
  monotonicMs(): number;
  /** Runs `action` once after at least `delayMs`. */
  schedule(delayMs: number, action: () => void): Timer;
  /** Runs `action` once after the input that is there already was handled. */
  defer(action: () => void): void;
}

export interface Random {
  /** Uniform in [0, 1). */
  fraction(): number;
}

export interface Runtime {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
}

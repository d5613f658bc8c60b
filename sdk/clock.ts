// Time and randomness, as every form of the client is given them; tests bring their own.

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

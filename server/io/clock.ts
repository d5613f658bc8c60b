// Time as the broker sees it. Wall time stamps records and judges retention; monotonic time measures how long something
// took or may take. They drift apart, and only the second never goes back.

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  wallMs(): number;
  /** Milliseconds since some fixed point, with fractions; never goes back. */
  monotonicMs(): number;
  /** Runs `action` once after at least `delayMs`. A pending timer does not keep the process alive. */
  schedule(delayMs: number, action: () => void): Timer;
  /** Runs `action` once after the input that is already there was handled. */
  defer(action: () => void): void;
}

// Randomness as the broker sees it: identifiers and jitter, never secrets' only source.

export interface Random {
  /** A fresh version 4 UUID in lower-case text form. */
  uuid(): string;
  /** Uniform in [0, 1). */
  fraction(): number;
}

// What a simulation did, line by line: a hash of all lines, which two runs of one seed share, and the last ones for whoever reads a failure.

import { createHash, type Hash } from 'node:crypto';

/** Hashed at once: a call for each line costs more than the line. */
const LINES_AT_ONCE = 1_000;
const LAST_LINES = 60;

export class Trace {
  readonly #hash: Hash = createHash('sha256');
  #last: readonly string[] = [];
  #lines: string[] = [];

  /** Times are virtual microseconds. */
  add(nowMs: number, line: string): void {
    this.#lines.push(`${Math.round(nowMs * 1_000)} ${line}\n`);
    if (this.#lines.length >= LINES_AT_ONCE) this.#flush();
  }

  /** Nothing can be added any more. */
  digest(): string {
    this.#flush();
    return this.#hash.digest('hex');
  }

  get lastLines(): readonly string[] {
    return [...this.#last, ...this.#lines].slice(-LAST_LINES).map(line => line.trimEnd());
  }

  #flush(): void {
    this.#hash.update(this.#lines.join(''));
    this.#last = this.#lines.slice(-LAST_LINES);
    this.#lines = [];
  }
}

// The configurations of a group that can still matter: the last committed one, and those after it in the log.
//
// A configuration is in force from the moment its batch is in the log, not from its commit; when the batch is cut, the one
// before is in force again. The committed one stays whatever happens to the log, so that retention, compaction, snapshots
// and restarts cannot lose it. Its position may lie beyond the log's end: a snapshot brings the newest committed one, and
// using that early is safe, because nobody wins an election under it without a log that reaches it.

import { assert } from '../base/assert.ts';
import { comparePositions, isBefore, type Position } from '../base/position.ts';
import type { Configuration } from './configuration.ts';

export interface ConfigurationAt {
  readonly position: Position;
  readonly configuration: Configuration;
}

export class ConfigurationHistory {
  /** Invariant: not empty, positions rise, the first is committed. */
  #entries: ConfigurationAt[];

  constructor(entries: readonly ConfigurationAt[]) {
    assert(entries.length > 0, 'a group has a configuration before its first vote');
    this.#entries = [...entries].sort((a, b) => comparePositions(a.position, b.position));
  }

  get entries(): readonly ConfigurationAt[] {
    return this.#entries;
  }
  get newest(): ConfigurationAt {
    return this.#entries.at(-1)!;
  }
  get current(): Configuration {
    return this.newest.configuration;
  }
  get committed(): ConfigurationAt {
    return this.#entries[0]!;
  }
  get isChangePending(): boolean {
    return this.#entries.length > 1;
  }

  /** A configuration batch came into the log. True when that changed anything. */
  note(added: ConfigurationAt): boolean {
    if (!isBefore(this.committed.position, added.position)) return false;
    if (this.#entries.some(entry => comparePositions(entry.position, added.position) === 0)) return false;
    assert(isBefore(this.newest.position, added.position), 'configurations come in the order of the log');
    this.#entries.push(added);
    return true;
  }

  cut(to: Position): boolean {
    const before = this.#entries.length;
    this.#entries = this.#entries.filter((entry, index) => index === 0 || !isBefore(to, entry.position));
    return this.#entries.length < before;
  }

  commit(to: Position): boolean {
    const before = this.#entries.length;
    while (this.#entries.length > 1 && !isBefore(to, this.#entries[1]!.position)) this.#entries.shift();
    return this.#entries.length < before;
  }

  /** A snapshot's configuration is committed; older ones are settled by it, and none after it is in the new log. */
  install(committed: ConfigurationAt): boolean {
    if (!isBefore(this.committed.position, committed.position)) return this.cut(this.committed.position);
    this.#entries = [committed];
    return true;
  }
}

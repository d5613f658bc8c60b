// Bounds the syncs under way: the thread pool has 16 threads, and a dozen slow syncs must not stop every read. The store
// goes first, because everything else waits for it.

import { CONCURRENT_SYNCS_MAX } from '../base/limits.ts';

export type SyncPriority = 'store' | 'log';

export class SyncGate {
  readonly #limit: number;
  #running = 0;
  readonly #waitingStore: (() => void)[] = [];
  readonly #waitingLogs: (() => void)[] = [];

  constructor(limit: number = CONCURRENT_SYNCS_MAX) {
    this.#limit = limit;
  }

  async run<T>(priority: SyncPriority, sync: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limit) {
      const { promise, resolve } = Promise.withResolvers<void>();
      (priority === 'store' ? this.#waitingStore : this.#waitingLogs).push(resolve);
      await promise;
    } else {
      this.#running++;
    }
    try {
      return await sync();
    } finally {
      // The place is handed over, not freed: whoever waits longest goes next.
      const next = this.#waitingStore.shift() ?? this.#waitingLogs.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

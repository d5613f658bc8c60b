// The one loop of a log that changes its files: groups of queued batches, and between two of them whatever else has to be done to files
// (roll, cut, removal), one at a time, because the thread pool runs calls in no order.

import type { AppendQueue } from './append-queue.ts';

export class LogPump {
  readonly #queue: AppendQueue;
  readonly #writeGroup: () => Promise<void>;
  readonly #operations: (() => Promise<void>)[] = [];
  #pumping: Promise<void> | null = null;

  constructor(queue: AppendQueue, writeGroup: () => Promise<void>) {
    this.#queue = queue;
    this.#writeGroup = writeGroup;
  }

  start(): void {
    this.#pumping ??= this.#pump();
  }

  async #pump(): Promise<void> {
    for (;;) {
      const operation = this.#operations.shift();
      if (operation !== undefined) await operation();
      else if (!this.#queue.isEmpty) await this.#writeGroup();
      else break;
    }
    // In the same step as the last look at the queues: whatever comes later starts a pump of its own.
    this.#pumping = null;
  }

  /** Runs `operation` between two writes. */
  exclusively<T>(operation: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#operations.push(async () => {
      try {
        resolve(await operation());
      } catch (cause) {
        reject(cause);
      }
    });
    this.start();
    return promise;
  }

  /** Runs `operation` when all that is queued now was written. */
  async afterQueue(operation: () => Promise<void>): Promise<void> {
    while (!this.#queue.isEmpty && this.#pumping !== null) await this.#pumping;
    await this.exclusively(operation);
  }
}

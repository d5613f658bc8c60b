// What this node knows of the cluster: the image as of the committed records that it has heard of, and who waits for news.

import { type Offset, offset } from '@sluice/protocol/ids';
import { assert } from '../base/assert.ts';
import type { Clock } from '../io/clock.ts';
import { type ClusterImage, emptyImage } from '../state/cluster/image.ts';
import type { ClusterRecord } from '../state/cluster/record.ts';
import { replayed } from '../state/cluster/replay.ts';

/** `before` is the image that the listener was told last. */
export type ImageListener = (image: ClusterImage, before: ClusterImage) => void;

interface Waiter {
  readonly at: Offset;
  readonly settle: (isReached: boolean) => void;
}

export class MetadataImage {
  readonly #clock: Clock;
  #image: ClusterImage = emptyImage();
  /** The first offset that the image does not hold. Never falls. */
  #next: Offset = offset(0);
  readonly #listeners = new Set<ImageListener>();
  #waiters: Waiter[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get image(): ClusterImage {
    return this.#image;
  }
  get next(): Offset {
    return this.#next;
  }

  watch(listener: ImageListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Committed, in the order of the log; `next` is behind them, and behind what stands between them and the next ones. */
  replay(records: readonly ClusterRecord[], next: Offset): void {
    assert(next >= this.#next, 'the image goes forward');
    let image = this.#image;
    for (const record of records) image = replayed(image, record);
    this.#move(image, next);
  }

  /** A snapshot of committed metadata. An older one than the image is passed over. */
  install(image: ClusterImage, next: Offset): void {
    if (next > this.#next) this.#move(image, next);
  }

  #move(image: ClusterImage, next: Offset): void {
    const before = this.#image;
    this.#image = image;
    this.#next = next;
    if (image !== before) for (const listener of [...this.#listeners]) listener(image, before);
    const waiters = this.#waiters;
    this.#waiters = waiters.filter(waiter => waiter.at > next);
    for (const waiter of waiters) if (waiter.at <= next) waiter.settle(true);
  }

  /** True once the image holds everything below the offset; false when that takes longer. */
  reached(at: Offset, waitMs: number): Promise<boolean> {
    if (at <= this.#next) return Promise.resolve(true);
    return new Promise(resolve => {
      const timer = this.#clock.schedule(waitMs, () => waiter.settle(false));
      const waiter: Waiter = {
        at,
        settle: isReached => {
          timer.cancel();
          if (!isReached) this.#waiters = this.#waiters.filter(other => other !== waiter);
          resolve(isReached);
        },
      };
      this.#waiters.push(waiter);
    });
  }

  /** The first image of which the condition holds; null when that takes longer. */
  when(condition: (image: ClusterImage) => boolean, waitMs: number): Promise<ClusterImage | null> {
    if (condition(this.#image)) return Promise.resolve(this.#image);
    return new Promise(resolve => {
      const settle = (image: ClusterImage | null): void => {
        timer.cancel();
        stop();
        resolve(image);
      };
      const timer = this.#clock.schedule(waitMs, () => settle(null));
      const stop = this.watch(image => {
        if (condition(image)) settle(image);
      });
    });
  }
}

// Checked batches near the ends of all logs, for readers that keep up: one budget over all partitions, first in first out.
//
// Accounting: a slice keeps its whole buffer alive, so a batch that is less than half of its buffer is copied, and what
// counts is `buffer.byteLength`. Eviction is global; since each log adds in offset order, the oldest entry of all is
// always the oldest entry of its own log.

import { type Offset } from '@sluice/protocol/ids';
import { isEpochStart, readBaseOffset, readLastOffset, readLeaderEpoch } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { TAIL_CACHE_BYTES_MAX } from '../base/limits.ts';
import type { Position } from '../base/position.ts';
import type { EntryHead } from './epoch-map.ts';
import { endsWithin } from './log-scan.ts';

const NOTHING = new Uint8Array(0);

interface CachedBatch {
  /** Emptied on release: the eviction order may hold the entry for long after. */
  batch: Uint8Array;
  readonly owner: LogTail;
  readonly costBytes: number;
  /** False once it was cut or its log was dropped; skipped when eviction meets it. */
  live: boolean;
}

/** A queue that forgets its head without moving the rest at every step. */
class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  at(index: number): T {
    return this.#items[this.#head + index]!;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T {
    const item = this.#items[this.#head]!;
    this.#head++;
    if (this.#head > 1_024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  pop(): T {
    return this.#items.pop()!;
  }
}

export class TailCache {
  readonly #bytesMax: number;
  readonly #order = new Fifo<CachedBatch>();
  #usedBytes = 0;

  constructor(bytesMax: number = TAIL_CACHE_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  newTail(): LogTail {
    return new LogTail(this);
  }

  admit(owner: LogTail, batch: Uint8Array): CachedBatch | null {
    const kept = batch.length * 2 < batch.buffer.byteLength ? new Uint8Array(batch) : batch;
    const costBytes = kept.buffer.byteLength;
    if (costBytes > this.#bytesMax) return null;
    const entry: CachedBatch = { batch: kept, owner, costBytes, live: true };
    this.#order.push(entry);
    this.#usedBytes += costBytes;
    while (this.#usedBytes > this.#bytesMax) {
      const oldest = this.#order.shift();
      if (!oldest.live) continue;
      this.release(oldest);
      oldest.owner.evicted(oldest);
    }
    return entry;
  }

  release(entry: CachedBatch): void {
    assert(entry.live, 'an entry is released once');
    entry.live = false;
    entry.batch = NOTHING;
    this.#usedBytes -= entry.costBytes;
  }
}

/** The cached end of one log: consecutive batches without holes, epoch starts included. */
export class LogTail {
  readonly #cache: TailCache;
  readonly #batches = new Fifo<CachedBatch>();

  constructor(cache: TailCache) {
    this.#cache = cache;
  }

  push(batch: Uint8Array): void {
    const entry = this.#cache.admit(this, batch);
    if (entry === null) this.clear();
    else if (entry.live) this.#batches.push(entry);
  }

  evicted(entry: CachedBatch): void {
    if (this.#batches.length === 0) return;
    assert(this.#batches.at(0) === entry, 'the oldest entry goes first');
    this.#batches.shift();
  }

  /**
   * Batches from the one that covers `offset` on, below `endMax`, together at most `bytesMax` but at least one, without epoch
   * starts; null when `offset` lies before the cache.
   */
  read(offset: Offset, limits: { readonly endMax: Offset; readonly bytesMax: number }): readonly Uint8Array[] | null {
    const batches = this.#batches;
    if (batches.length === 0 || readBaseOffset(batches.at(0).batch, 0) > offset) return null;
    let low = 0;
    let high = batches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (readLastOffset(batches.at(middle).batch, 0) < offset) low = middle + 1;
      else high = middle;
    }
    const found: Uint8Array[] = [];
    let bytes = 0;
    for (let index = low; index < batches.length; index++) {
      const { batch } = batches.at(index);
      if (readLastOffset(batch, 0) >= limits.endMax) break;
      if (isEpochStart(batch, 0)) continue;
      if (found.length > 0 && bytes + batch.length > limits.bytesMax) break;
      found.push(batch);
      bytes += batch.length;
    }
    return found;
  }

  /**
   * Everything behind a position, epoch starts included, together at most `bytesMax` but at least one batch; null when `next`, the
   * batch that stands there, is not cached.
   */
  readAfter(
    position: Position,
    { next, bytesMax }: { readonly next: EntryHead; readonly bytesMax: number },
  ): readonly Uint8Array[] | null {
    const batches = this.#batches;
    let low = 0;
    let high = batches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (endsWithin(batches.at(middle).batch, 0, position)) low = middle + 1;
      else high = middle;
    }
    if (low === batches.length) return null;
    const first = batches.at(low).batch;
    if (readBaseOffset(first, 0) !== next.baseOffset || readLeaderEpoch(first, 0) !== next.epoch) return null;
    if (isEpochStart(first, 0) !== next.isStart) return null;
    const found: Uint8Array[] = [];
    let bytes = 0;
    for (let index = low; index < batches.length; index++) {
      const { batch } = batches.at(index);
      if (found.length > 0 && bytes + batch.length > bytesMax) break;
      found.push(batch);
      bytes += batch.length;
    }
    return found;
  }

  /** Drops what lies behind the position. */
  cut(to: Position): void {
    while (this.#batches.length > 0) {
      const last = this.#batches.at(this.#batches.length - 1);
      if (endsWithin(last.batch, 0, to)) return;
      this.#batches.pop();
      this.#cache.release(last);
    }
  }

  /** Drops what lies below the offset, which stands in the files in another form by now. */
  dropBelow(offset: Offset): void {
    while (this.#batches.length > 0) {
      const first = this.#batches.at(0);
      if (readLastOffset(first.batch, 0) >= offset) return;
      this.#batches.shift();
      this.#cache.release(first);
    }
  }

  clear(): void {
    while (this.#batches.length > 0) this.#cache.release(this.#batches.shift());
  }
}

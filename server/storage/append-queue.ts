// What was appended to one log and is not yet written, in order, and how much of it goes into one gathered write.
//
// Invariant: `bytes` counts the batches that are queued and those of the group that is being written.

import { readBaseOffset } from '@sluice/protocol/record';
import { GATHER_BUFFERS_MAX, GATHER_BYTES_MAX } from '../base/limits.ts';
import { comparePositions, type Position } from '../base/position.ts';
import type { LatestTime, Segment } from './segment.ts';

export interface QueuedBatch {
  readonly batch: Uint8Array;
  readonly segment: Segment;
  readonly position: number;
  readonly end: Position;
  /** The segment's newest record once this batch is written. */
  readonly latest: LatestTime;
}

/** Batches that lie one behind the other in one segment: one write. */
export interface WriteGroup {
  readonly segment: Segment;
  readonly buffers: readonly Uint8Array[];
  readonly position: number;
  readonly bytes: number;
  readonly records: number;
  readonly end: Position;
  readonly latest: LatestTime;
}

export class AppendQueue {
  #batches: QueuedBatch[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#batches.length === 0;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(queued: QueuedBatch): void {
    this.#batches.push(queued);
    this.#bytes += queued.batch.length;
  }

  /** The next group; its bytes stay counted until `written`. */
  take(): WriteGroup {
    const first = this.#batches[0]!;
    const buffers: Uint8Array[] = [];
    let bytes = 0;
    let last = first;
    for (const queued of this.#batches) {
      if (queued.segment !== first.segment || buffers.length === GATHER_BUFFERS_MAX) break;
      if (buffers.length > 0 && bytes + queued.batch.length > GATHER_BYTES_MAX) break;
      buffers.push(queued.batch);
      bytes += queued.batch.length;
      last = queued;
    }
    this.#batches = this.#batches.length === buffers.length ? [] : this.#batches.slice(buffers.length);
    const { end, latest } = last;
    const records = end.offset - readBaseOffset(first.batch, 0);
    return { segment: first.segment, buffers, position: first.position, bytes, records, end, latest };
  }

  /** The group was written, or never will be. */
  finished(group: WriteGroup): void {
    this.#bytes -= group.bytes;
  }

  /** Forgets what lies behind the position. */
  cut(to: Position): void {
    this.#batches = this.#batches.filter(queued => {
      if (comparePositions(queued.end, to) <= 0) return true;
      this.#bytes -= queued.batch.length;
      return false;
    });
  }

  /** Forgets everything. */
  clear(): void {
    for (const queued of this.#batches) this.#bytes -= queued.batch.length;
    this.#batches = [];
  }
}

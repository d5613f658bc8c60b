// The time index of a segment: from a time to the offset before which everything is older.
//
//   entry (12 bytes, big-endian):  timestamp int64 | relative offset int32
//
// An entry holds the largest timestamp so far and the last offset of the batch that holds it; timestamps and offsets both
// strictly rise. So every record up to an entry's offset is at most as old as its timestamp says.
//
// Lookup: the largest entry with a timestamp below the target; the record sought lies behind its offset.
// After a crash: as the offset index. A missing entry costs scanning, never correctness.

import { readInt32, readInt64, writeInt32, writeInt64 } from '@sluice/protocol/record';
import { SparseIndex } from './sparse-index.ts';

const ENTRY_BYTES = 12;

/** What an entry looks like where the file has zeros. */
const isBlank = (timestamp: number, relativeOffset: number): boolean => timestamp === 0 && relativeOffset === 0;

export class TimeIndex extends SparseIndex {
  constructor() {
    super(ENTRY_BYTES);
  }

  /** Adds the entry unless it would not rise, or could not be told from a page that never reached the disk. */
  maybeAppend(timestamp: number, relativeOffset: number): void {
    if (isBlank(timestamp, relativeOffset)) return;
    if (this.count > 0) {
      if (timestamp <= this.timestamp(this.count - 1)) return;
      if (relativeOffset <= this.relativeOffset(this.count - 1)) return;
    }
    const at = this.grow();
    writeInt64(this.bytes, at, timestamp);
    writeInt32(this.bytes, at + 8, relativeOffset);
  }

  timestamp(entry: number): number {
    return readInt64(this.bytes, entry * ENTRY_BYTES);
  }

  relativeOffset(entry: number): number {
    return readInt32(this.bytes, entry * ENTRY_BYTES + 8);
  }

  /** The last entry with a timestamp below the target, or -1. */
  below(timestamp: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.timestamp(middle) < timestamp) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Drops entries at or above the offset. */
  cut(relativeOffset: number): void {
    let count = this.count;
    while (count > 0 && this.relativeOffset(count - 1) >= relativeOffset) count--;
    this.keep(count);
  }

  /** Takes the file's entries as far as they rise and stay below `relativeOffsetMax`; answers whether all were good. */
  loadTrusted(file: Uint8Array, relativeOffsetMax: number): boolean {
    this.load(file);
    let timestamp = Number.NEGATIVE_INFINITY;
    let offset = -1;
    for (let entry = 0; entry < this.count; entry++) {
      const nextTimestamp = this.timestamp(entry);
      const nextOffset = this.relativeOffset(entry);
      if (
        isBlank(nextTimestamp, nextOffset) ||
        nextTimestamp <= timestamp ||
        nextOffset <= offset ||
        nextOffset >= relativeOffsetMax
      ) {
        this.keep(entry);
        return false;
      }
      timestamp = nextTimestamp;
      offset = nextOffset;
    }
    return file.length % ENTRY_BYTES === 0;
  }
}

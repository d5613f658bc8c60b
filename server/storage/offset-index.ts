// The offset index of a segment: where in the file a batch begins.
//
//   entry (8 bytes, big-endian):  relative offset int32 | position int32
//
// An entry holds the last offset of the batch that starts at `position`, relative to the segment's base offset. Offsets and
// positions both strictly rise. Sparse: one entry every index.interval.bytes.
//
// Lookup: the largest entry whose offset is at most the target gives a position at or before the target's batch; without
// one the scan begins at 0.
// After a crash the file may be short (entries are added again from the log) or hold anything where it was never synced: the
// first entry that does not rise or lies outside the log ends what is trusted.

import { readInt32, writeInt32 } from '@sluice/protocol/record';
import { SparseIndex } from './sparse-index.ts';

const ENTRY_BYTES = 8;

export class OffsetIndex extends SparseIndex {
  constructor() {
    super(ENTRY_BYTES);
  }

  append(relativeOffset: number, position: number): void {
    const at = this.grow();
    writeInt32(this.bytes, at, relativeOffset);
    writeInt32(this.bytes, at + 4, position);
  }

  relativeOffset(entry: number): number {
    return readInt32(this.bytes, entry * ENTRY_BYTES);
  }

  position(entry: number): number {
    return readInt32(this.bytes, entry * ENTRY_BYTES + 4);
  }

  /** The last entry with `relativeOffset <= target`, or -1. */
  floor(target: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.relativeOffset(middle) <= target) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The last entry with `position <= target`, or -1. */
  floorByPosition(target: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.position(middle) <= target) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Drops entries at or above the offset. */
  cut(relativeOffset: number): void {
    this.keep(this.floor(relativeOffset - 1) + 1);
  }

  /** Takes the file's entries as far as they rise and stay below `positionMax`; answers whether all were good. */
  loadTrusted(file: Uint8Array, positionMax: number): boolean {
    this.load(file);
    let offset = -1;
    let position = 0;
    for (let entry = 0; entry < this.count; entry++) {
      const nextOffset = this.relativeOffset(entry);
      const nextPosition = this.position(entry);
      if (nextOffset <= offset || nextPosition <= position || nextPosition >= positionMax) {
        this.keep(entry);
        return false;
      }
      offset = nextOffset;
      position = nextPosition;
    }
    return file.length % ENTRY_BYTES === 0;
  }
}

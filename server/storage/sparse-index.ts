// What the two indexes of a segment share: a growing array of fixed-size big-endian entries that is byte for byte the file.
//
// Entries are appended in memory first. `unwritten` is what the file does not have yet; a file that is behind is not
// wrong, since lookups scan forward from the nearest entry and recovery adds what is missing.

import { assert } from '../base/assert.ts';

const INITIAL_ENTRIES = 64;

export class SparseIndex {
  readonly entryBytes: number;
  bytes: Uint8Array;
  count = 0;
  /** Invariant: writtenCount <= count. */
  writtenCount = 0;

  constructor(entryBytes: number) {
    this.entryBytes = entryBytes;
    this.bytes = new Uint8Array(INITIAL_ENTRIES * entryBytes);
  }

  get byteLength(): number {
    return this.count * this.entryBytes;
  }

  /** Room for one more entry; answers its position in `bytes`. */
  protected grow(): number {
    const at = this.byteLength;
    if (at + this.entryBytes > this.bytes.length) {
      const larger = new Uint8Array(this.bytes.length * 2);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.count++;
    return at;
  }

  /** Keeps the first `count` entries. */
  keep(count: number): void {
    assert(count <= this.count, 'an index is only shortened');
    this.count = count;
    this.writtenCount = Math.min(this.writtenCount, count);
  }

  /** Takes over the contents of the file; a partial last entry is dropped. */
  protected load(file: Uint8Array): void {
    this.count = Math.floor(file.length / this.entryBytes);
    this.writtenCount = this.count;
    this.bytes = new Uint8Array(Math.max(this.byteLength, INITIAL_ENTRIES * this.entryBytes));
    this.bytes.set(file.subarray(0, this.byteLength));
  }

  /** A copy of what the file lacks, and where it belongs. */
  unwritten(): { readonly position: number; readonly bytes: Uint8Array; readonly count: number } {
    const position = this.writtenCount * this.entryBytes;
    return { position, bytes: this.bytes.slice(position, this.byteLength), count: this.count };
  }
}

// Where in the log each key has its newest record, in bounded memory.
//
//   slots      hash -> entry + 1, linear probing, at most half full
//   entries    hash, where the key lies, its length, its last offset
//   arena      the keys themselves, in chunks
//
// Keys are kept as they are and compared byte by byte: two keys are never taken for one. What does not fit is refused; the caller then
// cleans what it has, and the rest with the next map. The arrays are as large as they may become from the start, but memory that was never
// touched costs nothing, and no growth stops the event loop.
//
// Invariant: usedBytes <= bytesMax, but for one key, which always fits.

import { type HashSeed, keyHash } from './key-hash.ts';

/** Up to four slots, and the columns of an entry. */
const ENTRY_BYTES = 4 * 4 + 4 + 4 + 4 + 4 + 8;
const CHUNK_BYTES_MAX = 256 * 1024;

export interface KeyMapOptions {
  readonly seed: HashSeed;
  readonly bytesMax: number;
  /** No more keys than this will come. */
  readonly keysMax: number;
}

const powerOfTwoAbove = (wanted: number): number => 2 ** Math.ceil(Math.log2(Math.max(16, wanted)));

export class KeyMap {
  readonly #seed: HashSeed;
  readonly #bytesMax: number;
  readonly #entriesMax: number;
  readonly #chunkBytes: number;
  readonly #mask: number;
  readonly #slots: Int32Array;
  readonly #hashes: Uint32Array;
  readonly #chunkOf: Uint32Array;
  readonly #keyAt: Uint32Array;
  readonly #keyBytes: Uint32Array;
  readonly #offsets: Float64Array;
  readonly #chunks: Uint8Array[] = [];
  #chunkUsed = 0;
  #arenaBytes = 0;
  #size = 0;

  constructor({ seed, bytesMax, keysMax }: KeyMapOptions) {
    this.#seed = seed;
    this.#bytesMax = bytesMax;
    this.#chunkBytes = Math.min(CHUNK_BYTES_MAX, bytesMax >>> 4);
    this.#entriesMax = Math.max(1, Math.min(keysMax, Math.floor(bytesMax / ENTRY_BYTES)));
    const slots = powerOfTwoAbove(2 * this.#entriesMax);
    this.#mask = slots - 1;
    this.#slots = new Int32Array(slots);
    this.#hashes = new Uint32Array(this.#entriesMax);
    this.#chunkOf = new Uint32Array(this.#entriesMax);
    this.#keyAt = new Uint32Array(this.#entriesMax);
    this.#keyBytes = new Uint32Array(this.#entriesMax);
    this.#offsets = new Float64Array(this.#entriesMax);
  }

  get size(): number {
    return this.#size;
  }

  get usedBytes(): number {
    return this.#size * ENTRY_BYTES + this.#arenaBytes;
  }

  /** The key's newest record is at `offset`, which is above all that came before. False: there is no room for a further key. */
  put(bytes: Uint8Array, start: number, end: number, offset: number): boolean {
    const hash = keyHash(this.#seed, { bytes, start, end });
    const slot = this.#find(hash, bytes, start, end);
    const known = this.#slots[slot]! - 1;
    if (known >= 0) {
      this.#offsets[known] = offset;
      return true;
    }
    const length = end - start;
    const isFull = this.#size === this.#entriesMax || this.usedBytes + this.#costOf(length) > this.#bytesMax;
    if (isFull && this.#size > 0) return false;
    const entry = this.#size++;
    const chunk = this.#chunkFor(length);
    chunk.set(bytes.subarray(start, end), this.#chunkUsed);
    this.#chunkOf[entry] = this.#chunks.length - 1;
    this.#keyAt[entry] = this.#chunkUsed;
    this.#keyBytes[entry] = length;
    this.#hashes[entry] = hash;
    this.#offsets[entry] = offset;
    this.#slots[slot] = entry + 1;
    this.#chunkUsed += length;
    return true;
  }

  /** The offset of the key's newest record; -1 for a key that is not in the map. */
  lastOffset(bytes: Uint8Array, start: number, end: number): number {
    const slot = this.#find(keyHash(this.#seed, { bytes, start, end }), bytes, start, end);
    const entry = this.#slots[slot]! - 1;
    return entry < 0 ? -1 : this.#offsets[entry]!;
  }

  /** The slot of the key, or the empty one where it belongs. */
  #find(hash: number, bytes: Uint8Array, start: number, end: number): number {
    const slots = this.#slots;
    let slot = hash & this.#mask;
    for (;;) {
      const entry = slots[slot]! - 1;
      if (entry < 0 || (this.#hashes[entry] === hash && this.#isKey(entry, bytes, start, end))) return slot;
      slot = (slot + 1) & this.#mask;
    }
  }

  #isKey(entry: number, bytes: Uint8Array, start: number, end: number): boolean {
    const length = this.#keyBytes[entry]!;
    if (length !== end - start) return false;
    const chunk = this.#chunks[this.#chunkOf[entry]!]!;
    const at = this.#keyAt[entry]!;
    for (let index = 0; index < length; index++) {
      if (chunk[at + index] !== bytes[start + index]) return false;
    }
    return true;
  }

  #costOf(length: number): number {
    return ENTRY_BYTES + (this.#hasRoom(length) ? 0 : Math.max(this.#chunkBytes, length));
  }

  #hasRoom(length: number): boolean {
    const last = this.#chunks.at(-1);
    return last !== undefined && this.#chunkUsed + length <= last.length;
  }

  #chunkFor(length: number): Uint8Array {
    const last = this.#chunks.at(-1);
    if (last !== undefined && this.#hasRoom(length)) return last;
    const chunk = new Uint8Array(Math.max(this.#chunkBytes, length));
    this.#chunks.push(chunk);
    this.#chunkUsed = 0;
    this.#arenaBytes += chunk.length;
    return chunk;
  }
}

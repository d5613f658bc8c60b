// xxHash32, the checksum inside an LZ4 frame (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md), seed 0.
//
//   four lanes of 32 bits take 16 bytes at a time, a word each; at the end they are folded into one, the length is
//   added, then the words and the bytes that are left, then all is mixed.
//
// The bytes need not be there at once: a RunningXxhash32 follows a buffer while it is being filled.

const PRIME_1 = 0x9e3779b1;
const PRIME_2 = 0x85ebca77;
const PRIME_3 = 0xc2b2ae3d;
const PRIME_4 = 0x27d4eb2f;
const PRIME_5 = 0x165667b1;

const STRIPE_BYTES = 16;

/** The unsigned checksum of bytes[start, end). */
export function xxhash32(bytes: Uint8Array, start = 0, end = bytes.length): number {
  return new RunningXxhash32(bytes, start).digest(end);
}

/** Invariant: the lanes hold bytes[start, taken), and taken - start is a multiple of 16. */
export class RunningXxhash32 {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  #taken: number;
  #lane1 = (PRIME_1 + PRIME_2) | 0;
  #lane2 = PRIME_2 | 0;
  #lane3 = 0;
  #lane4 = -PRIME_1 | 0;

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes;
    this.#start = start;
    this.#taken = start;
  }

  /** Takes what is whole below `end`: up to there the bytes do not change any more. */
  take(end: number): void {
    const bytes = this.#bytes;
    let lane1 = this.#lane1;
    let lane2 = this.#lane2;
    let lane3 = this.#lane3;
    let lane4 = this.#lane4;
    let at = this.#taken;
    for (const last = end - STRIPE_BYTES; at <= last; at += STRIPE_BYTES) {
      lane1 = round(lane1, wordAt(bytes, at));
      lane2 = round(lane2, wordAt(bytes, at + 4));
      lane3 = round(lane3, wordAt(bytes, at + 8));
      lane4 = round(lane4, wordAt(bytes, at + 12));
    }
    this.#lane1 = lane1;
    this.#lane2 = lane2;
    this.#lane3 = lane3;
    this.#lane4 = lane4;
    this.#taken = at;
  }

  /** The checksum of everything from the start to `end`. */
  digest(end: number): number {
    this.take(end);
    const bytes = this.#bytes;
    let at = this.#taken;
    let hash =
      at === this.#start
        ? PRIME_5
        : rotated(this.#lane1, 1) + rotated(this.#lane2, 7) + rotated(this.#lane3, 12) + rotated(this.#lane4, 18);
    hash = (hash + (end - this.#start)) | 0;
    for (; at + 4 <= end; at += 4) {
      hash = Math.imul(rotated((hash + Math.imul(wordAt(bytes, at), PRIME_3)) | 0, 17), PRIME_4);
    }
    for (; at < end; at++) hash = Math.imul(rotated((hash + Math.imul(bytes[at]!, PRIME_5)) | 0, 11), PRIME_1);
    hash = Math.imul(hash ^ (hash >>> 15), PRIME_2);
    hash = Math.imul(hash ^ (hash >>> 13), PRIME_3);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}

function round(lane: number, word: number): number {
  return Math.imul(rotated((lane + Math.imul(word, PRIME_2)) | 0, 13), PRIME_1);
}

function rotated(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

// HalfSipHash, 32 bits out of a keyed hash made for 32-bit machines. Clients choose the keys of records: with a hash that they could
// foresee, they would also choose how long a lookup takes.
//
// The map compares keys themselves, so a collision costs time and no record.

/** Two 32-bit words that nobody outside knows. */
export interface HashSeed {
  readonly low: number;
  readonly high: number;
}

export interface HashRounds {
  readonly perWord: number;
  readonly atEnd: number;
}

/** As the Linux kernel's tables use it. */
const ROUNDS: HashRounds = { perWord: 1, atEnd: 3 };

export interface HashedSpan {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

export const keyHash = (seed: HashSeed, { bytes, start, end }: HashedSpan, rounds: HashRounds = ROUNDS): number => {
  const { low, high } = seed;
  let v0 = low | 0;
  let v1 = high | 0;
  let v2 = low ^ 0x6c796765;
  let v3 = high ^ 0x74656462;
  const { perWord, atEnd } = rounds;
  const length = end - start;
  const words = length >>> 2;
  // One word more than there are whole ones: the rest with the length.
  for (let index = 0, at = start; index <= words + 1; index++, at += 4) {
    let word = 0;
    let count = perWord;
    if (index < words) {
      word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    } else if (index === words) {
      word = length << 24;
      if (at < end) word |= bytes[at]!;
      if (at + 1 < end) word |= bytes[at + 1]! << 8;
      if (at + 2 < end) word |= bytes[at + 2]! << 16;
    } else {
      v2 ^= 0xff;
      count = atEnd;
    }
    v3 ^= word;
    for (let round = 0; round < count; round++) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    v0 ^= word;
  }
  return (v1 ^ v3) >>> 0;
};

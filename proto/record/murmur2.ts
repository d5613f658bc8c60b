// Murmur2 as Kafka's clients compute it: the default way from a key to its partition.
//
// Records with one key land in the partition where any Kafka client would put them, so a topic may be written by both.
// 32-bit arithmetic throughout; the seed and the sign handling are Kafka's.

const SEED = 0x9747b28c;
const MULTIPLIER = 0x5bd1e995;

/** A signed 32-bit hash of the bytes from `start` up to `end`. */
export function murmur2(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let hash = SEED ^ (end - start);
  let at = start;
  for (const wholeEnd = end - 3; at < wholeEnd; at += 4) {
    let word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    word = Math.imul(word, MULTIPLIER);
    word ^= word >>> 24;
    word = Math.imul(word, MULTIPLIER);
    hash = Math.imul(hash, MULTIPLIER) ^ word;
  }
  const left = end - at;
  if (left === 3) hash ^= bytes[at + 2]! << 16;
  if (left >= 2) hash ^= bytes[at + 1]! << 8;
  if (left >= 1) hash = Math.imul(hash ^ bytes[at]!, MULTIPLIER);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, MULTIPLIER);
  return hash ^ (hash >>> 15);
}

/** Clears the sign bit. Not the absolute value: Kafka's clients mask, and the partition must be theirs. */
export function toPositive(hash: number): number {
  return hash & 0x7fffffff;
}

export function partitionForKey(keyBytes: Uint8Array, partitionCount: number): number {
  return toPositive(murmur2(keyBytes)) % partitionCount;
}

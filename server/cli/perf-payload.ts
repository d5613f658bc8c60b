// What `perf produce` sends: random printable text, made once, before the clock starts.
//
// A pool of values is handed out in turn. Random text does not compress, so that codecs are neither flattered nor needed;
// the pool is larger than a batch, so that no codec finds the same value twice within its window of one batch. Not
// much larger, and in one piece: a program that has just made its records finds them in the processor's cache too.

const PRINTABLE_FIRST = 0x20;
const PRINTABLE_COUNT = 95;
const POOL_BATCHES = 2;
const VALUES_MIN = 16;

/** Values of `recordBytes` bytes, for batches of up to `batchBytes`. */
export const payloadPool = (recordBytes: number, batchBytes: number): readonly Uint8Array[] => {
  const count = Math.max(VALUES_MIN, Math.ceil((POOL_BATCHES * batchBytes) / Math.max(1, recordBytes)));
  const text = new Uint8Array(count * recordBytes);
  for (let index = 0; index < text.length; index++) {
    text[index] = PRINTABLE_FIRST + Math.floor(Math.random() * PRINTABLE_COUNT);
  }
  return Array.from({ length: count }, (_, index) => text.subarray(index * recordBytes, (index + 1) * recordBytes));
};

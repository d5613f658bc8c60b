// What `perf produce` sends: random printable text, made once, before the clock starts.
//
// A pool of values is handed out in turn. Random text does not compress, so that codecs are neither flattered nor needed;
// the pool is larger than a batch, so that no codec finds the same value twice within its window of one batch.

const PRINTABLE_FIRST = 0x20;
const PRINTABLE_COUNT = 95;
const POOL_BYTES = 4 * 1024 * 1024;
const VALUES_MIN = 16;
const VALUES_MAX = 16_384;

export const payloadPool = (recordBytes: number): readonly Uint8Array[] => {
  const count = Math.max(VALUES_MIN, Math.min(VALUES_MAX, Math.ceil(POOL_BYTES / Math.max(1, recordBytes))));
  return Array.from({ length: count }, () => {
    const value = new Uint8Array(recordBytes);
    for (let index = 0; index < recordBytes; index++) {
      value[index] = PRINTABLE_FIRST + Math.floor(Math.random() * PRINTABLE_COUNT);
    }
    return value;
  });
};

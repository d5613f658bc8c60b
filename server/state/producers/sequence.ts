// Sequence numbers of a producer's records in one partition: 0 to 2^31 - 1, and from there to 0 again, as Kafka's do.

const SEQUENCES = 0x8000_0000;

/** The sequence `count` records behind `sequence`. */
export const sequenceAfter = (sequence: number, count: number): number => (sequence + count) % SEQUENCES;

/** How many records lie from `from` up to `to`, the way that the numbers rise. */
export const sequenceDistance = (from: number, to: number): number => (to - from + SEQUENCES) % SEQUENCES;

/** Further away than this is behind, not ahead. */
export const SEQUENCES_AHEAD_MAX = SEQUENCES / 2;

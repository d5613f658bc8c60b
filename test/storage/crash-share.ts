// How much of an exhaustive test runs: a share that fits into seconds, or all of it.
//
//   npm test -- test/storage                          the share
//   SLUICE_CRASH_RUNS=full npm test -- test/storage   every step, byte and seed

export const isFull = process.env['SLUICE_CRASH_RUNS'] === 'full';

/** Every how many of the cases runs; a prime keeps shares of nested loops from meeting the same cases again. */
export const stride = (share: number): number => (isFull ? 1 : share);

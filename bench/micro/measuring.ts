// The loop that all measurements of this folder share: work is repeated for a round, several rounds are run, and a line shows
// the median in units and in bytes a second, with the spread of the units beside it. Figures of a shared machine are hints.
//
//   [--rounds 15] [--round-ms 150]     for every file; three more rounds come first and are not counted

import { parseArgs } from 'node:util';

export interface Measured {
  readonly unit: 'records' | 'calls';
  /** In one unit; what they are the bytes of, each file says. Absent where the time does not depend on them. */
  readonly bytes?: number;
}

const WARM_ROUNDS = 3;

const { values: settings } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, 'round-ms': { type: 'string', default: '150' } },
});
const rounds = wholeAboveZero('rounds', settings.rounds);
const roundMs = wholeAboveZero('round-ms', settings['round-ms']);

function wholeAboveZero(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number above 0`);
  return value;
}

/** Runs `work`, which answers how many units it did, and prints its line. */
export function measure(name: string, { unit, bytes }: Measured, work: () => number): void {
  const rates: number[] = [];
  for (let round = -WARM_ROUNDS; round < rounds; round++) {
    const from = process.hrtime.bigint();
    let units = 0;
    let elapsedMs = 0;
    while (elapsedMs < roundMs) {
      units += work();
      elapsedMs = Number(process.hrtime.bigint() - from) / 1e6;
    }
    if (round >= 0) rates.push((units / elapsedMs) * 1000);
  }
  rates.sort((a, b) => a - b);
  const median = rates[rates.length >> 1]!;
  const [scale, prefix] = median >= 1e5 ? [1e6, 'M'] : [1e3, 'k'];
  const show = (rate: number | undefined): string => ((rate ?? 0) / scale).toFixed(2);
  const unitRate = `${show(median).padStart(8)} ${prefix} ${unit}/s`.padEnd(21);
  const byteRate = bytes === undefined ? '' : `${((median * bytes) / 1e6).toFixed(0)} MB/s`;
  console.log(`${name.padEnd(50)} ${unitRate} ${byteRate.padStart(11)}   (${show(rates[0])} to ${show(rates.at(-1))})`);
}

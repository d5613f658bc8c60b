// Every decoder answers any bytes. `FUZZ_INPUTS` sets how many inputs, `FUZZ_SEED` which; without them a share that takes a few
// seconds, of a seed of its own each time, which is printed. `FUZZ_FROM` and FUZZ_INPUTS=1 replay one input.

import { expect, test } from 'vitest';
import { decoders, fuzzDecoders, type Decoder } from './decoder-inputs.ts';

const INPUTS = Number(process.env['FUZZ_INPUTS'] ?? 100_000);
const SEED = process.env['FUZZ_SEED'] ?? String(Date.now());
const FROM = Number(process.env['FUZZ_FROM'] ?? 0);
/** Slower inputs are reported. A test fails only far above: other processes may have had the processor. */
const SLOW_MS = 100;
const HANG_MS = 5_000;

test('any bytes are answered by every decoder', { timeout: 3_600_000 }, () => {
  const outcome = fuzzDecoders(decoders, { seed: SEED, inputs: INPUTS, from: FROM });
  console.log(`${outcome.inputs} inputs to ${decoders.length} decoders, FUZZ_SEED=${SEED}`);
  if (outcome.slowestMs > SLOW_MS) console.log('slow:', outcome.slowest);
  expect(outcome.findings).toEqual([]);
  expect(outcome.slowestMs).toBeLessThan(HANG_MS);
});

test('a fault that stands behind one changed byte is found', () => {
  const faulty: Decoder = {
    name: 'faulty',
    sound: [Uint8Array.from([1, 2, 3, 4])],
    decode(bytes) {
      if (bytes[2] === 0x80) throw new Error('planted');
    },
  };
  const { findings } = fuzzDecoders([faulty], { seed: 'canary', inputs: 5_000 });
  expect(findings.length).toBeGreaterThan(0);
  const [first] = findings;
  const replayed = fuzzDecoders([faulty], { seed: 'canary', inputs: 1, from: first!.input });
  expect(replayed.findings).toEqual([first]);
});

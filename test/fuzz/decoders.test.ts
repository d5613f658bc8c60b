// Every decoder answers any bytes. `FUZZ_INPUTS` sets how many inputs, `FUZZ_SEED` which; without them a share that takes a few
// seconds, of a seed of its own each time, which is printed. `FUZZ_FROM` and FUZZ_INPUTS=1 replay one input.

import { expect, test } from 'vitest';
import { clientDecoders } from './client-decoders.ts';
import { coordinatorDecoders } from './coordinator-decoders.ts';
import { type Decoder, fuzzDecoders } from './decoder-run.ts';
import { groupDecoders } from './group-decoders.ts';
import { peerDecoders } from './peer-decoders.ts';
import { requestDecoders } from './request-decoders.ts';
import { storedDecoders } from './stored-decoders.ts';

const INPUTS = Number(process.env['FUZZ_INPUTS'] ?? 100_000);
const SEED = process.env['FUZZ_SEED'] ?? String(Date.now());
const FROM = Number(process.env['FUZZ_FROM'] ?? 0);
/** A hang is a tenth of it, on a machine that does nothing else. */
const HANG_MS = 1_000;

const decoders = [
  ...requestDecoders,
  ...storedDecoders,
  ...clientDecoders,
  ...peerDecoders,
  ...coordinatorDecoders,
  ...groupDecoders,
];

test('any bytes are answered by every decoder', { timeout: 7_200_000 }, async () => {
  const outcome = await fuzzDecoders(decoders, { seed: SEED, inputs: INPUTS, from: FROM });
  console.log(
    `${outcome.inputs} inputs to ${decoders.length} decoders, FUZZ_SEED=${SEED}; ` +
      `slowest ${outcome.slowestMs.toFixed(1)} ms (${outcome.slowest?.decoder})`,
  );
  if (outcome.slowestMs > HANG_MS / 10) console.log('slow:', outcome.slowest);
  expect(outcome.findings).toEqual([]);
  expect(outcome.slowestMs).toBeLessThan(HANG_MS);
});

test('a fault that stands behind one changed byte is found', async () => {
  const faulty = (decode: (bytes: Uint8Array) => unknown): Decoder => ({
    name: 'faulty',
    sound: [Uint8Array.from([1, 2, 3, 4])],
    decode,
  });
  const fault = (bytes: Uint8Array): void => {
    if (bytes[2] === 0x80) throw new Error('planted');
  };
  for (const decoder of [faulty(fault), faulty(async bytes => fault(bytes))]) {
    const { findings } = await fuzzDecoders([decoder], { seed: 'canary', inputs: 5_000 });
    expect(findings.length).toBeGreaterThan(0);
    const [first] = findings;
    const replayed = await fuzzDecoders([decoder], { seed: 'canary', inputs: 1, from: first!.input });
    expect(replayed.findings).toEqual([first]);
  }
});

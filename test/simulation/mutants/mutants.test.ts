// The simulation is worth something as long as it finds what is known to be wrong. Some bugs each time; with
// SLUICE_SIMULATION_MUTANTS=1 all of them (minutes). The table in the README of this folder keeps score.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { directed } from './directed.ts';
import { hunt, type Mutant, mutants } from './mutants.ts';

const always = new Set([
  'acknowledgement before the sync',
  'vote not persisted',
  'durable notice of an older generation believed',
  'quiet group that nobody wakes',
  'acks=all answered by the leader alone',
]);
const isEverything = process.env['SLUICE_SIMULATION_MUTANTS'] !== undefined;

describe('it is noticed:', () => {
  const hunted = mutants.filter(({ name }) => isEverything || always.has(name));
  test.each(hunted.map(mutant => [mutant.name, mutant] as const))('%s', { timeout: 300_000 }, async (_name, mutant) => {
    const seeds = mutant.directed === undefined ? 40 : 0;
    expect((await hunt(mutant, seeds)).by).not.toBeNull();
  });
});

test.each(Object.entries(directed))('nothing is wrong with the source as it is: %s', async (_name, scenario) => {
  await scenario();
});

test('every mutant is a change of the source as it is', () => {
  const count = ({ file, from }: Mutant): number =>
    readFileSync(new URL(`../../../server/${file}`, import.meta.url), 'utf8').split(from).length - 1;
  expect(mutants.map(mutant => [mutant.name, count(mutant)])).toEqual(mutants.map(({ name }) => [name, 1]));
});

// Tests of the tests: a core with a rule left out must be caught by the scenarios of the rules, and where the fault is met
// often also by walks within a bounded number of seeds.

import { describe, expect, test } from 'vitest';
import { theCore } from './lone.ts';
import { coreMutants, driverFaults, mutated } from './mutants.ts';
import { scenarios } from './scenarios.ts';
import { type Core, type DriverFault, Walk } from './walk.ts';

const failingScenarios = (core: Core): string[] =>
  Object.values(scenarios).flatMap(group =>
    Object.entries(group).flatMap(([name, scenario]) => {
      try {
        scenario(core);
        return [];
      } catch {
        return [name];
      }
    }),
  );

/** The first seed that fails; null where none does. */
function firstFailure(core: Core, most: number, driverFault?: DriverFault): number | null {
  for (let seed = 0; seed < most; seed++) {
    try {
      new Walk({ seed: String(seed), core, ...(driverFault === undefined ? {} : { driverFault }) }).run();
    } catch {
      return seed;
    }
  }
  return null;
}

test('the core as it is fails nowhere', () => {
  expect([failingScenarios(theCore), firstFailure(theCore, 20)]).toEqual([[], null]);
});

describe('it is noticed when', () => {
  test.each(coreMutants.map(mutant => [mutant.name, mutant] as const))('%s', async (_, mutant) => {
    const core = await mutated(mutant);
    expect(failingScenarios(core)).not.toEqual([]);
    if (mutant.walks !== undefined) expect(firstFailure(core, mutant.walks)).not.toBeNull();
  });

  test.each(driverFaults)('a driver gives a %s', fault => {
    expect(firstFailure(theCore, 10, fault)).not.toBeNull();
  });
});

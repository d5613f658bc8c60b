// node test/simulation/mutants/score.ts [SEEDS] [PART OF A NAME]: hunts every mutant and prints the table of the README.

import { hunt, mutants } from './mutants.ts';

const [seeds = '20', part = ''] = process.argv.slice(2);

for (const mutant of mutants.filter(({ name }) => name.includes(part))) {
  const caught = await hunt(mutant, Number(seeds));
  process.stdout.write(`| ${mutant.name} | ${caught.seeds ?? `not in ${seeds}`} | ${caught.how.slice(0, 110)} |\n`);
}

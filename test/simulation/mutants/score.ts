// node test/simulation/mutants/score.ts [SEEDS] [PART OF A NAME]: hunts every mutant. Of all of them it writes the table of the README, and
// ends with 1 when one is not caught.

import { readFileSync, writeFileSync } from 'node:fs';
import { hunt, type Mutant, mutants } from './mutants.ts';

const README = new URL('README.md', import.meta.url);
const HOW_LENGTH_MAX = 110;

const [seeds = '15', part = ''] = process.argv.slice(2);

/** Ids differ from run to run of the source, not of the seed. */
const rowOf = async (mutant: Mutant): Promise<string> => {
  const { by, how } = await hunt(mutant, Number(seeds));
  if (by === null) process.exitCode = 1;
  const place = typeof by === 'number' ? `seed ${by}` : (by ?? `**nothing in ${seeds} seeds**`);
  return `| ${mutant.name} | ${'brokers' in mutant ? 'brokers' : 'groups'} | ${place} | ${how.slice(0, HOW_LENGTH_MAX)} |`;
};

const rows: string[] = [];
for (const mutant of mutants.filter(({ name }) => name.includes(part))) {
  const row = await rowOf(mutant);
  process.stdout.write(`${row}\n`);
  rows.push(row);
}
if (part === '') {
  const readme = readFileSync(README, 'utf8');
  const head = readme.slice(0, readme.indexOf('| --- |'));
  const rule = '| --- | --- | --- | --- |';
  const tail = readme.slice(readme.lastIndexOf('|\n') + 2);
  writeFileSync(README, `${head}${rule}\n${rows.join('\n')}\n${tail}`);
}

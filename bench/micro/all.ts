// Every measurement of this folder in turn, each file in a process of its own, so that what one teaches the compiler does
// not reach the next: `npm run bench:micro`. Rounds are short, a few seconds a file; a file run alone takes its time.

import { spawnSync } from 'node:child_process';

const FILES = ['record', 'messages', 'record-json', 'cursor', 'offset-index', 'assignor'];
const SHORT = ['--rounds', '5', '--round-ms', '20'];
const FILE_MS_MAX = 60_000;

for (const name of FILES) {
  console.log(`\n== ${name}`);
  const file = new URL(`${name}.ts`, import.meta.url).pathname;
  const { status, signal } = spawnSync(process.execPath, [file, ...SHORT], { stdio: 'inherit', timeout: FILE_MS_MAX });
  if (status === 0) continue;
  console.error(`${name} ended with ${status ?? signal}`);
  process.exitCode = 1;
}

// The README's TypeScript is cut from the examples, which the compiler checks: a block under a comment
// `<!-- FILE#REGION -->` is that region of that file, to the letter.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');

const regionOf = (file: string, name: string): string => {
  const lines = readFileSync(path.join(root, file), 'utf8').split('\n');
  const begin = lines.indexOf(`// #region ${name}`);
  const end = lines.indexOf('// #endregion', begin);
  if (begin === -1 || end === -1) throw new Error(`${file} has no region ${name}`);
  return lines
    .slice(begin + 1, end)
    .join('\n')
    .trimEnd();
};

const blocks = [
  ...readFileSync(path.join(root, 'README.md'), 'utf8').matchAll(/<!-- (\S+)#(\S+) -->\n```ts\n([\s\S]*?)\n?```/g),
].map(([, file = '', region = '', text = '']) => ({ file, region, text }));

test('the README shows the SDK by examples', () => {
  expect(blocks.length).toBeGreaterThanOrEqual(2);
});

test.each(blocks)('the block $file#$region is that region of the example', ({ file, region, text }) => {
  expect(text).toBe(regionOf(file, region));
});

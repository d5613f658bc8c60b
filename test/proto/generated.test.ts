// The committed code of proto/gen is what the protos give: nobody edits it, and nobody forgets to generate it.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
const proto = path.join(root, 'proto');
const fresh = mkdtempSync(path.join(tmpdir(), 'sluice-gen-'));

afterAll(() => rmSync(fresh, { recursive: true, force: true }));

const filesOf = (directory: string): Map<string, string> => {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'));
  return new Map(names.toSorted().map(name => [name, readFileSync(path.join(directory, name), 'utf8')]));
};

test('the generated code is current', () => {
  const bin = path.join(root, 'node_modules', '.bin');
  const env = { ...process.env, PATH: `${bin}${path.delimiter}${process.env['PATH'] ?? ''}` };
  execFileSync(path.join(bin, 'buf'), ['generate', '--output', fresh], { cwd: proto, env, stdio: 'pipe' });
  expect(filesOf(path.join(fresh, 'gen'))).toEqual(filesOf(path.join(proto, 'gen')));
});

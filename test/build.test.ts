// `npm run build` as a whole: what lies below dist/ is complete, and is JavaScript that needs no type stripping. That it
// also runs where it is installed is judged by test/outside/packages.test.ts.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';

const root = new URL('..', import.meta.url).pathname;
const dist = join(root, 'dist');

beforeAll(() => {
  execFileSync(process.execPath, [join(root, '.build/packages.ts')]);
});

describe.each(['proto', 'sdk', 'server'])('the built %s', name => {
  const folder = join(dist, name);
  const read = (path: string): string => readFileSync(join(folder, path), 'utf8');

  test('describes itself, and each of its doors exists with its declarations', () => {
    const clone = JSON.parse(readFileSync(join(root, name, 'package.json'), 'utf8')) as Record<string, object>;
    const built = JSON.parse(read('package.json')) as Record<string, object>;
    const doors = Object.entries(built['exports'] ?? {}) as [string, { types: string; default: string }][];
    expect(built).toEqual({ ...clone, exports: built['exports'] });
    expect(doors.map(([door]) => door)).toEqual(Object.keys(clone['exports'] ?? {}));
    const files = [...doors.flatMap(([, door]) => [door.types, door.default]), 'LICENSE', 'README.md'];
    expect(files.filter(file => !existsSync(join(folder, file)))).toEqual([]);
  });

  test('holds no TypeScript to be stripped, and imports none', () => {
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    expect(files.filter(file => file.endsWith('.ts') && !file.endsWith('.d.ts'))).toEqual([]);
    const importing = files.filter(
      file => /\.(?:js|d\.ts)$/.test(file) && /(?:from |import\(|import )'\.[^']*\.ts'/.test(read(file)),
    );
    expect(importing).toEqual([]);
    expect(files.length).toBeGreaterThan(10);
  });
});

test('the built broker has its launcher and its document', () => {
  expect(readFileSync(join(dist, 'server/openapi.yaml'))).toEqual(readFileSync(join(root, 'openapi.yaml')));
  const ran = execFileSync(process.execPath, [join(dist, 'server/sluice.cjs'), 'version', '-o', 'json'], {
    encoding: 'utf8',
  });
  expect(JSON.parse(ran)).toMatchObject({ version: '0.1.0' });
});

// `npm run build` as a whole: what lies below dist/ is complete, and is JavaScript that needs no type stripping. That it
// also runs where it is installed is judged by test/outside/packages.test.ts.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseAst } from 'vitest/node';

/** What a page does not have, and imports of any kind. */
const NODE_WORDS: ReadonlySet<string> = new Set([
  ...['ImportDeclaration', 'ImportExpression', 'ExportAllDeclaration'],
  ...['Buffer', 'process', 'require', 'global', 'setImmediate', '__dirname', 'module'],
]);

interface SyntaxNode {
  readonly type: string;
  readonly [field: string]: unknown;
}

interface Place {
  readonly node: SyntaxNode;
  readonly parent: SyntaxNode | null;
  readonly field: string;
}

const isNode = (value: unknown): value is SyntaxNode =>
  typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';

function* nodesOf(root: unknown, parent: SyntaxNode | null = null, field = ''): Generator<Place> {
  if (Array.isArray(root)) for (const item of root) yield* nodesOf(item, parent, field);
  if (!isNode(root)) return;
  yield { node: root, parent, field };
  for (const [name, value] of Object.entries(root)) if (name !== 'parent') yield* nodesOf(value, root, name);
}

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

test('the browser client is one file that stands alone, and knows nothing of Node', () => {
  const text = readFileSync(join(dist, 'sdk/browser.js'), 'utf8');
  const words = [];
  for (const { node, parent, field } of nodesOf(parseAst(text))) {
    if (['ImportDeclaration', 'ImportExpression', 'ExportAllDeclaration'].includes(node.type)) words.push(node.type);
    if (node.type === 'Literal' && String(node['value']).startsWith('node:')) words.push(node['value']);
    const isLabel = parent?.['computed'] !== true && ['property', 'key'].includes(field);
    if (node.type === 'Identifier' && !isLabel) words.push(node['name']);
  }
  expect(words).toContain('WebSocket');
  expect(words.filter(word => NODE_WORDS.has(String(word)) || String(word).startsWith('node:'))).toEqual([]);
});

// `npm run build`: the published packages, one folder each below dist/, ready for `npm pack`.
//
// Node runs the TypeScript of the clone as it is, but refuses to strip types below node_modules, so what is published is
// compiled JavaScript with declarations beside it. Everything else of a package (launcher, protos, pages) is copied from
// the places where the clone has it, and package.json is the clone's with its doors pointing at the compiled files.
// dist/ is written anew each time: nothing of an earlier build can be packed.
//
// The broker is published in a few files, the libraries that every start loads included: finding and linking six hundred modules
// takes two fifths of the processor time of a start, and of each call of the command line.

import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const packages = ['proto', 'sdk', 'server'];

/** The door that pages load: one file without imports, so that it can be served as it is. */
const BROWSER_DOOR = './browser';
const BROWSER_FILE = './browser.js';

/** Dependencies that the broker finds when it needs them; the others are part of its files. */
const LEFT_OUTSIDE = [
  '@grpc/proto-loader',
  'ajv',
  'ajv-formats',
  'express',
  'pino',
  'prom-client',
  'ws',
  'yaml',
  '@node-rs/crc32',
];

/** Of the clone alone: its own description, what generates code, and what is read there. */
const LEFT_OUT =
  /(?:^|\/)(?:node_modules|examples|decisions)(?:\/|$)|\.ts$|(?:^|\/)(?:package|tsconfig)\.json$|^buf\.|ARCHITECTURE\.md$/;

interface PackageDescription {
  readonly exports: Readonly<Record<string, string>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

const filesBelow = (folder: string, prefix = ''): string[] =>
  readdirSync(join(folder, prefix), { withFileTypes: true }).flatMap(entry => {
    const path = join(prefix, entry.name);
    if (LEFT_OUT.test(path)) return [];
    return entry.isDirectory() ? filesBelow(folder, path) : [path];
  });

const copy = (from: string, to: string): void => {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
};

/** What the clone's package.json says, with compiled files behind its doors. */
const published = (described: PackageDescription): PackageDescription => {
  const doors = Object.entries(described.exports).map(([door, source]) => {
    const compiled = source.replace(/\.ts$/, '');
    return [
      door,
      { types: `${compiled}.d.ts`, default: door === BROWSER_DOOR ? BROWSER_FILE : `${compiled}.js` },
    ] as const;
  });
  return { ...described, exports: Object.fromEntries(doors) as never };
};

/** The compiler rewrites the suffix of imports in the JavaScript, and leaves it in the declarations. */
const rewriteDeclarations = (folder: string): void => {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.d.ts')) continue;
    const path = join(entry.parentPath, entry.name);
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replaceAll(/((?:from |import\(|import )['"]\.{1,2}\/[^'"]*)\.ts(?=['"])/g, '$1.js'));
  }
};

/** In place of a file for each module. What is loaded late, or by `require`, stays a dependency. */
async function bundleServer(): Promise<void> {
  const target = join(dist, 'server');
  for (const entry of readdirSync(target, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() && entry.name.endsWith('.js')) rmSync(join(entry.parentPath, entry.name));
  }
  const bundle = await build({
    input: { main: join(root, 'server/main.ts'), testing: join(root, 'server/testing.ts') },
    platform: 'node',
    external: id => LEFT_OUTSIDE.some(name => id === name || id.startsWith(`${name}/`)),
    transform: { target: 'es2023' },
    // Where the REST door lies: what it reads beside itself is found from there.
    output: { dir: target, format: 'esm', chunkFileNames: 'gateway/rest/[name]-[hash].js' },
    logLevel: 'warn',
  });
  const modules = bundle.output.flatMap(chunk => (chunk.type === 'chunk' ? chunk.moduleIds : []));
  const folders = new Set(modules.flatMap(id => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0] ?? []));
  writeFileSync(join(target, 'THIRD-PARTY-LICENSES'), [...folders].toSorted().map(licenceIn).join('\n\n'));
}

/** What is to stand beside somebody else's code. */
function licenceIn(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    readonly name: string;
    readonly version: string;
    readonly license: string;
  };
  const text = readdirSync(folder).find(file => /^licen[cs]e/i.test(file));
  const head = `${name} ${version}: ${license}\n`;
  return text === undefined ? head : `${head}\n${readFileSync(join(folder, text), 'utf8').trim()}\n`;
}

rmSync(dist, { recursive: true, force: true });
execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, '.build')], {
  stdio: 'inherit',
});
for (const name of packages) {
  const source = join(root, name);
  const target = join(dist, name);
  const described = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as PackageDescription;
  for (const path of filesBelow(source)) copy(join(source, path), join(target, path));
  for (const launcher of Object.values(described.bin ?? {})) chmodSync(join(target, launcher), 0o755);
  copy(join(root, 'LICENSE'), join(target, 'LICENSE'));
  writeFileSync(join(target, 'package.json'), `${JSON.stringify(published(described), null, 2)}\n`);
  rewriteDeclarations(target);
}
copy(join(root, 'openapi.yaml'), join(dist, 'server/openapi.yaml'));
await bundleServer();
await build({
  input: join(root, 'sdk/browser/index.ts'),
  platform: 'browser',
  transform: { target: 'es2023' },
  output: { file: join(dist, 'sdk', BROWSER_FILE), format: 'esm', minify: true, comments: false },
  logLevel: 'warn',
});
const browserBytes = readFileSync(join(dist, 'sdk', BROWSER_FILE)).length;
process.stdout.write(`dist: ${packages.join(', ')}; browser.js ${browserBytes} bytes\n`);

// The published packages, as somebody installs them: packed, installed together into an empty folder outside the clone,
// and run there. Their dependencies come from the registry, so where it cannot be reached this is skipped, loudly.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { environmentWithoutSettings } from '../integration/broker-process.ts';
import { outcomeOf, skipLoudly, type ToolOutcome } from './tool.ts';

const root = new URL('../..', import.meta.url).pathname;
const reachable = await outcomeOf('npm', ['view', 'yaml@2.9.1', 'version'], { timeoutMs: 60_000 });
if (reachable.status !== 0) skipLoudly('the packages', 'npm does not reach a registry');

const PROGRAM = `
import { Sluice, defineTopic, json, text, SluiceError } from '@sluice/client';
import { startBroker } from 'sluice/testing';

const broker = await startBroker();
const sluice = new Sluice({ servers: [broker.grpc] });
const orders = defineTopic({ name: 'orders', key: text, value: json<{ total: number }>() });
await sluice.admin.createTopic({ name: 'orders' });
const producer = sluice.producer({ topic: orders });
for (let total = 0; total < 100; total++) producer.enqueue({ key: 'k', value: { total } });
await producer.drain();
let sum = 0;
for await (const message of sluice.reader({ topic: orders, untilEnd: true })) sum += message.value?.total ?? 0;
const refusal: unknown = await sluice.admin.describeTopic('absent').catch((error: unknown) => error);
const document = await (await fetch(\`\${broker.http}/openapi.yaml\`)).text();
await sluice.close();
await broker.stop();
console.log(JSON.stringify({ sum, code: refusal instanceof SluiceError ? refusal.code : null, document: document.slice(0, 8) }));
`;

const SETTINGS = {
  compilerOptions: {
    target: 'es2023',
    lib: ['esnext', 'dom'],
    types: ['node'],
    module: 'nodenext',
    strict: true,
    exactOptionalPropertyTypes: true,
    outDir: '.',
  },
  files: ['program.mts'],
};

describe.skipIf(reachable.status !== 0)('the packages', () => {
  let folder: string;
  let broker: ChildProcess | undefined;

  const inFolder = (tool: string, ...words: readonly string[]): Promise<ToolOutcome> =>
    outcomeOf(tool, words, { cwd: folder, timeoutMs: 120_000 });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-packages-'));
    const built = await outcomeOf('npm', ['run', 'build'], { cwd: root, timeoutMs: 60_000 });
    expect(built).toMatchObject({ status: 0 });
    const sources = ['proto', 'sdk', 'server'].map(name => join(root, 'dist', name));
    const packed = await inFolder('npm', 'pack', '--silent', ...sources);
    expect(packed).toMatchObject({ status: 0 });
    await writeFile(join(folder, 'package.json'), '{"private": true, "type": "module"}');
    const tarballs = (await readdir(folder)).filter(name => name.endsWith('.tgz')).map(name => `./${name}`);
    expect(tarballs).toHaveLength(3);
    const installed = await inFolder('npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', ...tarballs);
    expect(installed).toMatchObject({ status: 0 });
  });

  afterAll(async () => {
    broker?.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });

  test('a program that the compiler accepts sends and reads through them', async () => {
    await writeFile(join(folder, 'program.mts'), PROGRAM);
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(SETTINGS));
    await inFolder('npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', '@types/node@24');
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    expect(await inFolder(process.execPath, compiler, '-p', '.')).toEqual({ status: 0, output: '' });
    const ran = await inFolder(process.execPath, 'program.mjs');
    expect(ran).toMatchObject({ status: 0 });
    expect(JSON.parse(ran.output)).toEqual({ sum: 4950, code: 'TOPIC_NOT_FOUND', document: 'openapi:' });
  });

  test('`sluice start` runs, serves its document, and the command line works against it', async () => {
    // What `npx sluice` runs, by the Node that runs this test.
    const launcher = join(folder, 'node_modules/.bin/sluice');
    const free = ['http', 'grpc', 'management'].flatMap(door => [`--${door}`, '127.0.0.1:0']);
    const started = spawn(process.execPath, [launcher, 'start', '--data-dir', 'data', ...free], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: environmentWithoutSettings(),
    });
    broker = started;
    let printed = '';
    for await (const piece of started.stdout.setEncoding('utf8')) {
      printed += String(piece);
      if (printed.includes('\nTry: ')) break;
    }
    const grpc = /gRPC\s+(\S+)/.exec(printed)?.[1] ?? '';
    const http = /HTTP\s+(\S+)/.exec(printed)?.[1] ?? '';
    expect(await (await fetch(`${http}/openapi.yaml`)).text()).toMatch(/^openapi: /);
    const sluice = (...words: readonly string[]): Promise<ToolOutcome> =>
      inFolder(process.execPath, launcher, ...words, '--server', grpc);
    expect(await sluice('topic', 'create', 'lines')).toMatchObject({ status: 0 });
    await writeFile(join(folder, 'lines.txt'), 'one\ntwo\n');
    expect(await sluice('produce', 'lines', '--file', 'lines.txt')).toMatchObject({ status: 0 });
    const consumed = await sluice('consume', 'lines', '--from-beginning', '--exit-at-end');
    expect(consumed).toEqual({ status: 0, output: 'one\ntwo\n' });
    started.kill('SIGTERM');
    expect(await once(started, 'exit')).toEqual([0, null]);
  });
});

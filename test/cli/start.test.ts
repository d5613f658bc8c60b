// The process: the launcher, `sluice start` from its first line to its end, pipes and signals.

import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cleanEnvironment, launch, launchToEnd, type Launched } from './launched.ts';

const FREE = ['--http', '127.0.0.1:0', '--grpc', '127.0.0.1:0', '--management', '127.0.0.1:0'];
const launcher = new URL('../../server/sluice.cjs', import.meta.url).pathname;

let folder: string;
let directories = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-start-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const freshDirectory = (): string => join(folder, `data-${++directories}`);

const startBroker = async (
  dataDir: string,
  ...flags: readonly string[]
): Promise<Launched & { readonly grpc: string; readonly http: string }> => {
  const launched = launch(['start', '--data-dir', dataDir, ...FREE, ...flags]);
  await launched.printed(/^Try: .*\n/m);
  const found = (pattern: RegExp): string => pattern.exec(launched.output())?.[1] ?? '';
  return { ...launched, grpc: found(/gRPC +(\S+)/), http: found(/HTTP +(\S+)/) };
};

describe('start', () => {
  test('says what runs where, and its curl line works as printed', async () => {
    const dataDir = freshDirectory();
    await using broker = await startBroker(dataDir, '--node-id', '7');
    const pattern = [
      String.raw`^Sluice 0\.1\.0, node 7, cluster [0-9a-f-]{36}`,
      String.raw`  HTTP        http://127\.0\.0\.1:\d+`,
      String.raw`  gRPC        127\.0\.0\.1:\d+`,
      String.raw`  management  http://127\.0\.0\.1:\d+`,
      `  data        ${dataDir}`,
      String.raw`Try: curl http://127\.0\.0\.1:\d+/v1/cluster\n$`,
    ].join('\n');
    expect(broker.output()).toMatch(new RegExp(pattern));
    const command = /^Try: (.*)$/m.exec(broker.output())?.[1] ?? '';
    const tried = spawnSync('sh', ['-c', `${command} --silent`], { encoding: 'utf8' });
    // Where there is no curl the same address is fetched.
    const body = tried.status === 127 ? await (await fetch(command.slice('curl '.length))).text() : tried.stdout;
    expect(JSON.parse(body)).toMatchObject({ controller: 7, version: '0.1.0' });
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('%s ends it cleanly, and what it held is there again', async signal => {
    const dataDir = freshDirectory();
    {
      await using broker = await startBroker(dataDir);
      const environment = { SLUICE_SERVER: broker.grpc };
      expect(await launchToEnd(['topic', 'create', 'kept'], { environment })).toMatchObject({ exitCode: 0 });
      const produced = await launchToEnd(['produce', 'kept'], { environment, input: 'one\ntwo\n' });
      expect(produced).toEqual({ exitCode: 0, output: '', notes: '2 records written to kept\n' });
      broker.child.kill(signal);
      expect(await broker.ended).toBe(0);
    }
    await using again = await startBroker(dataDir);
    const words = ['consume', 'kept', '--from-beginning', '--exit-at-end', '--server', again.grpc];
    expect(await launchToEnd(words)).toMatchObject({ exitCode: 0, output: 'one\ntwo\n' });
  });

  test('the pool of the broker has sixteen threads', async context => {
    if (process.platform !== 'linux') context.skip();
    await using broker = await startBroker(freshDirectory());
    const tasks = await readdir(`/proc/${broker.child.pid}/task`);
    const names = await Promise.all(tasks.map(task => readFile(`/proc/${broker.child.pid}/task/${task}/comm`, 'utf8')));
    expect(names.filter(name => name.trim() === 'libuv-worker')).toHaveLength(16);
  });

  test('a second one on the same data is refused with what to do', async () => {
    const dataDir = freshDirectory();
    await using broker = await startBroker(dataDir);
    const second = await launchToEnd(['start', '--data-dir', dataDir, ...FREE]);
    expect(second).toEqual({ exitCode: 1, output: '', notes: expect.stringMatching(/^error: [^\n]*in use[^\n]*\n$/) });
    expect(broker.child.exitCode).toBeNull();
  });

  test('a port that is taken is refused with what to do, and nothing is left behind', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const dataDir = freshDirectory();
    const flags = ['--data-dir', dataDir, '--grpc', '127.0.0.1:0', '--management', '127.0.0.1:0'];
    const refused = await launchToEnd(['start', ...flags, '--http', `127.0.0.1:${port}`]);
    expect(refused).toEqual({
      exitCode: 1,
      output: '',
      notes: expect.stringMatching(
        new RegExp(`^error: cannot listen on 127\\.0\\.0\\.1:${port}: [^\n]*--http[^\n]*\n$`),
      ),
    });
    server.close();
    await using broker = await startBroker(dataDir);
    expect(broker.output()).toContain(dataDir);
  });

  test('an address beyond loopback needs --insecure, and is then warned about', async () => {
    const flags = ['--data-dir', freshDirectory(), '--grpc', '127.0.0.1:0', '--management', '127.0.0.1:0'];
    const refused = await launchToEnd(['start', ...flags, '--http', '0.0.0.0:0']);
    expect([refused.exitCode, refused.notes]).toEqual([
      1,
      expect.stringMatching(/^error: flag --http: .*--insecure\b/),
    ]);
    await using broker = launch(['start', ...flags, '--http', '0.0.0.0:0', '--insecure']);
    const [, address] = await broker.printed(/^Try: curl (http:\/\/127\.0\.0\.1:\d+\/v1\/cluster)$/m);
    expect((await fetch(address!)).status).toBe(200);
    expect(broker.notes()).toMatch(/"door":"http".*nobody is authenticated/);
  });

  test('settings come from a file named by flag or variable, and are printed with their sources', async () => {
    const file = join(folder, 'settings.yaml');
    await writeFile(file, 'rack: r1\ntopic-defaults:\n  retention.ms: 5000\n');
    const byFlag = await launchToEnd(['start', '--config', file, '--node-id', '2', '--print-config']);
    expect(byFlag).toMatchObject({ exitCode: 0, notes: '' });
    expect(byFlag.output).toContain(`rack: "r1" # ${file} line 1\n`);
    expect(byFlag.output).toContain('node-id: 2 # flag --node-id\n');
    const byVariable = await launchToEnd(['start', '--print-config'], { environment: { SLUICE_CONFIG: file } });
    expect(byVariable.output).toContain(`  retention.ms: "5000" # ${file} line 3\n`);
  });

  test('a wrong flag is wrong usage, a wrong file or variable a refused start', async () => {
    const flag = await launchToEnd(['start', '--http', 'here']);
    expect([flag.exitCode, flag.notes]).toEqual([2, expect.stringMatching(/^error: flag --http: .*--help`\n$/)]);
    const variable = await launchToEnd(['start'], { environment: { SLUICE_DATADIR: 'x' } });
    expect([variable.exitCode, variable.notes]).toEqual([
      1,
      expect.stringMatching(/^error: environment variable SLUICE_DATADIR: /),
    ]);
    const missing = await launchToEnd(['start', '--config', join(folder, 'missing.yaml')]);
    expect([missing.exitCode, missing.notes]).toEqual([1, expect.stringMatching(/^error: cannot read .*ENOENT/)]);
  });
});

describe('the launcher', () => {
  test('tells a Node that is too old in one line, in the language of old Nodes', () => {
    // A Node that old is not at hand: its version is what the launcher is told.
    const program = `
      Object.defineProperty(process.versions, 'node', { value: '22.17.1' });
      require(${JSON.stringify(launcher)});`;
    const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^sluice: needs Node 22\.18 or later, found 22\.17\.1 at [^\n]*\n$/);
  });

  test('leaves a pool size alone that somebody chose', () => {
    const program = `
      process.argv.splice(1, 0, 'sluice');
      require(${JSON.stringify(launcher)});
      console.log(process.env.UV_THREADPOOL_SIZE);`;
    const sizeWith = (environment: Record<string, string>): string =>
      spawnSync(process.execPath, ['-e', program, 'version'], {
        encoding: 'utf8',
        env: cleanEnvironment(environment),
      }).stdout.split('\n')[0] ?? '';
    expect([sizeWith({}), sizeWith({ UV_THREADPOOL_SIZE: '5' })]).toEqual(['16', '5']);
  });

  test('an error that nobody expected ends the process with 70', () => {
    const main = new URL('../../server/main.ts', import.meta.url).href;
    const program = `process.argv = ['node', 'sluice', 'version'];
      process.stdout.write = () => { throw new Error('memory is gone'); };
      import(${JSON.stringify(main)});`;
    const { status, stderr } = spawnSync(process.execPath, ['-e', program], {
      encoding: 'utf8',
      env: cleanEnvironment(),
    });
    expect(status).toBe(70);
    expect(JSON.parse(stderr.trim().split('\n').at(-1) ?? '')).toMatchObject({
      level: 60,
      error: expect.stringContaining('memory is gone'),
      msg: 'unexpected error: the process ends',
    });
  });
});

describe('pipes and signals', () => {
  test('a reader that goes away ends consume quietly; Ctrl-C ends it cleanly', async () => {
    await using broker = await startBroker(freshDirectory());
    const environment = { SLUICE_SERVER: broker.grpc };
    await launchToEnd(['topic', 'create', 'piped'], { environment });
    const lines = Array.from({ length: 100_000 }, (_, index) => `line ${index} of many`).join('\n');
    expect(await launchToEnd(['produce', 'piped'], { environment, input: lines })).toMatchObject({ exitCode: 0 });
    const script = `"$0" "$1" consume piped --from-beginning | head -n 2; echo "\${PIPESTATUS[0]}"`;
    const piped = spawnSync('bash', ['-c', script, process.execPath, launcher], {
      encoding: 'utf8',
      env: cleanEnvironment(environment),
    });
    expect([piped.stdout, piped.stderr]).toEqual(['line 0 of many\nline 1 of many\n0\n', '']);
    await using consumer = launch(['consume', 'piped', '--from-beginning'], environment);
    await consumer.printed(/line 99999 of many\n/);
    consumer.child.kill('SIGINT');
    expect([await consumer.ended, consumer.notes()]).toEqual([0, '']);
  });
});

// Starts that are refused: exit code 1 and a line that says what to do, and whatever is there stays as it was.

import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BrokerProcess } from './broker-process.ts';
import { HttpClient } from './http-exchange.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-refused-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** The reason as a person sees it: one line without a stack. */
async function refusalOf(dataDir: string, flags: Readonly<Record<string, string>> = {}): Promise<string> {
  const { status, stderr } = await BrokerProcess.refusedStart(dataDir, flags);
  const lines = stderr.split('\n').filter(line => line !== '' && !line.startsWith('{'));
  expect({ status, lineCount: lines.length, stderr }).toMatchObject({ status: 1, lineCount: 1 });
  expect(lines[0]).not.toMatch(/\bat .*\.ts:\d+|Error:/);
  return lines[0] ?? '';
}

test('a second broker on the same directory is refused, and the first goes on', async () => {
  const dataDir = join(folder, 'shared');
  const first = await BrokerProcess.start(dataDir);
  try {
    expect(await refusalOf(dataDir)).toMatch(/shared.*(in use|another|already)/);
    const http = new HttpClient(first.management);
    expect((await http.send({ path: '/readyz' })).status).toBe(200);
    http.close();
  } finally {
    await first.kill();
  }
  // The lock goes with the process, however it went.
  const next = await BrokerProcess.start(dataDir);
  expect((await next.terminate()).status).toBe(0);
});

test('a directory of another format version is refused and not touched', async () => {
  const dataDir = join(folder, 'format');
  const broker = await BrokerProcess.start(dataDir);
  expect((await broker.terminate()).status).toBe(0);
  const path = join(dataDir, 'meta.json');
  const meta = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  const versionKey = Object.keys(meta).find(key => /version/i.test(key)) ?? '';
  expect(meta[versionKey]).toBeTypeOf('number');
  const changed = JSON.stringify({ ...meta, [versionKey]: 999 });
  await writeFile(path, changed);
  const before = await readdir(dataDir, { recursive: true });
  expect(await refusalOf(dataDir)).toMatch(/version.*999|999.*version/);
  expect(await readFile(path, 'utf8')).toBe(changed);
  expect(await readdir(dataDir, { recursive: true })).toEqual(before);
});

test('a plain file in place of the directory is refused and not touched', async () => {
  const path = join(folder, 'plain-file');
  await writeFile(path, 'somebody else’s');
  expect(await refusalOf(path)).toContain('plain-file');
  expect(await readFile(path, 'utf8')).toBe('somebody else’s');
});

test('a directory below a plain file is refused', async () => {
  const path = join(folder, 'no-folder');
  await writeFile(path, '');
  expect(await refusalOf(join(path, 'data'))).toContain('no-folder');
});

test('a directory that cannot be written to is refused', async context => {
  if (process.getuid?.() === 0) {
    context.skip('root may write everywhere');
    return;
  }
  const dataDir = join(folder, 'read-only');
  await mkdir(dataDir, { mode: 0o500 });
  expect(await refusalOf(dataDir)).toMatch(/read-only.*(permission|writ)/);
});

test.each(['http', 'grpc', 'management'])(
  'a %s port that somebody listens on is refused, named with what to do',
  async door => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const address = `127.0.0.1:${(holder.address() as AddressInfo).port}`;
    try {
      const line = await refusalOf(join(folder, `port-${door}`), { [door]: address });
      expect(line).toContain(address);
      expect(line).toMatch(/another process.*choose another address/);
    } finally {
      holder.close();
    }
  },
);

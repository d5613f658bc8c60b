// The lock of a data directory, with real sockets: one holder, freed by its death, never stale.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { realDirectoryLocks } from '../../server/io/real/directory-lock.ts';

const directories: string[] = [];
const freshDirectory = (): string => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-lock-'));
  directories.push(directory);
  return directory;
};

afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

/** A process that runs `script` and is killed once it printed a line. */
const killedProcess = async (script: string, directory: string): Promise<void> => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
};

const lockModule = new URL('../../server/io/real/directory-lock.ts', import.meta.url).href;

const lockAndPrint = `
  const { realDirectoryLocks } = await import(${JSON.stringify(lockModule)});
  const lock = await realDirectoryLocks.acquire(process.argv[1]);
  console.log(lock === null ? 'refused' : 'held');
  setInterval(() => {}, 1_000);
`;

describe('the lock of a data directory', () => {
  test('has one holder at a time', async () => {
    const directory = freshDirectory();
    const lock = await realDirectoryLocks.acquire(directory);
    expect(await lock?.isHeld()).toBe(true);
    expect(await realDirectoryLocks.acquire(directory)).toBeNull();
    await lock?.release();
    const next = await realDirectoryLocks.acquire(directory);
    expect(next).not.toBeNull();
    await next?.release();
  });

  test('keeps directories apart, and takes a name with a link to it for the same', async () => {
    const one = freshDirectory();
    const other = freshDirectory();
    const locks = [await realDirectoryLocks.acquire(one), await realDirectoryLocks.acquire(other)];
    expect(locks).not.toContain(null);
    expect(await realDirectoryLocks.acquire(`${one}/../${one.slice(one.lastIndexOf('/') + 1)}`)).toBeNull();
    for (const lock of locks) await lock?.release();
  });

  test('leaves nothing behind', async () => {
    const directory = freshDirectory();
    const lock = await realDirectoryLocks.acquire(directory);
    expect(existsSync(join(directory, 'lock'))).toBe(true);
    await lock?.release();
    expect(existsSync(join(directory, 'lock'))).toBe(false);
  });

  test('of a killed process refuses nobody', async () => {
    const directory = freshDirectory();
    await killedProcess(lockAndPrint, directory);
    expect(existsSync(join(directory, 'lock'))).toBe(true);
    const lock = await realDirectoryLocks.acquire(directory);
    expect(await lock?.isHeld()).toBe(true);
    expect(await realDirectoryLocks.acquire(directory)).toBeNull();
    await lock?.release();
  });

  test('of a stale socket file goes to one of several that start at once', async () => {
    for (let round = 0; round < 3; round++) {
      const directory = freshDirectory();
      await killedProcess(lockAndPrint, directory);
      const locks = await Promise.all([1, 2, 3, 4].map(() => realDirectoryLocks.acquire(directory)));
      const held = locks.filter(lock => lock !== null);
      expect(held).toHaveLength(1);
      expect(await held[0]?.isHeld()).toBe(true);
      await held[0]?.release();
    }
  });

  test('works for a path that is longer than a socket’s address', async () => {
    let directory = freshDirectory();
    while (directory.length < 180) directory = join(directory, 'a-rather-long-name-of-a-folder');
    mkdirSync(directory, { recursive: true });
    const lock = await realDirectoryLocks.acquire(directory);
    expect(await lock?.isHeld()).toBe(true);
    expect(await realDirectoryLocks.acquire(directory)).toBeNull();
    await lock?.release();
  });

  test('of a folder that cannot be used is an error that says so', async () => {
    await expect(realDirectoryLocks.acquire(join(freshDirectory(), 'absent'))).rejects.toMatchObject({
      name: 'DiskFault',
    });
  });
});

// The real disk: node:fs with explicit positions. A file is a handle counted by its users: the descriptor number never
// leaves this file, and closing waits for the calls under way, because a call queued behind a close by number would meet
// whatever file got the same number next.

import * as fs from 'node:fs';
import { promises as fsp } from 'node:fs';
import { promisify } from 'node:util';
import { type Disk, type DiskEntry, DiskFault, type DiskFaultKind, type DiskFile, type OpenMode } from '../disk.ts';

const faultKinds: Readonly<Record<string, DiskFaultKind>> = {
  ENOENT: 'not-found',
  ENOTDIR: 'not-found',
  EEXIST: 'exists',
  ENOTEMPTY: 'exists',
  ENOSPC: 'full',
  EDQUOT: 'full',
  EFBIG: 'full',
  EACCES: 'not-writable',
  EPERM: 'not-writable',
  EROFS: 'not-writable',
};

const diskFault = (cause: unknown, path: string): DiskFault => {
  if (cause instanceof DiskFault) return cause;
  const code = (cause as NodeJS.ErrnoException | null)?.code ?? '';
  return new DiskFault(faultKinds[code] ?? 'failed', path, cause);
};

const attempt = async <T>(path: string, action: () => Promise<T>): Promise<T> => {
  try {
    return await action();
  } catch (cause) {
    throw diskFault(cause, path);
  }
};

const openFlags: Readonly<Record<OpenMode, string>> = { read: 'r', write: 'r+', create: 'wx+' };

const fsRead = promisify(fs.read) as (
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  position: number,
) => Promise<{ bytesRead: number }>;
const fsWritev = promisify(fs.writev) as (
  fd: number,
  buffers: readonly Uint8Array[],
  position: number,
) => Promise<{ bytesWritten: number }>;
const fsDatasync = promisify(fs.fdatasync);
const fsTruncate = promisify(fs.ftruncate);
const fsStat = promisify(fs.fstat);
const fsClose = promisify(fs.close);
const fsOpen = promisify(fs.open);

class RealFile implements DiskFile {
  readonly path: string;
  readonly #descriptor: number;
  /** Calls under way. Invariant: the descriptor is open while this is above zero. */
  #users = 0;
  #closing: { readonly done: () => void; readonly promise: Promise<void> } | null = null;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
  }

  async #use<T>(action: (descriptor: number) => Promise<T>): Promise<T> {
    if (this.#closing !== null) throw new DiskFault('closed', this.path);
    this.#users++;
    try {
      return await action(this.#descriptor);
    } catch (cause) {
      throw diskFault(cause, this.path);
    } finally {
      this.#users--;
      if (this.#users === 0) (this.#closing as { done: () => void } | null)?.done();
    }
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#use(async descriptor => {
      let filled = 0;
      while (filled < target.length) {
        const { bytesRead } = await fsRead(descriptor, target, filled, target.length - filled, position + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return filled;
    });
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<number> {
    return this.#use(async descriptor => (await fsWritev(descriptor, buffers, position)).bytesWritten);
  }

  sync(): Promise<void> {
    return this.#use(descriptor => fsDatasync(descriptor));
  }

  truncate(byteLength: number): Promise<void> {
    return this.#use(descriptor => fsTruncate(descriptor, byteLength));
  }

  byteLength(): Promise<number> {
    return this.#use(async descriptor => (await fsStat(descriptor)).size);
  }

  async close(): Promise<void> {
    if (this.#closing !== null) return this.#closing.promise;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closing = { done: resolve, promise };
    if (this.#users === 0) resolve();
    await promise;
    await attempt(this.path, () => fsClose(this.#descriptor));
  }
}

export const realDisk: Disk = {
  open: (path, mode) => attempt(path, async () => new RealFile(path, await fsOpen(path, openFlags[mode], 0o644))),
  readFile: path => attempt(path, () => fsp.readFile(path)),
  list: path =>
    attempt(path, async (): Promise<readonly DiskEntry[]> => {
      const entries = await fsp.readdir(path, { withFileTypes: true });
      return entries.map(entry => ({ name: entry.name, isDirectory: entry.isDirectory() }));
    }),
  makeDirectory: path =>
    attempt(path, async () => {
      await fsp.mkdir(path, { recursive: true });
    }),
  rename: (from, to) => attempt(from, () => fsp.rename(from, to)),
  removeFile: path => attempt(path, () => fsp.unlink(path)),
  removeDirectory: path => attempt(path, () => fsp.rmdir(path)),
  syncDirectory: path =>
    attempt(path, async () => {
      const descriptor = await fsOpen(path, 'r', 0);
      try {
        await promisify(fs.fsync)(descriptor);
      } finally {
        await fsClose(descriptor);
      }
    }),
  exists: async path => {
    try {
      await fsp.access(path);
      return true;
    } catch (cause) {
      const fault = diskFault(cause, path);
      if (fault.kind === 'not-found') return false;
      throw fault;
    }
  },
  freeBytes: path =>
    attempt(path, async () => {
      const stats = await fsp.statfs(path);
      return stats.bavail * stats.bsize;
    }),
};

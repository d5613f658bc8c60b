// Locks a data directory with two sockets.
//
//   1. Linux: an abstract Unix socket named after the device and inode of the directory: never stale, no path length limit,
//      but seen only inside one network namespace.
//   2. Everywhere: a socket file `lock` in the directory, for other systems and for volumes shared between containers.
//      Whoever can connect to it knows that its holder lives. A stale file is replaced by rename.
//
// Two starters that find the same stale file can both replace it (each connected in vain before the other's rename). So
// whoever replaced one looks twice, 200 ms apart, whether the file is still its own, and gives up otherwise; the last
// rename wins. A file created where none was needs no second look: binding is exclusive.

import { promises as fs } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { DiskFault } from '../disk.ts';
import type { DirectoryLock, DirectoryLocks } from '../directory-lock.ts';

const SECOND_LOOK_MS = 200;
/** sockaddr_un holds 108 bytes; longer paths go through the descriptor of their directory on Linux. */
const SOCKET_PATH_BYTES_MAX = 100;

const bind = (address: string): Promise<net.Server | 'in-use'> => {
  const { promise, resolve, reject } = Promise.withResolvers<net.Server | 'in-use'>();
  const server = net.createServer(socket => socket.destroy());
  server.unref();
  server.once('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EADDRINUSE') resolve('in-use');
    else reject(error);
  });
  server.listen(address, () => resolve(server));
  return promise;
};

const answers = (address: string): Promise<boolean> => {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = net.connect(address);
  socket.once('connect', () => {
    socket.destroy();
    resolve(true);
  });
  socket.once('error', () => resolve(false));
  return promise;
};

const closed = (server: net.Server): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  return promise;
};

const inodeOf = async (file: string): Promise<bigint | null> => {
  try {
    return (await fs.lstat(file, { bigint: true })).ino;
  } catch {
    return null;
  }
};

const pause = (ms: number): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms);
  return promise;
};

/** A socket file and the inode under which it was bound. */
interface HeldFile {
  readonly server: net.Server;
  readonly inode: bigint | null;
}

const holdFile = async (directory: string, reach: (name: string) => string): Promise<HeldFile | null> => {
  const file = path.join(directory, 'lock');
  const fresh = await bind(reach('lock'));
  if (fresh !== 'in-use') return { server: fresh, inode: await inodeOf(file) };
  if (await answers(reach('lock'))) return null;
  const name = `lock.${process.pid}`;
  await fs.rm(path.join(directory, name), { force: true });
  const server = await bind(reach(name));
  if (server === 'in-use') return null;
  await fs.rename(path.join(directory, name), file);
  const inode = await inodeOf(file);
  await pause(SECOND_LOOK_MS);
  if ((await inodeOf(file)) === inode) return { server, inode };
  await closed(server);
  return null;
};

export const realDirectoryLocks: DirectoryLocks = {
  async acquire(directory): Promise<DirectoryLock | null> {
    let handle: fs.FileHandle | null = null;
    let abstract: net.Server | null = null;
    try {
      const { dev, ino } = await fs.stat(directory, { bigint: true });
      if (process.platform === 'linux') {
        const bound = await bind(`\0sluice-${dev}-${ino}`);
        if (bound === 'in-use') return null;
        abstract = bound;
      }
      let reach = (name: string): string => path.join(directory, name);
      if (Buffer.byteLength(reach('lock.0000000')) > SOCKET_PATH_BYTES_MAX && process.platform === 'linux') {
        const open = await fs.open(directory, 'r');
        handle = open;
        reach = name => `/proc/self/fd/${open.fd}/${name}`;
      }
      const held = await holdFile(directory, reach);
      if (held === null) {
        if (abstract !== null) await closed(abstract);
        return null;
      }
      const file = path.join(directory, 'lock');
      const holder = abstract;
      return {
        isHeld: async () => (await inodeOf(file)) === held.inode,
        async release() {
          if ((await inodeOf(file)) === held.inode) await fs.rm(file, { force: true });
          await closed(held.server);
          if (holder !== null) await closed(holder);
        },
      };
    } catch (cause) {
      if (abstract !== null) await closed(abstract);
      const code = (cause as NodeJS.ErrnoException).code;
      throw new DiskFault(
        code === 'EACCES' || code === 'EROFS' || code === 'EPERM' ? 'not-writable' : 'failed',
        directory,
        cause,
      );
    } finally {
      await handle?.close();
    }
  },
};

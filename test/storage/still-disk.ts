// A disk in memory on which every call is done at once and stays done: for tests that are not about losses but about what
// is read, a hundred thousand times over.

import { type Disk, type DiskEntry, DiskFault, type DiskFile } from '../../server/io/disk.ts';

interface StillInode {
  bytes: Uint8Array;
  /** False for bytes that a copy of the disk shares with its original. */
  isOwn: boolean;
}

const FREE_BYTES = 1_000_000_000;

const handleOf = (path: string, inode: StillInode): DiskFile => {
  const resize = (byteLength: number): void => {
    const next = new Uint8Array(byteLength);
    next.set(inode.bytes.subarray(0, byteLength));
    Object.assign(inode, { bytes: next, isOwn: true });
  };
  return {
    path,
    read(target, position) {
      const piece = inode.bytes.subarray(position, position + target.length);
      target.set(piece);
      return Promise.resolve(piece.length);
    },
    write(buffers, position) {
      let end = position;
      for (const buffer of buffers) end += buffer.length;
      if (end > inode.bytes.length || !inode.isOwn) resize(Math.max(end, inode.bytes.length));
      let at = position;
      for (const buffer of buffers) {
        inode.bytes.set(buffer, at);
        at += buffer.length;
      }
      return Promise.resolve(end - position);
    },
    sync: () => Promise.resolve(),
    truncate(byteLength) {
      resize(byteLength);
      return Promise.resolve();
    },
    byteLength: () => Promise.resolve(inode.bytes.length),
    close: () => Promise.resolve(),
  };
};

export class StillDisk implements Disk {
  readonly #files: Map<string, StillInode>;
  readonly #folders: Set<string>;

  constructor(original?: StillDisk) {
    this.#files = new Map();
    this.#folders = new Set(original?.folders);
    for (const [path, { bytes }] of original?.entries() ?? []) this.#files.set(path, { bytes, isOwn: false });
  }

  get folders(): ReadonlySet<string> {
    return this.#folders;
  }

  entries(): Iterable<[string, StillInode]> {
    return this.#files;
  }

  paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  contents(path: string): Uint8Array {
    return this.#inode(path).bytes;
  }

  flip(path: string, bit: number): void {
    const inode = this.#inode(path);
    inode.bytes = inode.bytes.slice();
    inode.isOwn = true;
    inode.bytes[bit >> 3]! ^= 1 << (bit & 7);
  }

  #inode(path: string): StillInode {
    const inode = this.#files.get(path);
    if (inode === undefined) throw new DiskFault('not-found', path);
    return inode;
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    if (mode === 'create') {
      if (this.#files.has(path)) throw new DiskFault('exists', path);
      this.#files.set(path, { bytes: new Uint8Array(0), isOwn: true });
    }
    return handleOf(path, this.#inode(path));
  }

  async readFile(path: string): Promise<Uint8Array> {
    return this.#inode(path).bytes.slice();
  }

  async list(directory: string): Promise<readonly DiskEntry[]> {
    const entries: DiskEntry[] = [];
    const add = (path: string, isDirectory: boolean): void => {
      const at = path.lastIndexOf('/');
      if (path.slice(0, at) === directory) entries.push({ name: path.slice(at + 1), isDirectory });
    };
    for (const path of this.#files.keys()) add(path, false);
    for (const path of this.#folders) add(path, true);
    return entries;
  }

  async makeDirectory(path: string): Promise<void> {
    this.#folders.add(path);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#files.set(to, this.#inode(from));
    this.#files.delete(from);
  }

  async removeFile(path: string): Promise<void> {
    this.#inode(path);
    this.#files.delete(path);
  }

  async removeDirectory(path: string): Promise<void> {
    this.#folders.delete(path);
  }

  syncDirectory(): Promise<void> {
    return Promise.resolve();
  }

  async exists(path: string): Promise<boolean> {
    return this.#files.has(path) || this.#folders.has(path);
  }

  freeBytes(): Promise<number> {
    return Promise.resolve(FREE_BYTES);
  }
}

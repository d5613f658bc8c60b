// A disk in memory that keeps the contract of server/io/disk.ts and nothing more than the contract.
//
// Each call completes when the scheduler says so; calls under way at the same time complete in any order, and a write
// reads its buffers only then. What was not synced may be gone after `crash`, page by page and name by name
// (file-image.ts, directory-image.ts).
//
//   mount()      a Disk for one life of a node; the disk outlives it
//   crash()      ends that life: its calls never settle, neither those under way nor later ones. A write under way may
//                have happened in part
//   judge        asked at each call what becomes of it: nothing special, a fault, a short write, a flipped bit, a delay
//   rot, erase   damage behind everybody's back

import type { Disk, DiskEntry, DiskFaultKind, DiskFile, OpenMode } from '../../server/io/disk.ts';
import { DiskFault } from '../../server/io/disk.ts';
import { DirectoryImage, type Image } from './directory-image.ts';
import { FileImage } from './file-image.ts';
import type { SeededRandom } from './random.ts';
import type { Scheduler } from './scheduler.ts';

export type DiskCallKind =
  | 'open'
  | 'read-file'
  | 'list'
  | 'make-directory'
  | 'rename'
  | 'remove-file'
  | 'remove-directory'
  | 'sync-directory'
  | 'exists'
  | 'free-bytes'
  | 'read'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'byte-length'
  | 'close';

export interface DiskCall {
  readonly kind: DiskCallKind;
  readonly path: string;
  /** Of reads and writes; the new size of a truncate. */
  readonly position: number;
  readonly byteLength: number;
}

export type Fate =
  | { readonly kind: 'usual' }
  | { readonly kind: 'fault'; readonly fault: DiskFaultKind }
  /** A write of fewer bytes than asked for. */
  | { readonly kind: 'short'; readonly byteLength: number }
  /** A read that answers one wrong bit, this once. */
  | { readonly kind: 'flip'; readonly bit: number }
  | { readonly kind: 'slow'; readonly delayMs: number };

export const usual: Fate = { kind: 'usual' };

export interface SimulatedDiskOptions {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly capacityBytes?: number;
  /** How likely a dirty page is written by itself after each write. */
  readonly writeBackChance?: number;
  /** Syncs of these files answer and do nothing: a disk that lies, to prove that a test would notice. */
  readonly losesSyncsOf?: RegExp;
  /** The same for the names in these folders. */
  readonly losesNamesIn?: RegExp;
}

/** One life of a node. */
interface Mount {
  isDead: boolean;
}

/** A change under way: `happen` does it as far as a crash let it get. */
interface Underway {
  readonly mount: Mount;
  readonly happen: (random: SeededRandom) => void;
}

const SLOWEST_CALL_MS = 0.5;
const SLOWEST_SYNC_MS = 3;

const never = <T>(): Promise<T> => new Promise<T>(() => {});

const partsOf = (path: string): string[] => path.split('/').filter(part => part !== '' && part !== '.');

export class SimulatedDisk {
  readonly #scheduler: Scheduler;
  readonly #random: SeededRandom;
  readonly #root = new DirectoryImage();
  readonly #underway = new Set<Underway>();
  readonly #writeBackChance: number;
  readonly #losesSyncsOf: RegExp | null;
  readonly #losesNamesIn: RegExp | null;
  #mount: Mount = { isDead: true };
  /** What the file system holds; can be changed while it is in use. */
  capacityBytes: number;
  judge: (call: DiskCall) => Fate = () => usual;
  /** Handles that are not closed, by path; those of earlier lives do not count. */
  readonly openPaths: string[] = [];

  constructor(options: SimulatedDiskOptions) {
    this.#scheduler = options.scheduler;
    this.#random = options.random;
    this.#writeBackChance = options.writeBackChance ?? 0.05;
    this.#losesSyncsOf = options.losesSyncsOf ?? null;
    this.#losesNamesIn = options.losesNamesIn ?? null;
    this.capacityBytes = options.capacityBytes ?? Number.MAX_SAFE_INTEGER;
  }

  mount(): Disk {
    if (!this.#mount.isDead) throw new Error('the disk is mounted');
    const mount: Mount = { isDead: false };
    this.#mount = mount;
    return this.#disk(mount);
  }

  /** Ends the life without losing anything, as a process that is killed: what the kernel has, it keeps. */
  kill(): void {
    this.#mount.isDead = true;
    this.openPaths.length = 0;
    for (const { happen } of this.#underway) if (this.#random.chance(0.5)) happen(this.#random);
    this.#underway.clear();
  }

  /**
   * Ends the life and loses power. `survival` is how likely each unsynced page and change is kept; drawn when absent, so
   * that the extremes (nothing, all) come up as well as the mixtures.
   */
  crash(survival: number = this.#random.pick([0, 0, 0.1, 0.5, 0.5, 0.9, 1])): void {
    this.kill();
    this.#root.crash(this.#random, survival);
  }

  /** All file paths, sorted. */
  filePaths(): string[] {
    const found: string[] = [];
    const visit = (directory: DirectoryImage, path: string): void => {
      for (const [name, image] of directory.names) {
        if (image.kind === 'file') found.push(`${path}/${name}`);
        else visit(image, `${path}/${name}`);
      }
    };
    visit(this.#root, '');
    return found.sort();
  }

  contents(path: string): Uint8Array {
    return this.#file(path).contents();
  }

  durableContents(path: string): Uint8Array {
    return this.#file(path).durableContents();
  }

  /** Replaces one byte in both images. */
  rot(path: string, position: number, change: (byte: number) => number): void {
    this.#file(path).rot(position, change);
  }

  /** Cuts or fills a file, durably, behind everybody's back. */
  resize(path: string, byteLength: number): void {
    const file = this.#file(path);
    file.truncate(byteLength);
    file.endSync(file.beginSync());
  }

  /** Replaces or creates a whole file, durably, behind everybody's back. */
  plant(path: string, bytes: Uint8Array): void {
    const { directory, name } = this.#place(path);
    const file = new FileImage();
    file.write(bytes, 0);
    file.endSync(file.beginSync());
    directory.link(name, file);
    directory.endSync(directory.sequence);
  }

  /** Removes a name, durably, behind everybody's back. */
  erase(path: string): void {
    const { directory, name } = this.#place(path);
    if (!directory.names.has(name)) throw new DiskFault('not-found', path);
    directory.unlink(name);
    directory.endSync(directory.sequence);
  }

  usedBytes(): number {
    const visit = (directory: DirectoryImage): number => {
      let sum = 0;
      for (const image of directory.names.values()) sum += image.kind === 'file' ? image.pageBytes : visit(image);
      return sum;
    };
    return visit(this.#root);
  }

  #disk(mount: Mount): Disk {
    const call = <T>(kind: DiskCallKind, path: string, effect: () => T): Promise<T> =>
      this.#perform(mount, { kind, path, position: 0, byteLength: 0 }, effect);
    /** For calls that change names: a crash may come after the change. */
    const change = (kind: DiskCallKind, path: string, effect: () => void): Promise<void> =>
      this.#perform(mount, { kind, path, position: 0, byteLength: 0 }, effect, effect);
    return {
      open: (path, mode) =>
        mode === 'create'
          ? this.#perform(
              mount,
              { kind: 'open', path, position: 0, byteLength: 0 },
              () => this.#handle(mount, path, this.#create(path)),
              () => this.#create(path),
            )
          : call('open', path, () => this.#handle(mount, path, this.#file(path), mode)),
      readFile: path => call('read-file', path, () => this.#file(path).contents()),
      list: path =>
        call('list', path, () => {
          const entries = [...this.#directory(path).names];
          return this.#random
            .shuffled(entries)
            .map(([name, image]): DiskEntry => ({ name, isDirectory: image.kind === 'directory' }));
        }),
      makeDirectory: path =>
        change('make-directory', path, () => {
          const { directory, name } = this.#place(path);
          const present = directory.names.get(name);
          if (present?.kind === 'file') throw new DiskFault('exists', path);
          if (present === undefined) directory.link(name, new DirectoryImage());
        }),
      rename: (from, to) => change('rename', from, () => this.#rename(from, to)),
      removeFile: path =>
        change('remove-file', path, () => {
          this.#file(path);
          const { directory, name } = this.#place(path);
          directory.unlink(name);
        }),
      removeDirectory: path =>
        change('remove-directory', path, () => {
          if (this.#directory(path).names.size > 0) throw new DiskFault('exists', path);
          const { directory, name } = this.#place(path);
          directory.unlink(name);
        }),
      syncDirectory: path => {
        // What is changed while the sync is under way may miss it.
        const directory = this.#find(path);
        const sequence = directory?.kind === 'directory' ? directory.sequence : 0;
        return call('sync-directory', path, () => {
          if (directory?.kind !== 'directory') throw new DiskFault('not-found', path);
          if (this.#losesNamesIn?.test(path) !== true) directory.endSync(sequence);
        });
      },
      exists: path => call('exists', path, () => this.#find(path) !== null),
      freeBytes: path => call('free-bytes', path, () => Math.max(0, this.capacityBytes - this.usedBytes())),
    };
  }

  #handle(mount: Mount, path: string, file: FileImage, mode: OpenMode = 'create'): DiskFile {
    let pending = 0;
    let isClosed = false;
    const waiters: (() => void)[] = [];
    this.openPaths.push(path);
    const call = async <T>(
      described: Omit<DiskCall, 'path'>,
      effect: (fate: Fate) => T,
      happen?: (random: SeededRandom) => void,
    ): Promise<T> => {
      if (isClosed) throw new DiskFault('closed', path);
      pending++;
      try {
        return await this.#perform(mount, { ...described, path }, effect, happen);
      } finally {
        pending--;
        if (pending === 0) for (const waiter of waiters.splice(0)) waiter();
      }
    };
    const writable = (): void => {
      if (mode === 'read') throw new DiskFault('failed', path);
    };
    return {
      path,
      read: (target, position) =>
        call({ kind: 'read', position, byteLength: target.length }, fate => {
          const count = file.read(target, position);
          if (fate.kind === 'flip' && count > 0) {
            const at = (fate.bit >> 3) % count;
            target[at] = (target[at] ?? 0) ^ (1 << (fate.bit & 7));
          }
          return count;
        }),
      write: (buffers, position) => {
        const byteLength = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
        return call(
          { kind: 'write', position, byteLength },
          fate => {
            writable();
            const count = this.#write(file, buffers, { position, byteLength, fate });
            if (count === 0 && byteLength > 0) throw new DiskFault('full', path);
            return count;
          },
          random => {
            if (mode !== 'read') file.write(Buffer.concat(buffers).subarray(0, random.below(byteLength + 1)), position);
          },
        );
      },
      sync: () => {
        // Taken when the call begins: what is written meanwhile may miss this sync.
        const snapshot = file.beginSync();
        return call({ kind: 'sync', position: 0, byteLength: 0 }, fate => {
          if (fate.kind === 'fault') file.failSync(snapshot, this.#random);
          else if (this.#losesSyncsOf?.test(path) !== true) file.endSync(snapshot);
        });
      },
      truncate: byteLength => {
        const effect = (): void => {
          writable();
          file.truncate(byteLength);
        };
        return call({ kind: 'truncate', position: byteLength, byteLength: 0 }, effect, effect);
      },
      byteLength: () => call({ kind: 'byte-length', position: 0, byteLength: 0 }, () => file.byteLength),
      close: async () => {
        if (isClosed) return;
        isClosed = true;
        if (pending > 0) await new Promise<void>(resolve => waiters.push(resolve));
        await this.#perform(mount, { kind: 'close', path, position: 0, byteLength: 0 }, () => {
          this.openPaths.splice(this.openPaths.indexOf(path), 1);
        });
      },
    };
  }

  #perform<T>(
    mount: Mount,
    call: DiskCall,
    effect: (fate: Fate) => T,
    happen?: (random: SeededRandom) => void,
  ): Promise<T> {
    if (mount.isDead) return never();
    const underway: Underway | null =
      happen === undefined
        ? null
        : {
            mount,
            happen: random => {
              try {
                happen(random);
              } catch (error) {
                // A call that was refused changes nothing, and nobody is left to hear of it.
                if (!(error instanceof DiskFault)) throw error;
              }
            },
          };
    if (underway !== null) this.#underway.add(underway);
    const fate = this.judge(call);
    if (mount.isDead) return never();
    return new Promise<T>((resolve, reject) => {
      this.#scheduler.after(this.#latencyMs(call, fate), () => {
        if (mount.isDead) return;
        if (underway !== null) this.#underway.delete(underway);
        try {
          const result = fate.kind === 'fault' && call.kind !== 'sync' ? null : { value: effect(fate) };
          if (fate.kind === 'fault') throw new DiskFault(fate.fault, call.path);
          if (result !== null) resolve(result.value);
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #latencyMs(call: DiskCall, fate: Fate): number {
    if (fate.kind === 'slow') return fate.delayMs;
    const slowest = call.kind === 'sync' || call.kind === 'sync-directory' ? SLOWEST_SYNC_MS : SLOWEST_CALL_MS;
    return this.#random.fraction() * slowest;
  }

  /** Answers how many bytes fitted. */
  #write(
    file: FileImage,
    buffers: readonly Uint8Array[],
    { position, byteLength, fate }: { position: number; byteLength: number; fate: Fate },
  ): number {
    const fits = Math.max(0, Math.min(byteLength, this.#endMax(file) - position));
    const count = fate.kind === 'short' ? Math.min(fate.byteLength, fits) : fits;
    const bytes = buffers.length === 1 ? buffers[0]! : Buffer.concat(buffers, byteLength);
    file.write(count < byteLength ? bytes.subarray(0, count) : bytes, position);
    if (this.#random.chance(this.#writeBackChance)) file.writeBack(this.#random);
    return count;
  }

  /** How long a file may become. */
  #endMax(file: FileImage): number {
    if (this.capacityBytes === Number.MAX_SAFE_INTEGER) return this.capacityBytes;
    return Math.max(this.capacityBytes - this.usedBytes() + file.pageBytes, file.pageBytes);
  }

  #create(path: string): FileImage {
    const { directory, name } = this.#place(path);
    if (directory.names.has(name)) throw new DiskFault('exists', path);
    const file = new FileImage();
    directory.link(name, file);
    return file;
  }

  #rename(from: string, to: string): void {
    const source = this.#place(from);
    const target = this.#place(to);
    const moved = source.directory.names.get(source.name);
    if (moved === undefined) throw new DiskFault('not-found', from);
    const replaced = target.directory.names.get(target.name);
    if (replaced === moved) return;
    if (replaced !== undefined && replaced.kind !== moved.kind) throw new DiskFault('failed', to);
    if (replaced?.kind === 'directory' && replaced.names.size > 0) throw new DiskFault('exists', to);
    if (source.directory === target.directory) {
      source.directory.rename(source.name, target.name);
    } else {
      target.directory.link(target.name, moved);
      source.directory.unlink(source.name);
    }
  }

  #find(path: string): Image | null {
    let image: Image = this.#root;
    for (const part of partsOf(path)) {
      if (image.kind !== 'directory') return null;
      const next: Image | undefined = image.names.get(part);
      if (next === undefined) return null;
      image = next;
    }
    return image;
  }

  #file(path: string): FileImage {
    const image = this.#find(path);
    if (image === null) throw new DiskFault('not-found', path);
    if (image.kind !== 'file') throw new DiskFault('failed', path);
    return image;
  }

  #directory(path: string): DirectoryImage {
    const image = this.#find(path);
    if (image === null) throw new DiskFault('not-found', path);
    if (image.kind !== 'directory') throw new DiskFault('not-found', path);
    return image;
  }

  /** The directory that holds, or would hold, the last part of the path. */
  #place(path: string): { directory: DirectoryImage; name: string } {
    const parts = partsOf(path);
    const name = parts.pop();
    if (name === undefined) throw new DiskFault('failed', path);
    return { directory: this.#directory(parts.join('/')), name };
  }
}

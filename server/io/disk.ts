// The file system as the broker sees it: positions are explicit, names and contents become durable by separate calls,
// and a short write is an answer, not an error.
//
// Contract (what the real and the simulated implementation both keep):
// - A write is durable after `sync` of its file returned; a name (create, rename, remove) after `syncDirectory` of its folder.
// - `write` answers how many bytes it wrote; on a full disk that can be fewer than asked for, without an error. The caller compares.
// - Nothing is promised about the order in which unsynced writes reach the disk.
// - After a failed `sync` the state of the unsynced bytes is unknown for good; calling it again proves nothing.
// - `DiskFault` is the only error: its `kind` says what the caller may conclude.

export type DiskFaultKind = 'not-found' | 'exists' | 'full' | 'not-writable' | 'closed' | 'failed';

export class DiskFault extends Error {
  override readonly name = 'DiskFault';
  readonly kind: DiskFaultKind;
  readonly path: string;

  constructor(kind: DiskFaultKind, path: string, cause?: unknown) {
    super(`${kind}: ${path}${cause instanceof Error ? ` (${cause.message})` : ''}`, { cause });
    this.kind = kind;
    this.path = path;
  }
}

export interface DiskFile {
  readonly path: string;
  /** Fills `target` from `position` on; answers how many bytes there were (fewer only at the end of the file). */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Writes the buffers one after another from `position` on; answers how many bytes were written. */
  write(buffers: readonly Uint8Array[], position: number): Promise<number>;
  /** Contents and size are durable when this returns. */
  sync(): Promise<void>;
  truncate(byteLength: number): Promise<void>;
  byteLength(): Promise<number>;
  /** Waits for calls under way, then closes. */
  close(): Promise<void>;
}

export interface DiskEntry {
  readonly name: string;
  readonly isDirectory: boolean;
}

/** `read`: must exist. `write`: must exist, for reading and writing. `create`: must not exist. */
export type OpenMode = 'read' | 'write' | 'create';

export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>;
  /** Whole contents; for small files. */
  readFile(path: string): Promise<Uint8Array>;
  list(directory: string): Promise<readonly DiskEntry[]>;
  /** Creates one directory; one that is there already is fine. */
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** Removes an empty directory. */
  removeDirectory(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  exists(path: string): Promise<boolean>;
  /** Bytes that can still be written on the file system that holds `path`. */
  freeBytes(path: string): Promise<number>;
}

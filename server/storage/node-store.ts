// The node's store: small facts about partitions that must outlive a crash on their own schedule (sync points, log starts,
// sealed segments).
//
//   data-dir/store-0, data-dir/store-1: the same lines twice, each `CRC-32C in 8 hex digits, space, JSON, LF`
//       {"n": sequence, "k": key, "v": value}      value null: the key is gone
//   The rest of the preallocated file is zeros, so that a full disk does not stop it.
//
// - `set` changes memory; a line is written with the next flush: at the latest after a second or 64 MiB of log, or when a
//   caller awaits `flush`. Both copies are written and synced in the same turn.
// - The newest sequence number that can be read wins, each copy up to its first bad line. A torn last line is a flush that was
//   never reported; a copy that is damaged earlier has fewer lines than the other one.
// - At twice its live size the files are written anew, one after the other, each by rename.
// - A store that cannot be written is fatal for the node: `failed` is called once.

import path from 'node:path';
import { crc32c } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { SYNC_POINT_BYTES_MAX, SYNC_POINT_MS_MAX } from '../base/limits.ts';
import type { Clock, Timer } from '../io/clock.ts';
import { type Disk, DiskFault, type DiskFile } from '../io/disk.ts';
import type { DiskReserve } from './disk-reserve.ts';
import type { SyncGate } from './sync-gate.ts';

export type StoreValue = Readonly<Record<string, unknown>>;

interface StoreLine {
  readonly n: number;
  readonly k: string;
  readonly v: StoreValue | null;
}

const COPIES = ['store-0', 'store-1'] as const;
const PREALLOCATED_BYTES = 256 * 1024;

const formatLine = (line: StoreLine): string => {
  const json = JSON.stringify(line);
  return `${crc32c(Buffer.from(json)).toString(16).padStart(8, '0')} ${json}\n`;
};

/** Null for what no broker writes. */
const readLine = (json: string): StoreLine | null => {
  let line: unknown;
  try {
    line = JSON.parse(json);
  } catch {
    return null;
  }
  if (typeof line !== 'object' || line === null) return null;
  const { n, k, v } = line as Record<string, unknown>;
  if (!Number.isSafeInteger(n) || typeof k !== 'string' || typeof v !== 'object') return null;
  return { n: n as number, k, v: v as StoreValue | null };
};

/** The good lines from the start on, and the position after the last of them. */
const parseLines = (bytes: Uint8Array): { readonly lines: readonly StoreLine[]; readonly end: number } => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lines: StoreLine[] = [];
  let at = 0;
  for (;;) {
    const end = buffer.indexOf(0x0a, at);
    if (end === -1 || end - at < 10) break;
    const json = buffer.subarray(at + 9, end);
    if (buffer.toString('latin1', at, at + 8) !== crc32c(json).toString(16).padStart(8, '0')) break;
    const line = readLine(json.toString('utf8'));
    if (line === null) break;
    lines.push(line);
    at = end + 1;
  }
  return { lines, end: at };
};

/** One of the two copies as it lies on the disk. */
export interface StoreCopy {
  readonly file: string;
  readonly isPresent: boolean;
  readonly lines: number;
  /** Of the last good line; -1 where there is none. */
  readonly sequence: number;
  /** Behind the last good line. */
  readonly end: number;
  /** Whether something other than the zeros of the preallocation stands there. */
  readonly hasMore: boolean;
}

export interface StoreImage {
  readonly copies: readonly StoreCopy[];
  /** Of the copy that counts. */
  readonly values: Map<string, StoreValue>;
  readonly sequence: number;
}

/** Reads both copies and changes nothing. */
export const readStore = async (disk: Disk, directory: string): Promise<StoreImage> => {
  const copies: StoreCopy[] = [];
  let newest: { lines: readonly StoreLine[]; sequence: number } = { lines: [], sequence: -1 };
  for (const name of COPIES) {
    const file = path.join(directory, name);
    const isPresent = await disk.exists(file);
    const bytes = isPresent ? await disk.readFile(file) : new Uint8Array(0);
    const { lines, end } = parseLines(bytes);
    const sequence = lines.at(-1)?.n ?? -1;
    const hasMore = bytes.subarray(end).some(byte => byte !== 0);
    copies.push({ file, isPresent, lines: lines.length, sequence, end, hasMore });
    if (sequence > newest.sequence) newest = { lines, sequence };
  }
  const values = new Map<string, StoreValue>();
  for (const { k, v } of newest.lines) {
    if (v === null) values.delete(k);
    else values.set(k, v);
  }
  return { copies, values, sequence: Math.max(0, newest.sequence) };
};

export interface NodeStoreOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly directory: string;
  readonly syncGate: SyncGate;
  readonly reserve: DiskReserve;
  /** Called once when the store cannot be written any more. */
  readonly failed: (fault: DiskFault) => void;
}

export class NodeStore {
  readonly #options: NodeStoreOptions;
  readonly #files: DiskFile[];
  readonly #values: Map<string, StoreValue>;
  #sequence: number;
  /** Where the next line goes, in both copies. Invariant: position <= allocated. */
  #position: number;
  #allocated: number;
  #liveBytes = 0;
  readonly #dirty = new Set<string>();
  #dirtyLogBytes = 0;
  #timer: Timer | null = null;
  #flushing: Promise<void> | null = null;
  #fault: DiskFault | null = null;

  private constructor(
    options: NodeStoreOptions,
    state: {
      files: DiskFile[];
      values: Map<string, StoreValue>;
      sequence: number;
      position: number;
      allocated: number;
    },
  ) {
    this.#options = options;
    this.#files = state.files;
    this.#values = state.values;
    this.#sequence = state.sequence;
    this.#position = state.position;
    this.#allocated = state.allocated;
  }

  static async open(options: NodeStoreOptions): Promise<NodeStore> {
    const { values, sequence } = await readStore(options.disk, options.directory);
    const store = new NodeStore(options, {
      files: [],
      values,
      sequence,
      position: 0,
      allocated: 0,
    });
    // Both copies are written anew at every start: whatever was torn or damaged is gone, and the handles are fresh.
    await options.reserve.withRoom(() => store.#rewrite());
    return store;
  }

  get(key: string): StoreValue | null {
    return this.#values.get(key) ?? null;
  }

  /** Keys with the prefix, in no particular order. */
  keys(prefix: string): readonly string[] {
    return [...this.#values.keys()].filter(key => key.startsWith(prefix));
  }

  /** Changes memory at once; durable after at most a second, 64 MiB of log, or the next flush. */
  set(key: string, value: StoreValue, logBytes = 0): void {
    this.#values.set(key, value);
    this.#changed(key, logBytes);
  }

  delete(key: string): void {
    if (this.#values.delete(key)) this.#changed(key, 0);
  }

  #changed(key: string, logBytes: number): void {
    this.#dirty.add(key);
    this.#dirtyLogBytes += logBytes;
    if (this.#dirtyLogBytes >= SYNC_POINT_BYTES_MAX) {
      this.#dirtyLogBytes = 0;
      this.#flushInBackground();
    } else {
      this.#timer ??= this.#options.clock.schedule(SYNC_POINT_MS_MAX, () => {
        this.#timer = null;
        this.#flushInBackground();
      });
    }
  }

  #flushInBackground(): void {
    this.flush().catch(() => {
      // Reported through `failed`; a background flush has nobody else to tell.
    });
  }

  /** Everything set before this call is durable in both copies when it returns. */
  async flush(): Promise<void> {
    while (this.#flushing !== null) await this.#flushing;
    if (this.#fault !== null) throw this.#fault;
    if (this.#dirty.size === 0) return;
    this.#flushing = this.#writeDirty();
    try {
      await this.#flushing;
    } catch (cause) {
      this.#fault = cause instanceof DiskFault ? cause : new DiskFault('failed', this.#options.directory, cause);
      this.#options.failed(this.#fault);
      throw this.#fault;
    } finally {
      this.#flushing = null;
    }
  }

  async #writeDirty(): Promise<void> {
    let text = '';
    for (const k of this.#dirty) text += formatLine({ n: ++this.#sequence, k, v: this.#values.get(k) ?? null });
    this.#dirty.clear();
    this.#dirtyLogBytes = 0;
    const bytes = Buffer.from(text);
    if (this.#position + bytes.length > this.#allocated) {
      await this.#options.reserve.withRoom(() => this.#rewrite());
      return;
    }
    const position = this.#position;
    this.#position += bytes.length;
    await Promise.all(this.#files.map(file => this.#writeAndSync(file, bytes, position)));
  }

  async #writeAndSync(file: DiskFile, bytes: Uint8Array, position: number): Promise<void> {
    const written = await file.write([bytes], position);
    if (written < bytes.length) throw new DiskFault('full', file.path);
    await this.#options.syncGate.run('store', () => file.sync());
  }

  /** Writes both copies anew with live values only, preallocated to at least twice their size. */
  async #rewrite(): Promise<void> {
    const { disk, directory, syncGate } = this.#options;
    let text = formatLine({ n: ++this.#sequence, k: 'format', v: { version: 1 } });
    for (const [k, v] of this.#values) if (k !== 'format') text += formatLine({ n: ++this.#sequence, k, v });
    const live = Buffer.from(text);
    const contents = Buffer.alloc(Math.max(PREALLOCATED_BYTES, live.length * 2 + PREALLOCATED_BYTES / 2));
    live.copy(contents);
    for (const [copy, name] of COPIES.entries()) {
      const target = path.join(directory, name);
      const temporary = `${target}.tmp`;
      if (await disk.exists(temporary)) await disk.removeFile(temporary);
      const file = await disk.open(temporary, 'create');
      const written = await file.write([contents], 0);
      if (written < contents.length) throw new DiskFault('full', temporary);
      await syncGate.run('store', () => file.sync());
      await disk.rename(temporary, target);
      await disk.syncDirectory(directory);
      await this.#files[copy]?.close();
      this.#files[copy] = file;
    }
    this.#liveBytes = live.length;
    this.#position = live.length;
    this.#allocated = contents.length;
    assert(this.#liveBytes <= this.#allocated, 'the live lines fit');
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    if (this.#fault === null) await this.flush();
    for (const file of this.#files) await file.close();
  }
}

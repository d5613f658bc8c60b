// The node's store: small facts about partitions that must outlive a crash on their own schedule (terms and votes, sync points,
// log starts, sealed segments).
//
//   data-dir/store-0, data-dir/store-1: the same lines twice, each `CRC-32C in 8 hex digits, space, JSON, LF`
//       {"n": sequence, "k": key, "v": value, "f": first, "s": 1}
//       value null: the key is gone. first: the sequence of the first line of the same flush, left out in files written anew,
//       which are whole before they get their name. s: the key is suspect.
//   The rest of the preallocated file is zeros, so that a full disk does not stop it.
//
// - `set` changes memory; a line is written with the next flush: at the latest after a second or 64 MiB of log, or when a
//   caller awaits `flush`. Both copies are written and synced in the same turn.
// - Sequence numbers go on without a gap in files of one writing, so that a line that neither copy has is missed. Missing
//   among the lines of the last flush it was torn by a crash and never reported: what stands behind it is cut. Missing before,
//   it is damage of both copies: every key whose newest line is older may have been in it and is *suspect*, until whoever owns
//   it says otherwise. What was written anew names each key once, so a line lost there is of none that still has one.
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
  readonly f?: number;
  readonly s?: 1;
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
  const { n, k, v, f, s } = line as Record<string, unknown>;
  if (!Number.isSafeInteger(n) || typeof k !== 'string' || typeof v !== 'object') return null;
  if ((f !== undefined && !Number.isSafeInteger(f)) || (s !== undefined && s !== 1)) return null;
  return line as StoreLine;
};

interface ParsedCopy {
  readonly lines: readonly StoreLine[];
  /** How many of them come before the first thing that is no line, and where that is. */
  readonly firstLines: number;
  readonly end: number;
  readonly hasMore: boolean;
}

const parseLine = (buffer: Buffer, from: number, to: number): StoreLine | null => {
  if (to - from < 10) return null;
  const json = buffer.subarray(from + 9, to);
  if (buffer.toString('latin1', from, from + 8) !== crc32c(json).toString(16).padStart(8, '0')) return null;
  return readLine(json.toString('utf8'));
};

/** Every good line, also behind what is none. */
const parseLines = (bytes: Uint8Array): ParsedCopy => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let used = buffer.length;
  while (used > 0 && buffer[used - 1] === 0) used--;
  const lines: StoreLine[] = [];
  let firstLines = 0;
  let end = 0;
  let isDamaged = false;
  for (let at = 0; at < used; ) {
    const to = buffer.indexOf(0x0a, at);
    if (to === -1) break;
    const line = parseLine(buffer, at, to);
    if (line === null) isDamaged = true;
    else lines.push(line);
    at = to + 1;
    if (isDamaged) continue;
    firstLines = lines.length;
    end = at;
  }
  return { lines, firstLines, end, hasMore: end < used };
};

interface Merged {
  readonly values: Map<string, StoreValue>;
  readonly suspects: Set<string>;
  readonly sequence: number;
  /** Lines that neither copy has. */
  readonly lost: number;
}

/** What both copies together tell; see the head of this file. */
const mergeLines = (copies: readonly ParsedCopy[]): Merged => {
  const byNumber = new Map<number, StoreLine>();
  for (const { lines } of copies) for (const line of lines) byNumber.set(line.n, line);
  const sorted = [...byNumber.values()].sort((left, right) => left.n - right.n);
  // Of two writings the newer has everything; the older one only helps where the newer is damaged.
  const first = Math.max(
    0,
    sorted.findLastIndex(line => line.k === 'format'),
  );
  const sequence = sorted.at(-1)?.n ?? -1;
  const lastFlush = sorted.at(-1)?.f ?? sequence;
  let kept = sorted.slice(first);
  const lastAnew = kept.findLast(line => line.f === undefined)?.n ?? -1;
  let lost = 0;
  /** The newest of those that were flushed one by one. */
  let lastLost = -1;
  for (let index = 1; index < kept.length; index++) {
    const before = kept[index - 1]!.n;
    const missing = kept[index]!.n - before - 1;
    if (missing === 0) continue;
    if (before + 1 >= lastFlush) {
      kept = kept.slice(0, index);
      break;
    }
    lost += missing;
    if (before >= lastAnew) lastLost = kept[index]!.n - 1;
  }
  // Its first line is gone, and who knows what with it.
  if (sorted.length > 0 && sorted[first]!.k !== 'format') lost++;
  const newest = new Map<string, StoreLine>();
  if (lost > 0) for (const line of sorted.slice(0, first)) newest.set(line.k, line);
  for (const line of kept) newest.set(line.k, line);
  const values = new Map<string, StoreValue>();
  const suspects = new Set<string>();
  for (const { n, k, v, s } of newest.values()) {
    if (v !== null) values.set(k, v);
    const isOlder = n <= lastLost || n < (kept[0]?.n ?? 0);
    if (v !== null && k !== 'format' && (s === 1 || isOlder)) suspects.add(k);
  }
  return { values, suspects, sequence: Math.max(0, sequence), lost };
};

/** One of the two copies as it lies on the disk. */
export interface StoreCopy {
  readonly file: string;
  readonly isPresent: boolean;
  /** Before the first thing that is no line. */
  readonly lines: number;
  /** Of the last of these; -1 where there is none. */
  readonly sequence: number;
  /** Behind the last of these. */
  readonly end: number;
  /** Whether something other than the zeros of the preallocation stands there. */
  readonly hasMore: boolean;
}

export interface StoreImage {
  readonly copies: readonly StoreCopy[];
  /** Of both copies together. */
  readonly values: Map<string, StoreValue>;
  /** Keys that may have had a newer line among those that neither copy has. */
  readonly suspects: Set<string>;
  readonly lost: number;
  readonly sequence: number;
}

/** Reads both copies and changes nothing. */
export const readStore = async (disk: Disk, directory: string): Promise<StoreImage> => {
  const copies: StoreCopy[] = [];
  const parsed: ParsedCopy[] = [];
  for (const name of COPIES) {
    const file = path.join(directory, name);
    const isPresent = await disk.exists(file);
    const copy = parseLines(isPresent ? await disk.readFile(file) : new Uint8Array(0));
    const { lines, firstLines, end, hasMore } = copy;
    parsed.push(copy);
    copies.push({ file, isPresent, lines: firstLines, sequence: lines[firstLines - 1]?.n ?? -1, end, hasMore });
  }
  return { copies, ...mergeLines(parsed) };
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
  readonly #suspects: Set<string>;
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
      suspects: Set<string>;
      sequence: number;
      position: number;
      allocated: number;
    },
  ) {
    this.#options = options;
    this.#files = state.files;
    this.#values = state.values;
    this.#suspects = state.suspects;
    this.#sequence = state.sequence;
    this.#position = state.position;
    this.#allocated = state.allocated;
  }

  static async open(options: NodeStoreOptions): Promise<NodeStore> {
    const { values, suspects, sequence } = await readStore(options.disk, options.directory);
    const store = new NodeStore(options, {
      files: [],
      values,
      suspects,
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

  /** Whether what the store says of the key may be older than what was flushed once. */
  isSuspect(key: string): boolean {
    return this.#suspects.has(key);
  }

  get suspects(): ReadonlySet<string> {
    return this.#suspects;
  }

  /** Its owner knows better by now. */
  clearSuspect(key: string): void {
    if (this.#suspects.delete(key)) this.#changed(key, 0);
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
    this.#suspects.delete(key);
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
    const f = this.#sequence + 1;
    for (const k of this.#dirty) text += formatLine({ ...this.#line(k), f });
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

  #line(k: string): StoreLine {
    const line = { n: ++this.#sequence, k, v: this.#values.get(k) ?? null };
    return this.#suspects.has(k) ? { ...line, s: 1 } : line;
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
    for (const k of this.#values.keys()) if (k !== 'format') text += formatLine(this.#line(k));
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

// A log and a store for the walks: as the process sees them, and as the disk has them. Everything goes to the disk in
// order, some time later; a crash keeps what had reached it, which may be more than was reported.

import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import {
  type DurableNotice,
  isBefore,
  isSame,
  ORIGIN,
  type Position,
  type StoredShape,
  textOf,
} from '../../server/base/position.ts';
import type { ConfigurationAt } from '../../server/raft/configuration-history.ts';
import type { Configuration } from '../../server/raft/configuration.ts';
import type { Batch } from '../../server/raft/message.ts';
import type { SavedState } from '../../server/raft/ready.ts';

/** One batch. Which one it is is told by `mark` alone: every batch that any leader ever made has its own. */
export interface Entry {
  readonly epoch: LeaderEpoch;
  readonly baseOffset: Offset;
  readonly endOffset: Offset;
  readonly kind: Batch['kind'];
  readonly configuration: Configuration | null;
  readonly mark: number;
}

export const endOf = (entry: Entry): Position => ({ epoch: entry.epoch, offset: entry.endOffset });

/** Entries above a base. */
export class Image {
  base: Position = ORIGIN;
  logStart: Offset = ORIGIN.offset;
  entries: Entry[] = [];

  get end(): Position {
    const last = this.entries.at(-1);
    return last === undefined ? this.base : endOf(last);
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.epoch < this.end.epoch || entry.baseOffset < this.end.offset) {
        throw new Error(`an entry at ${entry.epoch}/${entry.baseOffset} after ${textOf(this.end)}`);
      }
      this.entries.push(entry);
    }
  }

  cut(to: Position): void {
    const kept = this.entries.filter(entry => !isBefore(to, endOf(entry)));
    const end = kept.length === 0 ? this.base : endOf(kept.at(-1)!);
    // A cut falls between two batches, or into a gap; never into a batch.
    const next = this.entries[kept.length];
    if (next !== undefined && next.baseOffset < to.offset) throw new Error(`a cut to ${textOf(to)} inside a batch`);
    if (!isSame(end, to)) throw new Error(`a cut to ${textOf(to)} leaves a log that ends at ${textOf(end)}`);
    this.entries = kept;
  }

  install(base: Position): void {
    this.base = base;
    this.logStart = base.offset;
    this.entries = [];
  }

  moveLogStart(to: Offset): void {
    if (this.logStart < to) this.logStart = to;
  }

  dropTo(base: Position): void {
    if (!isBefore(this.base, base)) return;
    this.base = base;
    this.entries = this.entries.filter(entry => isBefore(base, endOf(entry)));
    if (this.logStart < base.offset) this.logStart = base.offset;
  }

  remove(marks: ReadonlySet<number>): void {
    this.entries = this.entries.filter(entry => !marks.has(entry.mark));
  }

  has(position: Position): boolean {
    return isSame(position, this.base) || this.entries.some(entry => isSame(endOf(entry), position));
  }

  copy(): Image {
    const copied = new Image();
    copied.base = this.base;
    copied.logStart = this.logStart;
    copied.entries = [...this.entries];
    return copied;
  }

  shape(generation: number): StoredShape {
    const starts = this.entries
      .filter(entry => entry.kind === 'epoch-start')
      .map(entry => ({ epoch: entry.epoch, startOffset: entry.baseOffset }));
    return { base: this.base, starts, endOffset: this.end.offset, logStart: this.logStart, generation };
  }

  configurations(): ConfigurationAt[] {
    return this.entries.flatMap(entry =>
      entry.configuration === null ? [] : [{ position: endOf(entry), configuration: entry.configuration }],
    );
  }
}

export const byteLengthOf = ({ baseOffset, endOffset }: Entry): number => 5 + (endOffset - baseOffset) * 3;

/** What a leader's driver reads for an order; nothing where the base passed it. */
export function batchesAfter(image: Image, { prev, bytesMax }: { prev: Position; bytesMax: number }): Batch[] {
  if (isBefore(prev, image.base)) return [];
  const found: Batch[] = [];
  let bytes = 0;
  for (const entry of image.entries) {
    if (!isBefore(prev, endOf(entry))) continue;
    const byteLength = byteLengthOf(entry);
    if (found.length > 0 && bytes + byteLength > bytesMax) break;
    bytes += byteLength;
    const { epoch, baseOffset, endOffset, kind, configuration } = entry;
    const place = { epoch, baseOffset, endOffset, byteLength, bytes: entry };
    if (kind !== 'configuration') found.push({ ...place, kind });
    else found.push({ ...place, kind, configuration: configuration! });
  }
  return found;
}

interface LogWrite {
  readonly generation: number;
  readonly change: (image: Image) => void;
}

export class ModelLog {
  readonly memory: Image;
  disk: Image;
  generation = 1;
  #queue: LogWrite[] = [];

  constructor(disk: Image) {
    this.disk = disk;
    this.memory = disk.copy();
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** Both images change, the disk later. */
  write(change: (image: Image) => void): void {
    change(this.memory);
    this.#queue.push({ generation: this.generation, change });
  }

  raise(change: (image: Image) => void): void {
    this.generation++;
    this.write(change);
  }

  /** The oldest writes reach the disk; what is reported says how far. */
  sync(count: number): DurableNotice | null {
    const written = this.#queue.splice(0, count);
    for (const { change } of written) change(this.disk);
    const last = written.at(-1);
    return last === undefined ? null : { generation: last.generation, position: this.disk.end };
  }

  /** Some of what waited may have reached the disk all the same. */
  crash(reached: number): Image {
    this.sync(reached);
    return this.disk;
  }
}

export class ModelStore {
  saved: SavedState;
  #queue: SavedState[] = [];

  constructor(saved: SavedState) {
    this.saved = saved;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  write(state: SavedState): void {
    this.#queue.push(state);
  }

  /** The version that is durable now; `check` sees each before it is. */
  sync(count: number, check: (before: SavedState, after: SavedState) => void): number | null {
    const written = this.#queue.splice(0, count);
    for (const state of written) {
      check(this.saved, state);
      this.saved = state;
    }
    return written.length === 0 ? null : this.saved.version;
  }

  crash(): void {
    this.#queue = [];
  }
}

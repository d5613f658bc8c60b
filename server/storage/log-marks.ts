// What a log keeps in the node's store: how far it was synced, where it starts, and what each sealed segment was when it was
// sealed. Recovery judges the files by these marks. Throws StartRefusal for a mark that no broker writes.

import { isOffset, type Offset, offset } from '@sluice/protocol/ids';
import { StartRefusal } from '../base/start-refusal.ts';
import type { NodeStore, StoreValue } from './node-store.ts';

/** Everything below `endOffset`, up to `position` in the segment, was synced. */
export interface SyncPoint {
  /** Raised by each cut; a durable notice of an older generation confirms nothing. */
  readonly generation: number;
  readonly leaderEpoch: number;
  readonly endOffset: Offset;
  /** Base offset of the segment that holds the end. */
  readonly segment: Offset;
  readonly position: number;
  /** CRC-32C of the segment's first `position` bytes. */
  readonly crc: number;
  /** -1 while the segment holds no record. */
  readonly latestTimestamp: number;
  readonly latestOffset: number;
  readonly firstTimestamp: number;
  /** CRC-32C of the epoch checkpoint; -1 where it is not known. */
  readonly epochsCrc: number;
}

export interface SealedMark {
  readonly baseOffset: Offset;
  readonly endOffset: Offset;
  readonly byteLength: number;
  readonly crc: number;
  readonly latestTimestamp: number;
  readonly latestOffset: number;
}

/** Lines of the store have a checksum: what is wrong in one was written so. */
const refuse = (field: string): StartRefusal =>
  new StartRefusal(
    'data-directory-damaged',
    `the store of the data directory (store-0, store-1) holds an entry with a wrong "${field}". Use the release of Sluice that wrote it, or restore both files from a backup.`,
  );

const numberAt = (value: StoreValue, field: string): number => {
  const found = value[field];
  if (!Number.isSafeInteger(found)) throw refuse(field);
  return found as number;
};

const offsetAt = (value: StoreValue, field: string): Offset => {
  const found = numberAt(value, field);
  if (!isOffset(found)) throw refuse(field);
  return found;
};

/** The marks as they stand in a store or in an image of one. */
export class MarksView {
  readonly #values: Pick<NodeStore, 'get'>;
  readonly #key: string;

  constructor(values: Pick<NodeStore, 'get'>, key: string) {
    this.#values = values;
    this.#key = key;
  }

  syncPoint(): SyncPoint | null {
    const value = this.#values.get(`sync/${this.#key}`);
    if (value === null) return null;
    return {
      generation: numberAt(value, 'generation'),
      leaderEpoch: numberAt(value, 'leaderEpoch'),
      endOffset: offsetAt(value, 'endOffset'),
      segment: offsetAt(value, 'segment'),
      // Both count bytes of a file.
      position: offsetAt(value, 'position'),
      crc: numberAt(value, 'crc'),
      latestTimestamp: numberAt(value, 'latestTimestamp'),
      latestOffset: numberAt(value, 'latestOffset'),
      firstTimestamp: numberAt(value, 'firstTimestamp'),
      // Points of earlier builds do not have it.
      epochsCrc: value['epochsCrc'] === undefined ? -1 : numberAt(value, 'epochsCrc'),
    };
  }

  logStart(): Offset {
    const value = this.#values.get(`start/${this.#key}`);
    return value === null ? offset(0) : offsetAt(value, 'offset');
  }

  sealed(baseOffset: Offset): SealedMark | null {
    const value = this.#values.get(`sealed/${this.#key}/${baseOffset}`);
    if (value === null) return null;
    return {
      baseOffset,
      endOffset: offsetAt(value, 'endOffset'),
      byteLength: offsetAt(value, 'byteLength'),
      crc: numberAt(value, 'crc'),
      latestTimestamp: numberAt(value, 'latestTimestamp'),
      latestOffset: numberAt(value, 'latestOffset'),
    };
  }
}

export class LogMarks extends MarksView {
  readonly #store: NodeStore;
  readonly #key: string;

  constructor(store: NodeStore, key: string) {
    super(store, key);
    this.#store = store;
    this.#key = key;
  }

  setSyncPoint(point: SyncPoint, logBytes: number): void {
    this.#store.set(`sync/${this.#key}`, { ...point }, logBytes);
  }

  setLogStart(start: Offset): void {
    this.#store.set(`start/${this.#key}`, { offset: start });
  }

  setSealed(mark: SealedMark): void {
    const { baseOffset, ...rest } = mark;
    this.#store.set(`sealed/${this.#key}/${baseOffset}`, rest);
  }

  removeSealed(baseOffset: Offset): void {
    this.#store.delete(`sealed/${this.#key}/${baseOffset}`);
  }

  /** Everything set so far is durable when this returns. */
  flush(): Promise<void> {
    return this.#store.flush();
  }

  /** For a partition that is gone. */
  removeAll(): void {
    this.#store.delete(`sync/${this.#key}`);
    this.#store.delete(`start/${this.#key}`);
    for (const key of this.#store.keys(`sealed/${this.#key}/`)) this.#store.delete(key);
  }
}

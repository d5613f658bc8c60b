// What a log keeps in the node's store. Recovery judges the files by these marks. Throws StartRefusal for a mark that no broker
// writes.
//
//   sync/KEY          how far it was synced
//   start/KEY         where it starts, and the position of the entry before the first batch that is left
//   sealed/KEY/BASE   what each sealed segment was when it was sealed
//   install/KEY       a snapshot's base: the empty log beside the old one takes its place (log-install.ts)
//   born/KEY          its folder is being made for the first time
//   clean/KEY         it was closed with everything synced; gone before the first write that may not be
//   replace/KEY       what takes the place of some of its sealed segments (segment-replacement.ts)
//   cleaned/KEY       how far it was cleaned, and when (compaction/cleanings.ts)
//   fault/KEY         it lost something that the files cannot tell any more, and what it had acknowledged

import { isOffset, type LeaderEpoch, leaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import { type EpochStart, ORIGIN, type Position } from '../base/position.ts';
import { StartRefusal } from '../base/start-refusal.ts';
import type { Cleaning } from './compaction/cleanings.ts';
import type { NodeStore, StoreValue } from './node-store.ts';
import type { Segment } from './segment.ts';

/** Everything below `endOffset`, up to `position` in the segment, was synced. */
export interface SyncPoint {
  /** Raised by each cut; a durable notice of an older generation confirms nothing. */
  readonly generation: number;
  /** Of the last entry below it. */
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
  /** CRC-32C of the epoch checkpoint as it would be up to here; -1 where it is not known. */
  readonly epochsCrc: number;
  /** The last of these epochs, which the checkpoint on disk may lack. */
  readonly epochsBehind: readonly EpochStart[];
  /** No batch below, down to the last snapshot of producers, is signed by one that is remembered. */
  readonly producersFrom: Offset;
}

export interface LogStartMark {
  readonly offset: Offset;
  /** Null in marks of earlier builds, which knew one epoch. */
  readonly base: Position | null;
}

export interface InstallMark {
  readonly base: Position;
  /** Of the log from then on. */
  readonly generation: number;
  /** The new log has its name; the old one is still to be removed. */
  readonly isSwapped: boolean;
}

export type FaultReason = 'directory-missing' | 'record-missing';

export interface FaultMark {
  readonly reason: FaultReason;
  /** The least that was acknowledged. */
  readonly claims: Position;
}

export interface SealedMark {
  readonly baseOffset: Offset;
  readonly endOffset: Offset;
  /** Of the last batch. */
  readonly lastEpoch: number;
  readonly byteLength: number;
  readonly crc: number;
  readonly latestTimestamp: number;
  readonly latestOffset: number;
}

/** Of a segment that takes nothing more. */
export const sealedMarkOf = (segment: Segment): SealedMark => ({
  baseOffset: segment.baseOffset,
  endOffset: segment.endOffset,
  lastEpoch: segment.lastEpoch,
  byteLength: segment.byteLength,
  crc: segment.crc,
  latestTimestamp: Number.isFinite(segment.latest.timestamp) ? segment.latest.timestamp : -1,
  latestOffset: segment.latest.lastOffset,
});

/** Lines of the store have a checksum: what is wrong in one was written so. */
export const refuseMark = (field: string): StartRefusal =>
  new StartRefusal(
    'data-directory-damaged',
    `the store of the data directory (store-0, store-1) holds an entry with a wrong "${field}". Use the release of Sluice that wrote it, or restore both files from a backup.`,
  );

const KINDS = ['sync', 'start', 'install', 'born', 'clean', 'replace', 'cleaned', 'fault'] as const;

const numberAt = (value: StoreValue, field: string): number => {
  const found = value[field];
  if (!Number.isSafeInteger(found)) throw refuseMark(field);
  return found as number;
};

const offsetAt = (value: StoreValue, field: string): Offset => {
  const found = numberAt(value, field);
  if (!isOffset(found)) throw refuseMark(field);
  return found;
};

const epochAt = (value: StoreValue, field: string): LeaderEpoch => {
  const found = offsetAt(value, field);
  if (found > 0x7fff_ffff) throw refuseMark(field);
  return leaderEpoch(found);
};

const positionIn = (value: StoreValue): Position => ({
  epoch: epochAt(value, 'epoch'),
  offset: offsetAt(value, 'offset'),
});

const startsIn = (value: unknown): readonly EpochStart[] => {
  if (!Array.isArray(value)) throw refuseMark('epochsBehind');
  return value.map((each: unknown) => {
    if (typeof each !== 'object' || each === null) throw refuseMark('epochsBehind');
    const start = each as StoreValue;
    return { epoch: epochAt(start, 'epoch'), startOffset: offsetAt(start, 'startOffset') };
  });
};

const sealedIn = (value: StoreValue, baseOffset: Offset): SealedMark => ({
  baseOffset,
  endOffset: offsetAt(value, 'endOffset'),
  // Earlier builds knew one epoch.
  lastEpoch: value['lastEpoch'] === undefined ? 0 : epochAt(value, 'lastEpoch'),
  byteLength: offsetAt(value, 'byteLength'),
  crc: numberAt(value, 'crc'),
  latestTimestamp: numberAt(value, 'latestTimestamp'),
  latestOffset: numberAt(value, 'latestOffset'),
});

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
      leaderEpoch: epochAt(value, 'leaderEpoch'),
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
      epochsBehind: startsIn(value['epochsBehind'] ?? []),
      // Earlier builds took no batch that a producer had signed.
      producersFrom: offsetAt(value, value['producersFrom'] === undefined ? 'endOffset' : 'producersFrom'),
    };
  }

  logStart(): LogStartMark {
    const value = this.#values.get(`start/${this.#key}`);
    if (value === null) return { offset: offset(0), base: ORIGIN };
    const base = value['base'];
    return {
      offset: offsetAt(value, 'offset'),
      base: typeof base === 'object' && base !== null ? positionIn(base as StoreValue) : null,
    };
  }

  /** A snapshot that is being installed. */
  install(): InstallMark | null {
    const value = this.#values.get(`install/${this.#key}`);
    if (value === null) return null;
    const generation = numberAt(value, 'generation');
    return { base: positionIn(value), generation, isSwapped: value['isSwapped'] === true };
  }

  isBorn(): boolean {
    return this.#values.get(`born/${this.#key}`) !== null;
  }

  isClean(): boolean {
    return this.#values.get(`clean/${this.#key}`) !== null;
  }

  fault(): FaultMark | null {
    const value = this.#values.get(`fault/${this.#key}`);
    if (value === null) return null;
    const { reason } = value;
    if (reason !== 'directory-missing' && reason !== 'record-missing') throw refuseMark('reason');
    return { reason, claims: positionIn(value) };
  }

  sealed(baseOffset: Offset): SealedMark | null {
    const value = this.#values.get(`sealed/${this.#key}/${baseOffset}`);
    return value === null ? null : sealedIn(value, baseOffset);
  }

  /** Decided, and perhaps not carried out. */
  replacement(): SealedMark | null {
    const value = this.#values.get(`replace/${this.#key}`);
    return value === null ? null : sealedIn(value, offsetAt(value, 'baseOffset'));
  }

  cleanings(): readonly Cleaning[] {
    const listed = this.#values.get(`cleaned/${this.#key}`)?.['cleanings'] ?? [];
    if (!Array.isArray(listed)) throw refuseMark('cleanings');
    return listed.map((each: unknown) => {
      if (typeof each !== 'object' || each === null) throw refuseMark('cleanings');
      const cleaning = each as StoreValue;
      return { to: offsetAt(cleaning, 'to'), atMs: numberAt(cleaning, 'atMs') };
    });
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

  /** Whether the store may have lost something of this log. */
  isSuspect(): boolean {
    return ['raft', 'sync', 'start'].some(kind => this.#store.isSuspect(`${kind}/${this.#key}`));
  }

  setSyncPoint(point: SyncPoint, logBytes: number): void {
    this.#store.set(`sync/${this.#key}`, { ...point }, logBytes);
  }

  setLogStart(start: Offset, base: Position): void {
    this.#store.set(`start/${this.#key}`, { offset: start, base });
  }

  setInstall(install: InstallMark | null): void {
    if (install === null) this.#store.delete(`install/${this.#key}`);
    else {
      const { base, generation, isSwapped } = install;
      this.#store.set(`install/${this.#key}`, { ...base, generation, isSwapped });
    }
  }

  setBorn(isBorn: boolean): void {
    if (isBorn) this.#store.set(`born/${this.#key}`, {});
    else this.#store.delete(`born/${this.#key}`);
  }

  setClean(isClean: boolean): void {
    if (isClean) this.#store.set(`clean/${this.#key}`, {});
    else this.#store.delete(`clean/${this.#key}`);
  }

  setFault(fault: FaultMark | null): void {
    if (fault === null) this.#store.delete(`fault/${this.#key}`);
    else this.#store.set(`fault/${this.#key}`, { reason: fault.reason, ...fault.claims });
  }

  setSealed(mark: SealedMark): void {
    const { baseOffset, ...rest } = mark;
    this.#store.set(`sealed/${this.#key}/${baseOffset}`, rest);
  }

  setReplacement(replacement: SealedMark | null): void {
    if (replacement === null) this.#store.delete(`replace/${this.#key}`);
    else this.#store.set(`replace/${this.#key}`, { ...replacement });
  }

  setCleanings(cleanings: readonly Cleaning[]): void {
    if (cleanings.length === 0) this.#store.delete(`cleaned/${this.#key}`);
    else this.#store.set(`cleaned/${this.#key}`, { cleanings });
  }

  /** Bases of the segments that have a mark, rising. */
  sealedBases(): readonly Offset[] {
    const prefix = `sealed/${this.#key}/`;
    const bases = this.#store.keys(prefix).map(key => offset(Number(key.slice(prefix.length))));
    return bases.sort((left, right) => left - right);
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
    for (const kind of KINDS) this.#store.delete(`${kind}/${this.#key}`);
    this.removeAllSealed();
  }

  removeAllSealed(): void {
    for (const key of this.#store.keys(`sealed/${this.#key}/`)) this.#store.delete(key);
  }
}

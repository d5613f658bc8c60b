// One segment read from its first byte to its last: every batch, whether its records can be decoded, and each index entry
// against the batch that it names. Nothing is changed.
//
// The walk is recovery's (log-scan.ts). Index entries and batches both rise, so the indexes are followed in step with the
// walk and nothing is collected.

import { offset } from '@sluice/protocol/ids';
import {
  crc32cContinue,
  isEpochStart,
  readBaseOffset,
  readLastOffset,
  readMaxTimestamp,
  readRecordCount,
  RecordCursor,
} from '@sluice/protocol/record';
import type { DiskFile } from '../io/disk.ts';
import type { EpochMap } from './epoch-map.ts';
import type { Finding } from './finding.ts';
import { type FoundDamage, type Scan, type ScanEnd, scanBatches, scanOverDamage } from './log-scan.ts';
import { OffsetIndex } from './offset-index.ts';
import type { Segment } from './segment.ts';
import { TimeIndex } from './time-index.ts';

export interface CheckedCounts {
  segments: number;
  batches: number;
  records: number;
  bytes: number;
}

export interface SegmentBytes {
  /** Null where the file is missing or empty. */
  readonly offsets: Uint8Array | null;
  readonly times: Uint8Array | null;
}

export interface SegmentCheckRequest {
  readonly segment: Segment;
  readonly file: DiskFile;
  readonly indexes: SegmentBytes;
  readonly epochs: EpochMap;
  /** What should be whole: up to here in the file and in the offsets. */
  readonly endPosition: number;
  readonly endOffset: number;
  readonly counts: CheckedCounts;
  readonly found: (finding: Finding) => void;
}

const REBUILD = 'remove this file: it is built again from the log';

export class SegmentCheck {
  readonly #request: SegmentCheckRequest;
  readonly #followers: readonly (IndexFollower | null)[];
  #latest = Number.NEGATIVE_INFINITY;
  #position = 0;
  #endOffset: number;
  /** CRC-32C of the good batches, which is the file's where nothing is damaged. */
  crc = 0;
  readonly damage: FoundDamage[] = [];

  constructor(request: SegmentCheckRequest) {
    this.#request = request;
    this.#endOffset = request.segment.baseOffset;
    this.#followers = [followOffsets(request, this.damage), followTimes(request, this.damage, () => this.#latest)];
  }

  /** The part that was synced. */
  async whole(): Promise<void> {
    const { file, segment, endPosition, endOffset, epochs } = this.#request;
    const from = { position: 0, baseOffset: segment.baseOffset, endPosition, endOffset, epochs };
    this.#endOffset = await scanOverDamage(file, from, {
      ...this.#scan(),
      onDamage: found => {
        this.damage.push(found);
        if (found.toPosition !== null) this.#position = found.toPosition;
      },
    });
  }

  /** What lies behind it, up to the first thing that is no batch. */
  tail(from: {
    readonly position: number;
    readonly baseOffset: number;
    readonly endPosition: number;
  }): Promise<ScanEnd> {
    this.#position = from.position;
    return scanBatches(this.#request.file, { ...from, epochs: this.#request.epochs, grows: true }, this.#scan());
  }

  /** Entries that no batch was found for. */
  finish(): void {
    for (const follower of this.#followers) follower?.finish();
  }

  /** Behind the last good batch. */
  get endOffset(): number {
    return this.#endOffset;
  }

  /** Of the newest record. */
  get latest(): number {
    return this.#latest;
  }

  #scan(): Scan {
    return {
      onBatch: (buffer, at, batchBytes) => {
        this.#batch(buffer, at, batchBytes);
        this.#position += batchBytes;
      },
      onChunk: bytes => {
        this.crc = crc32cContinue(this.crc, bytes);
        return Promise.resolve();
      },
    };
  }

  #batch(buffer: Uint8Array, at: number, batchBytes: number): void {
    const { counts, segment, found } = this.#request;
    // What begins an epoch is Raft's own.
    if (!isEpochStart(buffer, at)) counts.batches++;
    counts.records += readRecordCount(buffer, at);
    if (readRecordCount(buffer, at) > 0) this.#latest = Math.max(this.#latest, readMaxTimestamp(buffer, at));
    const named = { buffer, at, position: this.#position };
    if (readLastOffset(buffer, at) >= readBaseOffset(buffer, at)) {
      for (const follower of this.#followers) follower?.batch(named);
    }
    const fault = recordsFault(buffer.subarray(at, at + batchBytes));
    if (fault === null) return;
    found({
      grade: 'damage',
      file: segment.logPath,
      position: this.#position,
      offsets: { from: offset(readBaseOffset(buffer, at)), to: offset(readLastOffset(buffer, at) + 1) },
      meaning: `the batch is as it was sent, and its records cannot be read: ${fault}`,
      advice: 'readers skip it with CORRUPT_BATCH; delete-records passes it',
    });
  }
}

/** Null where every record can be read. */
const recordsFault = (batch: Uint8Array): string | null => {
  if (readRecordCount(batch, 0) === 0) return null;
  const opened = RecordCursor.open(batch);
  if (!opened.ok) return 'detail' in opened.fault ? opened.fault.detail : 'they are cut off';
  const { cursor } = opened;
  while (cursor.next());
  if (cursor.fault === null) return null;
  return 'detail' in cursor.fault ? cursor.fault.detail : 'they are cut off';
};

interface NamedBatch {
  readonly buffer: Uint8Array;
  readonly at: number;
  readonly position: number;
}

interface FollowedIndex {
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly index: OffsetIndex | TimeIndex;
  /** Whether all entries rise and lie within the segment. */
  readonly isGood: boolean;
  /** Entries and batches are matched by this: the position, or the last offset. */
  readonly entryKey: (entry: number) => number;
  readonly batchKey: (named: NamedBatch) => number;
  /** What is wrong with an entry whose batch this is. */
  readonly mismatch: (entry: number, named: NamedBatch) => string | null;
  readonly isDamaged: (key: number) => boolean;
  /** From here on entries are of batches that were not synced. */
  readonly syncedKey: number;
}

/** Follows the entries while the batches go by. One complaint a file: behind it nothing is to be relied on. */
class IndexFollower {
  readonly #request: SegmentCheckRequest;
  readonly #followed: FollowedIndex;
  #entry = 0;
  #isOver = false;

  constructor(request: SegmentCheckRequest, followed: FollowedIndex) {
    this.#request = request;
    this.#followed = followed;
  }

  batch(named: NamedBatch): void {
    const { index, entryKey, batchKey, mismatch, isDamaged } = this.#followed;
    const key = batchKey(named);
    while (!this.#isOver && this.#entry < index.count && entryKey(this.#entry) <= key) {
      const entry = this.#entry;
      const isNamed = entryKey(entry) === key;
      const fault = isNamed ? mismatch(entry, named) : 'an entry names no batch';
      if (fault !== null && (isNamed || !isDamaged(entryKey(entry)))) this.#wrong(fault);
      this.#entry++;
    }
  }

  finish(): void {
    if (this.#isOver) return;
    const { index, entryKey, isDamaged, syncedKey, isGood } = this.#followed;
    while (this.#entry < index.count) {
      const key = entryKey(this.#entry);
      if (key < syncedKey && !isDamaged(key)) {
        this.#wrong('an entry names no batch');
        return;
      }
      this.#entry++;
    }
    if (!isGood && !this.#isTorn())
      this.#wrong('an entry does not rise above the one before, or lies outside its segment');
  }

  /** Entries of the active segment are not synced one by one: a crash leaves zeros, or half an entry. */
  #isTorn(): boolean {
    const { bytes, index } = this.#followed;
    if (this.#request.segment.indexes === null) return false;
    const next = bytes.subarray(index.byteLength, index.byteLength + index.entryBytes);
    return next.length < index.entryBytes || next.every(byte => byte === 0);
  }

  #wrong(meaning: string): void {
    this.#isOver = true;
    const { file, index } = this.#followed;
    this.#request.found({
      grade: 'derived',
      file,
      position: this.#entry * index.entryBytes,
      offsets: null,
      meaning,
      advice: REBUILD,
    });
  }
}

const followOffsets = (request: SegmentCheckRequest, damage: readonly FoundDamage[]): IndexFollower | null => {
  const { segment, indexes, endPosition } = request;
  if (indexes.offsets === null) return null;
  const index = new OffsetIndex();
  const relative = ({ buffer, at }: NamedBatch): number => readLastOffset(buffer, at) - segment.baseOffset;
  return new IndexFollower(request, {
    file: segment.offsetIndexPath,
    bytes: indexes.offsets,
    index,
    isGood: index.loadTrusted(indexes.offsets, segment.byteLength),
    entryKey: entry => index.position(entry),
    batchKey: named => named.position,
    mismatch: (entry, named) =>
      index.relativeOffset(entry) === relative(named)
        ? null
        : `an entry names offset ${segment.baseOffset + index.relativeOffset(entry)} where ${segment.baseOffset + relative(named)} stands`,
    isDamaged: key =>
      damage.some(range => range.position <= key && key < (range.toPosition ?? Number.POSITIVE_INFINITY)),
    syncedKey: endPosition,
  });
};

const followTimes = (
  request: SegmentCheckRequest,
  damage: readonly FoundDamage[],
  latest: () => number,
): IndexFollower | null => {
  const { segment, indexes, endOffset } = request;
  if (indexes.times === null) return null;
  const index = new TimeIndex();
  const base = segment.baseOffset;
  return new IndexFollower(request, {
    file: segment.timeIndexPath,
    bytes: indexes.times,
    index,
    isGood: index.loadTrusted(indexes.times, segment.indexes === null ? endOffset - base : Number.POSITIVE_INFINITY),
    entryKey: entry => index.relativeOffset(entry),
    batchKey: ({ buffer, at }) => readLastOffset(buffer, at) - base,
    mismatch: (entry, { buffer, at }) =>
      index.timestamp(entry) === readMaxTimestamp(buffer, at) && index.timestamp(entry) >= latest()
        ? null
        : `an entry dates offset ${base + index.relativeOffset(entry)} to ${index.timestamp(entry)}; the newest record up to there says ${latest()}`,
    isDamaged: key => damage.some(range => range.from <= base + key && base + key < range.to),
    syncedKey: endOffset - base,
  });
};

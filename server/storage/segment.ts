// One segment: a run of batches in one file, with its two indexes.
//
// The last segment of a log is active: its indexes are in memory and grow with every append, before the bytes are on disk
// (reads never go beyond what is durable). The others are sealed: their indexes are loaded when a read needs them.
//
// Invariants: baseOffset <= endOffset; writtenBytes <= byteLength; entries of both indexes name batches below byteLength.

import path from 'node:path';
import { offset, type Offset } from '@sluice/protocol/ids';
import {
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
  readMaxTimestamp,
  readRecordCount,
} from '@sluice/protocol/record';
import { type Position, positionAt } from '../base/position.ts';
import { OffsetIndex } from './offset-index.ts';
import { segmentFileName } from './segment-name.ts';
import { TimeIndex } from './time-index.ts';

/** The largest timestamp of a segment and the last offset of the batch that holds it. */
export interface LatestTime {
  readonly timestamp: number;
  readonly lastOffset: number;
}

export const NO_TIME: LatestTime = { timestamp: Number.NEGATIVE_INFINITY, lastOffset: -1 };

export interface SegmentIndexes {
  readonly offsets: OffsetIndex;
  readonly times: TimeIndex;
}

export class Segment {
  readonly directory: string;
  readonly baseOffset: Offset;
  logPath: string;
  offsetIndexPath: string;
  timeIndexPath: string;
  /** Appended, the queue included. */
  byteLength = 0;
  /** On disk. */
  writtenBytes = 0;
  endOffset: Offset;
  /** Of the last batch; 0 while there is none. */
  lastEpoch = 0;
  /** Of the first batch with records; null while there is none. */
  firstTimestamp: number | null = null;
  latest: LatestTime = NO_TIME;
  /** The same among the first `writtenBytes` bytes. */
  writtenLatest: LatestTime = NO_TIME;
  bytesSinceIndexEntry = 0;
  /** CRC-32C of the first `writtenBytes` bytes. */
  crc = 0;
  /** False until the file was created and its name is durable. */
  exists = false;
  /** Another one took its place: its names may be those of other files by now. */
  isReplaced = false;
  /** Null for a sealed segment whose indexes are not loaded (index-cache.ts holds those that are). */
  indexes: SegmentIndexes | null = { offsets: new OffsetIndex(), times: new TimeIndex() };

  /** `suffix`: behind the names of files that are to take the place of others (segment-replacement.ts). */
  constructor(directory: string, baseOffset: Offset, suffix = '') {
    this.directory = directory;
    this.baseOffset = baseOffset;
    this.endOffset = baseOffset;
    this.logPath = path.join(directory, segmentFileName(baseOffset, 'log')) + suffix;
    this.offsetIndexPath = path.join(directory, segmentFileName(baseOffset, 'index')) + suffix;
    this.timeIndexPath = path.join(directory, segmentFileName(baseOffset, 'timeindex')) + suffix;
  }

  /** Its files have the names of this one's from here on. */
  takeNamesOf(other: Pick<Segment, 'logPath' | 'offsetIndexPath' | 'timeIndexPath'>): void {
    this.logPath = other.logPath;
    this.offsetIndexPath = other.offsetIndexPath;
    this.timeIndexPath = other.timeIndexPath;
  }

  /** Without an offset. Epoch starts may stand in it all the same. */
  get isEmpty(): boolean {
    return this.endOffset === this.baseOffset;
  }

  /** The position behind its last batch. */
  get end(): Position {
    return positionAt(this.lastEpoch, this.endOffset);
  }

  /** Takes note of a stamped batch at the end; `indexes` are the active segment's, or those being rebuilt. */
  noteBatch(
    batch: Uint8Array,
    at: number,
    sizes: { readonly batchBytes: number; readonly indexInterval: number },
  ): void {
    const lastOffset = readLastOffset(batch, at);
    // A batch without records dates nothing; an epoch start, which spans no offset either, is in no index at all.
    if (readRecordCount(batch, at) > 0) {
      const timestamp = readMaxTimestamp(batch, at);
      this.firstTimestamp ??= timestamp;
      if (timestamp > this.latest.timestamp) this.latest = { timestamp, lastOffset };
    }
    if (
      lastOffset >= readBaseOffset(batch, at) &&
      this.bytesSinceIndexEntry > sizes.indexInterval &&
      this.indexes !== null
    ) {
      this.indexes.offsets.append(lastOffset - this.baseOffset, this.byteLength);
      this.noteTime();
      this.bytesSinceIndexEntry = 0;
    }
    this.bytesSinceIndexEntry += sizes.batchBytes;
    this.byteLength += sizes.batchBytes;
    this.endOffset = offset(lastOffset + 1);
    this.lastEpoch = readLeaderEpoch(batch, at);
  }

  /** The last entry of the time index names the newest record, so that a lookup by time need not read the segment's end. */
  noteSealed(): void {
    this.noteTime();
  }

  private noteTime(): void {
    if (this.latest.lastOffset >= 0) {
      this.indexes?.times.maybeAppend(this.latest.timestamp, this.latest.lastOffset - this.baseOffset);
    }
  }
}

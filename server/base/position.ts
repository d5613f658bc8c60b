// Where a replica stands in a log, and which entry that is: what Raft decides by and storage is told to keep.
//
// An entry is a batch. Its identity is (epoch, end offset after it): within an epoch ends never fall, and the epoch start,
// which spans no offset, comes first, so no two entries of a log share one. Order is by epoch, then by offset; in one log
// that is also the order in which entries stand. A position inside a gap that compaction left is one too: it names the
// point, not a batch that lives there.

import { type LeaderEpoch, type Offset, leaderEpoch, offset } from '@sluice/protocol/ids';

export interface Position {
  readonly epoch: LeaderEpoch;
  readonly offset: Offset;
}

/** Where an epoch begins in a log. Several may begin at one offset: elections without data. */
export interface EpochStart {
  readonly epoch: LeaderEpoch;
  readonly startOffset: Offset;
}

/** What a log holds, without a batch: who wrote which offsets. */
export interface StoredShape {
  /** Of the last entry before the first batch that is left. */
  readonly base: Position;
  /** All behind `base`, epochs rising. */
  readonly starts: readonly EpochStart[];
  readonly endOffset: Offset;
  /** The first offset that may be read: at or above `base`, which is the beginning of a segment. */
  readonly logStart: Offset;
  readonly generation: number;
}

/** The log is durable as far as this. Every cut and every install raises the generation, and an older notice says nothing. */
export interface DurableNotice {
  readonly generation: number;
  readonly position: Position;
}

/** Before everything: the position of a log in which nothing was ever written. */
export const ORIGIN: Position = Object.freeze({ epoch: leaderEpoch(0), offset: offset(0) });

/** Of numbers that are checked on the way. */
export const positionAt = (epoch: number, at: number): Position => ({ epoch: leaderEpoch(epoch), offset: offset(at) });

export const comparePositions = (a: Position, b: Position): number => a.epoch - b.epoch || a.offset - b.offset;

export const isBefore = (a: Position, b: Position): boolean => comparePositions(a, b) < 0;
export const isSame = (a: Position, b: Position): boolean => a.epoch === b.epoch && a.offset === b.offset;
export const earlier = (a: Position, b: Position): Position => (isBefore(b, a) ? b : a);
export const later = (a: Position, b: Position): Position => (isBefore(a, b) ? b : a);

export const positionOfStart = (start: EpochStart): Position => ({ epoch: start.epoch, offset: start.startOffset });

export const textOf = (position: Position): string => `${position.epoch}/${position.offset}`;

// Where an entry of a log ends, and which entry that is: (leader epoch, end offset after it). An epoch start spans no offset
// and comes first in its epoch, so no two entries of a log share one. In one log the order by epoch, then offset, is also the
// order in which entries stand.

import { type LeaderEpoch, leaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import { readLastOffset, readLeaderEpoch } from '@sluice/protocol/record';

export interface Position {
  readonly epoch: LeaderEpoch;
  readonly offset: Offset;
}

/** Of a log in which nothing was ever written. */
export const ORIGIN: Position = Object.freeze({ epoch: leaderEpoch(0), offset: offset(0) });

export const positionAt = (epoch: number, at: number): Position => ({ epoch: leaderEpoch(epoch), offset: offset(at) });

export const comparePositions = (left: Position, right: Position): number =>
  left.epoch - right.epoch || left.offset - right.offset;

export const earlier = (left: Position, right: Position): Position =>
  comparePositions(left, right) <= 0 ? left : right;

export const later = (left: Position, right: Position): Position => (comparePositions(left, right) >= 0 ? left : right);

/** Whether the batch, which lies in one log with the position, ends at or before it. */
export const endsWithin = (batch: Uint8Array, at: number, position: Position): boolean =>
  readLeaderEpoch(batch, at) <= position.epoch && readLastOffset(batch, at) < position.offset;

export const textOf = ({ epoch, offset: at }: Position): string => `${epoch}/${at}`;

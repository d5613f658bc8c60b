// Control batches: what the log says about itself, never given to a reader of records.
//
// The one kind needed to walk a log is the epoch start: the first batch of a leader's term. It has the control bit, no
// records and last offset delta -1, so that it stands in the log without spanning an offset.

import { CONTROL_BIT, readAttributes, readLastOffsetDelta, readRecordCount } from './layout.ts';

/** The last offset delta of a batch that spans no offset. */
export const SPANS_NO_OFFSET = -1;

/** Relies on a whole header at `at`. */
export function isEpochStart(batch: Uint8Array, at: number): boolean {
  return (
    readLastOffsetDelta(batch, at) === SPANS_NO_OFFSET &&
    readRecordCount(batch, at) === 0 &&
    (readAttributes(batch, at) & CONTROL_BIT) !== 0
  );
}

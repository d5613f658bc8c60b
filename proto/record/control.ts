// Control batches: what the log says about itself, never given to a reader of records.
//
//   epoch start      the first batch of a leader's term. No records and last offset delta -1, so that it stands in the log
//                    without spanning an offset. Its epoch stands a second time in the base sequence, where the CRC covers
//                    it: an epoch that rots there would otherwise pass for a later election.
//   configuration    who belongs to the group from here on; one record, one offset (configuration.ts)
//
// The key of a control record is Kafka's: version int16 = 0 | type int16.

import {
  BATCH_HEADER_BYTES,
  CODEC_MASK,
  CONTROL_BIT,
  readAttributes,
  readBaseSequence,
  readInt16,
  readLastOffsetDelta,
  readLeaderEpoch,
  readRecordCount,
} from './layout.ts';
import { readVarint, readVarlong } from './varint.ts';

/** The last offset delta of a batch that spans no offset. */
export const SPANS_NO_OFFSET = -1;

export const CONTROL_KEY_BYTES = 4;
export const CONTROL_KEY_VERSION = 0;

/** Relies on a whole header at `at`. */
export function isEpochStart(batch: Uint8Array, at: number): boolean {
  return (
    readLastOffsetDelta(batch, at) === SPANS_NO_OFFSET &&
    readRecordCount(batch, at) === 0 &&
    (readAttributes(batch, at) & CONTROL_BIT) !== 0
  );
}

/** Whether the epoch of an epoch start is the one that was written. */
export function isEpochSealed(batch: Uint8Array, at: number): boolean {
  return readBaseSequence(batch, at) === readLeaderEpoch(batch, at);
}

/** The type in the key of a control batch's first record; null for every other batch. Relies on inspectBatch. */
export function controlType(batch: Uint8Array): number | null {
  // Nobody compresses a control batch.
  if ((readAttributes(batch, 0) & (CONTROL_BIT | CODEC_MASK)) !== CONTROL_BIT) return null;
  if (readRecordCount(batch, 0) === 0) return null;
  const span = { bytes: batch, position: BATCH_HEADER_BYTES, limit: batch.length };
  readVarint(span);
  span.position++;
  readVarlong(span);
  readVarint(span);
  const keyBytes = readVarint(span);
  // Whatever was malformed left the position beyond the limit.
  if (keyBytes < CONTROL_KEY_BYTES || span.position + keyBytes > batch.length) return null;
  return readInt16(batch, span.position) < CONTROL_KEY_VERSION ? null : readInt16(batch, span.position + 2);
}

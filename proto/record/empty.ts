// A batch without records: it keeps its offsets and tells nothing. It stands where records are gone for good, and each part of it stands for
// itself.

import {
  BASE_OFFSET_AT,
  BASE_SEQUENCE_AT,
  BASE_TIMESTAMP_AT,
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_PREFIX,
  BATCH_MAGIC,
  CONTROL_BIT,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LENGTH_AT,
  MAGIC_AT,
  MAX_TIMESTAMP_AT,
  NONE,
  PRODUCER_EPOCH_AT,
  PRODUCER_ID_AT,
  readAttributes,
  readBaseOffset,
  readLastOffset,
  readLastOffsetDelta,
  readLeaderEpoch,
  readProducerId,
  readRecordCount,
  writeInt16,
  writeInt32,
  writeInt64,
} from './layout.ts';
import { sealBatch } from './stamp.ts';

/** Whether a batch does nothing but keep its offsets. */
export function isGap(batch: Uint8Array, at: number): boolean {
  return (
    readRecordCount(batch, at) === 0 &&
    (readAttributes(batch, at) & CONTROL_BIT) === 0 &&
    readProducerId(batch, at) === NONE &&
    readLastOffsetDelta(batch, at) >= 0
  );
}

/** The part of a gap from an offset on. */
export function gapFrom(gap: Uint8Array, baseOffset: number): Uint8Array {
  return emptyBatch({ baseOffset, lastOffset: readLastOffset(gap, 0), leaderEpoch: readLeaderEpoch(gap, 0) });
}

/** The part of a gap up to an offset. */
export function gapUpTo(gap: Uint8Array, lastOffset: number): Uint8Array {
  return emptyBatch({ baseOffset: readBaseOffset(gap, 0), lastOffset, leaderEpoch: readLeaderEpoch(gap, 0) });
}

export interface EmptySpan {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly leaderEpoch: number;
}

/** Of no time and no producer. The span is at most 2^31 offsets: a RangeError otherwise. */
export function emptyBatch({ baseOffset, lastOffset, leaderEpoch }: EmptySpan): Uint8Array {
  const delta = lastOffset - baseOffset;
  if (!Number.isSafeInteger(baseOffset) || baseOffset < 0 || delta < 0 || delta > 0x7fff_ffff) {
    throw new RangeError(`offsets ${baseOffset} to ${lastOffset}`);
  }
  const batch = new Uint8Array(BATCH_HEADER_BYTES);
  writeInt64(batch, BASE_OFFSET_AT, baseOffset);
  writeInt32(batch, LENGTH_AT, BATCH_HEADER_BYTES - BATCH_LENGTH_PREFIX);
  writeInt32(batch, LEADER_EPOCH_AT, leaderEpoch);
  batch[MAGIC_AT] = BATCH_MAGIC;
  writeInt32(batch, LAST_OFFSET_DELTA_AT, delta);
  writeInt64(batch, BASE_TIMESTAMP_AT, NONE);
  writeInt64(batch, MAX_TIMESTAMP_AT, NONE);
  writeInt64(batch, PRODUCER_ID_AT, NONE);
  writeInt16(batch, PRODUCER_EPOCH_AT, NONE);
  writeInt32(batch, BASE_SEQUENCE_AT, NONE);
  sealBatch(batch);
  return batch;
}

// A batch without records: it keeps its offsets and tells nothing. It stands where records are gone for good.

import {
  BASE_OFFSET_AT,
  BASE_SEQUENCE_AT,
  BASE_TIMESTAMP_AT,
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_PREFIX,
  BATCH_MAGIC,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LENGTH_AT,
  MAGIC_AT,
  MAX_TIMESTAMP_AT,
  NONE,
  PRODUCER_EPOCH_AT,
  PRODUCER_ID_AT,
  writeInt16,
  writeInt32,
  writeInt64,
} from './layout.ts';
import { sealBatch } from './stamp.ts';

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

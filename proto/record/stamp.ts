// What a leader writes into a batch that somebody else built. All of it is in place: the caller owns the memory.
//
// Base offset and leader epoch lie before the CRC, so stamping leaves it valid. Log-append time lies inside it: the CRC
// is computed again over the whole batch, which is what those topics pay. The records are never touched.
// A stamp that the format cannot hold is a broken invariant of the caller: a RangeError, before a byte is written.

import { crc32c } from './crc32c.ts';
import {
  ATTRIBUTES_AT,
  BASE_OFFSET_AT,
  CRC_AT,
  CRC_COVERS_FROM,
  LEADER_EPOCH_AT,
  LOG_APPEND_TIME_BIT,
  MAX_TIMESTAMP_AT,
  readAttributes,
  readBatchBytes,
  writeInt16,
  writeInt32,
  writeInt64,
} from './layout.ts';

export interface LeaderStamp {
  readonly baseOffset: number;
  readonly leaderEpoch: number;
}

export function stampBatch(batch: Uint8Array, stamp: LeaderStamp): void {
  const { baseOffset, leaderEpoch } = stamp;
  if (!Number.isSafeInteger(baseOffset) || baseOffset < 0) throw new RangeError(`base offset ${baseOffset}`);
  if (leaderEpoch !== (leaderEpoch | 0) || leaderEpoch < 0) throw new RangeError(`leader epoch ${leaderEpoch}`);
  writeInt64(batch, BASE_OFFSET_AT, baseOffset);
  writeInt32(batch, LEADER_EPOCH_AT, leaderEpoch);
}

/** From here on every record of the batch counts as written at `timestamp`. */
export function stampAppendTime(batch: Uint8Array, timestamp: number): void {
  if (!Number.isSafeInteger(timestamp)) throw new RangeError(`timestamp ${timestamp}`);
  writeInt16(batch, ATTRIBUTES_AT, readAttributes(batch, 0) | LOG_APPEND_TIME_BIT);
  writeInt64(batch, MAX_TIMESTAMP_AT, timestamp);
  sealBatch(batch);
}

/** Writes the CRC over everything that it covers: the last step of building or changing a batch. */
export function sealBatch(batch: Uint8Array): void {
  writeInt32(batch, CRC_AT, crc32c(batch, CRC_COVERS_FROM, readBatchBytes(batch, 0)));
}

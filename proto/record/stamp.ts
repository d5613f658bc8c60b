// What a leader writes into a batch that somebody else built. All of it is in place: the caller owns the memory.
//
// Base offset and leader epoch lie before the CRC, so stamping leaves it valid. Log-append time lies inside it: the CRC
// is computed again over the whole batch, which is what those topics pay. The records are never touched.
// A stamp that the format cannot hold is a broken invariant of the caller: a RangeError, before a byte is written.

import { crc32c } from './crc32c.ts';
import {
  ATTRIBUTES_AT,
  BASE_OFFSET_AT,
  BASE_SEQUENCE_AT,
  CRC_AT,
  CRC_COVERS_FROM,
  LEADER_EPOCH_AT,
  LOG_APPEND_TIME_BIT,
  MAX_TIMESTAMP_AT,
  PRODUCER_EPOCH_AT,
  PRODUCER_ID_AT,
  readAttributes,
  readBatchBytes,
  writeInt16,
  writeInt32,
  writeInt64,
} from './layout.ts';

/** What an idempotent producer signs a batch with. */
export interface ProducerStamp {
  readonly id: number;
  readonly epoch: number;
  readonly baseSequence: number;
}

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

/**
 * Who signs the batch, and with which sequence it begins. A producer may sign it again as long as nobody else has it: the CRC is computed
 * over all of it each time.
 */
export function stampProducer(batch: Uint8Array, { id, epoch, baseSequence }: ProducerStamp): void {
  if (!Number.isSafeInteger(id) || id < 0) throw new RangeError(`producer id ${id}`);
  if (epoch !== (epoch & 0x7fff)) throw new RangeError(`producer epoch ${epoch}`);
  if (baseSequence !== (baseSequence | 0) || baseSequence < 0) throw new RangeError(`base sequence ${baseSequence}`);
  writeInt64(batch, PRODUCER_ID_AT, id);
  writeInt16(batch, PRODUCER_EPOCH_AT, epoch);
  writeInt32(batch, BASE_SEQUENCE_AT, baseSequence);
  sealBatch(batch);
}

/** Writes the CRC over everything that it covers: the last step of building or changing a batch. */
export function sealBatch(batch: Uint8Array): void {
  writeInt32(batch, CRC_AT, crc32c(batch, CRC_COVERS_FROM, readBatchBytes(batch, 0)));
}

// The producers of a partition as bytes: a file beside its segments, and what travels to a replica that is far behind.
//
//      +---------+-----------+-------+-----------------------------------------------+--------+
//      | version | settledTo | count | producers                                     | CRC-32C|
//      +---------+-----------+-------+-----------------------------------------------+--------+
//          1          8          4                                                       4
//      a producer:  id 8 | epoch 2 | batches 1 | its batches
//      a batch:     base sequence 4 | count 4 | base offset 8 | timestamp 8
//
// All big-endian. Of several equal tables the bytes are equal: producers stand in the order of their ids.
// Bytes of another version, length or checksum, or that make no sense, are none: `null`, whatever they are.

import { isOffset, type Offset, offset } from '@sluice/protocol/ids';
import {
  crc32c,
  readInt16,
  readInt32,
  readInt64,
  readUint32,
  writeInt16,
  writeInt32,
  writeInt64,
} from '@sluice/protocol/record';
import { PRODUCER_BATCHES_KEPT, PRODUCERS_IN_SNAPSHOT_MAX } from '../../base/limits.ts';
import type { ProducedBatch, ProducerTable, ProducerView } from './producer-table.ts';

export interface ProducerSnapshot {
  readonly settledTo: Offset;
  readonly producers: readonly ProducerView[];
}

const VERSION = 1;
const HEAD_BYTES = 13;
const PRODUCER_BYTES = 11;
const BATCH_BYTES = 24;
const CRC_BYTES = 4;

/** The state as of what is settled. */
export const encodeProducers = (table: ProducerTable): Uint8Array => {
  const producers = table.settled().toSorted((left, right) => left.producerId - right.producerId);
  let length = HEAD_BYTES + CRC_BYTES;
  for (const { batches } of producers) length += PRODUCER_BYTES + batches.length * BATCH_BYTES;
  const bytes = new Uint8Array(length);
  bytes[0] = VERSION;
  writeInt64(bytes, 1, table.settledTo);
  writeInt32(bytes, 9, producers.length);
  let at = HEAD_BYTES;
  for (const { producerId, batches } of producers) {
    writeInt64(bytes, at, producerId);
    writeInt16(bytes, at + 8, batches[0]!.epoch);
    bytes[at + 10] = batches.length;
    at += PRODUCER_BYTES;
    for (const batch of batches) {
      writeInt32(bytes, at, batch.baseSequence);
      writeInt32(bytes, at + 4, batch.count);
      writeInt64(bytes, at + 8, batch.baseOffset);
      writeInt64(bytes, at + 16, batch.timestamp);
      at += BATCH_BYTES;
    }
  }
  writeInt32(bytes, at, crc32c(bytes, 0, at));
  return bytes;
};

export const decodeProducers = (bytes: Uint8Array): ProducerSnapshot | null => {
  const end = bytes.length - CRC_BYTES;
  if (end < HEAD_BYTES || bytes[0] !== VERSION || crc32c(bytes, 0, end) !== readUint32(bytes, end)) return null;
  const settledTo = readInt64(bytes, 1);
  const count = readUint32(bytes, 9);
  if (!isOffset(settledTo) || count > PRODUCERS_IN_SNAPSHOT_MAX) return null;
  const producers: ProducerView[] = [];
  let at = HEAD_BYTES;
  let before = -1;
  for (let index = 0; index < count; index++) {
    const producer = producerAt(bytes, { at, end, settledTo });
    if (producer === null || producer.producerId <= before) return null;
    before = producer.producerId;
    producers.push(producer);
    at += PRODUCER_BYTES + producer.batches.length * BATCH_BYTES;
  }
  return at === end ? { settledTo, producers } : null;
};

const producerAt = (
  bytes: Uint8Array,
  { at, end, settledTo }: { readonly at: number; readonly end: number; readonly settledTo: number },
): ProducerView | null => {
  if (at + PRODUCER_BYTES > end) return null;
  const producerId = readInt64(bytes, at);
  const epoch = readInt16(bytes, at + 8);
  const count = bytes[at + 10]!;
  if (!Number.isSafeInteger(producerId) || epoch < 0) return null;
  if (count < 1 || count > PRODUCER_BATCHES_KEPT || at + PRODUCER_BYTES + count * BATCH_BYTES > end) return null;
  const batches: ProducedBatch[] = [];
  let offsetMin = 0;
  for (let index = 0; index < count; index++) {
    const from = at + PRODUCER_BYTES + index * BATCH_BYTES;
    const baseSequence = readInt32(bytes, from);
    const records = readInt32(bytes, from + 4);
    const baseOffset = readInt64(bytes, from + 8);
    const timestamp = readInt64(bytes, from + 16);
    if (baseSequence < 0 || records < 1 || !isOffset(baseOffset) || !Number.isSafeInteger(timestamp)) return null;
    if (baseOffset < offsetMin || baseOffset + records > settledTo) return null;
    offsetMin = baseOffset + records;
    batches.push({ epoch, baseSequence, count: records, baseOffset: offset(baseOffset), timestamp });
  }
  return { producerId, batches };
};

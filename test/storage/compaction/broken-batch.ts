// A batch as a careless client would send it: the checksum is good, and the records are not.

import { BATCH_HEADER_BYTES, sealBatch } from '@sluice/protocol/record';
import { type KeyedRecord, keyedBatch } from './keyed-log.ts';

export const brokenBatch = (records: readonly KeyedRecord[]): Uint8Array => {
  const batch = keyedBatch(records);
  // The header count of the last record: what it counts is not there.
  batch[batch.length - 1] = 8;
  if (batch.length <= BATCH_HEADER_BYTES) throw new RangeError('there are no records');
  sealBatch(batch);
  return batch;
};

// The log of a replicated state machine, as it is read back: storage's PartitionLog is one.

import type { Offset } from '@sluice/protocol/ids';
import { BatchView, decodeRecords, type StoredRecord } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';

export type RecordRead =
  | { readonly kind: 'batches'; readonly batches: readonly Uint8Array[] }
  | { readonly kind: 'below-start' }
  | { readonly kind: 'damaged' | 'failed' };

export interface RecordLog {
  readonly startOffset: Offset;
  /** Nothing at or above it can be read yet, though it may be committed: others were faster. */
  readonly durableOffset: Offset;
  /** Whole batches from the one that covers `from` on, all below `endMax`; one at least where there is one. */
  read(from: Offset, limits: { readonly endMax: Offset; readonly bytesMax: number }): Promise<RecordRead>;
}

export interface RecordsRead {
  /** At or above the offset that was asked for; those of control batches are left out. */
  readonly records: readonly StoredRecord[];
  readonly next: Offset;
}

/** Relies on batches that were checked when they came, so that one without readable records is a broken invariant. */
export const recordsOf = (batches: readonly Uint8Array[], from: Offset): RecordsRead => {
  const records: StoredRecord[] = [];
  let next: number = from;
  for (const batch of batches) {
    const view = new BatchView(batch);
    next = Math.max(next, view.nextOffset);
    if (view.isControl) continue;
    const decoded = decodeRecords(batch);
    assert(decoded.ok, 'a batch of a state machine holds records');
    for (const record of decoded.records) if (record.offset >= from) records.push(record);
  }
  return { records, next: next as Offset };
};

/** Whether nothing is left out between the offset and the end of the last batch. */
export const isContiguous = (batches: readonly Uint8Array[], from: Offset): boolean => {
  let next: number = from;
  for (const [index, batch] of batches.entries()) {
    const view = new BatchView(batch);
    // The first one may begin below: it covers the offset.
    if (index === 0 ? view.baseOffset > next : view.baseOffset !== next) return false;
    next = view.nextOffset;
  }
  return true;
};

// The batches of a log as the core knows them: where each stands, of which epoch it is, and what the log says of itself in it.

import { leaderEpoch, offset } from '@sluice/protocol/ids';
import {
  decodeConfiguration,
  gapFrom,
  isConfiguration,
  isEpochStart,
  isGap,
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
  splitBatches,
} from '@sluice/protocol/record';
import { PEER_BULK_MESSAGE_BYTES_MAX } from '../base/limits.ts';
import type { Batch } from '../raft/message.ts';
import { coreForm } from './configuration-form.ts';

/** Null where a batch is none that a log can hold. Relies on inspectBatch having accepted each. */
export const headsOf = (batches: readonly Uint8Array[]): readonly Batch[] | null => {
  const heads: Batch[] = [];
  for (const bytes of batches) {
    const head = headOf(bytes);
    if (head === null) return null;
    heads.push(head);
  }
  return heads;
};

const headOf = (bytes: Uint8Array): Batch | null => {
  const baseOffset = readBaseOffset(bytes, 0);
  const epoch = readLeaderEpoch(bytes, 0);
  const end = readLastOffset(bytes, 0) + 1;
  if (baseOffset < 0 || epoch < 0 || end < baseOffset) return null;
  const place = {
    baseOffset: offset(baseOffset),
    endOffset: offset(end),
    epoch: leaderEpoch(epoch),
    byteLength: bytes.length,
    bytes,
  };
  if (isEpochStart(bytes, 0)) return { ...place, kind: 'epoch-start' };
  if (isGap(bytes, 0)) return { ...place, kind: 'gap' };
  if (!isConfiguration(bytes)) return { ...place, kind: 'data' };
  const decoded = decodeConfiguration(bytes);
  return decoded.ok ? { ...place, kind: 'configuration', configuration: coreForm(decoded.configuration) } : null;
};

/** What is appended of a batch: all of it, or the rest of a gap whose beginning the log has. */
export const appendedBytes = (batch: Batch): Uint8Array => {
  const bytes = batch.bytes as Uint8Array;
  return readBaseOffset(bytes, 0) === batch.baseOffset ? bytes : gapFrom(bytes, batch.baseOffset);
};

/** The batches that a message carries, checked; null where it holds anything else. */
export const splitHeads = (bytes: Uint8Array): readonly Batch[] | null => {
  const split = splitBatches(bytes, { bytesMax: PEER_BULK_MESSAGE_BYTES_MAX });
  return split.ok ? headsOf(split.batches) : null;
};

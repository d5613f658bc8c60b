// What is done to the three files of a segment: made, kept up to date, cut, let go, removed. The log decides when.

import { offset } from '@sluice/protocol/ids';
import { crc32cContinue, readBaseOffset } from '@sluice/protocol/record';
import type { Position } from '../base/position.ts';
import { DiskFault, type DiskFile } from '../io/disk.ts';
import type { FilePool } from './file-pool.ts';
import type { LogContext } from './log-context.ts';
import { endsWithin, findBatchBehind, type Visited, walkBatches } from './log-scan.ts';
import { Segment } from './segment.ts';
import type { SparseIndex } from './sparse-index.ts';

/** Empty files under the names of a new segment. The caller makes the names durable. */
export const createSegmentFiles = async (context: LogContext, segment: Segment): Promise<void> => {
  const { disk, files } = context;
  try {
    await (await disk.open(segment.logPath, 'create')).close();
  } catch (cause) {
    // Left by an attempt that failed before anything in it was acknowledged.
    if (!(cause instanceof DiskFault && cause.kind === 'exists')) throw cause;
    await files.use(segment.logPath, file => file.truncate(0));
  }
  for (const file of [segment.offsetIndexPath, segment.timeIndexPath]) {
    if (await disk.exists(file)) await disk.removeFile(file);
    await (await disk.open(file, 'create')).close();
  }
};

/** Hands the index files what they lack, once that is `bytesMin`. Not synced: entries can always be built again. */
export const writeIndexes = async (files: FilePool, segment: Segment, bytesMin: number): Promise<void> => {
  if (segment.indexes === null) return;
  const { offsets, times } = segment.indexes;
  await writeIndex(files, { file: segment.offsetIndexPath, index: offsets, bytesMin });
  await writeIndex(files, { file: segment.timeIndexPath, index: times, bytesMin });
};

const writeIndex = async (
  files: FilePool,
  { file, index, bytesMin }: { readonly file: string; readonly index: SparseIndex; readonly bytesMin: number },
): Promise<void> => {
  if (index.byteLength - index.writtenCount * index.entryBytes < bytesMin) return;
  const { position, bytes, count } = index.unwritten();
  const written = await files.use(file, handle => handle.write([bytes], position));
  if (written < bytes.length) throw new DiskFault('full', file);
  index.writtenCount = Math.max(index.writtenCount, count);
};

/** Cuts the index files back to what of them is still meant. */
export const truncateIndexes = async (files: FilePool, segment: Segment): Promise<void> => {
  for (const [file, index] of [
    [segment.offsetIndexPath, segment.indexes!.offsets],
    [segment.timeIndexPath, segment.indexes!.times],
  ] as const) {
    await files.use(file, async handle => {
      await handle.truncate(index.writtenCount * index.entryBytes);
      // For good: a later crash must not mix entries of before with new ones.
      await handle.sync();
    });
  }
};

/**
 * The segment as it was when the log ended at `end`: walked again over what is on disk, since derived state only grows. Without a byte
 * where all of it lies behind.
 */
export const rebuildSegment = async (
  context: LogContext,
  segment: Segment,
  wish: { readonly directory: string; readonly end: Position; readonly indexInterval: number },
): Promise<Segment> => {
  const fresh = new Segment(wish.directory, segment.baseOffset);
  fresh.exists = segment.exists;
  if (!segment.exists) return fresh;
  context.indexCache.forget(segment);
  const visit = (buffer: Uint8Array, at: number, batchBytes: number): Visited => {
    if (readBaseOffset(buffer, at) !== fresh.endOffset) return 'misplaced';
    if (!endsWithin(buffer, at, wish.end)) return 'end';
    fresh.noteBatch(buffer, at, { batchBytes, indexInterval: wish.indexInterval });
    return 'go-on';
  };
  while ((await walkBatches(context.files, { segment, position: fresh.byteLength }, visit)) !== null) {
    // Damage below the cut stays as it is; what stands behind it tells where the end lies.
    const behind = await context.files.use(segment.logPath, file =>
      findBatchBehind(file, fresh.byteLength + 1, {
        endPosition: segment.writtenBytes,
        damaged: { position: fresh.byteLength, offset: fresh.endOffset },
        offsetMax: wish.end.offset,
      }),
    );
    if (behind === null) break;
    fresh.byteLength = behind.position;
    fresh.endOffset = offset(behind.baseOffset);
    // The first thing that is cut, and everything before it is damaged.
    if (behind.epoch > wish.end.epoch || behind.baseOffset === wish.end.offset) {
      fresh.lastEpoch = wish.end.epoch;
      break;
    }
  }
  // An epoch that is cut may begin with a batch, or behind a start that stands in the segment before.
  if (fresh.endOffset !== wish.end.offset || (fresh.byteLength > 0 && fresh.lastEpoch !== wish.end.epoch)) {
    // Damage around the cut: where the end lies cannot be said, and what stands behind it must not be cut.
    throw new DiskFault('failed', segment.logPath);
  }
  fresh.writtenBytes = fresh.byteLength;
  fresh.crc = await context.files.use(segment.logPath, file => crcOf(file, fresh.byteLength));
  fresh.writtenLatest = fresh.latest;
  // The files hold entries of both sides of the cut; those below it are the same.
  fresh.indexes!.offsets.writtenCount = 0;
  fresh.indexes!.times.writtenCount = 0;
  return fresh;
};

const CRC_BYTES = 4 * 1024 * 1024;

const crcOf = async (file: DiskFile, byteLength: number): Promise<number> => {
  let crc = 0;
  for (let at = 0; at < byteLength; at += CRC_BYTES) {
    const piece = Buffer.allocUnsafeSlow(Math.min(CRC_BYTES, byteLength - at));
    crc = crc32cContinue(crc, piece.subarray(0, await file.read(piece, at)));
  }
  return crc;
};

/** Closes what is open of the segment. */
export const forgetSegmentFiles = async (context: LogContext, segment: Segment): Promise<void> => {
  context.indexCache.forget(segment);
  for (const file of [segment.logPath, segment.offsetIndexPath, segment.timeIndexPath])
    await context.files.forget(file);
};

/** The log last: as long as its indexes are there, so is the name by which recovery finds all three. */
export const removeSegmentFiles = async (context: LogContext, segment: Segment): Promise<void> => {
  context.indexCache.forget(segment);
  for (const file of [segment.timeIndexPath, segment.offsetIndexPath, segment.logPath]) {
    await context.files.forget(file);
    try {
      await context.disk.removeFile(file);
    } catch (fault) {
      if (!(fault instanceof DiskFault && fault.kind === 'not-found')) throw fault;
    }
  }
};

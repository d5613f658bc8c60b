// Indexes of sealed segments, loaded when a read needs them and bounded in memory over all partitions. An index that is
// missing, short or does not fit its segment is built again from the log and written back.

import { readBaseOffset, readLastOffset } from '@sluice/protocol/record';
import type { Logger } from '../base/logger.ts';
import { type Disk, DiskFault } from '../io/disk.ts';
import type { FilePool } from './file-pool.ts';
import { scanBatches, walkBatches } from './log-scan.ts';
import { OffsetIndex } from './offset-index.ts';
import { Segment, type SegmentIndexes } from './segment.ts';
import type { SparseIndex } from './sparse-index.ts';
import { TimeIndex } from './time-index.ts';

const LOADED_BYTES_MAX = 64 * 1024 * 1024;

export interface IndexCacheOptions {
  readonly disk: Disk;
  readonly files: FilePool;
  readonly logger: Logger;
}

/** Empty where the file is missing. */
export const readIndexFile = async (disk: Disk, path: string): Promise<Uint8Array> => {
  try {
    return await disk.readFile(path);
  } catch (fault) {
    if (fault instanceof DiskFault && fault.kind === 'not-found') return new Uint8Array(0);
    throw fault;
  }
};

/** Replaces an index file whole: removed first, so that a crash leaves none rather than a mixture. */
export const writeIndexFile = async (disk: Disk, path: string, index: SparseIndex): Promise<void> => {
  if (await disk.exists(path)) await disk.removeFile(path);
  const file = await disk.open(path, 'create');
  try {
    const bytes = index.bytes.slice(0, index.byteLength);
    const written = await file.write([bytes], 0);
    if (written < bytes.length) throw new DiskFault('full', path);
    await file.sync();
    index.writtenCount = index.count;
  } finally {
    await file.close();
  }
};

/** As writeIndexFile, where a disk that takes no index (full, say) must not keep the log from being read. */
export const saveIndexFile = async (
  context: { readonly disk: Disk; readonly logger: Logger },
  path: string,
  index: SparseIndex,
): Promise<void> => {
  try {
    await writeIndexFile(context.disk, path, index);
  } catch (fault) {
    if (!(fault instanceof DiskFault)) throw fault;
    context.logger.warn(
      { file: path, fault: fault.message },
      'an index could not be written: it is built again when needed',
    );
  }
};

export class IndexCache {
  readonly #options: IndexCacheOptions;
  /** In order of last use. */
  readonly #loaded = new Map<Segment, Promise<SegmentIndexes>>();
  /** Whose index files are being written. */
  readonly #rebuilding = new Map<Segment, Promise<SegmentIndexes>>();
  #loadedBytes = 0;

  constructor(options: IndexCacheOptions) {
    this.#options = options;
  }

  /** The active segment's own, or the sealed segment's from disk. */
  async indexesOf(segment: Segment, indexInterval: number): Promise<SegmentIndexes> {
    if (segment.indexes !== null) return segment.indexes;
    const known = this.#loaded.get(segment);
    if (known !== undefined) {
      this.#loaded.delete(segment);
      this.#loaded.set(segment, known);
      return known;
    }
    const loading = this.#load(segment, indexInterval);
    this.#loaded.set(segment, loading);
    try {
      const { offsets, times } = await loading;
      this.#loadedBytes += offsets.bytes.length + times.bytes.length;
      await this.#evict(segment);
    } catch (fault) {
      this.#loaded.delete(segment);
      throw fault;
    }
    return loading;
  }

  async #evict(keep: Segment): Promise<void> {
    for (const [segment, loading] of this.#loaded) {
      if (this.#loadedBytes <= LOADED_BYTES_MAX) return;
      if (segment === keep) continue;
      this.#loaded.delete(segment);
      const { offsets, times } = await loading;
      this.#loadedBytes -= offsets.bytes.length + times.bytes.length;
    }
  }

  async #load(segment: Segment, indexInterval: number): Promise<SegmentIndexes> {
    const { disk, logger } = this.#options;
    const offsets = new OffsetIndex();
    const times = new TimeIndex();
    const span = segment.endOffset - segment.baseOffset;
    const offsetsGood = offsets.loadTrusted(await readIndexFile(disk, segment.offsetIndexPath), segment.byteLength);
    const timesGood = times.loadTrusted(await readIndexFile(disk, segment.timeIndexPath), span);
    const offsetsInRange = offsets.count === 0 || offsets.relativeOffset(offsets.count - 1) < span;
    const timesReachEnd =
      segment.latest.lastOffset < 0 ||
      (times.count > 0 && times.timestamp(times.count - 1) === segment.latest.timestamp);
    const fits = offsetsGood && timesGood && offsetsInRange && timesReachEnd;
    if (fits && (offsets.count > 0 || !(await this.#needsEntries(segment, indexInterval)))) return { offsets, times };
    logger.warn({ segment: segment.logPath }, 'an index is missing or does not fit its segment: building it again');
    return this.rebuild(segment, indexInterval);
  }

  /** Whether an offset index without entries lacks some. A segment of one large batch needs none, and many are that. */
  async #needsEntries(segment: Segment, indexInterval: number): Promise<boolean> {
    if (segment.byteLength <= indexInterval) return false;
    let position = 0;
    let isNeeded = false;
    await walkBatches(this.#options.files, { segment, position }, (buffer, at, batchBytes) => {
      // As Segment.noteBatch decides while there is no entry yet.
      isNeeded = position > indexInterval && readLastOffset(buffer, at) >= readBaseOffset(buffer, at);
      position += batchBytes;
      return isNeeded ? 'end' : 'go-on';
    });
    return isNeeded;
  }

  /** Builds both indexes of a sealed segment from its batches and writes them. */
  async rebuild(segment: Segment, indexInterval: number): Promise<SegmentIndexes> {
    const known = this.#rebuilding.get(segment);
    if (known !== undefined) return known;
    const rebuilding = this.#rebuild(segment, indexInterval);
    this.#rebuilding.set(segment, rebuilding);
    try {
      return await rebuilding;
    } finally {
      this.#rebuilding.delete(segment);
    }
  }

  async #rebuild(segment: Segment, indexInterval: number): Promise<SegmentIndexes> {
    const { files } = this.#options;
    const fresh = new Segment('', segment.baseOffset);
    await files.use(segment.logPath, file =>
      scanBatches(
        file,
        {
          position: 0,
          baseOffset: segment.baseOffset,
          endPosition: segment.byteLength,
          epochs: null,
        },
        { onBatch: (buffer, at, batchBytes) => fresh.noteBatch(buffer, at, { batchBytes, indexInterval }) },
      ),
    );
    fresh.noteSealed();
    const indexes = fresh.indexes!;
    if (segment.isReplaced) return indexes;
    await saveIndexFile(this.#options, segment.offsetIndexPath, indexes.offsets);
    await saveIndexFile(this.#options, segment.timeIndexPath, indexes.times);
    return indexes;
  }

  /** When this returns nothing is written to the index files of the segment any more. */
  async retire(segment: Segment): Promise<void> {
    segment.isReplaced = true;
    this.forget(segment);
    await this.#rebuilding.get(segment)?.catch(() => undefined);
  }

  forget(segment: Segment): void {
    const loading = this.#loaded.get(segment);
    if (loading === undefined) return;
    this.#loaded.delete(segment);
    loading.then(
      ({ offsets, times }) => {
        this.#loadedBytes -= offsets.bytes.length + times.bytes.length;
      },
      () => undefined,
    );
  }
}

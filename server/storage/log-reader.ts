// Reading one log: from the tail cache when the reader keeps up, else one positioned read from the segment.
//
// Guarantees: whole batches only, the first one covers the offset asked for, nothing at or above `endMax`. A batch from disk has
// its CRC, its place in the offsets and its epoch checked before it leaves the process. What does not fit is read once more
// and then becomes a damaged range: named, never served, never cut; both sides of it stay readable.

import { type Offset, offset } from '@sluice/protocol/ids';
import {
  inspectBatch,
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
  readMaxTimestamp,
  RecordCursor,
} from '@sluice/protocol/record';
import { DISK_READ_BYTES_MIN } from '../base/limits.ts';
import { DiskFault, type DiskFile } from '../io/disk.ts';
import type { DamagedRange, DamageMap } from './damage.ts';
import type { EpochMap } from './epoch-map.ts';
import type { LogContext } from './log-context.ts';
import { findBatchBehind, STORED_BATCH_BYTES_MAX, walkBatches } from './log-scan.ts';
import type { Segment } from './segment.ts';
import type { LogTail } from './tail-cache.ts';

export type ReadOutcome =
  | { readonly kind: 'batches'; readonly batches: readonly Uint8Array[] }
  | { readonly kind: 'damaged'; readonly range: DamagedRange }
  | { readonly kind: 'below-start' }
  | { readonly kind: 'failed'; readonly fault: DiskFault };

export interface ReadLimits {
  /** Nothing at or above it is given. */
  readonly endMax: Offset;
  /** Together; one batch is always given. */
  readonly bytesMax: number;
}

export interface FoundTimestamp {
  readonly offset: Offset;
  readonly timestampMs: number;
}

/** The log as its reader sees it. The collections are the log's own and change under the reader between two awaits. */
export interface LogView {
  readonly directory: string;
  readonly segments: readonly Segment[];
  readonly epochs: EpochMap;
  readonly damage: DamageMap;
  readonly tail: LogTail;
  startOffset(): Offset;
  durableOffset(): Offset;
  indexInterval(): number;
}

export class LogReader {
  readonly #context: LogContext;
  readonly #view: LogView;

  constructor(context: LogContext, view: LogView) {
    this.#context = context;
    this.#view = view;
  }

  /** Whole batches from the one that covers `from` on. Checked: from the cache, or on their way from the disk. */
  async read(from: Offset, limits: ReadLimits): Promise<ReadOutcome> {
    if (from < this.#view.startOffset()) return { kind: 'below-start' };
    if (from >= limits.endMax) return { kind: 'batches', batches: [] };
    const damaged = this.#view.damage.covering(from);
    if (damaged !== null) return { kind: 'damaged', range: damaged };
    const cached = this.#view.tail.read(from, limits);
    if (cached !== null) return { kind: 'batches', batches: cached };
    try {
      return await this.#readFromDisk(from, limits);
    } catch (fault) {
      if (!(fault instanceof DiskFault)) throw fault;
      // Retention may have removed the segment while it was being read.
      if (from < this.#view.startOffset()) return { kind: 'below-start' };
      this.#context.logger.error({ directory: this.#view.directory, fault: fault.message }, 'a read failed');
      return { kind: 'failed', fault };
    }
  }

  /** The segment that covers the offset, or the next one behind a gap. */
  #segmentIndexOf(from: Offset): number {
    let low = 0;
    let high = this.#view.segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#view.segments[middle]!.baseOffset <= from) low = middle + 1;
      else high = middle;
    }
    const index = Math.max(0, low - 1);
    return this.#view.segments[index] !== undefined && this.#view.segments[index].endOffset <= from ? index + 1 : index;
  }

  async #readFromDisk(from: Offset, limits: ReadLimits): Promise<ReadOutcome> {
    for (let index = this.#segmentIndexOf(from); index < this.#view.segments.length; index++) {
      const segment = this.#view.segments[index]!;
      if (segment.baseOffset >= limits.endMax) break;
      const outcome = await this.#readFromSegment(segment, from, limits);
      if (outcome.kind !== 'batches' || outcome.batches.length > 0) return outcome;
    }
    return { kind: 'batches', batches: [] };
  }

  async #readFromSegment(segment: Segment, from: Offset, limits: ReadLimits): Promise<ReadOutcome> {
    const { indexCache, files } = this.#context;
    const { offsets } = await indexCache.indexesOf(segment, this.#view.indexInterval());
    let entry = offsets.floor(from - segment.baseOffset);
    const resume = this.#view.damage.resumePosition(segment.logPath, from);
    let position = Math.max(entry < 0 ? 0 : offsets.position(entry), resume);
    let expected: number = entry < 0 ? segment.baseOffset : -1;
    let wanted = Math.max(limits.bytesMax, DISK_READ_BYTES_MIN);
    return files.use(segment.logPath, async (file): Promise<ReadOutcome> => {
      while (position < segment.writtenBytes) {
        const buffer = Buffer.allocUnsafeSlow(Math.min(wanted, segment.writtenBytes - position));
        const filled = await file.read(buffer, position);
        const taken = this.#takeBatches(buffer.subarray(0, filled), { from, limits, expected });
        if (taken.batches.length > 0) return { kind: 'batches', batches: taken.batches };
        if (taken.end === 'limit') return { kind: 'batches', batches: [] };
        if (taken.end === 'fault' || filled < buffer.length) {
          const again = Buffer.allocUnsafeSlow(buffer.length);
          // Once more from the disk, in case the first answer was a stray one; then it is damage.
          const second = this.#takeBatches(again.subarray(0, await file.read(again, position)), {
            from,
            limits,
            expected,
          });
          if (second.batches.length > 0) return { kind: 'batches', batches: second.batches };
          if (second.next < 0 && entry >= 0 && position > resume) {
            // An index entry does not say where its batch begins in offsets: come from the one before.
            entry--;
            position = Math.max(entry < 0 ? 0 : offsets.position(entry), resume);
            expected = entry < 0 ? segment.baseOffset : -1;
            continue;
          }
          const at = position + second.consumed;
          const range = await this.#noteDamage(segment, file, {
            from: Math.max(second.next, segment.baseOffset),
            position: at,
            reason: second.reason ?? 'the file is shorter than what was written',
          });
          if (range.from <= from && from < range.to) return { kind: 'damaged', range };
          // The damage lies before what was asked for: read on behind it.
          if (range.toPosition === null || range.toPosition <= position) return { kind: 'batches', batches: [] };
          position = range.toPosition;
          expected = range.to;
          continue;
        }
        position += taken.consumed;
        expected = taken.next;
        if (taken.consumed === 0) wanted = Math.max(wanted * 2, taken.needed);
      }
      return { kind: 'batches', batches: [] };
    });
  }

  /** Batches of a piece of the file that cover `from` and lie below the limits; each is checked. */
  #takeBatches(
    piece: Uint8Array,
    wish: { readonly from: Offset; readonly limits: ReadLimits; readonly expected: number },
  ): {
    readonly batches: readonly Uint8Array[];
    readonly consumed: number;
    readonly next: number;
    readonly needed: number;
    readonly end: 'more' | 'limit' | 'fault';
    readonly reason: string | null;
  } {
    const batches: Uint8Array[] = [];
    const { from, limits } = wish;
    let at = 0;
    let next = wish.expected;
    let taken = 0;
    while (at < piece.length) {
      const inspection = inspectBatch(piece, at, { bytesMax: STORED_BATCH_BYTES_MAX, verifyCrc: true });
      if (!inspection.ok) {
        if (inspection.fault.kind === 'incomplete') {
          return { batches, consumed: at, next, needed: inspection.fault.needed, end: 'more', reason: null };
        }
        const reason = `${inspection.fault.kind}: ${inspection.fault.detail}`;
        return { batches, consumed: at, next, needed: 0, end: 'fault', reason };
      }
      const baseOffset = readBaseOffset(piece, at);
      const lastOffset = readLastOffset(piece, at);
      const epoch = this.#view.epochs.epochAt(offset(baseOffset));
      if (baseOffset < next || readLeaderEpoch(piece, at) !== epoch) {
        const reason = `offset ${baseOffset} and epoch ${readLeaderEpoch(piece, at)} where ${next} and ${epoch} belong`;
        return { batches, consumed: at, next, needed: 0, end: 'fault', reason };
      }
      if (lastOffset >= limits.endMax) {
        return { batches, consumed: at, next, needed: 0, end: 'limit', reason: null };
      }
      if (lastOffset >= from && lastOffset >= baseOffset) {
        if (batches.length > 0 && taken + inspection.byteLength > limits.bytesMax) {
          return { batches, consumed: at, next, needed: 0, end: 'limit', reason: null };
        }
        batches.push(piece.subarray(at, at + inspection.byteLength));
        taken += inspection.byteLength;
      }
      at += inspection.byteLength;
      next = lastOffset + 1;
    }
    return { batches, consumed: at, next, needed: 0, end: 'more', reason: null };
  }

  async #noteDamage(
    segment: Segment,
    file: DiskFile,
    found: { readonly from: number; readonly position: number; readonly reason: string },
  ): Promise<DamagedRange> {
    const behind = await findBatchBehind(file, found.position + 1, {
      endPosition: segment.writtenBytes,
      offsetMin: found.from + 1,
      offsetMax: segment.endOffset,
    });
    const range: DamagedRange = {
      from: offset(found.from),
      to: offset(behind?.baseOffset ?? Math.min(segment.endOffset, this.#view.durableOffset())),
      file: segment.logPath,
      position: found.position,
      toPosition: behind?.position ?? null,
      reason: found.reason,
    };
    this.#view.damage.add(range);
    this.#context.indexCache.forget(segment);
    this.reportDamage(range);
    return range;
  }

  reportDamage(range: DamagedRange): void {
    this.#context.logger.error(
      { directory: this.#view.directory, ...range },
      'damaged: these offsets cannot be read; nothing was deleted',
    );
  }

  /** The first record at or after the time, below `endMax`; null where there is none. */
  async findTimestamp(timestampMs: number, endMax: Offset): Promise<FoundTimestamp | null> {
    for (const segment of this.#view.segments.slice()) {
      if (segment.endOffset <= this.#view.startOffset() || segment.latest.timestamp < timestampMs) continue;
      if (segment.baseOffset >= endMax) break;
      const found = await this.#findTimestampIn(segment, timestampMs, endMax);
      if (found !== null) return found;
    }
    return null;
  }

  async #findTimestampIn(segment: Segment, timestampMs: number, endMax: Offset): Promise<FoundTimestamp | null> {
    const { offsets, times } = await this.#context.indexCache.indexesOf(segment, this.#view.indexInterval());
    const timeEntry = times.below(timestampMs);
    const offsetEntry = timeEntry < 0 ? -1 : offsets.floor(times.relativeOffset(timeEntry));
    let found: FoundTimestamp | null = null;
    await walkBatches(
      this.#context.files,
      { segment, position: offsetEntry < 0 ? 0 : offsets.position(offsetEntry) },
      (buffer, at, batchBytes) => {
        if (readLastOffset(buffer, at) >= endMax) return false;
        if (readMaxTimestamp(buffer, at) < timestampMs || readLastOffset(buffer, at) < this.#view.startOffset())
          return true;
        found = this.#firstAtOrAfter(buffer.subarray(at, at + batchBytes), timestampMs);
        return found === null;
      },
    );
    return found;
  }

  #firstAtOrAfter(batch: Uint8Array, timestampMs: number): FoundTimestamp | null {
    const opened = RecordCursor.open(batch);
    if (!opened.ok) {
      // The batch is whole and its records are not readable: its first offset is as close as can be said.
      return { offset: offset(readBaseOffset(batch, 0)), timestampMs: readMaxTimestamp(batch, 0) };
    }
    const { cursor } = opened;
    while (cursor.next()) {
      if (cursor.timestamp >= timestampMs && cursor.offset >= this.#view.startOffset()) {
        return { offset: offset(cursor.offset), timestampMs: cursor.timestamp };
      }
    }
    return null;
  }
}

// Reading one log: from the tail cache when the reader keeps up, else one positioned read from the segment.
//
//   read        for clients: from the batch that covers an offset, below `endMax`, without epoch starts
//   readAfter   for followers: what stands behind a position, epoch starts included, as far as it is written
//
// Guarantees: whole batches only, and nothing left out between what was asked for and what is given. A batch from disk has
// its CRC, its place in the offsets and its epoch checked before it leaves the process. What does not fit is read once more
// and then becomes a damaged range: named, never served, never cut; both sides of it stay readable.

import { leaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import {
  gapFrom,
  inspectBatch,
  isEpochStart,
  isGap,
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
  readMaxTimestamp,
  readRecordCount,
  RecordCursor,
} from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { DISK_READ_BYTES_MIN, FOLLOWER_READ_BYTES_MAX } from '../base/limits.ts';
import { comparePositions, type Position } from '../base/position.ts';
import { DiskFault, type DiskFile } from '../io/disk.ts';
import type { DamagedRange, DamageMap } from './damage.ts';
import type { EpochMap } from './epoch-map.ts';
import type { LogContext } from './log-context.ts';
import {
  endsWithin,
  findBatchBehind,
  type FoundBatch,
  STORED_BATCH_BYTES_MAX,
  type Visited,
  walkBatches,
} from './log-scan.ts';
import type { OffsetIndex } from './offset-index.ts';
import type { Segment, SegmentIndexes } from './segment.ts';
import type { LogTail } from './tail-cache.ts';

export type ReadOutcome =
  | { readonly kind: 'batches'; readonly batches: readonly Uint8Array[] }
  | { readonly kind: 'damaged'; readonly range: DamagedRange }
  | { readonly kind: 'below-start' }
  | { readonly kind: 'failed'; readonly fault: DiskFault };

export type FollowOutcome =
  | ReadOutcome
  /** The log does not hold the entry: it was cut, or never was here. */
  | { readonly kind: 'not-held' };

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
  /** Behind the last batch, written or not. */
  end(): Position;
  generation(): number;
  replacements(): number;
  indexInterval(): number;
}

/** What tells that the batch at a position belongs there: an index entry names its last offset, the walk its first. */
type Expected = { readonly baseOffset: number } | { readonly lastOffset: number };

/** What a reader is given of the batches on its way. */
interface Wanted {
  /** Where in the offsets the search begins: at or before the first batch that is taken. */
  readonly from: number;
  readonly bytesMax: number;
  judge(buffer: Uint8Array, at: number): 'before' | 'take' | 'end';
  /** Whether the segment that ends there should have had something. */
  reaches(endOffset: Offset): boolean;
  /** Whether damage that was found keeps it from going on behind. */
  isStoppedBy(range: DamagedRange): boolean;
}

const wantedByClient = (from: Offset, { endMax, bytesMax }: ReadLimits): Wanted => ({
  from,
  bytesMax,
  judge: (buffer, at) => {
    const lastOffset = readLastOffset(buffer, at);
    if (lastOffset >= endMax) return 'end';
    return lastOffset >= from && lastOffset >= readBaseOffset(buffer, at) ? 'take' : 'before';
  },
  reaches: endOffset => from < Math.min(endOffset, endMax),
  isStoppedBy: range => range.from <= from && from < range.to,
});

/** Up to `end`: what a failed sync or a cut dropped may still be in the file. */
const wantedByFollower = (position: Position, end: Position, bytesMax: number): Wanted => ({
  from: position.offset - 1,
  bytesMax,
  judge: (buffer, at) => {
    if (!endsWithin(buffer, at, end)) return 'end';
    return endsWithin(buffer, at, position) ? 'before' : 'take';
  },
  // The end of the active segment is ahead of what is written, and a sealed one may end with the position itself.
  reaches: () => false,
  // Also where only epoch starts are damaged: whatever stands behind them must not come without them.
  isStoppedBy: range => range.to >= position.offset,
});

/** Where an epoch goes on that never began; null where each follows from the one before. */
const missingStart = (after: Position, batches: readonly Uint8Array[]): Position | null => {
  let { epoch } = after;
  for (const batch of batches) {
    const next = leaderEpoch(readLeaderEpoch(batch, 0));
    if (next !== epoch && !isEpochStart(batch, 0)) return { epoch: next, offset: offset(readBaseOffset(batch, 0)) };
    epoch = next;
  }
  return null;
};

/** Where batches are gone the position may lie within what keeps their offsets: another replica has what was there. */
const fromPosition = (position: Position, batches: readonly Uint8Array[]): readonly Uint8Array[] => {
  const [first, ...rest] = batches;
  if (first === undefined || readBaseOffset(first, 0) >= position.offset || !isGap(first, 0)) return batches;
  return [gapFrom(first, position.offset), ...rest];
};

interface ScanStart {
  /** The index entry that the position comes from; -1 when it does not come from one. */
  readonly entry: number;
  readonly position: number;
  readonly expected: Expected;
}

interface Taken {
  readonly batches: readonly Uint8Array[];
  /** Bytes of good batches, taken or passed over. */
  readonly consumed: number;
  /** The offset that belongs behind them; -1 when that is not known. */
  readonly next: number;
  readonly needed: number;
  readonly end: 'more' | 'limit' | 'fault';
  readonly reason: string | null;
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
    return this.#readFromDisk(wantedByClient(from, limits), () => from < this.#view.startOffset());
  }

  /** Whole batches behind the position; none where nothing more is written yet. */
  async readAfter(position: Position, bytesMax: number): Promise<FollowOutcome> {
    const { epochs, damage, tail } = this.#view;
    const isBelow = (): boolean => comparePositions(position, epochs.base) < 0;
    if (isBelow()) return { kind: 'below-start' };
    const end = this.#view.end();
    if (!epochs.holds(position, end.offset)) return { kind: 'not-held' };
    if (comparePositions(position, end) === 0) return { kind: 'batches', batches: [] };
    const damaged = damage.covering(position.offset);
    if (damaged !== null) return { kind: 'damaged', range: damaged };
    const cached = tail.readAfter(position, { next: epochs.after(position), bytesMax });
    if (cached !== null) return { kind: 'batches', batches: cached };
    const outcome = await this.#readFromDisk(
      wantedByFollower(position, end, Math.min(bytesMax, FOLLOWER_READ_BYTES_MAX)),
      isBelow,
    );
    if (outcome.kind !== 'batches') return outcome;
    const gap = missingStart(position, outcome.batches);
    if (gap === null) return { kind: 'batches', batches: fromPosition(position, outcome.batches) };
    const reason = `the start of epoch ${gap.epoch} is missing`;
    const { offset: at } = gap;
    return { kind: 'damaged', range: { from: at, to: at, file: '', position: 0, toPosition: null, reason } };
  }

  /** Once more where a segment was replaced meanwhile: what was found may be of one file by the indexes of another. */
  async #readFromDisk(wanted: Wanted, isBelow: () => boolean): Promise<ReadOutcome> {
    for (;;) {
      const replacements = this.#view.replacements();
      const outcome = await this.#tryReadFromDisk(wanted, isBelow);
      if (outcome.kind === 'batches' && outcome.batches.length > 0) return outcome;
      if (replacements === this.#view.replacements()) return outcome;
    }
  }

  async #tryReadFromDisk(wanted: Wanted, isBelow: () => boolean): Promise<ReadOutcome> {
    const generation = this.#view.generation();
    const replacements = this.#view.replacements();
    try {
      return await this.#readFromSegments(wanted);
    } catch (fault) {
      if (!(fault instanceof DiskFault)) throw fault;
      // Retention may have removed the segment while it was being read, or a snapshot the whole log.
      if (isBelow()) return { kind: 'below-start' };
      const isChanged = generation !== this.#view.generation() || replacements !== this.#view.replacements();
      if (isChanged) return { kind: 'batches', batches: [] };
      this.#context.logger.error({ directory: this.#view.directory, fault: fault.message }, 'a read failed');
      return { kind: 'failed', fault };
    }
  }

  /** The segment that covers the offset, or the next one behind a gap. */
  #segmentIndexOf(from: number): number {
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

  async #readFromSegments(wanted: Wanted): Promise<ReadOutcome> {
    const { segments } = this.#view;
    const generation = this.#view.generation();
    for (let index = this.#segmentIndexOf(wanted.from); index < segments.length; index++) {
      // Nothing of it is written yet.
      if (!segments[index]!.exists) break;
      const outcome = await this.#readFromSegment(segments[index]!, wanted);
      if (outcome === 'end') break;
      if (outcome.kind !== 'batches' || outcome.batches.length > 0) return outcome;
      // The files were cut meanwhile: what was found is of no log any more.
      if (generation !== this.#view.generation()) break;
    }
    return { kind: 'batches', batches: [] };
  }

  /** Where a scan can begin, with the index entry before the offset or the end of known damage, whichever is later. */
  #scanStart(segment: Segment, offsets: OffsetIndex, { entry, from }: { entry: number; from: number }): ScanStart {
    const position = entry < 0 ? 0 : offsets.position(entry);
    const resume = this.#view.damage.resumeBefore(segment.logPath, from);
    if (resume !== null && resume.position >= position) {
      return { entry: -1, position: resume.position, expected: { baseOffset: resume.offset } };
    }
    if (entry < 0) return { entry, position, expected: { baseOffset: segment.baseOffset } };
    return { entry, position, expected: { lastOffset: segment.baseOffset + offsets.relativeOffset(entry) } };
  }

  async #readFromSegment(segment: Segment, wanted: Wanted): Promise<ReadOutcome | 'end'> {
    const { indexCache, files } = this.#context;
    const { from } = wanted;
    const generation = this.#view.generation();
    const { offsets } = await indexCache.indexesOf(segment, this.#view.indexInterval());
    let { entry, position, expected } = this.#scanStart(segment, offsets, {
      entry: offsets.floor(from - segment.baseOffset),
      from,
    });
    let pieceBytes = Math.max(wanted.bytesMax, DISK_READ_BYTES_MIN);
    return files.use(segment.logPath, async (file): Promise<ReadOutcome | 'end'> => {
      // As it is before the read: the end may move meanwhile.
      let { endOffset } = segment;
      while (position < segment.writtenBytes) {
        ({ endOffset } = segment);
        const roomBytes = segment.writtenBytes - position;
        const wish = { wanted, expected, roomBytes, endOffset };
        const buffer = Buffer.allocUnsafeSlow(Math.min(pieceBytes, roomBytes));
        let filled = await file.read(buffer, position);
        let taken = this.#takeBatches(buffer.subarray(0, filled), wish);
        if (taken.batches.length === 0 && (taken.end === 'fault' || filled < buffer.length)) {
          // Once more from the disk, in case the first answer was a stray one.
          const again = Buffer.allocUnsafeSlow(buffer.length);
          filled = await file.read(again, position);
          taken = this.#takeBatches(again.subarray(0, filled), wish);
        }
        if (taken.batches.length > 0) return { kind: 'batches', batches: taken.batches };
        if (taken.end === 'limit') return 'end';
        if (taken.end === 'fault' || filled < buffer.length) {
          // A cut that came meanwhile is no damage, nor is retention.
          if (generation !== this.#view.generation()) return { kind: 'batches', batches: [] };
          if (this.#isDropped(segment)) return { kind: 'below-start' };
          if (taken.consumed === 0 && entry >= 0 && 'lastOffset' in expected) {
            // An index entry does not say where its batch begins in offsets: come from the one before.
            ({ entry, position, expected } = this.#scanStart(segment, offsets, { entry: entry - 1, from }));
            continue;
          }
          const range = await this.noteDamage(segment, file, {
            from: taken.next,
            position: position + taken.consumed,
            reason: taken.reason ?? 'the file is shorter than what was written',
          });
          if (range === null)
            return this.#isDropped(segment) ? { kind: 'below-start' } : { kind: 'batches', batches: [] };
          if (wanted.isStoppedBy(range)) return { kind: 'damaged', range };
          // The damage lies before what was asked for: read on behind it.
          if (range.toPosition === null || range.toPosition <= position) return { kind: 'batches', batches: [] };
          position = range.toPosition;
          expected = { baseOffset: range.to };
          continue;
        }
        position += taken.consumed;
        if (taken.consumed > 0) expected = { baseOffset: taken.next };
        else pieceBytes = Math.max(pieceBytes * 2, taken.needed);
      }
      if (!wanted.reaches(endOffset) || !('baseOffset' in expected) || generation !== this.#view.generation()) {
        return { kind: 'batches', batches: [] };
      }
      const reason = `the batches end at offset ${expected.baseOffset} where the segment should reach ${endOffset}`;
      if (this.#isDropped(segment)) return { kind: 'below-start' };
      const range = await this.noteDamage(segment, file, { from: expected.baseOffset, position, reason });
      return range === null ? { kind: 'batches', batches: [] } : { kind: 'damaged', range };
    });
  }

  /** The batches of a piece of the file that are wanted; each is checked. */
  #takeBatches(
    piece: Uint8Array,
    wish: {
      readonly wanted: Wanted;
      readonly expected: Expected;
      /** From the start of the piece to the end of what was written. */
      readonly roomBytes: number;
      /** Of the segment: no batch of it reaches beyond. */
      readonly endOffset: Offset;
    },
  ): Taken {
    const batches: Uint8Array[] = [];
    const { wanted } = wish;
    let at = 0;
    let { expected } = wish;
    let takenBytes = 0;
    const ended = (end: Taken['end'], reason: string | null, needed = 0): Taken => ({
      batches,
      consumed: at,
      next: 'baseOffset' in expected ? expected.baseOffset : -1,
      needed,
      end,
      reason,
    });
    while (at < piece.length) {
      const inspection = inspectBatch(piece, at, { bytesMax: STORED_BATCH_BYTES_MAX, verifyCrc: true });
      if (!inspection.ok) {
        if (inspection.fault.kind !== 'incomplete') {
          return ended('fault', `${inspection.fault.kind}: ${inspection.fault.detail}`);
        }
        const { needed } = inspection.fault;
        if (at + needed <= wish.roomBytes) return ended('more', null, needed);
        return ended('fault', `length: a batch of ${needed} bytes reaches beyond the end`);
      }
      const baseOffset = readBaseOffset(piece, at);
      const lastOffset = readLastOffset(piece, at);
      const isInPlace =
        'baseOffset' in expected ? baseOffset === expected.baseOffset : lastOffset === expected.lastOffset;
      if (!isInPlace || lastOffset >= wish.endOffset || !this.#view.epochs.admits(piece, at)) {
        const epoch = readLeaderEpoch(piece, at);
        return ended('fault', `offsets ${baseOffset} to ${lastOffset} and epoch ${epoch} do not belong here`);
      }
      const judged = wanted.judge(piece, at);
      if (judged === 'end') return ended('limit', null);
      if (judged === 'take') {
        if (batches.length > 0 && takenBytes + inspection.byteLength > wanted.bytesMax) return ended('limit', null);
        batches.push(piece.subarray(at, at + inspection.byteLength));
        takenBytes += inspection.byteLength;
      }
      at += inspection.byteLength;
      expected = { baseOffset: lastOffset + 1 };
    }
    return ended('more', null);
  }

  /** The log begins behind it by now: its epochs are not known any more, and the files are gone or going. */
  #isDropped(segment: Segment): boolean {
    return comparePositions(segment.end, this.#view.epochs.base) <= 0;
  }

  /** Null where it is none: the log changed meanwhile. */
  async noteDamage(
    segment: Segment,
    file: DiskFile,
    found: { readonly from: number; readonly position: number; readonly reason: string },
  ): Promise<DamagedRange | null> {
    const generation = this.#view.generation();
    const behind = await findBatchBehind(file, found.position + 1, {
      endPosition: segment.writtenBytes,
      damaged: { position: found.position, offset: found.from },
      offsetMax: segment.endOffset,
    });
    if (generation !== this.#view.generation() || this.#isDropped(segment)) return null;
    // Another file has its place: what was found is of neither.
    if (!this.#view.segments.includes(segment)) return null;
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
    for (;;) {
      const replacements = this.#view.replacements();
      try {
        const found = await this.#tryFindTimestamp(timestampMs, endMax);
        if (replacements === this.#view.replacements()) return found;
      } catch (fault) {
        if (!(fault instanceof DiskFault) || replacements === this.#view.replacements()) throw fault;
      }
    }
  }

  async #tryFindTimestamp(timestampMs: number, endMax: Offset): Promise<FoundTimestamp | null> {
    for (const segment of this.#view.segments.slice()) {
      if (segment.endOffset <= this.#view.startOffset() || segment.latest.timestamp < timestampMs) continue;
      if (segment.baseOffset >= endMax) break;
      try {
        const found = await this.#findTimestampIn(segment, timestampMs, endMax);
        if (found !== null) return found;
      } catch (fault) {
        // Retention may have removed the segment while it was being searched.
        if (!(fault instanceof DiskFault) || segment.endOffset > this.#view.startOffset()) throw fault;
      }
    }
    return null;
  }

  async #findTimestampIn(segment: Segment, timestampMs: number, endMax: Offset): Promise<FoundTimestamp | null> {
    const indexes = await this.#context.indexCache.indexesOf(segment, this.#view.indexInterval());
    const start = new TimeLookupStart(segment, indexes, { timestampMs, endMax });
    const found = await this.#searchTime(segment, { timestampMs, endMax, start });
    if (found !== 'index-wrong') return found;
    this.#context.logger.warn(
      { segment: segment.logPath },
      'an index does not fit its segment: the search begins at its start',
    );
    if (segment.indexes === null) {
      this.#context.indexCache.forget(segment);
      await this.#context.indexCache.rebuild(segment, this.#view.indexInterval());
    }
    const whole = await this.#searchTime(segment, { timestampMs, endMax, start: null });
    assert(whole !== 'index-wrong', 'without an index there is none that could be wrong');
    return whole;
  }

  /** From where the indexes lead to, or from the beginning. Nothing is answered by an index that the batches contradict. */
  async #searchTime(
    segment: Segment,
    wish: { readonly timestampMs: number; readonly endMax: Offset; readonly start: TimeLookupStart | null },
  ): Promise<FoundTimestamp | null | 'index-wrong'> {
    const { timestampMs, endMax, start } = wish;
    let found: FoundTimestamp | null = null;
    let isWrong = false;
    /** Null for the batch that an index entry names by its end. */
    let next: number | null = start === null || start.position === 0 ? segment.baseOffset : null;
    const visit = (buffer: Uint8Array, at: number, batchBytes: number): Visited => {
      if (start !== null && !start.admits(buffer, at)) {
        isWrong = true;
        return 'end';
      }
      const baseOffset = readBaseOffset(buffer, at);
      const isInPlace = next === null || baseOffset === next;
      if (!isInPlace || !this.#view.epochs.admits(buffer, at)) return 'misplaced';
      if (readLastOffset(buffer, at) >= endMax) return 'end';
      next = readLastOffset(buffer, at) + 1;
      if (readRecordCount(buffer, at) === 0) return 'go-on';
      if (readMaxTimestamp(buffer, at) < timestampMs || next <= this.#view.startOffset()) return 'go-on';
      found = this.#firstAtOrAfter(buffer.subarray(at, at + batchBytes), timestampMs);
      return found === null ? 'go-on' : 'end';
    };
    let position: number | null = start?.position ?? 0;
    while (position !== null) {
      const faultAt: number | null = await walkBatches(this.#context.files, { segment, position }, visit);
      // An entry whose batch is damaged or not there vouches for nothing.
      if (isWrong || start?.isProven === false) return 'index-wrong';
      if (faultAt === null) break;
      // Behind damage the search goes on: the answer is the first record that can be read.
      const behind = await this.#behindDamage(segment, { position: faultAt, offset: next ?? segment.baseOffset });
      position = behind?.position ?? null;
      next = behind?.baseOffset ?? null;
    }
    return found;
  }

  /** The next good batch; null where there is none. */
  #behindDamage(
    segment: Segment,
    at: { readonly position: number; readonly offset: number },
  ): Promise<FoundBatch | null> {
    return this.#context.files.use(segment.logPath, file =>
      findBatchBehind(file, at.position + 1, {
        endPosition: segment.writtenBytes,
        damaged: at,
        offsetMax: segment.endOffset,
      }),
    );
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

/**
 * Where a lookup by time begins: at the batch that the offset index names at or before the one of the time index. Both entries
 * are compared with their batches on the way: a wrong one would leave out records.
 */
class TimeLookupStart {
  readonly position: number;
  /** The last offset of the batch at `position`; null where that is the segment's first. */
  readonly #firstLast: number | null;
  readonly #entryLast: number | null;
  readonly #entryTime: number;
  #isFirst = true;
  isProven: boolean;

  constructor(
    segment: Segment,
    { offsets, times }: SegmentIndexes,
    wish: { readonly timestampMs: number; readonly endMax: Offset },
  ) {
    let entry = times.below(wish.timestampMs);
    // The active segment's index may be ahead of what may be read.
    while (entry >= 0 && segment.baseOffset + times.relativeOffset(entry) >= wish.endMax) entry--;
    const offsetEntry = entry < 0 ? -1 : offsets.floor(times.relativeOffset(entry));
    this.position = offsetEntry < 0 ? 0 : offsets.position(offsetEntry);
    this.#firstLast = offsetEntry < 0 ? null : segment.baseOffset + offsets.relativeOffset(offsetEntry);
    // At the segment's start nothing is left out, whatever an entry says.
    this.#entryLast = offsetEntry < 0 ? null : segment.baseOffset + times.relativeOffset(entry);
    this.#entryTime = entry < 0 ? 0 : times.timestamp(entry);
    this.isProven = this.#entryLast === null;
  }

  admits(buffer: Uint8Array, at: number): boolean {
    if (this.isProven) return true;
    const lastOffset = readLastOffset(buffer, at);
    if (this.#isFirst && lastOffset !== this.#firstLast) return false;
    this.#isFirst = false;
    // A batch without records dates nothing.
    if (readRecordCount(buffer, at) === 0) return true;
    if (lastOffset < this.#entryLast!) return readMaxTimestamp(buffer, at) <= this.#entryTime;
    this.isProven = lastOffset === this.#entryLast && readMaxTimestamp(buffer, at) === this.#entryTime;
    return this.isProven;
  }
}

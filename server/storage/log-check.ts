// The files of one partition examined against each other and against the marks in the node's store. Nothing is changed.
//
// What counts as damage is what recovery and readers would call so: the same walk, the same table (recovery.ts). Beyond them
// every segment is read, sealed ones too, and the files that are built from the log are compared with it.

import path from 'node:path';
import { type Offset, offset } from '@sluice/protocol/ids';
import { isEpochStart, readBaseOffset, readLeaderEpoch } from '@sluice/protocol/record';
import { ORIGIN } from '../base/position.ts';
import { type Disk, DiskFault, type DiskFile } from '../io/disk.ts';
import { EpochMap } from './epoch-map.ts';
import type { Finding } from './finding.ts';
import type { MarksView } from './log-marks.ts';
import { type FoundDamage, scanOverDamage } from './log-scan.ts';
import { EPOCH_CHECKPOINT, epochLimit, judgeTail, knownEpochs, noteEpoch, whereOf } from './recovery.ts';
import { Segment } from './segment.ts';
import { type CheckedCounts, SegmentCheck } from './segment-check.ts';
import { withReplacement } from './segment-replacement.ts';
import { isNewFileName, parseSegmentFileName, segmentFileName } from './segment-name.ts';
import { isTemporaryName, readSmallFile } from './small-file.ts';

export interface LogCheckRequest {
  readonly disk: Disk;
  readonly directory: string;
  readonly marks: MarksView;
  readonly counts: CheckedCounts;
  readonly found: (finding: Finding) => void;
}

export const ACCEPT_LOSS =
  'start the broker, which fetches it again from the other replicas of the partition; where there are none, restore the file from a copy, or give the records up with `sluice doctor --accept-loss`';

/** Of a checkpoint by which good batches look damaged. */
export const CHECKPOINT_MISFIT = 'the epochs do not fit the batches of the log';

export const checkLog = (request: LogCheckRequest): Promise<void> => new LogCheck(request).run();

class LogCheck {
  readonly #request: LogCheckRequest;
  #epochs = new EpochMap();

  constructor(request: LogCheckRequest) {
    this.#request = request;
  }

  async run(): Promise<void> {
    const { marks, directory } = this.#request;
    const segments = await this.#segments();
    await this.#chooseEpochs(segments);
    const { offset: start, base } = marks.logStart();
    const synced = marks.syncPoint()?.endOffset ?? start;
    // What the next start removes is nobody's loss.
    while (segments.length > 1 && segments[1]!.baseOffset <= start) segments.shift();
    while (segments[0] !== undefined && segments[0].baseOffset < (base?.offset ?? 0)) segments.shift();
    const first = segments[0];
    if (start < (first?.baseOffset ?? synced)) {
      const file = path.join(directory, segmentFileName(start, 'log'));
      this.#lost(file, { from: start, to: first?.baseOffset ?? synced, position: 0, reason: 'the file is missing' });
    }
    for (const [index, segment] of segments.entries())
      await this.#segment(segment, segments[index + 1]?.baseOffset ?? null);
  }

  async #segments(): Promise<Segment[]> {
    const { disk, directory, found, marks } = this.#request;
    const listed: Segment[] = [];
    const indexes: { readonly file: string; readonly baseOffset: Offset }[] = [];
    const entries = await disk.list(directory);
    for (const { name } of entries) {
      const file = path.join(directory, name);
      const parsed = parseSegmentFileName(name);
      if (parsed?.kind === 'log') listed.push(new Segment(directory, parsed.baseOffset));
      else if (parsed !== null) indexes.push({ file, baseOffset: parsed.baseOffset });
      else if (isTemporaryName(name) || (isNewFileName(name) && marks.replacement() === null))
        found(note(file, 'a crash left a file that was being written; it is not used'));
    }
    const names = new Set(entries.map(({ name }) => name));
    const segments = withReplacement(marks, { directory, names }, listed);
    segments.sort((left, right) => left.baseOffset - right.baseOffset);
    const last = segments.at(-1);
    for (const segment of segments) {
      segment.byteLength = await this.#use(segment.logPath, opened => opened.byteLength());
      if (segment !== last) segment.indexes = null;
    }
    for (const { file, baseOffset } of indexes) {
      if (segments.some(segment => segment.baseOffset === baseOffset)) continue;
      found(note(file, 'an index without its segment; it is not used'));
    }
    return segments;
  }

  async #use<T>(file: string, action: (opened: DiskFile) => Promise<T>): Promise<T> {
    const opened = await this.#request.disk.open(file, 'read');
    try {
      return await action(opened);
    } finally {
      await opened.close();
    }
  }

  /** The checkpoint up to the sync point, or where it is not to be relied on what the batches themselves say. */
  async #chooseEpochs(segments: readonly Segment[]): Promise<void> {
    const { disk, directory, found, marks } = this.#request;
    const file = path.join(directory, EPOCH_CHECKPOINT);
    const text = await readSmallFile(disk, file);
    const point = marks.syncPoint();
    const wrong = (meaning: string, advice: string): void =>
      found({ grade: 'derived', file, position: null, offsets: null, meaning, advice });
    const heals = 'nothing: the next start builds it again from the log';
    const base = marks.logStart().base ?? ORIGIN;
    const parsed = text === null ? null : EpochMap.parse(text, base);
    const told = await this.#toldEpochs(segments, new EpochMap(base));
    const known = knownEpochs(text, base, point);
    this.#epochs = known ?? told.epochs;
    if (parsed === null) {
      const hasLog = segments.some(segment => segment.byteLength > 0);
      // The sync point alone can tell of a few epochs.
      if (text === null && known !== null) return;
      if (hasLog) wrong(text === null ? 'the file is missing' : 'this is no checkpoint', heals);
      return;
    }
    const knownCrc = point?.epochsCrc ?? -1;
    const misfit = (): void =>
      knownCrc === -1
        ? wrong(CHECKPOINT_MISFIT, 'remove this file: the next start builds it again from the log')
        : wrong('this is not the checkpoint that the store knows', heals);
    if (known !== null) {
      // Behind the sync point the checkpoint may be ahead or not there yet, but it names what stands in the log.
      const isAhead = parsed.starts.filter(start => start.epoch > known.latest);
      const isTold = isAhead.every(start => told.epochs.hasStart(start.epoch, start.startOffset));
      if (isTold && told.misfits(known, known.latest) <= told.misfits(told.epochs, known.latest)) return;
      this.#epochs = isTold ? told.epochs : known;
      misfit();
      return;
    }
    // Batches that fit neither are wrong in themselves; those that fit what the others tell, tell of the checkpoint.
    if (told.misfits(parsed) > told.misfits(told.epochs)) misfit();
    else this.#epochs = parsed;
  }

  /** Epochs by the good batches alone. */
  async #toldEpochs(
    segments: readonly Segment[],
    epochs: EpochMap,
  ): Promise<{ readonly epochs: EpochMap; misfits(epochs: EpochMap, epochMax?: number): number }> {
    const point = this.#request.marks.syncPoint();
    /** Batches of one epoch, one behind the other; an epoch start is one of its own. */
    const runs: { readonly epoch: number; readonly from: number; readonly isStart: boolean; count: number }[] = [];
    for (const [index, segment] of segments.entries()) {
      const endOffset = segments[index + 1]?.baseOffset ?? Number.MAX_SAFE_INTEGER;
      const endPosition = segment.byteLength;
      const from = { position: 0, baseOffset: segment.baseOffset, endPosition, endOffset, epochs: null };
      const isLast = index === segments.length - 1;
      const epochMax = isLast ? Number.POSITIVE_INFINITY : epochLimit(segment, point);
      const onBatch = (buffer: Uint8Array, at: number): void => {
        noteEpoch(epochs, { buffer, at, epochMax });
        const [epoch, from, isStart] = [
          readLeaderEpoch(buffer, at),
          readBaseOffset(buffer, at),
          isEpochStart(buffer, at),
        ];
        const run = runs.at(-1);
        if (run?.epoch === epoch && !run.isStart && !isStart) run.count++;
        else runs.push({ epoch, from, isStart, count: 1 });
      };
      await this.#use(segment.logPath, file => scanOverDamage(file, from, { onBatch, onDamage() {} }));
    }
    return {
      epochs,
      misfits: (judged, epochMax = Number.POSITIVE_INFINITY) =>
        runs.reduce((sum, { epoch, from, isStart, count }) => {
          if (epoch > epochMax) return sum;
          const fits = isStart ? judged.hasStart(epoch, from) : judged.epochAt(from) === epoch;
          return fits ? sum : sum + count;
        }, 0),
    };
  }

  async #segment(segment: Segment, nextBase: Offset | null): Promise<void> {
    const { marks, counts } = this.#request;
    counts.segments++;
    counts.bytes += segment.byteLength;
    const point = marks.syncPoint();
    const inSegment = nextBase === null && point?.segment === segment.baseOffset ? point : null;
    const endPosition = nextBase === null ? Math.min(segment.byteLength, inSegment?.position ?? 0) : segment.byteLength;
    const endOffset = nextBase ?? Math.max(inSegment?.endOffset ?? segment.baseOffset, segment.baseOffset);
    const indexes = {
      offsets: await this.#index(segment.offsetIndexPath),
      times: await this.#index(segment.timeIndexPath),
    };
    await this.#use(segment.logPath, async file => {
      const check = new SegmentCheck({
        ...this.#request,
        segment,
        file,
        indexes,
        epochs: this.#epochs,
        endPosition,
        endOffset,
      });
      await check.whole();
      for (const found of check.damage) this.#lost(segment.logPath, found);
      if (nextBase === null) await this.#tail(segment, file, { check, position: endPosition, baseOffset: endOffset });
      else this.#againstMark(segment, check);
      check.finish();
      this.#missingIndexes(segment, indexes, check);
    });
  }

  /** Behind the sync point. */
  async #tail(
    segment: Segment,
    file: DiskFile,
    from: { readonly check: SegmentCheck; readonly position: number; readonly baseOffset: number },
  ): Promise<void> {
    const { marks, found } = this.#request;
    const point = marks.syncPoint();
    const endPosition = segment.byteLength;
    let { position, baseOffset } = from;
    for (;;) {
      const end = await from.check.tail({ position, baseOffset, endPosition });
      baseOffset = end.endOffset;
      if (end.fault === null) break;
      const where = whereOf(segment.baseOffset, point);
      const { verdict, behind } = await judgeTail(file, end, { fileBytes: endPosition, where });
      if (verdict === 'cut') {
        found({
          grade: 'note',
          file: segment.logPath,
          position: end.position,
          offsets: null,
          meaning: `a crash left ${endPosition - end.position} bytes of a write that was never acknowledged`,
          advice: 'the next start cuts them',
        });
        break;
      }
      const next = behind ?? { position: endPosition, baseOffset: end.endOffset + 1 };
      this.#lost(segment.logPath, {
        from: end.endOffset,
        to: next.baseOffset,
        position: end.position,
        reason: end.fault,
      });
      ({ position, baseOffset } = next);
    }
    if (point !== null && point.segment !== segment.baseOffset && baseOffset < point.endOffset) {
      this.#lost(segment.logPath, {
        from: baseOffset,
        to: point.endOffset,
        position: endPosition,
        reason: 'what was synced behind it is missing',
      });
    }
  }

  /** A sealed segment as it was on the day it was sealed. */
  #againstMark(segment: Segment, check: SegmentCheck): void {
    const { marks } = this.#request;
    const decided = marks.replacement();
    const mark = decided?.baseOffset === segment.baseOffset ? decided : marks.sealed(segment.baseOffset);
    // Without a mark (the crash came first, or records were given up) the next start looks at every batch, as this did.
    if (mark === null || check.damage.length > 0) return;
    const differences: string[] = [];
    if (mark.byteLength !== segment.byteLength)
      differences.push(`${mark.byteLength} bytes instead of ${segment.byteLength}`);
    if (mark.endOffset !== check.endOffset)
      differences.push(`the end offset ${mark.endOffset} instead of ${check.endOffset}`);
    if (mark.crc !== check.crc) differences.push('another checksum');
    if (differences.length === 0) return;
    this.#request.found({
      grade: 'damage',
      file: segment.logPath,
      position: null,
      offsets: { from: segment.baseOffset, to: offset(check.endOffset) },
      meaning: `every batch is good, and yet this is not the file that was sealed: the store has ${differences.join(', ')}`,
      advice: 'somebody replaced the file; restore it from a copy if records are missing',
    });
  }

  #missingIndexes(
    segment: Segment,
    indexes: { readonly offsets: Uint8Array | null; readonly times: Uint8Array | null },
    check: SegmentCheck,
  ): void {
    const missing = (file: string, meaning: string): void =>
      this.#request.found({
        grade: 'derived',
        file,
        position: null,
        offsets: null,
        meaning,
        advice: 'nothing: it is built again from the log when it is needed',
      });
    if (segment.indexes !== null) return;
    if (indexes.offsets === null) missing(segment.offsetIndexPath, 'the file is missing');
    if (indexes.times === null) missing(segment.timeIndexPath, 'the file is missing');
    else if (check.damage.length === 0 && check.latest > 0 && !endsWith(indexes.times, check.latest)) {
      missing(segment.timeIndexPath, 'the last entry does not name the newest record');
    }
  }

  async #index(file: string): Promise<Uint8Array | null> {
    try {
      return await this.#request.disk.readFile(file);
    } catch (fault) {
      if (fault instanceof DiskFault && fault.kind === 'not-found') return null;
      throw fault;
    }
  }

  #lost(file: string, range: Omit<FoundDamage, 'toPosition' | 'next'>): void {
    const start = this.#request.marks.logStart().offset;
    const from = Math.max(range.from, start);
    // What was deleted is nobody's loss. Epoch starts span no offset.
    if (range.to < start || (range.from < range.to && range.to <= from)) return;
    this.#request.found({
      grade: 'damage',
      file,
      position: range.position,
      offsets: { from: offset(from), to: offset(range.to) },
      meaning:
        range.from < range.to
          ? `these offsets cannot be read: ${range.reason}`
          : `the start of an epoch cannot be read, all records can: ${range.reason}`,
      advice: ACCEPT_LOSS,
    });
  }
}

const endsWith = (times: Uint8Array, timestamp: number): boolean => {
  const view = new DataView(times.buffer, times.byteOffset, times.byteLength);
  const at = Math.floor(times.length / 12) * 12 - 12;
  return at >= 0 && Number(view.getBigInt64(at)) === timestamp;
};

const note = (file: string, meaning: string): Finding => ({
  grade: 'note',
  file,
  position: null,
  offsets: null,
  meaning,
  advice: 'nothing',
});

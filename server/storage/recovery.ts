// What a start makes of the files of one partition: the recovery table, and the walk that applies it.
//
// The sync point in the node's store says what was certainly on disk. Below it, and in every segment but the last, whatever
// is not as it was synced is corruption: it is kept, named and never cut. Above it, in the last segment, a crash may have left
// anything: the first thing that is no batch in its place ends the log, unless a valid batch follows further away than one
// gathered write reaches.
//
// Epochs: the checkpoint is taken up to the sync point, which names the last of them itself and has the CRC of all; behind it the
// log tells of them, since their starts stand in it.
//
// What survives above the sync point is written again in place, the same bytes, and synced: a page that a failed sync left
// marked clean is not on disk, and another sync alone would do nothing about it.

import path from 'node:path';
import { offset, type Offset } from '@sluice/protocol/ids';
import {
  BATCH_HEADER_BYTES,
  crc32c,
  crc32cContinue,
  isEpochStart,
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
} from '@sluice/protocol/record';
import { unreachable } from '../base/assert.ts';
import { EPOCHS_BEHIND_MAX, GATHER_BYTES_MAX } from '../base/limits.ts';
import { type Position, positionAt } from '../base/position.ts';
import { DiskFault, type DiskFile } from '../io/disk.ts';
import { DamageMap } from './damage.ts';
import { EpochMap } from './epoch-map.ts';
import { readIndexFile, saveIndexFile } from './index-cache.ts';
import type { LogContext } from './log-context.ts';
import { type LogMarks, sealedMarkOf, type SyncPoint } from './log-marks.ts';
import {
  findBatchBehind,
  type FoundBatch,
  type OnBatch,
  scanBatches,
  type ScanEnd,
  scanOverDamage,
} from './log-scan.ts';
import type { FoundProducers } from './producer-state.ts';
import { NO_TIME, Segment } from './segment.ts';
import { isNewFileName, parseSegmentFileName, parseSnapshotFileName } from './segment-name.ts';
import { removeSegmentFiles } from './segment-files.ts';
import type { SparseIndex } from './sparse-index.ts';
import { isTemporaryName, readSmallFile, replaceSmallFile } from './small-file.ts';

export type Found = 'clean-end' | 'invalid-batch' | 'invalid-batch-then-valid' | 'segment-missing';
/** `tail`: at or above the sync point, in the last segment. `synced`: below it, or in a sealed segment. */
export type Where = 'tail' | 'synced';
export type Verdict = 'ready' | 'cut' | 'corrupt' | 'cannot-be';

/** A clean end below the sync point means that the file is shorter than what was synced. */
export const recoveryTable: Readonly<Record<Found, Readonly<Record<Where, Verdict>>>> = {
  'clean-end': { tail: 'ready', synced: 'corrupt' },
  'invalid-batch': { tail: 'cut', synced: 'corrupt' },
  'invalid-batch-then-valid': { tail: 'corrupt', synced: 'corrupt' },
  'segment-missing': { tail: 'cannot-be', synced: 'corrupt' },
};

/** What lies above the sync point in the last segment. Without a sync point nothing vouches for a cut. */
export const whereOf = (baseOffset: Offset, point: SyncPoint | null): Where =>
  point !== null && baseOffset >= point.segment ? 'tail' : 'synced';

/** What to make of the end of a scan of the last segment that is no clean end. */
export const judgeTail = async (
  file: DiskFile,
  end: ScanEnd,
  { fileBytes, where }: { readonly fileBytes: number; readonly where: Where },
): Promise<{ readonly verdict: Verdict; readonly behind: FoundBatch | null }> => {
  const behind = await findBatchBehind(file, end.position + GATHER_BYTES_MAX, {
    endPosition: fileBytes,
    damaged: { position: end.position, offset: end.endOffset },
    offsetMax: end.endOffset + fileBytes,
  });
  const found: Found = behind === null ? 'invalid-batch' : 'invalid-batch-then-valid';
  return { verdict: recoveryTable[found][where], behind };
};

export const checkpointCrc = (text: string): number => crc32c(Buffer.from(text));

export const EPOCH_CHECKPOINT = 'leader-epoch-checkpoint';

export interface RecoverRequest {
  readonly context: LogContext;
  readonly directory: string;
  readonly marks: LogMarks;
  readonly indexInterval: number;
  /** There is nothing in the folder. */
  readonly isNew?: boolean;
}

export interface RecoveredLog {
  /** In offset order; the last one is active. Empty when nothing was ever written. */
  readonly segments: Segment[];
  readonly startOffset: Offset;
  readonly end: Position;
  readonly generation: number;
  readonly epochs: EpochMap;
  readonly checkpoint: Checkpoint;
  readonly damage: DamageMap;
  readonly producers: FoundProducers;
  /** Bytes above the last good batch that were cut. */
  readonly cutBytes: number;
}

/** The copy of the epochs in their file. */
export interface Checkpoint {
  /** The last one in it; -1 where it may be no copy. */
  readonly epoch: number;
  readonly crc: number;
  /** What is not there says as much as one without starts. */
  readonly isThere: boolean;
}

export const NO_CHECKPOINT: Checkpoint = { epoch: -1, crc: -1, isThere: false };

export const recoverLog = (request: RecoverRequest): Promise<RecoveredLog> => new Recovery(request).run();

class Recovery {
  readonly #request: RecoverRequest;
  readonly #context: LogContext;
  readonly #marks: LogMarks;
  readonly #damage = new DamageMap();
  readonly #point: SyncPoint | null;
  readonly #startOffset: Offset;
  /** Null in marks of earlier builds. */
  readonly #base: Position | null;
  #epochs = new EpochMap();
  #checkpointText: string | null = null;
  #snapshots: Offset[] = [];
  #cutBytes = 0;

  constructor(request: RecoverRequest) {
    this.#request = request;
    this.#context = request.context;
    this.#marks = request.marks;
    this.#point = request.marks.syncPoint();
    const start = request.marks.logStart();
    this.#startOffset = start.offset;
    this.#base = start.base;
  }

  async run(): Promise<RecoveredLog> {
    const { directory } = this.#request;
    const startOffset = this.#startOffset;
    // Names that a process made or removed and died before they were durable: what is listed now must still be there, and
    // nothing else, after a power loss. A removed segment would come back in place of the one that follows it.
    if (this.#request.isNew !== true) await this.#context.disk.syncDirectory(directory);
    const segments = this.#request.isNew === true ? [] : await this.#listSegments();
    await this.#removeBelow(segments);
    await this.#loadEpochs(segments);
    for (const [index, segment] of segments.entries()) {
      const next = segments[index + 1];
      if (next === undefined) await this.#openLast(segment);
      else await this.#openSealed(segment, next.baseOffset);
    }
    this.#judgeMissing(segments, startOffset);
    // In flush mode `interval` the log start can be durable before the records below it were.
    const synced = offset(Math.max(this.#point?.endOffset ?? startOffset, startOffset));
    let endOffset = segments.at(-1)?.endOffset ?? startOffset;
    if (endOffset < synced) {
      // The end is gone. New records go behind what was acknowledged, into a segment of their own.
      endOffset = synced;
      if (segments.length > 0) segments.at(-1)!.indexes = null;
      segments.push(new Segment(directory, endOffset));
      await this.#removeBelow(segments);
    }
    if (segments.length > 0 && segments.at(-1)!.indexes === null) segments.push(new Segment(directory, endOffset));
    // So is the start of an epoch that was acknowledged. An end of an earlier epoch would give the vote to who lacks it.
    const acknowledged = this.#point?.leaderEpoch ?? 0;
    if (acknowledged > this.#epochs.latest) this.#epochs.start(acknowledged, endOffset);
    const checkpoint = await this.#saveEpochs();
    return {
      segments,
      startOffset,
      end: { epoch: this.#epochs.latest, offset: endOffset },
      generation: (this.#point?.generation ?? 0) + 1,
      epochs: this.#epochs,
      checkpoint,
      damage: this.#damage,
      producers: { searchFrom: this.#point?.producersFrom ?? offset(0), snapshots: this.#snapshots },
      cutBytes: this.#cutBytes,
    };
  }

  async #loadEpochs(segments: readonly Segment[]): Promise<void> {
    const { disk, logger } = this.#context;
    const { directory } = this.#request;
    const base = this.#base ?? positionAt(0, Math.min(segments[0]?.baseOffset ?? this.#startOffset, this.#startOffset));
    if (this.#request.isNew !== true)
      this.#checkpointText = await readSmallFile(disk, path.join(directory, EPOCH_CHECKPOINT));
    const epochs = knownEpochs(this.#checkpointText, base, this.#point);
    if (epochs !== null && this.#coversSealed(segments, epochs)) {
      this.#epochs = epochs;
      return;
    }
    this.#epochs = new EpochMap(base);
    if (segments.length === 0) return;
    // Also where a crash came between an epoch and its checkpoint: nothing tells that from damage.
    logger.warn(
      { directory },
      'the leader epoch checkpoint is missing or not as it was written: building it again from the log',
    );
    for (const [index, segment] of segments.entries()) {
      const next = segments[index + 1];
      const from = {
        position: 0,
        baseOffset: segment.baseOffset,
        // Behind the sync point the scan that follows tells what is whole.
        endPosition: next === undefined ? syncedBytes(segment, this.#point) : segment.byteLength,
        endOffset: next?.baseOffset ?? Number.MAX_SAFE_INTEGER,
        epochs: null,
      };
      const epochMax = epochLimit(segment, this.#point);
      const onBatch: OnBatch = (buffer, at) => noteEpoch(this.#epochs, { buffer, at, epochMax });
      await this.#context.files.use(segment.logPath, file => scanOverDamage(file, from, { onBatch, onDamage() {} }));
    }
  }

  /** Whether the epochs reach as far as what was sealed: a store that lost its newest lines does not. */
  #coversSealed(segments: readonly Segment[], epochs: EpochMap): boolean {
    return segments.every(segment => (this.#marks.sealed(segment.baseOffset)?.lastEpoch ?? 0) <= epochs.latest);
  }

  /** Not where the file has all but the last few, which the next sync point names. */
  async #saveEpochs(): Promise<Checkpoint> {
    const epochs = this.#epochs;
    const present = this.#checkpointText;
    const latest = present === null ? epochs.base.epoch : (EpochMap.parse(present, epochs.base)?.latest ?? -1);
    const isCopy = present === null || present === epochs.format(latest);
    if (isCopy && latest >= 0 && epochs.startsBehind(latest).length <= EPOCHS_BEHIND_MAX) {
      return { epoch: latest, crc: checkpointCrc(epochs.format(latest)), isThere: present !== null };
    }
    const text = epochs.format();
    await replaceSmallFile(this.#context.disk, path.join(this.#request.directory, EPOCH_CHECKPOINT), text);
    return { epoch: epochs.latest, crc: checkpointCrc(text), isThere: true };
  }

  async #listSegments(): Promise<Segment[]> {
    const { directory } = this.#request;
    const segments = new Map<Offset, Segment>();
    const indexes: { readonly name: string; readonly baseOffset: Offset }[] = [];
    for (const { name } of await this.#context.disk.list(directory)) {
      const parsed = parseSegmentFileName(name);
      const snapshot = parseSnapshotFileName(name);
      if (snapshot !== null) this.#snapshots.push(snapshot);
      // Of a file that a crash kept from getting its name.
      if (isTemporaryName(name) || isNewFileName(name)) await this.#context.disk.removeFile(path.join(directory, name));
      if (parsed === null) continue;
      if (parsed.kind === 'log') segments.set(parsed.baseOffset, new Segment(directory, parsed.baseOffset));
      else indexes.push({ name, baseOffset: parsed.baseOffset });
    }
    // Of a removal that a power loss kept in part. An index alone tells nothing that anybody could read.
    for (const { name, baseOffset } of indexes) {
      if (baseOffset >= this.#startOffset || segments.has(baseOffset)) continue;
      await this.#context.disk.removeFile(path.join(directory, name));
    }
    return this.#measured([...segments.values()]);
  }

  async #measured(segments: Segment[]): Promise<Segment[]> {
    segments.sort((left, right) => left.baseOffset - right.baseOffset);
    for (const segment of segments) {
      segment.exists = true;
      segment.byteLength = await this.#context.files.use(segment.logPath, file => file.byteLength());
      segment.writtenBytes = segment.byteLength;
    }
    return segments;
  }

  /** Finishes a removal that was decided (the log start is durable) and interrupted. */
  async #removeBelow(segments: Segment[]): Promise<void> {
    const isBelow = (segment: Segment): boolean =>
      segment.baseOffset < (this.#base?.offset ?? 0) || (segments[1]?.baseOffset ?? Infinity) <= this.#startOffset;
    while (segments[0] !== undefined && isBelow(segments[0])) {
      const segment = segments.shift()!;
      this.#marks.removeSealed(segment.baseOffset);
      await removeSegmentFiles(this.#context, segment);
    }
  }

  #corrupt(
    segment: Segment,
    range: { from: number; to: number; position: number; reason: string; toPosition?: number | null },
  ): void {
    // What was deleted is nobody's loss. Epoch starts span no offset and are a loss all the same.
    const isSpan = range.from < range.to;
    if (range.to < this.#startOffset || (isSpan && range.to === this.#startOffset)) return;
    this.#damage.add({
      from: offset(range.from),
      to: offset(range.to),
      file: segment.logPath,
      position: range.position,
      toPosition: range.toPosition ?? null,
      reason: range.reason,
    });
  }

  /** All offsets are there, and yet the file is shorter than it was: epoch starts stood at its end. */
  #corruptEnd(segment: Segment): void {
    const { endOffset, byteLength } = segment;
    const reason = 'the file is shorter than what was synced';
    this.#corrupt(segment, { from: endOffset, to: endOffset, position: byteLength, reason });
  }

  /** A segment that another one follows: synced as a whole before its successor was created. */
  async #openSealed(segment: Segment, nextBase: Offset): Promise<void> {
    const mark = this.#marks.sealed(segment.baseOffset);
    segment.indexes = null;
    if (mark !== null && mark.byteLength === segment.byteLength && mark.endOffset <= nextBase) {
      segment.endOffset = mark.endOffset;
      segment.lastEpoch = mark.lastEpoch;
      segment.crc = mark.crc;
      segment.latest = { timestamp: mark.latestTimestamp, lastOffset: mark.latestOffset };
      segment.writtenLatest = segment.latest;
      if (mark.endOffset < nextBase) {
        this.#corrupt(segment, {
          from: mark.endOffset,
          to: nextBase,
          position: segment.byteLength,
          reason: 'a segment is missing',
        });
      }
      return;
    }
    // Not sealed on record (the crash came first) or not as it was: every batch is looked at.
    segment.indexes = new Segment('', segment.baseOffset).indexes;
    const isWhole = await this.#scanAll(segment, nextBase);
    if (isWhole && mark !== null && segment.byteLength < mark.byteLength) this.#corruptEnd(segment);
    segment.noteSealed();
    segment.writtenLatest = segment.latest;
    await saveIndexFile(this.#context, segment.offsetIndexPath, segment.indexes!.offsets);
    await saveIndexFile(this.#context, segment.timeIndexPath, segment.indexes!.times);
    segment.indexes = null;
    if (mark === null && isWhole) {
      // With the mark the indexes are trusted: those of before must not come back to it.
      await this.#context.disk.syncDirectory(this.#request.directory);
      this.#marks.setSealed(sealedMarkOf(segment));
    }
  }

  /** Scans from the segment's start with every check, noting batches, indexes and the CRC; answers whether all is whole. */
  async #scanAll(segment: Segment, endOffset: Offset): Promise<boolean> {
    const endPosition = segment.byteLength;
    segment.byteLength = 0;
    segment.crc = 0;
    const isWhole = await this.#context.files.use(segment.logPath, file =>
      this.#scanSynced(segment, file, {
        position: 0,
        endPosition,
        endOffset,
        // The point is older than a segment behind it: its epochs are in no checkpoint that is vouched for.
        grows: this.#point === null || segment.baseOffset >= this.#point.segment,
      }),
    );
    segment.byteLength = endPosition;
    return isWhole;
  }

  /** Scans what was synced and names what is damaged; answers whether nothing was. */
  async #scanSynced(
    segment: Segment,
    file: DiskFile,
    how: { position: number; endPosition: number; endOffset: Offset; grows: boolean },
  ): Promise<boolean> {
    let isWhole = true;
    await scanOverDamage(
      file,
      { ...how, baseOffset: segment.endOffset, epochs: this.#epochs },
      {
        ...this.#noting(segment),
        onDamage: found => {
          isWhole = false;
          this.#corrupt(segment, found);
          if (found.toPosition === null) return;
          segment.byteLength = found.toPosition;
          segment.endOffset = offset(found.to);
        },
      },
    );
    return isWhole;
  }

  /** Scans what may end anywhere, and writes it again. */
  #scanTail(segment: Segment, file: DiskFile, how: { position: number; endPosition: number }): Promise<ScanEnd> {
    const from = { ...how, baseOffset: segment.endOffset, epochs: this.#epochs, grows: true };
    const { onBatch, onChunk } = this.#noting(segment);
    return scanBatches(file, from, {
      onBatch,
      onChunk: async (bytes, position) => {
        await onChunk(bytes);
        await rewrite(file, bytes, position);
      },
    });
  }

  /** Takes each good batch into the segment, its indexes and its CRC. */
  #noting(segment: Segment): { readonly onBatch: OnBatch; readonly onChunk: (bytes: Uint8Array) => Promise<void> } {
    const { indexInterval } = this.#request;
    return {
      onBatch: (buffer, at, batchBytes) => segment.noteBatch(buffer, at, { batchBytes, indexInterval }),
      onChunk: bytes => {
        segment.crc = crc32cContinue(segment.crc, bytes);
        return Promise.resolve();
      },
    };
  }

  async #openLast(segment: Segment): Promise<void> {
    const point = this.#point;
    const fileBytes = segment.byteLength;
    const inSegment = point !== null && point.segment === segment.baseOffset ? point : null;
    segment.byteLength = 0;
    await this.#context.files.use(segment.logPath, async file => {
      if (inSegment !== null && fileBytes < inSegment.position) {
        await this.#openShortened(segment, file, { fileBytes, point: inSegment });
        return;
      }
      if (inSegment !== null) await this.#walkSynced(segment, file, inSegment);
      await this.#openTail(segment, file, fileBytes);
    });
  }

  /** The last segment lost bytes that were synced: it is kept as it is, and what is missing is named. */
  async #openShortened(
    segment: Segment,
    file: DiskFile,
    facts: { readonly fileBytes: number; readonly point: SyncPoint },
  ): Promise<void> {
    const { fileBytes, point } = facts;
    await this.#scanSynced(segment, file, {
      position: 0,
      endPosition: fileBytes,
      endOffset: point.endOffset,
      grows: false,
    });
    if (segment.endOffset === point.endOffset) this.#corruptEnd(segment);
    segment.byteLength = fileBytes;
    segment.noteSealed();
    segment.writtenLatest = segment.latest;
    await saveIndexFile(this.#context, segment.offsetIndexPath, segment.indexes!.offsets);
    await saveIndexFile(this.#context, segment.timeIndexPath, segment.indexes!.times);
    segment.indexes = null;
  }

  /** Takes over what the sync point vouches for. Indexes are trusted as far as they are good; behind their last entry the log is walked. */
  async #walkSynced(segment: Segment, file: DiskFile, point: SyncPoint): Promise<void> {
    const { offsets, times } = segment.indexes!;
    const span = point.endOffset - segment.baseOffset;
    offsets.loadTrusted(await readIndexFile(this.#context.disk, segment.offsetIndexPath), point.position);
    if (offsets.count > 0 && offsets.relativeOffset(offsets.count - 1) >= span) offsets.keep(0);
    times.loadTrusted(await readIndexFile(this.#context.disk, segment.timeIndexPath), span);
    const resumed = await this.#resumeAtLastEntry(segment, file);
    times.cut(segment.endOffset - segment.baseOffset);
    const timesBefore = times.count;
    await this.#scanSynced(segment, file, {
      position: segment.byteLength,
      endPosition: point.position,
      endOffset: point.endOffset,
      grows: false,
    });
    // What is newest before the walked part is not known, so the walk dates nothing: a missing entry only costs scanning.
    if (resumed) times.keep(timesBefore);
    segment.byteLength = point.position;
    segment.endOffset = point.endOffset;
    segment.lastEpoch = point.leaderEpoch;
    segment.crc = point.crc;
    segment.latest =
      point.latestOffset < 0 ? NO_TIME : { timestamp: point.latestTimestamp, lastOffset: point.latestOffset };
    segment.writtenLatest = segment.latest;
    segment.firstTimestamp = point.latestOffset < 0 || point.firstTimestamp < 0 ? null : point.firstTimestamp;
  }

  /**
   * Makes the batch of the last index entry the end of the segment, to be walked again: its length is not in the index. False
   * when there is none, or the batch is not the one that the entry names; then the walk begins at the start.
   */
  async #resumeAtLastEntry(segment: Segment, file: DiskFile): Promise<boolean> {
    const { offsets } = segment.indexes!;
    const last = offsets.count - 1;
    if (last < 0) return false;
    const position = offsets.position(last);
    const lastOffset = offsets.relativeOffset(last) + segment.baseOffset;
    const header = Buffer.alloc(BATCH_HEADER_BYTES);
    const filled = await file.read(header, position);
    const baseOffset = readBaseOffset(header, 0);
    const isNamed =
      filled === header.length && readLastOffset(header, 0) === lastOffset && baseOffset >= segment.baseOffset;
    if (!isNamed) {
      offsets.keep(0);
      return false;
    }
    offsets.cut(lastOffset - segment.baseOffset);
    segment.byteLength = position;
    segment.bytesSinceIndexEntry = this.#request.indexInterval + 1;
    segment.endOffset = offset(baseOffset);
    return true;
  }

  /** Above the sync point: keep what is whole, write it again, cut or name the rest. */
  async #openTail(segment: Segment, file: DiskFile, fileBytes: number): Promise<void> {
    let end = await this.#scanTail(segment, file, { position: segment.byteLength, endPosition: fileBytes });
    while (end.fault !== null) {
      const where = whereOf(segment.baseOffset, this.#point);
      const { verdict, behind } = await judgeTail(file, end, { fileBytes, where });
      if (verdict === 'cut') {
        this.#cutBytes += fileBytes - end.position;
        this.#context.logger.info(
          { file: segment.logPath, position: end.position, bytes: fileBytes - end.position, reason: end.fault },
          'cut an unfinished write at the end of the log',
        );
        await file.truncate(end.position);
        await this.#context.syncGate.run('log', () => file.sync());
        break;
      }
      const next = behind ?? { position: fileBytes, baseOffset: end.endOffset + 1 };
      this.#corrupt(segment, {
        from: end.endOffset,
        to: next.baseOffset,
        position: end.position,
        toPosition: next.position,
        reason: end.fault,
      });
      segment.byteLength = next.position;
      segment.endOffset = offset(next.baseOffset);
      end = await this.#scanTail(segment, file, { position: next.position, endPosition: fileBytes });
    }
    // Also where nothing was written: a process that died in the middle of a cut left a length that is not durable, and what
    // was cut would come back over what is appended next.
    await this.#context.syncGate.run('log', () => file.sync());
    segment.writtenBytes = segment.byteLength;
    segment.writtenLatest = segment.latest;
    await this.#fitIndexFile(segment.offsetIndexPath, segment.indexes!.offsets);
    await this.#fitIndexFile(segment.timeIndexPath, segment.indexes!.times);
  }

  /** Cuts what is not trusted off an index file, and creates one that is missing. */
  async #fitIndexFile(file: string, index: SparseIndex): Promise<void> {
    const { disk, files } = this.#context;
    if (!(await disk.exists(file))) {
      await saveIndexFile(this.#context, file, index);
      return;
    }
    const wantedBytes = index.writtenCount * index.entryBytes;
    await files.use(file, async handle => {
      if ((await handle.byteLength()) <= wantedBytes) return;
      await handle.truncate(wantedBytes);
      // For good: a later crash must not mix entries of before with new ones.
      await handle.sync();
    });
  }

  /** Segments that the marks know of and the folder does not have. */
  #judgeMissing(segments: readonly Segment[], startOffset: Offset): void {
    const verdict = recoveryTable['segment-missing'].synced;
    if (verdict !== 'corrupt') unreachable(verdict as never);
    const first = segments[0];
    const synced = this.#point?.endOffset ?? startOffset;
    const named = first ?? new Segment(this.#request.directory, startOffset);
    if (startOffset < (first?.baseOffset ?? synced)) {
      this.#corrupt(named, {
        from: startOffset,
        to: first?.baseOffset ?? synced,
        position: 0,
        reason: 'a segment is missing',
      });
    }
    const last = segments.at(-1);
    if (last !== undefined && last.endOffset < synced) {
      this.#corrupt(last, {
        from: last.endOffset,
        to: synced,
        position: last.byteLength,
        reason: 'a segment is missing',
      });
    }
  }
}

/**
 * What the checkpoint and the sync point say of the epochs up to there; null where that is not what the point knows. A checkpoint
 * that is not there has no starts.
 */
export const knownEpochs = (text: string | null, base: Position, point: SyncPoint | null): EpochMap | null => {
  if (point === null || (text === null && point.epochsCrc === -1)) return null;
  const epochs = text === null ? new EpochMap(base) : EpochMap.parse(text, base);
  if (epochs === null) return null;
  epochs.cut(positionAt(point.leaderEpoch, Number.MAX_SAFE_INTEGER));
  for (const { epoch, startOffset } of point.epochsBehind) {
    if (epochs.canStart(epoch, startOffset)) epochs.start(epoch, startOffset);
  }
  const isKnown = point.epochsCrc === -1 || checkpointCrc(epochs.format()) === point.epochsCrc;
  return isKnown && epochs.latest >= point.leaderEpoch ? epochs : null;
};

/** How much of the last segment the sync point vouches for; all of it where there is none. */
export const syncedBytes = (segment: Segment, point: SyncPoint | null): number => {
  if (point === null || point.segment > segment.baseOffset) return segment.byteLength;
  return point.segment < segment.baseOffset ? 0 : Math.min(segment.byteLength, point.position);
};

/** An epoch that the sync point cannot vouch for has rotted, in a segment that is not behind it. */
export const epochLimit = (segment: Segment, point: SyncPoint | null): number =>
  point === null || segment.baseOffset > point.segment ? Number.POSITIVE_INFINITY : point.leaderEpoch;

/** Takes in what a batch tells of epochs. Without its start, which may be damaged, an epoch begins with its first batch. */
export const noteEpoch = (
  epochs: EpochMap,
  { buffer, at, epochMax }: { readonly buffer: Uint8Array; readonly at: number; readonly epochMax: number },
): void => {
  const epoch = readLeaderEpoch(buffer, at);
  if (epoch > epochMax && !isEpochStart(buffer, at)) return;
  if (epochs.canStart(epoch, readBaseOffset(buffer, at))) epochs.start(epoch, readBaseOffset(buffer, at));
};

/** The same bytes in place: marks the pages dirty again, so that the next sync writes them. */
const rewrite = async (file: DiskFile, bytes: Uint8Array, position: number): Promise<void> => {
  const written = await file.write([bytes], position);
  if (written < bytes.length) throw new DiskFault('full', file.path);
};

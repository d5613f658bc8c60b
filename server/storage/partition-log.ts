// One partition's log on disk: append, sync, read, cut, retention.
//
// Path of an append: `append` stamps the batch, notes it in the active segment and queues it, all in one step. The pump, one
// loop a log, takes what is queued, writes it with one gathered write, syncs once, and tells the listener how far the
// log is durable. Everything that changes files (roll, cut, removal) goes through the same loop, one at a time, because
// the thread pool runs calls in no order.
//
// Invariants
// - startOffset <= durableOffset <= endOffset.
// - A reader is given nothing at or above the `endMax` it passes, and callers pass at most durableOffset: so indexes and
//   segments may be ahead of the disk.
// - A batch buffer is stamped once and never written again: the tail cache and the pump share it.
// - After a failed sync nothing is ever appended again. After a full disk the unsynced end is cut back and the log opens by
//   itself when there is room.

import path from 'node:path';
import type { LeaderEpoch } from '@sluice/protocol/ids';
import { type Offset, offset } from '@sluice/protocol/ids';
import { crc32cContinue, readLastOffsetDelta, readMaxTimestamp, stampBatch } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { DISK_HEADROOM_BYTES, PENDING_LOG_BYTES_MAX } from '../base/limits.ts';
import { DiskFault, type DiskFile } from '../io/disk.ts';
import { AppendQueue, type WriteGroup } from './append-queue.ts';
import type { DamagedRange, DamageMap } from './damage.ts';
import type { EpochMap } from './epoch-map.ts';
import type { LogContext } from './log-context.ts';
import { LogMarks, type SyncPoint } from './log-marks.ts';
import type { LogSettings } from './log-settings.ts';
import { type FoundTimestamp, LogReader, type LogView, type ReadLimits, type ReadOutcome } from './log-reader.ts';
import { checkpointCrc, EPOCH_CHECKPOINT, type RecoveredLog, recoverLog } from './recovery.ts';
import { Segment } from './segment.ts';
import {
  createSegmentFiles,
  forgetSegmentFiles,
  rebuildSegment,
  removeSegmentFiles,
  truncateIndexes,
  writeIndexes,
} from './segment-files.ts';
import { replaceSmallFile } from './small-file.ts';
import type { LogTail } from './tail-cache.ts';

/** `full` opens again by itself; `failed` and `closed` last until the next start. */
export type LogState = 'open' | 'full' | 'failed' | 'closed';

export type AppendRefusal = 'full' | 'failed' | 'closed' | 'backlog';

export type AppendOutcome =
  | { readonly ok: true; readonly baseOffset: Offset; readonly endOffset: Offset }
  | { readonly ok: false; readonly refusal: AppendRefusal };

/** Everything below `endOffset` is durable, as the flush mode says. A notice of an older generation is never sent. */
export interface DurableNotice {
  readonly generation: number;
  readonly endOffset: Offset;
}

export interface LogListener {
  durable(notice: DurableNotice): void;
  /** What was appended at or above `endOffset` will never be durable. */
  dropped(state: 'full' | 'failed', endOffset: Offset): void;
}

export interface OpenLogRequest {
  readonly context: LogContext;
  readonly directory: string;
  /** Names the log in the node's store: topic id and partition. */
  readonly key: string;
  readonly settings: LogSettings;
  readonly listener: LogListener;
}

const FULL_RETRY_MS = 250;
/** Index entries are handed to the files in pieces of about this size. */
const INDEX_WRITE_BYTES = 4_096;

export class PartitionLog {
  readonly directory: string;
  readonly #context: LogContext;
  readonly #marks: LogMarks;
  readonly #listener: LogListener;
  readonly #tail: LogTail;
  readonly #reader: LogReader;
  readonly #segments: Segment[];
  readonly #epochs: EpochMap;
  readonly #damage: DamageMap;
  #settings: LogSettings;
  #state: LogState = 'open';
  #fault: DiskFault | null = null;
  #generation: number;
  #startOffset: Offset;
  #endOffset: Offset;
  #durableOffset: Offset;
  readonly #queue = new AppendQueue();
  readonly #operations: (() => Promise<void>)[] = [];
  #pumping: Promise<void> | null = null;
  /** Written and not yet synced; only in flush mode `interval`, or while a sync is under way. */
  #unsyncedRecords = 0;
  #unsyncedBytes = 0;
  /** Written since the last sync point was handed to the store. */
  #unmarkedBytes = 0;
  #flushDue = false;
  #epochsChanged = false;
  /** Of the checkpoint as it is on disk. */
  #epochsCrc: number;
  /** From the call of `cut` until the files are cut nothing may be appended: segments are behind the end offset. */
  #cutting = false;

  private constructor(request: OpenLogRequest, marks: LogMarks, recovered: RecoveredLog) {
    this.directory = request.directory;
    this.#context = request.context;
    this.#settings = request.settings;
    this.#listener = request.listener;
    this.#marks = marks;
    this.#tail = request.context.tailCache.newTail();
    this.#segments = recovered.segments;
    this.#epochs = recovered.epochs;
    this.#epochsCrc = recovered.epochsCrc;
    this.#damage = recovered.damage;
    this.#generation = recovered.generation;
    this.#startOffset = recovered.startOffset;
    this.#endOffset = recovered.endOffset;
    this.#durableOffset = recovered.endOffset;
    this.#reader = new LogReader(request.context, this.#view());
  }

  /** What the reader may see: always the current state, never a copy. */
  #view(): LogView {
    return {
      directory: this.directory,
      segments: this.#segments,
      epochs: this.#epochs,
      damage: this.#damage,
      tail: this.#tail,
      startOffset: () => this.#startOffset,
      durableOffset: () => this.#durableOffset,
      indexInterval: () => this.#settings.indexIntervalBytes,
    };
  }

  /** Reads the folder, judges it by the recovery table and makes its end durable. */
  static async open(request: OpenLogRequest): Promise<PartitionLog> {
    const marks = new LogMarks(request.context.store, request.key);
    const isUnmarked = marks.syncPoint() === null;
    const recovered = await recoverLog({
      context: request.context,
      directory: request.directory,
      marks,
      indexInterval: request.settings.indexIntervalBytes,
    });
    const log = new PartitionLog(request, marks, recovered);
    log.#noteSyncPoint();
    // A crash came between the first segment and its sync point: nothing is written before there is one.
    if (isUnmarked && recovered.segments.length > 0) await marks.flush();
    for (const range of recovered.damage.ranges) log.#reader.reportDamage(range);
    return log;
  }

  get startOffset(): Offset {
    return this.#startOffset;
  }

  get endOffset(): Offset {
    return this.#endOffset;
  }

  get durableOffset(): Offset {
    return this.#durableOffset;
  }

  get generation(): number {
    return this.#generation;
  }

  get state(): LogState {
    return this.#state;
  }

  get fault(): DiskFault | null {
    return this.#fault;
  }

  get damagedRanges(): readonly DamagedRange[] {
    return this.#damage.ranges;
  }

  get segmentCount(): number {
    return this.#segments.length;
  }

  get byteLength(): number {
    let total = 0;
    for (const segment of this.#segments) total += segment.byteLength;
    return total;
  }

  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  get leaderEpoch(): number {
    return this.#epochs.latest;
  }

  /** In force from the next append on. */
  changeSettings(settings: LogSettings): void {
    this.#settings = settings;
  }

  // ---------------------------------------------------------------------------------------------------------- append

  /** Takes ownership of the batches, stamps and queues them. They were inspected by the caller. */
  append(batches: readonly Uint8Array[], epoch: LeaderEpoch): AppendOutcome {
    if (this.#state !== 'open') return { ok: false, refusal: this.#state };
    assert(!this.#cutting, 'nothing is appended during a cut');
    let bytes = 0;
    for (const batch of batches) bytes += batch.length;
    if (this.#queue.bytes > 0 && this.#queue.bytes + bytes > PENDING_LOG_BYTES_MAX) {
      return { ok: false, refusal: 'backlog' };
    }
    const baseOffset = this.#endOffset;
    for (const batch of batches) this.#appendOne(batch, epoch);
    this.#startPump();
    return { ok: true, baseOffset, endOffset: this.#endOffset };
  }

  #appendOne(batch: Uint8Array, epoch: LeaderEpoch): void {
    const endOffset = offset(this.#endOffset + readLastOffsetDelta(batch, 0) + 1);
    const segment = this.#segmentFor(batch, endOffset);
    stampBatch(batch, { baseOffset: this.#endOffset, leaderEpoch: epoch });
    if (epoch > 0 && this.#epochs.note(epoch, this.#endOffset)) this.#epochsChanged = true;
    const position = segment.byteLength;
    segment.noteBatch(batch, 0, { batchBytes: batch.length, indexInterval: this.#settings.indexIntervalBytes });
    this.#queue.push({ batch, segment, position, endOffset, latest: segment.latest });
    this.#tail.push(batch);
    this.#endOffset = endOffset;
  }

  /** The active segment, or a new one where the batch does not belong into it. Decided by content and batch timestamps only. */
  #segmentFor(batch: Uint8Array, endOffset: Offset): Segment {
    const active = this.#segments.at(-1);
    if (active !== undefined && !this.#needsRoll(active, batch, endOffset)) return active;
    active?.noteSealed();
    const segment = new Segment(this.directory, this.#endOffset);
    this.#segments.push(segment);
    return segment;
  }

  #needsRoll(active: Segment, batch: Uint8Array, endOffset: Offset): boolean {
    if (active.isEmpty) return false;
    const settings = this.#settings;
    if (active.byteLength + batch.length > settings.segmentBytes) return true;
    if (endOffset - active.baseOffset > 0x7fffffff || active.byteLength + batch.length > 0x7fffffff) return true;
    if (active.firstTimestamp !== null && readMaxTimestamp(batch, 0) - active.firstTimestamp > settings.segmentMs) {
      return true;
    }
    const indexes = active.indexes;
    assert(indexes !== null, 'the active segment has its indexes in memory');
    return indexes.offsets.byteLength + 8 > settings.segmentIndexBytes;
  }

  // ------------------------------------------------------------------------------------------------------------ pump

  #startPump(): void {
    this.#pumping ??= this.#pump();
  }

  async #pump(): Promise<void> {
    for (;;) {
      const operation = this.#operations.shift();
      if (operation !== undefined) await operation();
      else if (!this.#queue.isEmpty) await this.#writeGroup();
      else break;
    }
    // In the same step as the last look at the queues: whatever comes later starts a pump of its own.
    this.#pumping = null;
  }

  /** Runs `operation` between two writes. */
  #exclusively<T>(operation: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#operations.push(async () => {
      try {
        resolve(await operation());
      } catch (cause) {
        reject(cause);
      }
    });
    this.#startPump();
    return promise;
  }

  async #writeGroup(): Promise<void> {
    const group = this.#queue.take();
    const generation = this.#generation;
    try {
      await this.#prepareSegment(group.segment);
      await this.#context.files.use(group.segment.logPath, file => this.#writeAndSync(file, group));
    } catch (cause) {
      await this.#writeFailed(cause);
      return;
    } finally {
      this.#queue.finished(group);
    }
    if (generation !== this.#generation) return;
    this.#durable(group.endOffset);
    try {
      await writeIndexes(this.#context.files, group.segment, INDEX_WRITE_BYTES);
    } catch (cause) {
      // The log itself is durable; index entries stay in memory and are offered again with the next group.
      this.#context.logger.warn({ directory: this.directory, cause: String(cause) }, 'an index could not be written');
    }
  }

  async #writeAndSync(file: DiskFile, group: WriteGroup): Promise<void> {
    const { segment } = group;
    const written = await file.write(group.buffers, group.position);
    if (written < group.bytes) throw new DiskFault('full', segment.logPath);
    for (const buffer of group.buffers) segment.crc = crc32cContinue(segment.crc, buffer);
    segment.writtenBytes = group.position + group.bytes;
    segment.writtenLatest = group.latest;
    this.#unsyncedRecords += group.records;
    this.#unsyncedBytes += group.bytes;
    this.#unmarkedBytes += group.bytes;
    if (this.#settings.flushMode === 'sync' || this.#unsyncedRecords >= this.#settings.flushMessages) {
      await this.#sync(file);
    } else if (!this.#flushDue && Number.isFinite(this.#settings.flushMs)) {
      this.#flushDue = true;
      this.#context.clock.schedule(this.#settings.flushMs, () => {
        this.#flushDue = false;
        if (this.#state === 'open') this.flush().catch(() => undefined);
      });
    }
  }

  async #sync(file: DiskFile): Promise<void> {
    const started = this.#context.clock.monotonicMs();
    try {
      await this.#context.syncGate.run('log', () => file.sync());
    } catch (cause) {
      throw new SyncFailure(cause);
    }
    this.#context.onSync((this.#context.clock.monotonicMs() - started) / 1_000);
    this.#unsyncedRecords = 0;
    this.#unsyncedBytes = 0;
  }

  /** Creates the file of a new segment, after the one before it was synced and sealed. */
  async #prepareSegment(segment: Segment): Promise<void> {
    // Written before the first record even when it is empty: a checkpoint that is missing costs a scan of the whole log.
    if (this.#epochsChanged || (!segment.exists && segment === this.#segments[0])) {
      this.#epochsChanged = false;
      const text = this.#epochs.format();
      await replaceSmallFile(this.#context.disk, path.join(this.directory, EPOCH_CHECKPOINT), text);
      this.#epochsCrc = checkpointCrc(text);
    }
    if (segment.exists) return;
    const previous = this.#segments[this.#segments.indexOf(segment) - 1];
    if (previous !== undefined && previous.exists && previous.indexes !== null) await this.#seal(previous);
    await createSegmentFiles(this.#context, segment);
    await this.#context.disk.syncDirectory(this.directory);
    segment.exists = true;
    if (previous === undefined) {
      // Before its first byte: without a sync point recovery could not tell what a crash tore from what was lost.
      this.#noteSyncPoint();
      await this.#marks.flush();
    }
  }

  async #seal(segment: Segment): Promise<void> {
    const { files } = this.#context;
    const indexes = segment.indexes;
    assert(indexes !== null, 'only the active segment is sealed');
    if (this.#unsyncedBytes > 0) await files.use(segment.logPath, file => this.#sync(file));
    await writeIndexes(this.#context.files, segment, 1);
    await files.use(segment.offsetIndexPath, file => this.#sync(file));
    await files.use(segment.timeIndexPath, file => this.#sync(file));
    this.#marks.setSealed({
      baseOffset: segment.baseOffset,
      endOffset: segment.endOffset,
      byteLength: segment.byteLength,
      crc: segment.crc,
      latestTimestamp: Number.isFinite(segment.latest.timestamp) ? segment.latest.timestamp : -1,
      latestOffset: segment.latest.lastOffset,
    });
    await this.#marks.flush();
    segment.indexes = null;
  }

  #durable(endOffset: Offset): void {
    this.#durableOffset = endOffset;
    if (this.#settings.flushMode === 'sync' || this.#unsyncedBytes === 0) this.#noteSyncPoint();
    this.#listener.durable({ generation: this.#generation, endOffset });
  }

  #noteSyncPoint(): void {
    const segment = this.#segments.findLast(candidate => candidate.exists);
    // A segment that is sealed takes nothing more: what comes next begins one of its own, wherever this one ended.
    if (segment === undefined || segment.indexes === null) {
      this.#marks.setSyncPoint(this.#emptySyncPoint(), 0);
      return;
    }
    const logBytes = this.#unmarkedBytes;
    this.#unmarkedBytes = 0;
    // The segment may be ahead of what is durable; what is recorded must not be.
    const { timestamp, lastOffset } = segment.writtenLatest;
    this.#marks.setSyncPoint(
      {
        generation: this.#generation,
        leaderEpoch: this.#epochs.latest,
        endOffset: this.#durableOffset,
        segment: segment.baseOffset,
        position: segment.writtenBytes,
        crc: segment.crc,
        latestTimestamp: lastOffset < 0 ? -1 : timestamp,
        latestOffset: lastOffset,
        firstTimestamp: segment.firstTimestamp ?? -1,
        epochsCrc: this.#epochsCrc,
      },
      logBytes,
    );
  }

  /** Of a log whose next record begins a segment. */
  #emptySyncPoint(): SyncPoint {
    return {
      generation: this.#generation,
      leaderEpoch: this.#epochs.latest,
      endOffset: this.#durableOffset,
      segment: this.#durableOffset,
      position: 0,
      crc: 0,
      latestTimestamp: -1,
      latestOffset: -1,
      firstTimestamp: -1,
      epochsCrc: this.#epochsCrc,
    };
  }

  /** Everything appended so far is written and synced when this returns. */
  flush(): Promise<void> {
    return this.#afterQueue(async () => {
      const active = this.#segments.at(-1);
      // A sync that failed is never tried again.
      if (this.#state !== 'open' || this.#unsyncedBytes === 0 || active === undefined || !active.exists) return;
      const generation = this.#generation;
      try {
        await this.#context.files.use(active.logPath, file => this.#sync(file));
        // A cut that waits has lowered the durable offset already, and the file still has what it cuts.
        if (generation === this.#generation) this.#noteSyncPoint();
      } catch (cause) {
        await this.#writeFailed(cause);
      }
    });
  }

  /** Runs `operation` when all that is queued now was written. */
  async #afterQueue(operation: () => Promise<void>): Promise<void> {
    while (!this.#queue.isEmpty && this.#pumping !== null) await this.#pumping;
    await this.#exclusively(operation);
  }

  // --------------------------------------------------------------------------------------------------------- failure

  /** Inside the pump. A full disk is cut back; anything else poisons the log. */
  async #writeFailed(cause: unknown): Promise<void> {
    const fault =
      cause instanceof DiskFault
        ? cause
        : new DiskFault('failed', this.directory, cause instanceof SyncFailure ? cause.cause : cause);
    const isFull = fault.kind === 'full' && !(cause instanceof SyncFailure);
    if (this.#state === 'closed') return;
    this.#fault = fault;
    this.#state = isFull ? 'full' : 'failed';
    this.#context.logger.error(
      { directory: this.directory, fault: fault.message, state: this.#state },
      isFull
        ? 'the disk is full: the unsynced end of the log is cut back, appends are refused until there is room'
        : 'a write or sync failed: the log takes no more appends until a restart',
    );
    this.#forgetFrom(this.#durableOffset);
    if (isFull) {
      try {
        await this.#truncateFiles();
        this.#scheduleReopen();
      } catch (second) {
        this.#fault = second instanceof DiskFault ? second : new DiskFault('failed', this.directory, second);
        this.#state = 'failed';
        this.#context.logger.error(
          { directory: this.directory, fault: this.#fault.message },
          'the unsynced end of the log could not be cut back: the log takes no more appends until a restart',
        );
      }
    }
    this.#listener.dropped(isFull && this.#state !== 'failed' ? 'full' : 'failed', this.#durableOffset);
  }

  #scheduleReopen(): void {
    this.#context.clock.schedule(FULL_RETRY_MS, () => {
      // A disk that cannot be asked now is asked again.
      this.#reopenWithRoom().catch(() => this.#scheduleReopen());
    });
  }

  async #reopenWithRoom(): Promise<void> {
    if (this.#state !== 'full') return;
    const free = await this.#context.disk.freeBytes(this.directory);
    // A close may have come while the disk was asked.
    if ((this.#state as LogState) !== 'full') return;
    if (free < DISK_HEADROOM_BYTES) {
      this.#scheduleReopen();
      return;
    }
    this.#state = 'open';
    this.#fault = null;
    this.#context.logger.info({ directory: this.directory }, 'there is room on the disk again: the log takes appends');
  }

  /** Drops everything at or above the offset from memory: segments, indexes, queue, cache, epochs. */
  #forgetFrom(end: Offset): void {
    this.#generation++;
    this.#queue.cut(end);
    this.#tail.cut(end);
    if (this.#epochs.cut(end)) this.#epochsChanged = true;
    this.#endOffset = end;
    if (this.#durableOffset > end) this.#durableOffset = end;
  }

  // ------------------------------------------------------------------------------------------------------------- cut

  /**
   * Removes everything at or above `end`, which is a batch boundary. For conflicts of replication only; never at or below
   * what was committed. The sync point is lowered durably before a byte is cut.
   */
  async cut(end: Offset): Promise<void> {
    assert(end >= this.#startOffset && end <= this.#endOffset, 'a cut lies within the log');
    assert(!this.#cutting, 'one cut at a time');
    this.#cutting = true;
    this.#forgetFrom(end);
    try {
      await this.#afterQueue(async () => {
        if (this.#state !== 'open') return;
        // All that is left was written; the sync point must name the offset that stands at the position it names.
        this.#durableOffset = end;
        try {
          await this.#truncateFiles();
        } catch (cause) {
          await this.#writeFailed(new SyncFailure(cause));
          throw cause;
        }
        this.#listener.durable({ generation: this.#generation, endOffset: end });
      });
    } finally {
      this.#cutting = false;
    }
  }

  /** Inside the pump: brings segments and files back to the end offset. */
  async #truncateFiles(): Promise<void> {
    const { files, disk, syncGate } = this.#context;
    const end = this.#endOffset;
    const removed: Segment[] = [];
    while (this.#segments.length > 0 && this.#segments.at(-1)!.baseOffset >= end) removed.push(this.#segments.pop()!);
    const active = this.#segments.at(-1);
    const rebuilt = active === undefined || active.endOffset <= end ? null : await this.#rebuild(active, end);
    if (rebuilt !== null) this.#segments[this.#segments.length - 1] = rebuilt;
    if (active !== undefined && rebuilt === null && active.indexes === null) {
      // Sealed before: the next append begins a segment of its own.
      this.#segments.push(new Segment(this.directory, end));
    }
    const last = rebuilt ?? active;
    if (last !== undefined && last.exists) {
      // The sync point must not say more than is on disk: in flush mode `interval` the end may only be written.
      if (this.#unsyncedBytes > 0) await files.use(last.logPath, file => this.#sync(file));
      last.writtenBytes = Math.min(last.writtenBytes, last.byteLength);
      if (last.indexes !== null) this.#marks.removeSealed(last.baseOffset);
    }
    this.#noteSyncPoint();
    for (const segment of removed) this.#marks.removeSealed(segment.baseOffset);
    await this.#marks.flush();
    // The newest first, each for good before the next step: a crash in between leaves a log without a gap.
    for (const segment of removed) {
      if (!segment.exists) continue;
      await removeSegmentFiles(this.#context, segment);
      await disk.syncDirectory(this.directory);
    }
    if (last !== undefined && last.exists) {
      await files.use(last.logPath, async file => {
        if ((await file.byteLength()) > last.byteLength) await file.truncate(last.byteLength);
        await syncGate.run('log', () => file.sync());
      });
      if (last.indexes !== null) await truncateIndexes(files, last);
    }
    await disk.syncDirectory(this.directory);
    this.#unsyncedBytes = 0;
    this.#unsyncedRecords = 0;
  }

  #rebuild(segment: Segment, end: Offset): Promise<Segment> {
    assert(this.#queue.isEmpty, 'files are cut back when nothing is queued');
    const { indexIntervalBytes: indexInterval } = this.#settings;
    return rebuildSegment(this.#context, segment, { directory: this.directory, end, indexInterval });
  }

  // ------------------------------------------------------------------------------------------------------------ read

  /** Whole batches from the one that covers `from` on. */
  read(from: Offset, limits: ReadLimits): Promise<ReadOutcome> {
    return this.#reader.read(from, limits);
  }

  /** The first record at or after the time, below `endMax`; null where there is none. */
  findTimestamp(timestampMs: number, endMax: Offset): Promise<FoundTimestamp | null> {
    return this.#reader.findTimestamp(timestampMs, endMax);
  }

  // ------------------------------------------------------------------------------------------------------- retention

  /**
   * The log start that the retention settings ask for: whole sealed segments that are too old by their newest record, or too
   * much. Never above `limit`.
   */
  retentionStart(nowMs: number, limit: Offset): Offset {
    const { retentionMs, retentionBytes, retentionDeletes } = this.#settings;
    let start = this.#startOffset;
    if (!retentionDeletes) return start;
    let total = this.byteLength;
    for (const [index, segment] of this.#segments.entries()) {
      const next = this.#segments[index + 1];
      if (next === undefined || next.baseOffset > limit || !segment.exists || !next.exists) break;
      const isOld = segment.latest.lastOffset >= 0 && nowMs - segment.latest.timestamp > retentionMs;
      const isTooMuch = total - segment.byteLength >= retentionBytes;
      if (!isOld && !isTooMuch) break;
      total -= segment.byteLength;
      start = next.baseOffset;
    }
    return start;
  }

  /**
   * Moves the log start up, durably, and then removes the segments that lie wholly below it. A disk that refuses the removal
   * is not the caller's concern: the start has moved, and the next start of the node removes what is left.
   */
  async advanceStart(start: Offset): Promise<void> {
    if (start <= this.#startOffset) return;
    assert(start <= this.#durableOffset, 'the log start stays at or below what is durable');
    await this.#exclusively(async () => {
      if (start <= this.#startOffset) return;
      this.#marks.setLogStart(start);
      // In the same flush, behind the start: a crash after it leaves no mark of a segment that is gone.
      for (let index = 0; index + 1 < this.#segments.length; index++) {
        if (this.#segments[index + 1]!.baseOffset > start) break;
        this.#marks.removeSealed(this.#segments[index]!.baseOffset);
      }
      await this.#marks.flush();
      this.#startOffset = start;
      this.#damage.dropBelow(start);
      const removed = this.#takeBelow(start);
      if (removed.length === 0) return;
      try {
        for (const segment of removed) await removeSegmentFiles(this.#context, segment);
        await this.#context.disk.syncDirectory(this.directory);
      } catch (fault) {
        if (!(fault instanceof DiskFault)) throw fault;
        this.#context.logger.error(
          { directory: this.directory, fault: fault.message },
          'segments below the log start could not be removed: the next start removes them',
        );
      }
    });
  }

  /** Inside the pump: takes the segments that lie wholly below the log start out of the log. */
  #takeBelow(start: Offset): readonly Segment[] {
    const removed: Segment[] = [];
    while (this.#segments.length > 1 && this.#segments[1]!.baseOffset <= start) removed.push(this.#segments.shift()!);
    const active = this.#segments[0];
    // Everything was deleted: the next append begins a segment of its own, and this one goes as well. What is in the queue
    // would lie above the start, so nothing waits to be written to it.
    if (start === this.#endOffset && active !== undefined && active.exists && !active.isEmpty) {
      removed.push(active);
      this.#segments.length = 0;
      this.#unsyncedBytes = 0;
      this.#unsyncedRecords = 0;
      this.#noteSyncPoint();
    }
    return removed;
  }

  // ------------------------------------------------------------------------------------------------------------- end

  /** Writes and syncs what is queued, brings the index files up to date and leaves a sync point at the end. */
  async close(): Promise<void> {
    if (this.#state === 'open') await this.flush();
    const wasOpen = this.#state === 'open';
    this.#state = 'closed';
    await this.#exclusively(async () => {
      const active = this.#segments.at(-1);
      if (wasOpen && active !== undefined && active.exists && active.indexes !== null) {
        await this.#finishIndexes(active);
        this.#noteSyncPoint();
      }
      await this.#release();
    });
  }

  async #finishIndexes(segment: Segment): Promise<void> {
    try {
      await writeIndexes(this.#context.files, segment, 1);
      await this.#context.files.use(segment.offsetIndexPath, file => file.sync());
      await this.#context.files.use(segment.timeIndexPath, file => file.sync());
    } catch (cause) {
      // A full disk, say. The log itself is durable, and what an index lacks is found again at the next start.
      this.#context.logger.warn({ directory: this.directory, cause: String(cause) }, 'an index could not be written');
    }
  }

  /** For a topic that was deleted: takes no more appends and lets go of the files. The caller removes the folder. */
  async abandon(): Promise<void> {
    this.#state = 'closed';
    this.#forgetFrom(this.#durableOffset);
    await this.#exclusively(async () => {
      this.#marks.removeAll();
      await this.#release();
    });
  }

  async #release(): Promise<void> {
    this.#tail.clear();
    for (const segment of this.#segments) await forgetSegmentFiles(this.#context, segment);
  }
}

/** Tells a failed sync from a failed write: after it nothing about the unsynced bytes is known. */
class SyncFailure extends Error {
  override readonly name = 'SyncFailure';

  constructor(cause: unknown) {
    super('a sync failed', { cause });
  }
}

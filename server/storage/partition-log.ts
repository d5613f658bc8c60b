// One partition's log on disk: append, sync, read, cut, retention. It is the log of Raft as well: epoch starts stand in it, a
// follower appends what its leader stamped, and what a snapshot replaces goes as a whole.
//
// Path of an append: `append` stamps the batch, notes it in the active segment and queues it, all in one step. The pump, one
// loop a log, takes what is queued, writes it with one gathered write, syncs once, and tells the listener how far the
// log is durable. Everything that changes files (roll, cut, removal) goes through the same loop, one at a time, because
// the thread pool runs calls in no order.
//
// Invariants
// - startOffset <= durable.offset <= end.offset; positions of durable and end too. `end.epoch` is the epoch map's latest.
// - A reader is given nothing at or above the `endMax` it passes, and callers pass at most durableOffset: so indexes and
//   segments may be ahead of the disk.
// - A batch buffer is stamped once and never written again: the tail cache and the pump share it.
// - After a failed sync nothing is ever appended again. After a full disk the unsynced end is cut back and the log opens by
//   itself when there is room.

import path from 'node:path';
import { type LeaderEpoch, leaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import {
  crc32cContinue,
  encodeEpochStart,
  isEpochStart,
  readBaseOffset,
  readLastOffsetDelta,
  readLeaderEpoch,
  readMaxTimestamp,
  readRecordCount,
  stampBatch,
} from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { DISK_HEADROOM_BYTES, EPOCHS_BEHIND_MAX, PENDING_LOG_BYTES_MAX } from '../base/limits.ts';
import {
  comparePositions,
  type DurableNotice,
  earlier,
  type EpochStart,
  later,
  ORIGIN,
  type Position,
  positionAt,
  type StoredShape,
  textOf,
} from '../base/position.ts';
import type { ReplicaCondition } from '../base/replica-condition.ts';
import { DiskFault, type DiskFile } from '../io/disk.ts';
import { AppendQueue, type WriteGroup } from './append-queue.ts';
import type { DamagedRange, DamageMap } from './damage.ts';
import type { EpochMap } from './epoch-map.ts';
import type { LogContext } from './log-context.ts';
import { finishInstall, installLog } from './log-install.ts';
import { LogMarks, type SyncPoint } from './log-marks.ts';
import type { LogSettings } from './log-settings.ts';
import {
  type FollowOutcome,
  type FoundTimestamp,
  LogReader,
  type LogView,
  type ReadLimits,
  type ReadOutcome,
} from './log-reader.ts';
import {
  type Checkpoint,
  checkpointCrc,
  EPOCH_CHECKPOINT,
  NO_CHECKPOINT,
  type RecoveredLog,
  recoverLog,
} from './recovery.ts';
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

export interface LogListener {
  /** Everything up to the position is durable, as the flush mode says. A notice of an older generation is never sent. */
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
  /** What the data directory has seen to. Without it: nothing. */
  readonly found?: {
    /** The folder was made for this log, durably, and has no segment. */
    readonly isNew: boolean;
    /** No install is under way. */
    readonly isInstalled: boolean;
  };
}

interface FoundAtOpen {
  /** By the sync point, or by what was said when a part of the log was missed. */
  readonly claims: Position;
  readonly isRecovering: boolean;
}

/** The epochs up to one, as a sync point vouches for them. */
interface VouchedEpochs {
  readonly epoch: number;
  readonly crc: number;
  /** The last ones, which the checkpoint lacks; null where it is no copy, or lacks too many. */
  readonly behind: readonly EpochStart[] | null;
}

const NO_STARTS: readonly EpochStart[] = [];

const vouchedEpochs = (epochs: EpochMap, epoch: number, checkpoint: Checkpoint): VouchedEpochs => {
  const crc = checkpointCrc(epochs.format(epoch));
  if (checkpoint.epoch === -1) return { epoch, crc, behind: null };
  const behind = epochs.startsBehind(checkpoint.epoch).filter(start => start.epoch <= epoch);
  return { epoch, crc, behind: behind.length <= EPOCHS_BEHIND_MAX ? behind : null };
};

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
  #durable: Position;
  readonly #queue = new AppendQueue();
  readonly #operations: (() => Promise<void>)[] = [];
  #pumping: Promise<void> | null = null;
  /** Written and not yet synced; only in flush mode `interval`, or while a sync is under way. */
  #unsyncedRecords = 0;
  #unsyncedBytes = 0;
  /** Written since the last sync point was handed to the store. */
  #unmarkedBytes = 0;
  #flushDue = false;
  /** On disk; see #vouch for what it may lack. */
  #checkpoint: Checkpoint;
  /** What sync points say of the epochs up to the one that is durable; null where that is to be found out. */
  #vouched: VouchedEpochs | null = null;
  /** From the call of `cut` or `install` until the files follow nothing may be appended: segments are behind the end. */
  #cutting = false;
  /** What recovery says of the replica, but for what is found later. */
  readonly #key: string;
  readonly #found: FoundAtOpen;
  #isMarkedClean = true;

  private constructor(
    request: OpenLogRequest,
    marks: LogMarks,
    { recovered, found }: { readonly recovered: RecoveredLog; readonly found: FoundAtOpen },
  ) {
    this.directory = request.directory;
    this.#context = request.context;
    this.#settings = request.settings;
    this.#listener = request.listener;
    this.#marks = marks;
    this.#tail = request.context.tailCache.newTail();
    this.#segments = recovered.segments;
    this.#epochs = recovered.epochs;
    this.#checkpoint = recovered.checkpoint;
    this.#damage = recovered.damage;
    this.#generation = recovered.generation;
    this.#startOffset = recovered.startOffset;
    this.#endOffset = recovered.end.offset;
    this.#durable = recovered.end;
    this.#found = found;
    this.#key = request.key;
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
      durableOffset: () => this.#durable.offset,
      end: () => this.end,
      generation: () => this.#generation,
      indexInterval: () => this.#settings.indexIntervalBytes,
    };
  }

  /** Reads the folder, judges it by the recovery table and makes its end durable. */
  static async open(request: OpenLogRequest): Promise<PartitionLog> {
    const { context, directory, key, settings } = request;
    const { isNew = false, isInstalled = false } = request.found ?? {};
    const marks = new LogMarks(context.store, key);
    if (!isInstalled) await finishInstall({ context, directory, key, marks });
    const point = marks.syncPoint();
    const fault = marks.fault();
    const { indexIntervalBytes: indexInterval } = settings;
    const recovered = await recoverLog({ context, directory, marks, indexInterval, isNew });
    const found = {
      claims: later(point === null ? ORIGIN : positionAt(point.leaderEpoch, point.endOffset), fault?.claims ?? ORIGIN),
      isRecovering: settings.flushMode === 'interval' && point !== null && !marks.isClean(),
    };
    const log = new PartitionLog(request, marks, { recovered, found });
    marks.setClean(false);
    log.#noteSyncPoint();
    // A crash came between the first segment and its sync point: nothing is written before there is one.
    if (point === null && recovered.segments.length > 0) await marks.flush();
    for (const range of recovered.damage.ranges) log.#reader.reportDamage(range);
    return log;
  }

  get startOffset(): Offset {
    return this.#startOffset;
  }

  get endOffset(): Offset {
    return this.#endOffset;
  }

  /** The position behind the last batch, durable or not. */
  get end(): Position {
    return { epoch: this.#epochs.latest, offset: this.#endOffset };
  }

  get durableOffset(): Offset {
    return this.#durable.offset;
  }

  get durable(): Position {
    return this.#durable;
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

  /** Of the last entry. */
  get leaderEpoch(): LeaderEpoch {
    return this.#epochs.latest;
  }

  get shape(): StoredShape {
    return {
      base: this.#epochs.base,
      starts: this.#epochs.starts.slice(),
      logStart: this.#startOffset,
      endOffset: this.#endOffset,
      generation: this.#generation,
    };
  }

  /** As of now: damage may be found on reading. */
  get condition(): ReplicaCondition {
    if (this.#marks.isSuspect()) return { kind: 'suspect' };
    const first = this.#damage.ranges[0];
    const fault = this.#marks.fault();
    if (first !== undefined || fault !== null || this.#state === 'failed') {
      return {
        kind: 'faulty',
        claims: later(this.#found.claims, this.#durable),
        soundTo: first === undefined ? this.#durable : earlier(this.#epochs.positionBelow(first.from), this.#durable),
        isWritable: this.#state === 'open' || this.#state === 'full',
        reason: first?.reason ?? fault?.reason ?? 'a write or sync failed',
      };
    }
    return this.#found.isRecovering ? { kind: 'recovering' } : { kind: 'sound' };
  }

  /** What was missing when the log was opened is here again, or given up: the replica counts as others do, durably. */
  async clearFault(): Promise<void> {
    this.#marks.setFault(null);
    await this.#marks.flush();
  }

  /** In force from the next append on. */
  changeSettings(settings: LogSettings): void {
    this.#settings = settings;
  }

  // ---------------------------------------------------------------------------------------------------------- append

  /** Takes ownership of a leader's batches, stamps and queues them. They were inspected by the caller. */
  append(batches: readonly Uint8Array[], epoch: LeaderEpoch): AppendOutcome {
    const refusal = this.#refusal(batches);
    if (refusal !== null) return { ok: false, refusal };
    assert(epoch === this.#epochs.latest, `a batch of epoch ${epoch} in epoch ${this.#epochs.latest}`);
    const baseOffset = this.#endOffset;
    for (const batch of batches) {
      stampBatch(batch, { baseOffset: this.#endOffset, leaderEpoch: epoch });
      this.#appendOne(batch);
    }
    this.#startPump();
    return { ok: true, baseOffset, endOffset: this.#endOffset };
  }

  /** The first entry of a leader: what comes next is of its epoch. */
  appendEpochStart(epoch: LeaderEpoch): AppendOutcome {
    const refusal = this.#refusal([]);
    if (refusal !== null) return { ok: false, refusal };
    const timestamp = this.#context.clock.wallMs();
    return this.appendReplicated([encodeEpochStart({ epoch, baseOffset: this.#endOffset, timestamp })]);
  }

  /** Takes ownership of batches that another leader stamped, epoch starts among them: their place must be the end of the log. */
  appendReplicated(batches: readonly Uint8Array[]): AppendOutcome {
    const refusal = this.#refusal(batches);
    if (refusal !== null) return { ok: false, refusal };
    const baseOffset = this.#endOffset;
    for (const batch of batches) {
      const epoch = readLeaderEpoch(batch, 0);
      assert(
        readBaseOffset(batch, 0) === this.#endOffset,
        `a batch for ${readBaseOffset(batch, 0)} at ${this.#endOffset}`,
      );
      if (isEpochStart(batch, 0)) this.#epochs.start(epoch, this.#endOffset);
      else assert(epoch === this.#epochs.latest, `a batch of epoch ${epoch} in epoch ${this.#epochs.latest}`);
      this.#appendOne(batch);
    }
    this.#startPump();
    return { ok: true, baseOffset, endOffset: this.#endOffset };
  }

  #refusal(batches: readonly Uint8Array[]): AppendRefusal | null {
    if (this.#state !== 'open') return this.#state;
    assert(!this.#cutting, 'nothing is appended during a cut');
    let bytes = 0;
    for (const batch of batches) bytes += batch.length;
    return this.#queue.bytes > 0 && this.#queue.bytes + bytes > PENDING_LOG_BYTES_MAX ? 'backlog' : null;
  }

  /** A stamped batch whose epoch is the latest. */
  #appendOne(batch: Uint8Array): void {
    const endOffset = offset(this.#endOffset + readLastOffsetDelta(batch, 0) + 1);
    const segment = this.#segmentFor(batch, endOffset);
    const position = segment.byteLength;
    segment.noteBatch(batch, 0, { batchBytes: batch.length, indexInterval: this.#settings.indexIntervalBytes });
    const end = { epoch: this.#epochs.latest, offset: endOffset };
    this.#queue.push({ batch, segment, position, end, latest: segment.latest });
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
    // A batch without records dates nothing: an election among old records is no reason to roll.
    const isDated = active.firstTimestamp !== null && readRecordCount(batch, 0) > 0;
    if (isDated && readMaxTimestamp(batch, 0) - active.firstTimestamp! > settings.segmentMs) return true;
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
    this.#noteDurable(group.end);
    try {
      await this.#saveCheckpoint();
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
    if (this.#settings.flushMode === 'interval' && this.#isMarkedClean) {
      // Before anything that a crash may take back.
      await this.#marks.flush();
      this.#isMarkedClean = false;
    }
    if (segment.exists) return;
    const previous = this.#segments[this.#segments.indexOf(segment) - 1];
    if (previous !== undefined && previous.exists && previous.indexes !== null) await this.#seal(previous);
    // Before the first record: a checkpoint that is no copy costs a scan of the whole log.
    if (previous === undefined && this.#vouch().behind === null) await this.#writeCheckpoint();
    await createSegmentFiles(this.#context, segment);
    await this.#context.disk.syncDirectory(this.directory);
    segment.exists = true;
    if (previous === undefined) {
      // Before its first byte: without a sync point recovery could not tell what a crash tore from what was lost.
      this.#noteSyncPoint();
      await this.#marks.flush();
    }
  }

  /**
   * Of what is durable. The log tells of its epochs itself, so that no append waits for the copy, and sync points name the last few: an
   * election costs no file. `isWhole`: they are to be in the copy too.
   */
  async #saveCheckpoint(isWhole = false): Promise<void> {
    const isSaved = isWhole
      ? this.#checkpoint.isThere && this.#vouch().behind?.length === 0
      : this.#vouch().behind !== null;
    if (isSaved) return;
    const generation = this.#generation;
    try {
      await this.#writeCheckpoint();
    } catch (fault) {
      if (!(fault instanceof DiskFault)) throw fault;
      // A full disk, say. What it lacks is found in the log at the next start, and it is offered again with the next group.
      const { message } = fault;
      this.#context.logger.warn(
        { directory: this.directory, fault: message },
        'the epoch checkpoint could not be written',
      );
    }
    if (this.#unsyncedBytes === 0 && generation === this.#generation) this.#noteSyncPoint();
  }

  async #writeCheckpoint(): Promise<void> {
    const generation = this.#generation;
    const { epoch } = this.#durable;
    const text = this.#epochs.format(epoch);
    await replaceSmallFile(this.#context.disk, path.join(this.directory, EPOCH_CHECKPOINT), text);
    if (generation === this.#generation) this.#noteCheckpoint({ epoch, crc: checkpointCrc(text), isThere: true });
  }

  #noteCheckpoint(checkpoint: Checkpoint): void {
    this.#checkpoint = checkpoint;
    this.#vouched = null;
  }

  #vouch(): VouchedEpochs {
    const { epoch } = this.#durable;
    if (this.#vouched?.epoch !== epoch) this.#vouched = vouchedEpochs(this.#epochs, epoch, this.#checkpoint);
    return this.#vouched;
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
      lastEpoch: segment.lastEpoch,
      byteLength: segment.byteLength,
      crc: segment.crc,
      latestTimestamp: Number.isFinite(segment.latest.timestamp) ? segment.latest.timestamp : -1,
      latestOffset: segment.latest.lastOffset,
    });
    // All of it is synced, in flush mode `interval` too: recovery begins behind it, with the epochs that it has. A cut that
    // waits has lowered the durable position already.
    if (comparePositions(segment.end, this.#durable) === 0) this.#noteSyncPoint();
    await this.#marks.flush();
    segment.indexes = null;
  }

  #noteDurable(position: Position): void {
    this.#durable = position;
    if (this.#settings.flushMode === 'sync' || this.#unsyncedBytes === 0) this.#noteSyncPoint();
    this.#listener.durable({ generation: this.#generation, position });
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
        leaderEpoch: this.#durable.epoch,
        endOffset: this.#durable.offset,
        segment: segment.baseOffset,
        position: segment.writtenBytes,
        crc: segment.crc,
        latestTimestamp: lastOffset < 0 ? -1 : timestamp,
        latestOffset: lastOffset,
        firstTimestamp: segment.firstTimestamp ?? -1,
        ...this.#epochsMark(),
      },
      logBytes,
    );
  }

  /** Of a log whose next record begins a segment. */
  #emptySyncPoint(): SyncPoint {
    return {
      generation: this.#generation,
      leaderEpoch: this.#durable.epoch,
      endOffset: this.#durable.offset,
      segment: this.#durable.offset,
      position: 0,
      crc: 0,
      latestTimestamp: -1,
      latestOffset: -1,
      firstTimestamp: -1,
      ...this.#epochsMark(),
    };
  }

  /** One that is behind is not taken for what it should be. */
  #epochsMark(): Pick<SyncPoint, 'epochsCrc' | 'epochsBehind'> {
    const { crc, behind } = this.#vouch();
    return { epochsCrc: crc, epochsBehind: behind ?? NO_STARTS };
  }

  /** Everything appended so far is written and synced when this returns. */
  flush(): Promise<void> {
    return this.#afterQueue(async () => {
      await this.#syncWritten();
    });
  }

  /** Inside the pump: syncs what was only written. False where that failed or is not tried. */
  async #syncWritten(): Promise<boolean> {
    const active = this.#segments.findLast(segment => segment.exists);
    if (this.#unsyncedBytes === 0 || active === undefined) return true;
    // A sync that failed is never tried again.
    if (this.#state !== 'open') return false;
    const generation = this.#generation;
    try {
      await this.#context.files.use(active.logPath, file => this.#sync(file));
      // A cut that waits has lowered the durable offset already, and the file still has what it cuts.
      if (generation === this.#generation) this.#noteSyncPoint();
      return true;
    } catch (cause) {
      await this.#writeFailed(cause);
      return false;
    }
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
    this.#forgetBehind(this.#durable);
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
    this.#listener.dropped(isFull && this.#state !== 'failed' ? 'full' : 'failed', this.#durable.offset);
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

  /** Drops everything behind the position from memory: queue, cache, epochs, known damage. Segments follow with the files. */
  #forgetBehind(to: Position): void {
    this.#generation++;
    this.#queue.cut(to);
    this.#tail.cut(to);
    if (this.#epochs.cut(to)) this.#noteCheckpoint(NO_CHECKPOINT);
    this.#damage.dropAbove(to.offset);
    this.#endOffset = to.offset;
    this.#durable = earlier(this.#durable, to);
  }

  // ------------------------------------------------------------------------------------------------------------- cut

  /**
   * Removes every entry behind `to`, an entry that the log holds. For conflicts of replication only; never below what was
   * committed, unless that was lost elsewhere. The sync point is lowered durably before a byte is cut. A notice with the new
   * generation tells when the rest is durable; where a write or sync failed meanwhile `dropped` does.
   */
  async cut(to: Position): Promise<void> {
    assert(
      this.#epochs.holds(to, this.#endOffset),
      `a cut of ${textOf(this.end)} to ${textOf(to)}, which it does not hold`,
    );
    assert(!this.#cutting, 'one cut at a time');
    this.#cutting = true;
    this.#forgetBehind(to);
    this.#startOffset = offset(Math.min(this.#startOffset, to.offset));
    try {
      await this.#afterQueue(async () => {
        if (this.#state === 'failed' || this.#state === 'closed') return;
        // All that is left was written; the sync point must name the offset that stands at the position it names.
        this.#durable = this.end;
        try {
          await this.#truncateFiles();
          await this.#saveCheckpoint();
        } catch (cause) {
          await this.#writeFailed(new SyncFailure(cause));
          throw cause;
        }
        this.#listener.durable({ generation: this.#generation, position: this.#durable });
      });
    } finally {
      this.#cutting = false;
    }
  }

  /** Inside the pump: brings segments and files back to the end offset. */
  async #truncateFiles(): Promise<void> {
    const { files, disk, syncGate } = this.#context;
    const { end } = this;
    const removed: Segment[] = [];
    let rebuilt: Segment | null = null;
    for (;;) {
      const last = this.#segments.at(-1);
      if (last === undefined) break;
      if (last.baseOffset <= end.offset && last.byteLength > 0) {
        if (comparePositions(last.end, end) <= 0) break;
        // At its first offset epoch starts may be left of it.
        rebuilt = await this.#rebuild(last, end);
        if (rebuilt.byteLength > 0 || last.baseOffset < end.offset) break;
        rebuilt = null;
      }
      removed.push(this.#segments.pop()!);
    }
    const active = this.#segments.at(-1);
    if (rebuilt !== null) this.#segments[this.#segments.length - 1] = rebuilt;
    if (active !== undefined && rebuilt === null && active.indexes === null) {
      // Sealed before: the next append begins a segment of its own.
      this.#segments.push(new Segment(this.directory, end.offset));
    }
    const last = rebuilt ?? active;
    if (last !== undefined && last.exists) {
      // The sync point must not say more than is on disk: in flush mode `interval` the end may only be written.
      if (this.#unsyncedBytes > 0) await files.use(last.logPath, file => this.#sync(file));
      last.writtenBytes = Math.min(last.writtenBytes, last.byteLength);
      if (last.indexes !== null) this.#marks.removeSealed(last.baseOffset);
    }
    // A log that is cut below its start begins there.
    if (this.#marks.logStart().offset > this.#startOffset)
      this.#marks.setLogStart(this.#startOffset, this.#epochs.base);
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

  #rebuild(segment: Segment, end: Position): Promise<Segment> {
    assert(this.#queue.isEmpty, 'files are cut back when nothing is queued');
    const { indexIntervalBytes: indexInterval } = this.#settings;
    return rebuildSegment(this.#context, segment, { directory: this.directory, end, indexInterval });
  }

  // --------------------------------------------------------------------------------------------------------- install

  /**
   * An empty log behind a snapshot's base takes the place of this one; what it held is gone. Raises the generation; a notice at
   * `base` tells when that is durable.
   */
  async install(base: Position): Promise<void> {
    assert(!this.#cutting, 'one cut at a time');
    this.#cutting = true;
    this.#generation++;
    this.#queue.clear();
    this.#tail.clear();
    try {
      await this.#exclusively(async () => {
        if (this.#state === 'closed') return;
        const replaced = this.#segments.slice();
        this.#restartAt(base);
        try {
          for (const segment of replaced) await forgetSegmentFiles(this.#context, segment);
          await installLog(
            { context: this.#context, directory: this.directory, key: this.#key, marks: this.#marks },
            { base, generation: this.#generation },
          );
        } catch (cause) {
          // What was durable of the old log is no position of this one.
          this.#durable = base;
          await this.#writeFailed(new SyncFailure(cause));
          throw cause;
        }
        this.#durable = base;
        this.#noteCheckpoint({ epoch: base.epoch, crc: checkpointCrc(this.#epochs.format()), isThere: true });
        this.#unsyncedBytes = 0;
        this.#unsyncedRecords = 0;
        this.#unmarkedBytes = 0;
        this.#listener.durable({ generation: this.#generation, position: base });
      });
    } finally {
      this.#cutting = false;
    }
  }

  /** In one step: readers find an empty log from here on. */
  #restartAt(base: Position): void {
    this.#segments.length = 0;
    this.#epochs.restart(base);
    this.#damage.clear();
    this.#startOffset = base.offset;
    this.#endOffset = base.offset;
    this.#durable = earlier(this.#durable, base);
  }

  // ------------------------------------------------------------------------------------------------------------ read

  /** For followers: whole batches behind the position, epoch starts included, as far as they are cached or written. */
  readAfter(position: Position, { bytesMax }: { readonly bytesMax: number }): Promise<FollowOutcome> {
    return this.#reader.readAfter(position, bytesMax);
  }

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
    assert(start <= this.#durable.offset, 'the log start stays at or below what is durable');
    await this.#exclusively(async () => {
      // A cut may have come first.
      if (start <= this.#startOffset || start > this.#durable.offset) return;
      // The start must not outlive records below it that are only written: positions would be claimed that nobody has.
      if (!(await this.#syncWritten())) return;
      const base = this.#baseAt(start);
      this.#marks.setLogStart(start, base);
      // In the same flush, behind the start: a crash after it leaves no mark of a segment that is gone.
      for (let index = 0; index + 1 < this.#segments.length; index++) {
        if (this.#segments[index + 1]!.baseOffset > start) break;
        this.#marks.removeSealed(this.#segments[index]!.baseOffset);
      }
      await this.#marks.flush();
      this.#startOffset = start;
      this.#damage.dropBelow(start);
      // The sync point and the checkpoint are those of the log from its base on.
      if (comparePositions(base, this.#epochs.base) > 0) {
        this.#epochs.moveBase(base);
        const isSame = checkpointCrc(this.#epochs.format(this.#durable.epoch)) === this.#checkpoint.crc;
        this.#noteCheckpoint(isSame ? this.#checkpoint : NO_CHECKPOINT);
      }
      const removed = this.#takeBelow(start);
      if (removed.length === 0) return;
      try {
        for (const segment of removed) await removeSegmentFiles(this.#context, segment);
        await this.#context.disk.syncDirectory(this.directory);
        await this.#saveCheckpoint();
      } catch (fault) {
        if (!(fault instanceof DiskFault)) throw fault;
        this.#context.logger.error(
          { directory: this.directory, fault: fault.message },
          'segments below the log start could not be removed: the next start removes them',
        );
      }
    });
  }

  /** The position before the first batch that is left when the log starts there. */
  #baseAt(start: Offset): Position {
    let base = this.#epochs.base;
    for (const [index, segment] of this.#segments.entries()) {
      const next = this.#segments[index + 1];
      const isBelow = next === undefined ? this.#isAllDeleted(start) : next.baseOffset <= start;
      if (!isBelow) break;
      base = { epoch: leaderEpoch(segment.lastEpoch), offset: segment.endOffset };
    }
    return base;
  }

  #isAllDeleted(start: Offset): boolean {
    const active = this.#segments.at(-1);
    if (active === undefined || !active.exists || active.isEmpty) return false;
    return start === this.#endOffset && comparePositions(active.end, this.end) === 0;
  }

  /** Inside the pump: takes the segments that lie wholly below the log start out of the log. */
  #takeBelow(start: Offset): readonly Segment[] {
    const removed: Segment[] = [];
    while (this.#segments.length > 1 && this.#segments[1]!.baseOffset <= start) removed.push(this.#segments.shift()!);
    const [active] = this.#segments;
    // Everything was deleted: the next append begins a segment of its own, and this one goes as well. What is in the queue
    // would lie above the start, so nothing waits to be written to it.
    if (active !== undefined && this.#segments.length === 1 && this.#isAllDeleted(start)) {
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
      // Last: whoever finds it finds everything else as it was.
      if (wasOpen && this.#unsyncedBytes === 0 && comparePositions(this.#durable, this.end) === 0)
        this.#marks.setClean(true);
      await this.#release();
    });
  }

  async #finishIndexes(segment: Segment): Promise<void> {
    try {
      await this.#saveCheckpoint(true);
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
    this.#forgetBehind(this.#durable);
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

// One partition's log on disk: append, sync, read, cut, retention. It is the log of Raft as well: epoch starts stand in it, a
// follower appends what its leader stamped, and what a snapshot replaces goes as a whole.
//
// Path of an append: `append` stamps the batch, notes it in the active segment and queues it, all in one step (log-appends.ts). The pump,
// one loop a log, takes what is queued, writes it with one gathered write, syncs once, and tells the listener how far the log is durable
// (log-writer.ts). Everything that changes files (roll, cut, removal) goes through the same loop, one at a time, because the thread pool
// runs calls in no order.
//
// Invariants, besides those of the state that its parts share (open-log.ts)
// - A reader is given nothing at or above the `endMax` it passes, and callers pass at most durableOffset: so indexes and
//   segments may be ahead of the disk.
// - A batch buffer is stamped once and never written again: the tail cache and the pump share it.
// - After a failed sync nothing is ever appended again. After a full disk the unsynced end is cut back and the log opens by
//   itself when there is room.

import { type LeaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import { assert } from '../base/assert.ts';
import {
  comparePositions,
  earlier,
  later,
  ORIGIN,
  type Position,
  positionAt,
  type StoredShape,
  textOf,
} from '../base/position.ts';
import type { ReplicaCondition } from '../base/replica-condition.ts';
import type { DiskFault } from '../io/disk.ts';
import {
  type CleaningOutcome,
  type CleaningRequest,
  type Dirtiness,
  type DirtyShare,
  LogCompaction,
} from './compaction/log-compaction.ts';
import type { DamagedRange } from './damage.ts';
import { type AppendOutcome, LogAppends } from './log-appends.ts';
import type { LogContext } from './log-context.ts';
import { LogCut } from './log-cut.ts';
import { LogFailures } from './log-failures.ts';
import { finishInstall, installLog } from './log-install.ts';
import { LogMarks } from './log-marks.ts';
import { type FollowOutcome, type FoundTimestamp, LogReader, type ReadLimits, type ReadOutcome } from './log-reader.ts';
import { LogRepair, type RepairOutcome, type RepairSource } from './log-repair.ts';
import { LogRetention } from './log-retention.ts';
import type { CompactionSettings, LogSettings } from './log-settings.ts';
import { SyncFailure } from './log-sync.ts';
import { LogSyncPoints } from './log-sync-points.ts';
import { LogWriter } from './log-writer.ts';
import { type LogListener, type LogState, OpenLog } from './open-log.ts';
import { checkpointCrc, type RecoveredLog, recoverLog } from './recovery.ts';
import type { ProducerSource, ProducerState } from './producer-state.ts';
import type { Segment } from './segment.ts';
import { finishReplacement } from './segment-replacement.ts';
import { forgetSegmentFiles, writeIndexes } from './segment-files.ts';

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

export class PartitionLog {
  readonly #log: OpenLog;
  readonly #syncPoints: LogSyncPoints;
  readonly #cut: LogCut;
  readonly #failures: LogFailures;
  readonly #writer: LogWriter;
  readonly #appends: LogAppends;
  readonly #retention: LogRetention;
  readonly #repair: LogRepair;
  readonly #reader: LogReader;
  #arrivedProducers: Uint8Array | null = null;
  readonly #compaction: LogCompaction;
  /** What recovery says of the replica, but for what is found later. */
  readonly #found: FoundAtOpen;

  private constructor(log: OpenLog, recovered: RecoveredLog, found: FoundAtOpen) {
    this.#log = log;
    this.#found = found;
    this.#syncPoints = new LogSyncPoints(log, recovered.checkpoint);
    this.#cut = new LogCut(log, this.#syncPoints);
    this.#failures = new LogFailures(log, this.#cut);
    this.#writer = new LogWriter(log, { syncPoints: this.#syncPoints, failures: this.#failures });
    this.#appends = new LogAppends(log, this.#writer.pump);
    this.#retention = new LogRetention(log, { syncPoints: this.#syncPoints, writer: this.#writer });
    this.#repair = new LogRepair(log, this.#writer.pump);
    this.#reader = new LogReader(log.context, log.view());
    const parts = { log, pump: this.#writer.pump, failures: this.#failures };
    this.#compaction = new LogCompaction(parts, this.#reader);
  }

  /** Reads the folder, judges it by the recovery table and makes its end durable. */
  static async open(request: OpenLogRequest): Promise<PartitionLog> {
    const { context, directory, key, settings } = request;
    const { isNew = false, isInstalled = false } = request.found ?? {};
    const marks = new LogMarks(context.store, key);
    if (!isInstalled) await finishInstall({ context, directory, key, marks });
    if (!isNew) await finishReplacement(context, directory, marks);
    const point = marks.syncPoint();
    const fault = marks.fault();
    const { indexIntervalBytes: indexInterval } = settings;
    const recovered = await recoverLog({ context, directory, marks, indexInterval, isNew });
    const found = {
      claims: later(point === null ? ORIGIN : positionAt(point.leaderEpoch, point.endOffset), fault?.claims ?? ORIGIN),
      isRecovering: settings.flushMode === 'interval' && point !== null && !marks.isClean(),
    };
    const log = new PartitionLog(new OpenLog({ ...request, marks }, recovered), recovered, found);
    await log.#log.producers.restore(log.#producerSource(), recovered.producers);
    marks.setClean(false);
    log.#syncPoints.note();
    // A crash came between the first segment and its sync point: nothing is written before there is one.
    if (point === null && recovered.segments.length > 0) await marks.flush();
    for (const range of recovered.damage.ranges) log.#reader.reportDamage(range);
    return log;
  }

  #producerSource(): ProducerSource {
    return {
      epochs: this.#log.epochs,
      end: () => this.#log.end,
      readAfter: (position, bytesMax) => this.#reader.readAfter(position, bytesMax),
    };
  }

  get directory(): string {
    return this.#log.directory;
  }

  /** What its batches say of idempotent producers. */
  get producers(): ProducerState {
    return this.#log.producers;
  }

  get startOffset(): Offset {
    return this.#log.startOffset;
  }

  get endOffset(): Offset {
    return this.#log.endOffset;
  }

  /** The position behind the last batch, durable or not. */
  get end(): Position {
    return this.#log.end;
  }

  get durableOffset(): Offset {
    return this.#log.durable.offset;
  }

  get durable(): Position {
    return this.#log.durable;
  }

  get generation(): number {
    return this.#log.generation;
  }

  get state(): LogState {
    return this.#log.state;
  }

  get fault(): DiskFault | null {
    return this.#log.fault;
  }

  get damagedRanges(): readonly DamagedRange[] {
    return this.#log.damage.ranges;
  }

  get segmentCount(): number {
    return this.#log.segments.length;
  }

  get byteLength(): number {
    return this.#log.byteLength;
  }

  get queuedBytes(): number {
    return this.#log.queue.bytes;
  }

  /** Of the last entry. */
  get leaderEpoch(): LeaderEpoch {
    return this.#log.epochs.latest;
  }

  get shape(): StoredShape {
    return {
      base: this.#log.epochs.base,
      starts: this.#log.epochs.starts.slice(),
      logStart: this.#log.startOffset,
      endOffset: this.#log.endOffset,
      generation: this.#log.generation,
    };
  }

  /** As of now: damage may be found on reading. */
  get condition(): ReplicaCondition {
    if (this.#log.marks.isSuspect()) return { kind: 'suspect' };
    const first = this.#log.damage.ranges[0];
    const fault = this.#log.marks.fault();
    if (first !== undefined || fault !== null || this.#log.state === 'failed') {
      return {
        kind: 'faulty',
        claims: later(this.#found.claims, this.#log.durable),
        soundTo:
          first === undefined
            ? this.#log.durable
            : earlier(this.#log.epochs.positionBelow(first.from), this.#log.durable),
        isWritable: this.#log.state === 'open' || this.#log.state === 'full',
        reason: first?.reason ?? fault?.reason ?? 'a write or sync failed',
      };
    }
    return this.#found.isRecovering ? { kind: 'recovering' } : { kind: 'sound' };
  }

  /** What was missing when the log was opened is here again, or given up: the replica counts as others do, durably. */
  async clearFault(): Promise<void> {
    this.#log.marks.setFault(null);
    await this.#log.marks.flush();
  }

  /** In force from the next append on. */
  changeSettings(settings: LogSettings): void {
    this.#log.settings = settings;
  }

  // ---------------------------------------------------------------------------------------------------------- append

  /** Takes ownership of a leader's batches, stamps and queues them. They were inspected by the caller. */
  append(batches: readonly Uint8Array[], epoch: LeaderEpoch): AppendOutcome {
    return this.#appends.append(batches, epoch);
  }

  /** The first entry of a leader: what comes next is of its epoch. */
  appendEpochStart(epoch: LeaderEpoch): AppendOutcome {
    return this.#appends.appendEpochStart(epoch);
  }

  /** Takes ownership of batches that another leader stamped, epoch starts among them: their place must be the end of the log. */
  appendReplicated(batches: readonly Uint8Array[]): AppendOutcome {
    return this.#appends.appendReplicated(batches);
  }

  /** Everything appended so far is written and synced when this returns. */
  flush(): Promise<void> {
    return this.#writer.pump.afterQueue(async () => {
      await this.#writer.syncWritten();
    });
  }

  // ------------------------------------------------------------------------------------------------------------- cut

  /**
   * Removes every entry behind `to`, an entry that the log holds. For conflicts of replication only; never below what was
   * committed, unless that was lost elsewhere. The sync point is lowered durably before a byte is cut. A notice with the new
   * generation tells when the rest is durable; where a write or sync failed meanwhile `dropped` does.
   */
  async cut(to: Position): Promise<void> {
    assert(
      this.#log.epochs.holds(to, this.#log.endOffset),
      `a cut of ${textOf(this.#log.end)} to ${textOf(to)}, which it does not hold`,
    );
    assert(!this.#log.isCutting, 'one cut at a time');
    this.#log.isCutting = true;
    this.#cut.forgetBehind(to);
    this.#log.startOffset = offset(Math.min(this.#log.startOffset, to.offset));
    try {
      await this.#writer.pump.afterQueue(async () => {
        if (this.#log.state === 'failed' || this.#log.state === 'closed') return;
        // All that is left was written; the sync point must name the offset that stands at the position it names.
        this.#log.durable = this.#log.end;
        try {
          await this.#cut.truncateFiles();
          if (this.#log.producers.isIncomplete) await this.#log.producers.rebuild(this.#producerSource());
          await this.#syncPoints.saveCheckpoint();
        } catch (cause) {
          await this.#failures.writeFailed(new SyncFailure(cause));
          throw cause;
        }
        this.#log.listener.durable({ generation: this.#log.generation, position: this.#log.durable });
      });
    } finally {
      this.#log.isCutting = false;
    }
  }

  // --------------------------------------------------------------------------------------------------------- install

  /**
   * An empty log behind a snapshot's base takes the place of this one; what it held is gone. Raises the generation; a notice at
   * `base` tells when that is durable.
   */
  async install(base: Position): Promise<void> {
    assert(!this.#log.isCutting, 'one cut at a time');
    this.#log.isCutting = true;
    this.#log.generation++;
    this.#log.queue.clear();
    this.#log.tail.clear();
    try {
      await this.#writer.pump.exclusively(async () => {
        if (this.#log.state === 'closed') return;
        const replaced = this.#log.segments.slice();
        this.#restartAt(base);
        const producers = this.#log.producers.install(base, this.#arrivedProducers);
        this.#arrivedProducers = null;
        try {
          for (const segment of replaced) await forgetSegmentFiles(this.#log.context, segment);
          await installLog(
            { context: this.#log.context, directory: this.#log.directory, key: this.#log.key, marks: this.#log.marks },
            { base, generation: this.#log.generation, producers },
          );
        } catch (cause) {
          // What was durable of the old log is no position of this one.
          this.#log.durable = base;
          await this.#failures.writeFailed(new SyncFailure(cause));
          throw cause;
        }
        this.#log.durable = base;
        this.#syncPoints.noteCheckpoint({
          epoch: base.epoch,
          crc: checkpointCrc(this.#log.epochs.format()),
          isThere: true,
        });
        this.#log.unsyncedBytes = 0;
        this.#log.unsyncedRecords = 0;
        this.#log.unmarkedBytes = 0;
        this.#log.listener.durable({ generation: this.#log.generation, position: base });
      });
    } finally {
      this.#log.isCutting = false;
    }
  }

  /** Of the leader whose snapshot is installed next: what it knew of producers. */
  takeProducers(state: Uint8Array): void {
    this.#arrivedProducers = state;
  }

  /** In one step: readers find an empty log from here on. */
  #restartAt(base: Position): void {
    this.#log.segments.length = 0;
    this.#log.epochs.restart(base);
    this.#log.damage.clear();
    this.#log.startOffset = base.offset;
    this.#log.endOffset = base.offset;
    this.#log.durable = earlier(this.#log.durable, base);
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

  // --------------------------------------------------------------------------------------------------------- repair

  /** Fetches the first thing that is damaged again. One at a time. */
  repair(source: RepairSource): Promise<RepairOutcome> {
    return this.#repair.repair(source);
  }

  // ------------------------------------------------------------------------------------------------------- retention

  /** Everything below is committed: it is never cut. */
  noteCommitted(to: Offset): void {
    this.#log.producers.committed(to, this.#log.durable.offset);
  }

  /** The log start that the retention settings ask for; never above `limit`. */
  retentionStart(nowMs: number, limit: Offset): Offset {
    return this.#retention.wantedStart(nowMs, limit);
  }

  /** Moves the log start up, durably, and then removes the segments that lie wholly below it. */
  advanceStart(start: Offset): Promise<void> {
    return this.#retention.advanceStart(start);
  }

  // ------------------------------------------------------------------------------------------------------ compaction

  /** Null: records go by age and size alone. */
  get compactionSettings(): CompactionSettings | null {
    return this.#log.settings.compaction;
  }

  /** Below it of each key only the newest record is left. */
  get cleanTo(): Offset {
    return this.#compaction.cleanTo;
  }

  /** How much there is to be cleaned below `limit`. */
  dirtyShare(limit: Offset): DirtyShare {
    return this.#compaction.dirtyShare(limit);
  }

  /** The same, and whether it is time. */
  dirtiness(limit: Offset): Promise<Dirtiness> {
    return this.#compaction.dirtiness(limit);
  }

  /** Leaves of each key the newest record, in sealed segments below the limit. Beside everything else; one at a time. */
  clean(request: CleaningRequest): Promise<CleaningOutcome> {
    return this.#compaction.clean(request);
  }

  // ------------------------------------------------------------------------------------------------------------- end

  /** Writes and syncs what is queued, brings the index files up to date and leaves a sync point at the end. */
  async close(): Promise<void> {
    await this.#compaction.stop();
    if (this.#log.state === 'open') await this.flush();
    const wasOpen = this.#log.state === 'open';
    this.#log.state = 'closed';
    await this.#writer.pump.exclusively(async () => {
      const active = this.#log.segments.at(-1);
      if (wasOpen) await this.#log.producers.save();
      if (wasOpen && active !== undefined && active.exists && active.indexes !== null) {
        await this.#finishIndexes(active);
        this.#syncPoints.note();
      }
      // Last: whoever finds it finds everything else as it was.
      if (wasOpen && this.#log.unsyncedBytes === 0 && comparePositions(this.#log.durable, this.#log.end) === 0)
        this.#log.marks.setClean(true);
      await this.#release();
    });
  }

  async #finishIndexes(segment: Segment): Promise<void> {
    try {
      await this.#syncPoints.saveCheckpoint(true);
      await writeIndexes(this.#log.context.files, segment, 1);
      await this.#log.context.files.use(segment.offsetIndexPath, file => file.sync());
      await this.#log.context.files.use(segment.timeIndexPath, file => file.sync());
    } catch (cause) {
      // A full disk, say. The log itself is durable, and what an index lacks is found again at the next start.
      this.#log.context.logger.warn(
        { directory: this.#log.directory, cause: String(cause) },
        'an index could not be written',
      );
    }
  }

  /** For a topic that was deleted: takes no more appends and lets go of the files. The caller removes the folder. */
  async abandon(): Promise<void> {
    this.#log.state = 'closed';
    this.#cut.forgetBehind(this.#log.durable);
    await this.#compaction.stop();
    await this.#writer.pump.exclusively(async () => {
      this.#log.marks.removeAll();
      await this.#release();
    });
  }

  async #release(): Promise<void> {
    this.#log.tail.clear();
    for (const segment of this.#log.segments) await forgetSegmentFiles(this.#log.context, segment);
  }
}

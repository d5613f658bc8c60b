// Where a log begins: what its retention settings ask for, and the removal of what lies below its start.

import { leaderEpoch, type Offset } from '@sluice/protocol/ids';
import { assert } from '../base/assert.ts';
import { comparePositions, type Position } from '../base/position.ts';
import { DiskFault } from '../io/disk.ts';
import type { LogSyncPoints } from './log-sync-points.ts';
import type { LogWriter } from './log-writer.ts';
import type { OpenLog } from './open-log.ts';
import { checkpointCrc, NO_CHECKPOINT } from './recovery.ts';
import type { Segment } from './segment.ts';
import { removeSegmentFiles } from './segment-files.ts';

export interface LogRetentionParts {
  readonly syncPoints: LogSyncPoints;
  readonly writer: LogWriter;
}

export class LogRetention {
  readonly #log: OpenLog;
  readonly #syncPoints: LogSyncPoints;
  readonly #writer: LogWriter;

  constructor(log: OpenLog, { syncPoints, writer }: LogRetentionParts) {
    this.#log = log;
    this.#syncPoints = syncPoints;
    this.#writer = writer;
  }

  /**
   * The log start that the retention settings ask for: whole sealed segments that are too old by their newest record, or too
   * much. Never above `limit`.
   */
  wantedStart(nowMs: number, limit: Offset): Offset {
    const { retentionMs, retentionBytes, retentionDeletes } = this.#log.settings;
    let start = this.#log.startOffset;
    if (!retentionDeletes) return start;
    let total = this.#log.byteLength;
    for (const [index, segment] of this.#log.segments.entries()) {
      const next = this.#log.segments[index + 1];
      if (next === undefined || next.baseOffset > limit || !segment.exists || !next.exists) break;
      const hasRecords = segment.latest.lastOffset >= 0;
      const isOld = hasRecords && nowMs - segment.latest.timestamp > retentionMs;
      const isTooMuch = total - segment.byteLength >= retentionBytes;
      if (!isOld && !isTooMuch && hasRecords) break;
      total -= segment.byteLength;
      // Without records, which compaction leaves, it is of no age: it goes with what stands behind it.
      if (!isOld && !isTooMuch) continue;
      start = next.baseOffset;
    }
    return start;
  }

  /**
   * Moves the log start up, durably, and then removes the segments that lie wholly below it. A disk that refuses the removal
   * is not the caller's concern: the start has moved, and the next start of the node removes what is left.
   */
  async advanceStart(start: Offset): Promise<void> {
    if (start <= this.#log.startOffset) return;
    assert(start <= this.#log.durable.offset, 'the log start stays at or below what is durable');
    await this.#writer.pump.exclusively(async () => {
      // A cut may have come first.
      if (start <= this.#log.startOffset || start > this.#log.durable.offset) return;
      // The start must not outlive records below it that are only written: positions would be claimed that nobody has.
      if (!(await this.#writer.syncWritten())) return;
      // What is committed may be told to the log a moment later; a start never lies above it.
      this.#log.producers.committed(start, this.#log.durable.offset);
      if (!this.#log.producers.isKeptFrom(this.#baseAt(start).offset)) await this.#log.producers.save();
      let base = this.#baseAt(start);
      this.#log.marks.setLogStart(start, base);
      // In the same flush, behind the start: a crash after it leaves no mark of a segment that is gone.
      for (let index = 0; index + 1 < this.#log.segments.length; index++) {
        if (this.#log.segments[index + 1]!.baseOffset > start) break;
        this.#log.marks.removeSealed(this.#log.segments[index]!.baseOffset);
      }
      await this.#log.marks.flush();
      // What was appended meanwhile, and is not written yet, may belong to a segment that was to go with all its records. Then that one stays,
      // and the log begins where it does: a start below its own base is what recovery removes.
      const isAllDeleted = this.#isAllDeleted(start);
      const settled = this.#baseAt(start);
      if (comparePositions(settled, base) !== 0) {
        base = settled;
        this.#log.marks.setLogStart(start, base);
        await this.#log.marks.flush();
      }
      this.#log.startOffset = start;
      this.#log.damage.dropBelow(start);
      // The sync point and the checkpoint are those of the log from its base on.
      if (comparePositions(base, this.#log.epochs.base) > 0) {
        this.#log.epochs.moveBase(base);
        const isSame =
          checkpointCrc(this.#log.epochs.format(this.#log.durable.epoch)) === this.#syncPoints.checkpoint.crc;
        this.#syncPoints.noteCheckpoint(isSame ? this.#syncPoints.checkpoint : NO_CHECKPOINT);
      }
      const removed = this.#takeBelow(start, isAllDeleted);
      if (removed.length === 0) return;
      try {
        for (const segment of removed) await removeSegmentFiles(this.#log.context, segment);
        await this.#log.context.disk.syncDirectory(this.#log.directory);
        await this.#syncPoints.saveCheckpoint();
      } catch (fault) {
        if (!(fault instanceof DiskFault)) throw fault;
        this.#log.context.logger.error(
          { directory: this.#log.directory, fault: fault.message },
          'segments below the log start could not be removed: the next start removes them',
        );
      }
      // A full disk has room now.
      if (!this.#log.producers.isKeptFrom(base.offset)) await this.#log.producers.save();
    });
  }

  /** The position before the first batch that is left when the log starts there. */
  #baseAt(start: Offset): Position {
    let base = this.#log.epochs.base;
    for (const [index, segment] of this.#log.segments.entries()) {
      const next = this.#log.segments[index + 1];
      const isBelow = next === undefined ? this.#isAllDeleted(start) : next.baseOffset <= start;
      if (!isBelow) break;
      base = { epoch: leaderEpoch(segment.lastEpoch), offset: segment.endOffset };
    }
    return base;
  }

  #isAllDeleted(start: Offset): boolean {
    const active = this.#log.segments.at(-1);
    if (active === undefined || !active.exists || active.isEmpty) return false;
    return start === this.#log.endOffset && comparePositions(active.end, this.#log.end) === 0;
  }

  /** Inside the pump: takes the segments that lie wholly below the log start out of the log. */
  #takeBelow(start: Offset, isAllDeleted: boolean): readonly Segment[] {
    const removed: Segment[] = [];
    while (this.#log.segments.length > 1 && this.#log.segments[1]!.baseOffset <= start)
      removed.push(this.#log.segments.shift()!);
    const [active] = this.#log.segments;
    // Everything was deleted: the next append begins a segment of its own, and this one goes as well. What is in the queue
    // would lie above the start, so nothing waits to be written to it.
    if (active !== undefined && this.#log.segments.length === 1 && isAllDeleted) {
      removed.push(active);
      this.#log.segments.length = 0;
      this.#log.unsyncedBytes = 0;
      this.#log.unsyncedRecords = 0;
      this.#syncPoints.note();
    }
    return removed;
  }
}

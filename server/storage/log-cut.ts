// A log brought back to an earlier end: in memory at once, in its files inside the pump. The sync point is lowered durably before a byte is
// cut.

import { assert } from '../base/assert.ts';
import { comparePositions, earlier, type Position } from '../base/position.ts';
import { DiskFault } from '../io/disk.ts';
import { syncFile } from './log-sync.ts';
import type { LogSyncPoints } from './log-sync-points.ts';
import type { OpenLog } from './open-log.ts';
import { NO_CHECKPOINT } from './recovery.ts';
import { Segment } from './segment.ts';
import { rebuildSegment, removeSegmentFiles, truncateIndexes } from './segment-files.ts';

export class LogCut {
  readonly #log: OpenLog;
  readonly #syncPoints: LogSyncPoints;

  constructor(log: OpenLog, syncPoints: LogSyncPoints) {
    this.#log = log;
    this.#syncPoints = syncPoints;
  }

  /** Drops everything behind the position from memory: queue, cache, epochs, known damage. Segments follow with the files. */
  forgetBehind(to: Position): void {
    this.#log.generation++;
    this.#log.queue.cut(to);
    this.#log.tail.cut(to);
    if (this.#log.epochs.cut(to)) this.#syncPoints.noteCheckpoint(NO_CHECKPOINT);
    this.#log.damage.dropAbove(to.offset);
    this.#log.producers.cut(to.offset);
    this.#log.endOffset = to.offset;
    this.#log.durable = earlier(this.#log.durable, to);
  }

  /** Inside the pump: brings segments and files back to the end offset. */
  async truncateFiles(): Promise<void> {
    const { files, disk, syncGate } = this.#log.context;
    const { end } = this.#log;
    const removed: Segment[] = [];
    let rebuilt: Segment | null = null;
    for (;;) {
      const last = this.#log.segments.at(-1);
      if (last === undefined) break;
      if (last.baseOffset <= end.offset && last.byteLength > 0) {
        if (comparePositions(last.end, end) <= 0) break;
        // At its first offset epoch starts may be left of it.
        rebuilt = await this.#rebuild(last, end);
        if (rebuilt.byteLength > 0 || last.baseOffset < end.offset) break;
        rebuilt = null;
      }
      removed.push(this.#log.segments.pop()!);
    }
    const active = this.#log.segments.at(-1);
    if (active !== undefined && rebuilt === null && active.indexes === null) rebuilt = await this.#reopened(active);
    if (rebuilt !== null) this.#log.segments[this.#log.segments.length - 1] = rebuilt;
    if (active !== undefined && rebuilt === null && active.indexes === null) {
      // The next append begins a segment of its own.
      this.#log.segments.push(new Segment(this.#log.directory, end.offset));
    }
    const last = rebuilt ?? active;
    if (last !== undefined && last.exists) {
      // The sync point must not say more than is on disk: in flush mode `interval` the end may only be written.
      if (this.#log.unsyncedBytes > 0) await files.use(last.logPath, file => syncFile(this.#log, file));
      last.writtenBytes = Math.min(last.writtenBytes, last.byteLength);
      if (last.indexes !== null) this.#log.marks.removeSealed(last.baseOffset);
    }
    // A log that is cut below its start begins there.
    if (this.#log.marks.logStart().offset > this.#log.startOffset)
      this.#log.marks.setLogStart(this.#log.startOffset, this.#log.epochs.base);
    this.#syncPoints.note();
    for (const segment of removed) this.#log.marks.removeSealed(segment.baseOffset);
    await this.#log.marks.flush();
    // The newest first, each for good before the next step: a crash in between leaves a log without a gap.
    for (const segment of removed) {
      if (!segment.exists) continue;
      await removeSegmentFiles(this.#log.context, segment);
      await disk.syncDirectory(this.#log.directory);
    }
    if (last !== undefined && last.exists) {
      await files.use(last.logPath, async file => {
        if ((await file.byteLength()) > last.byteLength) await file.truncate(last.byteLength);
        await syncGate.run('log', () => file.sync());
      });
      if (last.indexes !== null) await truncateIndexes(files, last);
    }
    await disk.syncDirectory(this.#log.directory);
    this.#log.unsyncedBytes = 0;
    this.#log.unsyncedRecords = 0;
  }

  /**
   * A segment that was sealed takes records again when what followed it is cut: where the next one belongs is decided by content, as in
   * replicas that never had what was cut. Null where it cannot be read to its end.
   */
  async #reopened(segment: Segment): Promise<Segment | null> {
    const { damage, end } = this.#log;
    const isWhole = damage.ranges.every(range => range.file !== segment.logPath);
    if (!isWhole || !segment.exists || comparePositions(segment.end, end) !== 0) return null;
    try {
      return await this.#rebuild(segment, end);
    } catch (fault) {
      if (!(fault instanceof DiskFault)) throw fault;
      return null;
    }
  }

  #rebuild(segment: Segment, end: Position): Promise<Segment> {
    assert(this.#log.queue.isEmpty, 'files are cut back when nothing is queued');
    const { indexIntervalBytes: indexInterval } = this.#log.settings;
    return rebuildSegment(this.#log.context, segment, { directory: this.#log.directory, end, indexInterval });
  }
}

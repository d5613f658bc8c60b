// Appends on their way to the disk: one gathered write, one sync, and the notice of how far the log is durable; the files of a new segment,
// and the seal of the one before.

import { crc32cContinue } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { comparePositions, type Position } from '../base/position.ts';
import { DiskFault, type DiskFile } from '../io/disk.ts';
import type { WriteGroup } from './append-queue.ts';
import type { LogFailures } from './log-failures.ts';
import { sealedMarkOf } from './log-marks.ts';
import { LogPump } from './log-pump.ts';
import { syncFile } from './log-sync.ts';
import type { LogSyncPoints } from './log-sync-points.ts';
import type { OpenLog } from './open-log.ts';
import type { Segment } from './segment.ts';
import { createSegmentFiles, writeIndexes } from './segment-files.ts';

/** Index entries are handed to the files in pieces of about this size. */
const INDEX_WRITE_BYTES = 4_096;

export interface LogWriterParts {
  readonly syncPoints: LogSyncPoints;
  readonly failures: LogFailures;
}

export class LogWriter {
  readonly pump: LogPump;
  readonly #log: OpenLog;
  readonly #syncPoints: LogSyncPoints;
  readonly #failures: LogFailures;
  #flushDue = false;
  #isMarkedClean = true;

  constructor(log: OpenLog, { syncPoints, failures }: LogWriterParts) {
    this.#log = log;
    this.#syncPoints = syncPoints;
    this.#failures = failures;
    this.pump = new LogPump(log.queue, () => this.#writeGroup());
  }

  async #writeGroup(): Promise<void> {
    const group = this.#log.queue.take();
    const generation = this.#log.generation;
    try {
      await this.#prepareSegment(group.segment);
      await this.#log.context.files.use(group.segment.logPath, file => this.#writeAndSync(file, group));
    } catch (cause) {
      await this.#failures.writeFailed(cause);
      return;
    } finally {
      this.#log.queue.finished(group);
    }
    if (generation !== this.#log.generation) return;
    this.#noteDurable(group.end);
    try {
      await this.#syncPoints.saveCheckpoint();
      await writeIndexes(this.#log.context.files, group.segment, INDEX_WRITE_BYTES);
    } catch (cause) {
      // The log itself is durable; index entries stay in memory and are offered again with the next group.
      this.#log.context.logger.warn(
        { directory: this.#log.directory, cause: String(cause) },
        'an index could not be written',
      );
    }
    if (this.#log.producers.isDue) await this.#log.producers.save();
  }

  async #writeAndSync(file: DiskFile, group: WriteGroup): Promise<void> {
    const { segment } = group;
    const written = await file.write(group.buffers, group.position);
    if (written < group.bytes) throw new DiskFault('full', segment.logPath);
    for (const buffer of group.buffers) segment.crc = crc32cContinue(segment.crc, buffer);
    segment.writtenBytes = group.position + group.bytes;
    segment.writtenLatest = group.latest;
    this.#log.unsyncedRecords += group.records;
    this.#log.unsyncedBytes += group.bytes;
    this.#log.unmarkedBytes += group.bytes;
    if (this.#log.settings.flushMode === 'sync' || this.#log.unsyncedRecords >= this.#log.settings.flushMessages) {
      await syncFile(this.#log, file);
    } else if (!this.#flushDue && Number.isFinite(this.#log.settings.flushMs)) {
      this.#flushDue = true;
      this.#log.context.clock.schedule(this.#log.settings.flushMs, () => {
        this.#flushDue = false;
        if (this.#log.state === 'open') this.flush().catch(() => undefined);
      });
    }
  }

  /** Creates the file of a new segment, after the one before it was synced and sealed. */
  async #prepareSegment(segment: Segment): Promise<void> {
    if (this.#log.settings.flushMode === 'interval' && this.#isMarkedClean) {
      // Before anything that a crash may take back.
      await this.#log.marks.flush();
      this.#isMarkedClean = false;
    }
    if (segment.exists) return;
    const previous = this.#log.segments[this.#log.segments.indexOf(segment) - 1];
    if (previous !== undefined && previous.exists && previous.indexes !== null) await this.#seal(previous);
    // Before the first record: a checkpoint that is no copy costs a scan of the whole log.
    if (previous === undefined && this.#syncPoints.vouch().behind === null) await this.#syncPoints.writeCheckpoint();
    await createSegmentFiles(this.#log.context, segment);
    await this.#log.context.disk.syncDirectory(this.#log.directory);
    segment.exists = true;
    if (previous === undefined) {
      // Before its first byte: without a sync point recovery could not tell what a crash tore from what was lost.
      this.#syncPoints.note();
      await this.#log.marks.flush();
    }
  }

  async #seal(segment: Segment): Promise<void> {
    const { files } = this.#log.context;
    const indexes = segment.indexes;
    assert(indexes !== null, 'only the active segment is sealed');
    if (this.#log.unsyncedBytes > 0) await files.use(segment.logPath, file => syncFile(this.#log, file));
    await writeIndexes(this.#log.context.files, segment, 1);
    await files.use(segment.offsetIndexPath, file => syncFile(this.#log, file));
    await files.use(segment.timeIndexPath, file => syncFile(this.#log, file));
    this.#log.marks.setSealed(sealedMarkOf(segment));
    // All of it is synced, in flush mode `interval` too: recovery begins behind it, with the epochs that it has. A cut that
    // waits has lowered the durable position already.
    if (comparePositions(segment.end, this.#log.durable) === 0) this.#syncPoints.note();
    await this.#log.marks.flush();
    segment.indexes = null;
  }

  #noteDurable(position: Position): void {
    this.#log.durable = position;
    this.#log.producers.durable(position.offset);
    if (this.#log.settings.flushMode === 'sync' || this.#log.unsyncedBytes === 0) this.#syncPoints.note();
    this.#log.listener.durable({ generation: this.#log.generation, position });
  }

  /** Everything appended so far is written and synced when this returns. */
  flush(): Promise<void> {
    return this.pump.afterQueue(async () => {
      await this.syncWritten();
    });
  }

  /** Inside the pump: syncs what was only written. False where that failed or is not tried. */
  async syncWritten(): Promise<boolean> {
    const active = this.#log.segments.findLast(segment => segment.exists);
    if (this.#log.unsyncedBytes === 0 || active === undefined) return true;
    // A sync that failed is never tried again.
    if (this.#log.state !== 'open') return false;
    const generation = this.#log.generation;
    try {
      await this.#log.context.files.use(active.logPath, file => syncFile(this.#log, file));
      // A cut that waits has lowered the durable offset already, and the file still has what it cuts.
      if (generation === this.#log.generation) this.#syncPoints.note();
      return true;
    } catch (cause) {
      await this.#failures.writeFailed(cause);
      return false;
    }
  }
}

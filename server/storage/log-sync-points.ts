// What the marks in the node's store say of how far one log is durable, and the copy of its epochs that goes with it.
//
// A sync point names the last few epochs itself, so that an election costs no file; the checkpoint follows when they are too many, and
// at a clean stop.

import path from 'node:path';
import { EPOCHS_BEHIND_MAX } from '../base/limits.ts';
import type { EpochStart } from '../base/position.ts';
import { DiskFault } from '../io/disk.ts';
import type { EpochMap } from './epoch-map.ts';
import type { SyncPoint } from './log-marks.ts';
import type { OpenLog } from './open-log.ts';
import { type Checkpoint, checkpointCrc, EPOCH_CHECKPOINT } from './recovery.ts';
import { replaceSmallFile } from './small-file.ts';

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

export class LogSyncPoints {
  readonly #log: OpenLog;
  /** On disk; see `vouch` for what it may lack. */
  #checkpoint: Checkpoint;
  /** What sync points say of the epochs up to the one that is durable; null where that is to be found out. */
  #vouched: VouchedEpochs | null = null;

  constructor(log: OpenLog, checkpoint: Checkpoint) {
    this.#log = log;
    this.#checkpoint = checkpoint;
  }

  get checkpoint(): Checkpoint {
    return this.#checkpoint;
  }

  /**
   * Of what is durable. The log tells of its epochs itself, so that no append waits for the copy, and sync points name the last few: an
   * election costs no file. `isWhole`: they are to be in the copy too.
   */
  async saveCheckpoint(isWhole = false): Promise<void> {
    const isSaved = isWhole
      ? this.#checkpoint.isThere && this.vouch().behind?.length === 0
      : this.vouch().behind !== null;
    if (isSaved) return;
    const generation = this.#log.generation;
    try {
      await this.writeCheckpoint();
    } catch (fault) {
      if (!(fault instanceof DiskFault)) throw fault;
      // A full disk, say. What it lacks is found in the log at the next start, and it is offered again with the next group.
      const { message } = fault;
      this.#log.context.logger.warn(
        { directory: this.#log.directory, fault: message },
        'the epoch checkpoint could not be written',
      );
    }
    if (this.#log.unsyncedBytes === 0 && generation === this.#log.generation) this.note();
  }

  async writeCheckpoint(): Promise<void> {
    const generation = this.#log.generation;
    const { epoch } = this.#log.durable;
    const text = this.#log.epochs.format(epoch);
    await replaceSmallFile(this.#log.context.disk, path.join(this.#log.directory, EPOCH_CHECKPOINT), text);
    if (generation === this.#log.generation) this.noteCheckpoint({ epoch, crc: checkpointCrc(text), isThere: true });
  }

  noteCheckpoint(checkpoint: Checkpoint): void {
    this.#checkpoint = checkpoint;
    this.#vouched = null;
  }

  vouch(): VouchedEpochs {
    const { epoch } = this.#log.durable;
    if (this.#vouched?.epoch !== epoch) this.#vouched = vouchedEpochs(this.#log.epochs, epoch, this.#checkpoint);
    return this.#vouched;
  }

  note(): void {
    const segment = this.#log.segments.findLast(candidate => candidate.exists);
    // A segment that is sealed takes nothing more: what comes next begins one of its own, wherever this one ended.
    if (segment === undefined || segment.indexes === null) {
      this.#log.marks.setSyncPoint(this.#emptySyncPoint(), 0);
      return;
    }
    const logBytes = this.#log.unmarkedBytes;
    this.#log.unmarkedBytes = 0;
    // The segment may be ahead of what is durable; what is recorded must not be.
    const { timestamp, lastOffset } = segment.writtenLatest;
    this.#log.marks.setSyncPoint(
      {
        generation: this.#log.generation,
        leaderEpoch: this.#log.durable.epoch,
        endOffset: this.#log.durable.offset,
        segment: segment.baseOffset,
        position: segment.writtenBytes,
        crc: segment.crc,
        latestTimestamp: lastOffset < 0 ? -1 : timestamp,
        latestOffset: lastOffset,
        firstTimestamp: segment.firstTimestamp ?? -1,
        ...this.#epochsMark(),
        producersFrom: this.#log.producers.searchFrom(this.#log.durable.offset),
      },
      logBytes,
    );
  }

  /** Of a log whose next record begins a segment. */
  #emptySyncPoint(): SyncPoint {
    return {
      generation: this.#log.generation,
      leaderEpoch: this.#log.durable.epoch,
      endOffset: this.#log.durable.offset,
      segment: this.#log.durable.offset,
      position: 0,
      crc: 0,
      latestTimestamp: -1,
      latestOffset: -1,
      firstTimestamp: -1,
      ...this.#epochsMark(),
      producersFrom: this.#log.producers.searchFrom(this.#log.durable.offset),
    };
  }

  /** One that is behind is not taken for what it should be. */
  #epochsMark(): Pick<SyncPoint, 'epochsCrc' | 'epochsBehind'> {
    const { crc, behind } = this.vouch();
    return { epochsCrc: crc, epochsBehind: behind ?? NO_STARTS };
  }
}

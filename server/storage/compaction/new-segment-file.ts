// The file of a segment while it is written, and its indexes: batch behind batch, in pieces, synced now and then so that no sync has much
// to do and nobody waits long behind one.

import { crc32cContinue } from '@sluice/protocol/record';
import { CLEANER_SYNC_BYTES, GATHER_BUFFERS_MAX } from '../../base/limits.ts';
import { DiskFault, type DiskFile } from '../../io/disk.ts';
import { writeIndexFile } from '../index-cache.ts';
import type { LogContext } from '../log-context.ts';
import { type LatestTime, Segment } from '../segment.ts';
import { NEW_SUFFIX } from '../segment-name.ts';

const WRITE_BYTES = 256 * 1024;

export interface NewSegmentPlace {
  readonly directory: string;
  readonly baseOffset: Segment['baseOffset'];
  readonly indexInterval: number;
}

/** What the segment was at some point. */
interface SegmentState {
  readonly byteLength: number;
  readonly endOffset: Segment['endOffset'];
  readonly lastEpoch: number;
  readonly firstTimestamp: number | null;
  readonly latest: LatestTime;
  readonly bytesSinceIndexEntry: number;
  readonly crc: number;
  readonly offsetEntries: number;
  readonly timeEntries: number;
}

export class NewSegmentFile {
  readonly segment: Segment;
  readonly #context: LogContext;
  readonly #indexInterval: number;
  readonly #file: DiskFile;
  #isClosed = false;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #unsyncedBytes = 0;

  private constructor(
    context: LogContext,
    place: NewSegmentPlace,
    { segment, file }: { segment: Segment; file: DiskFile },
  ) {
    this.#context = context;
    this.#indexInterval = place.indexInterval;
    this.segment = segment;
    this.#file = file;
  }

  static async begin(context: LogContext, place: NewSegmentPlace): Promise<NewSegmentFile> {
    const segment = new Segment(place.directory, place.baseOffset, NEW_SUFFIX);
    // Of an attempt that ended early.
    for (const file of filesOf(segment)) if (await context.disk.exists(file)) await context.disk.removeFile(file);
    const file = await context.disk.open(segment.logPath, 'create');
    return new NewSegmentFile(context, place, { segment, file });
  }

  add(batch: Uint8Array): void {
    const { segment } = this;
    segment.noteBatch(batch, 0, { batchBytes: batch.length, indexInterval: this.#indexInterval });
    segment.crc = crc32cContinue(segment.crc, batch);
    this.#pending.push(batch);
    this.#pendingBytes += batch.length;
  }

  /** Hands over what is enough for a write. */
  async write(): Promise<void> {
    if (this.#pendingBytes >= WRITE_BYTES || this.#pending.length >= GATHER_BUFFERS_MAX) await this.#flush();
  }

  async #flush(): Promise<void> {
    for (let at = 0; at < this.#pending.length; at += GATHER_BUFFERS_MAX) {
      const group = this.#pending.slice(at, at + GATHER_BUFFERS_MAX);
      let bytes = 0;
      for (const buffer of group) bytes += buffer.length;
      const written = await this.#file.write(group, this.segment.writtenBytes);
      if (written < bytes) throw new DiskFault('full', this.segment.logPath);
      this.segment.writtenBytes += bytes;
      this.#unsyncedBytes += bytes;
    }
    this.#pending = [];
    this.#pendingBytes = 0;
    if (this.#unsyncedBytes >= CLEANER_SYNC_BYTES) await this.#sync();
  }

  async #sync(): Promise<void> {
    await this.#context.syncGate.run('log', () => this.#file.sync());
    this.#unsyncedBytes = 0;
  }

  /** Everything so far is in the file. */
  async state(): Promise<SegmentState> {
    await this.#flush();
    const { byteLength, endOffset, lastEpoch, firstTimestamp, latest, bytesSinceIndexEntry, crc } = this.segment;
    const { offsets, times } = this.segment.indexes!;
    return {
      ...{ byteLength, endOffset, lastEpoch, firstTimestamp, latest, bytesSinceIndexEntry, crc },
      offsetEntries: offsets.count,
      timeEntries: times.count,
    };
  }

  /** Takes back what was added since. */
  async restore({ offsetEntries, timeEntries, ...segment }: SegmentState): Promise<void> {
    this.#pending = [];
    this.#pendingBytes = 0;
    Object.assign(this.segment, segment);
    this.segment.writtenBytes = segment.byteLength;
    this.segment.indexes!.offsets.keep(offsetEntries);
    this.segment.indexes!.times.keep(timeEntries);
    await this.#file.truncate(segment.byteLength);
  }

  /** All three files are written and synced; their names are the caller's to make durable. */
  async finish(): Promise<Segment> {
    await this.#flush();
    await this.#sync();
    await this.#close();
    const { segment } = this;
    segment.noteSealed();
    segment.writtenLatest = segment.latest;
    await writeIndexFile(this.#context.disk, segment.offsetIndexPath, segment.indexes!.offsets);
    await writeIndexFile(this.#context.disk, segment.timeIndexPath, segment.indexes!.times);
    return segment;
  }

  async #close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#file.close();
  }

  /** Of no use: the next start, or the next attempt, removes what cannot be removed now. */
  async discard(): Promise<void> {
    await this.#close();
    for (const file of filesOf(this.segment)) {
      try {
        await this.#context.disk.removeFile(file);
      } catch (fault) {
        if (!(fault instanceof DiskFault)) throw fault;
      }
    }
  }
}

const filesOf = ({ logPath, offsetIndexPath, timeIndexPath }: Segment): readonly string[] => [
  logPath,
  offsetIndexPath,
  timeIndexPath,
];

// A segment that is written anew, beside the one whose place it takes.
//
//   <base>.log.tmp     the new file while it is written
//
// Each step is durable before the next, and a crash after any of them leaves the old segment or the new one:
//
//   1. the new file, and its name
//   2. the mark of the sealed segment goes: recovery looks at every batch from here on, whichever file it finds
//   3. the new file takes the name of the old one
//   4. both indexes are written anew
//   5. the mark of the new segment, which vouches for them
//
// Before step 3 a crash leaves a file with a temporary name, which the next start removes. After it recovery reads the new file whole,
// and does steps 4 and 5.

import type { Offset } from '@sluice/protocol/ids';
import { crc32cContinue } from '@sluice/protocol/record';
import { DiskFault, type DiskFile } from '../io/disk.ts';
import { saveIndexFile } from './index-cache.ts';
import type { LogContext } from './log-context.ts';
import { type LogMarks, sealedMarkOf } from './log-marks.ts';
import { Segment } from './segment.ts';
import { TEMPORARY_SUFFIX } from './small-file.ts';

export interface DraftPlace {
  readonly directory: string;
  readonly baseOffset: Offset;
  readonly indexInterval: number;
}

export class SegmentDraft {
  /** As it will be: under its own names. */
  readonly segment: Segment;
  readonly #context: LogContext;
  readonly #indexInterval: number;
  readonly #temporary: string;
  #file: DiskFile | null = null;

  private constructor(context: LogContext, place: DraftPlace) {
    this.#context = context;
    this.segment = new Segment(place.directory, place.baseOffset);
    this.#indexInterval = place.indexInterval;
    this.#temporary = this.segment.logPath + TEMPORARY_SUFFIX;
  }

  static async begin(context: LogContext, place: DraftPlace): Promise<SegmentDraft> {
    const draft = new SegmentDraft(context, place);
    const { disk } = context;
    // Of an attempt that ended early.
    if (await disk.exists(draft.#temporary)) await disk.removeFile(draft.#temporary);
    draft.#file = await disk.open(draft.#temporary, 'create');
    return draft;
  }

  /** A batch that the next bytes hold. */
  note(buffer: Uint8Array, at: number, batchBytes: number): void {
    this.segment.noteBatch(buffer, at, { batchBytes, indexInterval: this.#indexInterval });
  }

  /** Bytes whose batches were noted. */
  async write(bytes: Uint8Array): Promise<void> {
    const { segment } = this;
    const written = await this.#file!.write([bytes], segment.writtenBytes);
    if (written < bytes.length) throw new DiskFault('full', this.#temporary);
    segment.crc = crc32cContinue(segment.crc, bytes);
    segment.writtenBytes += bytes.length;
  }

  /** Step 1, but for the name. */
  async sync(): Promise<void> {
    await this.#context.syncGate.run('log', () => this.#file!.sync());
    this.segment.noteSealed();
    this.segment.writtenLatest = this.segment.latest;
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close();
  }

  /** Step 3. Whoever opens the file from here on is given the new one; the caller makes the name durable. */
  async takePlace(): Promise<void> {
    await this.close();
    await this.#context.disk.rename(this.#temporary, this.segment.logPath);
    this.segment.exists = true;
  }

  /** Steps 4 and 5: until then the segment keeps its indexes in memory, and readers use those. */
  async seal(marks: LogMarks): Promise<void> {
    const { segment } = this;
    const { offsets, times } = segment.indexes!;
    await saveIndexFile(this.#context, segment.offsetIndexPath, offsets);
    await saveIndexFile(this.#context, segment.timeIndexPath, times);
    await this.#context.disk.syncDirectory(segment.directory);
    marks.setSealed(sealedMarkOf(segment));
    await marks.flush();
    segment.indexes = null;
  }

  async discard(): Promise<void> {
    await this.close();
    try {
      await this.#context.disk.removeFile(this.#temporary);
    } catch (fault) {
      // The next start removes it.
      if (!(fault instanceof DiskFault)) throw fault;
    }
  }
}

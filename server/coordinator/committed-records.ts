// A voter's image: replays what is committed from its own log. Where that begins above the image (this replica was sent a
// snapshot of the log, or its own snapshots are gone) the other voters are asked instead, until the two meet.

import { type Offset, offset } from '@sluice/protocol/ids';
import { METADATA_PIECE_BYTES } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Clock } from '../io/clock.ts';
import type { ClusterRecord } from '../state/cluster/record.ts';
import type { MetadataImage } from './metadata-image.ts';
import { readClusterRecord } from './metadata-log.ts';
import type { MetadataPull } from './metadata-pull.ts';
import { type RecordLog, recordsOf } from './record-log.ts';

export interface CommittedRecordsOptions {
  readonly image: MetadataImage;
  readonly records: RecordLog;
  readonly pull: MetadataPull;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly unreadable: (detail: string) => void;
}

/** What is committed may be durable elsewhere first, and a disk that fails to read is asked again. */
const RETRY_MS = 10;
const FAILED_RETRY_MS = 1_000;

type Step = 'went-on' | 'not-yet' | 'failed' | 'over';

export class CommittedRecords {
  readonly #options: CommittedRecordsOptions;
  #commit: Offset = offset(0);
  #isPumping = false;
  #isClosed = false;

  constructor(options: CommittedRecordsOptions) {
    this.#options = options;
  }

  committed(to: Offset): void {
    if (to > this.#commit) this.#commit = to;
    if (!this.#isPumping && !this.#isClosed) void this.#pump();
  }

  close(): void {
    this.#isClosed = true;
  }

  async #pump(): Promise<void> {
    this.#isPumping = true;
    let step: Step = 'went-on';
    while (step === 'went-on' && !this.#isClosed && this.#options.image.next < this.#commit) step = await this.#step();
    this.#isPumping = false;
    if (step !== 'not-yet' && step !== 'failed') return;
    this.#options.clock.schedule(step === 'failed' ? FAILED_RETRY_MS : RETRY_MS, () => this.committed(this.#commit));
  }

  async #step(): Promise<Step> {
    const { image, records, pull, logger } = this.#options;
    const { next } = image;
    if (next < records.startOffset) {
      await pull.run(() => this.#isClosed || image.next >= records.startOffset);
      return image.next >= records.startOffset ? 'went-on' : 'not-yet';
    }
    const endMax = offset(Math.min(this.#commit, records.durableOffset));
    if (next >= endMax) return 'not-yet';
    const read = await records.read(next, { endMax, bytesMax: METADATA_PIECE_BYTES });
    if (read.kind === 'below-start') return 'went-on';
    if (read.kind !== 'batches') {
      logger.error({ offset: next, why: read.kind }, 'the metadata log cannot be read');
      return 'failed';
    }
    // While the log was read a snapshot may have come by another way.
    if (image.next !== next) return 'went-on';
    return read.batches.length === 0 ? 'not-yet' : this.#replay(read.batches, next);
  }

  #replay(batches: readonly Uint8Array[], from: Offset): Step {
    const { records, next } = recordsOf(batches, from);
    const decoded: ClusterRecord[] = [];
    for (const record of records) {
      const read = readClusterRecord(record);
      if (!read.ok) {
        this.close();
        this.#options.unreadable(`the record at offset ${record.offset} of the metadata log: ${read.detail}`);
        return 'over';
      }
      decoded.push(read.value);
    }
    this.#options.image.replay(decoded, next);
    return 'went-on';
  }
}

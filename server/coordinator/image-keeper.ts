// Keeps the image of the metadata on disk, every so many records and at the end, and lets the log go behind it.
//
//   log      ├──────────────┤··················┤        a replica's log may begin at most at its *older* snapshot
//            older snapshot   newer snapshot    image
//
// The leader moves the log's start; a follower is told to, and does so when its own snapshots reach as far (`startMax`). A replica that is
// too far behind for the log is sent the image in front of the snapshot of the log, and keeps it before it takes that.

import { type Offset, offset } from '@sluice/protocol/ids';
import { METADATA_PAUSE_MS, METADATA_SNAPSHOT_RECORDS } from '../base/limits.ts';
import type { Clock } from '../io/clock.ts';
import type { GroupSnapshots, Position, ReplicatedLog } from '../replication/replicated-log.ts';
import { decodeKeptImage, encodeKeptImage, type ImageSnapshots } from './image-snapshots.ts';
import type { MetadataImage } from './metadata-image.ts';
import { pause } from './pause.ts';
import type { RecordLog } from './record-log.ts';

export interface ImageKeeperOptions {
  readonly image: MetadataImage;
  readonly snapshots: ImageSnapshots;
  readonly clock: Clock;
  readonly isLeader: () => boolean;
  readonly failed: (detail: string) => void;
  readonly everyRecords?: number | undefined;
}

type MovableLog = Pick<ReplicatedLog, 'advanceStart'>;

export class ImageKeeper implements GroupSnapshots {
  readonly #options: ImageKeeperOptions;
  readonly #everyRecords: number;
  #log: { readonly records: RecordLog; readonly group: MovableLog } | null = null;
  #saved: Offset;
  /** One writes at a time. */
  #saving: Promise<void> = Promise.resolve();
  #isSaving = false;

  constructor(options: ImageKeeperOptions) {
    this.#options = options;
    this.#everyRecords = options.everyRecords ?? METADATA_SNAPSHOT_RECORDS;
    this.#saved = options.image.next;
    options.image.watch(() => this.#imageMoved());
  }

  keepLog(records: RecordLog, group: MovableLog): void {
    this.#log = { records, group };
  }

  // ---- For the group

  startMax(): Offset {
    return this.#options.snapshots.logStart;
  }

  /** A later image than asked for does as well: it is committed, and what the log repeats is passed over. */
  snapshotState(base: Position): Uint8Array | null {
    const { image, next } = this.#options.image;
    return next >= base.offset ? encodeKeptImage({ image, next }) : null;
  }

  async installState(_base: Position, state: Uint8Array): Promise<void> {
    const { snapshots, image, clock, failed } = this.#options;
    const read = decodeKeptImage(state);
    if (read.kind !== 'image') {
      failed(read.kind === 'none' ? 'a snapshot without metadata' : `a snapshot of the metadata: ${read.detail}`);
      return;
    }
    await this.#saving;
    // The log is replaced after this, so that there is no going on without it.
    while (!(await snapshots.save(read.kept))) await pause(clock, METADATA_PAUSE_MS);
    image.install(read.kept.image, read.kept.next);
  }

  // ---- By itself

  /** A last one, so that the next start replays nothing. */
  async close(): Promise<void> {
    await this.#saving;
    if (this.#options.image.next > this.#saved) await this.#save();
  }

  #imageMoved(): void {
    if (this.#isSaving || this.#options.image.next - this.#saved < this.#everyRecords) return;
    this.#isSaving = true;
    this.#saving = this.#save().then(() => {
      this.#isSaving = false;
      this.#imageMoved();
    });
  }

  async #save(): Promise<void> {
    const { image, snapshots, isLeader } = this.#options;
    const { next } = image;
    // Also where the disk refuses it: it is tried again when as much has come.
    this.#saved = next;
    if (!(await snapshots.save({ image: image.image, next }))) return;
    const { logStart } = snapshots;
    if (this.#log === null || !isLeader() || logStart <= this.#log.records.startOffset) return;
    await this.#log.group.advanceStart(offset(logStart));
  }
}

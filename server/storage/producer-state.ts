// The producers of one log: derived from its batches as its indexes are, and kept in snapshots so that a start need not read all of them.
//
//   00000000000000123456.snapshot     as of offset 123456 (state/producers/producer-snapshot.ts), which was committed and durable then
//
// The state follows every batch in the step in which it is appended, every cut and every install. A start takes the newest snapshot that
// is sound and walks the log from there. A log that never met a producer has no snapshot: its sync point says from where on one may have
// come (`searchFrom`), which is its end.
//
// Two snapshots are kept: one that rots costs a longer walk. A snapshot that the disk does not take costs one too, and is no fault of the
// log. Before the beginning of the log goes, there is a snapshot of what stood there.

import path from 'node:path';
import { type Offset, offset } from '@sluice/protocol/ids';
import { readBaseOffset, readLastOffset, readLeaderEpoch, readProducerId } from '@sluice/protocol/record';
import {
  PRODUCER_READ_BYTES,
  PRODUCER_SILENCE_MS_MIN,
  PRODUCER_SNAPSHOT_BYTES,
  PRODUCERS_PER_PARTITION_MAX,
} from '../base/limits.ts';
import { isBefore, type Position, positionAt } from '../base/position.ts';
import { DiskFault } from '../io/disk.ts';
import { decodeProducers, encodeProducers, type ProducerSnapshot } from '../state/producers/producer-snapshot.ts';
import { ProducerTable } from '../state/producers/producer-table.ts';
import type { EpochMap } from './epoch-map.ts';
import type { LogContext } from './log-context.ts';
import type { FollowOutcome } from './log-reader.ts';
import { snapshotFileName } from './segment-name.ts';
import { replaceSmallFile } from './small-file.ts';

const SNAPSHOTS_KEPT = 2;

/** The log as the state is made of it. */
export interface ProducerSource {
  readonly epochs: Pick<EpochMap, 'base' | 'positionBelow'>;
  end(): Position;
  readAfter(position: Position, bytesMax: number): Promise<FollowOutcome>;
}

/** What a start finds of them. */
export interface FoundProducers {
  /** By the sync point. */
  readonly searchFrom: Offset;
  /** Files. */
  readonly snapshots: readonly Offset[];
}

export class ProducerState {
  readonly table = new ProducerTable(offset(0));
  readonly #context: LogContext;
  readonly #directory: string;
  /** Snapshots on the disk, the oldest first. */
  #snapshots: Offset[] = [];
  /** Nothing below has a producer, but for what a snapshot says; null: nothing in the log has. */
  #firstOffset: Offset | null = null;
  /** As the group says it; never less than what the table has settled. */
  #committed = offset(0);
  /** Of the log, appended since the last snapshot. */
  #unsavedBytes = 0;
  #isRolled = false;
  /** After a cut that went further than it may: to be made anew (`rebuild`) once the files are as short as the log. */
  isIncomplete = false;

  constructor(context: LogContext, directory: string) {
    this.#context = context;
    this.#directory = directory;
  }

  // ---- What becomes of the log

  /** In the step in which the batch is appended. */
  appended(batch: Uint8Array): void {
    if (this.#firstOffset !== null) this.#unsavedBytes += batch.length;
    if (readProducerId(batch, 0) < 0) return;
    this.#firstOffset ??= offset(readBaseOffset(batch, 0));
    this.table.note(batch, 0, this.#context.clock.wallMs());
  }

  rolled(): void {
    this.#isRolled = true;
  }

  committed(to: Offset, durable: Offset): void {
    if (to > this.#committed) this.#committed = to;
    this.durable(durable);
  }

  durable(to: Offset): void {
    this.table.settle(to < this.#committed ? to : this.#committed);
  }

  cut(to: Offset): void {
    if (to < this.#committed) this.#committed = to;
    if (!this.table.cut(to)) this.isIncomplete = true;
    if (this.#firstOffset !== null && to <= this.#firstOffset && this.#snapshots.length === 0) this.#firstOffset = null;
  }

  /** What the sync point says of a log that is durable up to here. */
  searchFrom(durable: Offset): Offset {
    return this.#firstOffset === null || durable < this.#firstOffset ? durable : this.#firstOffset;
  }

  // ---- From the disk

  /** At the start of a log, and when more than the settled part of it was lost. */
  async restore(source: ProducerSource, { searchFrom, snapshots }: FoundProducers): Promise<void> {
    const { base } = source.epochs;
    const from = searchFrom > base.offset ? searchFrom : base.offset;
    const end = source.end();
    const snapshot = await this.#newestSnapshot(snapshots, { base, end });
    const nowMs = this.#context.clock.wallMs();
    // Nothing is ever cut at the base, and nothing below where the search begins had a producer.
    let walkFrom = from;
    if (snapshot === null || snapshot.settledTo < from) this.table.restore(base.offset, [], nowMs);
    else {
      this.table.restore(snapshot.settledTo, snapshot.producers, nowMs);
      walkFrom = snapshot.settledTo;
    }
    this.#firstOffset = this.#snapshots.length > 0 ? from : null;
    this.#committed = this.table.settledTo;
    await this.#walk(source, { from: walkFrom, end });
  }

  /** Behind a cut that went further than it may. */
  async rebuild(source: ProducerSource): Promise<void> {
    this.isIncomplete = false;
    const end = source.end();
    await this.restore(source, { searchFrom: this.#firstOffset ?? end.offset, snapshots: this.#snapshots });
  }

  async #newestSnapshot(
    found: readonly Offset[],
    { base, end }: { readonly base: Position; readonly end: Position },
  ): Promise<ProducerSnapshot | null> {
    const { logger } = this.#context;
    this.#snapshots = [];
    let newest: ProducerSnapshot | null = null;
    for (const at of found.toSorted((left, right) => right - left)) {
      // Behind the end: of records that are lost. Before the base: what stood between the two is not known.
      const isUsable = base.offset <= at && at <= end.offset;
      const snapshot = isUsable ? await this.#read(at) : null;
      if (snapshot === null) {
        if (isUsable) logger.warn({ directory: this.#directory, snapshot: at }, 'a producer snapshot is damaged');
        await this.#remove(at);
        continue;
      }
      newest ??= snapshot;
      this.#snapshots.unshift(at);
    }
    return newest;
  }

  async #read(at: Offset): Promise<ProducerSnapshot | null> {
    const bytes = await this.#context.disk.readFile(this.#pathOf(at));
    const snapshot = decodeProducers(bytes);
    return snapshot !== null && snapshot.settledTo === at ? snapshot : null;
  }

  async #walk(source: ProducerSource, { from, end }: { readonly from: Offset; readonly end: Position }): Promise<void> {
    let position = source.epochs.positionBelow(from);
    // Epoch starts at the very end are no reason to read.
    while (position.offset < end.offset) {
      const outcome = await source.readAfter(position, PRODUCER_READ_BYTES);
      if (outcome.kind === 'failed') throw outcome.fault;
      if (outcome.kind === 'damaged') {
        const behind = source.epochs.positionBelow(outcome.range.to);
        // What it held of producers is not known; the next batch behind it tells of them.
        if (!isBefore(position, behind)) return;
        position = behind;
        continue;
      }
      if (outcome.kind !== 'batches' || outcome.batches.length === 0) return;
      for (const batch of outcome.batches) this.appended(batch);
      const last = outcome.batches.at(-1)!;
      position = positionAt(readLeaderEpoch(last, 0), readLastOffset(last, 0) + 1);
    }
  }

  // ---- To the disk

  /** Something is to be kept that the newest snapshot lacks, and it is time for it. */
  get isDue(): boolean {
    if (this.#firstOffset === null) return false;
    return this.#isRolled || this.#unsavedBytes >= PRODUCER_SNAPSHOT_BYTES || this.#hasNothingToKeep;
  }

  /** All that was known is forgotten, so that its snapshots can go. */
  get #hasNothingToKeep(): boolean {
    return this.table.isEmpty && this.#snapshots.length > 0;
  }

  /** Whether the log may begin at `base` without anything being forgotten. */
  isKeptFrom(base: Offset): boolean {
    return this.table.isEmpty || (this.#snapshots.at(-1) ?? -1) >= base;
  }

  /** Between two writes of the log. What the disk refuses is tried again with the next one that is due. */
  async save(): Promise<void> {
    this.#isRolled = false;
    this.#unsavedBytes = 0;
    try {
      if (this.#hasNothingToKeep) await this.#forgetSnapshots();
      else if (!this.table.isEmpty && this.table.settledTo > (this.#snapshots.at(-1) ?? -1)) await this.#saveNow();
    } catch (fault) {
      if (!(fault instanceof DiskFault)) throw fault;
      const facts = { directory: this.#directory, fault: fault.message };
      this.#context.logger.warn(facts, 'a producer snapshot could not be written');
    }
  }

  async #saveNow(): Promise<void> {
    const { settledTo } = this.table;
    await replaceSmallFile(this.#context.disk, this.#pathOf(settledTo), encodeProducers(this.table));
    this.#snapshots.push(settledTo);
    while (this.#snapshots.length > SNAPSHOTS_KEPT) await this.#remove(this.#snapshots[0]!);
  }

  async #forgetSnapshots(): Promise<void> {
    for (const at of this.#snapshots.slice()) await this.#remove(at);
    await this.#context.disk.syncDirectory(this.#directory);
    // A batch may have come meanwhile.
    if (this.table.isEmpty) this.#firstOffset = null;
  }

  async #remove(at: Offset): Promise<void> {
    this.#snapshots = this.#snapshots.filter(each => each !== at);
    await this.#context.disk.removeFile(this.#pathOf(at));
  }

  #pathOf(at: Offset): string {
    return path.join(this.#directory, snapshotFileName(at));
  }

  /**
   * Those that the topic's setting does not keep any longer. A follower notes what its leader had room for, and would know all of a day
   * where the leader makes room: beyond its measure it does so too.
   */
  expire(silentMs: number): void {
    this.table.expire(this.#context.clock.wallMs(), silentMs);
    if (this.table.producerCount > PRODUCERS_PER_PARTITION_MAX) this.makeRoom();
  }

  /** There is no room for another producer: those go that have been silent for some time. */
  makeRoom(): void {
    this.table.expire(this.#context.clock.wallMs(), PRODUCER_SILENCE_MS_MIN);
  }

  // ---- To and from another replica

  /** As of what is committed here, for a replica whose log will begin at `base` or later. */
  forSnapshot(): Uint8Array {
    return encodeProducers(this.table);
  }

  /**
   * An empty log at `base` takes the place of this one. Of a leader's state that is kept which the log from there on does not tell; the
   * bytes are what is to lie beside the new log, null for nothing.
   */
  install(base: Position, state: Uint8Array | null): Uint8Array | null {
    const snapshot = state === null ? null : decodeProducers(state);
    if (state !== null && snapshot === null) {
      this.#context.logger.error(
        { directory: this.#directory },
        'the producers of a snapshot are not as they were sent',
      );
    }
    this.#snapshots = [];
    this.#firstOffset = null;
    this.#isRolled = false;
    this.#unsavedBytes = 0;
    this.#committed = base.offset;
    this.table.restore(base.offset, [], 0);
    if (snapshot === null || snapshot.settledTo < base.offset) return null;
    this.table.restore(snapshot.settledTo, snapshot.producers, this.#context.clock.wallMs());
    this.table.cut(base.offset);
    if (this.table.isEmpty) return null;
    this.#snapshots = [base.offset];
    this.#firstOffset = base.offset;
    return encodeProducers(this.table);
  }
}

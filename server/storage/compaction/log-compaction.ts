// Cleaning one log: of each key the newest record stays.
//
//   start                cleaned up to            limit (committed, old enough)      end
//   ├──── clean ─────────┼──────── dirty ─────────┼──────────────────────────────────┤
//                        └─ keys are noted here ──┘
//   └─────── these segments are written anew ─────┘
//
// 1. The keys of the dirty part are noted with the offsets of their newest records, as far as memory allows (key-map.ts).
// 2. The sealed segments up to there are written anew without what is outdated (batch-cleaning.ts), neighbours together as long as they fit
//    into one segment, and take the place of the old ones group by group (segment-replacement.ts).
// 3. How far the log is clean now goes to the node's store, with the time. A crash before that costs the work, not a record: what is cleaned
//    twice is cleaned as once.
//
// All of it goes on beside appends and reads, a small piece at a time; only the replacement itself is a step of the log's pump. The active
// segment is never touched, nor anything at or above the limit, nor a log with damage.

import { type Offset, offset } from '@sluice/protocol/ids';
import {
  NONE,
  readBaseOffset,
  readLastOffset,
  readMaxTimestamp,
  readProducerId,
  readRecordCount,
} from '@sluice/protocol/record';
import { CLEANER_MAP_BYTES_MAX, CLEANER_PIECE_BYTES, DISK_HEADROOM_BYTES } from '../../base/limits.ts';
import { DiskFault } from '../../io/disk.ts';
import type { LogReader } from '../log-reader.ts';
import { scanBatches, walkBatches } from '../log-scan.ts';
import type { CompactionSettings } from '../log-settings.ts';
import type { OpenLog } from '../open-log.ts';
import type { Segment } from '../segment.ts';
import { type ReplacementParts, replaceSegments } from '../segment-replacement.ts';
import { type CleaningRules, cleanBatch, noteKeys } from './batch-cleaning.ts';
import { CleanedSequence, type ProducerRules } from './cleaned-sequence.ts';
import { expiredBelow, withCleaning } from './cleanings.ts';
import type { HashSeed } from './key-hash.ts';
import { KeyMap } from './key-map.ts';
import { NewSegmentFile } from './new-segment-file.ts';

/** What may be cleaned, by who knows the replicas. */
export interface CleaningBounds {
  /** Committed, and no transaction is open below it. */
  readonly limit: Offset;
  /** Every replica has what lies below. */
  readonly heldByAll: Offset;
}

export interface CleaningRequest extends CleaningBounds {
  readonly seed: HashSeed;
  /** Awaited after each piece. */
  readonly pace: () => Promise<void>;
  readonly mapBytesMax?: number;
}

/** How much there is to do. */
export interface DirtyShare {
  readonly cleanBytes: number;
  readonly dirtyBytes: number;
  /** Of the bytes that can be cleaned. */
  readonly ratio: number;
}

export interface Dirtiness extends DirtyShare {
  readonly isDue: boolean;
}

export interface CleanedLog {
  readonly from: Offset;
  readonly to: Offset;
  readonly bytesRead: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly segmentsBefore: number;
  readonly segmentsAfter: number;
  readonly unreadableBatches: number;
}

export type CleaningOutcome =
  | { readonly kind: 'cleaned'; readonly cleaned: CleanedLog }
  | { readonly kind: 'nothing' }
  /** Nothing is wrong with what is there, and it is tried again. */
  | { readonly kind: 'interrupted'; readonly reason: string };

/** Why a cleaning ended early. */
class Interrupted extends Error {}

export class LogCompaction {
  readonly #parts: ReplacementParts;
  readonly #reader: LogReader;
  #running: Promise<CleaningOutcome> | null = null;
  #isStopped = false;
  /** Of the first record that was not cleaned, in segments that were looked at. */
  readonly #firstTimes = new WeakMap<Segment, number>();

  constructor(parts: ReplacementParts, reader: LogReader) {
    this.#parts = parts;
    this.#reader = reader;
  }

  get #log(): OpenLog {
    return this.#parts.log;
  }

  /** Where the dirty part begins. */
  get cleanTo(): Offset {
    const to = this.#log.marks.cleanings().at(-1)?.to ?? offset(0);
    // A log that lost its end to an operator's decision may be shorter than it was.
    return to > this.#log.endOffset ? offset(0) : to;
  }

  dirtyShare(limit: Offset): DirtyShare {
    const { compaction } = this.#log.settings;
    const segments = compaction === null ? [] : this.#cleanable(limit, compaction);
    const { cleanTo } = this;
    const total = bytesOf(segments);
    const dirtyBytes = bytesOf(segments.filter(segment => segment.endOffset > cleanTo));
    return { cleanBytes: total - dirtyBytes, dirtyBytes, ratio: total === 0 ? 0 : dirtyBytes / total };
  }

  async dirtiness(limit: Offset): Promise<Dirtiness> {
    const share = this.dirtyShare(limit);
    const { compaction } = this.#log.settings;
    const { cleanTo } = this;
    const first = this.#log.segments.find(segment => segment.endOffset > cleanTo);
    if (compaction === null || first === undefined || share.dirtyBytes === 0) return { ...share, isDue: false };
    const isDue = share.ratio >= compaction.minDirtyRatio || (await this.#isOverdue(first, compaction));
    return { ...share, isDue };
  }

  async #isOverdue(segment: Segment, { maxLagMs }: CompactionSettings): Promise<boolean> {
    if (!Number.isFinite(maxLagMs)) return false;
    const first = this.#firstTimes.get(segment) ?? (await this.#firstTimeOf(segment));
    this.#firstTimes.set(segment, first);
    return this.#log.context.clock.wallMs() - first > maxLagMs;
  }

  async #firstTimeOf(segment: Segment): Promise<number> {
    let first = Number.POSITIVE_INFINITY;
    await walkBatches(this.#log.context.files, { segment, position: 0 }, (buffer, at) => {
      if (readRecordCount(buffer, at) === 0) return 'go-on';
      first = readMaxTimestamp(buffer, at);
      return 'end';
    });
    return first;
  }

  /** Sealed segments from the first one on that may be written anew. */
  #cleanable(limit: Offset, { minLagMs }: CompactionSettings): readonly Segment[] {
    const { segments, durable, damage, state, context } = this.#log;
    if (state === 'closed' || state === 'failed' || damage.ranges.length > 0) return [];
    const youngest = context.clock.wallMs() - minLagMs;
    const end = Math.min(limit, durable.offset);
    const first = segments.findIndex(
      (segment, index) =>
        index === segments.length - 1 ||
        segment.indexes !== null ||
        segment.endOffset > end ||
        (minLagMs > 0 && segment.latest.timestamp > youngest),
    );
    return segments.slice(0, Math.max(0, first));
  }

  /** Cleans what can be cleaned now, or as much of it as the map of keys takes. One at a time. Rejects with no DiskFault. */
  clean(request: CleaningRequest): Promise<CleaningOutcome> {
    if (this.#running !== null || this.#isStopped) {
      return Promise.resolve({ kind: 'interrupted', reason: 'the log is being cleaned or closed' });
    }
    this.#running = this.#clean(request);
    const ended = (): void => void (this.#running = null);
    this.#running.then(ended, ended);
    return this.#running;
  }

  async #clean(request: CleaningRequest): Promise<CleaningOutcome> {
    const { compaction } = this.#log.settings;
    if (compaction === null) return { kind: 'nothing' };
    const segments = this.#cleanable(request.limit, compaction);
    const { cleanTo } = this;
    if (!segments.some(segment => segment.endOffset > cleanTo)) return { kind: 'nothing' };
    const pass = new CleaningPass(this.#parts, {
      ...request,
      settings: compaction,
      reader: this.#reader,
      from: cleanTo,
      isStopped: () => this.#isStopped,
    });
    try {
      return { kind: 'cleaned', cleaned: await pass.run(segments) };
    } catch (cause) {
      if (!(cause instanceof Interrupted) && !(cause instanceof DiskFault)) throw cause;
      return { kind: 'interrupted', reason: cause.message };
    }
  }

  /** The log is about to close: what is under way ends before this returns. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running?.catch(() => undefined);
  }
}

const bytesOf = (segments: readonly Segment[]): number => {
  let bytes = 0;
  for (const segment of segments) bytes += segment.byteLength;
  return bytes;
};

interface PassRequest extends CleaningRequest {
  readonly settings: CompactionSettings;
  readonly reader: LogReader;
  readonly from: Offset;
  readonly isStopped: () => boolean;
}

interface Noted {
  readonly rules: CleaningRules;
  readonly producers: ProducerRules;
  readonly to: Offset;
}

/** Segments that become one. */
interface Group {
  readonly file: NewSegmentFile;
  readonly sequence: CleanedSequence;
  readonly sources: Segment[];
  /** Whether any record went. */
  isChanged: boolean;
  /** Its files are the log's to keep or to lose. */
  isHandedOver: boolean;
}

/** From the first segment to the last, once. */
class CleaningPass {
  readonly #parts: ReplacementParts;
  readonly #request: PassRequest;
  #bytesRead = 0;
  #bytesAfter = 0;
  #segmentsAfter = 0;
  #unreadableBatches = 0;

  constructor(parts: ReplacementParts, request: PassRequest) {
    this.#parts = parts;
    this.#request = request;
  }

  get #log(): OpenLog {
    return this.#parts.log;
  }

  async run(segments: readonly Segment[]): Promise<CleanedLog> {
    const { from } = this.#request;
    const noted = await this.#noteKeys(segments);
    const sources = segments.filter(segment => segment.baseOffset < noted.to);
    await this.#roomFor(sources);
    const bytesBefore = bytesOf(sources);
    await this.#writeAnew(sources, noted);
    const { marks, context } = this.#log;
    const cleaning = { to: noted.to, atMs: context.clock.wallMs() };
    // A crash may forget it.
    marks.setCleanings(withCleaning(marks.cleanings(), cleaning, this.#request.settings.deleteRetentionMs));
    return {
      from,
      to: noted.to,
      bytesRead: this.#bytesRead,
      bytesBefore,
      bytesAfter: this.#bytesAfter,
      segmentsBefore: sources.length,
      segmentsAfter: this.#segmentsAfter,
      unreadableBatches: this.#unreadableBatches,
    };
  }

  async #noteKeys(segments: readonly Segment[]): Promise<Noted> {
    const { from, seed, heldByAll, settings, mapBytesMax = CLEANER_MAP_BYTES_MAX } = this.#request;
    const end = segments.at(-1)!.endOffset;
    const keys = new KeyMap({ seed, bytesMax: mapBytesMax, keysMax: end - from });
    const lastBatches = new Map<number, number>();
    const pace = (): Promise<void> => this.#pause();
    let to: number | null = null;
    const visit = async (batch: Uint8Array): Promise<boolean> => {
      const next = readLastOffset(batch, 0) + 1;
      if (next <= from) return true;
      const producer = readProducerId(batch, 0);
      if (producer !== NONE) lastBatches.set(producer, readBaseOffset(batch, 0));
      if ((await noteKeys(batch, { keys, pace })) !== 'full') return true;
      // A batch with more keys than fit is taken for what fits: all that is noted is true.
      to = Math.max(readBaseOffset(batch, 0), from);
      if (to === from) to = next;
      return false;
    };
    for (const segment of segments) {
      if (segment.endOffset <= from || to !== null) continue;
      await this.#eachBatch(segment, visit);
    }
    const { marks, context } = this.#log;
    const nowMs = context.clock.wallMs();
    const { deleteRetentionMs } = settings;
    const tombstonesFrom = Math.min(heldByAll, expiredBelow(marks.cleanings(), { nowMs, deleteRetentionMs }));
    return {
      rules: { keys, tombstonesFrom, pace },
      producers: { lastBatches, heardSinceMs: nowMs - settings.producerSilenceMs },
      to: offset(to ?? end),
    };
  }

  /** The largest group is one segment, or what becomes one. */
  async #roomFor(sources: readonly Segment[]): Promise<void> {
    const { context, directory } = this.#log;
    const largest = Math.max(...sources.map(segment => segment.byteLength));
    if ((await context.disk.freeBytes(directory)) >= largest + DISK_HEADROOM_BYTES) return;
    throw new Interrupted('the disk has no room for another copy of a segment');
  }

  async #writeAnew(sources: readonly Segment[], noted: Noted): Promise<void> {
    let group: Group | null = null;
    try {
      for (const segment of sources) {
        if (group !== null && (await this.#addToGroup(group, segment, noted))) continue;
        if (group !== null) await this.#finish(group);
        group = await this.#beginGroup(segment, noted);
        await this.#clean(segment, group, { noted, bytesMax: Number.POSITIVE_INFINITY });
        group.sources.push(segment);
      }
      if (group !== null) await this.#finish(group);
    } catch (cause) {
      // What was decided is carried out by the next start.
      if (group?.isHandedOver === false) await group.file.discard();
      throw cause;
    }
  }

  async #beginGroup(first: Segment, { producers }: Noted): Promise<Group> {
    const { context, directory, settings } = this.#log;
    const place = { directory, baseOffset: first.baseOffset, indexInterval: settings.indexIntervalBytes };
    const file = await NewSegmentFile.begin(context, place);
    const sequence = new CleanedSequence(producers, batch => file.add(batch));
    return { file, sequence, sources: [], isChanged: false, isHandedOver: false };
  }

  /** False, and nothing of it is there, where it does not fit. */
  async #addToGroup(group: Group, segment: Segment, noted: Noted): Promise<boolean> {
    const { segmentBytes: bytesMax } = this.#log.settings;
    const { file, sequence } = group;
    const isCleanBefore = segment.endOffset <= this.#request.from;
    if (isCleanBefore && file.segment.byteLength + segment.byteLength > bytesMax) return false;
    if (segment.endOffset - file.segment.baseOffset > 0x7fff_ffff) return false;
    const { gap } = sequence;
    const state = await file.state();
    const fits = await this.#clean(segment, group, { noted, bytesMax });
    if (fits) {
      group.sources.push(segment);
      return true;
    }
    await file.restore(state);
    sequence.restore(gap);
    return false;
  }

  /** Adds what stays of a segment. False: it becomes too much. */
  async #clean(
    segment: Segment,
    group: Group,
    { noted, bytesMax }: { readonly noted: Noted; readonly bytesMax: number },
  ): Promise<boolean> {
    const { file, sequence } = group;
    let fits = true;
    await this.#eachBatch(segment, async batch => {
      const cleaned = await cleanBatch(batch, noted.rules);
      const hadRecords = readRecordCount(batch, 0) > 0;
      if (cleaned.kind === 'rewritten' || (cleaned.kind === 'nothing' && hadRecords)) group.isChanged = true;
      if (cleaned.kind === 'unreadable') this.#reportUnreadable(segment, batch, cleaned.detail);
      sequence.add(batch, cleaned);
      await file.write();
      fits = file.segment.byteLength <= bytesMax;
      return fits;
    });
    return fits;
  }

  async #finish(group: Group): Promise<void> {
    const { file, sequence, sources } = group;
    sequence.end();
    const bytes = bytesOf(sources);
    if (sources.length === 1 && !group.isChanged) {
      await file.discard();
      this.#bytesAfter += bytes;
      this.#segmentsAfter++;
      return;
    }
    const segment = await file.finish();
    group.isHandedOver = true;
    if (!(await replaceSegments(this.#parts, sources, segment))) {
      await file.discard();
      throw new Interrupted('the log was changed meanwhile');
    }
    this.#bytesAfter += segment.byteLength;
    this.#segmentsAfter++;
  }

  #reportUnreadable(segment: Segment, batch: Uint8Array, detail: string): void {
    this.#unreadableBatches++;
    this.#log.context.logger.error(
      {
        code: 'CORRUPT_BATCH',
        file: segment.logPath,
        from: readBaseOffset(batch, 0),
        to: readLastOffset(batch, 0) + 1,
        detail,
      },
      'a batch is as it was sent, and its records cannot be read: it is kept whole',
    );
  }

  /** Every batch of a segment, checked and in its place, as long as `visit` says so. */
  async #eachBatch(segment: Segment, visit: (batch: Uint8Array) => Promise<boolean>): Promise<void> {
    const { context, epochs } = this.#log;
    const { baseOffset, byteLength: endPosition, endOffset } = segment;
    const lengths: number[] = [];
    let goesOn = true;
    const from = { position: 0, baseOffset, endPosition, endOffset, epochs, chunkBytes: CLEANER_PIECE_BYTES };
    await context.files.use(segment.logPath, async file => {
      const end = await scanBatches(file, from, {
        onBatch: (_buffer, _at, batchBytes) => void lengths.push(batchBytes),
        onChunk: async bytes => {
          this.#bytesRead += bytes.length;
          let at = 0;
          for (const length of lengths.splice(0)) {
            goesOn = await visit(bytes.subarray(at, at + length));
            if (!goesOn) return 'end';
            at += length;
          }
          return this.#pause();
        },
      });
      if (!goesOn || (end.fault === null && end.endOffset === endOffset)) return;
      const reason =
        end.fault ?? `the batches end at offset ${end.endOffset} where the segment should reach ${endOffset}`;
      await this.#request.reader.noteDamage(segment, file, { from: end.endOffset, position: end.position, reason });
      throw new Interrupted(`${segment.logPath}: ${reason}`);
    });
  }

  async #pause(): Promise<void> {
    await this.#request.pace();
    if (this.#request.isStopped()) throw new Interrupted('the log is being closed');
  }
}

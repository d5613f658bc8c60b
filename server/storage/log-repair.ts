// Damaged parts of a log fetched again from another replica: the segment is written anew beside the old one, its good batches copied and the
// others fetched, and takes its place (segment-draft.ts). A segment whose file is missing is fetched whole.
//
// What is fetched is the same by its identity: within an epoch one leader wrote each offset once, and the epochs of this log are known from
// its checkpoint, which the store vouches for. Whatever does not fit them is refused.
//
// Copying goes on beside appends and reads; only the last step is one of the pump. Readers that began with the old file end with it. The
// active segment is still written to: its new file has to be of the same length up to what was copied, takes over what came behind it in
// the last step, and its indexes stay.
//
// Whoever calls it sees to it that one repair of a log is under way at a time.

import { type Offset, offset } from '@sluice/protocol/ids';
import {
  BATCH_HEADER_BYTES,
  gapUpTo,
  inspectBatch,
  isEpochStart,
  isGap,
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
} from '@sluice/protocol/record';
import { DISK_HEADROOM_BYTES } from '../base/limits.ts';
import { comparePositions, isBefore, isSame, type Position, positionAt, textOf } from '../base/position.ts';
import { DiskFault } from '../io/disk.ts';
import type { DamagedRange } from './damage.ts';
import { needsRoll } from './log-appends.ts';
import type { LogPump } from './log-pump.ts';
import { STORED_BATCH_BYTES_MAX, scanOverDamage } from './log-scan.ts';
import type { OpenLog } from './open-log.ts';
import type { Segment } from './segment.ts';
import { SegmentDraft } from './segment-draft.ts';
import { forgetSegmentFiles } from './segment-files.ts';

export interface RepairSource {
  /** Entries behind the position as another replica has them, one at least; null where none has them now. */
  batchesAfter(after: Position): Promise<readonly Uint8Array[] | null>;
}

export interface Repaired {
  readonly file: string;
  readonly from: Offset;
  readonly to: Offset;
  /** Of the batches that were fetched. */
  readonly fetchedBytes: number;
}

export type RepairOutcome =
  /** Of one segment, or of what should lie between two; there may be more. */
  | { readonly kind: 'repaired'; readonly repaired: Repaired }
  | { readonly kind: 'nothing-damaged' }
  /** As damaged as before, and to be tried again. */
  | { readonly kind: 'not-now'; readonly reason: string };

const NOBODY = 'no other replica has the damaged records now';

/** Why an attempt ended early. */
class Refused extends Error {}

interface Job {
  /** The segment that is written anew; null where its file is missing. */
  readonly old: Segment | null;
  /** Where in the list of segments it is, or belongs. */
  readonly index: number;
  /** What follows it; null behind the active segment. */
  readonly next: Segment | null;
  /** The position before its first entry, and its last one. */
  readonly after: Position;
  readonly upTo: Position;
  readonly generation: number;
}

export class LogRepair {
  readonly #log: OpenLog;
  readonly #pump: LogPump;

  constructor(log: OpenLog, pump: LogPump) {
    this.#log = log;
    this.#pump = pump;
  }

  /** Repairs the first thing that is damaged. Never rejects with a DiskFault. */
  async repair(source: RepairSource): Promise<RepairOutcome> {
    const [range] = this.#log.damage.ranges;
    if (range === undefined) return { kind: 'nothing-damaged' };
    // Nothing is copied for as long as nobody answers.
    if ((await source.batchesAfter(this.#log.epochs.positionBelow(range.from))) === null) {
      return { kind: 'not-now', reason: NOBODY };
    }
    const attempt = new Attempt(this.#log, this.#pump, source);
    try {
      return { kind: 'repaired', repaired: await attempt.run(range) };
    } catch (cause) {
      if (!(cause instanceof Refused) && !(cause instanceof DiskFault)) throw cause;
      return { kind: 'not-now', reason: cause.message };
    } finally {
      await attempt.discard();
    }
  }
}

class Attempt {
  readonly #log: OpenLog;
  readonly #pump: LogPump;
  readonly #source: RepairSource;
  /** In order of offsets. */
  readonly #drafts: SegmentDraft[] = [];
  /** The last entry that the drafts hold. */
  #at: Position = positionAt(0, 0);
  #fetchedBytes = 0;

  constructor(log: OpenLog, pump: LogPump, source: RepairSource) {
    this.#log = log;
    this.#pump = pump;
    this.#source = source;
  }

  async run(range: DamagedRange): Promise<Repaired> {
    const active = this.#log.segments.at(-1);
    const isActive = active !== undefined && active.indexes !== null && active.logPath === range.file;
    return isActive && range.to > active.baseOffset ? this.#repairActive(active) : this.#repairSealed(range);
  }

  /** What did not take its place. */
  async discard(): Promise<void> {
    for (const draft of this.#drafts) await draft.discard();
  }

  // ---- A sealed segment, or one that is missing

  async #repairSealed(range: DamagedRange): Promise<Repaired> {
    const job = await this.#jobOf(range);
    await this.#roomFor(job.old?.byteLength ?? 0);
    await this.#begin(job.old?.baseOffset ?? job.after.offset);
    this.#at = job.after;
    if (job.old !== null) await this.#copy(job.old, { endPosition: job.old.byteLength, upTo: job.upTo });
    await this.#fetch(job.upTo, { isTail: true });
    for (const draft of this.#drafts) await draft.sync();
    return this.#pump.exclusively(() => this.#replace(job));
  }

  async #jobOf(range: DamagedRange): Promise<Job> {
    const { segments, epochs, marks, generation } = this.#log;
    const at = segments.findIndex(segment => segment.logPath === range.file);
    const index = Math.max(at, 0);
    const segment = segments[index];
    if (segment === undefined) throw new Refused('the log has no segment any more');
    if (at < 0 || range.from < segment.baseOffset) {
      const [after, upTo] = [epochs.base, await this.#endBefore(segment)];
      return { old: null, index, next: segment, after, upTo, generation };
    }
    const mark = marks.sealed(segment.baseOffset);
    const next = segments[index + 1] ?? null;
    if (next === null) throw new Refused('the segment is not sealed yet');
    if (mark !== null && range.from >= mark.endOffset && range.from < range.to) {
      const upTo = await this.#endBefore(next);
      return { old: null, index: index + 1, next, after: segment.end, upTo, generation };
    }
    const upTo = mark === null ? await this.#endBefore(next) : positionAt(mark.lastEpoch, mark.endOffset);
    return { old: segment, index, next, after: this.#positionBefore(index), upTo, generation };
  }

  /** The last entry in front of a segment, by what stands first in it. */
  async #endBefore(next: Segment): Promise<Position> {
    const { context, damage, epochs, end, endOffset } = this.#log;
    if (!next.exists || next.writtenBytes === 0) {
      if (next.baseOffset === endOffset) return end;
      throw new Refused('the segment behind it is not written yet');
    }
    const { logPath, baseOffset } = next;
    const isDamaged = damage.ranges.some(
      ({ file, position, from }) => file === logPath && position === 0 && from >= baseOffset,
    );
    const header = Buffer.alloc(BATCH_HEADER_BYTES);
    const filled = isDamaged ? 0 : await context.files.use(next.logPath, file => file.read(header, 0));
    if (filled < header.length || readBaseOffset(header, 0) !== next.baseOffset || !epochs.admits(header, 0)) {
      // Starts that stand there are fetched with what is damaged behind.
      return epochs.positionBelow(next.baseOffset);
    }
    const head = { ...positionOf(header), baseOffset: next.baseOffset, isStart: isEpochStart(header, 0) };
    return epochs.before(head);
  }

  #positionBefore(index: number): Position {
    const { segments, epochs, endOffset } = this.#log;
    const { baseOffset } = segments[index]!;
    const before = segments[index - 1]?.end ?? epochs.base;
    return before.offset === baseOffset && epochs.holds(before, endOffset) ? before : epochs.positionBelow(baseOffset);
  }

  /** Inside the pump. */
  async #replace(job: Job): Promise<Repaired> {
    const { context, segments, marks, damage } = this.#log;
    const { old, index } = job;
    this.#expectSame(job);
    if (old !== null) {
      marks.removeSealed(old.baseOffset);
      await marks.flush();
    }
    const placed: SegmentDraft[] = [];
    // The first one last: as long as it has not taken its place, everything that was there is there.
    for (const [at, draft] of [...this.#drafts.entries()].reverse()) {
      await draft.takePlace();
      // In one step: readers find the new file where the new segment is, or both as they were.
      const replaced = at === 0 ? old : null;
      const closed = replaced === null ? Promise.resolve() : forgetSegmentFiles(context, replaced);
      segments.splice(at === 0 ? index : index + (old === null ? 0 : 1), replaced === null ? 0 : 1, draft.segment);
      placed.push(draft);
      this.#drafts.splice(at, 1);
      await closed;
    }
    const { segment } = placed.at(-1)!;
    const from = segment.baseOffset;
    damage.repaired({ file: segment.logPath, from, to: job.upTo.offset });
    for (const draft of placed) await draft.seal(marks);
    return { file: segment.logPath, from, to: job.upTo.offset, fetchedBytes: this.#fetchedBytes };
  }

  #expectSame({ old, index, next, generation }: Job): void {
    const { segments, state } = this.#log;
    const isSame =
      generation === this.#log.generation &&
      state !== 'closed' &&
      segments[old === null ? index : index + 1] === (next ?? undefined) &&
      (old === null || segments[index] === old);
    if (!isSame) throw new Refused('the log was changed meanwhile');
  }

  // ---- The active segment

  async #repairActive(active: Segment): Promise<Repaired> {
    const { generation } = this.#log;
    const expectSame = (): void => {
      const isSame = generation === this.#log.generation && this.#log.segments.at(-1) === active;
      if (!isSame || active.indexes === null) throw new Refused('the log was changed meanwhile');
      if (this.#log.state !== 'open') throw new Refused(`the log is ${this.#log.state}`);
    };
    // Between two writes what is written ends where the durable position says.
    const copied = await this.#pump.exclusively(async () => {
      expectSame();
      return { endPosition: active.writtenBytes, upTo: this.#log.durable };
    });
    await this.#roomFor(copied.endPosition);
    const draft = await this.#begin(active.baseOffset);
    this.#at = this.#positionBefore(this.#log.segments.indexOf(active));
    await this.#copy(active, copied);
    await this.#fetch(copied.upTo, { isTail: false });
    if (draft.segment.writtenBytes !== copied.endPosition) {
      throw new Refused('what was fetched is not as long as what was damaged: the segment has to be sealed first');
    }
    await draft.sync();
    return this.#pump.exclusively(async () => {
      expectSame();
      const { context, damage, durable } = this.#log;
      await this.#copyRest(draft, active);
      await draft.sync();
      await draft.takePlace();
      const closed = context.files.forget(active.logPath);
      // Of the damaged bytes, where they were read to find an end.
      active.crc = draft.segment.crc;
      this.#drafts.length = 0;
      damage.repaired({ file: active.logPath, from: active.baseOffset, to: durable.offset });
      await closed;
      await context.disk.syncDirectory(this.#log.directory);
      const { baseOffset: from, logPath: file } = active;
      return { file, from, to: durable.offset, fetchedBytes: this.#fetchedBytes };
    });
  }

  /** Inside the pump: what was written since. */
  async #copyRest(draft: SegmentDraft, active: Segment): Promise<void> {
    const position = draft.segment.writtenBytes;
    const bytes = active.writtenBytes - position;
    if (bytes === 0) return;
    const piece = Buffer.allocUnsafeSlow(bytes);
    const filled = await this.#log.context.files.use(active.logPath, file => file.read(piece, position));
    if (filled < bytes) throw new Refused('the end of the segment cannot be read');
    await draft.write(piece);
  }

  // ---- Both

  async #roomFor(bytes: number): Promise<void> {
    const free = await this.#log.context.disk.freeBytes(this.#log.directory);
    if (free < bytes + DISK_HEADROOM_BYTES) throw new Refused('the disk has no room for another copy of the segment');
  }

  async #begin(baseOffset: Offset): Promise<SegmentDraft> {
    const { context, directory, settings } = this.#log;
    const place = { directory, baseOffset, indexInterval: settings.indexIntervalBytes };
    const draft = await SegmentDraft.begin(context, place);
    this.#drafts.push(draft);
    return draft;
  }

  /** The good batches of a segment, and between them what is fetched. */
  async #copy(segment: Segment, to: { readonly endPosition: number; readonly upTo: Position }): Promise<void> {
    const { context, epochs } = this.#log;
    const { baseOffset, logPath } = segment;
    const from = { position: 0, baseOffset, endPosition: to.endPosition, endOffset: to.upTo.offset, epochs };
    const draft = this.#drafts[0]!;
    await context.files.use(logPath, file =>
      scanOverDamage(file, from, {
        onBatch: (buffer, at, batchBytes) => {
          draft.note(buffer, at, batchBytes);
          this.#at = positionOf(buffer, at);
        },
        onChunk: bytes => {
          if (this.#log.state === 'closed') throw new Refused('the log is closed');
          return draft.write(bytes);
        },
        onDamage: async ({ next, to: goesOn }) => {
          if (next === null) return;
          await this.#fetch(
            epochs.before({ ...positionAt(next.epoch, goesOn), baseOffset: offset(goesOn), isStart: next.isStart }),
            { isTail: false },
          );
        },
      }),
    );
  }

  /** What is missing up to an entry of the log. `isTail`: nothing of the old file follows, so that new ones may begin. */
  async #fetch(upTo: Position, { isTail }: { readonly isTail: boolean }): Promise<void> {
    while (isBefore(this.#at, upTo)) {
      const batches = await this.#source.batchesAfter(this.#at);
      if (batches === null) throw new Refused(NOBODY);
      for (const batch of batches) {
        if (!isBefore(this.#at, upTo)) break;
        await this.#take(batch, { upTo, isTail });
      }
    }
    if (!isSame(this.#at, upTo)) throw new Refused(`the log ends at ${textOf(this.#at)} instead of ${textOf(upTo)}`);
  }

  async #take(
    given: Uint8Array,
    { upTo, isTail }: { readonly upTo: Position; readonly isTail: boolean },
  ): Promise<void> {
    const { epochs, settings } = this.#log;
    const inspection = inspectBatch(given, 0, { bytesMax: STORED_BATCH_BYTES_MAX, verifyCrc: true });
    const isWhole = inspection.ok && inspection.byteLength === given.length;
    // Where the other replica was cleaned, more of the log than what is fetched may be one gap.
    const isBeyond = isWhole && isGap(given, 0) && readLastOffset(given, 0) >= upTo.offset;
    const batch = isBeyond && readBaseOffset(given, 0) < upTo.offset ? gapUpTo(given, upTo.offset - 1) : given;
    const isInPlace = isWhole && readBaseOffset(batch, 0) === this.#at.offset && epochs.admits(batch, 0);
    if (!isInPlace || comparePositions(positionOf(batch), upTo) > 0) {
      throw new Refused(`another replica has something else behind ${textOf(this.#at)}`);
    }
    const at = positionOf(batch);
    let draft = this.#drafts.at(-1)!;
    if (isTail && needsRoll(draft.segment, { batch, endOffset: at.offset, settings })) {
      draft = await this.#begin(this.#at.offset);
    }
    draft.note(batch, 0, batch.length);
    await draft.write(batch);
    this.#at = at;
    this.#fetchedBytes += batch.length;
  }
}

const positionOf = (buffer: Uint8Array, at = 0): Position =>
  positionAt(readLeaderEpoch(buffer, at), readLastOffset(buffer, at) + 1);

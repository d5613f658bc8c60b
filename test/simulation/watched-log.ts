// A partition's log that is looked at: everything that is done to it goes to the real one, and what it then should hold is noted for the
// truth (group-truth.ts).

import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import { comparePositions, earlier, isSame, type Position, type StoredShape } from '../../server/base/position.ts';
import type { ReplicaCondition } from '../../server/base/replica-condition.ts';
import type { GroupLog } from '../../server/replication/group-log.ts';
import type { DamagedRange } from '../../server/storage/damage.ts';
import type { FollowOutcome } from '../../server/storage/log-reader.ts';
import type { RepairOutcome, RepairSource } from '../../server/storage/log-repair.ts';
import type { AppendOutcome } from '../../server/storage/log-appends.ts';
import type { LogListener, LogState } from '../../server/storage/open-log.ts';
import type { PartitionLog } from '../../server/storage/partition-log.ts';
import { entryOf, firstBehind, type GroupTruth, type LogEntry, none, type Promised } from './group-truth.ts';

const READ_BYTES = 256 * 1024;

export class WatchedLog implements GroupLog {
  readonly #truth: GroupTruth;
  readonly #node: number;
  #inner: PartitionLog | null = null;
  #state: Promised | null = null;
  /** What the real log is opened with. */
  readonly listener: LogListener;

  constructor(truth: GroupTruth, node: number, forward: LogListener) {
    this.#truth = truth;
    this.#node = node;
    this.listener = {
      durable: notice => {
        if (this.#state !== null && notice.generation === this.inner.generation) {
          const { end } = this.inner;
          if (comparePositions(notice.position, end) > 0) truth.durableBeyond(node, notice.position, end);
          this.#state.durable = notice.position;
        }
        forward.durable(notice);
      },
      dropped: (state, endOffset) => {
        if (this.#state !== null) this.#shorten(this.inner.end);
        forward.dropped(state, endOffset);
      },
    };
  }

  get inner(): PartitionLog {
    if (this.#inner === null) throw new Error('the log is not open');
    return this.#inner;
  }

  get #promised(): Promised {
    if (this.#state === null) throw new Error('the log is not open');
    return this.#state;
  }

  /** The log was opened: reads all of it and holds it against what its disk promised. */
  async begin(inner: PartitionLog, record: Promised['record']): Promise<void> {
    const known = this.#truth.mayRot ? (this.#truth.promised.get(this.#node)?.entries ?? []) : [];
    const { base, entries } = await readAll(inner, known);
    this.#truth.recordFound(this.#node, record);
    this.#truth.reopened(this.#node, base, entries);
    this.#inner = inner;
    this.#state = { base, entries, durable: inner.durable, compared: base, record };
    this.#truth.promised.set(this.#node, this.#state);
  }

  get state(): LogState {
    return this.inner.state;
  }
  get startOffset(): Offset {
    return this.inner.startOffset;
  }
  get endOffset(): Offset {
    return this.inner.endOffset;
  }
  get durable(): Position {
    return this.inner.durable;
  }
  get queuedBytes(): number {
    return this.inner.queuedBytes;
  }
  get shape(): StoredShape {
    return this.inner.shape;
  }
  get condition(): ReplicaCondition {
    return this.inner.condition;
  }
  get damagedRanges(): readonly DamagedRange[] {
    return this.inner.damagedRanges;
  }

  append(batches: readonly Uint8Array[], epoch: LeaderEpoch): AppendOutcome {
    const outcome = this.inner.append(batches, epoch);
    if (outcome.ok) this.#note(batches);
    return outcome;
  }

  appendEpochStart(epoch: LeaderEpoch): AppendOutcome {
    const outcome = this.inner.appendEpochStart(epoch);
    const { endOffset } = this.inner;
    const position = { epoch, offset: endOffset };
    if (outcome.ok) {
      this.#promised.entries.push({ position, baseOffset: endOffset, checksum: 0, kind: 'epoch-start', values: none });
    }
    return outcome;
  }

  appendReplicated(batches: readonly Uint8Array[]): AppendOutcome {
    const outcome = this.inner.appendReplicated(batches);
    if (outcome.ok) this.#note(batches);
    return outcome;
  }

  #note(batches: readonly Uint8Array[]): void {
    for (const batch of batches) this.#promised.entries.push(entryOf(batch));
  }

  cut(to: Position): Promise<void> {
    this.#truth.cutCount++;
    this.#truth.cuts(this.#node, this.#promised.entries.slice(firstBehind(this.#promised.entries, to)));
    // A crash may leave what is cut, or not.
    this.#shorten(to);
    return this.inner.cut(to);
  }

  #shorten(to: Position): void {
    const state = this.#promised;
    state.entries.length = firstBehind(state.entries, to);
    if (state.durable !== null) state.durable = earlier(state.durable, to);
  }

  async install(base: Position): Promise<void> {
    this.#truth.installCount++;
    const state = this.#promised;
    state.entries = [];
    state.base = base;
    state.durable = null;
    await this.inner.install(base);
  }

  noteCommitted(to: Offset): void {
    this.inner.noteCommitted(to);
  }

  async advanceStart(start: Offset): Promise<void> {
    await this.inner.advanceStart(start);
    const { base } = this.inner.shape;
    const state = this.#promised;
    if (comparePositions(state.base, base) >= 0) return;
    state.entries.splice(0, firstBehind(state.entries, base));
    state.base = base;
  }

  readAfter(position: Position, limits: { readonly bytesMax: number }): Promise<FollowOutcome> {
    return this.inner.readAfter(position, limits);
  }

  clearFault(): Promise<void> {
    return this.inner.clearFault();
  }

  repair(source: RepairSource): Promise<RepairOutcome> {
    return this.inner.repair(source);
  }
}

export interface ReadLog {
  readonly base: Position;
  readonly entries: LogEntry[];
}

/** Everything that the log holds, by reads as a follower's. Where it is damaged, what is known to have stood there is still counted as its own. */
export const readAll = async (log: PartitionLog, known: readonly LogEntry[] = []): Promise<ReadLog> => {
  let { base } = log.shape;
  let entries: LogEntry[] = [];
  // What an election appends meanwhile is read by nobody yet.
  const end = log.durable;
  for (let at = base; !isSame(at, end); at = entries.at(-1)?.position ?? base) {
    const read = await log.readAfter(at, { bytesMax: READ_BYTES });
    if (read.kind === 'below-start') {
      // Retention came in between.
      ({ base } = log.shape);
      entries = [];
    } else if (read.kind === 'batches' && read.batches.length > 0) {
      for (const batch of read.batches) entries.push(entryOf(batch));
    } else if (read.kind === 'damaged' && known.length > 0) {
      const lost = damagedOf(known, at, read.range);
      if (lost.length === 0) throw new Error(`a log has damage that nobody made: ${JSON.stringify(read)}`);
      entries.push(...lost);
    } else if (read.kind === 'failed') {
      throw read.fault;
    } else {
      throw new Error(`a log cannot be read: ${JSON.stringify(read)}`);
    }
  }
  return { base, entries };
};

/** Those behind the position up to the end of the damage; the one that touches it where there are none, which is not given either. */
const damagedOf = (known: readonly LogEntry[], at: Position, { to }: DamagedRange): readonly LogEntry[] => {
  const behind = known.slice(firstBehind(known, at));
  const damaged = behind.filter(({ position }) => position.offset <= to);
  return damaged.length > 0 || at.offset > to ? damaged : behind.slice(0, 1);
};

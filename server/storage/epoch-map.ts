// Which leader epoch wrote which offsets: the list of the epoch starts in a log, and the position of the entry before the
// first batch that is left of it.
//
//      base           starts                      end
//   ─────┤ 3 │4├───────┤5├┤6├───────────────────────┤      5 covers nothing: an election without data
//        B
//
//   leader-epoch-checkpoint (Kafka's format):  0 LF  number of entries LF  {epoch SP start offset LF}
//
// The checkpoint names the base first (unless that is epoch 0, which needs no entry), then every start. Batches before the
// first start belong to the base's epoch.
//
// Invariant: epochs strictly rise, also above the base's; start offsets never fall and are at or above the base's.

import { isOffset, leaderEpoch, type LeaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import { isEpochStart, readBaseOffset, readLeaderEpoch } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { comparePositions, type EpochStart, ORIGIN, type Position, positionOfStart, textOf } from '../base/position.ts';

/** An int32 in every batch. */
const EPOCH_MAX = 0x7fffffff;

const placesRise = (base: Position, starts: readonly EpochStart[]): boolean =>
  starts.every((start, index) => {
    const before = index === 0 ? base : positionOfStart(starts[index - 1]!);
    return start.epoch > before.epoch && start.startOffset >= before.offset;
  });

/** An entry by where it begins: the first batch of an epoch has its epoch and offset in common with the epoch's start. */
export interface EntryHead {
  readonly epoch: LeaderEpoch;
  readonly baseOffset: Offset;
  readonly isStart: boolean;
}

export class EpochMap {
  #base: Position;
  #starts: EpochStart[] = [];

  constructor(base: Position = ORIGIN) {
    this.#base = base;
  }

  get base(): Position {
    return this.#base;
  }

  get starts(): readonly EpochStart[] {
    return this.#starts;
  }

  /** The epoch of the last entry. */
  get latest(): LeaderEpoch {
    return this.#starts.at(-1)?.epoch ?? this.#base.epoch;
  }

  /** Whether an epoch may begin here: behind everything that is known. */
  canStart(epoch: number, at: number): boolean {
    return epoch > this.latest && at >= (this.#starts.at(-1)?.startOffset ?? this.#base.offset);
  }

  start(epoch: number, at: number): void {
    assert(this.canStart(epoch, at), `epoch ${epoch} cannot begin at ${at} behind epoch ${this.latest}`);
    this.#starts.push({ epoch: leaderEpoch(epoch), startOffset: offset(at) });
  }

  /** The epoch of the batch that covers the offset. */
  epochAt(at: number): LeaderEpoch {
    let index = this.#starts.length - 1;
    while (index >= 0 && this.#starts[index]!.startOffset > at) index--;
    return index < 0 ? this.#base.epoch : this.#starts[index]!.epoch;
  }

  hasStart(epoch: number, at: number): boolean {
    return this.#starts.some(start => start.epoch === epoch && start.startOffset === at);
  }

  /** Whether the batch stands where its epoch says. */
  admits(buffer: Uint8Array, at: number): boolean {
    const [epoch, baseOffset] = [readLeaderEpoch(buffer, at), readBaseOffset(buffer, at)];
    return isEpochStart(buffer, at) ? this.hasStart(epoch, baseOffset) : this.epochAt(baseOffset) === epoch;
  }

  /** Whether a log that ends at `endOffset` holds the entry: every offset that an epoch covers counts, both ends too. */
  holds({ epoch, offset: at }: Position, endOffset: Offset): boolean {
    if (epoch === this.#base.epoch) return at >= this.#base.offset && at <= (this.#starts[0]?.startOffset ?? endOffset);
    const index = this.#starts.findIndex(start => start.epoch === epoch);
    if (index < 0) return false;
    return at >= this.#starts[index]!.startOffset && at <= (this.#starts[index + 1]?.startOffset ?? endOffset);
  }

  /** The first entry after a position that is held. */
  after(position: Position): EntryHead {
    const next = this.#starts.find(start => start.epoch > position.epoch);
    const isStart = next !== undefined && next.startOffset === position.offset;
    return { epoch: isStart ? next.epoch : position.epoch, baseOffset: position.offset, isStart };
  }

  /** The last position at or below the offset of what is left of it: under the epoch that covers the offset before. */
  positionBelow(at: Offset): Position {
    if (at <= this.#base.offset) return this.#base;
    const start = this.#starts.findLast(each => each.startOffset < at);
    return { epoch: start?.epoch ?? this.#base.epoch, offset: at };
  }

  /** The position before an entry of the log. */
  before({ epoch, baseOffset, isStart }: EntryHead): Position {
    if (!isStart) return { epoch, offset: baseOffset };
    const start = this.#starts.findLast(each => each.epoch < epoch);
    return { epoch: start?.epoch ?? this.#base.epoch, offset: baseOffset };
  }

  /** Drops the starts behind the position; true when there were any. */
  cut(to: Position): boolean {
    const kept = this.#starts.filter(start => comparePositions(positionOfStart(start), to) <= 0);
    const isShorter = kept.length < this.#starts.length;
    this.#starts = kept;
    return isShorter;
  }

  /** What lies at or before the position is not in the log any more. */
  moveBase(to: Position): void {
    assert(comparePositions(to, this.#base) >= 0, `the base ${textOf(this.#base)} does not go back to ${textOf(to)}`);
    this.#base = to;
    this.#starts = this.#starts.filter(start => comparePositions(positionOfStart(start), to) > 0);
    assert(placesRise(to, this.#starts), `a base of ${textOf(to)} among the starts`);
  }

  /** An empty log behind a snapshot's base. */
  restart(base: Position): void {
    this.#base = base;
    this.#starts = [];
  }

  /** The starts of later epochs. */
  startsBehind(epoch: number): readonly EpochStart[] {
    return this.#starts.slice(this.#starts.findLastIndex(start => start.epoch <= epoch) + 1);
  }

  /** The checkpoint of the log up to an epoch: what comes behind it may not be durable. */
  format(latest: number = this.latest): string {
    const entries = this.#starts.filter(start => start.epoch <= latest);
    if (this.#base.epoch > 0) entries.unshift({ epoch: this.#base.epoch, startOffset: this.#base.offset });
    return `0\n${entries.length}\n${entries.map(({ epoch, startOffset }) => `${epoch} ${startOffset}\n`).join('')}`;
  }

  /** Null for text that is not a checkpoint of a log with this base. */
  static parse(text: string, base: Position = ORIGIN): EpochMap | null {
    const [version, count, ...lines] = text.split('\n');
    if (version !== '0' || lines.at(-1) !== '' || Number(count) !== lines.length - 1) return null;
    const map = new EpochMap(base);
    let before = -1;
    for (const line of lines.slice(0, -1)) {
      const match = /^(\d{1,10}) (\d{1,16})$/.exec(line);
      if (match === null) return null;
      const [epoch, startOffset] = [Number(match[1]), Number(match[2])];
      if (epoch <= before || epoch > EPOCH_MAX || !isOffset(startOffset)) return null;
      before = epoch;
      // The base itself, or what was before it when the checkpoint was written.
      if (epoch <= base.epoch) continue;
      if (!map.canStart(epoch, startOffset)) return null;
      map.start(epoch, startOffset);
    }
    return map;
  }
}

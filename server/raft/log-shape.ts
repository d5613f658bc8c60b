// The shape of a log: which epochs cover which offsets, where it begins and ends, and how far it is durable. The core
// decides by it alone and never sees a batch.
//
//      base            starts                         end
//   ────┤ 3 │4├───────┤5├┤6├──────────────────────────────┤
//       S                       durable ┘
//
// `base` is the position of the last entry before the first one that the log holds; what lies at or below it is gone or
// was never here, and was committed. An epoch covers the offsets from its start to the start of the next one, or to the
// log's end, also where compaction left nothing. A position (e, o) is held when start(e) <= o <= end(e): both ends count,
// because the start itself is an entry of its own.
//
// Every cut and every install of a snapshot raises the generation. A notice of durability from an older generation says
// nothing, even when it names an entry that is held: the same entries can be cut and come back.

import { assert } from '../base/assert.ts';
import {
  comparePositions,
  type DurableNotice,
  earlier,
  type EpochStart,
  isBefore,
  isSame,
  type Position,
  positionOfStart,
  type StoredShape,
  textOf,
} from '../base/position.ts';
import { type LeaderEpoch, type Offset, offset } from '@sluice/protocol/ids';

export class LogShape {
  #base: Position;
  /** Invariant: all above base, epochs and offsets never falling, epochs rising. */
  #starts: EpochStart[];
  /** Invariant: at or above the last start and the base. */
  #endOffset: Offset;
  /** Invariant: base.offset <= logStart <= endOffset. */
  #logStart: Offset;
  /** Invariant: at or before end, unless isInstalling. */
  #durable: Position;
  #isInstalling = false;
  #generation: number;

  /** A log as found at a start: all of it is durable. */
  constructor(stored: StoredShape) {
    this.#base = stored.base;
    this.#starts = [...stored.starts];
    this.#endOffset = stored.endOffset;
    this.#logStart = stored.logStart;
    this.#generation = stored.generation;
    let before = this.#base;
    for (const start of this.#starts) {
      assert(start.epoch > before.epoch && start.startOffset >= before.offset, 'epoch starts rise');
      before = positionOfStart(start);
    }
    assert(this.#endOffset >= before.offset, 'a log ends at or above its last epoch start');
    assert(this.#logStart >= this.#base.offset && this.#logStart <= this.#endOffset, 'the log start lies in the log');
    this.#durable = this.end;
  }

  get base(): Position {
    return this.#base;
  }
  get end(): Position {
    return { epoch: this.lastEpoch, offset: this.#endOffset };
  }
  get lastEpoch(): LeaderEpoch {
    return this.#starts.at(-1)?.epoch ?? this.#base.epoch;
  }
  get logStart(): Offset {
    return this.#logStart;
  }
  /** While a snapshot takes the place of the log: of the old one, whose epochs may be later than any in the new one. */
  get durable(): Position {
    return this.#durable;
  }
  /** The disk still holds the log from before the snapshot, as far as is known. */
  get isInstalling(): boolean {
    return this.#isInstalling;
  }
  get generation(): number {
    return this.#generation;
  }
  get starts(): readonly EpochStart[] {
    return this.#starts;
  }

  holds(position: Position): boolean {
    const floor = this.floor(position);
    return floor !== null && isSame(floor, position);
  }

  /** The last position held that is not after the given one; null when that lies before the base. */
  floor(position: Position): Position | null {
    if (isBefore(position, this.#base)) return null;
    let at = this.#starts.length - 1;
    while (at >= 0 && isBefore(position, positionOfStart(this.#starts[at]!))) at--;
    const epoch = at < 0 ? this.#base.epoch : this.#starts[at]!.epoch;
    const endOffset = this.#starts[at + 1]?.startOffset ?? this.#endOffset;
    const isWithin = epoch === position.epoch && position.offset < endOffset;
    return { epoch, offset: isWithin ? position.offset : endOffset };
  }

  /** The epoch starts after the position. */
  startsAfter(position: Position): readonly EpochStart[] {
    const first = this.#starts.findIndex(start => isBefore(position, positionOfStart(start)));
    return first < 0 ? [] : this.#starts.slice(first);
  }

  /** The log grew by a batch of its last epoch. */
  grow(to: Position): void {
    assert(to.epoch === this.lastEpoch, `a batch of epoch ${to.epoch} after ${textOf(this.end)}`);
    assert(to.offset > this.#endOffset, `a batch that ends at ${textOf(to)} after ${textOf(this.end)}`);
    this.#endOffset = to.offset;
  }

  /** The log grew by an epoch start, whose offset is the log's end, or above it after a gap. */
  growByStart(start: EpochStart): void {
    assert(start.epoch > this.lastEpoch, `epoch ${start.epoch} begins after ${textOf(this.end)}`);
    assert(start.startOffset >= this.#endOffset, `an epoch begins at ${start.startOffset} below the end`);
    this.#starts.push(start);
    this.#endOffset = start.startOffset;
  }

  /** Everything after the position goes. */
  cut(to: Position): void {
    assert(this.holds(to) && isBefore(to, this.end), `a cut of ${textOf(this.end)} to ${textOf(to)}`);
    this.#starts = this.#starts.filter(start => comparePositions(positionOfStart(start), to) <= 0);
    this.#endOffset = to.offset;
    if (!this.#isInstalling) this.#durable = earlier(this.#durable, to);
    this.#logStart = offset(Math.min(this.#logStart, this.#endOffset));
    this.#generation++;
  }

  /** An empty log at a snapshot's base takes the place of this one. */
  install(base: Position): void {
    this.#base = base;
    this.#starts = [];
    this.#endOffset = base.offset;
    // The leader's log start lies above, and is taken over as appends bring the log there.
    this.#logStart = base.offset;
    this.#isInstalling = true;
    this.#generation++;
  }

  moveLogStart(to: Offset): void {
    assert(to >= this.#logStart && to <= this.#endOffset, `a log start of ${to}`);
    this.#logStart = to;
  }

  /** The storage dropped what lies at or before the position. */
  moveBase(to: Position): void {
    assert(this.holds(to), `a base of ${textOf(to)} that the log does not hold`);
    assert(to.offset <= this.#logStart, 'the base stays at or below the log start');
    this.#base = to;
    this.#starts = this.#starts.filter(start => isBefore(to, positionOfStart(start)));
  }

  /** True when the notice says something new. */
  noteDurable({ generation, position }: DurableNotice): boolean {
    if (generation !== this.#generation || isBefore(position, this.#base)) return false;
    if (!this.#isInstalling && !isBefore(this.#durable, position)) return false;
    assert(!isBefore(this.end, position), `durable at ${textOf(position)} beyond the end ${textOf(this.end)}`);
    this.#durable = position;
    this.#isInstalling = false;
    return true;
  }
}

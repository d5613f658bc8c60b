// One direction of one lane of a session: what is put in waits for the bandwidth, then for the delay, and arrives.
//
//   put → (room) → taken: it has left → under way → arrives, in order unless the pipe has none
//
// A cut stops what waits and what is under way where it is; `heal` lets it go on. A silent cut swallows instead.
// After `close` nothing of it happens any more.

import { delayMs, lateDelayMs, type LinkSettings } from './network-settings.ts';
import type { SeededRandom } from './random.ts';
import type { Scheduler } from './scheduler.ts';

export type CutKind = 'open' | 'cut' | 'silent';

/** The direction that a pipe lies in, as it is now. */
export interface Direction {
  readonly settings: LinkSettings;
  readonly cut: CutKind;
}

export interface PipeOptions {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly direction: () => Direction;
  /** Calls overtake each other; frames do not, and may be lost, repeated and reordered where the settings say so. */
  readonly carries: 'frames' | 'calls';
  /** The receiver has not taken what arrived: nothing more leaves until `resume`. */
  readonly isFull: () => boolean;
  readonly taken: () => void;
  /** The session breaks here. */
  readonly broken: () => void;
}

export interface Parcel {
  readonly byteLength: number;
  readonly left?: () => void;
  readonly arrive: () => void;
}

/** What takes less leaves in the step in which it is put in. */
const AT_ONCE_MS = 0.1;

export class Pipe {
  readonly #options: PipeOptions;
  #waiting: Parcel[] = [];
  #stuck: Parcel[] = [];
  #isTaking = false;
  #isClosed = false;
  #lastArrivalMs = 0;
  pendingBytes = 0;

  constructor(options: PipeOptions) {
    this.#options = options;
  }

  put(parcel: Parcel): void {
    this.pendingBytes += parcel.byteLength;
    this.#waiting.push(parcel);
    this.#take();
  }

  /** False when it has left. */
  takeBack(parcel: Parcel): boolean {
    const index = this.#waiting.indexOf(parcel);
    if (index < 0 || (index === 0 && this.#isTaking)) return false;
    this.#waiting.splice(index, 1);
    this.pendingBytes -= parcel.byteLength;
    return true;
  }

  heal(): void {
    const stuck = this.#stuck;
    this.#stuck = [];
    for (const parcel of stuck) this.#travel(parcel);
    this.#take();
  }

  resume(): void {
    this.#take();
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
    this.#stuck = [];
  }

  #take(): void {
    const { direction, isFull, scheduler } = this.#options;
    while (!this.#isTaking && !this.#isClosed && this.#waiting.length > 0) {
      const { settings, cut } = direction();
      if (cut === 'cut' || isFull()) return;
      const takesMs = this.#waiting[0]!.byteLength / settings.bytesPerMs;
      if (takesMs < AT_ONCE_MS) {
        this.#taken();
        continue;
      }
      this.#isTaking = true;
      scheduler.after(takesMs, () => {
        this.#isTaking = false;
        if (this.#isClosed) return;
        this.#taken();
        this.#take();
      });
    }
  }

  #taken(): void {
    const parcel = this.#waiting.shift()!;
    this.pendingBytes -= parcel.byteLength;
    parcel.left?.();
    this.#leave(parcel);
    this.#options.taken();
  }

  #leave(parcel: Parcel): void {
    const { carries, direction, random, broken } = this.#options;
    const { settings } = direction();
    if (carries === 'calls') {
      this.#travel(parcel);
    } else if (random.chance(settings.breakChance)) {
      broken();
    } else if (!random.chance(settings.loseChance)) {
      if (random.chance(settings.repeatChance)) this.#travel(parcel, lateDelayMs(settings, random));
      this.#travel(parcel, random.chance(settings.reorderChance) ? lateDelayMs(settings, random) : null);
    }
  }

  /** `lateMs`: after that time, whatever else arrives meanwhile. */
  #travel(parcel: Parcel, lateMs: number | null = null): void {
    const { carries, direction, random, scheduler } = this.#options;
    let waitMs = lateMs ?? delayMs(direction().settings, random);
    if (lateMs === null && carries === 'frames') {
      // Those due at the same time run in a drawn order, so each is due a little after the one before.
      const arrivalMs = Math.max(scheduler.nowMs + waitMs, this.#lastArrivalMs + 1e-6);
      this.#lastArrivalMs = arrivalMs;
      waitMs = arrivalMs - scheduler.nowMs;
    }
    scheduler.after(waitMs, () => this.#arrive(parcel));
  }

  #arrive(parcel: Parcel): void {
    const { carries, direction } = this.#options;
    if (this.#isClosed) return;
    const { cut } = direction();
    // Behind one that is stuck, everything is.
    const isStuck = cut === 'cut' || (carries === 'frames' && this.#stuck.length > 0 && cut !== 'silent');
    if (isStuck) this.#stuck.push(parcel);
    else if (cut !== 'silent') parcel.arrive();
  }
}

// What a leader knows of one other replica, and how fast it sends there.
//
//            match                              window full: wait for acknowledgements
//   probe ───────────► replicate ──────────────────────────────────────┐
//     ▲ ◄─────────────── │  rejection, unreadable                     │
//     │                  ▼                                            ─┘
//     └── sent ────── snapshot   (from probe too: what follows is not in the log any more)
//
//   probe      one request at a time, and none more until an answer or a heartbeat's answer
//   replicate  requests follow each other without waiting, up to a bound in bytes
//   snapshot   nothing is sent until the driver says how the snapshot went, or the follower acknowledges its base
//
// A rejection steps back: to what the leader holds of the follower's last position before the rejected one, which passes
// over at least one epoch at either side.

import { comparePositions, isBefore, isSame, later, type Position } from '../base/position.ts';
import type { LogShape } from './log-shape.ts';
import type { AppendRejected } from './message.ts';
import type { ReplicateOrder } from './ready.ts';

interface InFlight {
  readonly end: Position;
  readonly bytes: number;
}

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

export class Progress {
  #state: ProgressState = 'probe';
  /** Durable there and acknowledged in this term. Invariant: never falls, but where acknowledged writes can be lost. */
  #acknowledged: Position | null = null;
  /** What is sent next follows this position. Invariant: not before #acknowledged. */
  #next: Position;
  #order: ReplicateOrder | null = null;
  /** Of a probe: asked, and no answer yet. Of all: the last read failed. */
  #isPaused = false;
  #inFlight: InFlight[] = [];
  #inFlightBytes = 0;
  /** Where it stood at the last heartbeat's answer: no step since, with something in flight, looks like a loss. */
  #acknowledgedAtHeartbeat: Position | null = null;
  #snapshotBase: Position | null = null;

  /** Heard since the last check of the quorum. */
  isActive = true;
  /** The commit point that it is known to know, and the latest one sent. */
  knownCommit: Position | null = null;
  sentCommit: Position | null = null;

  /** The tick when it last stood at the leader's end of that time. */
  #caughtUpTick: number;
  #heardTick: number;
  #endWhenHeard: Position;

  constructor(end: Position, tick: number) {
    this.#next = end;
    this.#caughtUpTick = tick;
    this.#heardTick = tick;
    this.#endWhenHeard = end;
  }

  get state(): ProgressState {
    return this.#state;
  }
  get acknowledged(): Position | null {
    return this.#acknowledged;
  }
  get next(): Position {
    return this.#next;
  }
  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }
  get caughtUpTick(): number {
    return this.#caughtUpTick;
  }
  get heardTick(): number {
    return this.#heardTick;
  }
  get isIdle(): boolean {
    return this.#state === 'replicate' && this.#order === null && this.#inFlight.length === 0;
  }
  /** Whether it may be asked or sent something now. */
  get isOpen(): boolean {
    return this.#state !== 'snapshot' && this.#order === null && !this.#isPaused;
  }

  hasAcknowledged(position: Position): boolean {
    return this.#acknowledged !== null && !isBefore(this.#acknowledged, position);
  }

  /** Something came from it while the leader's log ended at `end`. */
  heard(end: Position, tick: number): void {
    this.isActive = true;
    if (this.hasAcknowledged(end)) this.#caughtUpTick = tick;
    else if (this.hasAcknowledged(this.#endWhenHeard)) {
      this.#caughtUpTick = Math.max(this.#caughtUpTick, this.#heardTick);
    }
    this.#heardTick = tick;
    this.#endWhenHeard = end;
  }

  ordered(order: ReplicateOrder): void {
    this.#order = order;
  }

  /** False when the order is none any more. */
  filled(order: ReplicateOrder, end: Position, bytes: number): boolean {
    if (this.#order?.number !== order.number) return false;
    this.#order = null;
    if (this.#state === 'probe') {
      this.#isPaused = true;
      return true;
    }
    this.#next = end;
    this.#inFlight.push({ end, bytes });
    this.#inFlightBytes += bytes;
    return true;
  }

  /** An empty request was sent to a follower that is probed: its answer is awaited. */
  probed(): void {
    if (this.#state === 'probe') this.#isPaused = true;
  }

  unreadable(order: ReplicateOrder): boolean {
    if (this.#order?.number !== order.number) return false;
    this.#order = null;
    this.#isPaused = true;
    return true;
  }

  /** True when that was news. */
  matched(position: Position): boolean {
    const isNews = !this.hasAcknowledged(position);
    if (isNews) this.#acknowledged = position;
    while (this.#inFlight[0] !== undefined && !isBefore(position, this.#inFlight[0].end)) {
      this.#inFlightBytes -= this.#inFlight.shift()!.bytes;
    }
    const isBack = this.#state === 'snapshot' && this.#snapshotBase !== null && !isBefore(position, this.#snapshotBase);
    if (this.#state === 'probe' || isBack) this.#become('replicate', later(position, this.#acknowledged ?? position));
    else this.#next = later(this.#next, position);
    return isNews;
  }

  rejected({ prev, hint, mayHaveLost }: AppendRejected, shape: LogShape): void {
    if (this.#state === 'snapshot') return;
    // Of a probe only the answer to the last question counts; what was acknowledged can only be rejected late.
    if (this.#state === 'probe' && !isSame(prev, this.#next)) return;
    if (mayHaveLost && this.hasAcknowledged(prev)) this.#acknowledged = null;
    if (this.hasAcknowledged(prev)) return;
    const back = shape.floor(hint);
    if (back === null) this.#become('probe', hint);
    else this.#become('probe', later(back, this.#acknowledged ?? back));
  }

  awaitSnapshot(base: Position): void {
    this.#become('snapshot', base);
    this.#snapshotBase = base;
  }

  snapshotEnded(isDone: boolean): void {
    if (this.#state !== 'snapshot' || this.#snapshotBase === null) return;
    const base = this.#snapshotBase;
    // Without an acknowledgement nothing is known: whether it is there is asked again.
    this.#become('probe', isDone ? later(base, this.#acknowledged ?? base) : (this.#acknowledged ?? this.#next));
    this.#isPaused = !isDone;
  }

  /** True when something in flight may have been lost, which an empty request finds out. `window`: bytes that may fly. */
  heartbeatAnswered(window: number): boolean {
    this.#isPaused = false;
    const before = this.#acknowledgedAtHeartbeat;
    this.#acknowledgedAtHeartbeat = this.#acknowledged;
    if (this.#state !== 'replicate' || this.#inFlight.length === 0 || this.#order !== null) return false;
    // Nothing follows that would show a loss while the window is full.
    if (this.#inFlightBytes >= window) return true;
    return before !== null && this.#acknowledged !== null && comparePositions(before, this.#acknowledged) === 0;
  }

  #become(state: ProgressState, next: Position): void {
    this.#state = state;
    this.#next = next;
    this.#order = null;
    this.#isPaused = false;
    this.#inFlight = [];
    this.#inFlightBytes = 0;
    this.#snapshotBase = null;
    this.#acknowledgedAtHeartbeat = null;
  }
}

// One count of what all doors have handed out and no client has taken yet.
//
// A reader that stops reading keeps the pieces that were made for it. Each such queue is small; a thousand of them are not, so
// all of them share one budget. The fuller it is, the smaller the pieces of everybody become (`pieceBytes`) and the fewer
// may wait for one client (`hasRoom`), and when it is full the client that has taken nothing for the longest time is cut:
// a reader that stands still costs itself, never those that move. A cut reader resumes from its cursor.
//
// Guarantees: a queue without anything in it waits at most until somebody takes a piece or is cut, which is STALLED_MS away.
//
// A piece that many clients are given (RecordFeed) is one piece of memory and counted once, for as long as one has it pending.
//
// Invariant: usedBytes is the sum of what is pending in all open queues, shared pieces once.

import { assert } from '../base/assert.ts';
import { OUTGOING_CLIENT_SHARE, OUTGOING_PIECES_FREE, STALLED_MS } from '../base/limits.ts';
import type { Door, OutgoingReport } from '../base/metrics.ts';
import type { Clock } from '../io/clock.ts';

export class OutgoingBudget {
  readonly #clock: Clock;
  readonly #bytesMax: number;
  readonly #queues = new Set<OutgoingQueue>();
  readonly #cuts = new Map<Door, number>();
  /** How many queues have a shared piece pending. */
  readonly #shared = new Map<object, number>();
  #waiting: (() => void)[] = [];
  #usedBytes = 0;
  #isRelieving = false;

  constructor(clock: Clock, bytesMax: number) {
    this.#clock = clock;
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get freeBytes(): number {
    return Math.max(0, this.#bytesMax - this.#usedBytes);
  }

  /** How large the next piece of a stream may be: a small share of what is free, between two bounds. */
  pieceBytes(bounds: { readonly least: number; readonly most: number }): number {
    return Math.max(bounds.least, Math.min(bounds.most, Math.floor(this.freeBytes / OUTGOING_PIECES_FREE)));
  }

  /** `cut` ends the client's stream at once, whatever it has not taken; the queue is closed by then. */
  open(door: Door, cut: () => void): OutgoingQueue {
    const queue: OutgoingQueue = new OutgoingQueue({
      door,
      cut,
      clock: this.#clock,
      free: () => this.freeBytes,
      changed: bytes => this.#changed(bytes),
      share: (piece, bytes) => this.#share(piece, bytes),
      unshare: (piece, bytes) => this.#unshare(piece, bytes),
      whenRoom: resume => this.#whenRoom(resume),
      closed: () => this.#queues.delete(queue),
    });
    this.#queues.add(queue);
    return queue;
  }

  /** Cuts the client that has stood still for the longest time, if one has for STALLED_MS. */
  cutLongestStalled(): boolean {
    const before = this.#clock.monotonicMs() - STALLED_MS;
    let longest: OutgoingQueue | null = null;
    for (const queue of this.#queues) {
      if (queue.isStalledSince(before) && (longest === null || queue.movedMs < longest.movedMs)) longest = queue;
    }
    if (longest === null) return false;
    this.#cuts.set(longest.door, (this.#cuts.get(longest.door) ?? 0) + 1);
    longest.cut();
    return true;
  }

  report(): OutgoingReport[] {
    const before = this.#clock.monotonicMs() - STALLED_MS;
    const doors = new Map<Door, { bytes: number; stalled: number }>();
    for (const queue of this.#queues) {
      const sum = doors.get(queue.door) ?? { bytes: 0, stalled: 0 };
      sum.bytes += queue.pendingBytes;
      if (queue.isStalledSince(before)) sum.stalled++;
      doors.set(queue.door, sum);
    }
    for (const door of this.#cuts.keys()) if (!doors.has(door)) doors.set(door, { bytes: 0, stalled: 0 });
    return [...doors].map(([door, sum]) => ({
      door,
      bytes: sum.bytes,
      stalled: sum.stalled,
      cut: this.#cuts.get(door) ?? 0,
    }));
  }

  #changed(bytes: number): void {
    this.#usedBytes += bytes;
    assert(this.#usedBytes >= 0, 'no more is taken than was handed out');
    if (bytes < 0 && this.freeBytes > 0) this.#waiting.shift()?.();
    else if (this.#usedBytes > this.#bytesMax) this.#relieve();
  }

  #share(piece: object, bytes: number): void {
    const holders = this.#shared.get(piece) ?? 0;
    this.#shared.set(piece, holders + 1);
    if (holders === 0) this.#changed(bytes);
  }

  #unshare(piece: object, bytes: number): void {
    const holders = this.#shared.get(piece);
    assert(holders !== undefined, 'a shared piece is held until the last one has taken it');
    if (holders > 1) {
      this.#shared.set(piece, holders - 1);
      return;
    }
    this.#shared.delete(piece);
    this.#changed(-bytes);
  }

  #whenRoom(resume: () => void): void {
    this.#waiting.push(resume);
    this.#relieve();
  }

  /** While somebody waits, or more is held than should be: cuts who stands still, now or when it has stood still for long enough. */
  #relieve(): void {
    // Whoever stands still long enough is found when the timer comes.
    if (this.#isRelieving) return;
    this.#isRelieving = true;
    while (this.freeBytes === 0 && this.cutLongestStalled());
    if (this.freeBytes > 0) {
      this.#isRelieving = false;
      // Each of them asks again whether there is room.
      for (const resume of this.#waiting.splice(0)) resume();
      return;
    }
    this.#clock.schedule(STALLED_MS / 4, () => {
      this.#isRelieving = false;
      if (this.#waiting.length > 0 || this.#usedBytes > this.#bytesMax) this.#relieve();
    });
  }
}

interface QueueParts {
  readonly door: Door;
  readonly cut: () => void;
  readonly clock: Clock;
  readonly free: () => number;
  readonly changed: (bytes: number) => void;
  readonly share: (piece: object, bytes: number) => void;
  readonly unshare: (piece: object, bytes: number) => void;
  readonly whenRoom: (resume: () => void) => void;
  readonly closed: () => void;
}

/** What one client has not taken. Invariant: nothing is pending once it is closed. */
export class OutgoingQueue {
  readonly #parts: QueueParts;
  #pendingBytes = 0;
  /** When the client last took something, or when the first of what is pending was handed out. */
  #movedMs = 0;
  /** Shared pieces that are pending, each with its bytes as often as it is pending here. */
  readonly #shared: { readonly piece: object; readonly bytes: number }[] = [];
  /** Of pieces that are nobody else's. */
  #ownBytes = 0;
  #isClosed = false;

  constructor(parts: QueueParts) {
    this.#parts = parts;
  }

  get door(): Door {
    return this.#parts.door;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get movedMs(): number {
    return this.#movedMs;
  }

  isStalledSince(beforeMs: number): boolean {
    return this.#pendingBytes > 0 && this.#movedMs < beforeMs;
  }

  /** True while this client may be given more: at most `bytesMax`, and a small share of what is left for all. */
  hasRoom(bytesMax: number): boolean {
    const free = this.#parts.free();
    return this.#pendingBytes === 0 ? free > 0 : this.#pendingBytes < Math.min(bytesMax, free / OUTGOING_CLIENT_SHARE);
  }

  /** Resolves when it is worth asking for room again; only for a queue without anything in it. */
  whenRoom(): Promise<void> {
    if (this.#isClosed || this.hasRoom(1)) return Promise.resolve();
    return new Promise(resolve => this.#parts.whenRoom(resolve));
  }

  /** Counted whatever the budget says: what must be sent is sent. */
  add(bytes: number): void {
    if (this.#isClosed || bytes === 0) return;
    this.#begin(bytes);
    this.#ownBytes += bytes;
    this.#parts.changed(bytes);
  }

  addShared(piece: object, bytes: number): void {
    if (this.#isClosed || bytes === 0) return;
    this.#begin(bytes);
    this.#shared.push({ piece, bytes });
    this.#parts.share(piece, bytes);
  }

  taken(bytes: number): void {
    if (this.#isClosed || bytes === 0) return;
    assert(bytes <= this.#ownBytes, 'what is taken was handed out before');
    this.#move(bytes);
    this.#ownBytes -= bytes;
    this.#parts.changed(-bytes);
  }

  takenShared(piece: object, bytes: number): void {
    if (this.#isClosed || bytes === 0) return;
    const index = this.#shared.findIndex(held => held.piece === piece);
    assert(index >= 0, 'what is taken was handed out before');
    this.#move(bytes);
    this.#shared.splice(index, 1);
    this.#parts.unshare(piece, bytes);
  }

  cut(): void {
    this.close();
    this.#parts.cut();
  }

  /** The client is gone. May be called more than once. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#pendingBytes = 0;
    this.#parts.closed();
    for (const { piece, bytes } of this.#shared.splice(0)) this.#parts.unshare(piece, bytes);
    this.#parts.changed(-this.#ownBytes);
  }

  #begin(bytes: number): void {
    if (this.#pendingBytes === 0) this.#movedMs = this.#parts.clock.monotonicMs();
    this.#pendingBytes += bytes;
  }

  #move(bytes: number): void {
    this.#movedMs = this.#parts.clock.monotonicMs();
    this.#pendingBytes -= bytes;
  }
}

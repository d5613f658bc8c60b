// What waits for clients: counted over all of them, and at whose cost room is made.

import { expect, test } from 'vitest';
import { STALLED_MS } from '../../server/base/limits.ts';
import { OutgoingBudget } from '../../server/gateway/outgoing-budget.ts';
import type { Clock, Timer } from '../../server/io/clock.ts';

class HandClock implements Clock {
  nowMs = 0;
  #timers: { readonly atMs: number; readonly action: () => void }[] = [];

  wallMs(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  schedule(delayMs: number, action: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, action };
    this.#timers.push(timer);
    return { cancel: () => (this.#timers = this.#timers.filter(other => other !== timer)) };
  }

  defer(action: () => void): void {
    queueMicrotask(action);
  }

  /** Moves time step by step, so that timers that set timers are met on the way. */
  pass(ms: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs = Math.min(end, this.nowMs + 100);
      const due = this.#timers.filter(timer => timer.atMs <= this.nowMs);
      this.#timers = this.#timers.filter(timer => timer.atMs > this.nowMs);
      for (const timer of due) timer.action();
    }
  }
}

test('the fuller it is, the smaller the pieces and the less may wait for one client', () => {
  const budget = new OutgoingBudget(new HandClock(), 64 * 1024 * 1024);
  const bounds = { least: 1_000, most: 100_000 };
  expect(budget.pieceBytes(bounds)).toBe(100_000);
  const one = budget.open('rest', () => {});
  one.add(100_000);
  expect(one.hasRoom(500_000)).toBe(true);
  expect(one.hasRoom(100_000)).toBe(false);
  const others = budget.open('grpc', () => {});
  others.add(60 * 1024 * 1024);
  expect(budget.pieceBytes(bounds)).toBeLessThan(10_000);
  expect(one.hasRoom(500_000)).toBe(false);
  others.add(5 * 1024 * 1024);
  expect(budget.pieceBytes(bounds)).toBe(1_000);
});

test('a client that takes nothing is cut for the sake of one that waits, one that moves is not', async () => {
  const clock = new HandClock();
  const budget = new OutgoingBudget(clock, 1_000);
  const cut: string[] = [];
  const still = budget.open('rest', () => cut.push('still'));
  const stillLater = budget.open('rest', () => cut.push('still later'));
  const moving = budget.open('grpc', () => cut.push('moving'));
  still.add(300);
  clock.pass(1_000);
  stillLater.add(300);
  moving.add(400);
  let hasRoom = false;
  const waiting = budget.open('grpc', () => cut.push('waiting'));
  const room = waiting.whenRoom().then(() => (hasRoom = true));
  for (let seconds = 0; seconds * 1_000 < STALLED_MS - 1_000; seconds++) {
    clock.pass(1_000);
    moving.taken(10);
    moving.add(10);
    // What was taken made room for a moment; the waiting one asks again then.
    if (hasRoom) break;
  }
  await room;
  clock.pass(2 * STALLED_MS);
  expect(cut).toEqual([]);
  waiting.add(10);
  const other = budget.open('rest', () => {});
  const afterAll = other.whenRoom();
  clock.pass(STALLED_MS);
  await afterAll;
  expect(cut).toEqual(['still']);
  expect(budget.usedBytes).toBe(710);
});

test('shows what stands still, by door, and forgets what is closed', () => {
  const clock = new HandClock();
  const budget = new OutgoingBudget(clock, 1_000);
  const rest = budget.open('rest', () => {});
  const grpc = budget.open('grpc', () => {});
  rest.add(100);
  grpc.add(50);
  clock.pass(STALLED_MS + 1_000);
  grpc.taken(20);
  expect(budget.report()).toEqual([
    { door: 'rest', bytes: 100, stalled: 1, cut: 0 },
    { door: 'grpc', bytes: 30, stalled: 0, cut: 0 },
  ]);
  rest.close();
  rest.taken(100);
  expect(budget.report()).toEqual([{ door: 'grpc', bytes: 30, stalled: 0, cut: 0 }]);
  expect(budget.usedBytes).toBe(30);
});

test('a piece that many are given is counted once, until the last has taken it or is gone', () => {
  const budget = new OutgoingBudget(new HandClock(), 1_000);
  const [one, two, three] = [1, 2, 3].map(() => budget.open('sse', () => {}));
  const piece = {};
  for (const queue of [one, two, three]) queue!.addShared(piece, 400);
  one!.add(5);
  expect(budget.usedBytes).toBe(405);
  expect(budget.report()).toEqual([{ door: 'sse', bytes: 1_205, stalled: 0, cut: 0 }]);
  two!.takenShared(piece, 400);
  one!.close();
  expect(budget.usedBytes).toBe(400);
  three!.takenShared(piece, 400);
  expect(budget.usedBytes).toBe(0);
});

test('more than it should hold, with nobody waiting, is given up by whoever stands still', () => {
  const clock = new HandClock();
  const budget = new OutgoingBudget(clock, 1_000);
  let cutCount = 0;
  for (let index = 0; index < 3; index++) budget.open('websocket', () => cutCount++).add(600);
  clock.pass(STALLED_MS - 1_000);
  expect(cutCount).toBe(0);
  clock.pass(2 * STALLED_MS);
  expect(cutCount).toBe(2);
  expect(budget.usedBytes).toBe(600);
});

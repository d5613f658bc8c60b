// Streams take turns on the event loop.

import { expect, test } from 'vitest';
import type { Clock } from '../../server/io/clock.ts';
import { LoopShare } from '../../server/gateway/loop-share.ts';

/** A loop whose turns the test runs. */
const makeLoop = (): { clock: Clock; turn: () => Promise<void> } => {
  let deferred: (() => void)[] = [];
  const unused = (): never => {
    throw new Error('not asked for');
  };
  const clock: Clock = {
    wallMs: unused,
    monotonicMs: unused,
    schedule: unused,
    defer: action => deferred.push(action),
  };
  const turn = async (): Promise<void> => {
    const now = deferred;
    deferred = [];
    for (const action of now) action();
    for (let hop = 0; hop < 10; hop++) await Promise.resolve();
  };
  return { clock, turn };
};

test('so many pieces a turn, first come, first served, and whoever goes on waits behind the others', async () => {
  const { clock, turn } = makeLoop();
  const share = new LoopShare(clock, 2);
  const rendered: string[] = [];
  const stream = async (name: string): Promise<void> => {
    for (let piece = 0; piece < 2; piece++) {
      await share.next();
      rendered.push(name);
    }
  };
  const all = Promise.all(['a', 'b', 'c'].map(stream));
  expect(rendered).toEqual([]);
  await turn();
  expect(rendered).toEqual(['a', 'b']);
  await turn();
  expect(rendered).toEqual(['a', 'b', 'c', 'a']);
  await turn();
  expect(rendered).toEqual(['a', 'b', 'c', 'a', 'b', 'c']);
  await all;
});

test('a share that was idle begins again', async () => {
  const { clock, turn } = makeLoop();
  const share = new LoopShare(clock, 1);
  for (let round = 0; round < 3; round++) {
    let isDone = false;
    const one = share.next().then(() => {
      isDone = true;
      return isDone;
    });
    await turn();
    expect(isDone).toBe(true);
    await one;
  }
});

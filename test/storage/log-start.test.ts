// The beginning of a log moves while it goes on to take records.

import { offset } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import { LogWorld } from './log-world.ts';

test.each([
  ['the next append', 1_000_000],
  ['an append that begins a segment', 400],
])('%s that comes while all records before it are deleted is kept', async (_, segmentBytes) => {
  const world = await LogWorld.start({ seed: 'all deleted', settings: { segmentBytes } });
  for (let batch = 0; batch < 3; batch++) await world.appendDurably({ valueBytes: 60 }, 1);
  let isUnderWay = false;
  world.disk.judge = ({ kind, path }) => {
    if (kind !== 'sync' || !path.includes('store-')) return { kind: 'usual' };
    isUnderWay = true;
    return { kind: 'slow', delayMs: 20 };
  };
  const deleted = world.log.advanceStart(offset(3));
  await world.scheduler.driveUntil(() => isUnderWay);
  world.append({ name: 'kept' }, 1);
  await world.drive(deleted);
  world.disk.judge = () => ({ kind: 'usual' });
  await world.scheduler.driveUntil(() => world.log.durableOffset === 4);
  expect(world.log.startOffset).toBe(3);
  world.crash(0);
  await world.open();
  expect(world.log.condition).toEqual({ kind: 'sound' });
  expect([world.log.startOffset, world.log.endOffset]).toEqual([3, 4]);
  expect((await world.readFrom(3)).batches).toHaveLength(1);
});

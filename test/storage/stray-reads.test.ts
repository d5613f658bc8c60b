// A disk that answers one wrong bit, once: what it says when it is asked again is the truth, and nothing is cut, given up or believed
// damaged for the first answer.

import { describe, expect, test } from 'vitest';
import type { DiskCall, Fate } from '../simulation/disk.ts';
import { BATCH_HEADER_BYTES } from '@sluice/protocol/record';
import { LogWorld } from './log-world.ts';

const BATCHES = 6;

/** Flips the bit in the n-th read of a log's file, and knows whether there was one. */
class StrayRead {
  readonly #nth: number;
  readonly #bit: number;
  #reads = 0;

  constructor(nth: number, bit: number) {
    this.#nth = nth;
    this.#bit = bit;
  }

  get hasHappened(): boolean {
    return this.#reads > this.#nth;
  }

  readonly judge = ({ kind, path }: DiskCall): Fate => {
    if (kind !== 'read' || !path.endsWith('.log') || this.#reads++ !== this.#nth) return { kind: 'usual' };
    return { kind: 'flip', bit: this.#bit };
  };
}

/** In the length, the checksum, the last offset delta, the count and the value of the first batch, and in what follows. */
const BITS = [8 * 8, 8 * 9 + 7, 17 * 8, 23 * 8, 57 * 8, (BATCH_HEADER_BYTES + 5) * 8, 200 * 8, 300 * 8];

describe('a stray read', () => {
  const filled = async (segmentBytes: number): Promise<LogWorld> => {
    const world = await LogWorld.start({ seed: 'stray reads', settings: { segmentBytes } });
    for (let batch = 0; batch < BATCHES; batch++)
      await world.appendDurably({ name: `batch ${batch}`, valueBytes: 40 }, 1);
    return world;
  };

  const expectWhole = async (world: LogWorld): Promise<void> => {
    expect(world.log.damagedRanges).toEqual([]);
    expect(world.log.condition).toEqual({ kind: 'sound' });
    expect(world.log.endOffset).toBe(BATCHES);
    world.disk.judge = () => ({ kind: 'usual' });
    expect((await world.readFrom(0)).batches).toHaveLength(BATCHES);
  };

  test.each([
    ['of one segment', 1_000_000],
    ['of many', 250],
  ])('at the start loses nothing of a log %s', async (_, segmentBytes) => {
    let happened = 0;
    for (let nth = 0; nth < 4; nth++) {
      for (const bit of BITS) {
        const world = await filled(segmentBytes);
        world.kill();
        const stray = new StrayRead(nth, bit);
        world.disk.judge = stray.judge;
        await world.open();
        if (stray.hasHappened) happened++;
        await expectWhole(world);
      }
    }
    expect(happened).toBeGreaterThan(BITS.length / 2);
  });

  test('of what a reader skips is no damage either', async () => {
    for (const bit of BITS) {
      const world = await filled(1_000_000);
      await world.reopen();
      world.disk.judge = new StrayRead(0, bit).judge;
      expect((await world.readFrom(BATCHES - 1)).batches).toHaveLength(1);
      await expectWhole(world);
    }
  });

  test('of a reader, or of a search by time, is no damage', async () => {
    for (const bit of BITS) {
      const world = await filled(250);
      await world.reopen();
      world.disk.judge = new StrayRead(0, bit).judge;
      expect((await world.readFrom(0)).batches).toHaveLength(BATCHES);
      world.disk.judge = new StrayRead(0, bit).judge;
      const found = await world.drive(world.log.findTimestamp(0, world.log.endOffset));
      expect(found).toMatchObject({ offset: 0 });
      await expectWhole(world);
    }
  });
});

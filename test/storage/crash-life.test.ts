// A scripted life of a log (appends, group commits, rolls, growing indexes, retention, deleted records, a cut, clean stops) ended
// at every change of the disk, by a kill and by losses of power that keep any part of what was not synced, each page on its
// own and torn at 512 bytes; and the recovery behind it ended at every change of the disk as well.
//
//   SLUICE_CRASH_RUNS=full npm test -- test/storage/crash-life.test.ts     all of it; otherwise a share

import { describe, expect, test } from 'vitest';
import { isFull, stride } from './crash-share.ts';
import type { Death } from './cut-short.ts';
import { countChanges, type LifeOptions, LogLife } from './log-life.ts';

const SEEDS = isFull ? 8 : 2;

/** Ends the life at the change, recovers (ended at its own change, where that is not 0), and judges what is left. */
const endedAt = async (options: LifeOptions, life: number, opening: number, death: Death): Promise<void> => {
  const lived = await LogLife.start(options);
  const isOver = await lived.cutShort(() => lived.script(), life, death);
  if (isOver) throw new Error(`the life has no change ${life}`);
  try {
    await lived.recover(opening, death);
  } catch (cause) {
    throw new Error(`seed ${options.seed}, ${death} at change ${life}, then at ${opening}`, { cause });
  }
};

describe('a life of a log', () => {
  test('has changes of the disk to be ended at', async () => {
    const { life, opening } = await countChanges({ seed: 'count' });
    expect(life).toBeGreaterThan(200);
    expect(opening).toBeGreaterThan(15);
  });

  test.each(['power', 'kill'] as const)(
    'ended at any change of the disk keeps its promises: %s',
    { timeout: 1_800_000 },
    async death => {
      let runs = 0;
      for (let seed = 0; seed < SEEDS; seed++) {
        // Small ones within a page, and such that a write covers several.
        const options = { seed: `life ${seed}`, scale: seed % 2 === 0 ? 1 : 23 };
        const { life } = await countChanges(options);
        for (let change = 1 + (seed % stride(7)); change <= life; change += stride(7)) {
          await endedAt(options, change, 0, death);
          runs++;
        }
      }
      expect(runs).toBeGreaterThan(60);
    },
  );

  test.each(['power', 'kill'] as const)(
    'and ended again at any change of its recovery: %s',
    { timeout: 3_600_000 },
    async death => {
      const options = { seed: 'again', scale: 23 };
      const { life, opening } = await countChanges(options);
      let runs = 0;
      for (let change = 1; change <= life; change += stride(37)) {
        for (let second = 1; second <= opening + 20; second += stride(5)) {
          await endedAt(options, change, second, death);
          runs++;
        }
      }
      expect(runs).toBeGreaterThan(50);
    },
  );
});

describe('a disk that breaks its own promises is noticed', () => {
  const isNoticed = async (options: Partial<LifeOptions>, step: number): Promise<boolean> => {
    for (let seed = 0; seed < 4; seed++) {
      const { life } = await countChanges({ ...options, seed: `liar ${seed}` });
      for (let change = 1 + seed; change <= life; change += step) {
        try {
          await endedAt({ ...options, seed: `liar ${seed}` }, change, 0, 'power');
        } catch {
          return true;
        }
      }
    }
    return false;
  };

  test.each<[string, Partial<LifeOptions>]>([
    ['syncs of records', { losesSyncsOf: /\.log$/ }],
    ['syncs of the store', { losesSyncsOf: /store-\d/ }],
    ['names in the folder of the partition', { losesNamesIn: /t-0$/ }],
    ['names in the data directory, renamed copies of the store among them', { losesNamesIn: /data$/ }],
  ])('when it forgets %s', async (_, options) => {
    expect(await isNoticed(options, 1)).toBe(true);
  });

  test.each<[string, Partial<LifeOptions>]>([
    ['nothing', {}],
    ['syncs of what is built from the log, which is built again', { losesSyncsOf: /leader-epoch-checkpoint|index$/ }],
  ])('and is not when it forgets %s', { timeout: 600_000 }, async (_, options) => {
    expect(await isNoticed(options, stride(41))).toBe(false);
  });
});

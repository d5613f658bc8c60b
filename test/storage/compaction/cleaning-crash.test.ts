// Cleanings ended at every change of the disk, by a kill and by losses of power, and the recovery behind them ended at every change as well:
// the log is the one before or the one after, and never a mixture.
//
//   SLUICE_CRASH_RUNS=full npm test -- test/storage/compaction     all of it; otherwise a share

import assert from 'node:assert/strict';
import { offset } from '@sluice/protocol/ids';
import { describe, expect, test } from 'vitest';
import type { Finding } from '../../../server/storage/finding.ts';
import { checkLog } from '../../../server/storage/log-check.ts';
import { MarksView } from '../../../server/storage/log-marks.ts';
import { readStore } from '../../../server/storage/node-store.ts';
import { usual } from '../../simulation/disk.ts';
import { isFull, stride } from '../crash-share.ts';
import { type Death, isChange } from '../cut-short.ts';
import { DATA, PARTITION } from '../log-world.ts';
import { judgeFiles } from '../partition-files.ts';
import { KeyedLog } from './keyed-log.ts';
import { RandomKeys } from './random-keys.ts';

/** Runs `begin` until it is done or the given change of the disk, at which the world ends. Answers how many changes there were. */
const cutShort = async (
  keyed: KeyedLog,
  begin: () => Promise<unknown>,
  { change, death }: { readonly change: number; readonly death: Death },
): Promise<{ readonly isDone: boolean; readonly changes: number }> => {
  const { world } = keyed;
  const progress = { isDone: false, isDead: false, changes: 0 };
  world.disk.judge = call => {
    if (isChange(call) && ++progress.changes === change) {
      progress.isDead = true;
      if (death === 'power') world.crash();
      else world.kill();
    }
    return usual;
  };
  let failure: unknown = null;
  begin().then(
    () => (progress.isDone = true),
    (cause: unknown) => {
      failure = cause;
      progress.isDone = true;
    },
  );
  await world.scheduler.driveUntil(() => progress.isDone || progress.isDead);
  world.disk.judge = () => usual;
  if (failure !== null) throw failure;
  return { isDone: progress.isDone, changes: progress.changes };
};

/** A log with several segments, epochs and a part that was cleaned before; everything is durable. */
const lived = async (seed: string): Promise<KeyedLog> => {
  const keyed = await KeyedLog.start({ seed, settings: { segmentBytes: 1_400 } });
  const keys = new RandomKeys(keyed.world.random, keyed.world);
  const turns = async (count: number): Promise<void> => {
    for (let turn = 0; turn < count; turn++) await keyed.appendDurably(keys.records(6));
  };
  await turns(8);
  keyed.world.beginEpoch(3);
  await turns(6);
  assert.equal((await keyed.clean()).kind, 'cleaned');
  await keyed.world.drive(keyed.log.advanceStart(offset(4)));
  keyed.world.beginEpoch(4);
  keyed.world.beginEpoch(6);
  await turns(10);
  await keyed.settled();
  await keyed.pass(12_000);
  return keyed;
};

/** All of it, twice, with retention between. */
const script = async (keyed: KeyedLog): Promise<void> => {
  const first = await keyed.beginClean({ mapBytesMax: 2_500 });
  assert.equal(first.kind, 'cleaned');
  await keyed.beginClean();
  await keyed.log.advanceStart(offset(keyed.log.cleanTo - 3));
};

/** What the doctor calls damage, or not as it should be, of what a crash left. */
const examine = async (keyed: KeyedLog): Promise<readonly Finding[]> => {
  const { world } = keyed;
  const disk = world.disk.mount();
  const findings: Finding[] = [];
  const look = async (): Promise<void> => {
    const { values } = await readStore(disk, DATA);
    const marks = new MarksView({ get: key => values.get(key) ?? null }, 't/0');
    const counts = { segments: 0, batches: 0, records: 0, bytes: 0 };
    await checkLog({ disk, directory: PARTITION, marks, counts, found: finding => findings.push(finding) });
  };
  await world.drive(look());
  world.disk.kill();
  return findings.filter(({ grade }) => grade === 'damage');
};

/** Opens the log, ends that at the given change of the disk (0: does not), and opens it again; then everything must hold. */
const recover = async (keyed: KeyedLog, change: number, death: Death): Promise<void> => {
  const { world } = keyed;
  const { isDone } = await cutShort(keyed, () => world.beginOpen(), { change, death });
  if (!isDone) await world.open();
  const end = keyed.appended.at(-1)!.offset + 1;
  assert.equal(keyed.log.endOffset, end, 'nothing is lost at the end');
  await keyed.judge();
  assert.deepEqual(world.files('.new'), []);
  await keyed.appendDurably([{ key: 'behind', value: 'it', timestamp: world.clock.wallMs() }]);
  await keyed.clean();
  await keyed.judge();
  await world.close();
  assert.deepEqual(judgeFiles(world.disk, PARTITION).faults, []);
  await world.open();
  world.crash(0);
  await world.open();
  await keyed.judge();
};

const endedAt = async (seed: string, { first, second, death }: { first: number; second: number; death: Death }) => {
  const keyed = await lived(seed);
  const { isDone } = await cutShort(keyed, () => script(keyed), { change: first, death });
  if (isDone) throw new Error(`the life has no change ${first}`);
  try {
    assert.deepEqual(await examine(keyed), []);
    await recover(keyed, second, death);
  } catch (cause) {
    throw new Error(`seed ${seed}, ${death} at change ${first}, then at ${second}`, { cause });
  }
};

const changesOf = async (seed: string): Promise<{ readonly life: number; readonly opening: number }> => {
  const keyed = await lived(seed);
  const { changes: life } = await cutShort(keyed, () => script(keyed), { change: -1, death: 'kill' });
  keyed.world.crash();
  const { changes: opening } = await cutShort(keyed, () => keyed.world.beginOpen(), { change: -1, death: 'kill' });
  return { life, opening };
};

const SEEDS = isFull ? 6 : 2;

describe('a cleaning', () => {
  test.each(['power', 'kill'] as const)(
    'ended at any change of the disk leaves the log before it or behind it: %s',
    { timeout: 1_800_000 },
    async death => {
      let runs = 0;
      for (let seed = 0; seed < SEEDS; seed++) {
        const { life } = await changesOf(`cleaning ${seed}`);
        expect(life).toBeGreaterThan(80);
        for (let first = 1 + (seed % stride(7)); first <= life; first += stride(7)) {
          await endedAt(`cleaning ${seed}`, { first, second: 0, death });
          runs++;
        }
      }
      expect(runs).toBeGreaterThan(25);
    },
  );

  test.each(['power', 'kill'] as const)(
    'and ended again at any change of its recovery: %s',
    { timeout: 3_600_000 },
    async death => {
      const { life, opening } = await changesOf('again');
      let runs = 0;
      for (let first = 1; first <= life; first += stride(23)) {
        for (let second = 1; second <= opening + 12; second += stride(5)) {
          await endedAt('again', { first, second, death });
          runs++;
        }
      }
      expect(runs).toBeGreaterThan(10);
    },
  );
});

// Whatever lies in a partition's folder and in the store, a start reads it or is refused with a reason, and has an end; what is
// read then is whole batches or named as damaged, and the log goes on from there.
//
// `FUZZ_INPUTS` and `FUZZ_SEED` as in decoders.test.ts: one folder in a thousand inputs. FUZZ_FROM replays from one folder on.

import { offset } from '@sluice/protocol/ids';
import {
  crc32c,
  inspectBatch,
  readBaseOffset,
  readBatchBytes,
  readLastOffset,
  sealBatch,
} from '@sluice/protocol/record';
import { expect, test } from 'vitest';
import { StartRefusal } from '../../server/base/start-refusal.ts';
import { SeededRandom } from '../simulation/random.ts';
import { DATA, LogWorld, PARTITION } from '../storage/log-world.ts';
import { mutated } from './decoder-run.ts';

const FOLDERS = Math.ceil(Number(process.env['FUZZ_INPUTS'] ?? 60_000) / 1_000);
const SEED = process.env['FUZZ_SEED'] ?? String(Date.now());
const FROM = Number(process.env['FUZZ_FROM'] ?? 0);
const SLOW_MS = 1_000;
const HANG_MS = 10_000;

const LIMITS = { bytesMax: 2 ** 30, verifyCrc: false };

type Files = ReadonlyMap<string, Uint8Array>;

const settings = { segmentBytes: 500, indexIntervalBytes: 100 };

/** Segments of two epochs; where the process was killed, with a tail that the store does not know of. */
const makeFiles = async (isKilled: boolean): Promise<Files> => {
  const world = await LogWorld.start({ seed: 'sound', settings });
  for (let batch = 0; batch < 8; batch++) {
    await world.appendDurably({ count: 2, name: `r${batch}`, timestamp: 1_000 + batch * 10 }, batch < 5 ? 1 : 3);
  }
  await world.scheduler.advance(1_100);
  await world.appendDurably({ count: 1, name: 'tail' }, 3);
  await world.appendDurably({ count: 2, name: 'tail' }, 3);
  if (isKilled) world.kill();
  else await world.close();
  return new Map(world.disk.filePaths().map(path => [path, Uint8Array.from(world.disk.contents(path))]));
};

const isOurs = (path: string): boolean => path.startsWith(`${PARTITION}/`) || path.startsWith(`${DATA}/store-`);

/** A machine that was switched off, with these files. */
const worldWith = async (seed: string, files: Files): Promise<LogWorld> => {
  const world = await LogWorld.start({ seed, settings });
  world.kill();
  for (const path of world.disk.filePaths().filter(isOurs)) world.disk.erase(path);
  for (const [path, bytes] of files) if (isOurs(path)) world.disk.plant(path, Uint8Array.from(bytes));
  return world;
};

/** Good checksums where there is room for them: what only a mistake in a broker would write. */
const withChecksums = (path: string, bytes: Uint8Array): Uint8Array => {
  if (path.endsWith('.log')) {
    for (let at = 0; at + 61 <= bytes.length; ) {
      const batchBytes = readBatchBytes(bytes, at);
      if (batchBytes < 61 || at + batchBytes > bytes.length) break;
      sealBatch(bytes.subarray(at, at + batchBytes));
      at += batchBytes;
    }
    return bytes;
  }
  if (!/store-\d$/.test(path)) return bytes;
  const sealed = Buffer.from(bytes)
    .toString('latin1')
    .split('\n')
    .map(line => {
      if (line.length < 10 || line.startsWith('\0')) return line;
      const json = line.slice(9);
      return `${crc32c(Buffer.from(json, 'latin1')).toString(16).padStart(8, '0')} ${json}`;
    });
  return Buffer.from(sealed.join('\n'), 'latin1');
};

const spoil = (world: LogWorld, random: SeededRandom): void => {
  for (let files = random.between(1, 3); files > 0; files--) {
    const path = random.pick(world.disk.filePaths().filter(isOurs));
    const bytes = world.disk.contents(path);
    // Of the store the zeros behind its lines are left out.
    const used = path.includes('/store-') ? bytes.findLastIndex(byte => byte !== 0) + 1 : bytes.length;
    let changed = Uint8Array.from(bytes.subarray(0, used));
    for (let rounds = random.between(1, 3); rounds > 0; rounds--) changed = Uint8Array.from(mutated(changed, random));
    if (random.chance(0.4)) changed = Uint8Array.from(withChecksums(path, changed));
    const both = path.includes('/store-') && random.chance(0.5);
    for (const target of both ? [`${DATA}/store-0`, `${DATA}/store-1`] : [path]) {
      if (world.disk.filePaths().includes(target)) world.disk.erase(target);
      if (!random.chance(0.05)) world.disk.plant(target, changed);
    }
  }
};

/** Reads everything: every answer brings the reader further. */
const readAll = async (world: LogWorld): Promise<void> => {
  const { log } = world;
  for (let at: number = log.startOffset; at < log.durableOffset; ) {
    const outcome = await world.drive(log.read(offset(at), { endMax: log.durableOffset, bytesMax: 300 }));
    let next = at;
    if (outcome.kind === 'damaged') next = outcome.range.to;
    else if (outcome.kind === 'batches') {
      for (const batch of outcome.batches) {
        const inspection = inspectBatch(batch, 0, { ...LIMITS, verifyCrc: true });
        if (!inspection.ok || readBaseOffset(batch, 0) > next)
          throw new Error(
            `no batch of offset ${next}: ${JSON.stringify({ inspection, base: readBaseOffset(batch, 0), start: log.startOffset, end: log.endOffset })}`,
          );
        next = readLastOffset(batch, 0) + 1;
      }
    }
    if (next <= at) throw new Error(`offset ${at} answers ${outcome.kind}`);
    at = next;
  }
  for (const timestamp of [0, 1_030, 2_000]) await world.drive(log.findTimestamp(timestamp, log.durableOffset));
};

type Fate = 'read' | 'refused';

const startOver = async (folder: number, scenes: readonly Files[]): Promise<Fate> => {
  const random = new SeededRandom(`${SEED}/folder/${folder}`);
  const world = await worldWith(`${SEED}/${folder}`, random.pick(scenes));
  spoil(world, random);
  try {
    await world.open();
    await readAll(world);
    if (random.chance(0.3)) {
      world.kill();
      await world.acceptLoss();
      await world.open();
      await readAll(world);
    }
    const { endOffset } = await world.appendDurably({ count: 2, name: 'new' }, 9);
    await world.reopen();
    await readAll(world);
    if (world.log.endOffset < endOffset) throw new Error('an acknowledged record is gone');
    await world.close();
    return 'read';
  } catch (error) {
    if (error instanceof StartRefusal && error.message.length > 40) return 'refused';
    throw new Error(`folder ${folder} of FUZZ_SEED=${SEED}`, { cause: error });
  }
};

test('any bytes in the files of a partition are read, named as damaged or refused', {
  timeout: 7_200_000,
}, async () => {
  const scenes = [await makeFiles(true), await makeFiles(false)];
  const fates = new Map<Fate, number>();
  let slowestMs = 0;
  for (let folder = FROM; folder < FROM + FOLDERS; folder++) {
    const startedMs = performance.now();
    const fate = await startOver(folder, scenes);
    const tookMs = performance.now() - startedMs;
    fates.set(fate, (fates.get(fate) ?? 0) + 1);
    if (tookMs > SLOW_MS) console.log(`slow: folder ${folder}, ${tookMs.toFixed(0)} ms`);
    slowestMs = Math.max(slowestMs, tookMs);
  }
  console.log(
    `${FOLDERS} folders, FUZZ_SEED=${SEED}: ${JSON.stringify([...fates])}, slowest ${slowestMs.toFixed(0)} ms`,
  );
  expect(fates.get('read')).toBeGreaterThan(0);
  expect(slowestMs).toBeLessThan(HANG_MS);
});

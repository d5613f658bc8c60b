// A data directory, one bit of it flipped, opened and read whole: what came of it.
//
//   refused     the start is refused, with a reason
//   damaged     some offsets answer that they cannot be read, with file and position; all others are served
//   cut         an end above the sync point is gone: not to be told from a write that a crash tore
//   whole       everything is served as it was: the flip was in what is kept twice, built again, or means nothing
//
// Anything else throws: a wrong byte, a record that is missing without a word, a file that was deleted, another exception.

import assert from 'node:assert/strict';
import { leaderEpoch, offset, topicId } from '@sluice/protocol/ids';
import { readBaseOffset, readLastOffset } from '@sluice/protocol/record';
import { StartRefusal } from '../../server/base/start-refusal.ts';
import { readFormerCatalogue } from '../../server/broker/former-catalogue.ts';
import type { Clock } from '../../server/io/clock.ts';
import { formatChecked } from '../../server/storage/checked-document.ts';
import { DataDirectory, type PartitionName } from '../../server/storage/data-directory.ts';
import type { LogSettings } from '../../server/storage/log-settings.ts';
import type { PartitionLog } from '../../server/storage/partition-log.ts';
import { SeededRandom } from '../simulation/random.ts';
import { type BatchPlan, makeBatch, recordsOf } from './batches.ts';
import { settingsFor } from './log-world.ts';
import { StillDisk } from './still-disk.ts';

export type Outcome = 'refused' | 'damaged' | 'cut' | 'whole';

const ROOT = '/data';
const nothing = (): void => {};
const logger = { debug: nothing, info: nothing, warn: nothing, error: nothing, fatal: nothing };

/** Time stands: no timer fires, so nothing of the store is written but what somebody waits for. */
const stillClock: Clock = {
  wallMs: () => 1_800_000_000_000,
  monotonicMs: () => 0,
  schedule: () => ({ cancel: nothing }),
  defer: action => queueMicrotask(action),
};

const openDirectory = (disk: StillDisk): Promise<DataDirectory> =>
  DataDirectory.open({
    disk,
    clock: stillClock,
    random: new SeededRandom('directory'),
    locks: {
      acquire: () => Promise.resolve({ isHeld: () => Promise.resolve(true), release: () => Promise.resolve() }),
    },
    path: ROOT,
    nodeId: 1,
    logger,
    onSync: nothing,
    storeFailed: fault => {
      throw fault;
    },
  });

interface TruthOfBatch {
  readonly nextOffset: number;
  readonly bytes: Buffer;
}

interface TruthOfLog {
  readonly name: PartitionName;
  readonly settings: LogSettings;
  readonly start: number;
  readonly end: number;
  /** Up to here the store vouches. */
  readonly synced: number;
  readonly batches: ReadonlyMap<number, TruthOfBatch>;
  readonly times: readonly { readonly offset: number; readonly timestamp: number }[];
}

export interface Scene {
  readonly disk: StillDisk;
  readonly identity: string;
  readonly catalogue: string;
  readonly logs: readonly TruthOfLog[];
}

const settings = settingsFor({ segmentBytes: 900, indexIntervalBytes: 150 });
const names: readonly PartitionName[] = [
  { topic: 'orders', topicId: topicId('11111111-2222-4333-8444-555555555555'), partition: 0 },
  { topic: 'plain', topicId: topicId('99999999-2222-4333-8444-555555555555'), partition: 0 },
];

const settled = async (log: PartitionLog): Promise<void> => {
  while (log.durableOffset < log.endOffset) await new Promise<void>(resolve => setImmediate(resolve));
};

const fill = async (log: PartitionLog, plans: readonly (BatchPlan & { readonly epoch: number })[]): Promise<void> => {
  for (const { epoch, ...plan } of plans) {
    const at: number = log.endOffset;
    if (epoch !== log.leaderEpoch) log.appendEpochStart(leaderEpoch(epoch));
    log.append([makeBatch({ ...plan, timestamp: 1_700_000_000_000 + at * 10, name: `r${at}` })], leaderEpoch(epoch));
    await settled(log);
  }
};

const many = (count: number, epoch: number, valueBytes: number): (BatchPlan & { readonly epoch: number })[] =>
  Array.from({ length: count }, () => ({ epoch, count: 2, valueBytes }));

/** As a directory of format 1 has it. */
const catalogueOf = async (disk: StillDisk): Promise<string> => {
  const catalogue = await readFormerCatalogue(disk, ROOT);
  assert.ok(catalogue !== null, 'a catalogue that is there is read');
  return JSON.stringify([...catalogue.topics]);
};

/** Two topics, one of several segments and epochs; with a tail above the sync point where the process was killed. */
export const makeScene = async (isKilled: boolean): Promise<Scene> => {
  const disk = new StillDisk();
  let directory = await openDirectory(disk);
  const topics = names.map(({ topic, topicId: id }) => {
    const config = { 'retention.ms': '604800000' };
    return { name: topic, id, partition_count: 1, internal: false, config };
  });
  const file = await disk.open(`${ROOT}/topics.json`, 'create');
  await file.write([Buffer.from(formatChecked({ version: 1, topics, deleted: [] }, 1))], 0);
  const open = (name: PartitionName): Promise<PartitionLog> =>
    directory.openLog(name, settings, { durable: nothing, dropped: nothing });
  const orders = await open(names[0]!);
  await fill(orders, [...many(6, 1, 60), ...many(5, 2, 90), ...many(4, 4, 40)]);
  await orders.advanceStart(offset(5));
  const plain = await open(names[1]!);
  await fill(plain, many(4, 0, 50));
  const logs = [orders, plain];
  const synced: number[] = [];
  if (isKilled) {
    for (const log of logs) {
      await log.flush();
      synced.push(log.endOffset);
    }
    await directory.context.store.flush();
    await fill(orders, many(2, 4, 50));
    await fill(plain, many(2, 0, 70));
  } else {
    for (const log of logs) {
      await log.close();
      synced.push(log.endOffset);
    }
    await directory.close();
  }
  const scene = new StillDisk(disk);
  // The truth is read from a copy, so that the scene stays as the process left it.
  const copy = new StillDisk(scene);
  directory = await openDirectory(copy);
  const truths: TruthOfLog[] = [];
  for (const [index, name] of names.entries()) {
    const log = await directory.openLog(name, settings, { durable: nothing, dropped: nothing });
    const batches = new Map<number, TruthOfBatch>();
    const times: { offset: number; timestamp: number }[] = [];
    for (let at: number = log.startOffset; at < log.endOffset; ) {
      const outcome = await log.read(offset(at), { endMax: log.endOffset, bytesMax: 1 });
      assert.ok(outcome.kind === 'batches');
      const bytes = Buffer.from(outcome.batches[0]!);
      at = readLastOffset(bytes, 0) + 1;
      batches.set(readBaseOffset(bytes, 0), { nextOffset: at, bytes });
      for (const record of recordsOf(bytes)) if (record.offset >= log.startOffset) times.push(record);
    }
    truths.push({ name, settings, start: log.startOffset, end: log.endOffset, synced: synced[index]!, batches, times });
  }
  return {
    disk: scene,
    identity: JSON.stringify(directory.identity),
    catalogue: await catalogueOf(copy),
    logs: truths,
  };
};

/** Opens the flipped directory and judges it. */
export const flipAndJudge = async (scene: Scene, path: string, bit: number): Promise<Outcome> => {
  const disk = new StillDisk(scene.disk);
  disk.flip(path, bit);
  const outcomes = new Set<Outcome>();
  try {
    const directory = await openDirectory(disk);
    assert.equal(JSON.stringify(directory.identity), scene.identity, 'another identity');
    assert.equal(await catalogueOf(disk), scene.catalogue, 'another catalogue');
    for (const truth of scene.logs) {
      const log = await directory.openLog(truth.name, truth.settings, { durable: nothing, dropped: nothing });
      outcomes.add(await judgeLog(log, truth));
      await log.close();
    }
    await directory.close();
  } catch (cause) {
    if (!(cause instanceof StartRefusal)) throw cause;
    assert.ok(cause.message.length > 20, 'a refusal says why');
    outcomes.add('refused');
  }
  judgeKept(scene.disk, disk, outcomes.has('cut'));
  for (const outcome of ['refused', 'cut', 'damaged'] as const) if (outcomes.has(outcome)) return outcome;
  return 'whole';
};

const judgeLog = async (log: PartitionLog, truth: TruthOfLog): Promise<Outcome> => {
  assert.equal(log.startOffset, truth.start, 'another log start');
  assert.ok(log.endOffset <= truth.end, 'an end that was never written');
  assert.ok(log.endOffset >= truth.synced, 'an end that was synced is gone');
  let isDamaged = false;
  for (let at = truth.start; at < log.endOffset; ) {
    const outcome = await log.read(offset(at), { endMax: log.endOffset, bytesMax: 400 });
    if (outcome.kind === 'damaged') {
      isDamaged = true;
      assert.ok(
        outcome.range.to > at && outcome.range.from <= at && outcome.range.file !== '',
        'a range that covers it',
      );
      at = outcome.range.to;
      continue;
    }
    assert.ok(outcome.kind === 'batches' && outcome.batches.length > 0, `offset ${at} answers ${outcome.kind}`);
    for (const batch of outcome.batches) {
      const known = truth.batches.get(readBaseOffset(batch, 0));
      assert.ok(known !== undefined && known.bytes.equals(batch), `a wrong byte at offset ${at}`);
      assert.ok(readBaseOffset(batch, 0) <= at && known.nextOffset > at, `offset ${at} gives another place`);
      at = known.nextOffset;
    }
  }
  const isCut = log.endOffset < truth.end;
  await judgeTimes(log, truth, isDamaged || isCut);
  return isCut ? 'cut' : isDamaged ? 'damaged' : 'whole';
};

/** Lookups by time give the first record that is late enough; over damage, one that is. */
const judgeTimes = async (log: PartitionLog, truth: TruthOfLog, isPartial: boolean): Promise<void> => {
  const end = log.endOffset;
  for (let at = 0; at < truth.times.length; at += 5) {
    const { timestamp } = truth.times[at]!;
    const found = await log.findTimestamp(timestamp, end);
    const first = truth.times.find(each => each.timestamp >= timestamp)!;
    if (!isPartial) assert.equal(found?.offset, first.offset, `the record at time ${timestamp}`);
    else if (found !== null) {
      const named = truth.times.find(each => each.offset === found.offset);
      assert.ok(named !== undefined && named.timestamp >= timestamp, `a record at time ${timestamp}`);
    }
  }
};

/** No file of records is gone, and none is shorter unless it was cut. */
const judgeKept = (before: StillDisk, after: StillDisk, isCut: boolean): void => {
  const present = new Set(after.paths());
  for (const path of before.paths()) {
    if (!path.endsWith('.log')) continue;
    assert.ok(present.has(path), `${path} was deleted`);
    if (!isCut) assert.ok(after.contents(path).length >= before.contents(path).length, `${path} was cut`);
  }
};

export interface Target {
  readonly what: string;
  readonly scene: Scene;
  readonly paths: readonly string[];
}

const KINDS: readonly (readonly [string, RegExp])[] = [
  ['.log', /\.log$/],
  ['.index', /\.index$/],
  ['.timeindex', /\.timeindex$/],
  ['checkpoint', /leader-epoch-checkpoint$/],
  ['partition.metadata', /partition\.metadata$/],
  ['store', /store-\d$/],
  ['catalogue', /topics\.json$/],
  ['meta', /meta\.json$/],
];

/** What there is to flip, by kind of file: of a directory closed cleanly, and of one whose process was killed. */
export const targetsOf = async (): Promise<Target[]> => {
  const clean = await makeScene(false);
  const killed = await makeScene(true);
  const targets: Target[] = [];
  for (const [what, pattern] of KINDS) {
    targets.push({ what, scene: clean, paths: clean.disk.paths().filter(path => pattern.test(path)) });
  }
  for (const [what, pattern] of KINDS.slice(0, 3)) {
    targets.push({
      what: `${what} after a kill`,
      scene: killed,
      paths: killed.disk.paths().filter(path => pattern.test(path)),
    });
  }
  return targets;
};

/** Bits to choose from: all of a file, but of the zeros behind the store's lines only some. */
const bitsOf = (scene: Scene, path: string): number => {
  const bytes = scene.disk.contents(path);
  const used = bytes.findLastIndex(byte => byte !== 0) + 1;
  return Math.min(bytes.length, used + 64) * 8;
};

/** Flips `count` bits of the target, spread over all of its files, each as long as there are some that were not; and counts. */
export const flipMany = async (target: Target, count: number): Promise<Map<Outcome, number>> => {
  const outcomes = new Map<Outcome, number>();
  const sizes = target.paths.map(path => bitsOf(target.scene, path));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  // A step without a common divisor visits every bit before any of them twice.
  const step = stepFor(total);
  for (let run = 0, at = 0; run < count; run++, at = (at + step) % total) {
    let bit = at;
    let file = 0;
    while (bit >= sizes[file]!) bit -= sizes[file++]!;
    const path = target.paths[file]!;
    try {
      const outcome = await flipAndJudge(target.scene, path, bit);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    } catch (cause) {
      throw new Error(`${target.what}: bit ${bit} of ${path}`, { cause });
    }
  }
  return outcomes;
};

const stepFor = (total: number): number => {
  const divisor = (left: number, right: number): number => (right === 0 ? left : divisor(right, left % right));
  let step = Math.floor(total * 0.618) | 1;
  while (divisor(total, step) !== 1) step += 2;
  return step;
};

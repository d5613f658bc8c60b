// A list of operations on the log of a partition, run on the real thing (on a simulated disk) and on a model that fits on a
// page: a list of batches, where it starts, and up to where it was said to be durable.
//
// What must hold, whatever happens:
// - Nothing that was said to be durable is lost, and what is left is a beginning of what was appended, byte for byte.
// - Reads give whole batches in order, from the one that covers the offset on, within their limits.
// - A lookup by time finds the first record that is at least as late.
// - Nothing is called damaged unless it was damaged.
// - After a clean stop the files are as the format says, indexes included.

import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { readBaseOffset, readLastOffset } from '@sluice/protocol/record';
import type { FlushMode } from '../../server/storage/log-settings.ts';
import { type BatchPlan, makeBatch, type ReadRecord, recordsOf } from '../storage/batches.ts';
import { LogWorld, PARTITION, type WorldOptions } from '../storage/log-world.ts';
import { judgeFiles } from '../storage/partition-files.ts';
import { usual } from '../simulation/disk.ts';

// ---- The model ---------------------------------------------------------------------------------------------------

interface ModelBatch {
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly bytes: Uint8Array;
  readonly records: readonly ReadRecord[];
}

class Model {
  batches: ModelBatch[] = [];
  /** The log start that was asked for and confirmed, and one that was asked for when a crash came. */
  start = 0;
  askedStart = 0;
  /** Below this, a crash of the power loses nothing; below `noticed`, the end of a process loses nothing. */
  synced = 0;
  noticed = 0;
  epoch = 1;
  timestamp = 1_000_000;

  get end(): number {
    return Math.max(this.batches.at(-1)?.nextOffset ?? 0, this.start);
  }

  cut(end: number): void {
    this.batches = this.batches.filter(batch => batch.nextOffset <= end);
    this.synced = Math.min(this.synced, end);
    this.noticed = Math.min(this.noticed, end);
  }

  indexOf(at: number): number {
    return this.batches.findIndex(batch => batch.nextOffset > at);
  }

  /** Offsets at which a batch ends, and the start. */
  boundaries(): number[] {
    return [this.start, ...this.batches.map(batch => batch.nextOffset).filter(next => next > this.start)];
  }

  firstAtOrAfter(timestamp: number, endMax: number): { offset: number; timestampMs: number } | null {
    for (const batch of this.batches) {
      if (batch.nextOffset > endMax) break;
      const found = batch.records.find(record => record.offset >= this.start && record.timestamp >= timestamp);
      if (found !== undefined) return { offset: found.offset, timestampMs: found.timestamp };
    }
    return null;
  }
}

// ---- Operations --------------------------------------------------------------------------------------------------

/** How an operation ends: it is waited for, or a crash comes after some steps of the scheduler. */
type Ending = { readonly kind: 'waited' } | { readonly kind: 'killed' | 'power'; readonly steps: number };

export type Operation =
  | { readonly do: 'append'; readonly plans: readonly BatchPlan[]; readonly newEpoch: boolean; readonly late: number }
  | { readonly do: 'settle'; readonly ending: Ending }
  | { readonly do: 'flush'; readonly ending: Ending }
  | { readonly do: 'steps'; readonly count: number }
  | { readonly do: 'tick'; readonly ms: number }
  | { readonly do: 'read'; readonly at: number; readonly bytesMax: number }
  | { readonly do: 'find'; readonly late: number }
  | { readonly do: 'cut'; readonly at: number; readonly settles: boolean; readonly ending: Ending }
  | { readonly do: 'deleteRecords'; readonly at: number; readonly ending: Ending }
  | {
      readonly do: 'retention';
      readonly keepBytes: number | null;
      readonly keepMs: number | null;
      readonly ending: Ending;
    }
  | { readonly do: 'reopen'; readonly closing: Ending; readonly opening: Ending }
  | { readonly do: 'full'; readonly roomBytes: number }
  | { readonly do: 'failSync' };

const ending: fc.Arbitrary<Ending> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Ending>({ kind: 'waited' }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('killed' as const), steps: fc.nat(25) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('power' as const), steps: fc.nat(25) }) },
);

/** A place in the log, in thousandths of it. */
const place = fc.nat(1_000);

const plan: fc.Arbitrary<BatchPlan> = fc.record({
  count: fc.integer({ min: 1, max: 5 }),
  valueBytes: fc.constantFrom(1, 10, 60, 300, 1_500, 6_000),
});

export const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 14,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      plans: fc.array(plan, { minLength: 1, maxLength: 3 }),
      newEpoch: fc.nat(9).map(draw => draw === 0),
      late: fc.integer({ min: -400, max: 600 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('settle' as const), ending }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('flush' as const), ending }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('steps' as const), count: fc.nat(15) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('tick' as const), ms: fc.constantFrom(10, 1_100, 60_000) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('read' as const), at: place, bytesMax: fc.nat(20_000) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('find' as const), late: fc.integer({ min: -1_000, max: 6_000 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cut' as const), at: place, settles: fc.boolean(), ending }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('deleteRecords' as const), at: place, ending }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('retention' as const),
      keepBytes: fc.option(fc.nat(40_000)),
      keepMs: fc.option(fc.constantFrom(1, 100_000)),
      ending,
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('reopen' as const), closing: ending, opening: ending }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('full' as const), roomBytes: fc.nat(20_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('failSync' as const) }) },
);

export interface Setting {
  readonly seed: number;
  readonly flushMode: FlushMode;
  readonly segmentBytes: number;
  readonly indexIntervalBytes: number;
  readonly tailCacheBytes: number;
  /** A leader begins an epoch when it takes over; a broker that is alone keeps one for ever. */
  readonly epochPerStart: boolean;
}

export const setting: fc.Arbitrary<Setting> = fc.record({
  seed: fc.nat(),
  flushMode: fc.constantFrom<FlushMode>('sync', 'sync', 'interval'),
  segmentBytes: fc.constantFrom(2_000, 10_000, 40_000, 10_000_000),
  indexIntervalBytes: fc.constantFrom(1, 500, 4_096),
  tailCacheBytes: fc.constantFrom(0, 5_000, 1_000_000),
  epochPerStart: fc.boolean(),
});

// ---- Running them on both ----------------------------------------------------------------------------------------

class Run {
  readonly model = new Model();
  readonly world: LogWorld;
  readonly #how: Setting;
  /** Of the last durable notice: generations rise within a life. */
  #generation = 0;

  constructor(world: LogWorld, how: Setting) {
    this.world = world;
    this.#how = how;
  }

  async perform(operation: Operation): Promise<void> {
    const { world, model } = this;
    switch (operation.do) {
      case 'append':
        this.#append(operation.plans, operation.newEpoch, operation.late);
        break;
      case 'settle':
        await this.#ending(operation.ending, this.#settled());
        break;
      case 'flush':
        await this.#flush(operation.ending);
        break;
      case 'steps':
        for (let step = 0; step < operation.count; step++) await world.scheduler.step();
        break;
      case 'tick':
        await world.scheduler.advance(operation.ms);
        break;
      case 'read':
        await this.#read(Math.floor((this.#durable() * operation.at) / 1_000), operation.bytesMax);
        break;
      case 'find':
        await this.#find(1_000_000 + operation.late);
        break;
      case 'cut':
        if (operation.settles) await this.#settle();
        await this.#cut(operation.at, operation.ending);
        break;
      case 'deleteRecords':
        await this.#advance(Math.floor((this.#durable() * operation.at) / 1_000), operation.ending);
        break;
      case 'retention':
        await this.#retention(operation.keepBytes, operation.keepMs, operation.ending);
        break;
      case 'reopen':
        await this.#reopen(operation.closing, operation.opening);
        break;
      case 'full':
        await this.#full(operation.roomBytes);
        break;
      case 'failSync':
        await this.#failSync();
        break;
    }
    this.#note();
    const { log } = world;
    assert.equal(log.startOffset, model.start);
    assert.equal(log.endOffset, model.end);
    assert.ok(log.durableOffset <= model.end);
    assert.deepEqual(log.damagedRanges, []);
  }

  /** Everything readable equals the model, and so do the files after a clean stop. */
  async finish(): Promise<void> {
    const { world, model } = this;
    await this.#settle();
    await this.#compare();
    await world.close();
    const { segments, faults } = judgeFiles(world.disk, PARTITION);
    assert.deepEqual(faults, []);
    const stored = segments.flatMap(segment => segment.batches.map(batch => hex(batch.bytes)));
    const kept = model.batches.slice(model.batches.length - stored.length);
    assert.deepEqual(
      stored,
      kept.map(batch => hex(batch.bytes)),
    );
    const first = kept[0];
    if (first !== undefined) assert.ok(first.baseOffset <= model.start);
    await world.open();
    await this.#compare();
    assert.ok(world.disk.openPaths.length < 20);
  }

  #append(plans: readonly BatchPlan[], newEpoch: boolean, late: number): void {
    const { world, model } = this;
    if (newEpoch) model.epoch++;
    const batches = plans.map((one, index) => {
      model.timestamp = 1_000_000 + model.end * 10 + late + index;
      return makeBatch({ ...one, timestamp: model.timestamp, name: `${model.end}` });
    });
    const before = model.end;
    const outcome = world.log.append(batches, leaderEpoch(model.epoch));
    if (!outcome.ok) {
      assert.equal(outcome.refusal, world.log.state);
      return;
    }
    assert.equal(outcome.baseOffset, before);
    for (const bytes of batches) {
      // The log owns the buffer; the model keeps what was stamped into it.
      const copy = new Uint8Array(bytes);
      const baseOffset = readBaseOffset(copy, 0);
      assert.equal(baseOffset, model.end);
      model.batches.push({
        baseOffset,
        nextOffset: readLastOffset(copy, 0) + 1,
        bytes: copy,
        records: recordsOf(copy),
      });
    }
    assert.equal(outcome.endOffset, model.end);
  }

  #durable(): number {
    return this.world.log.durableOffset;
  }

  /** Takes in what the listener was told. */
  #note(): void {
    const { world, model } = this;
    for (const notice of world.notices.splice(0)) {
      assert.ok(notice.generation >= this.#generation);
      this.#generation = notice.generation;
      assert.ok(notice.endOffset <= model.end);
      model.noticed = Math.max(model.noticed, notice.endOffset);
    }
    if (this.#how.flushMode === 'sync') model.synced = model.noticed;
  }

  async #settled(): Promise<void> {
    const { world } = this;
    const { log } = world;
    while (log.state === 'open' && log.durableOffset < log.endOffset) {
      const { promise, resolve } = Promise.withResolvers<void>();
      world.scheduler.after(1, resolve);
      await promise;
    }
  }

  async #settle(): Promise<void> {
    await this.world.drive(this.#settled());
    this.#note();
  }

  /** Waits for the work, or crashes and recovers. Answers whether the work came to its end. */
  async #ending(how: Ending, work: Promise<unknown>): Promise<boolean> {
    if (how.kind === 'waited') {
      await this.world.drive(work);
      return true;
    }
    const progress = { isDone: false };
    const watched = work.finally(() => {
      progress.isDone = true;
    });
    for (let step = 0; step < how.steps && !progress.isDone; step++) await this.world.scheduler.step();
    if (progress.isDone) await watched;
    this.#note();
    this.#crash(how.kind);
    await this.#recover({ kind: 'waited' });
    return progress.isDone;
  }

  #crash(kind: 'killed' | 'power'): void {
    const { world, model } = this;
    if (kind === 'killed') {
      // The kernel keeps what it was given; only the next recovery makes it durable.
      world.kill();
    } else {
      world.crash();
      model.noticed = model.synced;
    }
  }

  /** Opens the log, again after each crash in between, and takes over what it found. */
  async #recover(opening: Ending): Promise<void> {
    const { world, model } = this;
    this.#generation = 0;
    const work = world.beginOpen();
    if (opening.kind !== 'waited') {
      for (let step = 0; step < opening.steps * 4; step++) await world.scheduler.step();
      this.#crash(opening.kind);
      await world.drive(world.beginOpen());
    } else {
      await world.drive(work);
    }
    const { log } = world;
    assert.deepEqual(world.log.damagedRanges, []);
    assert.ok([model.start, model.askedStart].includes(log.startOffset));
    model.start = log.startOffset;
    model.askedStart = log.startOffset;
    assert.ok(log.endOffset >= model.noticed);
    assert.ok([...model.boundaries(), model.start].includes(log.endOffset));
    model.cut(log.endOffset);
    model.noticed = log.endOffset;
    model.synced = log.endOffset;
    if (this.#how.epochPerStart) model.epoch++;
    await this.#compare();
  }

  async #compare(): Promise<void> {
    const { world, model } = this;
    assert.equal(world.log.endOffset, model.end);
    const { batches, stop } = await world.readFrom(model.start);
    assert.equal(stop, null);
    const durable = model.batches.filter(
      batch => batch.nextOffset > model.start && batch.nextOffset <= this.#durable(),
    );
    assert.deepEqual(
      batches.map(hex),
      durable.map(batch => hex(batch.bytes)),
    );
  }

  async #read(at: number, bytesMax: number): Promise<void> {
    const { world, model } = this;
    const endMax = world.log.durableOffset;
    const outcome = await world.drive(world.log.read(offset(at), { endMax, bytesMax }));
    if (at < model.start) {
      assert.equal(outcome.kind, 'below-start');
      return;
    }
    if (outcome.kind !== 'batches') throw new Error(`a read at ${at} gave ${JSON.stringify(outcome)}`);
    const expected = model.batches.slice(model.indexOf(at)).filter(batch => batch.nextOffset <= endMax);
    const given = outcome.batches.map(hex);
    assert.deepEqual(
      given,
      expected.slice(0, given.length).map(batch => hex(batch.bytes)),
    );
    if (at < endMax) assert.ok(given.length > 0);
    const total = outcome.batches.reduce((sum, batch) => sum + batch.length, 0);
    if (given.length > 1) assert.ok(total <= bytesMax);
  }

  async #find(timestamp: number): Promise<void> {
    const { world, model } = this;
    const endMax = world.log.durableOffset;
    const found = await world.drive(world.log.findTimestamp(timestamp, endMax));
    assert.deepEqual(found, model.firstAtOrAfter(timestamp, endMax));
  }

  async #flush(how: Ending): Promise<void> {
    const { world, model } = this;
    const upTo = model.end;
    const isDone = await this.#ending(how, world.log.flush());
    if (how.kind !== 'waited' || !isDone || world.log.state !== 'open') return;
    assert.ok(world.log.durableOffset >= upTo);
    this.#note();
    model.synced = Math.max(model.synced, upTo);
  }

  async #cut(at: number, how: Ending): Promise<void> {
    const { world, model } = this;
    this.#note();
    if (world.log.state !== 'open') return;
    const boundaries = [...model.batches.map(batch => batch.baseOffset).filter(base => base >= model.start), model.end];
    const end = boundaries[Math.floor((boundaries.length * at) / 1_001)] ?? model.end;
    const cutting = world.log.cut(offset(end));
    model.synced = Math.min(model.synced, end);
    model.noticed = Math.min(model.noticed, end);
    if (how.kind !== 'waited') {
      await this.#ending(how, cutting);
      return;
    }
    await world.drive(cutting);
    model.cut(end);
    // Replication cuts because another leader's batches follow.
    model.epoch++;
  }

  async #advance(to: number, how: Ending): Promise<void> {
    const { world, model } = this;
    if (to <= model.start) return;
    model.askedStart = to;
    const isDone = await this.#ending(how, world.log.advanceStart(offset(to)));
    if (isDone) assert.equal(world.log.startOffset, to);
    model.start = world.log.startOffset;
    model.askedStart = model.start;
  }

  async #retention(keepBytes: number | null, keepMs: number | null, how: Ending): Promise<void> {
    const { world, model } = this;
    const limit = world.log.durableOffset;
    world.settings = {
      ...world.settings,
      retentionBytes: keepBytes ?? Number.POSITIVE_INFINITY,
      retentionMs: keepMs ?? Number.POSITIVE_INFINITY,
    };
    world.log.changeSettings(world.settings);
    const start = world.log.retentionStart(model.timestamp + 50_000, limit);
    assert.ok(start <= Math.max(limit, model.start));
    if (keepBytes === null && keepMs === null) assert.equal(start, model.start);
    await this.#advance(start, how);
  }

  async #reopen(closing: Ending, opening: Ending): Promise<void> {
    const { world, model } = this;
    if (closing.kind === 'waited') {
      const wasOpen = world.log.state === 'open';
      const upTo = model.end;
      await world.drive(world.beginClose());
      this.#note();
      if (wasOpen && this.world.drops.length === 0) {
        model.synced = upTo;
        model.noticed = upTo;
      }
    } else {
      const work = world.beginClose();
      work.catch(() => undefined);
      for (let step = 0; step < closing.steps; step++) await world.scheduler.step();
      this.#note();
      this.#crash(closing.kind);
    }
    await this.#recover(opening);
  }

  async #full(roomBytes: number): Promise<void> {
    const { world, model } = this;
    await this.#settle();
    if (world.log.state !== 'open') return;
    world.disk.capacityBytes = world.disk.usedBytes() + roomBytes;
    for (let turn = 0; turn < 4 && world.log.state === 'open'; turn++) {
      this.#append(
        [
          { count: 3, valueBytes: 3_000 },
          { count: 1, valueBytes: 100 },
        ],
        false,
        0,
      );
      await this.#settle();
    }
    world.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    await world.scheduler.advance(2_000);
    this.#note();
    if (world.drops.length > 0) {
      assert.deepEqual(
        world.drops.map(drop => drop.state),
        ['full'],
      );
      assert.ok(world.log.endOffset >= model.noticed);
      model.cut(world.log.endOffset);
      world.drops = [];
    }
    assert.equal(world.log.state, 'open');
  }

  async #failSync(): Promise<void> {
    const { world, model } = this;
    await this.#settle();
    if (world.log.state !== 'open') return;
    world.disk.judge = call =>
      call.kind === 'sync' && call.path.endsWith('.log') ? { kind: 'fault', fault: 'failed' } : usual;
    this.#append([{ count: 2, valueBytes: 500 }], false, 0);
    await world.drive(Promise.all([this.#settled(), world.log.flush()]));
    world.disk.judge = () => usual;
    assert.equal(world.log.state, 'failed');
    assert.deepEqual(
      world.drops.map(drop => drop.state),
      ['failed'],
    );
    assert.deepEqual(world.log.append([makeBatch()], leaderEpoch(model.epoch)), { ok: false, refusal: 'failed' });
    this.#note();
    // What follows the last good sync counts as lost, though some of it may be there.
    this.#crash('power');
    await this.#recover({ kind: 'waited' });
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** Throws where the log and the model differ. */
export const runList = async (
  how: Setting,
  operations: readonly Operation[],
  disk: Pick<WorldOptions, 'losesSyncsOf'> = {},
): Promise<void> => {
  const world = await LogWorld.start({
    seed: `model ${how.seed}`,
    settings: {
      flushMode: how.flushMode,
      segmentBytes: how.segmentBytes,
      indexIntervalBytes: how.indexIntervalBytes,
    },
    tailCacheBytes: how.tailCacheBytes,
    openFilesMax: 5,
    ...disk,
  });
  const run = new Run(world, how);
  for (const each of operations) await run.perform(each);
  await run.finish();
};

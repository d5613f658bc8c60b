// A list of operations on the log of a partition, run on the real thing (on a simulated disk) and on a model that fits on a
// page: a list of entries (batches and epoch starts), where it starts, and up to where it was said to be durable.
//
// What must hold, whatever happens:
// - Nothing that was said to be durable is lost, and what is left is a beginning of what was appended, byte for byte.
// - Reads give whole batches in order, from the one that covers the offset on, within their limits, and never an epoch start.
// - Followers are given what stands behind a position, epoch starts included; the shape tells which positions are held.
// - A lookup by time finds the first record that is at least as late.
// - Nothing is called damaged unless it was damaged.
// - After a clean stop the files are as the format says, indexes included.

import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import {
  encodeEpochStart,
  isEpochStart,
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
  stampBatch,
} from '@sluice/protocol/record';
import { comparePositions, earlier, later, ORIGIN, type Position, positionAt } from '../../server/base/position.ts';
import type { FlushMode } from '../../server/storage/log-settings.ts';
import { type BatchPlan, makeBatch, type ReadRecord, recordsOf } from '../storage/batches.ts';
import { LogWorld, PARTITION, type WorldOptions } from '../storage/log-world.ts';
import { judgeFiles } from '../storage/partition-files.ts';
import { usual } from '../simulation/disk.ts';

// ---- The model ---------------------------------------------------------------------------------------------------

interface Entry {
  /** Behind it. */
  readonly position: Position;
  readonly baseOffset: number;
  readonly bytes: Uint8Array;
  readonly records: readonly ReadRecord[];
}

class Model {
  entries: Entry[] = [];
  /** Before the first entry; raised as the log drops segments. */
  base: Position = ORIGIN;
  /** The log start that was asked for and confirmed, and one that was asked for when a crash came. */
  start = 0;
  askedStart = 0;
  /** Up to here, a crash of the power loses nothing; up to `noticed`, the end of a process loses nothing. */
  synced: Position = ORIGIN;
  noticed: Position = ORIGIN;
  timestamp = 1_000_000;

  get endPosition(): Position {
    return this.entries.at(-1)?.position ?? this.base;
  }

  get end(): number {
    return this.endPosition.offset;
  }

  get epoch(): number {
    return this.endPosition.epoch;
  }

  get batches(): readonly Entry[] {
    return this.entries.filter(entry => entry.position.offset > entry.baseOffset);
  }

  push(bytes: Uint8Array): void {
    const position = positionAt(readLeaderEpoch(bytes, 0), readLastOffset(bytes, 0) + 1);
    this.entries.push({ position, baseOffset: readBaseOffset(bytes, 0), bytes, records: recordsOf(bytes) });
  }

  cut(to: Position): void {
    this.entries = this.entries.filter(entry => comparePositions(entry.position, to) <= 0);
    this.synced = earlier(this.synced, to);
    this.noticed = earlier(this.noticed, to);
  }

  /** What the log has dropped from its beginning. */
  moveBase(to: Position): void {
    this.base = to;
    this.entries = this.entries.filter(entry => comparePositions(entry.position, to) > 0);
  }

  install(base: Position): void {
    this.entries = [];
    this.base = base;
    this.start = base.offset;
    this.askedStart = base.offset;
    this.synced = base;
    this.noticed = base;
  }

  positions(): readonly Position[] {
    return [this.base, ...this.entries.map(entry => entry.position)];
  }

  firstAtOrAfter(timestamp: number, endMax: number): { offset: number; timestampMs: number } | null {
    for (const batch of this.batches) {
      if (batch.position.offset > endMax) break;
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
  | {
      readonly do: 'append';
      readonly plans: readonly BatchPlan[];
      readonly by: 'leader' | 'follower';
      readonly late: number;
    }
  | { readonly do: 'elect'; readonly by: 'leader' | 'follower'; readonly terms: number }
  | { readonly do: 'settle'; readonly ending: Ending }
  | { readonly do: 'flush'; readonly ending: Ending }
  | { readonly do: 'steps'; readonly count: number }
  | { readonly do: 'tick'; readonly ms: number }
  | { readonly do: 'read'; readonly at: number; readonly bytesMax: number }
  | { readonly do: 'follow'; readonly at: number; readonly bytesMax: number }
  | { readonly do: 'find'; readonly late: number }
  | { readonly do: 'cut'; readonly at: number; readonly settles: boolean; readonly ending: Ending }
  | { readonly do: 'install'; readonly terms: number; readonly ahead: number; readonly ending: Ending }
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
      by: fc.constantFrom('leader' as const, 'follower' as const),
      late: fc.integer({ min: -400, max: 600 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('elect' as const),
      by: fc.constantFrom('leader' as const, 'follower' as const),
      terms: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('follow' as const), at: place, bytesMax: fc.nat(20_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('install' as const),
      terms: fc.nat(2),
      ahead: fc.constantFrom(0, 1, 50),
      ending,
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
  /** A snapshot whose install a crash interrupted: the log is the old one or the new one. */
  #pendingInstall: Position | null = null;
  /** The last life ended with a clean stop. */
  #isClean = false;
  #isRecovering = false;
  #noticedBefore: Position = ORIGIN;
  /** In this life. */
  #hasWritten = false;

  constructor(world: LogWorld, how: Setting) {
    this.world = world;
    this.#how = how;
  }

  async perform(operation: Operation): Promise<void> {
    const { world, model } = this;
    switch (operation.do) {
      case 'append':
        this.#append(operation.plans, operation.by, operation.late);
        break;
      case 'elect':
        this.#elect(operation.by, operation.terms);
        break;
      case 'follow':
        await this.#follow(operation.at, operation.bytesMax);
        break;
      case 'install':
        await this.#install(operation);
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
    assert.deepEqual(log.end, model.endPosition);
    assert.ok(comparePositions(log.durable, model.endPosition) <= 0);
    assert.deepEqual(log.damagedRanges, []);
    this.#compareShape();
    const condition = log.state === 'failed' ? 'faulty' : this.#isRecovering ? 'recovering' : 'sound';
    assert.equal(log.condition.kind, condition);
  }

  #compareShape(): void {
    const { world, model } = this;
    const { base, starts, logStart, endOffset } = world.log.shape;
    assert.ok(base.offset <= logStart && logStart <= endOffset);
    // Which segments the log drops is its own affair, but not what stands before those that are left.
    assert.ok(model.positions().some(position => comparePositions(position, base) === 0));
    model.moveBase(base);
    assert.deepEqual(
      starts.map(start => [start.epoch, start.startOffset]),
      model.entries
        .filter(entry => isEpochStart(entry.bytes, 0))
        .map(entry => [entry.position.epoch, entry.baseOffset]),
    );
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
    const kept = model.entries.slice(model.entries.length - stored.length);
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

  #append(plans: readonly BatchPlan[], by: 'leader' | 'follower', late: number): void {
    const { world, model } = this;
    let next = model.end;
    const batches = plans.map((one, index) => {
      model.timestamp = 1_000_000 + model.end * 10 + late + index;
      const batch = makeBatch({ ...one, timestamp: model.timestamp, name: `${model.end}` });
      if (by === 'follower') stampBatch(batch, { baseOffset: next, leaderEpoch: model.epoch });
      next += readLastOffset(batch, 0) - readBaseOffset(batch, 0) + 1;
      return batch;
    });
    const before = model.end;
    const { log } = world;
    const outcome = by === 'leader' ? log.append(batches, leaderEpoch(model.epoch)) : log.appendReplicated(batches);
    if (!outcome.ok) {
      assert.equal(outcome.refusal, log.state);
      return;
    }
    assert.equal(outcome.baseOffset, before);
    // The log owns the buffer; the model keeps what was stamped into it.
    for (const bytes of batches) {
      assert.equal(readBaseOffset(bytes, 0), model.end);
      model.push(new Uint8Array(bytes));
    }
    assert.equal(outcome.endOffset, model.end);
  }

  #elect(by: 'leader' | 'follower', terms: number): void {
    const { world, model } = this;
    const epoch = leaderEpoch(model.epoch + terms);
    const { log } = world;
    const start = encodeEpochStart({
      epoch,
      baseOffset: model.end,
      timestamp: log.state === 'open' ? world.clock.wallMs() : 0,
    });
    const outcome = by === 'leader' ? log.appendEpochStart(epoch) : log.appendReplicated([start.slice()]);
    if (!outcome.ok) assert.equal(outcome.refusal, log.state);
    else model.push(start);
  }

  #durable(): number {
    return this.world.log.durableOffset;
  }

  /** Takes in what the listener was told. */
  #note(): void {
    const { world, model } = this;
    for (const notice of world.notices.splice(0)) {
      assert.ok(notice.generation >= this.#generation);
      this.#hasWritten = true;
      this.#generation = notice.generation;
      assert.ok(comparePositions(notice.position, model.endPosition) <= 0);
      model.noticed = later(model.noticed, notice.position);
    }
    if (this.#how.flushMode === 'sync') model.synced = model.noticed;
  }

  async #settled(): Promise<void> {
    const { world } = this;
    const { log } = world;
    while (log.state === 'open' && comparePositions(log.durable, log.end) < 0) {
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
    this.#noticedBefore = later(this.#noticedBefore, model.noticed);
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
      this.#isClean = false;
      this.#hasWritten = false;
      this.#crash(opening.kind);
      await world.drive(world.beginOpen());
    } else {
      await world.drive(work);
    }
    const { log } = world;
    assert.deepEqual(world.log.damagedRanges, []);
    this.#isRecovering = log.condition.kind === 'recovering';
    if (this.#isClean || this.#how.flushMode === 'sync') assert.equal(log.condition.kind, 'sound');
    else if (this.#hasWritten) assert.equal(log.condition.kind, 'recovering');
    // Sound is who lost nothing, synced or not.
    if (!this.#isRecovering) assert.ok(comparePositions(log.end, this.#noticedBefore) >= 0);
    this.#noticedBefore = ORIGIN;
    this.#isClean = false;
    this.#hasWritten = false;
    const installed = this.#pendingInstall;
    this.#pendingInstall = null;
    if (installed !== null && comparePositions(log.shape.base, installed) === 0) model.install(installed);
    assert.ok([model.start, model.askedStart].includes(log.startOffset));
    model.start = log.startOffset;
    model.askedStart = log.startOffset;
    assert.ok(comparePositions(log.end, model.noticed) >= 0);
    assert.ok(model.positions().some(position => comparePositions(position, log.end) === 0));
    model.cut(log.end);
    model.noticed = log.end;
    model.synced = log.end;
    if (this.#how.epochPerStart) this.#elect('leader', 1);
    await this.#compare();
  }

  async #compare(): Promise<void> {
    const { world, model } = this;
    assert.deepEqual(world.log.end, model.endPosition);
    this.#compareShape();
    const { batches, stop } = await world.readFrom(model.start);
    assert.equal(stop, null);
    const durable = model.batches.filter(
      batch => batch.position.offset > model.start && batch.position.offset <= this.#durable(),
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
    const expected = model.batches.filter(({ position }) => position.offset > at && position.offset <= endMax);
    const given = outcome.batches.map(hex);
    assert.deepEqual(
      given,
      expected.slice(0, given.length).map(batch => hex(batch.bytes)),
    );
    if (at < endMax) assert.ok(given.length > 0);
    const total = outcome.batches.reduce((sum, batch) => sum + batch.length, 0);
    if (given.length > 1) assert.ok(total <= bytesMax);
  }

  async #follow(at: number, bytesMax: number): Promise<void> {
    const { world, model } = this;
    const positions = model.positions();
    const position = positions[Math.floor((positions.length * at) / 1_001)]!;
    const durable = model.entries.filter(
      entry =>
        comparePositions(entry.position, position) > 0 && comparePositions(entry.position, world.log.durable) <= 0,
    );
    const outcome = await world.drive(world.log.readAfter(position, { bytesMax }));
    if (outcome.kind !== 'batches')
      throw new Error(`what follows ${JSON.stringify(position)}: ${JSON.stringify(outcome)}`);
    const expected = model.entries.filter(entry => comparePositions(entry.position, position) > 0);
    const given = outcome.batches.map(hex);
    assert.deepEqual(
      given,
      expected.slice(0, given.length).map(entry => hex(entry.bytes)),
    );
    if (durable.length > 0) assert.ok(given.length > 0);
    const total = outcome.batches.reduce((sum, batch) => sum + batch.length, 0);
    if (given.length > 1) assert.ok(total <= bytesMax);
    for (const other of [positionAt(model.epoch + 1, model.end), positionAt(model.epoch, model.end + 1)]) {
      assert.equal((await world.drive(world.log.readAfter(other, { bytesMax }))).kind, 'not-held');
    }
    if (model.base.offset === 0) return;
    const below = positionAt(model.base.epoch, model.base.offset - 1);
    assert.equal((await world.drive(world.log.readAfter(below, { bytesMax }))).kind, 'below-start');
  }

  async #install({ terms, ahead, ending }: Extract<Operation, { do: 'install' }>): Promise<void> {
    const { world, model } = this;
    this.#note();
    if (world.log.state !== 'open') return;
    const base = positionAt(model.epoch + terms, model.end + ahead);
    const installing = world.log.install(base);
    if (ending.kind === 'waited') {
      await world.drive(installing);
      // Notices of the log that is gone say nothing of the new one.
      world.notices = world.notices.filter(notice => notice.generation === world.log.generation);
      model.install(base);
      return;
    }
    this.#pendingInstall = base;
    await this.#ending(ending, installing);
    assert.equal(this.#pendingInstall, null);
  }

  async #find(timestamp: number): Promise<void> {
    const { world, model } = this;
    const endMax = world.log.durableOffset;
    const found = await world.drive(world.log.findTimestamp(timestamp, endMax));
    assert.deepEqual(found, model.firstAtOrAfter(timestamp, endMax));
  }

  async #flush(how: Ending): Promise<void> {
    const { world, model } = this;
    const upTo = model.endPosition;
    const isDone = await this.#ending(how, world.log.flush());
    if (how.kind !== 'waited' || !isDone || world.log.state !== 'open') return;
    assert.ok(comparePositions(world.log.durable, upTo) >= 0);
    this.#note();
    model.synced = later(model.synced, upTo);
  }

  async #cut(at: number, how: Ending): Promise<void> {
    const { world, model } = this;
    this.#note();
    if (world.log.state !== 'open') return;
    const positions = model.positions();
    const to = positions[Math.floor((positions.length * at) / 1_001)]!;
    const cutting = world.log.cut(to);
    model.synced = earlier(model.synced, to);
    model.noticed = earlier(model.noticed, to);
    // Below its start only a log is cut that lost what others committed.
    model.askedStart = Math.min(model.start, to.offset);
    if (how.kind !== 'waited') {
      await this.#ending(how, cutting);
      return;
    }
    await world.drive(cutting);
    model.cut(to);
    model.start = model.askedStart;
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
      const upTo = model.endPosition;
      await world.drive(world.beginClose());
      this.#note();
      if (wasOpen && this.world.drops.length === 0) {
        model.synced = upTo;
        model.noticed = upTo;
        this.#isClean = true;
      }
    } else {
      const work = world.beginClose();
      work.catch(() => undefined);
      for (let step = 0; step < closing.steps; step++) await world.scheduler.step();
      this.#note();
      // Who can say how far the stop came.
      this.#hasWritten = false;
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
        'leader',
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
      assert.ok(comparePositions(world.log.end, model.noticed) >= 0);
      model.cut(world.log.end);
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
    this.#append([{ count: 2, valueBytes: 500 }], 'leader', 0);
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

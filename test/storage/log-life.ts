// The scripted life of a log and what must be left of it, wherever it is cut short: at any call that changes the disk, in any
// life of it, and again in the recovery behind.
//
// What holds after every recovery:
// - Nothing that was acknowledged is missing, byte for byte, and nothing is in its place that was not appended there.
// - What is left above it is a beginning of what was appended.
// - Epoch starts are entries like others: acknowledged ones are there, in their place, also where several stand at one offset.
// - What is known of producers is what the whole life of the log says of them, also where the records are deleted.
// - A snapshot's install leaves the old log or the new one.
// - The log start is the one that was confirmed, or the one that was asked for when the crash came.
// - Nothing is called damaged; the log goes on at its end; after a clean stop its files are as the format says.

import assert from 'node:assert/strict';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import {
  encodeEpochStart,
  isEpochStart,
  type ProducerStamp,
  readLastOffset,
  readLeaderEpoch,
  stampBatch,
} from '@sluice/protocol/record';
import { comparePositions, earlier, later, ORIGIN, type Position, positionAt } from '../../server/base/position.ts';
import { ProducerTable } from '../../server/state/producers/producer-table.ts';
import type { PartitionLog } from '../../server/storage/partition-log.ts';
import { usual } from '../simulation/disk.ts';
import { type BatchPlan, makeBatch } from './batches.ts';
import { cutShort, type Death, isChange } from './cut-short.ts';
import { LogWorld, PARTITION, type WorldOptions } from './log-world.ts';
import { judgeFiles } from './partition-files.ts';

export interface LifeOptions extends WorldOptions {
  /** How many times larger records, segments and what retention keeps are: beyond 10 a write covers several pages. */
  readonly scale?: number;
}

/** Producers that take turns with batches that nobody signed. */
const PRODUCERS = 3;
/** So many of the newest entries may still be cut. */
const UNCOMMITTED = 4;

interface Appended {
  readonly baseOffset: number;
  readonly position: Position;
  readonly hex: string;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export class LogLife {
  readonly world: LogWorld;
  /** In order; more than one batch at an offset only from a cut that was under way to what came behind it. */
  #appended: Appended[] = [];
  /** Up to it a loss of power loses nothing. */
  #acknowledged = ORIGIN;
  /** Of a snapshot whose install was begun. */
  #installing: Position | null = null;
  #start = 0;
  #askedStart = 0;
  #epoch = 0;
  #timestamp = 1_000_000;
  readonly #sequences = Array.from({ length: PRODUCERS }, () => 0);

  readonly #scale: number;

  private constructor(world: LogWorld, scale: number) {
    this.world = world;
    this.#scale = scale;
  }

  static async start({ scale = 1, ...options }: LifeOptions): Promise<LogLife> {
    const settings = { segmentBytes: 900 * scale, indexIntervalBytes: 150 * scale, ...options.settings };
    const world = await LogWorld.start({ tailCacheBytes: 300, openFilesMax: 5, ...options, settings });
    return new LogLife(world, scale);
  }

  /** The script; it never settles once the world has ended. */
  async script(): Promise<void> {
    const { world } = this;
    await this.#append([{}]);
    await this.#append([{ count: 2 }, { valueBytes: 200 }, { count: 3 }]);
    for (let turn = 0; turn < 3; turn++) await this.#append([{ count: 2, valueBytes: 120 }]);
    await this.#elect(2);
    await this.#append([{ valueBytes: 700 }, { count: 4 }, { valueBytes: 300 }]);
    // The store takes the sync point along after a second.
    world.clock.schedule(1_001, () => undefined);
    await this.#pause(1_100);
    await this.#append([{ count: 2 }]);
    world.settings = { ...world.settings, retentionBytes: 1_500 * this.#scale };
    world.log.changeSettings(world.settings);
    await this.#advance(world.log.retentionStart(this.#timestamp, world.log.durableOffset));
    await this.#append([{ count: 5, valueBytes: 30 }]);
    await this.#advance(world.log.startOffset + 3);
    await this.#cutBack(2);
    // Three elections without data; the last two lose.
    await this.#elect(3);
    await this.#elect(4);
    await this.#elect(6);
    await this.#cutBack(2);
    await this.#elect(7);
    await this.#append([{ count: 2, valueBytes: 100 }]);
    await this.#append([{ valueBytes: 100 }, { valueBytes: 800 }]);
    await this.#reopen();
    await this.#append([{ count: 3 }]);
    await this.#advance(world.log.durableOffset);
    await this.#append([{ count: 2 }, { valueBytes: 400 }]);
    await this.#reopen();
    await this.#append([{}]);
    await this.#elect(8);
    await this.#append([{ valueBytes: 500 }, { count: 2 }]);
    await this.#install();
    await this.#replicate([{ count: 2 }, { valueBytes: 700 }]);
    await this.#replicate([{ valueBytes: 300 }]);
    await world.beginClose();
  }

  /** Runs `work` until it is done or the given change of the disk, at which the world ends. Answers whether it came to its end. */
  async cutShort(begin: () => Promise<unknown>, change: number, death: Death): Promise<boolean> {
    const { isDone, failure } = await cutShort(this.world, begin, { change, death });
    // What was said to be durable in the step of the crash itself counts.
    this.#note();
    if (failure !== null) throw failure;
    return isDone;
  }

  /** Opens the log, ends that at the given change of the disk (0: does not), and opens it again; then everything must hold. */
  async recover(change: number, death: Death): Promise<void> {
    const { world } = this;
    const isOpen = await this.cutShort(() => world.beginOpen(), change, death);
    if (!isOpen) await world.open();
    await this.#judge();
    const before = world.log.endOffset;
    await world.appendDurably({ count: 2, timestamp: this.#timestamp }, world.log.leaderEpoch + 1);
    const { batches } = await world.readFrom(before);
    assert.equal(batches.length, 1, 'the log goes on at its end');
    const kept = (await world.readFrom(world.log.startOffset)).batches.map(hex);
    const { end, shape } = world.log;
    await world.close();
    assert.deepEqual(judgeFiles(world.disk, PARTITION).faults, []);
    await world.open();
    await this.#judgeProducers();
    world.crash(0);
    await world.open();
    await this.#judgeProducers();
    assert.deepEqual(world.log.damagedRanges, []);
    assert.deepEqual(
      (await world.readFrom(world.log.startOffset)).batches.map(hex),
      kept,
      'and outlives the next loss',
    );
    assert.deepEqual(world.log.end, end);
    assert.deepEqual(world.log.shape.starts, shape.starts, 'with its epochs');
    await world.close();
  }

  async #judge(): Promise<void> {
    const { log } = this.world;
    assert.deepEqual(log.damagedRanges, []);
    const { base } = log.shape;
    const isInstalled = this.#installing !== null && comparePositions(base, this.#installing) === 0;
    if (isInstalled) {
      assert.equal(log.startOffset, base.offset);
      assert.deepEqual(log.shape.starts.length, this.#epochsBehind(base, log.end));
    } else {
      assert.ok([this.#start, this.#askedStart].includes(log.startOffset), `log start ${log.startOffset}`);
      const text = `${JSON.stringify(log.end)} of ${JSON.stringify(this.#acknowledged)} acknowledged`;
      assert.ok(comparePositions(log.end, this.#acknowledged) >= 0, text);
    }
    assert.equal(log.condition.kind, 'sound');
    const entries = await this.#entriesBehind(base);
    let at = base;
    for (const batch of entries) {
      assert.equal(readBase(batch), at.offset, 'offsets go on without a gap');
      const known = this.#appended.some(each => each.baseOffset === readBase(batch) && each.hex === hex(batch));
      assert.ok(known, `what stands at offset ${at.offset} was appended there`);
      const position = positionOf(batch);
      assert.ok(position.epoch === at.epoch || (isEpochStart(batch, 0) && position.epoch > at.epoch), 'epochs begin');
      at = position;
    }
    assert.deepEqual(at, log.end);
    await this.#judgeProducers();
    const { batches, stop } = await this.world.readFrom(log.startOffset);
    assert.equal(stop, null);
    const readable = entries.filter(batch => !isEpochStart(batch, 0) && readLastOffset(batch, 0) >= log.startOffset);
    assert.deepEqual(batches.map(hex), readable.map(hex), 'readers are given the records and nothing else');
  }

  /** The same as in a table that is made of all that was ever appended, or came behind a snapshot without producers. */
  async #judgeProducers(): Promise<void> {
    const { log } = this.world;
    const { base } = log.shape;
    const { table } = log.producers;
    const isInstalled = this.#installing !== null && comparePositions(base, this.#installing) === 0;
    const deleted = isInstalled ? [] : this.#appended.filter(each => comparePositions(each.position, base) <= 0);
    const made = new ProducerTable(offset(0));
    for (const each of deleted) made.note(Buffer.from(each.hex, 'latin1'), 0, 0);
    for (const batch of await this.#entriesBehind(base)) made.note(batch, 0, 0);
    made.settle(table.settledTo);
    assert.deepEqual(producersOf(table), producersOf(made), 'producers are as the log says');
  }

  #epochsBehind(base: Position, end: Position): number {
    const starts = this.#appended.filter(
      ({ position, baseOffset }) =>
        baseOffset === position.offset && comparePositions(position, base) > 0 && comparePositions(position, end) <= 0,
    );
    return new Set(starts.map(({ position }) => position.epoch)).size;
  }

  /** As a follower would be sent them. */
  async #entriesBehind(base: Position): Promise<Uint8Array[]> {
    const { world } = this;
    const entries: Uint8Array[] = [];
    for (let at = base; comparePositions(at, world.log.end) < 0; at = positionOf(entries.at(-1)!)) {
      const outcome = await world.drive(world.log.readAfter(at, { bytesMax: 700 }));
      assert.ok(
        outcome.kind === 'batches' && outcome.batches.length > 0,
        `behind ${JSON.stringify(at)}: ${outcome.kind}`,
      );
      entries.push(...outcome.batches);
    }
    return entries;
  }

  #note(): void {
    for (const notice of this.world.notices.splice(0)) {
      this.#acknowledged = later(this.#acknowledged, notice.position);
    }
  }

  #batches(plans: readonly BatchPlan[]): Uint8Array[] {
    return plans.map(({ valueBytes = 10, ...plan }) => {
      const timestamp = ++this.#timestamp;
      const producer = this.#signature(timestamp, plan.count ?? 1);
      const signed = producer === null ? plan : { ...plan, producer };
      return makeBatch({ ...signed, valueBytes: valueBytes * this.#scale, timestamp, name: `${timestamp}` });
    });
  }

  /** Of the producer whose turn it is. What a cut took is numbered again by chance only: a table notes what it is given. */
  #signature(turn: number, count: number): ProducerStamp | null {
    const id = turn % (PRODUCERS + 1);
    if (id === PRODUCERS) return null;
    const baseSequence = this.#sequences[id]!;
    this.#sequences[id] = baseSequence + count;
    return { id, epoch: 0, baseSequence };
  }

  async #append(plans: readonly BatchPlan[]): Promise<void> {
    const { log } = this.world;
    const batches = this.#batches(plans);
    const outcome = log.append(batches, leaderEpoch(this.#epoch));
    assert.ok(outcome.ok);
    // The log owns the buffer and stamped it.
    for (const batch of batches) this.#noteAppended(batch);
    await this.#settled(log);
  }

  /** As a follower, behind the start of a new epoch. */
  async #replicate(plans: readonly BatchPlan[]): Promise<void> {
    const { log } = this.world;
    const epoch = ++this.#epoch;
    const batches = [encodeEpochStart({ epoch, baseOffset: log.endOffset, timestamp: this.#timestamp })];
    for (const batch of this.#batches(plans)) {
      stampBatch(batch, { baseOffset: positionOf(batches.at(-1)!).offset, leaderEpoch: epoch });
      batches.push(batch);
    }
    assert.ok(log.appendReplicated(batches).ok);
    for (const batch of batches) this.#noteAppended(batch);
    await this.#settled(log);
  }

  async #elect(epoch: number): Promise<void> {
    const { log, clock } = this.world;
    this.#epoch = epoch;
    const start = encodeEpochStart({ epoch, baseOffset: log.endOffset, timestamp: clock.wallMs() });
    assert.ok(log.appendEpochStart(leaderEpoch(epoch)).ok);
    this.#noteAppended(start);
    await this.#settled(log);
  }

  #noteAppended(batch: Uint8Array): void {
    this.#appended.push({ baseOffset: readBase(batch), position: positionOf(batch), hex: hex(batch) });
  }

  async #settled(log: PartitionLog): Promise<void> {
    while (comparePositions(log.durable, log.end) < 0) await this.#pause(0.3);
    this.#note();
    const committed = this.#appended.at(-1 - UNCOMMITTED);
    if (committed !== undefined && committed.position.offset <= log.endOffset)
      log.noteCommitted(committed.position.offset);
    this.#judgeLiveProducers(log);
  }

  /** While the log lives nothing has to be read for it. */
  #judgeLiveProducers({ producers: { table } }: PartitionLog): void {
    const base = this.#installing ?? ORIGIN;
    const made = new ProducerTable(offset(0));
    for (const { position, hex: bytes } of this.#appended) {
      if (comparePositions(position, base) > 0) made.note(Buffer.from(bytes, 'latin1'), 0, 0);
    }
    made.settle(table.settledTo);
    assert.deepEqual(producersOf(table), producersOf(made), 'producers are as what was appended');
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.world.clock.schedule(ms, resolve);
    await promise;
  }

  async #advance(to: number): Promise<void> {
    this.#askedStart = to;
    await this.world.log.advanceStart(offset(to));
    this.#start = to;
  }

  /** The last entries go, as when another leader had others. */
  async #cutBack(entries: number): Promise<void> {
    this.#note();
    const to = this.#appended.at(-1 - entries)!.position;
    this.#acknowledged = earlier(this.#acknowledged, to);
    await this.world.log.cut(to);
    this.#appended = this.#appended.filter(each => comparePositions(each.position, to) <= 0);
    this.#epoch = to.epoch;
  }

  async #install(): Promise<void> {
    this.#note();
    const { log } = this.world;
    const base = positionAt(log.leaderEpoch + 1, log.endOffset + 40);
    this.#installing = base;
    await log.install(base);
    this.world.notices = this.world.notices.filter(notice => notice.generation === log.generation);
    this.#start = base.offset;
    this.#askedStart = base.offset;
    this.#acknowledged = base;
    this.#epoch = base.epoch;
    assert.equal(log.endOffset, base.offset);
  }

  async #reopen(): Promise<void> {
    await this.world.beginClose();
    this.#note();
    await this.world.beginOpen();
  }
}

const producersOf = (table: ProducerTable): unknown =>
  table
    .all()
    .map(({ producerId, batches }) => ({
      producerId,
      batches: batches.map(({ baseSequence, baseOffset, count, timestamp }) => [
        baseSequence,
        baseOffset,
        count,
        timestamp,
      ]),
    }))
    .toSorted((left, right) => left.producerId - right.producerId);

const positionOf = (batch: Uint8Array): Position => positionAt(readLeaderEpoch(batch, 0), readLastOffset(batch, 0) + 1);

const readBase = (batch: Uint8Array): number => Number(new DataView(batch.buffer, batch.byteOffset).getBigInt64(0));

/** How many changes of the disk the script makes, and its recovery after the end of it. */
export const countChanges = async (
  options: LifeOptions,
): Promise<{ readonly life: number; readonly opening: number }> => {
  const life = await LogLife.start(options);
  const counts: number[] = [];
  for (const work of [() => life.script(), () => life.world.beginOpen()]) {
    let changes = 0;
    life.world.disk.judge = call => {
      if (isChange(call)) changes++;
      return usual;
    };
    await life.world.drive(work());
    counts.push(changes);
  }
  return { life: counts[0]!, opening: counts[1]! };
};

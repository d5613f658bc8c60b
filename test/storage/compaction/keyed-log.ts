// A log of records with keys, cleaned now and then, beside everything that was ever appended to it. What must hold at any time:
//
// - What can be read was appended, at its offset, byte for byte, in order.
// - Of each key the newest record can be read, unless it says that the key is gone: then nothing older of the key may be left.
// - Below `cleanTo` there is one record of a key at most.
// - Offsets have no holes, and every epoch begins where it began.

import assert from 'node:assert/strict';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import {
  BatchBuilder,
  type Codec,
  decodeRecords,
  isEpochStart,
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
} from '@sluice/protocol/record';
import { comparePositions, type Position, positionAt } from '../../../server/base/position.ts';
import type { CleaningOutcome } from '../../../server/storage/compaction/log-compaction.ts';
import type { CompactionSettings } from '../../../server/storage/log-settings.ts';
import type { PartitionLog } from '../../../server/storage/partition-log.ts';
import { LogWorld, type WorldOptions } from '../log-world.ts';

export const compactionFor = (changes: Partial<CompactionSettings> = {}): CompactionSettings => ({
  minDirtyRatio: 0.5,
  minLagMs: 0,
  maxLagMs: Number.POSITIVE_INFINITY,
  deleteRetentionMs: 10_000,
  producerSilenceMs: 60_000,
  ...changes,
});

export interface KeyedRecord {
  readonly key: string;
  /** Null: the key is gone. */
  readonly value: string | null;
  readonly timestamp: number;
}

export interface PlacedRecord extends KeyedRecord {
  readonly offset: number;
}

const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString('latin1');

export const recordsIn = (batch: Uint8Array): readonly PlacedRecord[] => {
  const decoded = decodeRecords(batch);
  assert.ok(decoded.ok, 'the records can be read');
  return decoded.records.map(record => ({
    offset: record.offset,
    key: text(record.key)!,
    value: text(record.value),
    timestamp: record.timestamp,
  }));
};

export const keyedBatch = (records: readonly KeyedRecord[], codec: Codec = 'none'): Uint8Array => {
  const builder = new BatchBuilder({ initialBytes: 64, codec });
  for (const record of records) builder.append(record);
  return new Uint8Array(builder.build());
};

export interface CleanPlan {
  readonly limit?: number;
  readonly heldByAll?: number;
  readonly mapBytesMax?: number;
}

export const positionOf = (batch: Uint8Array): Position =>
  positionAt(readLeaderEpoch(batch, 0), readLastOffset(batch, 0) + 1);

/** Every entry behind a position, as a follower would be sent them. */
export const entriesBehind = async (world: LogWorld, base: Position): Promise<readonly Uint8Array[]> => {
  const entries: Uint8Array[] = [];
  let at = base;
  while (comparePositions(at, world.log.durable) < 0) {
    const outcome = await world.drive(world.log.readAfter(at, { bytesMax: 900 }));
    assert.ok(
      outcome.kind === 'batches' && outcome.batches.length > 0,
      `behind ${JSON.stringify(at)}: ${outcome.kind}`,
    );
    for (const batch of outcome.batches) {
      assert.equal(readBaseOffset(batch, 0), at.offset, 'offsets go on without a hole');
      const { epoch } = positionOf(batch);
      assert.ok(epoch === at.epoch || (isEpochStart(batch, 0) && epoch > at.epoch), 'an epoch begins with its start');
      at = positionOf(batch);
      entries.push(batch);
    }
  }
  return entries;
};

export class KeyedLog {
  readonly world: LogWorld;
  readonly appended: PlacedRecord[] = [];
  /** Below it records that say that their key is gone may have gone themselves. */
  tombstonesTo = 0;

  constructor(world: LogWorld) {
    this.world = world;
  }

  static async start(options: WorldOptions): Promise<KeyedLog> {
    const settings = { segmentBytes: 900, indexIntervalBytes: 150, compaction: compactionFor(), ...options.settings };
    return new KeyedLog(await LogWorld.start({ tailCacheBytes: 300, openFilesMax: 5, ...options, settings }));
  }

  get log(): PartitionLog {
    return this.world.log;
  }

  append(records: readonly KeyedRecord[], codec: Codec = 'none'): void {
    const batch = keyedBatch(records, codec);
    const outcome = this.log.append([batch], leaderEpoch(this.log.leaderEpoch));
    assert.ok(outcome.ok);
    this.appended.push(...records.map((record, index) => ({ ...record, offset: outcome.baseOffset + index })));
  }

  async appendDurably(records: readonly KeyedRecord[], codec: Codec = 'none'): Promise<void> {
    this.append(records, codec);
    await this.settled();
  }

  /** All that was appended is durable. */
  async settled(): Promise<void> {
    const { log } = this;
    await this.world.scheduler.driveUntil(() => comparePositions(log.durable, log.end) === 0);
  }

  beginClean({ limit, heldByAll, mapBytesMax }: CleanPlan = {}): Promise<CleaningOutcome> {
    const { log, world } = this;
    const to = limit ?? log.durableOffset;
    const held = heldByAll ?? to;
    this.tombstonesTo = Math.max(this.tombstonesTo, held);
    return log.clean({
      limit: offset(to),
      heldByAll: offset(held),
      seed: { low: world.random.uint32(), high: world.random.uint32() },
      pace: () => new Promise(resolve => world.clock.defer(resolve)),
      ...(mapBytesMax === undefined ? {} : { mapBytesMax }),
    });
  }

  clean(plan: CleanPlan = {}): Promise<CleaningOutcome> {
    return this.world.drive(this.beginClean(plan));
  }

  /** Waits while nothing happens. */
  async pass(ms: number): Promise<void> {
    let isOver = false;
    this.world.clock.schedule(ms, () => (isOver = true));
    await this.world.scheduler.driveUntil(() => isOver);
  }

  read(): Promise<readonly PlacedRecord[]> {
    return this.world.drive(this.beginRead());
  }

  /** Everything that can be read, by as many reads as it takes. */
  async beginRead(): Promise<readonly PlacedRecord[]> {
    const { log } = this;
    const records: PlacedRecord[] = [];
    let at = log.startOffset;
    while (at < log.durableOffset) {
      const outcome = await log.read(at, { endMax: log.durableOffset, bytesMax: 500 });
      assert.ok(outcome.kind === 'batches' && outcome.batches.length > 0, `at ${at}: ${JSON.stringify(outcome)}`);
      for (const batch of outcome.batches) records.push(...recordsIn(batch));
      at = positionOf(outcome.batches.at(-1)!).offset;
    }
    return records.filter(record => record.offset >= log.startOffset);
  }

  async judge(): Promise<void> {
    const { log } = this;
    assert.deepEqual(log.damagedRanges, []);
    assert.equal(log.condition.kind, 'sound');
    await entriesBehind(this.world, log.shape.base);
    const read = await this.read();
    this.#judgeRead(read);
  }

  #judgeRead(read: readonly PlacedRecord[]): void {
    const { log } = this;
    const appended = new Map(this.appended.map(record => [record.offset, record]));
    let before = -1;
    for (const record of read) {
      assert.ok(record.offset > before, 'offsets rise');
      before = record.offset;
      assert.deepEqual(record, appended.get(record.offset));
    }
    const found = new Map(read.map(record => [record.offset, record]));
    const newest = new Map<string, PlacedRecord>();
    const newestClean = new Map<string, number>();
    for (const record of this.appended) {
      if (record.offset >= log.durableOffset) break;
      newest.set(record.key, record);
      if (record.offset < log.cleanTo) newestClean.set(record.key, record.offset);
    }
    for (const record of newest.values()) {
      if (record.offset < log.startOffset || found.has(record.offset)) continue;
      assert.ok(record.value === null && record.offset < this.tombstonesTo, `record ${record.offset} is missing`);
      const older = read.find(({ key }) => key === record.key);
      assert.equal(older, undefined, `key ${record.key} is gone since ${record.offset}`);
    }
    for (const { offset: at, key } of read) {
      if (at < log.cleanTo) assert.equal(at, newestClean.get(key), `record ${at} of ${key} is outdated`);
    }
  }
}

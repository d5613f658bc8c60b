// What a partition says of a producer's batch, against a model that keeps the whole log and looks at all of it.

import { offset } from '@sluice/protocol/ids';
import { BatchBuilder, stampBatch } from '@sluice/protocol/record';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeProducers, encodeProducers } from '../../../server/state/producers/producer-snapshot.ts';
import {
  type BatchClaim,
  ProducerTable,
  type ProducerView,
  type Verdict,
} from '../../../server/state/producers/producer-table.ts';

interface LoggedBatch extends BatchClaim {
  readonly baseOffset: number;
  readonly timestamp: number;
}

const SEQUENCES = 2 ** 31;
const KEPT = 5;
const NOW = 1_700_000_000_000;

const bytesOf = ({ producerId, epoch, baseSequence, count, baseOffset, timestamp }: LoggedBatch): Uint8Array => {
  const producer = { id: producerId, epoch, baseSequence };
  const builder = new BatchBuilder(producerId < 0 ? {} : { producer });
  for (let index = 0; index < count; index++) builder.append({ key: null, value: 'v', timestamp });
  const batch = builder.build();
  stampBatch(batch, { baseOffset, leaderEpoch: 1 });
  return batch;
};

/** Judges by every batch that stands in the log. */
const judgeByLog = (log: readonly LoggedBatch[], claim: BatchClaim): Verdict => {
  const own = log.filter(batch => batch.producerId === claim.producerId);
  const last = own.at(-1);
  if (last === undefined) return claim.baseSequence === 0 ? { kind: 'fresh' } : { kind: 'unknown' };
  if (claim.epoch < last.epoch) return { kind: 'fenced', epoch: last.epoch };
  if (claim.epoch > last.epoch) {
    return claim.baseSequence === 0 ? { kind: 'fresh' } : { kind: 'out-of-order', expected: 0 };
  }
  const expected = (last.baseSequence + last.count) % SEQUENCES;
  if (claim.baseSequence === expected) return { kind: 'fresh' };
  const ofEpoch = own.filter(batch => batch.epoch === last.epoch);
  const window = ofEpoch.slice(-KEPT);
  const original = window.find(batch => batch.baseSequence === claim.baseSequence && batch.count === claim.count);
  if (original !== undefined)
    return { kind: 'repeat', baseOffset: offset(original.baseOffset), timestamp: original.timestamp };
  const first = window[0]!;
  const hasOlder = window.length === KEPT || first.baseSequence !== 0;
  const behind = (first.baseSequence - (claim.baseSequence + claim.count) + 2 * SEQUENCES) % SEQUENCES;
  return hasOlder && behind < SEQUENCES / 2 ? { kind: 'duplicate' } : { kind: 'out-of-order', expected };
};

/** What has to be the same in two tables that know the same. */
const known = (views: readonly ProducerView[]): unknown =>
  views
    .map(({ producerId, batches }) => ({
      producerId,
      batches: batches.map(batch => [batch.epoch, batch.baseSequence, batch.count, batch.baseOffset, batch.timestamp]),
    }))
    .toSorted((left, right) => left.producerId - right.producerId);

class Run {
  readonly log: LoggedBatch[] = [];
  readonly table = new ProducerTable(offset(0));
  settledTo = 0;
  /** The log up to a place, and the state as of it. */
  snapshot: Uint8Array = encodeProducers(this.table);

  get end(): number {
    const last = this.log.at(-1);
    return last === undefined ? 0 : last.baseOffset + last.count;
  }

  append(claim: BatchClaim, timestamp: number): void {
    const batch = { ...claim, baseOffset: this.end, timestamp };
    this.log.push(batch);
    this.table.note(bytesOf(batch), 0, NOW);
  }

  offer(claim: BatchClaim, timestamp: number): void {
    const verdict = this.table.judge(claim);
    expect(verdict).toEqual(judgeByLog(this.log, claim));
    if (verdict.kind === 'fresh') this.append(claim, timestamp);
  }

  /** The batch that would be next, of a producer in its epoch. */
  next(producerId: number, count: number): BatchClaim {
    const last = this.log.findLast(batch => batch.producerId === producerId);
    if (last === undefined) return { producerId, epoch: 0, baseSequence: 0, count };
    const baseSequence = (last.baseSequence + last.count) % SEQUENCES;
    return { producerId, epoch: last.epoch, baseSequence, count };
  }

  settle(share: number): void {
    const boundaries = [this.settledTo, ...this.log.map(batch => batch.baseOffset + batch.count)];
    const above = boundaries.filter(boundary => boundary >= this.settledTo);
    this.settledTo = above[Math.floor(share * (above.length - 1))]!;
    this.table.settle(offset(this.settledTo));
  }

  cut(share: number): void {
    const above = this.log.filter(batch => batch.baseOffset >= this.settledTo);
    const kept = this.log.length - Math.floor(share * above.length);
    this.log.length = kept;
    expect(this.table.cut(offset(this.end))).toBe(true);
  }

  keepSnapshot(): void {
    this.snapshot = encodeProducers(this.table);
  }

  /** A table made of the snapshot and the log from there on. */
  rebuilt(): ProducerTable {
    const { settledTo, producers } = decodeProducers(this.snapshot)!;
    const table = new ProducerTable(offset(0));
    table.restore(settledTo, producers, NOW);
    for (const batch of this.log) table.note(bytesOf(batch), 0, NOW);
    table.settle(offset(this.settledTo));
    return table;
  }
}

const claims = fc.record({
  producerId: fc.integer({ min: 0, max: 2 }),
  epoch: fc.integer({ min: 0, max: 2 }),
  baseSequence: fc.oneof(fc.integer({ min: 0, max: 24 }), fc.integer({ min: SEQUENCES - 4, max: SEQUENCES - 1 })),
  count: fc.integer({ min: 1, max: 3 }),
});
const timestamps = fc.integer({ min: 0, max: 50 });

const steps = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(fc.constant('next' as const), claims, timestamps) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('offer' as const), claims, timestamps) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('again' as const), fc.nat(), timestamps) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('plain' as const), claims, timestamps) },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constant('settle' as const), fc.double({ min: 0, max: 1, noNaN: true }), timestamps),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constant('cut' as const), fc.double({ min: 0, max: 1, noNaN: true }), timestamps),
  },
  { weight: 1, arbitrary: fc.tuple(fc.constant('snapshot' as const), claims, timestamps) },
);

describe('a table of producers', () => {
  test('judges as the whole log would, through cuts and commits, and is the same when it is made again', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60 }), list => {
        const run = new Run();
        for (const [kind, what, timestamp] of list) {
          if (kind === 'next') run.offer(run.next(what.producerId, what.count), timestamp);
          else if (kind === 'offer') run.offer(what, timestamp);
          else if (kind === 'plain') run.append({ ...what, producerId: -1 }, timestamp);
          else if (kind === 'settle') run.settle(what);
          else if (kind === 'cut') run.cut(what);
          else if (kind === 'snapshot') run.keepSnapshot();
          else if (run.log.length > 0) {
            const { producerId, epoch, baseSequence, count } = run.log[what % run.log.length]!;
            if (producerId >= 0) run.offer({ producerId, epoch, baseSequence, count }, timestamp);
          }
          const rebuilt = run.rebuilt();
          expect(known(rebuilt.settled())).toEqual(known(run.table.settled()));
          expect(known(rebuilt.all())).toEqual(known(run.table.all()));
        }
      }),
      { numRuns: 400 },
    );
  });

  test('goes on behind the last sequence number with 0', () => {
    const run = new Run();
    run.append({ producerId: 7, epoch: 0, baseSequence: SEQUENCES - 2, count: 3 }, 1);
    expect(run.table.judge({ producerId: 7, epoch: 0, baseSequence: 1, count: 1 })).toEqual({ kind: 'fresh' });
    expect(run.table.judge({ producerId: 7, epoch: 0, baseSequence: 2, count: 1 })).toEqual({
      kind: 'out-of-order',
      expected: 1,
    });
    const repeat = { producerId: 7, epoch: 0, baseSequence: SEQUENCES - 2, count: 3 };
    expect(run.table.judge(repeat)).toEqual({ kind: 'repeat', baseOffset: 0, timestamp: 1 });
  });

  test('answers a repeat of each of the last five batches, and calls an older one done', () => {
    const run = new Run();
    for (let index = 0; index < 6; index++) run.append(run.next(7, 2), index);
    run.settle(1);
    expect(run.table.judge({ producerId: 7, epoch: 0, baseSequence: 0, count: 2 })).toEqual({ kind: 'duplicate' });
    for (let index = 1; index < 6; index++) {
      const repeat = { producerId: 7, epoch: 0, baseSequence: index * 2, count: 2 };
      expect(run.table.judge(repeat)).toEqual({ kind: 'repeat', baseOffset: index * 2, timestamp: index });
    }
  });

  test('gives the epoch before its due again when the batch that ended it is cut', () => {
    const run = new Run();
    run.append({ producerId: 7, epoch: 0, baseSequence: 0, count: 1 }, 1);
    run.settle(1);
    run.append({ producerId: 7, epoch: 1, baseSequence: 0, count: 1 }, 2);
    const old = { producerId: 7, epoch: 0, baseSequence: 1, count: 1 };
    expect(run.table.judge(old)).toEqual({ kind: 'fenced', epoch: 1 });
    run.cut(1);
    expect(run.table.judge(old)).toEqual({ kind: 'fresh' });
  });

  test('says when a cut reaches below what is settled, and keeps nothing of what is gone', () => {
    const run = new Run();
    for (let index = 0; index < 4; index++) run.append(run.next(7, 1), index);
    run.append(run.next(8, 1), 4);
    run.settle(1);
    expect(run.table.cut(offset(2))).toBe(false);
    expect(known(run.table.all())).toEqual([
      {
        producerId: 7,
        batches: [
          [0, 0, 1, 0, 0],
          [0, 1, 1, 1, 1],
        ],
      },
    ]);
  });

  test('takes a batch below what a snapshot settled as one that it knows', () => {
    const run = new Run();
    for (let index = 0; index < 3; index++) run.append(run.next(7, 1), index);
    run.settle(1);
    const table = new ProducerTable(offset(0));
    const { settledTo, producers } = decodeProducers(encodeProducers(run.table))!;
    table.restore(settledTo, producers, NOW);
    for (const batch of run.log) table.note(bytesOf(batch), 0, NOW);
    expect(known(table.all())).toEqual(known(run.table.all()));
  });

  test('forgets who is silent in the log and was not seen for long, and nobody whose batch may still be cut', () => {
    const run = new Run();
    run.append(run.next(7, 1), NOW - 10_000);
    run.append(run.next(8, 1), NOW + 5_000);
    run.settle(1);
    run.append(run.next(9, 1), NOW - 10_000);
    expect(run.table.expire(NOW + 1_000, 2_000)).toBe(0);
    expect(run.table.expire(NOW + 3_000, 2_000)).toBe(1);
    expect(run.table.all().map(view => view.producerId)).toEqual([8, 9]);
    run.settle(1);
    expect(run.table.expire(NOW + 8_000, 2_000)).toBe(2);
    expect(run.table.isEmpty).toBe(true);
  });

  test('does not take a batch of before into the window of a producer that came back when it was forgotten', () => {
    const run = new Run();
    for (let index = 0; index < 3; index++) run.append(run.next(7, 1), 0);
    // What a leader does that has forgotten it.
    run.append({ producerId: 7, epoch: 0, baseSequence: 0, count: 1 }, 0);
    const claim = { producerId: 7, epoch: 0, baseSequence: 2, count: 1 };
    expect(run.table.judge(claim)).toEqual({ kind: 'out-of-order', expected: 1 });
    run.settle(1);
    expect(run.table.judge(claim)).toEqual({ kind: 'out-of-order', expected: 1 });
  });
});

describe('a snapshot of producers', () => {
  const sound = (): Uint8Array => {
    const run = new Run();
    for (let index = 0; index < 7; index++) run.append(run.next(index % 2, 2), 1_000 + index);
    run.settle(1);
    return encodeProducers(run.table);
  };

  test('has the bytes of its format', () => {
    const run = new Run();
    run.append({ producerId: 258, epoch: 3, baseSequence: 5, count: 2 }, 1_000);
    run.settle(1);
    expect(Buffer.from(encodeProducers(run.table)).toString('hex')).toBe(
      [
        '01', // version
        '0000000000000002', // settled to
        '00000001', // producers
        '0000000000000102', // id
        '0003', // epoch
        '01', // batches
        '00000005', // base sequence
        '00000002', // count
        '0000000000000000', // base offset
        '00000000000003e8', // timestamp
        '8c3a463d', // CRC-32C
      ].join(''),
    );
  });

  test('is none when any of its bytes is another, is missing or too many', () => {
    const bytes = sound();
    expect(decodeProducers(bytes)).not.toBeNull();
    for (let at = 0; at < bytes.length; at++) {
      const changed = Uint8Array.from(bytes);
      changed[at]! ^= 0x10;
      expect(decodeProducers(changed)).toBeNull();
      expect(decodeProducers(bytes.subarray(0, at))).toBeNull();
    }
    expect(decodeProducers(Buffer.concat([bytes, Buffer.alloc(1)]))).toBeNull();
  });
});

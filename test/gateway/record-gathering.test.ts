// Which requests share a batch, which never do, and in which order batches leave.

import { describe, expect, it } from 'vitest';
import { decodeRecords, splitBatches } from '@sluice/protocol/record';
import type { TopicView } from '../../server/broker/broker.ts';
import { BuilderPool } from '../../server/gateway/partition-batches.ts';
import { PartitionChoice } from '../../server/gateway/partition-choice.ts';
import type { GatheredBatch } from '../../server/gateway/record-gathering.ts';
import { RecordGathering } from '../../server/gateway/record-gathering.ts';
import type { WrittenRecord } from '../../server/gateway/record-json.ts';
import { ABSENT } from '../../server/gateway/record-json.ts';
import type { PlacementPlan } from '../../server/gateway/record-placement.ts';
import { TextBuffer } from '../../server/gateway/text-buffer.ts';
import type { Clock } from '../../server/io/clock.ts';

const NOW = 1_700_000_000_000;

const topicOf = (name: string, batchBytesMax = 1_000_000): TopicView =>
  ({ name, id: name, partitionCount: 3, batchBytesMax }) as Partial<TopicView> as TopicView;

const topic = topicOf('t');
let wallMs = NOW;

const planOf = (changes: Partial<PlacementPlan> = {}): PlacementPlan => ({
  broker: undefined as never,
  clock: { wallMs: () => wallMs++ } as Partial<Clock> as Clock,
  choice: new PartitionChoice(),
  pool: new BuilderPool(),
  text: new TextBuffer(),
  topic,
  partition: null,
  partitionOf: 'request',
  acks: 'all',
  timeoutMs: 1_000,
  codec: 'none',
  exact: null,
  ...changes,
});

const recordOf = (value: string, changes: Partial<WrittenRecord> = {}): WrittenRecord => ({
  kind: 'record',
  key: null,
  value,
  headers: [],
  timestamp: ABSENT,
  partition: 0,
  ...changes,
});

const world = () => {
  const left: GatheredBatch<string>[] = [];
  let end: (() => void) | null = null;
  const gathering = new RecordGathering<string>({
    atEnd(leave) {
      expect(end).toBeNull();
      end = leave;
    },
    leave: batch => left.push(batch),
  });
  const add = (value: string, changes: Partial<WrittenRecord> = {}, plan = planOf(), bodyBytes = 100): boolean =>
    gathering.add(`request ${value}`, recordOf(value, changes), { plan, bodyBytes });
  const turn = (): void => {
    const leave = end;
    end = null;
    leave?.();
  };
  return { gathering, left, add, turn };
};

const storedIn = async ({ of }: GatheredBatch<string>): Promise<{ values: string[]; timestamps: number[] }> => {
  const split = splitBatches(await of.take(), { bytesMax: 10_000_000 });
  if (!split.ok) throw new Error(JSON.stringify(split.fault));
  expect(split.batches.length).toBe(1);
  const decoded = decodeRecords(split.batches[0]!);
  if (!decoded.ok) throw new Error(JSON.stringify(decoded.fault));
  return {
    values: decoded.records.map(({ value }) => Buffer.from(value!).toString()),
    timestamps: decoded.records.map(({ timestamp }) => timestamp),
  };
};

describe('requests of one record', () => {
  it('that come in one turn share a batch a partition, in their order, with one timestamp', async () => {
    const { left, add, turn } = world();
    expect([add('a'), add('b', { partition: 1 }), add('c'), add('d', { partition: 1 })]).toEqual(Array(4).fill(true));
    expect(left).toEqual([]);
    turn();
    expect(left.map(({ requests }) => requests)).toEqual([
      ['request a', 'request c'],
      ['request b', 'request d'],
    ]);
    for (const [index, batch] of left.entries()) {
      const { values, timestamps } = await storedIn(batch);
      expect(values).toEqual(index === 0 ? ['a', 'c'] : ['b', 'd']);
      expect(new Set(timestamps).size).toBe(1);
    }
    expect(add('e')).toBe(true);
    turn();
    expect(left[2]!.requests).toEqual(['request e']);
  });

  it('go where their request, their key or the turn says', () => {
    const { left, add, turn } = world();
    const plan = planOf();
    for (const value of ['a', 'b', 'c']) add(value, { partition: ABSENT }, plan);
    add('d', { partition: ABSENT, key: 'user-1' }, plan);
    add('e', { partition: ABSENT }, planOf({ partition: 2 }));
    turn();
    expect(left.flatMap(({ requests }) => requests).toSorted()).toEqual(
      ['a', 'b', 'c', 'd', 'e'].map(v => `request ${v}`),
    );
    const partitionOf = (value: string): number =>
      left.find(({ requests }) => requests.includes(`request ${value}`))!.of.partition;
    expect(new Set(['a', 'b', 'c'].map(partitionOf))).toEqual(new Set([0, 1, 2]));
    expect(partitionOf('d')).toBe(new PartitionChoice().forKey('user-1', 3));
    expect(partitionOf('e')).toBe(2);
  });

  it.each<[string, Partial<PlacementPlan>]>([
    ['topic', { topic: topicOf('other') }],
    ['acks', { acks: 'leader' }],
    ['timeout', { timeoutMs: 2_000 }],
    ['codec', { codec: 'gzip' }],
  ])('share none with one of another %s, which leaves behind them', (_name, changes) => {
    const { left, add, turn } = world();
    add('a');
    expect(add('b', {}, planOf(changes))).toBe(true);
    expect(left.map(({ requests }) => requests)).toEqual([['request a']]);
    turn();
    expect(left.map(({ requests }) => requests)).toEqual([['request a'], ['request b']]);
    expect(left[1]!.plan).toMatchObject(changes);
  });

  it.each<[string, Partial<WrittenRecord>, Partial<PlacementPlan>]>([
    ['whose timestamp could be refused', { timestamp: 5 }, {}],
    ['for a partition that there is not', { partition: 3 }, {}],
    ['that names two partitions', { partition: 1 }, { partition: 2 }],
    ['that nobody waits for', {}, { acks: 'none' }],
    ['that may be too large', {}, { topic: topicOf('small', 500) }],
  ])('one %s goes alone', (_name, record, plan) => {
    const { left, add, turn } = world();
    expect(add('a', record, planOf(plan))).toBe(false);
    turn();
    expect(left).toEqual([]);
  });

  it('begin another batch where the one before is full, and it leaves behind it', async () => {
    const { left, add, turn } = world();
    const plan = planOf({ topic: topicOf('small', 4_000) });
    for (let index = 0; index < 20; index++) expect(add(String(index), {}, plan, 200)).toBe(true);
    turn();
    expect(left.length).toBeGreaterThan(1);
    const values: string[] = [];
    for (const batch of left) values.push(...(await storedIn(batch)).values);
    expect(values).toEqual(Array.from({ length: 20 }, (_, index) => String(index)));
  });

  it('leave before the end of the turn when they are told to, once', () => {
    const { gathering, left, add, turn } = world();
    add('a');
    gathering.leave();
    expect(left.length).toBe(1);
    add('b');
    turn();
    turn();
    expect(left.map(({ requests }) => requests)).toEqual([['request a'], ['request b']]);
  });
});

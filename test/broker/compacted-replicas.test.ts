// A compacted partition with three replicas that clean their logs each in its own time, while nodes are cut off and leadership moves: whoever
// leads, readers find the same.

import assert from 'node:assert/strict';
import { offset } from '@sluice/protocol/ids';
import { readBaseOffset, readLastOffset } from '@sluice/protocol/record';
import { expect, test } from 'vitest';
import type { Partition } from '../../server/broker/partition.ts';
import type { CleaningOutcome } from '../../server/storage/compaction/log-compaction.ts';
import { isFull } from '../storage/crash-share.ts';
import { type KeyedRecord, keyedBatch, type PlacedRecord, recordsIn } from '../storage/compaction/keyed-log.ts';
import { RandomKeys } from '../storage/compaction/random-keys.ts';
import { type BrokerNode, BrokerWorld, produce, request, TOPIC_ID } from './broker-world.ts';

const three = [1, 2, 3];
const COMPACTED = { 'cleanup.policy': 'compact', 'delete.retention.ms': '10000' } as const;

/** Everything that a replica has below a point that it knows to be committed. */
const readOf = async (node: BrokerNode, end: number): Promise<readonly PlacedRecord[]> => {
  const { log } = node.partition();
  const records: PlacedRecord[] = [];
  let at = log.startOffset;
  while (at < end) {
    const outcome = await node.drive(log.read(at, { endMax: offset(end), bytesMax: 700 }));
    assert.ok(
      outcome.kind === 'batches' && outcome.batches.length > 0,
      `node ${node.nodeId} at ${at}: ${outcome.kind}`,
    );
    for (const batch of outcome.batches) {
      assert.ok(readBaseOffset(batch, 0) <= at && readLastOffset(batch, 0) >= at, 'offsets have no holes');
      records.push(...recordsIn(batch));
      at = offset(readLastOffset(batch, 0) + 1);
    }
  }
  return records;
};

const clean = async (node: BrokerNode): Promise<CleaningOutcome> => {
  const { log, highWatermark, group } = node.partition();
  const service = node.routes.find(group.name);
  const standings = await node.drive(
    service?.standings({ topicId: TOPIC_ID, partitions: [0] }) ?? Promise.resolve(null),
  );
  const heldByAll = (standings?.ok === true ? standings.value[0]?.heldByAll : undefined) ?? offset(0);
  const seed = { low: node.nodeId, high: 7 };
  const pace = (): Promise<void> => new Promise(resolve => node.clock.defer(resolve));
  return node.drive(log.clean({ limit: highWatermark, heldByAll, seed, pace }));
};

class CompactedReplicas {
  readonly world: BrokerWorld;
  readonly written: PlacedRecord[] = [];

  constructor(world: BrokerWorld) {
    this.world = world;
  }

  get nodes(): readonly BrokerNode[] {
    return three.map(id => this.world.node(id));
  }

  get leader(): Partition | undefined {
    return this.nodes.map(node => node.partition()).find(partition => partition.isServing);
  }

  async write(records: readonly KeyedRecord[]): Promise<void> {
    const { leader } = this;
    if (leader === undefined) return;
    const answer = await this.world.drive(produce(leader, { ...request(), batches: keyedBatch(records) }));
    // Of one whose outcome is unknown the replicas tell.
    if (answer.ok) {
      const { baseOffset } = answer.value;
      this.written.push(...records.map((record, index) => ({ ...record, offset: baseOffset + index })));
    }
  }

  /** Everybody has everything. */
  async settle(): Promise<void> {
    this.world.network.heal();
    await this.world.leader(three);
    await this.write([{ key: 'settled', value: 'x', timestamp: this.nodes[0]!.clock.wallMs() }]);
    const end = (): number => this.leader?.log.endOffset ?? -1;
    await this.world.until(() => this.world.all(node => node.partition().highWatermark === end()));
  }

  async judge(): Promise<void> {
    const newest = new Map<string, PlacedRecord>();
    for (const record of this.written) newest.set(record.key, record);
    for (const node of this.nodes) {
      const { log } = node.partition();
      expect(log.damagedRanges).toEqual([]);
      const read = await readOf(node, node.partition().highWatermark);
      const found = new Map(read.map(record => [record.offset, record]));
      for (const record of newest.values()) {
        const inLog = found.get(record.offset);
        if (inLog !== undefined) {
          expect(inLog).toEqual(record);
          continue;
        }
        const later = read.find(({ key, offset: at }) => key === record.key && at > record.offset);
        // Something newer of unknown outcome, or it said that the key is gone and nothing older came back.
        if (later !== undefined) continue;
        expect(record.value, `node ${node.nodeId} lacks ${JSON.stringify(record)}`).toBeNull();
        expect(
          read.find(({ key }) => key === record.key),
          `node ${node.nodeId}`,
        ).toBeUndefined();
      }
    }
  }
}

const begin = async (seed: string): Promise<CompactedReplicas> => {
  const world = await BrokerWorld.of(seed, ...three);
  await world.replicate({ voters: three, config: COMPACTED, log: { segmentBytes: 900, indexIntervalBytes: 150 } });
  return new CompactedReplicas(world);
};

test('a follower that was away goes on within a gap of its leader’s log', async () => {
  const replicas = await begin('within');
  const { world } = replicas;
  const now = replicas.nodes[0]!.clock.wallMs();
  const one = (text: string): KeyedRecord => ({ key: 'one', value: text, timestamp: now });
  const { leader } = replicas;
  const away = replicas.nodes.find(node => node.partition() !== leader)!;
  await replicas.write([one('first')]);
  await replicas.write([one('second')]);
  await world.until(() => away.partition().highWatermark === 2);
  world.network.partition(
    [away.nodeId],
    three.filter(id => id !== away.nodeId),
  );
  for (let turn = 0; turn < 12; turn++) await replicas.write([one(`${turn}`.padEnd(300, '.'))]);
  const lead = replicas.nodes.find(node => node.partition() === leader)!;
  expect(await clean(lead)).toMatchObject({ kind: 'cleaned' });
  expect((await readOf(lead, leader!.highWatermark)).length).toBeLessThan(6);
  await replicas.settle();
  await replicas.judge();
  expect((await readOf(away, 2)).map(record => record.value)).toEqual(['first', 'second']);
});

test('a key that is gone stays gone, though a replica was away when that was said', async () => {
  const replicas = await begin('gone');
  const { world } = replicas;
  const now = replicas.nodes[0]!.clock.wallMs();
  const { leader } = replicas;
  const lead = replicas.nodes.find(node => node.partition() === leader)!;
  const away = replicas.nodes.find(node => node.partition() !== leader)!;
  const fill = async (): Promise<void> => {
    for (let turn = 0; turn < 4; turn++)
      await replicas.write([{ key: 'fill', value: 'x'.repeat(700), timestamp: now }]);
  };
  await replicas.write([{ key: 'a', value: '1', timestamp: now }]);
  await world.until(() => away.partition().highWatermark === 1);
  world.network.partition(
    [away.nodeId],
    three.filter(id => id !== away.nodeId),
  );
  await replicas.write([{ key: 'a', value: null, timestamp: now }]);
  await fill();
  await clean(lead);
  await world.scheduler.advance(11_000);
  await fill();
  await clean(lead);
  const has = async (node: BrokerNode): Promise<readonly (string | null)[]> =>
    (await readOf(node, node.partition().highWatermark)).filter(({ key }) => key === 'a').map(({ value }) => value);
  expect(await has(lead), 'one replica has not heard of it').toEqual([null]);
  await replicas.settle();
  await fill();
  await replicas.settle();
  await clean(lead);
  expect(await has(lead)).toEqual([]);
  // Dated by its own cleanings.
  await clean(away);
  expect(await has(away)).toEqual([null]);
  await world.scheduler.advance(11_000);
  await fill();
  await replicas.settle();
  await clean(away);
  expect(await has(away)).toEqual([]);
  await replicas.judge();
});

test.each(Array.from({ length: isFull ? 40 : 4 }, (_, seed) => seed))(
  'replicas that clean at different times agree: seed %i',
  { timeout: 120_000 },
  async seed => {
    const replicas = await begin(`agree ${seed}`);
    const { world } = replicas;
    const { random } = world;
    const keys = new RandomKeys(random, replicas.nodes[0]!);
    for (let turn = 0; turn < 80; turn++) {
      const draw = random.below(16);
      if (draw < 9) await replicas.write(keys.records(random.between(1, 6)));
      else if (draw < 13) await clean(random.pick(replicas.nodes));
      else if (draw === 13) await world.scheduler.advance(random.between(100, 9_000));
      else if (draw === 14) {
        const cut = random.pick(three);
        world.network.partition(
          [cut],
          three.filter(id => id !== cut),
        );
      } else {
        world.network.heal();
        replicas.leader?.handOver();
        await world.scheduler.advance(2_000);
      }
    }
    await replicas.settle();
    await replicas.judge();
    for (const node of replicas.nodes) await clean(node);
    await replicas.judge();
  },
);

// What a partition makes of batches that a producer signed, and of those that expect an offset: each is written once and in its order, and a
// repeat is answered when what it repeats is committed.

import { type Offset, offset } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import type { Partition } from '../../server/broker/partition.ts';
import { makeBatch } from '../storage/batches.ts';
import { BrokerWorld, type BrokerNode, produce, request } from './broker-world.ts';

const three = [1, 2, 3];

type Produced = ReturnType<typeof request> & { readonly expectedOffset?: Offset };

interface Signed {
  readonly sequence: number;
  readonly epoch?: number;
  readonly id?: number;
  readonly count?: number;
}

const signed = ({ sequence, epoch = 0, id = 7, count = 1 }: Signed, more: Partial<Produced> = {}): Produced =>
  request({ count, producer: { id, epoch, baseSequence: sequence } }, more);

const serving = (world: BrokerWorld): Partition | undefined =>
  three.map(id => world.node(id).partition()).find(partition => partition.isServing);

const nodeOf = (world: BrokerWorld, partition: Partition): number =>
  three.find(id => world.node(id).partition() === partition)!;

/** `t` and a number: written there. Else the code and what it names. */
const outcome = async (node: Pick<BrokerNode, 'drive'>, answer: ReturnType<typeof produce>): Promise<string> => {
  const result = await node.drive(answer);
  if (result.ok) return `${result.value.baseOffset}+${result.value.count}`;
  const { code, facts } = result.problem;
  const named = facts['expected_sequence'] ?? facts['current_epoch'] ?? facts['actual_offset'] ?? '';
  return `${code} ${named}`.trim();
};

test('each batch is written once and in order, and everything else is told for what it is', async () => {
  const node = await BrokerWorld.alone('signed');
  const partition = await node.serve();
  const given: readonly [Signed, string][] = [
    [{ sequence: 3 }, 'UNKNOWN_PRODUCER_ID'],
    [{ sequence: 0, count: 2 }, '0+2'],
    [{ sequence: 2 }, '2+1'],
    [{ sequence: 0, count: 2 }, '0+2'],
    [{ sequence: 4 }, 'OUT_OF_ORDER_SEQUENCE 3'],
    [{ sequence: 1 }, 'OUT_OF_ORDER_SEQUENCE 3'],
    [{ sequence: 0, id: 8 }, '3+1'],
    [{ sequence: 3 }, '4+1'],
    [{ sequence: 4 }, '5+1'],
    [{ sequence: 5 }, '6+1'],
    [{ sequence: 6 }, '7+1'],
    [{ sequence: 0, count: 2 }, 'DUPLICATE_SEQUENCE'],
    [{ sequence: 2 }, '2+1'],
    [{ sequence: 1, epoch: 1 }, 'OUT_OF_ORDER_SEQUENCE 0'],
    [{ sequence: 0, epoch: 1 }, '8+1'],
    [{ sequence: 7 }, 'PRODUCER_FENCED 1'],
    [{ sequence: 0, epoch: 1 }, '8+1'],
  ];
  for (const [batch, expected] of given) {
    expect([batch, await outcome(node, produce(partition, signed(batch)))]).toEqual([batch, expected]);
  }
  expect(partition.log.endOffset).toBe(9);
});

test('the batches of one request are new together, or a repeat together', async () => {
  const node = await BrokerWorld.alone('several');
  const partition = await node.serve();
  const batchOf = (baseSequence: number, id = 7): Uint8Array =>
    makeBatch({ timestamp: node.clock.wallMs(), producer: { id, epoch: 0, baseSequence } });
  const several = (...batches: Uint8Array[]): Produced => ({ ...request(), batches: Buffer.concat(batches) });
  expect(await outcome(node, produce(partition, several(batchOf(0), batchOf(1))))).toBe('0+2');
  expect(await outcome(node, produce(partition, several(batchOf(0), batchOf(1))))).toBe('0+2');
  expect(await outcome(node, produce(partition, several(batchOf(2), batchOf(4))))).toBe('OUT_OF_ORDER_SEQUENCE 3');
  expect(await outcome(node, produce(partition, several(batchOf(1), batchOf(2))))).toBe('INVALID_REQUEST');
  expect(await outcome(node, produce(partition, several(batchOf(2), batchOf(0, 8))))).toBe('INVALID_REQUEST');
  expect(partition.log.endOffset).toBe(2);
});

test('the repeat of a batch that is not committed is answered when it is, as the first one', async () => {
  const node = await BrokerWorld.alone('parked');
  const partition = await node.serve();
  node.disk.judge = call => (call.kind === 'sync' ? { kind: 'slow', delayMs: 500 } : { kind: 'usual' });
  const order: string[] = [];
  const answers = ['first', 'second', 'again'].map(name =>
    produce(partition, signed({ sequence: name === 'second' ? 1 : 0 })).then(answer => {
      order.push(name);
      return answer;
    }),
  );
  const gap = produce(partition, signed({ sequence: 5 }));
  await node.world.scheduler.advance(200);
  expect([order, partition.log.endOffset]).toEqual([[], 2]);
  const [first, second, again] = await node.drive(Promise.all(answers));
  expect(first).toMatchObject({ ok: true, value: { baseOffset: 0 } });
  expect(second).toMatchObject({ ok: true, value: { baseOffset: 1 } });
  expect(again).toEqual(first);
  expect(await outcome(node, gap)).toBe('OUT_OF_ORDER_SEQUENCE 2');
  await node.world.until(() => node.pending.used === 0);
});

test('append time is told again to who comes again', async () => {
  const node = await BrokerWorld.alone('append-time');
  const partition = await node.serve({ config: { 'message.timestamp.type': 'LogAppendTime' } });
  const first = await node.drive(produce(partition, signed({ sequence: 0 })));
  await node.world.scheduler.advance(1_000);
  expect(await node.drive(produce(partition, signed({ sequence: 0 })))).toEqual(first);
});

test('a batch that expects an offset is written there or nowhere', async () => {
  const node = await BrokerWorld.alone('expected');
  const partition = await node.serve();
  const expecting = (at: number, batch: Signed | null = null): Produced => {
    const more = { expectedOffset: offset(at) };
    return batch === null ? request({}, more) : signed(batch, more);
  };
  expect(await outcome(node, produce(partition, expecting(1)))).toBe('EXPECTED_OFFSET_MISMATCH 0');
  expect(await outcome(node, produce(partition, expecting(0)))).toBe('0+1');
  expect(await outcome(node, produce(partition, expecting(0)))).toBe('EXPECTED_OFFSET_MISMATCH 1');
  // A repeat found what it expected when it came first.
  expect(await outcome(node, produce(partition, expecting(1, { sequence: 0 })))).toBe('1+1');
  expect(await outcome(node, produce(partition, expecting(1, { sequence: 0 })))).toBe('1+1');
  // Of two that come at once one is the first.
  const both = [produce(partition, expecting(2)), produce(partition, expecting(2))];
  expect(await Promise.all(both.map(answer => outcome(node, answer)))).toEqual(['2+1', 'EXPECTED_OFFSET_MISMATCH 3']);
});

test('a producer is forgotten when it was silent for as long as the topic says, and not before', async () => {
  const node = await BrokerWorld.alone('silent');
  const partition = await node.serve({ config: { 'producer.id.expiration.ms': '60000' } });
  // Written long ago, by its own word; it comes again all the same.
  const old = {
    ...request(),
    batches: makeBatch({ timestamp: 1_000, producer: { id: 7, epoch: 0, baseSequence: 0 } }),
  };
  const repeat = (): Produced => ({ ...old, batches: Buffer.from(old.batches) });
  expect(await outcome(node, produce(partition, repeat()))).toBe('0+1');
  await node.world.scheduler.advance(59_000);
  await node.drive(partition.applyRetention());
  expect(await outcome(node, produce(partition, repeat()))).toBe('0+1');
  await node.world.scheduler.advance(2_000);
  await node.drive(partition.applyRetention());
  expect(await outcome(node, produce(partition, signed({ sequence: 1 })))).toBe('UNKNOWN_PRODUCER_ID');
});

test('the next leader knows what the one before took, and a zombie of an older epoch is refused by it', async () => {
  const world = await BrokerWorld.of('next-leader', ...three);
  const former = await world.replicate({ voters: three });
  expect(await outcome(world, produce(former, signed({ sequence: 0, count: 3 })))).toBe('0+3');
  expect(await outcome(world, produce(former, signed({ sequence: 3 })))).toBe('3+1');
  expect(await outcome(world, produce(former, signed({ sequence: 0, epoch: 1 })))).toBe('4+1');
  const cut = nodeOf(world, former);
  world.network.partition(
    [cut],
    three.filter(id => id !== cut),
  );
  await world.until(() => serving(world) !== undefined && serving(world) !== former);
  const next = serving(world)!;
  expect(await outcome(world, produce(next, signed({ sequence: 0, epoch: 1 })))).toBe('4+1');
  expect(await outcome(world, produce(next, signed({ sequence: 4 })))).toBe('PRODUCER_FENCED 1');
  expect(await outcome(world, produce(next, signed({ sequence: 1, epoch: 1 })))).toBe('5+1');
});

test('who repeats what a deposed leader could not commit is told what became of it, and the next leader takes it once', async () => {
  const world = await BrokerWorld.of('deposed', ...three);
  const former = await world.replicate({ voters: three });
  expect(await outcome(world, produce(former, signed({ sequence: 0 })))).toBe('0+1');
  const cut = nodeOf(world, former);
  const rest = three.filter(id => id !== cut);
  world.network.partition([cut], rest);
  const lost = [produce(former, signed({ sequence: 1 })), produce(former, signed({ sequence: 1 }))];
  const gap = produce(former, signed({ sequence: 9 }));
  await world.until(() => rest.some(id => world.node(id).partition().isServing));
  const next = rest.map(id => world.node(id).partition()).find(partition => partition.isServing)!;
  expect(await outcome(world, produce(next, signed({ sequence: 1, count: 2 })))).toBe('1+2');
  world.network.heal();
  for (const answer of [...lost, gap]) {
    expect(await world.drive(answer)).toMatchObject({ problem: { code: 'NOT_LEADER' } });
    expect(await answer).not.toHaveProperty('problem.facts.outcome');
  }
  await world.until(() => former.highWatermark === 3);
  // What the former leader took and lost is not known there either.
  expect(former.log.producers.table.judge({ producerId: 7, epoch: 0, baseSequence: 1, count: 1 }).kind).toBe(
    'out-of-order',
  );
  expect(former.log.producers.table.judge({ producerId: 7, epoch: 0, baseSequence: 1, count: 2 })).toMatchObject({
    kind: 'repeat',
    baseOffset: 1,
  });
});

test('a replica for which the log does not reach back is told of the producers whose records are gone, and of those whose are not', async () => {
  const world = await BrokerWorld.of('behind', ...three);
  const leader = await world.replicate({ voters: three, log: { segmentBytes: 300 } });
  await world.until(() => leader.inSyncNodes.length === 3);
  const behind = three.find(id => id !== nodeOf(world, leader))!;
  const rest = three.filter(id => id !== behind);
  world.network.partition([behind], rest);
  expect(await outcome(world, produce(leader, signed({ sequence: 0, id: 1, epoch: 3 })))).toBe('0+1');
  for (let sequence = 0; sequence < 8; sequence++) {
    expect(await outcome(world, produce(leader, signed({ sequence })))).toBe(`${sequence + 1}+1`);
  }
  expect(await world.drive(leader.deleteRecords(offset(6)))).toMatchObject({ ok: true });
  expect(leader.log.shape.base.offset).toBeGreaterThan(1);
  world.network.heal();
  const follower = world.node(behind).partition();
  await world.until(() => follower.highWatermark === 9 && follower.log.endOffset === 9);
  expect(follower.log.shape.base.offset).toBe(leader.log.shape.base.offset);
  const tableOf = (partition: Partition): unknown =>
    Object.fromEntries(
      partition.log.producers.table
        .all()
        .map(({ producerId, batches }) => [
          producerId,
          batches.map(({ epoch, baseOffset }) => `${epoch}/${baseOffset}`),
        ]),
    );
  expect(tableOf(follower)).toEqual(tableOf(leader));
  await world.until(() => leader.inSyncNodes.length === 3);
  expect(leader.transferTo(world.node(behind).nodeId)).toBe(true);
  await world.until(() => follower.isServing);
  expect(await outcome(world, produce(follower, signed({ sequence: 7 })))).toBe('8+1');
  expect(await outcome(world, produce(follower, signed({ sequence: 0, id: 1, epoch: 2 })))).toBe('PRODUCER_FENCED 3');
  expect(await outcome(world, produce(follower, signed({ sequence: 0, id: 1, epoch: 3 })))).toBe('0+1');
  expect(await outcome(world, produce(follower, signed({ sequence: 8 })))).toBe('9+1');
});

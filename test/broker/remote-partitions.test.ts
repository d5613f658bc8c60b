// Partitions that another node leads, over a simulated link: every question is answered as the leader answers it.

import { offset, topicId } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import { BODY_BYTES_MAX, PEER_CALL_BYTES_MAX, READ_BYTES_MAX } from '../../server/base/limits.ts';
import { fetchFromLeaders } from '../../server/broker/fetch-from-leaders.ts';
import { recordsOf } from '../storage/batches.ts';
import { type BrokerNode, BrokerWorld, request, TOPIC_ID } from './broker-world.ts';

const led = async (seed: string): Promise<{ world: BrokerWorld; asking: BrokerNode }> => {
  const world = await BrokerWorld.of(seed, 1, 2);
  await world.drive(world.node(2).open({ partition: 0 }));
  await world.leader([2]);
  return { world, asking: world.node(1) };
};

test('every question goes to the leader and back', async () => {
  const { world, asking } = await led('round-trip');
  const remote = asking.remote(2);
  const place = { topicId: TOPIC_ID, partition: 0 };
  const acked = await world.drive(remote.produce({ ...place, ...request({ count: 3 }) }));
  expect(acked).toEqual({ ok: true, value: { baseOffset: 0, count: 3, timestampMs: 1_767_225_600_002 } });
  await world.drive(remote.produce({ ...place, ...request({ count: 2, name: 'w' }) }));
  const question = { topicId: TOPIC_ID, bytesMax: 10_000, isolation: 'read_uncommitted', waitMs: 0 } as const;
  const fetched = await world.drive(remote.fetch({ ...question, positions: [{ partition: 0, offset: offset(0) }] }));
  const local = await world.drive(
    world.node(2).local.fetch({ ...question, positions: [{ partition: 0, offset: offset(0) }] }),
  );
  if (!fetched.ok || !local.ok) throw new Error('refused');
  for (const [at, { batches, ...head }] of fetched.value.entries()) {
    const { batches: kept, ...known } = local.value[at]!;
    expect([head, batches.flatMap(recordsOf)]).toEqual([known, kept.flatMap(recordsOf)]);
  }
  expect(fetched.value[0]?.batches).toHaveLength(2);
  for (const query of [{ kind: 'none' }, { kind: 'tail', count: 2 }, { kind: 'timestamp', timestampMs: 1 }] as const) {
    const offsets = { topicId: TOPIC_ID, partitions: [0], query };
    expect(await world.drive(remote.listOffsets(offsets))).toEqual(
      await world.drive(world.node(2).local.listOffsets(offsets)),
    );
  }
  const standings = { topicId: TOPIC_ID, partitions: [0] };
  expect(await world.drive(remote.standings(standings))).toEqual({
    ok: true,
    value: [
      {
        ...{ partition: 0, leaderEpoch: 1, isr: [2] },
        ...{ earliestOffset: 0, highWatermark: 5, logEndOffset: 5, heldByAll: 5 },
      },
    ],
  });
  const deleted = await world.drive(remote.deleteRecords({ ...place, beforeOffset: offset(3) }));
  expect(deleted).toEqual({ ok: true, value: { earliestOffset: 3 } });
  expect(await world.drive(remote.deleteRecords({ ...place, beforeOffset: offset(9) }))).toMatchObject({
    problem: { code: 'OFFSET_OUT_OF_RANGE', facts: { high_watermark: 5 } },
  });
});

test('who is not there, or does not lead, has done nothing', async () => {
  const { world, asking } = await led('elsewhere');
  const stranger = { topicId: topicId('00000000-0000-4000-8000-000000000002'), partition: 0 };
  expect(await world.drive(asking.remote(2).produce({ ...stranger, ...request() }))).toMatchObject({
    problem: { code: 'NOT_LEADER', facts: { partition: 0 } },
  });
  const unknown = await world.drive(asking.remote(7).produce({ topicId: TOPIC_ID, partition: 0, ...request() }));
  expect(unknown).toMatchObject({ problem: { code: 'NOT_LEADER' } });
  expect(unknown).not.toHaveProperty('problem.facts.outcome');
});

test('an answer that was lost on the way leaves the outcome open', async () => {
  const { world, asking } = await led('lost');
  world.network.setLink(1, 2, { dropAnswerChance: 1 });
  const answer = await world.drive(asking.remote(2).produce({ topicId: TOPIC_ID, partition: 0, ...request() }));
  expect(answer).toMatchObject({ problem: { code: 'REQUEST_TIMED_OUT', facts: { outcome: 'unknown', partition: 0 } } });
  await world.until(() => world.node(2).partition().highWatermark === 1);
});

test('one fetch over partitions of two leaders gives what both have, in the order asked for', async () => {
  const world = await BrokerWorld.of('two-leaders', 1, 2);
  await world.drive(world.node(1).open({ partition: 0 }));
  await world.drive(world.node(2).open({ partition: 1 }));
  const one = await world.leader([1], 0);
  await world.leader([2], 1);
  await world.drive(one.produce(request({ name: 'one' }))!);
  const asking = world.node(1);
  const positions = [1, 0].map(partition => ({ partition, offset: offset(0) }));
  const question = { topicId: TOPIC_ID, positions, bytesMax: 10_000, isolation: 'read_uncommitted' } as const;
  const present = await world.drive(fetchFromLeaders({ ...question, waitMs: 5_000 }, asking.routes, asking.clock));
  if (!present.ok) throw new Error(present.problem.detail);
  expect(present.value.map(piece => [piece.partition, piece.batches.length])).toEqual([
    [1, 0],
    [0, 1],
  ]);
  const behind = positions.map(({ partition }) => ({ partition, offset: offset(partition === 0 ? 1 : 0) }));
  const waiting = fetchFromLeaders({ ...question, positions: behind, waitMs: 60_000 }, asking.routes, asking.clock);
  await world.scheduler.advance(1_000);
  const began = asking.clock.monotonicMs();
  await world.drive(
    world
      .node(2)
      .partition(1)
      .produce(request({ name: 'two' }))!,
  );
  const woken = await world.drive(waiting);
  if (!woken.ok) throw new Error(woken.problem.detail);
  expect(woken.value.map(piece => [piece.partition, piece.batches.flatMap(recordsOf).length])).toEqual([
    [1, 1],
    [0, 0],
  ]);
  expect(asking.clock.monotonicMs() - began).toBeLessThan(5_000);
});

test('the largest request that a door takes is passed on, and no answer is larger than a call may be', async () => {
  const { world, asking } = await led('large');
  const large = { 'max.message.bytes': `${BODY_BYTES_MAX}` };
  await world.drive(world.node(2).open({ partition: 1, config: large }));
  await world.drive(world.node(2).open({ partition: 2, config: large }));
  await world.leader([2], 1);
  await world.leader([2], 2);
  const remote = asking.remote(2);
  const { batches } = request({ valueBytes: 1_000_000 });
  const many = Buffer.concat(Array.from({ length: 19 }, () => batches));
  const place = { topicId: TOPIC_ID, partition: 0 };
  expect(await world.drive(remote.produce({ ...place, ...request(), batches: many }))).toMatchObject({
    ok: true,
    value: { count: 19 },
  });
  const half = request({ valueBytes: 13_000_000 });
  for (const partition of [1, 2]) {
    const batch = Uint8Array.from(half.batches);
    await world.drive(remote.produce({ topicId: TOPIC_ID, partition, ...half, batches: batch }));
  }
  const answers: number[] = [];
  const { requests } = world.node(2);
  const handle = requests.handle.bind(requests);
  requests.handle = async (...asked) => {
    const answer = await handle(...asked);
    answers.push(answer.length);
    return answer;
  };
  const positions = [1, 2].map(partition => ({ partition, offset: offset(0) }));
  const question = { topicId: TOPIC_ID, bytesMax: READ_BYTES_MAX, isolation: 'read_uncommitted', waitMs: 0 } as const;
  const fetched = await world.drive(remote.fetch({ ...question, positions }));
  if (!fetched.ok) throw new Error(fetched.problem.detail);
  // What has no room is as if it had not been reached: it comes with the next fetch.
  expect(fetched.value.map(piece => [piece.batches.length, piece.nextOffset])).toEqual([
    [1, 1],
    [0, 0],
  ]);
  expect(Math.max(...answers)).toBeLessThanOrEqual(PEER_CALL_BYTES_MAX);
});

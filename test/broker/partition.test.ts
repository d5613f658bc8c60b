// One partition over its group on simulated disks: what producers and readers are answered, also when the disk does not do what it
// should, and when leadership moves.

import { offset } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import { DISK_HEADROOM_BYTES } from '../../server/base/limits.ts';
import { countPending, type ProduceResult } from '../../server/broker/parked-answers.ts';
import type { Partition } from '../../server/broker/partition.ts';
import { recordsOf } from '../storage/batches.ts';
import { type BrokerNode, BrokerWorld, DATA, failing, produce, request, TOPIC_ID } from './broker-world.ts';

/** Ten records that are committed. */
const fill = async (node: BrokerNode, partition: Partition): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) await node.drive(produce(partition, request({ count: 2, name: `${turn}` })));
};

const logFiles = (node: BrokerNode): number =>
  node.disk.filePaths().filter(path => path.startsWith(`${DATA}/t-0/`) && path.endsWith('.log')).length;

const isLogSync = failing(call => call.kind === 'sync' && call.path.endsWith('.log'));

const valuesFrom = async (node: BrokerNode, partition: Partition, from: number): Promise<readonly string[]> => {
  const read = await node.drive(partition.read(offset(from), 1_000_000));
  if (!read.ok) throw new Error(read.problem.detail);
  return read.value.batches.flatMap(recordsOf).map(record => record.value.replaceAll('.', ''));
};

// ---- Producing and reading

test('offsets begin at 0, in the order of the calls, and the epoch that begins there is given to no reader', async () => {
  const node = await BrokerWorld.alone('order');
  const partition = await node.serve();
  expect([partition.highWatermark, partition.leaderEpoch]).toEqual([0, 1]);
  const answers = [2, 3, 1].map((count, index) => produce(partition, request({ count, name: `n${index}-` })));
  expect(await node.drive(Promise.all(answers))).toEqual([
    { ok: true, value: { baseOffset: 0, count: 2, timestampMs: 1_767_225_600_001 } },
    { ok: true, value: { baseOffset: 2, count: 3, timestampMs: 1_767_225_600_002 } },
    { ok: true, value: { baseOffset: 5, count: 1, timestampMs: 1_767_225_600_000 } },
  ]);
  expect(partition.highWatermark).toBe(6);
  expect(await valuesFrom(node, partition, 0)).toEqual(['n0-0', 'n0-1', 'n1-0', 'n1-1', 'n1-2', 'n2-0']);
  expect(await node.drive(partition.read(offset(7), 1_000))).toMatchObject({
    problem: { code: 'OFFSET_OUT_OF_RANGE', facts: { earliest_offset: 0, high_watermark: 6 } },
  });
});

test('nothing is read before it is durable, and who asked for all is not answered either', async () => {
  const node = await BrokerWorld.alone('durable');
  const partition = await node.serve();
  node.disk.judge = call => (call.kind === 'sync' ? { kind: 'slow', delayMs: 500 } : { kind: 'usual' });
  let isAnswered = false;
  const all = produce(partition).then(answer => {
    isAnswered = true;
    return answer;
  });
  expect(await produce(partition, request({}, { acks: 'leader' }))).toMatchObject({
    ok: true,
    value: { baseOffset: 1 },
  });
  await node.world.scheduler.advance(400);
  expect([isAnswered, partition.highWatermark, partition.log.endOffset]).toEqual([false, 0, 2]);
  expect(await node.drive(partition.read(offset(0), 1_000))).toMatchObject({ ok: true, value: { batches: [] } });
  expect(await node.drive(all)).toMatchObject({ ok: true, value: { baseOffset: 0 } });
  await node.world.until(() => partition.highWatermark === 2);
});

test('bytes that are not committed count against the node, whether somebody waits for them or not', async () => {
  const node = await BrokerWorld.alone('pending');
  const { byteLength } = request().batches;
  node.pending = countPending(byteLength);
  const partition = await node.serve();
  // One is taken, however large it is, when nothing waits.
  const large = produce(partition, request({ valueBytes: 4 * byteLength }, { acks: 'none' }));
  expect(await large).toMatchObject({ ok: true });
  expect(node.pending.used).toBe(request({ valueBytes: 4 * byteLength }).batches.length);
  expect(await produce(partition)).toMatchObject({
    problem: { code: 'THROTTLED', facts: { pending_bytes: node.pending.used } },
  });
  await node.world.until(() => node.pending.used === 0);
  expect(await node.drive(produce(partition))).toMatchObject({ ok: true });
});

test('who waits too long is told that nothing is known, and what it wrote is committed all the same', async () => {
  const node = await BrokerWorld.alone('late');
  const partition = await node.serve();
  node.disk.judge = call => (call.kind === 'sync' ? { kind: 'slow', delayMs: 5_000 } : { kind: 'usual' });
  const patient = produce(partition, request({}, { timeoutMs: 60_000 }));
  const began = node.clock.monotonicMs();
  expect(await node.drive(produce(partition, request({}, { timeoutMs: 200 })))).toMatchObject({
    problem: { code: 'REQUEST_TIMED_OUT', facts: { outcome: 'unknown', partition: 0 } },
  });
  expect(node.clock.monotonicMs() - began).toBe(200);
  expect(node.pending.used).toBeGreaterThan(0);
  expect(await node.drive(patient)).toMatchObject({ ok: true, value: { baseOffset: 0 } });
  await node.world.until(() => partition.highWatermark === 2);
  expect(node.pending.used).toBe(0);
});

test('append time is what the record gets and what the producer is told', async () => {
  const node = await BrokerWorld.alone('append-time');
  const partition = await node.serve({ config: { 'message.timestamp.type': 'LogAppendTime' } });
  const nowMs = node.clock.wallMs();
  const answer = await node.drive(produce(partition, request({ timestamp: 1_000, count: 2 })));
  expect(answer).toMatchObject({ ok: true, value: { timestampMs: nowMs } });
  const read = await node.drive(partition.read(offset(0), 1_000));
  if (!read.ok) throw new Error(read.problem.detail);
  expect(read.value.batches.flatMap(recordsOf).map(record => record.timestamp)).toEqual([nowMs, nowMs]);
});

// ---- A disk that does not do what it should

test('a failed sync is told to everybody who waits; what was committed is read until a restart', async () => {
  const node = await BrokerWorld.alone('sync');
  const partition = await node.serve();
  await fill(node, partition);
  node.disk.judge = isLogSync;
  const answers = await node.drive(Promise.all([produce(partition), produce(partition)]));
  for (const answer of answers) {
    // The next start may find them on the disk, and keeps them then.
    expect(answer).toMatchObject({ problem: { code: 'STORAGE_FAILED', facts: { partition: 0, outcome: 'unknown' } } });
  }
  node.disk.judge = () => ({ kind: 'usual' });
  const refused = await produce(partition);
  expect(refused).toMatchObject({ problem: { code: 'STORAGE_FAILED' } });
  expect(refused).not.toHaveProperty('problem.facts.outcome');
  expect(await valuesFrom(node, partition, 0)).toEqual(['00', '01', '10', '11', '20', '21', '30', '31', '40', '41']);
  expect(node.pending.used).toBe(0);
  expect(partition.report().isOffline).toBe(true);
});

test('a disk that is full is what a producer is told, however long it takes to cut back what did not fit', async () => {
  const node = await BrokerWorld.alone('slow-cut');
  const partition = await node.serve();
  await fill(node, partition);
  node.disk.capacityBytes = node.disk.usedBytes();
  node.disk.judge = call => (call.kind === 'truncate' ? { kind: 'slow', delayMs: 1_000 } : { kind: 'usual' });
  const refused = await node.drive(produce(partition, request({ valueBytes: 20_000 })));
  expect(refused).toMatchObject({ problem: { code: 'DISK_FULL', facts: { partition: 0 } } });
  expect(refused).not.toHaveProperty('problem.facts.outcome');
  expect(node.pending.used).toBe(0);
});

test('a partition that failed deletes nothing until a restart', async () => {
  const node = await BrokerWorld.alone('failed');
  const partition = await node.serve();
  await fill(node, partition);
  node.disk.judge = isLogSync;
  await node.drive(produce(partition));
  node.disk.judge = () => ({ kind: 'usual' });
  const refused = await node.drive(partition.deleteRecords(offset(4)));
  expect(refused).toMatchObject({ ok: false, problem: { code: 'STORAGE_FAILED', facts: { partition: 0 } } });
  expect(partition.log.startOffset).toBe(0);
});

test('a log start that cannot be written is not moved, and the node is told that its store failed', async () => {
  const node = await BrokerWorld.alone('store');
  const partition = await node.serve();
  await fill(node, partition);
  node.disk.judge = failing(call => call.kind === 'sync' && call.path.includes('store-'));
  const refused = await node.drive(partition.deleteRecords(offset(4)));
  expect(refused).toMatchObject({ ok: false, problem: { code: 'STORAGE_FAILED' } });
  expect(partition.log.startOffset).toBe(0);
  expect(node.storeFaults).toEqual(['failed']);
});

test('a partition on a full disk deletes: that is what makes room, and then it takes records again', async () => {
  const node = await BrokerWorld.alone('full');
  const partition = await node.serve({ log: { segmentBytes: 200 } });
  await fill(node, partition);
  node.disk.capacityBytes = node.disk.usedBytes();
  const refused = await node.drive(produce(partition, request({ valueBytes: 20_000 })));
  expect(refused).toMatchObject({ problem: { code: 'DISK_FULL', facts: { partition: 0 } } });
  expect(await produce(partition)).toMatchObject({ problem: { code: 'DISK_FULL' } });
  expect(await valuesFrom(node, partition, 8)).toEqual(['40', '41']);
  const segments = logFiles(node);
  const deleted = await node.drive(partition.deleteRecords(offset(8)));
  expect(deleted).toEqual({ ok: true, value: { earliestOffset: 8 } });
  expect(logFiles(node)).toBeLessThan(segments);
  node.disk.capacityBytes += 2 * DISK_HEADROOM_BYTES;
  await node.world.until(() => partition.isServing);
  expect(await node.drive(produce(partition))).toMatchObject({ ok: true, value: { baseOffset: 10 } });
});

// ---- The end

test('a partition that closes makes durable what it took, answers it, and takes no more', async () => {
  const node = await BrokerWorld.alone('close');
  const partition = await node.serve();
  const answers = [produce(partition), produce(partition)];
  const closed = partition.close();
  expect(await produce(partition)).toMatchObject({ problem: { code: 'SHUTTING_DOWN' } });
  await node.drive(closed);
  expect((await Promise.all(answers)).map(answer => answer.ok)).toEqual([true, true]);
  expect(await partition.read(offset(0), 1_000)).toMatchObject({ problem: { code: 'SHUTTING_DOWN' } });
  expect(node.pending.used).toBe(0);
});

test('a partition that is deleted tells everybody who waits', async () => {
  const node = await BrokerWorld.alone('abandon');
  const partition = await node.serve();
  let woken = 0;
  partition.watch(() => woken++);
  const answer = produce(partition);
  const abandoned = partition.abandon();
  expect(woken).toBe(1);
  await node.drive(abandoned);
  // It was taken, and may have been read before the end.
  expect(await answer).toMatchObject({ problem: { code: 'TOPIC_NOT_FOUND', facts: { outcome: 'unknown' } } });
  expect(await partition.offsets({ kind: 'none' })).toMatchObject({ problem: { code: 'TOPIC_NOT_FOUND' } });
  expect(await partition.deleteRecords(offset(0))).toMatchObject({ problem: { code: 'TOPIC_NOT_FOUND' } });
});

// ---- Several replicas

const three = [1, 2, 3];

test('a replica that leads nothing takes nothing and gives nothing', async () => {
  const world = await BrokerWorld.of('follower', ...three);
  const leader = await world.replicate({ voters: three });
  await world.drive(produce(leader, request({ count: 4 })));
  const followers = three.map(id => world.node(id).partition()).filter(partition => partition !== leader);
  await world.until(() => followers.every(partition => partition.highWatermark === 4));
  for (const id of three) {
    const partition = world.node(id).partition();
    if (partition === leader) continue;
    expect([partition.isServing, partition.mayRead]).toEqual([false, false]);
    expect(partition.produce(request())).toBeNull();
    expect(await partition.read(offset(0), 1_000)).toMatchObject({ problem: { code: 'NOT_LEADER' } });
    // Nor does it say where it stands to a fetch that other partitions used up.
    const positions = [{ partition: 0, offset: offset(0) }];
    const used = { topicId: TOPIC_ID, positions, bytesMax: 0, isolation: 'read_uncommitted', waitMs: 0 } as const;
    expect(await world.node(id).local.fetch(used)).toMatchObject({ problem: { code: 'NOT_LEADER' } });
    expect(await partition.offsets({ kind: 'none' })).toMatchObject({ problem: { code: 'NOT_LEADER' } });
    expect(await partition.deleteRecords(offset(2))).toMatchObject({ problem: { code: 'NOT_LEADER' } });
    expect(partition.transferTo(world.node(1).nodeId)).toBe(false);
  }
});

test('an answer waits until as many replicas as the topic asks for have it on their disks', async () => {
  const world = await BrokerWorld.of('min-insync', ...three);
  const leader = await world.replicate({ voters: three, config: { 'min.insync.replicas': '3' } });
  const away = three.find(id => world.node(id).partition() !== leader);
  await world.until(() => leader.inSyncNodes.length === 3);
  const others = three.filter(id => id !== away);
  world.network.partition(others, [away!]);
  let answered: unknown = null;
  const answer = produce(leader).then(given => {
    answered = given;
    return given;
  });
  await world.until(() => leader.highWatermark === 1);
  await world.scheduler.advance(1_000);
  expect(answered).toBeNull();
  world.network.heal();
  expect(await world.drive(answer)).toMatchObject({ ok: true, value: { baseOffset: 0 } });
  expect(world.node(away!).partition().log.endOffset).toBe(1);
});

test('with too few replicas in sync nothing is written for who asks for all', async () => {
  const world = await BrokerWorld.of('not-enough', ...three);
  const leader = await world.replicate({ voters: three, config: { 'min.insync.replicas': '3' } });
  const away = three.find(id => world.node(id).partition() !== leader);
  await world.until(() => leader.inSyncNodes.length === 3);
  world.network.partition(
    three.filter(id => id !== away),
    [away!],
  );
  // It is missing when it misses something for long enough, while the group has something to do.
  while (leader.inSyncNodes.length === 3) {
    expect(await produce(leader, request({}, { acks: 'leader' }))).toMatchObject({ ok: true });
    await world.scheduler.advance(300);
  }
  expect(leader.inSyncNodes).toEqual(three.filter(id => id !== away));
  const { endOffset } = leader.log;
  expect(await produce(leader)).toMatchObject({
    problem: { code: 'NOT_ENOUGH_REPLICAS', facts: { partition: 0, in_sync: 2, min_insync_replicas: 3 } },
  });
  expect(leader.log.endOffset).toBe(endOffset);
  world.network.heal();
  await world.until(() => leader.inSyncNodes.length === 3);
  expect(await world.drive(produce(leader))).toMatchObject({ ok: true, value: { baseOffset: endOffset } });
});

/** A leader is cut off with a request that waits, and comes back once another one leads: what the request is answered. */
async function answerAfterCut(seed: string): Promise<ProduceResult> {
  const world = await BrokerWorld.of(seed, ...three);
  const former = await world.replicate({ voters: three });
  await world.drive(produce(former, request({ name: 'kept' })));
  const cut = three.find(id => world.node(id).partition() === former)!;
  const rest = three.filter(id => id !== cut);
  world.network.partition([cut], rest);
  const answer = produce(former, request({ name: 'lost' }));
  await world.until(() => rest.some(id => world.node(id).partition().isServing));
  world.network.heal();
  const next = rest.map(id => world.node(id).partition()).find(partition => partition.isServing)!;
  expect(await world.drive(produce(next, request({ name: 'next' })))).toMatchObject({
    ok: true,
    value: { baseOffset: 1 },
  });
  const answered = await world.drive(answer);
  expect(world.node(cut).pending.used).toBe(0);
  await world.until(() => former.highWatermark === 2);
  expect(next.leaderEpoch).toBeGreaterThan(1);
  expect(await valuesFrom(world.node(rest[0]!), next, 0)).toEqual(['kept0', 'next0']);
  return answered;
}

test('who waits at a leader that was cut off is told that nothing was written, once the next leader has decided it', async () => {
  const outcomes: unknown[] = [];
  for (let seed = 0; seed < 6; seed++) {
    const answered = await answerAfterCut(`cut-off-${seed}`);
    expect(answered).toMatchObject({ problem: { code: 'NOT_LEADER', facts: { partition: 0 } } });
    outcomes.push(answered.ok ? 'written' : answered.problem.facts['outcome']);
  }
  // Without an outcome it may be sent again without writing it twice. Links may be back too late for that.
  expect(new Set(outcomes.filter(outcome => outcome !== 'unknown'))).toEqual(new Set([undefined]));
});

test('who waits at a leader that stays cut off is told that nothing is known', async () => {
  const world = await BrokerWorld.of('stays-cut-off', ...three);
  const former = await world.replicate({ voters: three });
  const cut = three.find(id => world.node(id).partition() === former)!;
  const rest = three.filter(id => id !== cut);
  world.network.partition([cut], rest);
  expect(await world.drive(produce(former, request({ name: 'lost' })))).toMatchObject({
    problem: { code: 'NOT_LEADER', facts: { outcome: 'unknown', partition: 0 } },
  });
  expect(world.node(cut).pending.used).toBe(0);
});

test('leadership that is handed over goes to a replica that has everything', async () => {
  const world = await BrokerWorld.of('hand-over', ...three);
  const former = await world.replicate({ voters: three });
  await world.drive(produce(former, request({ count: 3 })));
  await world.until(() => former.inSyncNodes.length === 3);
  former.handOver();
  await world.until(() =>
    three.some(id => world.node(id).partition() !== former && world.node(id).partition().isServing),
  );
  const next = three.map(id => world.node(id).partition()).find(partition => partition.isServing)!;
  expect(next).not.toBe(former);
  expect(next.highWatermark).toBe(3);
  const back = world.node(three.find(id => world.node(id).partition() === former)!).nodeId;
  await world.until(() => next.inSyncNodes.length === 3);
  expect(next.transferTo(back)).toBe(true);
  await world.until(() => former.isServing);
});

test('a follower whose disk fails or is full leaves the answer to the leader', async () => {
  const world = await BrokerWorld.of('follower-fails', 1, 2, 3);
  const leader = await world.replicate({ voters: [1, 2, 3] });
  const follower = [1, 2, 3].map(id => world.node(id)).find(node => node.partition() !== leader)!;
  follower.disk.judge = failing(call => call.kind === 'sync' && call.path.endsWith('.log'));
  await world.drive(produce(leader));
  await world.until(() => follower.partition().log.state === 'failed');
  expect(follower.partition().produce(request())).toBe(null);
  expect(await world.drive(follower.partition().deleteRecords(offset(1)))).toMatchObject({
    problem: { code: 'NOT_LEADER' },
  });
  const name = { topicId: TOPIC_ID, partition: 0 };
  const untilMs = follower.clock.monotonicMs() + 5_000;
  const asked = follower.routes.ask(name, untilMs, service => service.produce({ ...name, ...request() }));
  expect(await world.drive(asked)).toMatchObject({ ok: true, value: { baseOffset: 1 } });
});

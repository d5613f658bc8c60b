// Replicas whose files were damaged behind their back: made whole from the others, whoever leads, and as they were where nobody can help.

import { offset } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import { positionAt } from '../../server/base/position.ts';
import type { Partition } from '../../server/broker/partition.ts';
import { REPAIR_PIECE_BYTES, TAIL_CACHE_BYTES_MAX } from '../../server/base/limits.ts';
import { STORED_ENTRIES } from '../../server/replication/replica-repair.ts';
import { ByteWriter } from '../../server/replication/byte-writer.ts';
import { askPeer } from '../../server/replication/peer-request.ts';
import { LogMarks } from '../../server/storage/log-marks.ts';
import { type BrokerNode, BrokerWorld, DATA, produce, request, TOPIC_ID } from './broker-world.ts';

const three = [1, 2, 3];
const TURNS = 12;

/** Three replicas of one partition in several segments; the node that leads, and one that does not. */
const filled = async (
  seed: string,
): Promise<{ readonly world: BrokerWorld; readonly leader: BrokerNode; readonly follower: BrokerNode }> => {
  const world = await BrokerWorld.of(seed, ...three);
  const leading = await world.replicate({ voters: three, log: { segmentBytes: 500 } });
  for (let turn = 0; turn < TURNS; turn++) {
    await world.drive(produce(leading, request({ count: 2, name: `${turn}`, valueBytes: 50 })));
  }
  const all = three.map(id => world.node(id));
  await world.until(() => all.every(node => node.partition().log.durableOffset === TURNS * 2));
  const leader = all.find(node => node.partition() === leading)!;
  return { world, leader, follower: all.find(node => node !== leader)! };
};

const logFiles = (node: BrokerNode): readonly string[] =>
  node.disk.filePaths().filter(path => path.startsWith(`${DATA}/t-0/`) && path.endsWith('.log'));

const contents = (node: BrokerNode): ReadonlyMap<string, string> =>
  new Map(logFiles(node).map(path => [path, Buffer.from(node.disk.contents(path)).toString('hex')]));

/** One byte of a batch in a sealed segment, which is found by reading it. */
const damage = async (node: BrokerNode, segment = 1): Promise<void> => {
  const path = logFiles(node)[segment]!;
  flip(node, path);
  await read(node, Number(/(\d+)\.log$/.exec(path)![1]));
};

const flip = (node: BrokerNode, path: string): void => node.disk.rot(path, 80, byte => byte ^ 1);

/** From the disk. */
const read = (node: BrokerNode, from: number): Promise<unknown> => {
  const { log } = node.partition();
  const tail = node.directory.context.tailCache.newTail();
  tail.push(Buffer.allocUnsafeSlow(TAIL_CACHE_BYTES_MAX));
  tail.clear();
  return node.drive(log.read(offset(from), { endMax: log.durableOffset, bytesMax: 1 }));
};

const isWhole = ({ log, group }: Partition): boolean =>
  log.damagedRanges.length === 0 && group.condition.kind === 'sound';

test('a follower whose log is damaged fetches what it lost', async () => {
  const { world, follower } = await filled('follower');
  const before = contents(follower);
  await damage(follower);
  expect(follower.partition().log.damagedRanges).toHaveLength(1);
  await world.until(() => isWhole(follower.partition()));
  expect(contents(follower)).toEqual(before);
  expect(follower.repaired).toMatchObject([{ file: logFiles(follower)[1] }]);
});

test('a leader whose log is damaged fetches what it lost and serves it', async () => {
  const { world, leader } = await filled('leader');
  const before = contents(leader);
  await damage(leader);
  await world.until(() => isWhole(leader.partition()));
  expect(contents(leader)).toEqual(before);
  // Whoever leads by now: all that was committed is read.
  const leading = await world.leader(three);
  for (let from = 0; from < TURNS * 2; from += 2) {
    expect(await world.drive(leading.read(offset(from), 1_000))).toMatchObject({ ok: true });
  }
});

test('who is damaged as well gives nothing, and the next one is asked', async () => {
  const { world, leader, follower } = await filled('two');
  const before = contents(follower);
  const [path] = logFiles(leader);
  for (const node of [leader, follower]) flip(node, path!);
  await Promise.all([leader, follower].map(node => read(node, 0)));
  await world.until(() => isWhole(follower.partition()) && isWhole(leader.partition()));
  expect([contents(follower), contents(leader)]).toEqual([before, before]);
});

test('replicas that are damaged in different places help each other', async () => {
  const { world } = await filled('crosswise');
  const all = three.map(id => world.node(id));
  const before = contents(all[0]!);
  await Promise.all(all.map((node, index) => damage(node, index)));
  await world.until(() => all.every(node => isWhole(node.partition())));
  expect(all.map(contents)).toEqual([before, before, before]);
});

test('what nobody has any more stays as it is everywhere', async () => {
  const { world, leader } = await filled('nobody');
  const all = three.map(id => world.node(id));
  for (const node of all) flip(node, logFiles(node)[0]!);
  await Promise.all(all.map(node => read(node, 0)));
  const sealed = (node: BrokerNode): readonly (readonly [string, string])[] => [...contents(node)].slice(0, -1);
  const before = sealed(leader);
  const startMs = world.scheduler.nowMs;
  await world.until(() => world.scheduler.nowMs > startMs + 10_000);
  expect(all.map(node => node.partition().log.damagedRanges.length)).toEqual([1, 1, 1]);
  // An election may have written to the last one.
  expect(all.map(sealed)).toEqual([before, before, before]);
});

test('a replica that missed something at its start is whole once it has what a leader has committed', async () => {
  const world = await BrokerWorld.of('missing', ...three);
  const node = world.node(3);
  const marks = new LogMarks(node.directory.context.store, `${TOPIC_ID}/0`);
  marks.setFault({ reason: 'record-missing', claims: positionAt(1, 4) });
  const leader = await world.replicate({ voters: three });
  const { group } = node.partition();
  expect(group.condition.kind).toBe('faulty');
  await world.drive(produce(leader, request({ count: 3 })));
  await world.until(() => node.partition().highWatermark === 3);
  expect([leader.group.term, group.condition.kind]).toEqual([1, 'faulty']);
  await world.drive(produce(leader, request({ count: 1 })));
  await world.until(() => group.condition.kind === 'sound');
  expect([node.partition().highWatermark, marks.fault()]).toEqual([4, null]);
});

test('a replica that has no others and missed something stays faulty', async () => {
  const node = await BrokerWorld.alone('missing alone');
  const marks = new LogMarks(node.directory.context.store, `${TOPIC_ID}/0`);
  marks.setFault({ reason: 'record-missing', claims: positionAt(0, 0) });
  const partition = await node.serve();
  await node.drive(produce(partition));
  expect([partition.group.condition.kind, marks.fault()?.reason]).toEqual(['faulty', 'record-missing']);
});

test('a replica that has no others stays as it is, and serves what it can', async () => {
  const node = await BrokerWorld.alone('alone');
  const partition = await node.serve({ log: { segmentBytes: 500 } });
  for (let turn = 0; turn < TURNS; turn++) await node.drive(produce(partition, request({ count: 2, valueBytes: 50 })));
  await damage(node);
  expect(await node.drive(partition.read(offset(0), 1))).toMatchObject({ ok: true });
  expect(partition.log.damagedRanges).toHaveLength(1);
});

test('a request that is none, or of a replica that is not there, is refused', async () => {
  const { world, leader, follower } = await filled('requests');
  const bodyOf = (partition: number, epoch: number, at: number): Uint8Array => {
    const writer = new ByteWriter(36);
    writer.uuid(TOPIC_ID);
    writer.uint32(partition);
    writer.uint32(epoch);
    writer.offset(offset(at));
    writer.uint32(REPAIR_PIECE_BYTES);
    return writer.finish();
  };
  const ask = (body: Uint8Array): Promise<unknown> =>
    world.drive(
      askPeer(follower.links!, { to: leader.nodeId, kind: STORED_ENTRIES, body }, { timeoutMs: 1_000 }).then(answer =>
        answer.kind === 'answer' ? answer.body[0] : answer.kind,
      ),
    );
  const { epoch } = leader.partition().log.durable;
  expect(await ask(bodyOf(0, epoch, 2))).toBe(0);
  expect(await ask(bodyOf(1, epoch, 2))).toBe(1);
  expect(await ask(bodyOf(0, epoch, 1_000))).toBe(1);
  expect(await ask(bodyOf(0, epoch + 7, 2))).toBe(1);
  expect(await ask(new Uint8Array(3))).toBe(1);
  expect(await ask(new Uint8Array(100).fill(0xff))).toBe(1);
});

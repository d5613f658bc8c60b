import { nodeId, topicId } from '@sluice/protocol/ids';
import { describe, expect, test } from 'vitest';
import { BALANCE_TICKS, BROKER_SESSION_MS, CONTROLLER_TICK_MS } from '../../server/base/limits.ts';
import { encodeSnapshot } from '../../server/state/cluster/snapshot.ts';
import type { ClusterImage } from '../../server/state/cluster/image.ts';
import type { FormerCatalogue } from '../../server/state/cluster/single-broker.ts';
import { MetadataWorld, type WorldNode } from './metadata-world.ts';

const bytesOf = (image: ClusterImage): string => Buffer.concat([...encodeSnapshot(image)]).toString('hex');

/** All nodes that run hold the same image. */
const agree = (nodes: readonly WorldNode[]): boolean =>
  new Set(nodes.map(node => `${node.metadata.image().version}`)).size === 1 &&
  new Set(nodes.map(node => bytesOf(node.metadata.image()))).size === 1;

const topicsOf = (node: WorldNode): readonly string[] => [...node.metadata.image().topics.keys()];

const readyAll = (world: MetadataWorld, nodes: readonly WorldNode[]) =>
  world.drive(Promise.all(nodes.map(node => node.metadata.setReady(true))));

const three = async (world: MetadataWorld): Promise<readonly [WorldNode, WorldNode, WorldNode]> => {
  const nodes = await world.found(1, 2, 3);
  await readyAll(world, nodes);
  return nodes as readonly [WorldNode, WorldNode, WorldNode];
};

const controllerOf = (nodes: readonly WorldNode[]): WorldNode => {
  const leader = nodes.find(node => node.group?.isLeader === true);
  if (leader === undefined) throw new Error('nobody leads');
  return leader;
};

const others = (nodes: readonly WorldNode[], node: WorldNode): readonly WorldNode[] =>
  nodes.filter(each => each !== node);

const restart = async (world: MetadataWorld, node: WorldNode): Promise<void> => {
  await node.start({ kind: 'cluster', nodes: world.list(1, 2, 3) });
};

const create = (world: MetadataWorld, node: WorldNode, name: string, replicationFactor = 1) =>
  world.drive(node.metadata.createTopic({ name, partitionCount: 2, replicationFactor }));

describe('a node alone', () => {
  test('founds a cluster of one without waiting for anybody, and keeps what it is told', async () => {
    const world = new MetadataWorld('alone');
    const node = world.node(1);
    await node.start({ kind: 'alone' });
    await world.drive(node.metadata.joined());
    // No election time-out, no round of questions: a handful of syncs.
    expect(world.scheduler.nowMs).toBeLessThan(100);
    expect(node.metadata.image().founded).toMatchObject({ clusterId: node.life.directory.identity.clusterId });
    await readyAll(world, [node]);
    expect(await create(world, node, 'orders')).toMatchObject({ ok: true });
    await node.stop();
    await node.start({ kind: 'alone' });
    await world.drive(node.metadata.joined());
    expect(topicsOf(node)).toEqual(['orders']);
    expect(node.metadata.controller()).toBe(nodeId(1));
  });

  test('has no incoming links to answer, and needs none', async () => {
    const world = new MetadataWorld('no peers');
    const node = world.node(1, { isWithoutLinks: true });
    await node.start({ kind: 'alone' });
    await readyAll(world, [node]);
    expect(await create(world, node, 'orders')).toMatchObject({ ok: true });
  });

  test('takes the topics of an older directory with it, once', async () => {
    const world = new MetadataWorld('older');
    const node = world.node(1);
    const id = (number: number) => topicId(`aaaaaaaa-0000-4000-8000-00000000000${number}`);
    const catalogue: FormerCatalogue = {
      topics: new Map([
        ['kept', { name: 'kept', id: id(1), partitionCount: 3, internal: false, config: { 'retention.ms': '1000' } }],
      ]),
      deleted: [{ name: 'kept', id: id(2), partitionCount: 1 }],
    };
    node.catalogue = catalogue;
    await node.start({ kind: 'alone' });
    await readyAll(world, [node]);
    const topic = node.metadata.image().topics.get('kept');
    expect(topic).toMatchObject({ topicId: id(1), config: { 'retention.ms': '1000' } });
    expect(topic?.partitions).toHaveLength(3);
    expect([...node.metadata.image().deletedTopics.keys()]).toEqual([id(2)]);
    expect(await world.drive(node.metadata.acknowledgeRemoval([id(2)]))).toMatchObject({ ok: true });
    expect(await world.drive(node.metadata.deleteTopic('kept'))).toMatchObject({ ok: true });
    node.kill('crash');
    await node.start({ kind: 'alone' });
    await world.drive(node.metadata.joined());
    expect(topicsOf(node)).toEqual([]);
    expect([...node.metadata.image().deletedTopics.keys()]).toEqual([id(1)]);
  });

  test('stays the cluster that it is when it is given a list, and the others join it', async () => {
    for (const isOlder of [false, true]) {
      const world = new MetadataWorld(`grows ${isOlder}`);
      const node = world.node(2);
      if (isOlder) {
        const topic = { name: 'old', id: topicId('aaaaaaaa-0000-4000-8000-000000000001'), partitionCount: 1 };
        const topics = new Map([['old', { ...topic, internal: false, config: {} }]]);
        node.catalogue = { topics, deleted: [] };
      } else {
        await node.start({ kind: 'alone' });
        await readyAll(world, [node]);
        expect(await create(world, node, 'old')).toMatchObject({ ok: true });
        node.kill('crash');
      }
      const list = { kind: 'cluster', nodes: world.list(1, 2) } as const;
      const other = world.node(1);
      await other.start(list);
      await node.start(list);
      await world.drive(Promise.all([node, other].map(each => each.metadata.joined())));
      expect(other.group).toBe(null);
      expect(other.metadata.clusterId).toBe(node.life.directory.identity.clusterId);
      expect([topicsOf(node), topicsOf(other)]).toEqual([['old'], ['old']]);
    }
  });

  test('is refused a start when the metadata of a cluster is there, but not which', async () => {
    const world = new MetadataWorld('no membership');
    const node = world.node(1);
    await node.start({ kind: 'alone' });
    await world.drive(node.metadata.joined());
    await node.stop();
    node.disk.erase('/data/cluster.json');
    await expect(node.start({ kind: 'alone' })).rejects.toThrow(/but no cluster.json/);
  });

  test('interrupted anywhere while it founds, is founded by the next start', async () => {
    for (let step = 0; step < 25; step++) {
      const world = new MetadataWorld(`interrupted ${step}`);
      const node = world.node(1);
      const started = node.beginStart({ kind: 'alone' });
      started.catch(() => {});
      for (let count = 0; count < step * 7; count++) await world.scheduler.step();
      node.kill('crash');
      const second = world.node(1);
      await second.start({ kind: 'alone' });
      await world.drive(second.metadata.joined());
      expect([...second.metadata.image().brokers.keys()]).toEqual([1]);
      expect(second.failures).toEqual([]);
    }
  });
});

describe('nodes of a list', () => {
  test('found one cluster, and anyone takes changes', async () => {
    const world = new MetadataWorld('three');
    const nodes = await three(world);
    const { founded } = nodes[0].metadata.image();
    expect(founded?.voters.map(voter => voter.nodeId)).toEqual([1, 2, 3]);
    for (const [index, node] of nodes.entries()) {
      expect(await create(world, node, `topic-${index}`, 3)).toMatchObject({ ok: true });
      // Whoever was asked sees what it did at once.
      expect(topicsOf(node)).toContain(`topic-${index}`);
    }
    await world.until(() => agree(nodes));
    expect(topicsOf(nodes[2])).toEqual(['topic-0', 'topic-1', 'topic-2']);
    expect(await create(world, nodes[1], 'topic-0')).toMatchObject({ ok: false, problem: { code: 'TOPIC_EXISTS' } });
    const altered = nodes[2].metadata.alterTopic({
      name: 'topic-0',
      partitionCount: 5,
      config: { 'retention.ms': '5' },
    });
    expect(await world.drive(altered)).toMatchObject({ ok: true });
    expect(nodes[2].metadata.image().topics.get('topic-0')?.partitions).toHaveLength(5);
    const blocks = await world.drive(Promise.all(nodes.map(node => node.metadata.allocateProducerIds())));
    const firsts = blocks.map(block => (block.ok ? block.value.first : -1));
    expect(new Set(firsts).size).toBe(3);
    expect(nodes.flatMap(node => node.failures)).toEqual([]);
  });

  test('wait while one is missing, and say for whom', async () => {
    const world = new MetadataWorld('missing');
    const [one, two] = [world.node(1), world.node(2)];
    const list = world.list(1, 2, 3);
    await one.start({ kind: 'cluster', nodes: list });
    await two.start({ kind: 'cluster', nodes: list });
    await world.scheduler.advance(120_000);
    expect([one.metadata.clusterId, two.metadata.clusterId]).toEqual([null, null]);
    expect(world.said(/have not answered yet: 3/).length).toBeGreaterThan(0);
    const last = world.node(3);
    await last.start({ kind: 'cluster', nodes: list });
    await world.drive(Promise.all([one, two, last].map(node => node.metadata.joined())));
    expect(new Set([one, two, last].map(node => node.metadata.clusterId)).size).toBe(1);
  });

  test('found nothing while they were told of different ones', async () => {
    const world = new MetadataWorld('lists');
    await world.node(1).start({ kind: 'cluster', nodes: world.list(1, 2) });
    await world.node(2).start({ kind: 'cluster', nodes: world.list(1, 2, 3) });
    await world.node(3).start({ kind: 'cluster', nodes: world.list(1, 2, 3) });
    await world.scheduler.advance(60_000);
    expect([1, 2, 3].map(id => world.node(id).metadata.clusterId)).toEqual([null, null, null]);
    expect(world.said(/started with another list/).length).toBeGreaterThan(0);
  });

  test('killed anywhere while they found, found one cluster after all', async () => {
    for (let seed = 0; seed < 6; seed++) {
      const world = new MetadataWorld(`killed ${seed}`);
      const draw = world.random.fork('kills');
      const nodes = [1, 2, 3].map(id => world.node(id));
      for (const node of nodes) await restart(world, node);
      for (let kill = 0; kill < 6; kill++) {
        await world.scheduler.advance(draw.fraction() * 1_500);
        const node = draw.pick(nodes);
        node.kill(draw.pick(['kill', 'crash']));
        await restart(world, node);
      }
      await world.drive(Promise.all(nodes.map(node => node.metadata.joined())));
      await world.until(() => agree(nodes));
      expect(new Set(nodes.map(node => node.metadata.clusterId)).size).toBe(1);
      expect(nodes.flatMap(node => node.failures)).toEqual([]);
    }
  });

  test('do not mix with another cluster', async () => {
    const world = new MetadataWorld('two clusters');
    const ours = await world.found(1, 2, 3);
    const theirs = [4, 5].map(id => world.node(id));
    for (const node of theirs) await node.start({ kind: 'cluster', nodes: world.list(4, 5) });
    await world.drive(Promise.all(theirs.map(node => node.metadata.joined())));
    const ids = [ours[0]!.metadata.clusterId, theirs[0]!.metadata.clusterId];
    expect(ids[0]).not.toBe(ids[1]);
    // A node of one is told of a node of the other.
    await theirs[1]!.stop();
    await theirs[1]!.start({ kind: 'cluster', nodes: world.list(1, 2, 3, 4, 5) });
    await world.scheduler.advance(20_000);
    expect(theirs[1]!.metadata.clusterId).toBe(ids[1]);
    expect([...ours[0]!.metadata.image().brokers.keys()]).toEqual([1, 2, 3]);
    expect([...theirs[1]!.metadata.image().brokers.keys()]).toEqual([4, 5]);
    // A blank one that is told of both belongs to none.
    const lost = world.node(6);
    await lost.start({ kind: 'cluster', nodes: world.list(3, 4, 6) });
    await world.scheduler.advance(20_000);
    expect(lost.metadata.clusterId).toBe(null);
    expect(world.said(/belong to different clusters/).length).toBeGreaterThan(0);
  });
});

describe('a controller that is lost', () => {
  test('is followed by another one, which goes on', async () => {
    const world = new MetadataWorld('lost controller');
    const nodes = await three(world);
    expect(await create(world, nodes[0], 'before')).toMatchObject({ ok: true });
    const first = controllerOf(nodes);
    first.kill('crash');
    const rest = others(nodes, first);
    const after = await create(world, rest[0]!, 'after');

    expect(after).toMatchObject({ ok: true });
    expect(topicsOf(rest[0]!)).toEqual(['after', 'before']);
    expect(rest[1]!.metadata.controller()).not.toBe(first.id);
    // The new one gives everybody the full time, and then fences who stays away.
    await world.until(() => rest[0]!.metadata.image().brokers.get(first.id)?.fenced === true);
    expect(rest.map(node => rest[0]!.metadata.image().brokers.get(node.id)?.fenced)).toEqual([false, false]);
    await restart(world, first);
    await readyAll(world, [first]);
    await world.until(() => agree(nodes));
    expect(first.metadata.image().brokers.get(first.id)).toMatchObject({ fenced: false });
  });

  test('because it stops, loses no request of the others', async () => {
    for (let seed = 0; seed < 8; seed++) {
      const world = new MetadataWorld(`stops ${seed}`);
      const nodes = await three(world);
      const first = controllerOf(nodes);
      const rest = others(nodes, first);
      const created = rest.flatMap((node, index) =>
        [0, 1, 2].map(each => node.metadata.createTopic({ name: `t-${index}-${each}`, partitionCount: 1 })),
      );
      await world.scheduler.advance(world.random.fraction() * 4);
      await first.stop();
      const results = await world.drive(Promise.all(created));
      expect(results.map(result => (result.ok ? 'ok' : result.problem.code))).toEqual(created.map(() => 'ok'));
      expect(topicsOf(rest[0]!)).toHaveLength(6);
    }
  });

  test('cut off from the others, changes nothing and says that it does not know', async () => {
    const world = new MetadataWorld('cut off');
    const nodes = await three(world);
    const first = controllerOf(nodes);
    const rest = others(nodes, first);
    world.network.partition(
      [first.id],
      rest.map(node => node.id),
    );
    const asked = first.metadata.createTopic({ name: 'lost', partitionCount: 1 });
    const elsewhere = rest[0]!.metadata.createTopic({ name: 'kept', partitionCount: 1 });
    expect(await world.drive(elsewhere)).toMatchObject({ ok: true });
    expect(await world.drive(asked)).toMatchObject({ ok: false, problem: { facts: { outcome: 'unknown' } } });
    expect(topicsOf(first)).toEqual([]);
    world.network.heal();
    await world.until(() => agree(nodes));
    expect(topicsOf(first)).toEqual(['kept']);
  });

  test('does not answer from what it alone still believes', async () => {
    const world = new MetadataWorld('deposed');
    const nodes = await three(world);
    const first = controllerOf(nodes);
    expect(await create(world, first, 'orders')).toMatchObject({ ok: true });
    world.network.partition(
      [first.id],
      others(nodes, first).map(node => node.id),
    );
    // Nothing has to be written for this answer, and it must not leave all the same.
    const answer = await world.drive(first.metadata.createTopic({ name: 'orders', partitionCount: 1 }));
    expect(answer).toMatchObject({ ok: false });
    expect(answer.ok ? '' : answer.problem.code).not.toBe('TOPIC_EXISTS');
  });

  test('and a majority with it: nothing is changed until it is back', async () => {
    const world = new MetadataWorld('majority');
    const nodes = await three(world);
    nodes[0].kill();
    nodes[1].kill();
    const answer = await world.drive(nodes[2].metadata.createTopic({ name: 'orders', partitionCount: 1 }));
    expect(answer.ok).toBe(false);
    await restart(world, nodes[0]);
    await readyAll(world, [nodes[0]]);
    expect(await create(world, nodes[2], 'later')).toMatchObject({ ok: true });
  });
});

describe('brokers', () => {
  test('that are silent for too long are fenced, and come back by a heartbeat', async () => {
    const world = new MetadataWorld('silent');
    const nodes = await three(world);
    const first = controllerOf(nodes);
    const [silent, heard] = others(nodes, first) as [WorldNode, WorldNode];
    world.network.partition([silent.id], [first.id, heard.id]);
    const cutMs = world.scheduler.nowMs;
    await world.until(() => heard.metadata.image().brokers.get(silent.id)?.fenced === true);
    expect(world.scheduler.nowMs - cutMs).toBeGreaterThan(BROKER_SESSION_MS - 3_000);
    world.network.heal();
    await world.until(() => heard.metadata.image().brokers.get(silent.id)?.fenced === false);
  });

  test('that drain are emptied of leaderships, and preferred leaders come back, a few at a time', async () => {
    const world = new MetadataWorld('balance');
    const nodes = await three(world);
    const first = controllerOf(nodes);
    expect(await create(world, first, 'orders', 3)).toMatchObject({ ok: true });
    const topic = first.metadata.image().topics.get('orders');
    const [preferred, other] = topic!.partitions[0]!.replicas.map(replica => replica.nodeId) as number[] as [
      number,
      number,
    ];
    for (const node of nodes) {
      node.leaderships = ({ topicId: id, partition }) =>
        id === topic!.topicId && partition === 0
          ? { leader: nodeId(other), inSync: [nodeId(preferred), nodeId(other)] }
          : null;
    }
    await world.scheduler.advance(CONTROLLER_TICK_MS * BALANCE_TICKS * 4);
    const asked = nodes.flatMap(node => node.transfers.map(transfer => [node.id, transfer.to]));
    expect(asked).toEqual([[other, preferred]]);
    expect(await world.drive(first.metadata.drainBroker({ nodeId: nodeId(preferred), draining: true }))).toMatchObject({
      ok: true,
    });
    expect(first.metadata.image().brokers.get(nodeId(preferred))?.draining).toBe(true);
  });

  test('with the directory of nobody are refused, and told what to do', async () => {
    const world = new MetadataWorld('wiped');
    const nodes = await three(world);
    const wiped = nodes[2];
    wiped.kill();
    wiped.wipe();
    await restart(world, wiped);
    await world.until(() => world.said(/cannot register/).length > 0);
    expect(world.said(/with another data directory, whose copies are not here/)).toHaveLength(1);
    // It knows the cluster all the same, and changes nothing of who votes.
    await world.until(() => wiped.metadata.image().founded !== null);
    expect(wiped.group).toBe(null);
    expect(await create(world, nodes[0], 'orders')).toMatchObject({ ok: true });
    await world.until(() => topicsOf(wiped).includes('orders'));
  });
});

describe('a node that does not vote', () => {
  test('follows, and takes changes as any other', async () => {
    const world = new MetadataWorld('observer');
    const nodes = await three(world);
    const observer = world.node(4);
    await observer.start({ kind: 'join', nodes: world.list(1, 2) });
    await world.drive(observer.metadata.joined());
    await readyAll(world, [observer]);
    expect(observer.group).toBe(null);
    expect(await create(world, observer, 'asked-here', 3)).toMatchObject({ ok: true });
    expect(topicsOf(observer)).toEqual(['asked-here']);
    expect(await create(world, nodes[0], 'asked-there')).toMatchObject({ ok: true });
    await world.until(() => agree([...nodes, observer]));
    expect([...nodes[0].metadata.image().brokers.keys()]).toEqual([1, 2, 3, 4]);
    controllerOf(nodes).kill();
    expect(await create(world, observer, 'later')).toMatchObject({ ok: true });
    observer.kill('crash');
    await observer.start({ kind: 'join', nodes: world.list(1, 2) });
    await world.drive(observer.metadata.joined());
    expect(topicsOf(observer)).toContain('later');
  });

  test('is one of a list that is longer than the quorum', async () => {
    const world = new MetadataWorld('five');
    const nodes = await world.found(1, 2, 3, 4, 5);
    expect(nodes.map(node => node.group !== null)).toEqual([true, true, true, false, false]);
    await readyAll(world, nodes);
    expect(await create(world, nodes[4]!, 'orders', 5)).toMatchObject({ ok: true });
  });
});

describe('the image', () => {
  test('is kept, and the log goes behind it; who is behind is sent the image', async () => {
    const world = new MetadataWorld('kept');
    const options = { snapshotEveryRecords: 20 };
    for (const id of [1, 2, 3, 4]) world.node(id, options);
    const nodes = await three(world);
    const first = controllerOf(nodes);
    const [behind, beside] = others(nodes, first) as [WorldNode, WorldNode];
    behind.kill('crash');
    for (let count = 0; count < 150; count++) {
      const name = `t-${count % 5}`;
      const exists = first.metadata.image().topics.has(name);
      await world.drive(
        exists ? first.metadata.deleteTopic(name) : first.metadata.createTopic({ name, partitionCount: 10 }),
      );
    }
    await world.until(() => (first.log?.startOffset ?? 0) > 60 && (beside.log?.startOffset ?? 0) > 60);
    await restart(world, behind);
    await world.until(() => agree(nodes));
    expect(behind.log?.startOffset).toBeGreaterThan(60);
    const observer = world.node(4);
    await observer.start({ kind: 'join', nodes: world.list(1, 2, 3) });
    await world.drive(observer.metadata.joined());
    await world.until(() => agree([...nodes, observer]));
    // All of them lose their power together.
    for (const node of nodes) node.kill('crash');
    const before = bytesOf(observer.metadata.image());
    for (const node of nodes) await restart(world, node);
    await world.drive(Promise.all(nodes.map(node => node.metadata.joined())));
    expect(topicsOf(nodes[0])).toEqual(topicsOf(observer));
    expect(before).not.toBe('');
    expect(nodes.flatMap(node => node.failures)).toEqual([]);
  });

  test('is not cut off on a replica that keeps none of its own: two of three that lose power together have all of it', async () => {
    const world = new MetadataWorld('behind the snapshot');
    for (const id of [1, 2, 3]) world.node(id, { snapshotEveryRecords: 20 });
    const nodes = await three(world);
    const first = controllerOf(nodes);
    const rest = others(nodes, first);
    for (const node of rest) {
      node.kill();
      node.options = { snapshotEveryRecords: 1_000_000 };
      await restart(world, node);
      await readyAll(world, [node]);
    }
    const leader = controllerOf(nodes);
    expect(leader).toBe(first);
    for (let count = 0; count < 150; count++) {
      const name = `t-${count % 7}`;
      const exists = leader.metadata.image().topics.has(name);
      await world.drive(
        exists ? leader.metadata.deleteTopic(name) : leader.metadata.createTopic({ name, partitionCount: 10 }),
      );
    }
    await world.until(() => (leader.log?.startOffset ?? 0) > 60 && agree(nodes));
    await world.scheduler.advance(1_000);
    const topics = topicsOf(leader);
    for (const node of nodes) node.kill('crash');
    leader.wipe();
    for (const node of rest) await restart(world, node);
    await readyAll(world, rest);
    expect(rest.map(topicsOf)).toEqual([topics, topics]);
  });

  test('survives a damaged snapshot, and an interrupted write', async () => {
    const world = new MetadataWorld('damaged snapshot');
    const node = world.node(1, { snapshotEveryRecords: 5 });
    await node.start({ kind: 'alone' });
    await readyAll(world, [node]);
    for (let count = 0; count < 30; count++) await create(world, node, `t-${count}`);
    await node.stop();
    const kept = node.disk.filePaths().filter(path => path.endsWith('.snapshot'));
    expect(kept).toHaveLength(2);
    node.disk.rot(kept[0]!, 40, byte => byte ^ 1);
    node.disk.plant('/data/metadata-0.snapshot.tmp', Uint8Array.of(1, 2, 3));
    await node.start({ kind: 'alone' });
    await world.drive(node.metadata.joined());
    expect(topicsOf(node)).toHaveLength(30);
    expect(world.said(/a snapshot of the metadata is damaged/)).toHaveLength(1);
    await readyAll(world, [node]);
    for (let count = 30; count < 40; count++) await create(world, node, `t-${count}`);
    await node.stop();
    await node.start({ kind: 'alone' });
    await world.drive(node.metadata.joined());
    expect(topicsOf(node)).toHaveLength(40);
  });

  test('is refused a start where nothing of it is left', async () => {
    const world = new MetadataWorld('lost image');
    const node = world.node(1, { snapshotEveryRecords: 5 });
    await node.start({ kind: 'alone' });
    await readyAll(world, [node]);
    for (let count = 0; count < 60; count++) await create(world, node, `t-${count}`);
    expect(node.log?.startOffset).toBeGreaterThan(0);
    await node.stop();
    for (const path of node.disk.filePaths()) if (path.endsWith('.snapshot')) node.disk.erase(path);
    await expect(node.start({ kind: 'alone' })).rejects.toThrow(/the metadata in \/data is lost/);
  });

  test('tells its watchers each change once, in order', async () => {
    const world = new MetadataWorld('watch');
    const nodes = await three(world);
    const seen: number[] = [];
    const stop = nodes[1].metadata.watch((image, before) => {
      expect(before.version).toBeLessThan(image.version);
      seen.push(image.version);
    });
    for (let count = 0; count < 5; count++) await create(world, nodes[1], `t-${count}`);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.length).toBeGreaterThanOrEqual(5);
    stop();
    const { length } = seen;
    await create(world, nodes[1], 'unseen');
    expect(seen).toHaveLength(length);
  });
});

describe('all nodes', () => {
  test('stop and start again, and know what they knew', async () => {
    const world = new MetadataWorld('restart');
    const nodes = await three(world);
    await create(world, nodes[0], 'orders', 3);
    await world.until(() => agree(nodes));
    const id = nodes[0].metadata.clusterId;
    for (const node of nodes) await node.stop();
    for (const node of nodes) await restart(world, node);
    await world.drive(Promise.all(nodes.map(node => node.metadata.joined())));
    expect(nodes.map(node => topicsOf(node))).toEqual([['orders'], ['orders'], ['orders']]);
    expect(nodes.map(node => node.metadata.clusterId)).toEqual([id, id, id]);
    // A new start is fenced until it says that it is ready.
    await world.until(() => agree(nodes));
    const { brokers } = nodes[0].metadata.image();
    expect([...brokers.values()].map(broker => broker.fenced)).toEqual([true, true, true]);
  });

  test('lose their power one after another, under changes: what was answered stays', async () => {
    for (let seed = 0; seed < 3; seed++) {
      const world = new MetadataWorld(`power ${seed}`);
      for (const id of [1, 2, 3]) world.node(id, { snapshotEveryRecords: 10 });
      const nodes = await three(world);
      const draw = world.random.fork('faults');
      const created = new Set<string>();
      const unknown = new Set<string>();
      for (let round = 0; round < 12; round++) {
        const down = draw.pick(nodes);
        const asked = [0, 1, 2].map(async each => {
          const node = nodes[each]!;
          const name = `t-${round}-${each}`;
          unknown.add(name);
          const result = await node.metadata.createTopic({ name, partitionCount: 1 });
          if (result.ok) created.add(name);
          else if (result.problem.facts['outcome'] !== 'unknown') unknown.delete(name);
        });
        await world.scheduler.advance(draw.fraction() * 50);
        down.kill(draw.pick(['kill', 'crash']));
        await world.drive(Promise.all(asked.filter((_, each) => nodes[each] !== down)));
        await restart(world, down);
        await readyAll(world, [down]);
      }
      await world.until(() => agree(nodes));
      const names = new Set(topicsOf(nodes[0]));
      expect([...created].filter(name => !names.has(name))).toEqual([]);
      expect([...names].filter(name => !created.has(name) && !unknown.has(name))).toEqual([]);
      expect(created.size).toBeGreaterThan(12);
      expect(nodes.flatMap(node => node.failures)).toEqual([]);
    }
  });
});

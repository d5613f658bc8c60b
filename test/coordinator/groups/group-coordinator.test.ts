// Groups on whole brokers: any node serves any member, whatever becomes of the coordinator.

import { expect, test } from 'vitest';
import { OFFSETS_TOPIC_PARTITIONS } from '../../../server/base/limits.ts';
import { OFFSETS_TOPIC } from '../../../server/coordinator/groups/offsets-topic.ts';
import { codeOf, GroupCluster, partitionsIn, position, problemOf, TestMember, value } from './group-cluster.ts';

const play = (nodes: number, body: (cluster: GroupCluster) => Promise<void>): Promise<void> =>
  GroupCluster.play(`groups ${nodes}`, nodes, body);

test('a cluster without groups has no topic for them, and looking for some makes none', async () => {
  await play(3, async cluster => {
    expect(value(await cluster.groups(2).list({ prefix: '', after: null, limit: 10 })).groups).toEqual([]);
    expect(codeOf(await cluster.groups(2).describe('g'))).toBe('GROUP_NOT_FOUND');
    expect(codeOf(await cluster.groups(2).delete('g'))).toBe('GROUP_NOT_FOUND');
    expect(value(await cluster.groups(2).offsets({ group: 'g' }))).toEqual([]);
    expect(codeOf(await cluster.groups(2).leave({ group: 'g', memberId: 'm' }))).toBe('UNKNOWN_MEMBER');
    expect(cluster.node(1).running.broker.findTopic(OFFSETS_TOPIC)).toBeNull();
  });
});

test('the first member makes it, with a replica on three nodes, and nobody else writes it', async () => {
  await play(3, async cluster => {
    await cluster.topic('t', 4);
    await TestMember.join(cluster, 2);
    const { broker } = cluster.node(1).running;
    expect(broker.findTopic(OFFSETS_TOPIC)).toMatchObject({
      internal: true,
      partitionCount: OFFSETS_TOPIC_PARTITIONS,
      replicationFactor: 3,
    });
    for (let partition = 0; partition < 3; partition++) {
      await expect(cluster.write(OFFSETS_TOPIC, partition, 1)).rejects.toThrow('FORBIDDEN');
    }
  });
});

test.each([1, 3])('on %d nodes members share a topic, through any of them', async nodes => {
  await play(nodes, async cluster => {
    const [one, two, three] = [1, Math.min(2, nodes), Math.min(3, nodes)];
    await cluster.topic('t', 4);
    const a = await TestMember.join(cluster, one);
    expect(a.owned).toEqual([0, 1, 2, 3]);
    const b = await TestMember.join(cluster, two);
    expect(b.owned).toEqual([]);
    expect(await a.heartbeat(three)).toBe('ok');
    expect(partitionsIn(a.state.revoking)).toEqual([2, 3]);
    expect(await a.commit(two, position(2, 7))).toBe('ok');
    expect(await a.heartbeat(one)).toBe('ok');
    expect(await b.heartbeat(one)).toBe('ok');
    expect(b.owned).toEqual([2, 3]);
    expect(await a.commit(three, position(2, 8))).toBe('FENCED_MEMBER_EPOCH');
    const seen = value(await cluster.groups(two).offsets({ group: 'g' }));
    expect(seen).toMatchObject([{ topic: 't', partition: 2, offset: 7 }]);
  });
});

test('a heartbeat that waits is answered as soon as there is news', async () => {
  await play(3, async cluster => {
    await cluster.topic('t', 2);
    const a = await TestMember.join(cluster, 1);
    const b = await TestMember.join(cluster, 2);
    const startMs = cluster.scheduler.nowMs;
    const waiting = b.heartbeat(3, 30_000);
    await a.heartbeat(1);
    await cluster.sleep(1_000);
    await a.heartbeat(1);
    expect(await waiting).toBe('ok');
    expect(b.owned).toEqual([1]);
    expect(cluster.scheduler.nowMs - startMs).toBeLessThan(5_000);
  });
});

test('a heartbeat that waits keeps the session alive, and silence ends it', async () => {
  await play(3, async cluster => {
    await cluster.topic('t', 2);
    const a = await TestMember.join(cluster, 1, { sessionTimeoutMs: 3_000 });
    expect(await a.heartbeat(2, 10_000)).toBe('ok');
    expect(a.owned).toEqual([0, 1]);
    const b = await TestMember.join(cluster, 2);
    expect(await b.heartbeat(2, 20_000)).toBe('ok');
    expect(b.owned).toEqual([0, 1]);
    expect(await a.heartbeat(1)).toBe('UNKNOWN_MEMBER');
  });
});

test('a member that does not give back is put out after its rebalance time-out', async () => {
  await play(1, async cluster => {
    await cluster.topic('t', 2);
    const a = await TestMember.join(cluster, 1, { rebalanceTimeoutMs: 5_000 });
    const b = await TestMember.join(cluster, 1);
    const owned = a.state.assignment;
    const { memberId } = a.state;
    let { memberEpoch } = a.state;
    let code: string = 'ok';
    for (let times = 0; times < 30 && code === 'ok'; times++) {
      const request = { group: 'g', memberId, memberEpoch, owned, waitMs: 0 };
      const result = await cluster.groups(1).heartbeat(request);
      code = codeOf(result);
      if (result.ok) ({ memberEpoch } = result.value);
      await cluster.sleep(1_000);
      await b.heartbeat(1);
    }
    expect(code).toBe('UNKNOWN_MEMBER');
    await b.heartbeat(1);
    expect(b.owned).toEqual([0, 1]);
  });
});

test('members and positions survive the coordinator, and nobody is put out for its absence', async () => {
  await play(3, async cluster => {
    await cluster.topic('t', 4);
    const a = await TestMember.join(cluster, 1, { sessionTimeoutMs: 6_000 });
    expect(await a.commit(1, position(0, 5))).toBe('ok');
    const first = cluster.coordinatorOf('g', 1);
    const others = [1, 2, 3].filter(id => id !== first);
    cluster.node(first).end('power');
    expect(await a.heartbeat(others[0]!)).toBe('ok');
    expect(a.owned).toEqual([0, 1, 2, 3]);
    expect(cluster.coordinatorOf('g', others[0]!)).not.toBe(first);
    expect(await a.commit(others[1]!, position(0, 6), position(1, 1))).toBe('ok');
    cluster.node(first).start();
    await cluster.when(() => cluster.isReady);
    const through = value(await cluster.groups(first).offsets({ group: 'g' }));
    expect(through.map(each => each.offset)).toEqual([6, 1]);
  });
});

test('a stop of all nodes forgets nothing', async () => {
  await play(3, async cluster => {
    await cluster.topic('t', 4);
    const a = await TestMember.join(cluster, 1);
    expect(await a.commit(2, position(0, 5))).toBe('ok');
    for (const node of cluster.nodes) node.end('power');
    for (const node of cluster.nodes) node.start();
    await cluster.when(() => cluster.isReady);
    expect(await a.heartbeat(3)).toBe('ok');
    expect(await a.commit(3, position(0, 4))).toBe('INVALID_REQUEST');
    expect(value(await cluster.groups(2).offsets({ group: 'g' }))).toMatchObject([{ offset: 5 }]);
  });
});

test('positions are forgotten some time after the last member went, and with the clock of the coordinator', async () => {
  await GroupCluster.play('expiry', 1, async cluster => {
    cluster.offsetsRetentionMs = 180_000;
    cluster.node(1).end('kill');
    cluster.node(1).start();
    await cluster.when(() => cluster.isReady);
    await cluster.topic('t', 2);
    const a = await TestMember.join(cluster, 1);
    expect(await a.commit(1, position(0, 5))).toBe('ok');
    expect(await a.heartbeat(1, 240_000)).toBe('ok');
    value(await cluster.groups(1).leave({ group: 'g', memberId: a.state.memberId }));
    await cluster.sleep(150_000);
    expect(value(await cluster.groups(1).offsets({ group: 'g' }))).toMatchObject([{ offset: 5 }]);
    await cluster.sleep(120_000);
    expect(codeOf(await cluster.groups(1).describe('g'))).toBe('GROUP_NOT_FOUND');
  });
});

test('no setting of its topic makes a coordinator forget', async () => {
  await play(1, async cluster => {
    await cluster.topic('t', 2);
    const { broker } = cluster.node(1).running;
    value(await cluster.groups(1).commit({ group: 'g', offsets: [position(0, 5)] }));
    const config = { 'retention.ms': '1', 'retention.bytes': '1', 'segment.bytes': '100', 'segment.ms': '1' };
    value(await broker.alterTopic({ name: OFFSETS_TOPIC, config }));
    for (let at = 1; at <= 20; at++) {
      value(await cluster.groups(1).commit({ group: 'g', offsets: [position(1, at)] }));
      await cluster.sleep(100);
    }
    await broker.applyRetention();
    cluster.node(1).end('power');
    cluster.node(1).start();
    await cluster.when(() => cluster.isReady);
    const kept = value(await cluster.groups(1).offsets({ group: 'g' }));
    expect(kept.map(each => each.offset)).toEqual([5, 20]);
  });
});

test('a coordinator that is cut off says nothing of who owns what', async () => {
  await play(3, async cluster => {
    await cluster.topic('t', 4);
    const a = await TestMember.join(cluster, 1, { sessionTimeoutMs: 6_000 });
    const first = cluster.coordinatorOf('g', 1);
    const other = first === 1 ? 2 : 1;
    cluster.network.partition(
      [first],
      [1, 2, 3].filter(id => id !== first),
    );
    const answer = a.heartbeat(first);
    const b = await TestMember.join(cluster, other);
    await cluster.sleep(8_000);
    expect(await b.heartbeat(other)).toBe('ok');
    expect(b.owned).toEqual([0, 1, 2, 3]);
    expect(['COORDINATOR_LOADING', 'NOT_LEADER', 'REQUEST_TIMED_OUT']).toContain(await answer);
    cluster.network.heal();
    expect(await a.heartbeat(first)).toBe('UNKNOWN_MEMBER');
  });
});

test('topics that are created, grow or go reach members without a heartbeat of their own', async () => {
  await play(3, async cluster => {
    await cluster.topic('orders-a', 2);
    const a = await TestMember.join(cluster, 1, { topics: undefined, topicPattern: 'orders-.*' });
    await cluster.topic('orders-b', 1);
    expect(await a.heartbeat(2, 20_000)).toBe('ok');
    expect(a.state.assignment.map(each => each.topic)).toEqual(['orders-a', 'orders-b']);
    value(await cluster.node(3).running.broker.alterTopic({ name: 'orders-b', partitionCount: 3 }));
    expect(await a.heartbeat(3, 20_000)).toBe('ok');
    expect(a.owned).toEqual([0, 1, 0, 1, 2]);
    value(await cluster.node(1).running.broker.deleteTopic('orders-a'));
    while (a.state.assignment.length > 1) expect(await a.heartbeat(3, 20_000)).toBe('ok');
    expect(a.state.assignment).toEqual([{ topic: 'orders-b', partitions: [0, 1, 2] }]);
  });
});

test('a group is described with its lag, listed, reset while it is empty, and deleted', async () => {
  await play(3, async cluster => {
    await cluster.topic('t', 2);
    await cluster.write('t', 0, 10);
    const a = await TestMember.join(cluster, 1, { clientId: 'client', clientHost: 'host' });
    await a.commit(1, position(0, 4));
    const view = value(await cluster.groups(2).describe('g'));
    expect(view).toMatchObject({
      group: 'g',
      state: 'stable',
      memberCount: 1,
      assignor: 'uniform',
      members: [{ clientId: 'client', clientHost: 'host', assignment: [{ topic: 't', partitions: [0, 1] }] }],
      partitions: [
        { topic: 't', partition: 0, offset: 4, logEndOffset: 10, lag: 6, memberId: a.state.memberId },
        { topic: 't', partition: 1, offset: null, logEndOffset: 0, lag: null, memberId: a.state.memberId },
      ],
    });
    const reset = (isDryRun: boolean, to: Parameters<ReturnType<GroupCluster['groups']>['reset']>[0]['to']) =>
      cluster.groups(3).reset({ group: 'g', topic: 't', to, isDryRun });
    expect(codeOf(await reset(true, { kind: 'earliest' }))).toBe('GROUP_NOT_EMPTY');
    expect(codeOf(await cluster.groups(3).delete('g'))).toBe('GROUP_NOT_EMPTY');
    await TestMember.join(cluster, 2, { group: 'h' });
    const page = value(await cluster.groups(3).list({ prefix: '', after: null, limit: 1 }));
    expect(page).toMatchObject({ groups: [{ group: 'g' }], nextAfter: 'g' });
    expect(value(await cluster.groups(3).list({ prefix: '', after: 'g', limit: 1 }))).toMatchObject({
      groups: [{ group: 'h' }],
      nextAfter: null,
    });
    value(await cluster.groups(2).leave({ group: 'g', memberId: a.state.memberId }));
    expect(value(await reset(true, { kind: 'shift', by: -3 }))).toEqual([
      { topic: 't', partition: 0, before: 4, after: 1 },
    ]);
    expect(value(await reset(false, { kind: 'shift', by: 100 }))).toMatchObject([{ before: 4, after: 10 }]);
    expect(value(await reset(false, { kind: 'latest' }))).toMatchObject([{ after: 10 }, { before: null, after: 0 }]);
    expect(problemOf(await reset(false, { kind: 'offset', offset: position(0, 11).offset }))).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      facts: { high_watermark: 10 },
    });
    value(await cluster.groups(1).delete('g'));
    expect(codeOf(await cluster.groups(1).describe('g'))).toBe('GROUP_NOT_FOUND');
  });
});

test('positions are kept without membership, as long as the group has no members', async () => {
  await play(1, async cluster => {
    await cluster.topic('t', 2);
    const commit = (at: number) => cluster.groups(1).commit({ group: 'g', offsets: [position(1, at)] });
    value(await commit(3));
    expect(codeOf(await cluster.groups(1).commit({ group: 'g', offsets: [position(0, 1, 'x')] }))).toBe(
      'TOPIC_NOT_FOUND',
    );
    const a = await TestMember.join(cluster, 1);
    expect(codeOf(await commit(4))).toBe('GROUP_NOT_EMPTY');
    value(await cluster.groups(1).leave({ group: 'g', memberId: a.state.memberId }));
    value(await commit(2));
    const places = [{ topic: 't', partitions: [0, 1] }];
    expect(value(await cluster.groups(1).offsets({ group: 'g', places }))).toMatchObject([{ partition: 1, offset: 2 }]);
  });
});

// Members of a group: who gets what, when it is taken away, and what is told to whom comes late.

import { beforeEach, describe, expect, test } from 'vitest';
import { GROUP_MEMBERS_MAX } from '../../../server/base/limits.ts';
import { followTopics, judgeMembers, type MemberTimes } from '../../../server/state/groups/liveness.ts';
import { heartbeat, join, leave } from '../../../server/state/groups/membership.ts';
import { partitionSet } from '../../../server/state/groups/partition-set.ts';
import { hasNews, isSettled } from '../../../server/state/groups/reconciliation.ts';
import { GroupsWorld, numbers } from './groups-world.ts';

let world: GroupsWorld;
beforeEach(() => {
  world = new GroupsWorld();
  world.topics.set('t', 4);
});

const owning = (...partitions: number[]) => partitionSet(partitions.map(each => [world.topics.id('t'), each] as const));

const beat = (memberId: string, memberEpoch: number, owned: ReturnType<typeof owning> | null = null) =>
  world.try(state => heartbeat(state, { groupId: 'g', memberId, memberEpoch, owned }));

describe('joining', () => {
  test('gives the first member everything at once', () => {
    const answer = world.join('a');
    expect(answer).toMatchObject({ memberId: 'a', memberEpoch: 1, heartbeatIntervalMs: 5_000, from: 'earliest' });
    expect(numbers(answer.assigned)).toEqual([0, 1, 2, 3]);
    expect(answer.revoking.size).toBe(0);
    expect(world.group()).toMatchObject({ epoch: 1, assignor: 'uniform', emptySinceMs: null });
  });

  test('gives the second one nothing before the first gave it back', () => {
    const { memberEpoch } = world.join('a');
    expect(world.join('b').assigned.size).toBe(0);
    const asked = world.heartbeat('a', memberEpoch, owning(0, 1, 2, 3));
    expect(numbers(asked.assigned)).toEqual([0, 1]);
    expect(numbers(asked.revoking)).toEqual([2, 3]);
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([]);
    expect(numbers(world.heartbeat('a', asked.memberEpoch, owning(0, 1, 2, 3)).revoking)).toEqual([2, 3]);
    expect(world.heartbeat('a', asked.memberEpoch, owning(0, 1)).revoking.size).toBe(0);
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([2, 3]);
    expect(isSettled(world.group())).toBe(true);
  });

  test('gives on what was given back, one by one', () => {
    world.join('a');
    world.join('b');
    const { memberEpoch } = world.heartbeat('a', 1, owning(0, 1, 2, 3));
    expect(numbers(world.heartbeat('a', memberEpoch, owning(0, 1, 3)).revoking)).toEqual([3]);
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([2]);
  });

  test('again with the same id is answered again', () => {
    const first = world.join('a');
    const { length } = world.log;
    expect(world.join('a')).toEqual(first);
    expect(world.log.length).toBe(length);
  });

  test('leaves members beyond the partitions without any', () => {
    world.topics.set('one', 1);
    world.join('a', { topics: ['one'] });
    expect(world.join('b', { topics: ['one'] }).assigned.size).toBe(0);
    expect(hasNews(world.group(), world.group().members.get('b')!)).toBe(false);
  });

  test('follows the assignor that most members ask for', () => {
    world.join('a', { assignor: 'range' });
    expect(world.group().assignor).toBe('range');
    world.join('b', { assignor: 'round-robin' });
    world.join('c', { assignor: 'round-robin' });
    world.join('d');
    expect(world.group().assignor).toBe('round-robin');
    expect(numbers(world.group().members.get('b')!.target)).toEqual([1]);
  });

  test.each([
    ['no topics', { topics: [] }],
    ['topics and a pattern', { topics: ['t'], topicPattern: 't' }],
    ['a pattern that cannot be read', { topicPattern: '(' }],
    ['no topic name', { topics: ['../x'] }],
    ['a session of no time', { sessionTimeoutMs: 0 }],
    ['a session of a day', { sessionTimeoutMs: 86_400_000 }],
    ['half a millisecond', { rebalanceTimeoutMs: 1_000.5 }],
    ['a group without a name', { groupId: '' }],
    ['a group with a blank', { groupId: 'a b' }],
    ['a group with an umlaut', { groupId: 'ä' }],
    ['an instance without a name', { instanceId: '' }],
    ['a long client', { clientId: 'x'.repeat(256) }],
  ])('is refused with %s', (_, request) => {
    const result = world.try(state => join(state, world.joining('a', request), world.context));
    expect(result).toMatchObject({ ok: false, problem: { code: 'INVALID_REQUEST' } });
  });

  test('is refused for a topic that is not there', () => {
    const result = world.try(state => join(state, world.joining('a', { topics: ['t', 'x'] }), world.context));
    expect(result).toMatchObject({ ok: false, problem: { code: 'TOPIC_NOT_FOUND', facts: { topic: 'x' } } });
  });

  test('is refused where the group is full', () => {
    for (let index = 0; index < 3; index++) world.join(`m${index}`);
    for (let index = 3; index < GROUP_MEMBERS_MAX; index++) {
      const subscription = world.group().members.get('m0')!.subscription;
      world.state.replay({ kind: 'member', groupId: 'g', memberId: `m${index}`, value: subscription });
    }
    const result = join(world.state, world.joining('more'), world.context);
    expect(result).toMatchObject({ ok: false, problem: { code: 'THROTTLED' } });
  });
});

describe('a heartbeat', () => {
  test('of a stranger is UNKNOWN_MEMBER, with and without the group', () => {
    expect(beat('x', 1)).toMatchObject({ ok: false, problem: { code: 'UNKNOWN_MEMBER' } });
    world.join('a');
    expect(beat('x', 1)).toMatchObject({ ok: false, problem: { code: 'UNKNOWN_MEMBER' } });
  });

  test('of an epoch that is neither the present nor the previous one is fenced', () => {
    world.join('a');
    world.join('b');
    world.heartbeat('a', 1, owning(0, 1, 2, 3));
    world.heartbeat('a', 2);
    for (const epoch of [0, 1, 4, -1]) {
      expect(beat('a', epoch)).toMatchObject({ ok: false, problem: { code: 'FENCED_MEMBER_EPOCH' } });
    }
  });

  test('with the previous epoch is answered as before, and gives nothing back', () => {
    world.join('a');
    world.join('b');
    const asked = world.heartbeat('a', 1, owning(0, 1, 2, 3));
    expect(asked.memberEpoch).toBe(2);
    expect(world.heartbeat('a', 1)).toEqual(asked);
    expect(world.heartbeat('a', 1, owning(0, 1, 2, 3))).toEqual(asked);
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([]);
  });

  test('with the previous epoch and what the member never had is fenced', () => {
    world.join('a');
    world.join('b');
    world.heartbeat('a', 1, owning(0, 1, 2, 3));
    world.topics.set('u', 1);
    const owned = partitionSet([[world.topics.id('u'), 0]]);
    expect(beat('a', 1, owned)).toMatchObject({ ok: false, problem: { code: 'FENCED_MEMBER_EPOCH' } });
  });

  test('without what is owned gives back what was asked for in the answer that it has', () => {
    world.join('a');
    world.join('b');
    const asked = world.heartbeat('a', 1);
    expect(numbers(asked.revoking)).toEqual([2, 3]);
    const after = world.heartbeat('a', asked.memberEpoch);
    expect(after.revoking.size).toBe(0);
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([2, 3]);
  });

  test('writes nothing while nothing changes', () => {
    world.join('a');
    const { length } = world.log;
    for (let time = 0; time < 3; time++) world.heartbeat('a', 1, owning(0, 1, 2, 3));
    expect(world.log.length).toBe(length);
  });

  test('gives back to the end what a newer target has here again', () => {
    world.join('a');
    world.join('b');
    const asked = world.heartbeat('a', 1, owning(0, 1, 2, 3));
    world.leave('b');
    expect(numbers(world.group().members.get('a')!.target)).toEqual([0, 1, 2, 3]);
    const still = world.heartbeat('a', asked.memberEpoch, owning(0, 1, 2, 3));
    expect(numbers(still.revoking)).toEqual([2, 3]);
    const back = world.heartbeat('a', still.memberEpoch, owning(0, 1));
    expect(numbers(back.assigned)).toEqual([0, 1, 2, 3]);
  });
});

describe('leaving', () => {
  test('gives the partitions to the others', () => {
    world.join('a');
    world.join('b');
    world.leave('a');
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([0, 1, 2, 3]);
    expect(world.try(state => leave(state, { groupId: 'g', memberId: 'a' }, world.context))).toMatchObject({
      ok: false,
      problem: { code: 'UNKNOWN_MEMBER' },
    });
  });

  test('as the last one leaves the group empty, from then on', () => {
    world.join('a');
    world.leave('a');
    expect(world.group()).toMatchObject({ emptySinceMs: world.nowMs, epoch: 2 });
    expect(world.group().members.size).toBe(0);
    expect(world.group().owners.size).toBe(0);
    expect(world.join('b').memberEpoch).toBe(1);
    expect(world.group()).toMatchObject({ emptySinceMs: null, epoch: 3 });
  });
});

describe('a static member', () => {
  test('comes back to its partitions under another id, and the others notice nothing', () => {
    world.join('a', { instanceId: 'i' });
    world.join('b');
    world.heartbeat('a', 1);
    world.heartbeat('a', 2);
    world.heartbeat('b', 1);
    const { epoch } = world.group();
    const again = world.join('c', { instanceId: 'i' });
    expect(numbers(again.assigned)).toEqual([0, 1]);
    expect(again.memberEpoch).toBeGreaterThan(3);
    expect(world.group().epoch).toBe(epoch);
    expect(hasNews(world.group(), world.group().members.get('b')!)).toBe(false);
  });

  test('fences the one whose place it takes', () => {
    world.join('a', { instanceId: 'i' });
    world.join('b', { instanceId: 'i' });
    expect(beat('a', 1)).toMatchObject({ ok: false, problem: { code: 'FENCED_MEMBER_EPOCH' } });
    expect(world.commit({ member: { memberId: 'a', memberEpoch: 1 }, offsets: [world.at(0, 1)] })).toMatchObject({
      ok: false,
      problem: { code: 'FENCED_MEMBER_EPOCH' },
    });
    world.join('c', { instanceId: 'i' });
    expect(beat('b', 2)).toMatchObject({ ok: false, problem: { code: 'FENCED_MEMBER_EPOCH' } });
    expect(beat('a', 1)).toMatchObject({ ok: false, problem: { code: 'UNKNOWN_MEMBER' } });
  });

  test('has nothing to give back of what its former life was asked for', () => {
    world.join('a', { instanceId: 'i' });
    world.join('b');
    world.heartbeat('a', 1, owning(0, 1, 2, 3));
    const again = world.join('c', { instanceId: 'i' });
    expect(numbers(again.assigned)).toEqual([0, 1]);
    expect(again.revoking.size).toBe(0);
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([2, 3]);
  });

  test('with another subscription makes a new target', () => {
    world.topics.set('u', 2);
    world.join('a', { instanceId: 'i' });
    const again = world.join('b', { instanceId: 'i', topics: ['u'] });
    expect([...again.assigned.keys()]).toEqual([world.topics.id('u')]);
    expect(world.group().owners.has(world.topics.id('t'))).toBe(false);
  });
});

describe('time', () => {
  const times = (
    nowMs: number,
    heard: Record<string, number> = {},
    revoking: Record<string, number> = {},
  ): MemberTimes => ({
    nowMs,
    listeningSinceMs: 0,
    lastHeardMs: (_, memberId) => heard[memberId],
    revokingSinceMs: ({ memberId }) => revoking[memberId],
  });
  const judge = (at: MemberTimes) => world.judge(state => judgeMembers(state, at, world.context)).fenced;

  test('puts out who was silent for longer than its session', () => {
    world.join('a', { sessionTimeoutMs: 10_000 });
    world.join('b', { sessionTimeoutMs: 20_000 });
    expect(judge(times(10_000))).toEqual([]);
    expect(judge(times(10_001))).toEqual([{ groupId: 'g', memberId: 'a', why: 'session' }]);
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([0, 1, 2, 3]);
    expect(judge(times(30_000, { b: 15_000 }))).toEqual([]);
  });

  test('puts out who does not give back in time, however loudly it lives', () => {
    world.join('a', { rebalanceTimeoutMs: 5_000 });
    world.join('b');
    world.heartbeat('a', 1, owning(0, 1, 2, 3));
    const heard = { a: 16_000, b: 16_000 };
    expect(judge(times(15_000, heard, { a: 10_000 }))).toEqual([]);
    expect(judge(times(15_001, heard, { a: 10_000 }))).toEqual([{ groupId: 'g', memberId: 'a', why: 'rebalance' }]);
    expect(numbers(world.heartbeat('b', 1).assigned)).toEqual([0, 1, 2, 3]);
  });

  test('puts out several members of a group with one target', () => {
    for (const memberId of ['a', 'b', 'c'])
      world.join(memberId, { sessionTimeoutMs: memberId === 'c' ? 60_000 : 10_000 });
    const { epoch } = world.group();
    expect(judge(times(20_000)).length).toBe(2);
    expect(world.group().epoch).toBe(epoch + 1);
    expect(numbers(world.group().members.get('c')!.target)).toEqual([0, 1, 2, 3]);
  });
});

test('in a compacted log a member that is gone takes nothing along that stands before it', () => {
  const { state } = new GroupsWorld();
  state.replay({ kind: 'topics', groupId: 'g', value: { metadataVersion: 5, topics: [] } });
  state.replay({ kind: 'member', groupId: 'g', memberId: 'a', value: null });
  state.replay({ kind: 'head', groupId: 'g', value: { epoch: 3, assignor: 'uniform', emptySinceMs: null } });
  expect(state.groups.get('g')?.topics.metadataVersion).toBe(5);
});

describe('topics', () => {
  const follow = () => world.judge(state => followTopics(state, world.context));

  test('that grow are given out', () => {
    world.join('a');
    world.topics.set('t', 6);
    expect(follow().groups).toEqual(['g']);
    expect(numbers(world.heartbeat('a', 1).assigned)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(follow().groups).toEqual([]);
  });

  test('that are deleted are taken back, and come back as others', () => {
    world.topics.set('u', 1);
    world.join('a', { topics: ['t', 'u'] });
    world.topics.delete('t');
    follow();
    const asked = world.heartbeat('a', 1);
    expect(asked.revoking.size).toBe(1);
    expect([...world.heartbeat('a', asked.memberEpoch).assigned.keys()]).toEqual([world.topics.id('u')]);
    world.topics.set('t', 2);
    follow();
    expect(numbers(world.heartbeat('a', 3).assigned).length).toBe(3);
  });

  test('come to a pattern when they are created, but internal ones', () => {
    world.topics.set('__consumer_offsets', 3);
    expect(numbers(world.join('a', { topicPattern: '.*' }).assigned)).toEqual([0, 1, 2, 3]);
    world.topics.set('logs', 2);
    follow();
    expect(numbers(world.heartbeat('a', 1).assigned).length).toBe(6);
  });

  test('are not judged by an image that is older than that of the last time', () => {
    const before = world.topics.image;
    world.topics.set('t', 6);
    world.join('a');
    const context = { image: before, nowMs: world.nowMs };
    expect(world.judge(state => followTopics(state, context)).groups).toEqual([]);
    for (const result of [
      world.try(state => join(state, world.joining('b'), context)),
      world.try(state => leave(state, { groupId: 'g', memberId: 'a' }, context)),
    ]) {
      expect(result).toMatchObject({ ok: false, problem: { code: 'COORDINATOR_LOADING' } });
    }
  });
});

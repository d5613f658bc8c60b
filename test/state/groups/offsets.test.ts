// Committed positions: whose word counts, and how long they are kept.

import { beforeEach, describe, expect, test } from 'vitest';
import { offset } from '@sluice/protocol/ids';
import { OFFSETS_PER_REQUEST_MAX } from '../../../server/base/limits.ts';
import { describeGroup, listGroups } from '../../../server/state/groups/group-description.ts';
import { deleteGroup, expireOffsets, fetchOffsets, resetOffsets } from '../../../server/state/groups/offsets.ts';
import { partitionSet } from '../../../server/state/groups/partition-set.ts';
import { GroupsWorld } from './groups-world.ts';

let world: GroupsWorld;
beforeEach(() => {
  world = new GroupsWorld();
  world.topics.set('t', 4);
  world.topics.set('u', 4);
});

const refusedWith = (code: string) => ({ ok: false, problem: { code } });
const done = { ok: true };
const by = (memberId: string, memberEpoch: number) => ({ member: { memberId, memberEpoch } });

describe('a member commits', () => {
  test('what it holds', () => {
    world.join('a');
    expect(world.commit({ ...by('a', 1), offsets: [world.at(0, 5), world.at(3, 7)] })).toMatchObject(done);
    expect([world.committed(0), world.committed(1), world.committed(3)]).toEqual([5, undefined, 7]);
  });

  test('with any epoch since the partition was given to it', () => {
    world.join('a');
    world.join('b');
    const asked = world.heartbeat('a', 1);
    const after = world.heartbeat('a', asked.memberEpoch);
    expect(after.memberEpoch).toBe(3);
    for (const epoch of [1, 2, 3])
      expect(world.commit({ ...by('a', epoch), offsets: [world.at(0, 5)] })).toMatchObject(done);
    for (const epoch of [0, 4]) {
      expect(world.commit({ ...by('a', epoch), offsets: [world.at(0, 6)] })).toMatchObject(
        refusedWith('FENCED_MEMBER_EPOCH'),
      );
    }
    const given = world.heartbeat('b', 1);
    expect(given.memberEpoch).toBe(2);
    expect(world.commit({ ...by('b', 1), offsets: [world.at(2, 5)] })).toMatchObject(
      refusedWith('FENCED_MEMBER_EPOCH'),
    );
    expect(world.commit({ ...by('b', 2), offsets: [world.at(2, 5)] })).toMatchObject(done);
  });

  test('also what it is asked for, until it gave it back', () => {
    world.join('a');
    world.join('b');
    const { memberEpoch } = world.heartbeat('a', 1);
    expect(world.commit({ ...by('a', memberEpoch), offsets: [world.at(3, 9)] })).toMatchObject(done);
    world.heartbeat('a', memberEpoch);
    expect(world.commit({ ...by('a', memberEpoch), offsets: [world.at(3, 10)] })).toMatchObject(
      refusedWith('FENCED_MEMBER_EPOCH'),
    );
    expect(world.committed(3)).toBe(9);
  });

  test('all of a request or nothing', () => {
    world.join('a', { topics: ['t'] });
    const offsets = [world.at(0, 5), world.at(0, 5, 'u')];
    expect(world.commit({ ...by('a', 1), offsets })).toMatchObject(refusedWith('FENCED_MEMBER_EPOCH'));
    expect(world.committed(0)).toBeUndefined();
  });

  test('and does not go back by a commit that is late', () => {
    world.join('a');
    world.commit({ ...by('a', 1), offsets: [world.at(0, 9)] });
    expect(world.commit({ ...by('a', 1), offsets: [world.at(0, 9)] })).toMatchObject(done);
    expect(world.commit({ ...by('a', 1), offsets: [world.at(0, 5)] })).toMatchObject({
      ok: false,
      problem: { code: 'INVALID_REQUEST', facts: { committed_offset: 9 } },
    });
    expect(world.committed(0)).toBe(9);
  });

  test('before a position that another one committed, or itself in a later epoch', () => {
    world.join('a');
    world.commit({ ...by('a', 1), offsets: [world.at(0, 9)] });
    world.leave('a');
    world.join('b');
    expect(world.commit({ ...by('b', 1), offsets: [world.at(0, 5)] })).toMatchObject(done);
    world.topics.set('t', 5);
  });

  test('not without its membership, nor when it is out', () => {
    world.join('a');
    expect(world.commit({ offsets: [world.at(0, 5)] })).toMatchObject(refusedWith('GROUP_NOT_EMPTY'));
    world.leave('a');
    expect(world.commit({ ...by('a', 1), offsets: [world.at(0, 5)] })).toMatchObject(refusedWith('UNKNOWN_MEMBER'));
    expect(world.commit({ offsets: [world.at(0, 5)] })).toMatchObject(done);
  });
});

describe('without membership', () => {
  test('the first commit makes the group', () => {
    expect(world.commit({ offsets: [world.at(0, 5)] })).toMatchObject(done);
    expect(describeGroup(world.state, 'g')).toMatchObject({
      ok: true,
      value: { state: 'empty', epoch: 0, members: [], offsets: [{ partition: 0, offset: 5 }] },
    });
    expect(world.group().emptySinceMs).toBeNull();
  });

  test('what a client keeps beside it comes back', () => {
    const offsets = [{ ...world.at(1, 5), leaderEpoch: 3, metadata: 'ü'.repeat(4_096) }];
    world.commit({ offsets });
    expect(fetchOffsets(world.state, { groupId: 'g' })).toEqual([{ ...offsets[0], committedAtMs: world.nowMs }]);
  });

  test.each([
    ['a text that is too long', { metadata: 'x'.repeat(4_097) }, 'INVALID_REQUEST'],
    ['an offset that is none', { offset: -1 as never }, 'INVALID_REQUEST'],
    ['a leader epoch that is none', { leaderEpoch: -2 }, 'INVALID_REQUEST'],
    ['a partition that is not there', { partition: 4 }, 'PARTITION_NOT_FOUND'],
    ['a partition that is none', { partition: 0.5 }, 'PARTITION_NOT_FOUND'],
    ['a topic that is not there', { topicId: '00000000-0000-4000-8000-000000000000' as never }, 'TOPIC_NOT_FOUND'],
  ])('%s is refused', (_, part, code) => {
    expect(world.commit({ offsets: [{ ...world.at(0, 1), ...part }] })).toMatchObject(refusedWith(code));
    expect(world.state.groups.size).toBe(0);
  });

  test('too many positions, or too much text, are refused', () => {
    const many = Array.from({ length: OFFSETS_PER_REQUEST_MAX + 1 }, () => world.at(0, 1));
    expect(world.commit({ offsets: many })).toMatchObject(refusedWith('INVALID_REQUEST'));
    const long = Array.from({ length: 257 }, () => ({ ...world.at(0, 1), metadata: 'x'.repeat(4_096) }));
    expect(world.commit({ offsets: long })).toMatchObject(refusedWith('INVALID_REQUEST'));
  });
});

describe('reading', () => {
  test('gives what is there, of all or of some places', () => {
    world.commit({ offsets: [world.at(3, 1), world.at(0, 2), world.at(1, 3, 'u')] });
    expect(fetchOffsets(world.state, { groupId: 'g' }).map(each => each.offset)).toEqual([2, 1, 3]);
    const places = [world.at(0, 0), world.at(1, 0)];
    expect(fetchOffsets(world.state, { groupId: 'g', places }).map(each => each.offset)).toEqual([2]);
    expect(fetchOffsets(world.state, { groupId: 'x' })).toEqual([]);
  });
});

describe('a reset', () => {
  const reset = (isDryRun: boolean, ...offsets: ReturnType<GroupsWorld['at']>[]) =>
    world.try(state => resetOffsets(state, { groupId: 'g', offsets, isDryRun }, world.context));

  test('says what it would do, and does it', () => {
    world.commit({ offsets: [world.at(0, 5)] });
    const expected = [
      { topicId: world.topics.id('t'), partition: 0, before: 5, after: 2 },
      { topicId: world.topics.id('t'), partition: 1, before: null, after: 3 },
    ];
    expect(reset(true, world.at(0, 2), world.at(1, 3))).toMatchObject({ ok: true, value: { response: expected } });
    expect(world.committed(0)).toBe(5);
    expect(reset(false, world.at(0, 2), world.at(1, 3))).toMatchObject({ ok: true, value: { response: expected } });
    expect([world.committed(0), world.committed(1)]).toEqual([2, 3]);
  });

  test('is refused while members subscribe to the topic, and allowed for others', () => {
    world.join('a');
    expect(reset(true, world.at(0, 2))).toMatchObject(refusedWith('GROUP_NOT_EMPTY'));
    expect(reset(false, world.at(0, 2, 'u'))).toMatchObject(done);
  });

  test('is refused while a member still holds what it is to give back', () => {
    world.join('a', { topics: ['t'], instanceId: 'i' });
    world.join('b', { topics: ['u'] });
    // The topic is wanted by nobody any more, but its last owner has not heard of it.
    world.topics.delete('t');
    expect(world.group().owners.has([...world.group().owners.keys()][0]!)).toBe(true);
    expect(reset(false, world.at(0, 2, 'u'))).toMatchObject(refusedWith('GROUP_NOT_EMPTY'));
  });
});

describe('a group', () => {
  test('is deleted only while it is empty', () => {
    world.join('a');
    world.commit({ ...by('a', 1), offsets: [world.at(0, 5)] });
    expect(world.try(state => deleteGroup(state, 'g'))).toMatchObject(refusedWith('GROUP_NOT_EMPTY'));
    world.leave('a');
    expect(world.do(state => deleteGroup(state, 'g'))).toEqual({ isDone: true });
    expect(world.state.groups.size).toBe(0);
    expect(world.state.offsetCount).toBe(0);
    expect(world.compacted().groups.size).toBe(0);
    expect(world.try(state => deleteGroup(state, 'g'))).toMatchObject(refusedWith('GROUP_NOT_FOUND'));
  });

  test('with many positions is deleted in pieces', () => {
    world.topics.set('wide', OFFSETS_PER_REQUEST_MAX);
    const offsets = Array.from({ length: OFFSETS_PER_REQUEST_MAX }, (_, partition) => world.at(partition, 1, 'wide'));
    world.state.replay({ kind: 'head', groupId: 'g', value: { epoch: 0, assignor: 'uniform', emptySinceMs: null } });
    const value = {
      offset: offset(1),
      leaderEpoch: null,
      metadata: '',
      committedAtMs: 1,
      memberId: null,
      memberEpoch: 0,
    };
    for (const { topicId, partition } of [...offsets, world.at(0, 1), world.at(1, 1)]) {
      world.state.replay({ kind: 'offset', groupId: 'g', topicId, partition, value });
    }
    for (const isDone of [false, true]) {
      const result = deleteGroup(world.state, 'g');
      if (!result.ok) throw new Error(result.problem.detail);
      expect(result.value.response.isDone).toBe(isDone);
      for (const record of result.value.records) world.state.replay(record);
    }
    expect(world.state.groups.size).toBe(0);
  });

  test('is listed by its name, in pages', () => {
    for (const groupId of ['b', 'a2', 'a1', 'c']) world.join(groupId, { groupId });
    const list = (prefix: string, after: string | null, limit: number) =>
      listGroups(world.state, { prefix, after, limit }).map(each => each.groupId);
    expect(list('', null, 2)).toEqual(['a1', 'a2']);
    expect(list('', 'a2', 9)).toEqual(['b', 'c']);
    expect(list('a', null, 9)).toEqual(['a1', 'a2']);
    expect(listGroups(world.state, { prefix: 'b', after: null, limit: 1 })).toEqual([
      { groupId: 'b', state: 'stable', memberCount: 1 },
    ]);
  });

  test('is reconciling until everybody has what the target says', () => {
    world.join('a');
    world.join('b', { clientId: 'c', clientHost: 'h' });
    const describe = () => describeGroup(world.state, 'g');
    expect(describe()).toMatchObject({ ok: true, value: { state: 'reconciling', memberCount: 2, epoch: 2 } });
    const { memberEpoch } = world.heartbeat('a', 1);
    world.heartbeat('a', memberEpoch, partitionSet([[world.topics.id('t'), 0]]));
    world.heartbeat('b', 1);
    expect(describe()).toMatchObject({
      ok: true,
      value: { state: 'stable', members: [{}, { subscription: { clientId: 'c' } }] },
    });
    expect(describeGroup(world.state, 'x')).toMatchObject(refusedWith('GROUP_NOT_FOUND'));
  });
});

describe('positions expire', () => {
  const HOUR = 3_600_000;
  const expire = (afterMs: number) => {
    world.nowMs += afterMs;
    const rules = { nowMs: world.nowMs, retentionMs: 10 * HOUR, unknownTopicMs: HOUR, image: world.topics.image };
    return world.do(state => expireOffsets(state, rules));
  };
  const kept = () => fetchOffsets(world.state, { groupId: 'g' }).length;

  test('some time after the commit where there never were members', () => {
    world.commit({ offsets: [world.at(0, 1)] });
    world.nowMs += 5 * HOUR;
    world.commit({ offsets: [world.at(1, 1)] });
    expire(5 * HOUR + 1);
    expect(fetchOffsets(world.state, { groupId: 'g' }).map(each => each.partition)).toEqual([1]);
    expire(5 * HOUR);
    expect(world.state.groups.size).toBe(0);
  });

  test('never while there are members, then some time after the last one went', () => {
    world.join('a');
    world.commit({ ...by('a', 1), offsets: [world.at(0, 1)] });
    expire(100 * HOUR);
    expect(kept()).toBe(1);
    world.leave('a');
    expire(10 * HOUR);
    expect(kept()).toBe(1);
    expire(1);
    expect(world.state.groups.size).toBe(0);
  });

  test('at once with their topic', () => {
    world.join('a', { topics: ['u'] });
    world.leave('a');
    world.commit({ offsets: [world.at(0, 1), world.at(0, 1, 'u')] });
    world.topics.delete('t');
    expire(1);
    expect(fetchOffsets(world.state, { groupId: 'g' }).map(each => each.topicId)).toEqual([world.topics.id('u')]);
  });

  test('of a topic that is not known here only after a while', () => {
    world.commit({ offsets: [world.at(0, 1)] });
    const rules = { nowMs: world.nowMs + HOUR, retentionMs: 10 * HOUR, unknownTopicMs: HOUR };
    const { image } = new GroupsWorld().topics;
    world.do(state => expireOffsets(state, { ...rules, image }));
    expect(kept()).toBe(1);
    world.do(state => expireOffsets(state, { ...rules, nowMs: rules.nowMs + 1, image }));
    expect(kept()).toBe(0);
  });

  test('a group without members and positions goes with them', () => {
    world.join('a');
    world.leave('a');
    expire(0);
    expect(world.state.groups.size).toBe(0);
  });
});

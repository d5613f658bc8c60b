// Any history of clients, lost answers, time-outs and topics: one owner at a time as the clients see it, nobody stuck, and a state that its
// records say whole.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { followTopics, judgeMembers } from '../../../server/state/groups/liveness.ts';
import { heartbeat, join, leave, type MemberAnswer } from '../../../server/state/groups/membership.ts';
import { commitOffsets, resetOffsets } from '../../../server/state/groups/offsets.ts';
import { givenAt, pairsOf, partitionSet, type PartitionSet } from '../../../server/state/groups/partition-set.ts';
import { isSettled } from '../../../server/state/groups/reconciliation.ts';
import type { AssignorName } from '../../../server/state/groups/record.ts';
import { offset, type TopicId } from '@sluice/protocol/ids';
import { GroupsWorld, plain } from './groups-world.ts';

/** A client as it sees itself: it knows what it was told, and nothing of answers that were lost. */
class Client {
  readonly memberId: string;
  readonly instanceId: string | undefined;
  epoch: number;
  /** What it works on: what it was given and has not given back. */
  owned: PartitionSet;
  revoking: PartitionSet;

  constructor(answer: MemberAnswer, instanceId: string | undefined) {
    this.memberId = answer.memberId;
    this.instanceId = instanceId;
    this.epoch = answer.memberEpoch;
    this.owned = answer.assigned;
    this.revoking = answer.revoking;
  }

  hear(answer: MemberAnswer): void {
    // An answer that is older than what it knows says nothing.
    if (answer.memberEpoch < this.epoch) return;
    const had = new Set(Array.from(pairsOf(this.owned), pair => pair.join('/')));
    this.epoch = answer.memberEpoch;
    this.revoking = partitionSet(Array.from(pairsOf(answer.revoking)).filter(pair => had.has(pair.join('/'))));
    this.owned = partitionSet([...pairsOf(answer.assigned), ...pairsOf(this.revoking)]);
  }

  finish(): void {
    const gone = new Set(Array.from(pairsOf(this.revoking), pair => pair.join('/')));
    this.owned = partitionSet(Array.from(pairsOf(this.owned)).filter(pair => !gone.has(pair.join('/'))));
    this.revoking = new Map();
  }
}

class Run {
  readonly world = new GroupsWorld();
  readonly clients = new Map<string, Client>();
  /** By partition: who committed last, at which epoch, what. */
  readonly committed = new Map<string, { memberId: string; epoch: number; position: number }>();
  #ids = 0;

  constructor() {
    for (const name of ['a', 'b', 'c']) this.world.topics.set(name, 3);
  }

  freshId(): string {
    return `m${++this.#ids}`;
  }

  pick(index: number): Client | undefined {
    const all = Array.from(this.clients.values());
    return all[index % Math.max(1, all.length)];
  }

  /** Members that the coordinator put out may not know it yet; the rest is what must hold. */
  check(): void {
    const group = this.world.state.groups.get('g');
    const owners = new Map<string, string>();
    for (const { memberId, owned } of this.clients.values()) {
      const member = group?.members.get(memberId);
      if (member === undefined) continue;
      for (const [topicId, partition] of pairsOf(owned)) {
        const key = `${topicId}/${partition}`;
        expect(owners.get(key), `${key} is with ${memberId} and`).toBeUndefined();
        owners.set(key, memberId);
        const { assigned, revoking } = member.holding;
        expect(givenAt(assigned, topicId, partition) ?? givenAt(revoking, topicId, partition)).toBeDefined();
      }
    }
    this.world.state.check();
  }
}

type Step = (run: Run) => void;

const client = fc.nat({ max: 40 });
const isLost = fc.boolean();

const steps: Record<string, fc.Arbitrary<Step>> = {
  join: fc
    .record({
      topics: fc.subarray(['a', 'b', 'c'], { minLength: 1 }),
      pattern: fc.constantFrom(undefined, undefined, '[ab]', '.*'),
      instanceId: fc.constantFrom(undefined, undefined, undefined, 'i', 'j'),
      assignor: fc.constantFrom<AssignorName | undefined>(undefined, 'uniform', 'range', 'round-robin'),
      isLost,
    })
    .map(({ topics, pattern, instanceId, assignor, isLost }) => run => {
      const memberId = run.freshId();
      const subscribed = pattern === undefined ? { topics } : { topicPattern: pattern };
      const request = { groupId: 'g', memberId, instanceId, assignor, ...subscribed };
      const joined = run.world.try(state => join(state, request, run.world.context));
      if (!joined.ok || isLost) return;
      for (const [id, other] of run.clients)
        if (instanceId !== undefined && other.instanceId === instanceId) run.clients.delete(id);
      run.clients.set(memberId, new Client(joined.value.response, instanceId));
    }),
  heartbeat: fc
    .record({ client, finishes: fc.boolean(), saysOwned: fc.boolean(), isLost })
    .map(({ client: index, finishes, saysOwned, isLost }) => run => {
      const one = run.pick(index);
      if (one === undefined) return;
      // Who does not say what it owns has to be done with what it was asked for.
      if (finishes || !saysOwned) one.finish();
      const { memberId, epoch } = one;
      const owned = saysOwned ? one.owned : null;
      const answer = run.world.try(state => heartbeat(state, { groupId: 'g', memberId, memberEpoch: epoch, owned }));
      if (!answer.ok) run.clients.delete(memberId);
      else if (!isLost) one.hear(answer.value.response);
    }),
  leave: client.map(index => run => {
    const one = run.pick(index);
    if (one === undefined) return;
    run.world.try(state => leave(state, { groupId: 'g', memberId: one.memberId }, run.world.context));
    run.clients.delete(one.memberId);
  }),
  silence: fc.record({ client, why: fc.constantFrom('session', 'rebalance') }).map(({ client: index, why }) => run => {
    const one = run.pick(index);
    const members = Array.from(run.world.state.groups.get('g')?.members.keys() ?? []);
    const silent = why === 'session' ? (one?.memberId ?? members[0]) : undefined;
    run.world.judge(state =>
      judgeMembers(
        state,
        {
          nowMs: 10_000_000,
          listeningSinceMs: 0,
          lastHeardMs: (_, memberId) => (memberId === silent ? 0 : 10_000_000),
          revokingSinceMs: member => (why === 'rebalance' && member.memberId === one?.memberId ? 0 : 10_000_000),
        },
        run.world.context,
      ),
    );
  }),
  topics: fc
    .record({ name: fc.constantFrom('a', 'b', 'c'), count: fc.integer({ min: 3, max: 6 }), isDeleted: fc.boolean() })
    .map(({ name, count, isDeleted }) => run => {
      const known = run.world.topics.image.topics.get(name);
      if (isDeleted) run.world.topics.delete(name);
      else run.world.topics.set(name, Math.max(known?.partitions.length ?? 0, count));
      run.world.judge(state => followTopics(state, run.world.context));
    }),
  commit: fc
    .record({ client, position: fc.nat({ max: 20 }), isStale: fc.boolean() })
    .map(({ client: index, position, isStale }) => run => {
      const one = run.pick(index);
      const [first] = one === undefined ? [] : Array.from(pairsOf(one.owned));
      if (one === undefined || first === undefined) return;
      const [topicId, partition] = first;
      const memberEpoch = isStale ? one.epoch - 1 : one.epoch;
      const member = { memberId: one.memberId, memberEpoch };
      const offsets = [{ topicId, partition, offset: offset(position) }];
      const result = run.world.try(state => commitOffsets(state, { groupId: 'g', member, offsets }, run.world.context));
      if (!result.ok) return;
      const key = `${topicId}/${partition}`;
      const before = run.committed.get(key);
      const isSameEpoch = before?.memberId === one.memberId && before.epoch >= memberEpoch;
      if (isSameEpoch) expect(position).toBeGreaterThanOrEqual(before.position);
      run.committed.set(key, { memberId: one.memberId, epoch: memberEpoch, position });
    }),
  reset: fc.nat({ max: 20 }).map(position => run => {
    const topicId: TopicId | undefined = run.world.topics.image.topics.get('a')?.topicId;
    if (topicId === undefined) return;
    const offsets = [{ topicId, partition: 0, offset: offset(position) }];
    const request = { groupId: 'g', offsets, isDryRun: false };
    const result = run.world.try(state => resetOffsets(state, request, run.world.context));
    if (result.ok) run.committed.delete(`${topicId}/0`);
  }),
};

const named = (name: string, weight: number) => ({
  weight,
  arbitrary: steps[name]!.map(step => ({ name, step })),
});

const anyHistory = fc.array(
  fc.oneof(
    named('join', 5),
    named('heartbeat', 20),
    named('leave', 1),
    named('silence', 1),
    named('topics', 2),
    named('commit', 5),
    named('reset', 1),
  ),
  // Without the size most would be far shorter.
  { minLength: 1, maxLength: 80, size: 'max' },
);

/** Everybody answers promptly from now on; the ones whose clients are gone are put out first. */
const settle = (run: Run): number => {
  const { world } = run;
  const members = world.state.groups.get('g')?.members ?? new Map();
  const gone = Array.from(members.keys()).filter(memberId => !run.clients.has(memberId));
  for (const memberId of gone) world.leave(memberId);
  for (let round = 0; round < 10; round++) {
    const group = world.state.groups.get('g');
    if (group === undefined || isSettled(group)) return round;
    for (const one of Array.from(run.clients.values())) {
      one.finish();
      const { memberId, epoch, owned } = one;
      const answer = world.try(state => heartbeat(state, { groupId: 'g', memberId, memberEpoch: epoch, owned }));
      if (answer.ok) one.hear(answer.value.response);
      else run.clients.delete(memberId);
    }
    run.check();
  }
  return Number.POSITIVE_INFINITY;
};

test('one owner at a time, one state whoever replays, and everybody settles', { timeout: 120_000 }, () => {
  const reached = new Map<string, number>();
  fc.assert(
    fc.property(anyHistory, history => {
      const run = new Run();
      for (const { name, step } of history) {
        const { length } = run.world.log;
        step(run);
        if (run.world.log.length > length) reached.set(name, (reached.get(name) ?? 0) + 1);
        run.check();
      }
      expect(plain(run.world.follower)).toEqual(plain(run.world.state));
      expect(plain(run.world.compacted())).toEqual(plain(run.world.state));
      // One round to hear of it and be asked, one to give back, one to be given, and one for a lost answer each.
      expect(settle(run)).toBeLessThanOrEqual(5);
      const group = run.world.state.groups.get('g');
      for (const { topicId, partitionCount } of group === undefined ? [] : group.topics.topics) {
        if (group!.members.size > 0) expect(group!.owners.get(topicId)?.size).toBe(partitionCount);
      }
      expect(plain(run.world.compacted())).toEqual(plain(run.world.state));
    }),
    { numRuns: 300 },
  );
  for (const name of Object.keys(steps)) expect(reached.get(name) ?? 0, name).toBeGreaterThan(0);
});

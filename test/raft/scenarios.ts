// The rules that other systems paid for, each as a scenario of one replica against scripted others. The names of the groups
// are the numbers and words of the rules. A scenario takes the core, so that mutants.test.ts can show that it fails for a
// core without the rule; rules.test.ts runs all of them on the real one.

import { offset } from '@sluice/protocol/ids';
import { expect } from 'vitest';
import { ORIGIN } from '../../server/base/position.ts';
import { changed } from '../../server/raft/configuration-change.ts';
import { configurationOf } from '../../server/raft/configuration.ts';
import { Lone, configurationBatch, data, epochStart } from './lone.ts';
import { at, replica } from './names.ts';
import type { Core } from './walk.ts';

type Scenario = (core: Core) => void;

const joint = (voters: number[], outgoing: number[], autoLeave = false) => ({
  ...configurationOf(voters.map(replica)),
  outgoing: new Set(outgoing.map(replica)),
  autoLeave,
});

/** A follower of replica 2 in term 1 with ten records, committed to the fifth. */
const follower = (core: Core, more: ConstructorParameters<typeof Lone>[0] = {}): Lone => {
  const lone = new Lone({ core, term: 1, log: [[1, 0, 10]], ...more });
  lone.append(2, 1, { prev: at(1, 10), commit: at(1, 5) }).store();
  lone.said('append-matched');
  return lone;
};

/** A leader of three that has committed its start. */
const leader = (core: Core, more: ConstructorParameters<typeof Lone>[0] = {}): Lone => {
  const lone = new Lone({ core, ...more }).lead(2);
  lone.acknowledge(2, lone.group.end);
  lone.take();
  lone.sent = [];
  lone.orders = lone.orders.filter(order => order.to !== replica(2));
  return lone;
};

/** Has the order for a replica filled with what is in the leader's log beyond what it was sent. */
const fill = (lone: Lone, to: number, ...batches: ReturnType<typeof data>[]): void => {
  const order = lone.orders.find(each => each.to === replica(to));
  if (order === undefined) throw new Error(`nothing is ordered for ${to}`);
  lone.orders = lone.orders.filter(each => each !== order);
  const append = lone.group.fill(order, batches);
  if (append !== null) lone.sent.push(append);
  lone.take();
};

const one: Record<string, Scenario> = {
  'a vote leaves when term and vote are in the store': core => {
    const lone = new Lone({ core });
    lone.hear(2, 1, { kind: 'vote', position: ORIGIN, isTransfer: false });
    expect(lone.saved).toMatchObject({ term: 1, vote: replica(2) });
    expect(lone.said('vote-answer')).toEqual([]);
    lone.store();
    expect(lone.said('vote-answer')).toMatchObject([{ answer: 'yes', to: replica(2) }]);
  },
  'a candidate asks for votes, and counts its own, when its term and vote are in the store': core => {
    const lone = new Lone({ core });
    lone.group.campaign();
    lone.take();
    lone.hear(2, 1, { kind: 'pre-vote-answer', answer: 'yes' });
    expect([lone.group.role, lone.said('vote')]).toEqual(['candidate', []]);
    lone.hear(2, 1, { kind: 'vote-answer', answer: 'yes' }).hear(3, 1, { kind: 'vote-answer', answer: 'yes' });
    expect(lone.group.role).toBe('candidate');
    lone.store();
    expect(lone.group.role).toBe('leader');
  },
  'an acknowledgement leaves when the log is durable up to it, and the term is in the store': core => {
    const lone = new Lone({ core });
    lone.append(2, 1, { prev: ORIGIN, batches: [epochStart(1, 0), data(1, 0, 5)] });
    expect(lone.said('append-matched')).toEqual([]);
    lone.sync();
    expect(lone.said('append-matched')).toEqual([]);
    lone.store();
    expect(lone.said('append-matched')).toMatchObject([{ position: at(1, 5) }]);
    lone.append(2, 1, { prev: at(1, 5), batches: [data(1, 5, 6), data(1, 6, 7)] });
    expect(lone.sync(at(1, 6)).said('append-matched')).toEqual([]);
    expect(lone.sync(at(1, 7)).said('append-matched')).toMatchObject([{ position: at(1, 7) }]);
  },
  'a notice of an older generation confirms nothing, also of what was cut and came back': core => {
    const lone = follower(core);
    const again = [epochStart(2, 10), data(2, 10, 12)];
    lone.append(2, 2, { prev: at(1, 10), batches: again }).store();
    lone.append(3, 3, { prev: at(1, 10), batches: [epochStart(3, 10)] }).store();
    lone.append(2, 4, { prev: at(1, 10), batches: again }).store();
    expect(lone.log.filter(order => order.kind === 'cut')).toHaveLength(2);
    // The sync of the first time is reported only now.
    lone.group.durable({ generation: 1, position: at(2, 12) });
    lone.take();
    expect([lone.said('append-matched'), lone.group.durablePosition]).toEqual([[], at(1, 10)]);
    expect(lone.sync().said('append-matched')).toMatchObject([{ position: at(2, 12) }]);
  },
};

const two: Record<string, Scenario> = {
  'what earlier terms left is not counted, however many have it': core => {
    const lone = new Lone({ core, term: 2, log: [[2, 0, 5]] }).lead(2);
    expect(lone.group.end).toEqual(at(3, 5));
    lone.acknowledge(2, at(2, 5)).acknowledge(3, at(2, 5));
    expect(lone.group.commit).toEqual(ORIGIN);
    lone.acknowledge(3, at(3, 5));
    expect(lone.group.commit).toEqual(at(3, 5));
  },
  'a leader counts itself when it is durable': core => {
    const lone = leader(core);
    lone.propose(4);
    lone.acknowledge(2, at(1, 4));
    expect(lone.group.commit).toEqual(at(1, 0));
    lone.sync();
    expect(lone.group.commit).toEqual(at(1, 4));
  },
  'and only up to where it is durable': core => {
    const lone = leader(core);
    lone.propose(4);
    lone.propose(4);
    lone.acknowledge(2, at(1, 8)).sync(at(1, 4));
    expect(lone.group.commit).toEqual(at(1, 4));
  },
  'a leader need not be among those that have it': core => {
    const lone = leader(core);
    lone.propose(4);
    lone.acknowledge(2, at(1, 4)).acknowledge(3, at(1, 4));
    expect(lone.group.commit).toEqual(at(1, 4));
  },
  'no read is confirmed before the own epoch start is committed': core => {
    const lone = new Lone({ core, term: 2, log: [[2, 0, 5]] }).lead(2);
    lone.group.requestRead(1);
    lone.take();
    lone.hear(2, 3, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: 0 });
    lone.hear(2, 3, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: 1 });
    expect(lone.readies.flatMap(ready => ready.reads)).toEqual([]);
    lone.acknowledge(2, at(3, 5));
    const round = lone.said('heartbeat').at(-1)?.readRound ?? -1;
    lone.hear(2, 3, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: round });
    expect(lone.readies.flatMap(ready => ready.reads)).toEqual([{ token: 1, commit: at(3, 5) }]);
  },
};

const three: Record<string, Scenario> = {
  'a replica that was away asks first, and changes nothing anywhere': core => {
    const lone = new Lone({ core, term: 4 });
    lone.tick(40);
    expect([lone.group.role, lone.group.term]).toEqual(['pre-candidate', 4]);
    expect(lone.said('pre-vote')).toContainEqual(expect.objectContaining({ term: 5, to: replica(2) }));
    expect(lone.said('vote')).toEqual([]);
  },
  'neither a pre-vote nor a vote counts while a leader was heard, whatever their term': core => {
    const lone = follower(core);
    lone.hear(3, 9, { kind: 'pre-vote', position: at(8, 99) });
    lone.hear(3, 9, { kind: 'vote', position: at(8, 99), isTransfer: false });
    expect([lone.sent, lone.group.term]).toEqual([[], 1]);
    lone
      .tick(10)
      .hear(3, 9, { kind: 'vote', position: at(8, 99), isTransfer: false })
      .store();
    expect(lone.said('vote-answer')).toMatchObject([{ answer: 'yes', term: 9 }]);
  },
  'a leader takes no notice of them either': core => {
    const lone = leader(core);
    lone.hear(3, 9, { kind: 'vote', position: at(8, 99), isTransfer: false });
    expect([lone.group.role, lone.group.term]).toEqual(['leader', 1]);
  },
  'a learner that hears no leader any more answers the one that asks': core => {
    const lone = follower(core, { self: 4 });
    for (let round = 0; round < 10; round++) {
      lone.tick(9).hear(2, 2, { kind: 'pre-vote', position: at(1, 10) });
      if (lone.said('pre-vote-answer').length > 0) return;
    }
    throw new Error('it still believes in the leader that asks for another election');
  },
  'a leader that a majority does not answer makes room': core => {
    const lone = leader(core);
    lone.tick(10);
    expect(lone.group.role).toBe('leader');
    for (let tick = 0; tick < 10; tick++)
      lone.tick().hear(2, 1, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: 0 });
    lone.tick(9);
    expect(lone.group.role).toBe('leader');
    lone.tick(11);
    expect(lone.group.role).toBe('follower');
    expect(lone.readies.map(ready => ready.lost).filter(epoch => epoch !== null)).toEqual([1]);
  },
  'an append of a lower term is answered with the own one': core => {
    const lone = new Lone({ core, term: 5 });
    lone.append(2, 3, { prev: ORIGIN }).hear(3, 4, { kind: 'heartbeat', commit: ORIGIN, readRound: 0, isLast: false });
    expect(lone.said('outdated')).toMatchObject([
      { to: replica(2), term: 5 },
      { to: replica(3), term: 5 },
    ]);
    const deposed = leader(core);
    deposed.hear(2, 5, { kind: 'outdated' });
    expect([deposed.group.role, deposed.group.term]).toEqual(['follower', 5]);
  },
  'a pre-vote of a lower term is refused, not dropped': core => {
    const lone = new Lone({ core, term: 5 });
    lone.hear(2, 3, { kind: 'pre-vote', position: at(2, 2) });
    expect(lone.said('pre-vote-answer')).toMatchObject([{ answer: 'no', term: 5 }]);
  },
  'a candidate that is refused, or hears the leader of its term, is a follower again': core => {
    const refused = new Lone({ core });
    refused.group.campaign();
    refused.take();
    refused.hear(2, 0, { kind: 'pre-vote-answer', answer: 'no' }).hear(3, 0, { kind: 'pre-vote-answer', answer: 'no' });
    expect(refused.group.role).toBe('follower');
    const late = new Lone({ core });
    late.group.campaign();
    late.take();
    late.hear(2, 1, { kind: 'pre-vote-answer', answer: 'yes' }).store();
    late.append(3, 1, { prev: ORIGIN, batches: [epochStart(1, 0)] });
    expect([late.group.role, late.group.leader, late.group.end]).toEqual(['follower', replica(3), at(1, 0)]);
  },
};

const vote = { kind: 'vote', isTransfer: false } as const;

const four: Record<string, Scenario> = {
  'there is one vote a term': core => {
    const lone = new Lone({ core });
    lone
      .hear(2, 1, { ...vote, position: ORIGIN })
      .hear(3, 1, { ...vote, position: at(0, 9) })
      .store();
    expect(lone.said('vote-answer').map(({ to, answer }) => [to, answer])).toEqual([
      [replica(2), 'yes'],
      [replica(3), 'no'],
    ]);
    lone.hear(2, 1, { ...vote, position: ORIGIN });
    expect(lone.said('vote-answer')).toMatchObject([{ to: replica(2), answer: 'yes' }]);
  },
  'and a restart remembers it': core => {
    const lone = new Lone({ core, term: 3, vote: 2 });
    lone.hear(3, 3, { ...vote, position: at(2, 9) });
    expect(lone.said('vote-answer')).toMatchObject([{ answer: 'no' }]);
  },
  'none for who is behind: epochs are compared first, then offsets': core => {
    const lone = new Lone({
      core,
      term: 3,
      log: [
        [1, 0, 9],
        [3, 9, 12],
      ],
    });
    for (const [position, answer] of [
      [at(3, 11), 'no'],
      [at(2, 99), 'no'],
      [at(3, 12), 'yes'],
    ] as const) {
      lone.hear(2, 4, { kind: 'pre-vote', position });
      expect(lone.said('pre-vote-answer')).toMatchObject([{ answer }]);
    }
  },
  'what is not durable is not claimed': core => {
    const lone = follower(core);
    lone.append(2, 1, { prev: at(1, 10), batches: [data(1, 10, 20)] }).tick(20);
    expect(lone.said('pre-vote')[0]?.position).toEqual(at(1, 10));
    lone.hear(3, 2, { kind: 'pre-vote', position: at(1, 10) });
    expect(lone.said('pre-vote-answer')).toMatchObject([{ answer: 'yes' }]);
  },
  'a request is answered whatever the membership is believed to be': core => {
    const lone = new Lone({ core, self: 4, voters: [1, 2, 3] });
    lone.hear(9, 1, { ...vote, position: ORIGIN }).store();
    expect(lone.said('vote-answer')).toMatchObject([{ to: replica(9), answer: 'yes' }]);
  },
  'only votes of the own configuration are counted': core => {
    const lone = new Lone({ core });
    lone.group.campaign();
    lone.take();
    lone.hear(7, 1, { kind: 'pre-vote-answer', answer: 'yes' }).hear(8, 1, { kind: 'pre-vote-answer', answer: 'yes' });
    expect(lone.group.role).toBe('pre-candidate');
    lone.hear(3, 1, { kind: 'pre-vote-answer', answer: 'yes' });
    expect(lone.group.role).toBe('candidate');
  },
  'a replica whose store lost its vote neither votes nor campaigns': core => {
    const lone = new Lone({ core, condition: { kind: 'suspect' } });
    lone.hear(2, 1, { ...vote, position: at(9, 9) }).store();
    expect(lone.said('vote-answer')).toMatchObject([{ answer: 'no' }]);
    lone.tick(50);
    expect(lone.group.role).toBe('follower');
  },
  'a damaged replica claims what it acknowledged, and lets the others go first': core => {
    const condition = {
      kind: 'faulty',
      claims: at(1, 30),
      soundTo: at(1, 10),
      isWritable: true,
      reason: 'damage',
    } as const;
    const lone = new Lone({ core, term: 1, log: [[1, 0, 20]], condition });
    lone.hear(2, 2, { kind: 'pre-vote', position: at(1, 29) }).hear(2, 2, { kind: 'pre-vote', position: at(1, 30) });
    expect(lone.said('pre-vote-answer').map(({ answer }) => answer)).toEqual(['no', 'yes']);
    lone.tick(40);
    expect(lone.group.role).toBe('follower');
    lone.tick(20);
    expect(lone.group.role).toBe('pre-candidate');
  },
  'a damaged replica acknowledges nothing above the damage, unless it is alone': core => {
    const condition = {
      kind: 'faulty',
      claims: at(1, 20),
      soundTo: at(1, 10),
      isWritable: true,
      reason: 'damage',
    } as const;
    const lone = new Lone({ core, term: 1, log: [[1, 0, 20]], condition });
    lone.append(2, 1, { prev: at(1, 15) }).append(2, 1, { prev: at(1, 10) });
    expect(lone.said('append-matched')).toMatchObject([{ position: at(1, 10) }]);
    const alone = new Lone({ core, term: 1, log: [[1, 0, 20]], condition, voters: [1] });
    alone.lead();
    expect(alone.group.commit).toEqual(at(2, 20));
  },
  'a log that takes nothing any more is never campaigned for, and its leader steps down': core => {
    const lone = leader(core);
    lone.group.setCondition({
      kind: 'faulty',
      claims: lone.group.end,
      soundTo: lone.group.end,
      isWritable: false,
      reason: 'damage',
    });
    lone.take();
    expect(lone.group.role).toBe('follower');
    lone.tick(200);
    expect(lone.group.role).toBe('follower');
    lone.append(2, 2, { prev: at(1, 0), batches: [epochStart(2, 0)] });
    expect([lone.group.end, lone.said('append-matched')]).toEqual([at(1, 0), []]);
  },
  'replicas that may have lost something elect the best of them, when all answer': core => {
    const recovering = { condition: { kind: 'recovering' }, settings: { mayLoseWrites: true } } as const;
    const lone = new Lone({ core, term: 1, log: [[1, 0, 10]], ...recovering });
    lone.hear(2, 2, { kind: 'pre-vote', position: at(1, 9) }).hear(3, 2, { kind: 'pre-vote', position: at(1, 12) });
    expect(lone.said('pre-vote-answer').map(({ answer }) => answer)).toEqual(['no', 'if-all']);
    lone.group.campaign();
    lone.take();
    lone.hear(2, 2, { kind: 'pre-vote-answer', answer: 'if-all' });
    expect(lone.group.role).toBe('pre-candidate');
    lone.hear(3, 2, { kind: 'pre-vote-answer', answer: 'if-all' });
    expect(lone.group.role).toBe('candidate');
  },
  'one of them is sound again when it has what a leader committed in its term': core => {
    const recovering = { condition: { kind: 'recovering' }, settings: { mayLoseWrites: true } } as const;
    const lone = new Lone({ core, term: 1, log: [[1, 0, 10]], ...recovering });
    lone.append(2, 2, { prev: at(1, 10), batches: [epochStart(2, 10)], commit: at(1, 10) }).sync();
    expect(lone.group.condition.kind).toBe('recovering');
    lone.append(2, 2, { prev: at(2, 10), batches: [data(2, 10, 12)], commit: at(2, 12) });
    expect(lone.group.condition.kind).toBe('recovering');
    lone.sync();
    expect(lone.group.condition.kind).toBe('sound');
  },
  'at a restart the term is at least the last epoch of the log, without a vote': core => {
    const lone = new Lone({
      core,
      term: 2,
      vote: 3,
      log: [
        [1, 0, 5],
        [4, 5, 6],
      ],
    });
    expect([lone.group.term, lone.group.vote, lone.saved?.term]).toEqual([4, null, 4]);
  },
};

const five: Record<string, Scenario> = {
  'reads that come together share a round, and a majority must answer after they were asked': core => {
    const lone = leader(core);
    lone.group.requestRead(1);
    lone.group.requestRead(2);
    lone.take();
    const rounds = lone.said('heartbeat').map(({ readRound }) => readRound);
    expect(new Set(rounds).size).toBe(1);
    lone.hear(2, 1, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: rounds[0]! - 1 });
    expect(lone.readies.flatMap(ready => ready.reads)).toEqual([]);
    lone.hear(2, 1, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: rounds[0]! });
    expect(lone.readies.flatMap(ready => ready.reads)).toEqual([
      { token: 1, commit: at(1, 0) },
      { token: 2, commit: at(1, 0) },
    ]);
    lone.group.requestRead(3);
    lone.take();
    expect(lone.readies.flatMap(ready => ready.reads)).toHaveLength(2);
  },
  'who is alone confirms at once': core => {
    const lone = leader(core, { voters: [1] });
    lone.group.requestRead(7);
    lone.take();
    expect(lone.lastReady?.reads).toEqual([{ token: 7, commit: at(1, 0) }]);
  },
  'a read is lost with the leadership': core => {
    const lone = leader(core);
    lone.group.requestRead(1);
    lone.take();
    lone.hear(2, 2, { kind: 'outdated' });
    expect(lone.readies.flatMap(ready => ready.readsLost)).toEqual([1]);
    expect(lone.group.requestRead(2)).toBe(false);
  },
};

const six: Record<string, Scenario> = {
  'a learner has the log and no vote': core => {
    const lone = leader(core, { configuration: configurationOf([1, 2].map(replica), [replica(3)]) });
    lone.propose(5);
    lone.sync().acknowledge(3, at(1, 5));
    expect(lone.group.commit).toEqual(at(1, 0));
    expect(lone.orders.map(order => order.to)).toContain(replica(3));
    expect(lone.lastReady?.progress?.inSync ?? []).not.toContain(replica(3));
  },
  'no change before the own epoch start is committed': core => {
    const lone = new Lone({ core }).lead(2);
    const change = { kind: 'simple', steps: [{ kind: 'remove', replica: replica(3) }] } as const;
    expect(lone.group.proposeConfiguration(change)).toEqual({ ok: false, refusal: 'not-ready' });
    lone.acknowledge(2, at(1, 0));
    expect(lone.group.proposeConfiguration(change)).toMatchObject({ ok: true, position: at(1, 1) });
  },
  'one change at a time, until it is committed': core => {
    const lone = leader(core);
    const change = { kind: 'simple', steps: [{ kind: 'add-learner', replica: replica(4) }] } as const;
    expect(lone.group.proposeConfiguration(change)).toMatchObject({ ok: true });
    lone.tick(5);
    const next = { kind: 'simple', steps: [{ kind: 'add-voter', replica: replica(4) }] } as const;
    expect(lone.group.proposeConfiguration(next)).toEqual({ ok: false, refusal: 'change-pending' });
    lone.take();
    lone.sync().store().acknowledge(2, at(1, 1));
    expect(lone.group.proposeConfiguration(next)).toMatchObject({ ok: true });
  },
  'a change is in force from the log, and gone when it is cut': core => {
    const lone = follower(core);
    const next = configurationOf([1, 2].map(replica));
    lone.append(2, 1, { prev: at(1, 10), batches: [configurationBatch(1, 10, next)] }).store();
    expect(lone.group.configuration.voters.size).toBe(2);
    expect(lone.saved?.configurations).toHaveLength(2);
    lone.append(3, 2, { prev: at(1, 10), batches: [epochStart(2, 10)] });
    expect(lone.group.configuration.voters.size).toBe(3);
    expect(lone.saved?.configurations).toHaveLength(1);
  },
  'one that reached the log and not the store is in force after a restart': core => {
    const next = configurationOf([1, 2].map(replica));
    const found = [{ position: at(1, 8), configuration: next }];
    const lone = new Lone({ core, term: 1, log: [[1, 0, 10]], found });
    expect([lone.group.configuration, lone.saved?.configurations.length]).toEqual([next, 2]);
    const lost = new Lone({ core, term: 1, log: [[1, 0, 7]], found });
    expect(lost.group.configuration.voters.size).toBe(3);
  },
  'while two sets decide, neither elects alone': core => {
    const lone = new Lone({ core, configuration: joint([1], [2, 3]) });
    lone.group.campaign();
    lone.take();
    expect(lone.group.role).toBe('pre-candidate');
    lone.hear(2, 1, { kind: 'pre-vote-answer', answer: 'yes' });
    expect(lone.group.role).toBe('pre-candidate');
    lone.hear(3, 1, { kind: 'pre-vote-answer', answer: 'yes' });
    expect(lone.group.role).toBe('candidate');
  },
  'and neither commits alone': core => {
    const lone = new Lone({ core, configuration: joint([1], [2, 3]) }).lead(2, 3);
    lone.acknowledge(2, at(1, 0));
    expect(lone.group.commit).toEqual(ORIGIN);
    lone.acknowledge(3, at(1, 0));
    expect(lone.group.commit).toEqual(at(1, 0));
  },
  'a joint configuration is left by itself once it is committed': core => {
    const lone = leader(core);
    const steps = [
      { kind: 'add-voter', replica: replica(4) },
      { kind: 'remove', replica: replica(3) },
    ] as const;
    lone.group.proposeConfiguration({ kind: 'enter-joint', steps, autoLeave: true });
    lone.take();
    expect([lone.group.configuration.outgoing.size, lone.group.end]).toEqual([3, at(1, 1)]);
    lone.sync().store().acknowledge(2, at(1, 1)).acknowledge(4, at(1, 1));
    expect(lone.group.commit).toEqual(at(1, 1));
    expect([lone.group.configuration.outgoing.size, lone.group.end]).toEqual([0, at(1, 2)]);
    expect(lone.log.filter(order => order.kind === 'configuration')).toHaveLength(2);
  },
  'a leader that is removed does not count itself, and goes when that is committed': core => {
    const lone = leader(core);
    lone.group.proposeConfiguration({ kind: 'simple', steps: [{ kind: 'remove', replica: replica(1) }] });
    lone.take();
    lone.sync().store().acknowledge(2, at(1, 1));
    expect([lone.group.role, lone.group.commit]).toEqual(['leader', at(1, 0)]);
    lone.acknowledge(3, at(1, 1));
    expect([lone.group.role, lone.group.commit]).toEqual(['follower', at(1, 1)]);
    expect(lone.said('transfer')).toHaveLength(1);
    lone.tick(100);
    expect(lone.group.role).toBe('follower');
  },
  'who is removed by a change that is not committed may still ask for votes: it may be the only one that has it':
    core => {
      const removed = changed(configurationOf([1, 2].map(replica)), {
        kind: 'simple',
        steps: [{ kind: 'remove', replica: replica(1) }],
      });
      if (!removed.ok) throw new Error('it can be removed');
      const found = [{ position: at(1, 8), configuration: removed.configuration }];
      const lone = new Lone({ core, term: 1, voters: [1, 2], log: [[1, 0, 10]], found });
      lone.tick(20);
      expect(lone.group.role).toBe('pre-candidate');
    },
};

const seven: Record<string, Scenario> = {
  'the same node with another directory is somebody else': core => {
    const lone = new Lone({ core });
    lone.group.campaign();
    lone.take();
    const other = replica(2).replace('000000000002', '00000000beef') as ReturnType<typeof replica>;
    const envelope = { from: other, to: replica(1), term: at(1, 0).epoch, recovery: 0 };
    lone.group.step({ ...envelope, kind: 'pre-vote-answer', answer: 'yes' });
    expect(lone.group.role).toBe('pre-candidate');
    lone.group.step({ ...envelope, to: other, kind: 'pre-vote-answer', answer: 'yes', from: replica(2) });
    expect(lone.group.role).toBe('pre-candidate');
  },
};

const eight: Record<string, Scenario> = {
  'the target is asked when it has everything and all of it is committed, and until then nothing is proposed': core => {
    const lone = leader(core);
    lone.propose(3);
    expect(lone.group.transfer(replica(2))).toEqual({ ok: true });
    expect([lone.said('transfer'), lone.propose()]).toEqual([[], { ok: false, refusal: 'transferring' }]);
    // Its own disk is behind: nobody who waits for these can be told yet that they are committed.
    lone.acknowledge(2, at(1, 3));
    expect(lone.said('transfer')).toEqual([]);
    lone.sync();
    expect(lone.said('transfer')).toMatchObject([{ to: replica(2) }]);
    lone.tick(9);
    expect(lone.propose()).toMatchObject({ ok: false });
    lone.hear(2, 1, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: 0 }).tick(1);
    expect(lone.propose()).toMatchObject({ ok: true });
  },
  'only a voter is handed to': core => {
    const lone = leader(core, { configuration: configurationOf([1, 2, 3].map(replica), [replica(4)]) });
    expect(lone.group.transfer(replica(4))).toEqual({ ok: false, refusal: 'not-a-voter' });
    expect(lone.group.transfer(replica(1))).toEqual({ ok: false, refusal: 'already-leader' });
    expect(follower(core).group.transfer(replica(3))).toEqual({ ok: false, refusal: 'not-leader' });
  },
  'the target campaigns at once, and a leader that was heard is no reason to refuse it': core => {
    const target = follower(core);
    target.hear(2, 1, { kind: 'transfer', commit: at(1, 8), logStart: offset(6) }).store();
    // Whoever leads next does not hear from this leader any more.
    expect(target.group.commit).toEqual(at(1, 8));
    expect(target.log).toContainEqual({ kind: 'log-start', offset: 6 });
    expect([target.group.role, target.said('pre-vote')]).toEqual(['candidate', []]);
    expect(target.said('vote')).toContainEqual(expect.objectContaining({ isTransfer: true, term: 2 }));
    const voter = follower(core);
    voter.hear(3, 2, { kind: 'vote', position: at(1, 10), isTransfer: true }).store();
    expect(voter.said('vote-answer')).toMatchObject([{ answer: 'yes' }]);
    const old = leader(core);
    old.hear(3, 2, { kind: 'vote', position: at(1, 0), isTransfer: true }).store();
    expect(old.said('vote-answer')).toMatchObject([{ answer: 'yes' }]);
  },
};

const nine: Record<string, Scenario> = {
  'a forced election raises the recovery number, and the chosen one is alone': core => {
    const lone = new Lone({ core, term: 3, log: [[3, 0, 9]] });
    lone.group.forceElection();
    lone.take();
    lone.store().sync();
    expect([lone.group.role, lone.group.recovery, lone.group.commit]).toEqual(['leader', 1, at(4, 9)]);
    expect(lone.saved).toMatchObject({ recovery: 1 });
  },
  'who meets a higher one stops': core => {
    const lone = leader(core);
    lone.group.requestRead(1);
    lone.take();
    lone.hear(2, 1, { kind: 'heartbeat', commit: ORIGIN, readRound: 0, isLast: false }, 1);
    expect([lone.group.role, lone.lastReady?.supersededBy, lone.lastReady?.lost]).toEqual(['stopped', 1, 1]);
    lone.tick(100).hear(2, 9, { kind: 'vote', position: at(8, 8), isTransfer: false }, 1);
    expect([lone.group.role, lone.said('vote-answer')]).toEqual(['stopped', []]);
  },
  'a lower one is refused, and told': core => {
    const lone = new Lone({ core, recovery: 2 });
    lone.hear(2, 9, { kind: 'vote', position: at(8, 8), isTransfer: false }, 1);
    expect([lone.group.term, lone.said('outdated')]).toMatchObject([0, [{ recovery: 2 }]]);
  },
};

const append: Record<string, Scenario> = {
  'what follows a position that the log does not hold is refused': core => {
    const lone = follower(core);
    lone.append(3, 3, { prev: at(2, 8), batches: [data(2, 8, 12)] }).store();
    expect([lone.said('append-rejected'), lone.log]).toMatchObject([[{ prev: at(2, 8), hint: at(1, 10) }], []]);
  },
  'what is cut is not durable any more': core => {
    const lone = follower(core);
    lone.append(3, 2, { prev: at(1, 6), batches: [epochStart(2, 6), data(2, 6, 9)] });
    expect(lone.group.durablePosition).toEqual(at(1, 6));
  },
  'a follower commits what the request matched, never its own end': core => {
    const lone = follower(core);
    lone.append(3, 2, { prev: at(1, 6), batches: [data(1, 6, 8)], commit: at(2, 30) }).store();
    expect(lone.group.commit).toEqual(at(1, 8));
  },
  'it acknowledges that too, and not its own end': core => {
    const lone = follower(core);
    lone.append(3, 2, { prev: at(1, 6), batches: [data(1, 6, 8)] }).store();
    expect(lone.said('append-matched')).toMatchObject([{ position: at(1, 8) }]);
  },
  'points in gaps are compared': core => {
    const lone = new Lone({
      core,
      term: 2,
      log: [
        [1, 0, 6],
        [2, 6, 8],
      ],
    });
    lone.append(3, 3, { prev: at(1, 3), batches: [data(1, 9, 12)] });
    expect(lone.log).toMatchObject([{ kind: 'cut', to: at(1, 6) }, { kind: 'append' }]);
    expect(lone.group.end).toEqual(at(1, 12));
  },
  'an epoch start at the very end of the log is compared': core => {
    const lone = new Lone({
      core,
      term: 2,
      log: [
        [1, 0, 6],
        [2, 6, 6],
      ],
    });
    lone.append(3, 3, { prev: at(1, 6), batches: [data(1, 6, 8)] });
    expect(lone.log).toMatchObject([{ kind: 'cut', to: at(1, 6) }, { kind: 'append' }]);
  },
  'a repeat cuts nothing and is acknowledged': core => {
    const lone = follower(core);
    lone.append(2, 1, { prev: at(1, 5), batches: [data(1, 5, 7)], commit: at(1, 5) });
    expect([lone.log, lone.said('append-matched')]).toMatchObject([[], [{ position: at(1, 7) }]]);
  },
  'nothing that is committed is cut: a leader that lacks it is a fault': core => {
    const lone = follower(core);
    expect(() => lone.append(3, 2, { prev: at(1, 3), batches: [epochStart(2, 3)] })).toThrow('below commit');
  },
  'a follower moves its log start with the leader, up to its commit point': core => {
    const lone = follower(core);
    const request = { kind: 'append', prev: at(1, 10), batches: [], commit: at(1, 5) } as const;
    lone.hear(2, 1, { ...request, logStart: at(0, 8).offset });
    expect(lone.log).toEqual([{ kind: 'log-start', offset: 5 }]);
  },
  'a new leader sends its epoch start at once': core => {
    const lone = new Lone({ core, term: 2, log: [[2, 0, 5]] });
    lone.lead(2);
    expect(lone.log).toEqual([{ kind: 'epoch-start', start: { epoch: 3, startOffset: 5 } }]);
    expect(lone.orders.map(({ to, prev }) => [to, prev])).toEqual([
      [replica(2), at(2, 5)],
      [replica(3), at(2, 5)],
    ]);
  },
  'a heartbeat tells of the commit point what the follower acknowledged in this term': core => {
    const lone = leader(core);
    lone.propose(5);
    lone.sync().acknowledge(2, at(1, 5)).acknowledge(3, at(1, 0)).tick(2);
    expect(lone.said('heartbeat').map(({ to, commit }) => [to, commit])).toEqual([
      [replica(2), at(1, 5)],
      [replica(3), at(1, 0)],
    ]);
  },
};

const flow: Record<string, Scenario> = {
  'a follower is probed with one request until it answers': core => {
    const lone = new Lone({ core }).lead(2);
    fill(lone, 2, epochStart(1, 0));
    lone.propose(1);
    expect(lone.orders.map(order => order.to)).not.toContain(replica(2));
    lone.acknowledge(2, at(1, 0));
    expect(lone.orders.find(order => order.to === replica(2))?.prev).toEqual(at(1, 0));
  },
  'and again when it answers a heartbeat: the request may be lost': core => {
    const lone = new Lone({ core }).lead(2);
    fill(lone, 2, epochStart(1, 0));
    lone.hear(2, 1, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: 0 });
    expect(lone.orders.filter(order => order.to === replica(2))).toMatchObject([{ prev: ORIGIN }]);
  },
  'requests follow each other up to the window, and go on when it empties': core => {
    const lone = leader(core, { settings: { inFlightBytesMax: 250 } });
    for (let n = 0; n < 5; n++) {
      lone.propose(1);
      lone.orders = lone.orders.filter(order => order.to === replica(2));
      if (lone.orders.length > 0) fill(lone, 2, data(1, n, n + 1));
    }
    expect([lone.said('append').length, lone.orders]).toEqual([3, []]);
    lone.acknowledge(2, at(1, 1));
    expect(lone.orders.find(order => order.to === replica(2))).toMatchObject({ prev: at(1, 3), bytesMax: 50 });
  },
  'a rejection steps back an epoch at a time': core => {
    const lone = new Lone({
      core,
      term: 6,
      log: [
        [1, 0, 10],
        [2, 10, 20],
        [5, 20, 30],
      ],
    }).lead(2);
    fill(lone, 2, epochStart(7, 30));
    lone.hear(2, 7, { kind: 'append-rejected', prev: at(5, 30), hint: at(4, 25), mayHaveLost: false });
    expect(lone.orders.at(-1)?.prev).toEqual(at(2, 20));
    fill(lone, 2, epochStart(5, 20));
    lone.hear(2, 7, { kind: 'append-rejected', prev: at(2, 20), hint: at(1, 8), mayHaveLost: false });
    expect(lone.orders.at(-1)?.prev).toEqual(at(1, 8));
  },
  'a late rejection moves nothing below what was acknowledged': core => {
    const lone = leader(core);
    lone.propose(5);
    lone.acknowledge(2, at(1, 5));
    lone.propose(1);
    lone.orders = [];
    lone.hear(2, 1, { kind: 'append-rejected', prev: at(1, 3), hint: at(1, 0), mayHaveLost: false });
    lone.hear(2, 1, { kind: 'append-rejected', prev: at(1, 5), hint: at(1, 0), mayHaveLost: false });
    lone.propose(1);
    expect(lone.orders.find(order => order.to === replica(2))?.prev ?? at(1, 5)).toEqual(at(1, 5));
    lone.hear(2, 1, { kind: 'append-rejected', prev: at(1, 6), hint: at(1, 2), mayHaveLost: false });
    lone.propose(1);
    expect(lone.orders.find(order => order.to === replica(2))?.prev).toEqual(at(1, 5));
  },
  'what was lost on the way is noticed by the answers to heartbeats': core => {
    const lone = leader(core);
    lone.propose(1);
    fill(lone, 2, data(1, 0, 1));
    lone.sent = [];
    lone.hear(2, 1, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: 0 });
    lone.hear(2, 1, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: 0 });
    expect(lone.said('append')).toMatchObject([{ to: replica(2), prev: at(1, 1), batches: [] }]);
    lone.hear(2, 1, { kind: 'append-rejected', prev: at(1, 1), hint: at(1, 0), mayHaveLost: false });
    expect(lone.orders.at(-1)).toMatchObject({ to: replica(2), prev: at(1, 0) });
  },
  'more than the bound above the commit point is refused, one batch always taken': core => {
    const lone = leader(core, { settings: { uncommittedBytesMax: 250 } });
    expect(lone.propose(1, 900)).toMatchObject({ ok: true });
    expect(lone.propose(1, 1)).toEqual({ ok: false, refusal: 'throttled' });
    lone.sync().acknowledge(2, at(1, 1));
    expect(lone.propose(1, 100)).toMatchObject({ ok: true, epoch: 1, baseOffset: 1 });
    expect(follower(core).propose()).toEqual({ ok: false, refusal: 'not-leader' });
  },
  'an order of a leadership that ended is not filled': core => {
    const lone = leader(core);
    lone.propose(1);
    const order = lone.orders.find(each => each.to === replica(2))!;
    lone.hear(2, 2, { kind: 'outdated' });
    expect(lone.group.fill(order, [data(1, 0, 1)])).toBeNull();
  },
  'who is in sync reached the end lately': core => {
    const lone = leader(core, { settings: { lagTicksMax: 5 } });
    lone.acknowledge(3, at(1, 0));
    lone.propose(1);
    lone.sync();
    for (let tick = 0; tick < 9; tick++)
      lone.tick().acknowledge(2, at(1, 1)).hear(3, 1, { kind: 'heartbeat-answer', commit: ORIGIN, readRound: 0 });
    lone.tick(2);
    const view = lone.readies.findLast(ready => ready.progress !== null)?.progress;
    expect(view?.inSync).toEqual([replica(1), replica(2)]);
    expect(view?.acknowledged.get(replica(3))).toEqual(at(1, 0));
  },
};

const away = { kind: 'snapshot', base: at(3, 40), logStart: at(0, 45).offset } as const;
const settled = { position: at(3, 42), configuration: configurationOf([1, 2, 4].map(replica)) };

const snapshots: Record<string, Scenario> = {
  'a follower that is behind the log is sent a snapshot, and nothing else until that ended': core => {
    const lone = new Lone({ core, term: 3, base: at(3, 40), log: [[3, 40, 50]] }).lead(2);
    const order = lone.orders.find(each => each.to === replica(3))!;
    expect(lone.group.fill(order, [epochStart(4, 50)])).not.toBeNull();
    lone.hear(3, 4, { kind: 'append-rejected', prev: at(3, 50), hint: at(2, 7), mayHaveLost: false });
    const ordered = lone.readies.flatMap(ready => ready.snapshots);
    expect(ordered).toMatchObject([{ snapshot: { to: replica(3), base: at(3, 40), logStart: 40 } }]);
    lone.orders = [];
    lone.propose(1);
    expect(lone.orders.map(each => each.to)).not.toContain(replica(3));
    lone.group.snapshotEnded({ to: replica(3), isDone: true });
    lone.take();
    expect(lone.orders.find(each => each.to === replica(3))?.prev).toEqual(at(3, 40));
    lone.acknowledge(3, at(3, 40));
    expect(lone.orders.find(each => each.to === replica(3))?.prev).toEqual(at(3, 40));
  },
  'its configuration is in the store before the log is replaced, and it is acknowledged when it is in place': core => {
    const lone = follower(core);
    lone.hear(2, 3, { ...away, configuration: settled });
    expect([lone.log, lone.group.configuration]).toEqual([[], settled.configuration]);
    lone.store();
    expect(lone.log).toEqual([{ kind: 'install', base: at(3, 40) }]);
    expect([lone.group.end, lone.group.commit, lone.said('append-matched')]).toEqual([at(3, 40), at(3, 40), []]);
    expect(lone.sync().said('append-matched')).toMatchObject([{ position: at(3, 40) }]);
  },
  'until it is in place the old log speaks for votes, however late its epoch, and nothing is acknowledged or asked':
    core => {
      const lone = new Lone({
        core,
        term: 4,
        voters: [1, 2, 4],
        log: [
          [1, 0, 10],
          [4, 10, 12],
        ],
      });
      lone.hear(2, 5, { ...away, configuration: settled }).store();
      expect([lone.group.end, lone.said('append-matched')]).toEqual([at(3, 40), []]);
      lone.tick(40);
      expect(lone.group.role).toBe('follower');
      lone.hear(4, 6, { kind: 'pre-vote', position: at(4, 11) });
      expect(lone.said('pre-vote-answer')).toMatchObject([{ answer: 'no' }]);
      lone.hear(2, 5, { ...away, configuration: settled }).sync();
      expect(lone.said('append-matched')).toMatchObject([{ position: at(3, 40) }]);
      lone.tick(40);
      expect(lone.group.role).toBe('pre-candidate');
      lone.hear(4, 6, { kind: 'pre-vote', position: at(3, 40) });
      expect(lone.said('pre-vote-answer')).toMatchObject([{ answer: 'yes' }]);
    },
  'one that is not ahead of the log replaces nothing': core => {
    const lone = new Lone({
      core,
      term: 3,
      log: [
        [1, 0, 10],
        [3, 10, 60],
      ],
    });
    lone.append(2, 3, { prev: at(3, 60), commit: at(3, 50) });
    lone.sent = [];
    lone.hear(2, 3, { ...away, configuration: { ...settled, position: ORIGIN } });
    expect([lone.group.end, lone.log]).toEqual([at(3, 60), [{ kind: 'log-start', offset: 45 }]]);
    expect(lone.said('append-matched')).toMatchObject([{ position: at(3, 50) }]);
  },
  'one whose end the log holds only tells that it is committed': core => {
    const lone = new Lone({
      core,
      term: 3,
      log: [
        [1, 0, 10],
        [3, 10, 60],
      ],
    });
    lone.hear(2, 3, { ...away, configuration: { ...settled, position: ORIGIN } });
    expect([lone.group.end, lone.group.commit]).toEqual([at(3, 60), at(3, 40)]);
    expect(lone.log).toEqual([{ kind: 'log-start', offset: 40 }]);
  },
};

const quiet: Record<string, Scenario> = {
  'a group goes quiet when everybody alive knows that everything is committed': core => {
    const lone = leader(core);
    expect(lone.group.mayBeQuiet()).toBe(false);
    lone.acknowledge(2, at(1, 0), at(1, 0)).acknowledge(3, at(1, 0));
    expect(lone.group.mayBeQuiet()).toBe(false);
    lone.hear(3, 1, { kind: 'heartbeat-answer', commit: at(1, 0), readRound: 0 });
    expect(lone.group.mayBeQuiet()).toBe(true);
    lone.group.beQuiet();
    lone.take();
    expect(lone.said('heartbeat').filter(({ isLast }) => isLast)).toHaveLength(2);
    lone.tick(100);
    expect([lone.group.role, lone.said('heartbeat')]).toEqual(['leader', []]);
    expect(lone.propose()).toMatchObject({ ok: true });
    expect([lone.group.isQuiet, lone.said('heartbeat').length]).toEqual([false, 2]);
  },
  'the dead are not waited for, once they are no more in sync': core => {
    const lone = leader(core);
    for (let tick = 0; tick < 12; tick++) lone.tick().acknowledge(2, at(1, 0), at(1, 0));
    // Asleep, nobody would ever find out that it is behind.
    expect(lone.group.mayBeQuiet()).toBe(false);
    for (let tick = 0; tick < 12; tick++) lone.tick().acknowledge(2, at(1, 0), at(1, 0));
    expect(lone.group.mayBeQuiet()).toBe(true);
    lone.group.beQuiet();
    lone.take();
    expect(lone.readies.findLast(({ progress }) => progress !== null)?.progress?.inSync).toEqual([
      replica(1),
      replica(2),
    ]);
  },
  'one that died meanwhile is found out by a leader that is woken': core => {
    const lone = leader(core);
    lone.acknowledge(2, at(1, 0), at(1, 0)).acknowledge(3, at(1, 0), at(1, 0));
    lone.group.beQuiet();
    lone.take();
    lone.group.wake();
    lone.tick().acknowledge(2, at(1, 0), at(1, 0));
    expect(lone.group.mayBeQuiet()).toBe(false);
    for (let tick = 0; tick < 24; tick++) lone.tick().acknowledge(2, at(1, 0), at(1, 0));
    expect(lone.group.mayBeQuiet()).toBe(true);
  },
  'a leader that is told of a silent node does not go to sleep before it has heard all others': core => {
    const lone = leader(core);
    lone.acknowledge(2, at(1, 0), at(1, 0)).acknowledge(3, at(1, 0), at(1, 0));
    expect(lone.group.mayBeQuiet()).toBe(true);
    lone.group.doubt();
    expect(lone.group.mayBeQuiet()).toBe(false);
    lone.tick().acknowledge(2, at(1, 0), at(1, 0));
    expect(lone.group.mayBeQuiet()).toBe(false);
    lone.acknowledge(3, at(1, 0), at(1, 0));
    expect(lone.group.mayBeQuiet()).toBe(true);
  },
  'nor are they sent to sleep: who comes back behind the others has to ask': core => {
    const lone = leader(core);
    lone.acknowledge(2, at(1, 0), at(1, 0)).acknowledge(3, at(1, 0), at(1, 0));
    lone.propose();
    lone.sync();
    const { end } = lone.group;
    for (let tick = 0; tick < 24; tick++) lone.tick().acknowledge(2, end, end);
    lone.sent = [];
    lone.group.beQuiet();
    lone.take();
    expect(lone.said('heartbeat').map(({ to, isLast }) => [to, isLast])).toEqual([[replica(2), true]]);
  },
  'a quiet follower counts no time, and forgets its leader when it is woken': core => {
    const lone = follower(core);
    lone.append(2, 1, { prev: at(1, 10), commit: at(1, 10) });
    lone.hear(2, 1, { kind: 'heartbeat', commit: at(1, 10), readRound: 0, isLast: true });
    lone.sent = [];
    lone.tick(100);
    expect([lone.group.role, lone.group.isQuiet, lone.sent]).toEqual(['follower', true, []]);
    lone.group.wake();
    lone.take();
    lone.hear(3, 2, { kind: 'pre-vote', position: at(1, 10) });
    expect(lone.said('pre-vote-answer')).toMatchObject([{ answer: 'yes' }]);
    lone.tick(20);
    expect(lone.group.role).toBe('pre-candidate');
  },
  'who does not have everything stays awake and says so': core => {
    const lone = follower(core);
    lone.hear(2, 1, { kind: 'heartbeat', commit: at(1, 8), readRound: 0, isLast: true });
    expect([lone.group.isQuiet, lone.said('heartbeat-answer').length]).toEqual([false, 1]);
  },
  'any message of the group wakes': core => {
    const lone = follower(core);
    lone.append(2, 1, { prev: at(1, 10), commit: at(1, 10) });
    lone.hear(2, 1, { kind: 'heartbeat', commit: at(1, 10), readRound: 0, isLast: true });
    lone.hear(3, 2, { kind: 'pre-vote', position: at(1, 10) });
    expect(lone.group.isQuiet).toBe(false);
  },
};

const losses: Record<string, Scenario> = {
  'where writes are not synced, what was committed can be cut, and that is told': core => {
    const lone = follower(core, { settings: { mayLoseWrites: true } });
    lone.append(3, 2, { prev: at(1, 3), batches: [epochStart(2, 3)] });
    expect(lone.log).toMatchObject([{ kind: 'cut', to: at(1, 3), isLoss: true }, { kind: 'append' }]);
    expect(lone.group.commit).toEqual(at(1, 3));
  },
  'a follower that may have lost what it acknowledged is believed': core => {
    const lone = leader(core, { settings: { mayLoseWrites: true } });
    lone.propose(5);
    lone.acknowledge(2, at(1, 5));
    lone.propose(1);
    lone.hear(2, 1, { kind: 'append-rejected', prev: at(1, 5), hint: at(1, 2), mayHaveLost: true });
    lone.propose(1);
    expect(lone.orders.findLast(order => order.to === replica(2))?.prev).toEqual(at(1, 2));
  },
};

export const scenarios: Readonly<Record<string, Readonly<Record<string, Scenario>>>> = {
  '1: term and vote are synced before any vote or acknowledgement leaves': one,
  '2: only what is of the current term is committed by counting': two,
  '3: pre-votes, the check of the quorum, and votes while a leader was heard': three,
  '4: who is answered, and what': four,
  '5: linearizable reads': five,
  '6: membership': six,
  '7: an empty directory is a new replica': seven,
  '8: handing over': eight,
  '9: forced elections': nine,
  append,
  flow,
  snapshots,
  'quiet groups': quiet,
  'writes that are not synced': losses,
};

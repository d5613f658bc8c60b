// Who wants to lead. First it asks whether it would win (a pre-vote), which changes nothing anywhere: a replica that was cut
// off, or whose log is behind, raises no term and topples nobody. Then it enters a new term, votes for itself and asks for
// votes; the requests leave, and its own vote counts, once term and vote are durable.
//
// It wins with a yes of a majority, of both sets while joint. Where replicas may have lost what they acknowledged, their yes
// counts only if every voter says yes, to the one among them that is furthest.

import type { Answer, Message } from './message.ts';
import { type VoteResult, jointVote } from './quorum.ts';
import type { Replica } from './replica.ts';
import type { ReplicaId } from './replica-id.ts';
import type { Transition } from './transition.ts';
import { ownAnswer } from './voter.ts';
import { leaderEpoch } from '@sluice/protocol/ids';

export class Candidate {
  readonly kind: 'pre-candidate' | 'candidate';
  readonly #replica: Replica;
  readonly #answers = new Map<ReplicaId, Answer>();
  /** The version of the store that holds the own vote; a pre-vote waits for nothing. */
  readonly #version: number;
  readonly #timeoutTicks: number;
  #ticks = 0;

  /** `term`: the one to lead in. Of a candidate it was entered already. */
  constructor(replica: Replica, as: { kind: 'pre-candidate' } | { kind: 'candidate'; isTransfer: boolean }) {
    this.kind = as.kind;
    this.#replica = replica;
    this.#timeoutTicks = replica.drawElectionTicks();
    const position = replica.shape.durable;
    replica.leader = null;
    if (as.kind === 'pre-candidate') {
      this.#version = 0;
      for (const id of this.#others()) {
        replica.sendAbout(leaderEpoch(replica.term + 1), id, { kind: 'pre-vote', position });
      }
      return;
    }
    replica.enterTerm(leaderEpoch(replica.term + 1));
    replica.voteFor(replica.self);
    this.#version = replica.version;
    for (const id of this.#others()) {
      replica.hold(id, { kind: 'vote', position, isTransfer: as.isTransfer });
    }
  }

  readonly hasHeardLeader = false;

  #others(): ReplicaId[] {
    const { configuration, self } = this.#replica;
    return [...configuration.voters.union(configuration.outgoing)].filter(id => id !== self);
  }

  tick(): Transition | null {
    return ++this.#ticks < this.#timeoutTicks ? null : { kind: 'pre-candidate' };
  }

  /** A message of this term, or the yes to a pre-vote, which is of the next one. */
  step(message: Message): Transition | null {
    switch (message.kind) {
      case 'pre-vote-answer': {
        const asked = message.answer === 'no' ? this.#replica.term : this.#replica.term + 1;
        if (this.kind !== 'pre-candidate' || message.term !== asked) return null;
        this.#answers.set(message.from, message.answer);
        return this.judge();
      }
      case 'vote-answer':
        if (this.kind !== 'candidate') return null;
        this.#answers.set(message.from, message.answer);
        return this.judge();
      case 'append':
      case 'heartbeat':
      case 'snapshot':
        return { kind: 'follower', term: message.term, leader: message.from };
      case 'transfer':
        return this.kind === 'pre-candidate' ? { kind: 'candidate', isTransfer: true } : null;
      case 'pre-vote':
      case 'vote':
      case 'append-matched':
      case 'append-rejected':
      case 'heartbeat-answer':
      case 'outdated':
        // Answers to the leader that it was, and requests that were answered before.
        return null;
    }
  }

  /** Asked at the beginning, after each answer, and when the store has the own vote. */
  judge(): Transition | null {
    if (this.#version <= this.#replica.storedVersion) this.#answers.set(this.#replica.self, ownAnswer(this.#replica));
    switch (this.#result()) {
      case 'won':
        return this.kind === 'pre-candidate' ? { kind: 'candidate', isTransfer: false } : { kind: 'leader' };
      case 'lost':
        return { kind: 'follower', term: this.#replica.term, leader: null };
      case 'pending':
        return null;
    }
  }

  #result(): VoteResult {
    const { configuration, self } = this.#replica;
    const votes = new Map<ReplicaId, boolean>();
    for (const [id, answer] of this.#answers) if (answer !== 'if-all') votes.set(id, answer === 'yes');
    const result = jointVote(configuration, votes);
    // Never before the own vote is durable: after a crash the same term could be entered, and won, a second time.
    if (!this.#answers.has(self)) return 'pending';
    if (result !== 'pending') return result;
    const isUnanimous = [...this.#others(), self].every(id => (this.#answers.get(id) ?? 'no') !== 'no');
    return isUnanimous ? 'won' : 'pending';
  }
}

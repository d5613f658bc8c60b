// One replica of one Raft group: a state machine without disk, network, clock or randomness of its own.
//
//   inputs:  step(message), tick(), propose(...), ... and two notices: stored(version), durable({ generation, position })
//   output:  takeReady(), one bundle whose fields are in the order of their effects (ready.ts)
//
// What every message is looked at for, before the role sees it:
//
//   of an earlier recovery   answered 'outdated'            of a later one   this replica stops
//   of a lower term          the sender is told the own one, requests for votes are refused
//   of a higher term         this replica follows; but not
//                              for a pre-vote or the yes to one, which speak of a term that nobody entered, nor
//                              for a vote while a leader was heard, unless that leader asked for it
//
// Whether a leader was heard protects a group whose leader is alive from those who cannot hear it: together with pre-votes
// (candidate.ts) and the leader's own check of its quorum (leader.ts), each of which alone leaves a hole.
//
// A forced election raises the group's recovery number: whoever meets a higher one stops, sets its log aside and comes back
// as a new learner, so that what was given up cannot return.

import { assert } from '../base/assert.ts';
import { RAFT_TERM_MAX } from '../base/limits.ts';
import { type DurableNotice, isBefore, type Position } from '../base/position.ts';
import type { ReplicaCondition } from '../base/replica-condition.ts';
import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import { isWellFormed } from './append-request.ts';
import { Candidate } from './candidate.ts';
import type { ConfigurationChange } from './configuration-change.ts';
import { type Configuration, configurationOf } from './configuration.ts';
import { Follower } from './follower.ts';
import { Leader, type Proposal, type Proposed, type ProposedConfiguration, type TransferAnswer } from './leader.ts';
import type { Append, Batch, Message } from './message.ts';
import type { ReadToken, Ready, ReplicateOrder, RoleChange } from './ready.ts';
import { Replica, type RestoredReplica } from './replica.ts';
import type { ReplicaId } from './replica-id.ts';
import type { Transition } from './transition.ts';
import { answerPreVote, answerVote, mayCampaign } from './voter.ts';

/** It met a later recovery and takes no part any more. */
class Stopped {
  readonly kind = 'stopped';
  readonly hasHeardLeader = false;
}

type Role = Follower | Candidate | Leader | Stopped;

export class RaftGroup {
  readonly #replica: Replica;
  #role: Role;
  #toldRole: RoleChange | null = null;
  #lost: LeaderEpoch | null = null;
  #readsLost: ReadToken[] = [];
  #supersededBy: number | null = null;

  constructor(restored: RestoredReplica) {
    this.#replica = new Replica(restored);
    this.#role = new Follower(this.#replica);
  }

  // ---- What it is

  get self(): ReplicaId {
    return this.#replica.self;
  }
  get term(): LeaderEpoch {
    return this.#replica.term;
  }
  get vote(): ReplicaId | null {
    return this.#replica.vote;
  }
  get leader(): ReplicaId | null {
    return this.#replica.leader;
  }
  get role(): RoleChange['role'] {
    return this.#role.kind;
  }
  get recovery(): number {
    return this.#replica.recovery;
  }
  get commit(): Position {
    return this.#replica.commit;
  }
  get end(): Position {
    return this.#replica.shape.end;
  }
  get durablePosition(): Position {
    return this.#replica.shape.durable;
  }
  get configuration(): Configuration {
    return this.#replica.configuration;
  }
  get isChangePending(): boolean {
    return this.#replica.configurations.isChangePending;
  }
  get condition(): ReplicaCondition {
    return this.#replica.condition;
  }
  /** The only voter. */
  get isAlone(): boolean {
    return this.#replica.isAlone;
  }
  /** A snapshot is about to replace the log, or has not done so on disk. */
  get isInstalling(): boolean {
    return this.#replica.isInstalling;
  }

  // ---- Time and elections

  tick(): void {
    if (this.#role.kind !== 'stopped') this.#go(this.#role.tick());
  }

  /** An election now, if this replica may ask for one; it asks whether it would win first. */
  campaign(): void {
    if (this.#role.kind === 'leader' || this.#role.kind === 'stopped') return;
    if (mayCampaign(this.#replica)) this.#go({ kind: 'pre-candidate' });
  }

  /** An operator decides that this replica's log is the group's, and that what others hold above it is given up. */
  forceElection(): void {
    assert(this.#role.kind !== 'stopped' && this.#role.kind !== 'leader', 'an election is forced where nobody leads');
    this.#replica.beginRecovery(configurationOf([this.self]));
    if (mayCampaign(this.#replica)) this.#go({ kind: 'candidate', isTransfer: false });
  }

  /** What the disk says of this replica now. A leader whose log failed makes room for another, if there is one. */
  setCondition(condition: ReplicaCondition): void {
    this.#replica.condition = condition;
    if (this.#role.kind !== 'leader' || condition.kind === 'sound') return;
    const mayStay = condition.kind === 'faulty' && condition.isWritable && this.#replica.isAlone;
    if (!mayStay) this.#go({ kind: 'follower', term: this.term, leader: null });
  }

  // ---- Messages

  step(message: Message): void {
    if (this.#role.kind === 'stopped' || message.to !== this.self || message.term > RAFT_TERM_MAX) return;
    if (message.kind === 'append' && !isWellFormed(message)) return;
    if (message.recovery !== this.recovery) this.#meetRecovery(message);
    else if (message.term < this.term) this.#answerLowerTerm(message);
    else if (this.#follows(message)) this.#stepRole(message);
  }

  #meetRecovery({ kind, from, recovery }: Message): void {
    if (recovery < this.recovery) {
      if (kind !== 'outdated') this.#replica.send(from, { kind: 'outdated' });
      return;
    }
    this.#endLeadership();
    this.#supersededBy = recovery;
    this.#replica.leader = null;
    this.#role = new Stopped();
  }

  #answerLowerTerm({ kind, from }: Message): void {
    switch (kind) {
      case 'append':
      case 'heartbeat':
      case 'snapshot':
        this.#replica.send(from, { kind: 'outdated' });
        break;
      case 'pre-vote':
        this.#replica.send(from, { kind: 'pre-vote-answer', answer: 'no' });
        break;
      case 'vote':
        this.#replica.send(from, { kind: 'vote-answer', answer: 'no' });
        break;
      case 'pre-vote-answer':
      case 'vote-answer':
      case 'append-matched':
      case 'append-rejected':
      case 'heartbeat-answer':
      case 'transfer':
      case 'outdated':
        // Late answers, and a leader that wanted to hand over in a term that is over.
        break;
    }
  }

  /** Enters the message's term where it is higher. False: the message counts for nothing. */
  #follows(message: Message): boolean {
    const { kind, term, from } = message;
    const isRequest = kind === 'pre-vote' || kind === 'vote';
    if (isRequest && this.#role.hasHeardLeader && !(kind === 'vote' && message.isTransfer)) {
      // A group that slept wakes: its leader may be gone after all.
      this.wake();
      return false;
    }
    if (term === this.term || kind === 'pre-vote') return true;
    if (kind === 'pre-vote-answer' && message.answer !== 'no') return true;
    const isLeaders = kind === 'append' || kind === 'heartbeat' || kind === 'snapshot';
    this.#go({ kind: 'follower', term, leader: isLeaders ? from : null });
    return true;
  }

  #stepRole(message: Message): void {
    const role = this.#role;
    if (role.kind === 'stopped') return;
    if (message.kind === 'pre-vote') {
      answerPreVote(this.#replica, message);
    } else if (message.kind === 'vote') {
      const isGiven = answerVote(this.#replica, message);
      if (isGiven && role.kind === 'follower') role.restartTimer();
    } else {
      this.#go(role.step(message));
      // A candidate that hears the leader of its term takes what it brought as the follower that it is now.
      if (role.kind !== 'follower' && this.#role.kind === 'follower') this.#role.step(message);
    }
  }

  // ---- Roles

  #go(first: Transition | null): void {
    let transition = first;
    while (transition !== null) transition = this.#become(transition);
  }

  #become(transition: Transition): Transition | null {
    this.#endLeadership();
    const replica = this.#replica;
    switch (transition.kind) {
      case 'follower':
        if (transition.term > replica.term) replica.enterTerm(transition.term);
        replica.leader = transition.leader;
        this.#role = new Follower(replica);
        return null;
      case 'pre-candidate':
      case 'candidate': {
        if (replica.term >= RAFT_TERM_MAX) return { kind: 'follower', term: replica.term, leader: null };
        const candidate = new Candidate(replica, transition);
        this.#role = candidate;
        return candidate.judge();
      }
      case 'leader': {
        replica.leader = replica.self;
        const leader = new Leader(replica);
        this.#role = leader;
        return leader.durable();
      }
    }
  }

  #endLeadership(): void {
    if (this.#role.kind !== 'leader') return;
    this.#lost = this.term;
    this.#readsLost.push(...this.#role.abandonReads());
  }

  // ---- Notices

  /** The store holds the version, and all before it. */
  stored(version: number): void {
    if (!this.#replica.stored(version)) return;
    if (this.#role.kind === 'leader') this.#go(this.#role.durable());
    else if (this.#role.kind === 'candidate') this.#go(this.#role.judge());
  }

  /** The log is durable up to a position, as of a generation. */
  durable(notice: DurableNotice): void {
    if (this.#replica.durable(notice) && this.#role.kind === 'leader') this.#go(this.#role.durable());
  }

  /** The storage dropped what lies at or before `base`; readers begin at `logStart`. */
  baseMoved({ base, logStart }: { readonly base: Position; readonly logStart: Offset }): void {
    assert(!isBefore(this.commit, base) && logStart <= this.commit.offset, 'only what is committed is dropped');
    const { shape } = this.#replica;
    if (logStart > shape.logStart) shape.moveLogStart(logStart);
    if (isBefore(shape.base, base)) shape.moveBase(base);
  }

  // ---- Of a leader

  /** The driver stamps the batch and appends it in the same step, after whatever `takeReady().log` holds. */
  propose(proposal: Proposal): Proposed {
    return this.#role.kind === 'leader' ? this.#role.propose(proposal) : { ok: false, refusal: 'not-leader' };
  }

  proposeConfiguration(change: ConfigurationChange): ProposedConfiguration {
    if (this.#role.kind !== 'leader') return { ok: false, refusal: 'not-leader' };
    return this.#role.proposeConfiguration(change);
  }

  transfer(to: ReplicaId): TransferAnswer {
    return this.#role.kind === 'leader' ? this.#role.transfer(to) : { ok: false, refusal: 'not-leader' };
  }

  /** Confirmed or lost in a later Ready. False: it does not lead. */
  requestRead(token: ReadToken): boolean {
    if (this.#role.kind !== 'leader') return false;
    this.#role.requestRead(token);
    return true;
  }

  /** What was read for an order becomes the request to send, or null when the order is out of date. */
  fill(order: ReplicateOrder, batches: readonly Batch[]): Append | null {
    return this.#role.kind === 'leader' ? this.#role.fill(order, batches) : null;
  }

  /** Nothing could be read: it is tried again when the follower answers a heartbeat. */
  unreadable(order: ReplicateOrder): void {
    if (this.#role.kind === 'leader') this.#role.unreadable(order);
  }

  snapshotEnded({ to, isDone }: { readonly to: ReplicaId; readonly isDone: boolean }): void {
    if (this.#role.kind === 'leader') this.#role.snapshotEnded(to, isDone);
  }

  // ---- Quiet

  get isQuiet(): boolean {
    return (this.#role.kind === 'leader' || this.#role.kind === 'follower') && this.#role.isQuiet;
  }

  /** Whether everybody has everything and knows it, so that the leader may stop speaking. */
  mayBeQuiet(): boolean {
    return this.#role.kind === 'leader' && this.#role.mayBeQuiet;
  }

  beQuiet(): void {
    assert(this.#role.kind === 'leader', 'the leader decides that its group goes quiet');
    this.#role.beQuiet();
  }

  /** The node of some replica is silent. */
  doubt(): void {
    if (this.#role.kind === 'leader') this.#role.doubt();
  }

  /** The link to the leader's node is silent or new, or somebody wants something. */
  wake(): void {
    if (this.#role.kind === 'leader' || this.#role.kind === 'follower') this.#role.wake();
  }

  // ---- Output

  /** What is to be done now; null when that is nothing. */
  takeReady(): Ready | null {
    const replica = this.#replica;
    // Asked before each proposal: a replica at rest makes no garbage.
    if (replica.isAtRest && this.#isRoleTold && this.#isRoleAtRest) return null;
    const led = this.#role.kind === 'leader' ? this.#role.output() : null;
    const ready: Ready = {
      save: replica.takeSave(),
      log: replica.takeLogOrders(),
      send: replica.takeMessages(),
      replicate: led?.replicate ?? [],
      snapshots: led?.snapshots ?? [],
      commit: replica.takeCommit(),
      role: this.#takeRole(),
      lost: this.#lost,
      reads: led?.reads ?? [],
      readsLost: this.#readsLost,
      progress: led?.progress ?? null,
      supersededBy: this.#supersededBy,
    };
    this.#lost = null;
    this.#readsLost = [];
    this.#supersededBy = null;
    return isEmpty(ready) ? null : ready;
  }

  get #isRoleTold(): boolean {
    const told = this.#toldRole;
    return told !== null && told.role === this.#role.kind && told.term === this.term && told.leader === this.leader;
  }

  get #isRoleAtRest(): boolean {
    if (this.#lost !== null || this.#readsLost.length > 0 || this.#supersededBy !== null) return false;
    return this.#role.kind !== 'leader' || this.#role.isAtRest;
  }

  #takeRole(): RoleChange | null {
    if (this.#isRoleTold) return null;
    const now: RoleChange = { role: this.#role.kind, term: this.term, leader: this.leader };
    this.#toldRole = now;
    return now;
  }
}

const isEmpty = (ready: Ready): boolean =>
  Object.values(ready).every(value => value === null || (Array.isArray(value) && value.length === 0));

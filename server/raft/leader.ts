// A leader: takes proposals, sends its log to the others, and moves the commit point.
//
// It opens its term with an epoch start and sends it at once. Only positions of its own epoch count for commit, so that the
// start is the first thing that it commits; until then it serves no read, proposes no membership change, and its high
// watermark is not its own. It counts what is durable: of itself like of the others, and itself only where it is a voter.

import { assert } from '../base/assert.ts';
import { comparePositions, earlier, isBefore, isSame, later, type Position } from '../base/position.ts';
import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import { type ChangeRefusal, type ConfigurationChange, changed } from './configuration-change.ts';
import { type Configuration, isJoint, isVoter, membersOf } from './configuration.ts';
import { type Append, type AppendMatched, type Batch, type Message, positionOfBatch } from './message.ts';
import { Progress } from './progress.ts';
import { jointPosition, jointVote } from './quorum.ts';
import { ReadRounds } from './read-rounds.ts';
import type { ConfirmedRead, ProgressView, ReadToken, ReplicateOrder, SnapshotOrder } from './ready.ts';
import type { Replica } from './replica.ts';
import type { ReplicaId } from './replica-id.ts';
import type { Transition } from './transition.ts';

export interface Proposal {
  /** Offsets that the batch spans. */
  readonly offsets: number;
  readonly bytes: number;
}

export type Proposed =
  | { readonly ok: true; readonly epoch: LeaderEpoch; readonly baseOffset: Offset }
  | { readonly ok: false; readonly refusal: 'not-leader' | 'transferring' | 'throttled' };

export type ProposedConfiguration =
  | { readonly ok: true; readonly position: Position; readonly configuration: Configuration }
  | {
      readonly ok: false;
      readonly refusal: 'not-leader' | 'transferring' | 'not-ready' | 'change-pending' | ChangeRefusal;
    };

export type TransferAnswer =
  | { readonly ok: true }
  | { readonly ok: false; readonly refusal: 'not-leader' | 'transferring' | 'not-a-voter' | 'already-leader' };

export interface LeaderOutput {
  readonly replicate: readonly ReplicateOrder[];
  readonly snapshots: readonly SnapshotOrder[];
  readonly reads: readonly ConfirmedRead[];
  readonly progress: ProgressView | null;
}

export class Leader {
  readonly kind = 'leader';
  readonly #replica: Replica;
  /**
   * Invariant: the members of the configuration in force and of those that are not settled, but for this replica. Who is
   * removed is sent the log until that is committed, so that it learns of it.
   */
  #progress = new Map<ReplicaId, Progress>();
  /** Of this replica. */
  #acknowledged: Position | null = null;
  /** Proposals above the commit point, oldest first. Invariant: #uncommittedBytes is their sum. */
  #uncommitted: { readonly end: Position; readonly bytes: number }[] = [];
  #uncommittedBytes = 0;
  readonly #reads = new ReadRounds();
  #confirmed: ConfirmedRead[] = [];
  #transfer: { readonly to: ReplicaId; ticksLeft: number; isAsked: boolean } | null = null;
  #orderNumber = 0;
  #tick = 0;
  #heartbeatTick = 0;
  #quorumTick = 0;
  /** When it was woken last, or had to doubt. */
  #wokenTick = -1;
  #isProgressNews = true;
  isQuiet = false;

  constructor(replica: Replica) {
    this.#replica = replica;
    const before = replica.shape.end;
    replica.beginEpoch();
    this.#followConfiguration(before);
  }

  /** A leader has always heard of a leader. */
  readonly hasHeardLeader = true;

  get #isReady(): boolean {
    return this.#replica.commit.epoch === this.#replica.term;
  }

  // ---- Time

  tick(): Transition | null {
    if (this.isQuiet) return null;
    this.#tick++;
    if (++this.#heartbeatTick >= this.#replica.settings.heartbeatTicks) this.#sendHeartbeats(false);
    if (this.#transfer !== null && --this.#transfer.ticksLeft <= 0) this.#transfer = null;
    if (++this.#quorumTick < this.#replica.settings.electionTicks) return null;
    return this.#checkQuorum();
  }

  /** Half a connection is none: a leader that a majority did not answer for an election time-out makes room. */
  #checkQuorum(): Transition | null {
    this.#quorumTick = 0;
    const votes = new Map([[this.#replica.self, true]]);
    for (const [id, progress] of this.#progress) {
      votes.set(id, progress.isActive);
      progress.isActive = false;
    }
    this.#isProgressNews = true;
    if (jointVote(this.#replica.configuration, votes) === 'won') return null;
    return { kind: 'follower', term: this.#replica.term, leader: null };
  }

  #sendHeartbeats(isLast: boolean): void {
    this.#heartbeatTick = 0;
    const { commit } = this.#replica;
    for (const [id, progress] of this.#progress) {
      // Who is not waited for is not sent to sleep either: it would sleep behind the others.
      if (isLast && !progress.hasAcknowledged(commit)) continue;
      const told = progress.acknowledged === null ? this.#replica.shape.base : earlier(commit, progress.acknowledged);
      this.#replica.send(id, { kind: 'heartbeat', commit: told, readRound: this.#reads.number, isLast });
    }
  }

  // ---- Proposals

  propose({ offsets, bytes }: Proposal): Proposed {
    assert(offsets > 0 && bytes >= 0, 'a proposal spans an offset at least');
    if (this.#transfer !== null) return { ok: false, refusal: 'transferring' };
    const { uncommittedBytesMax } = this.#replica.settings;
    // One is always taken, or a batch above the bound could never be written.
    if (this.#uncommittedBytes > 0 && this.#uncommittedBytes + bytes > uncommittedBytesMax) {
      return { ok: false, refusal: 'throttled' };
    }
    this.wake();
    const baseOffset = this.#replica.shape.end.offset;
    const end = this.#replica.proposed(offsets);
    this.#uncommitted.push({ end, bytes });
    this.#uncommittedBytes += bytes;
    return { ok: true, epoch: end.epoch, baseOffset };
  }

  /** One at a time: the one before is over when it is committed or cut, not when somebody stopped waiting for it. */
  proposeConfiguration(change: ConfigurationChange): ProposedConfiguration {
    if (this.#transfer !== null) return { ok: false, refusal: 'transferring' };
    if (!this.#isReady) return { ok: false, refusal: 'not-ready' };
    if (this.#replica.configurations.isChangePending) return { ok: false, refusal: 'change-pending' };
    const next = changed(this.#replica.configuration, change);
    if (!next.ok) return next;
    this.wake();
    const { position, configuration } = this.#appendConfiguration(next.configuration);
    return { ok: true, position, configuration };
  }

  #appendConfiguration(configuration: Configuration): { position: Position; configuration: Configuration } {
    const before = this.#replica.shape.end;
    const added = this.#replica.appendConfiguration(configuration);
    this.#followConfiguration(before);
    return added;
  }

  #followConfiguration(end: Position): void {
    const { configurations, self } = this.#replica;
    const before = this.#progress;
    this.#progress = new Map();
    for (const { configuration } of configurations.entries) {
      for (const id of membersOf(configuration)) {
        if (id !== self) this.#progress.set(id, before.get(id) ?? new Progress(end, this.#tick));
      }
    }
    // A last word for those who have left, if they have what it speaks of: that it is committed.
    for (const [id, progress] of before) {
      if (!this.#progress.has(id) && progress.hasAcknowledged(configurations.newest.position))
        this.#probe(id, progress);
    }
    this.#isProgressNews = true;
    // Who cannot lead any more is not handed to.
    if (this.#transfer !== null && !isVoter(this.#replica.configuration, this.#transfer.to)) this.#transfer = null;
  }

  // ---- Answers

  step(message: Message): Transition | null {
    const progress = this.#progress.get(message.from);
    if (progress === undefined) return null;
    if (this.isQuiet && message.kind !== 'heartbeat-answer') this.wake();
    const transition = this.#take(progress, message);
    // After what it says was noted: whether it is in sync is judged by that.
    progress.heard(this.#replica.shape.end, this.#tick);
    return transition;
  }

  #take(progress: Progress, message: Message): Transition | null {
    switch (message.kind) {
      case 'append-matched':
        return this.#matched(progress, message);
      case 'append-rejected':
        progress.rejected(message, this.#replica.shape);
        return null;
      case 'heartbeat-answer': {
        progress.knownCommit = later(progress.knownCommit ?? message.commit, message.commit);
        const { inFlightBytesMax } = this.#replica.settings;
        if (progress.heartbeatAnswered(inFlightBytesMax)) this.#probe(message.from, progress);
        this.#reads.answered(message.from, message.readRound);
        this.#confirmReads();
        return null;
      }
      case 'pre-vote':
      case 'vote':
      case 'pre-vote-answer':
      case 'vote-answer':
      case 'append':
      case 'heartbeat':
      case 'snapshot':
      case 'transfer':
      case 'outdated':
        // Answers to a candidate that has won already, and what only followers are sent.
        return null;
    }
  }

  #matched(progress: Progress, { position, commit, from }: AppendMatched): Transition | null {
    const { shape } = this.#replica;
    if (!shape.holds(position) && !isBefore(position, shape.base)) return null;
    progress.knownCommit = later(progress.knownCommit ?? commit, commit);
    const isNews = progress.matched(position);
    if (!isNews) {
      if (this.#transfer?.to === from) this.#askToCampaign();
      return null;
    }
    this.#isProgressNews = true;
    return this.#advance();
  }

  /** Something became durable here, in the log or in the store. */
  durable(): Transition | null {
    // What the store does not know yet may be a configuration of the log, or this term's vote: not acknowledged either.
    if (this.#replica.storedVersion < this.#replica.version) return null;
    const position = this.#replica.acknowledgeable;
    if (this.#acknowledged !== null && !isBefore(this.#acknowledged, position)) return null;
    this.#acknowledged = position;
    this.#isProgressNews = true;
    return this.#advance();
  }

  // ---- Commit

  #acknowledgedBy(id: ReplicaId): Position | null {
    return id === this.#replica.self ? this.#acknowledged : (this.#progress.get(id)?.acknowledged ?? null);
  }

  #advance(): Transition | null {
    const agreed = jointPosition(this.#replica.configuration, id => this.#acknowledgedBy(id));
    assert(agreed !== 'everything', 'a leader has voters');
    if (agreed === null || agreed.epoch !== this.#replica.term || !isBefore(this.#replica.commit, agreed)) {
      this.#askToCampaign();
      return null;
    }
    const unsettled = this.#replica.configurations.entries.length;
    this.#replica.commitTo(agreed);
    if (this.#replica.configurations.entries.length < unsettled) this.#followConfiguration(this.#replica.shape.end);
    while (this.#uncommitted[0] !== undefined && !isBefore(agreed, this.#uncommitted[0].end)) {
      this.#uncommittedBytes -= this.#uncommitted.shift()!.bytes;
    }
    const transition = this.#settleConfiguration();
    if (transition === null) this.#askToCampaign();
    return transition;
  }

  /** What follows from a configuration that is committed now. */
  #settleConfiguration(): Transition | null {
    const { configuration, configurations } = this.#replica;
    if (configurations.isChangePending) return null;
    if (isJoint(configuration)) {
      if (!configuration.autoLeave) return null;
      const left = changed(configuration, { kind: 'leave-joint' });
      assert(left.ok, 'a joint configuration can be left');
      this.#appendConfiguration(left.configuration);
      return null;
    }
    return this.#replica.isVoter ? null : this.#leave();
  }

  /** It is no voter any more and led until the rest agreed on that. Who is furthest need not wait for a time-out. */
  #leave(): Transition {
    let best: { readonly id: ReplicaId; readonly position: Position } | null = null;
    for (const id of this.#replica.configuration.voters) {
      const position = this.#acknowledgedBy(id);
      if (position !== null && (best === null || isBefore(best.position, position))) best = { id, position };
    }
    // That the change is committed it finds out as the next leader, who then tells those that left.
    if (best !== null)
      this.#sendTransfer(best.id, this.#progress.get(best.id)?.knownCommit ?? this.#replica.shape.base);
    return { kind: 'follower', term: this.#replica.term, leader: null };
  }

  // ---- Reads

  requestRead(token: ReadToken): void {
    this.wake();
    this.#reads.ask(token);
  }

  #confirmReads(): void {
    this.#confirmed.push(...this.#reads.confirmed(this.#replica.configuration, this.#replica.self));
  }

  // ---- Handing over

  /** Until it is over, or the time for it is, nothing is proposed. */
  transfer(to: ReplicaId): TransferAnswer {
    if (this.#transfer !== null) return { ok: false, refusal: 'transferring' };
    if (to === this.#replica.self) return { ok: false, refusal: 'already-leader' };
    if (!this.#replica.configuration.voters.has(to)) return { ok: false, refusal: 'not-a-voter' };
    this.wake();
    this.#transfer = { to, ticksLeft: this.#replica.settings.electionTicks, isAsked: false };
    this.#askToCampaign();
    return { ok: true };
  }

  /**
   * Once it has everything, and everything is committed: whoever waits for a record here is answered before this leader is deposed, and
   * could be told no more than "unknown" after it.
   */
  #askToCampaign(): void {
    const transfer = this.#transfer;
    if (transfer === null || transfer.isAsked) return;
    const { shape, commit } = this.#replica;
    if (!isSame(commit, shape.end) || !this.#progress.get(transfer.to)?.hasAcknowledged(shape.end)) return;
    transfer.isAsked = true;
    this.#sendTransfer(transfer.to, commit);
  }

  #sendTransfer(to: ReplicaId, commit: Position): void {
    this.#replica.send(to, { kind: 'transfer', commit, logStart: this.#replica.shape.logStart });
  }

  // ---- Sending the log

  /** Nobody else has the log, and there is no news: `output` would be empty. */
  get isAtRest(): boolean {
    return (
      this.#progress.size === 0 && !this.#isProgressNews && this.#confirmed.length === 0 && !this.#reads.hasWaiting
    );
  }

  /** What is to be done now; asked once all inputs of a turn were taken. */
  output(): LeaderOutput {
    const replicate: ReplicateOrder[] = [];
    const snapshots: SnapshotOrder[] = [];
    for (const [id, progress] of this.#progress) this.#pump({ id, progress, replicate, snapshots });
    if (this.#reads.hasWaiting && this.#isReady) {
      this.#reads.begin(this.#replica.commit);
      this.#sendHeartbeats(false);
      this.#confirmReads();
    }
    const reads = this.#confirmed;
    this.#confirmed = [];
    const view = this.#isProgressNews ? this.#view() : null;
    this.#isProgressNews = false;
    return { replicate, snapshots, reads, progress: view };
  }

  #pump(to: { id: ReplicaId; progress: Progress; replicate: ReplicateOrder[]; snapshots: SnapshotOrder[] }): void {
    const { id, progress } = to;
    const { shape, settings, term } = this.#replica;
    if (!progress.isOpen) return;
    const { next } = progress;
    if (isBefore(next, shape.base)) {
      progress.awaitSnapshot(shape.base);
      to.snapshots.push(this.#snapshotFor(id));
    } else if (isBefore(next, shape.end)) {
      const room = settings.inFlightBytesMax - progress.inFlightBytes;
      if (room <= 0) return;
      const bytesMax = Math.min(settings.appendBytesMax, room);
      const order = { to: id, term, number: ++this.#orderNumber, prev: next, bytesMax };
      progress.ordered(order);
      to.replicate.push(order);
    } else if (progress.state === 'probe' || this.#isCommitUntold(progress)) {
      this.#probe(id, progress);
    }
  }

  /** Under load the next batches tell the commit point; an idle follower is told by a request of its own. */
  #isCommitUntold(progress: Progress): boolean {
    const { sentCommit } = progress;
    return progress.isIdle && (sentCommit === null || isBefore(sentCommit, this.#replica.commit));
  }

  #probe(id: ReplicaId, progress: Progress): void {
    progress.probed();
    this.#replica.send(id, this.#appendAfter(progress, progress.next, []));
  }

  #appendAfter(
    progress: Progress,
    prev: Position,
    batches: readonly Batch[],
  ): Omit<Append, 'from' | 'to' | 'term' | 'recovery'> {
    const { commit, shape } = this.#replica;
    progress.sentCommit = commit;
    return { kind: 'append', prev, batches, commit, logStart: shape.logStart };
  }

  /** The request for an order; null when it is none any more. It must be sent. */
  fill(order: ReplicateOrder, batches: readonly Batch[]): Append | null {
    const { self, term, recovery } = this.#replica;
    const progress = this.#progress.get(order.to);
    if (progress === undefined || order.term !== term) return null;
    const last = batches.at(-1);
    assert(last !== undefined, 'an order that nothing was found for is unreadable');
    let bytes = 0;
    for (const batch of batches) bytes += batch.byteLength;
    if (!progress.filled(order, positionOfBatch(last), bytes)) return null;
    return { ...this.#appendAfter(progress, order.prev, batches), from: self, to: order.to, term, recovery };
  }

  /** Below the log, or not readable: in the first case `baseMoved` said so, in the second it is tried again later. */
  unreadable(order: ReplicateOrder): void {
    if (order.term === this.#replica.term) this.#progress.get(order.to)?.unreadable(order);
  }

  #snapshotFor(to: ReplicaId): SnapshotOrder {
    const { self, term, recovery, shape, configurations } = this.#replica;
    const { base, logStart } = shape;
    const configuration = configurations.committed;
    return { snapshot: { kind: 'snapshot', from: self, to, term, recovery, base, logStart, configuration } };
  }

  snapshotEnded(to: ReplicaId, isDone: boolean): void {
    this.#progress.get(to)?.snapshotEnded(isDone);
  }

  // ---- What is asked of it

  #view(): ProgressView {
    const { self, configuration, settings } = this.#replica;
    const acknowledged = new Map<ReplicaId, Position>();
    const inSync: ReplicaId[] = [];
    for (const id of membersOf(configuration)) {
      const position = this.#acknowledgedBy(id);
      if (position !== null) acknowledged.set(id, position);
      if (!isVoter(configuration, id)) continue;
      const caughtUp = id === self ? this.#tick : (this.#progress.get(id)?.caughtUpTick ?? -Infinity);
      if (this.#tick - caughtUp <= settings.lagTicksMax) inSync.push(id);
    }
    return { inSync, acknowledged };
  }

  /** Reads that will not be confirmed by this leader. */
  abandonReads(): ReadToken[] {
    return this.#reads.abandon();
  }

  // ---- Quiet

  /**
   * Everybody alive has everything and knows that it is committed; the dead are not waited for, once they are found to be out of sync: a
   * leader that sleeps judges nobody.
   */
  get mayBeQuiet(): boolean {
    const { commit, shape, configuration, configurations } = this.#replica;
    if (!this.#isReady || !isSame(commit, shape.end) || this.#transfer !== null || !this.#reads.isEmpty) return false;
    if (configurations.isChangePending || isJoint(configuration)) return false;
    const { electionTicks, lagTicksMax } = this.#replica.settings;
    for (const [id, progress] of this.#progress) {
      // What was heard before it slept, or before a node fell silent, says nothing.
      const isHeard = progress.heardTick > this.#wokenTick && this.#tick - progress.heardTick <= electionTicks;
      if (!isHeard) {
        if (isVoter(configuration, id) && this.#tick - progress.caughtUpTick <= lagTicksMax) return false;
        continue;
      }
      const knows = progress.knownCommit !== null && comparePositions(progress.knownCommit, commit) === 0;
      if (!knows || !progress.hasAcknowledged(commit)) return false;
    }
    return true;
  }

  beQuiet(): void {
    assert(this.mayBeQuiet, 'a group goes quiet when nobody has anything left to do');
    this.#sendHeartbeats(true);
    // The last word on who is in sync.
    this.#isProgressNews = true;
    this.isQuiet = true;
  }

  /** A node is silent: nobody counts as alive who is not heard from now on, also where the group was about to go quiet. */
  doubt(): void {
    this.wake();
    this.#wokenTick = this.#tick;
  }

  wake(): void {
    if (!this.isQuiet) return;
    this.isQuiet = false;
    this.#wokenTick = this.#tick;
    this.#quorumTick = 0;
    for (const progress of this.#progress.values()) progress.isActive = true;
    this.#sendHeartbeats(false);
  }
}

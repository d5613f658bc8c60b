// One replica of one group, whatever its role: what is durable, what it knows, and what it wants done. The roles act on it;
// raft-group.ts gives it to one of them at a time.

import { assert } from '../base/assert.ts';
import {
  type DurableNotice,
  earlier,
  type EpochStart,
  isBefore,
  later,
  ORIGIN,
  type Position,
  textOf,
} from '../base/position.ts';
import type { ReplicaCondition } from '../base/replica-condition.ts';
import { type LeaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import { judgeAppend, startOf } from './append-request.ts';
import { claimOf } from './condition.ts';
import { type ConfigurationAt, ConfigurationHistory } from './configuration-history.ts';
import { type Configuration, isVoter } from './configuration.ts';
import type { LogShape } from './log-shape.ts';
import { type Append, type Batch, type Message, type Snapshot, type Transfer, positionOfBatch } from './message.ts';
import { Outbox } from './outbox.ts';
import type { LogOrder, SavedState } from './ready.ts';
import type { ReplicaId } from './replica-id.ts';

export interface RaftSettings {
  /** An election is due after this many ticks without a leader, and up to twice as many. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  readonly appendBytesMax: number;
  readonly inFlightBytesMax: number;
  readonly uncommittedBytesMax: number;
  /** A replica that did not reach the leader's end for longer is not in sync. */
  readonly lagTicksMax: number;
  /** Writes are not synced (`flush.mode=interval`): a restart can lose what was acknowledged, even committed. */
  readonly mayLoseWrites: boolean;
}

export interface RestoredReplica {
  readonly self: ReplicaId;
  readonly settings: RaftSettings;
  /** Uniform in [0, 1): for election timeouts. */
  readonly fraction: () => number;
  readonly saved: Omit<SavedState, 'version'>;
  readonly shape: LogShape;
  /**
   * Configuration batches that the recovery of the log met. The store may lack the newest: a batch may reach the disk
   * before its record does, and it is in force from then on.
   */
  readonly found: readonly ConfigurationAt[];
  readonly condition: ReplicaCondition;
  /** Known from before, where the process lives on: held by the log. Without it only what is gone from the log is. */
  readonly commit?: Position;
}

/** A message without what every message says. */
export type Content<M = Message> = M extends Message ? Omit<M, 'from' | 'to' | 'term' | 'recovery'> : never;

export class Replica {
  readonly self: ReplicaId;
  readonly settings: RaftSettings;
  readonly shape: LogShape;
  readonly configurations: ConfigurationHistory;
  condition: ReplicaCondition;
  /** Who leads in this term, as far as it was heard. */
  leader: ReplicaId | null = null;

  readonly #fraction: () => number;
  readonly #outbox = new Outbox();
  /** Never falls. */
  #term: LeaderEpoch;
  #vote: ReplicaId | null;
  #recovery: number;
  /** Invariant: base <= commit <= end. Falls only where writes may be lost. */
  #commit: Position;
  /** Invariant: storedVersion <= version. */
  #version = 0;
  #storedVersion = 0;
  #isDirty = false;
  #log: LogOrder[] = [];
  #isCommitNews = false;
  /** What the leader of this term had committed in it. */
  #soundAt: Position | null = null;
  #installing: { readonly snapshot: Snapshot; readonly version: number } | null = null;

  constructor({ self, settings, fraction, saved, shape, found, condition, commit }: RestoredReplica) {
    this.self = self;
    this.settings = settings;
    this.shape = shape;
    this.condition = condition;
    this.#fraction = fraction;
    this.#recovery = saved.recovery;
    // The epochs of the log are terms that this replica knew; a record that lags behind knows of no vote in them.
    const isBehind = saved.term < shape.lastEpoch;
    this.#term = isBehind ? shape.lastEpoch : saved.term;
    this.#vote = isBehind ? null : saved.vote;
    this.#commit = later(commit ?? shape.base, shape.base);
    assert(
      shape.holds(this.#commit),
      `a commit point of ${textOf(this.#commit)} in a log that ends at ${textOf(shape.end)}`,
    );
    this.configurations = restoredConfigurations(saved.configurations, found, shape);
    if (isBehind || this.configurations.entries.length !== saved.configurations.length) this.#touch();
  }

  get term(): LeaderEpoch {
    return this.#term;
  }
  get vote(): ReplicaId | null {
    return this.#vote;
  }
  get recovery(): number {
    return this.#recovery;
  }
  get commit(): Position {
    return this.#commit;
  }
  get configuration(): Configuration {
    return this.configurations.current;
  }
  get isVoter(): boolean {
    return isVoter(this.configuration, this.self);
  }
  /** The only one to ask. */
  get isAlone(): boolean {
    const { voters, outgoing } = this.configuration;
    return voters.size === 1 && voters.has(this.self) && outgoing.size === 0;
  }
  /** A snapshot is there, and its configuration not in the store. */
  get hasSnapshotWaiting(): boolean {
    return this.#installing !== null;
  }
  /** A snapshot is about to replace the log, or has not done so on disk. */
  get isInstalling(): boolean {
    return this.#installing !== null || this.shape.isInstalling;
  }
  get hasLogOrders(): boolean {
    return this.#log.length > 0;
  }
  /** The version that will say what is true now. */
  get version(): number {
    return this.#version;
  }
  get storedVersion(): number {
    return this.#storedVersion;
  }
  /** How far votes and candidates may rely on this replica. */
  get claim(): Position {
    return claimOf(this.condition, this.shape.durable);
  }
  /** How far it may say that it is durable. */
  get acknowledgeable(): Position {
    const { condition, shape } = this;
    // What is durable is the log that is replaced: of the new one nothing is.
    if (shape.isInstalling) return ORIGIN;
    return condition.kind === 'faulty' && !this.isAlone ? earlier(shape.durable, condition.soundTo) : shape.durable;
  }

  drawElectionTicks(): number {
    const { electionTicks } = this.settings;
    // A faulty replica leaves the others two time-outs to elect somebody whose log is whole.
    const patience = this.condition.kind === 'faulty' && !this.isAlone ? 2 * 2 * electionTicks : 0;
    return patience + electionTicks + Math.floor(this.#fraction() * electionTicks);
  }

  // ---- Term and vote

  enterTerm(term: LeaderEpoch): void {
    assert(term > this.#term, `term ${term} after ${this.#term}`);
    this.#term = term;
    this.#vote = null;
    this.leader = null;
    this.#soundAt = null;
    this.#touch();
  }

  voteFor(candidate: ReplicaId): void {
    if (this.#vote === candidate) return;
    assert(this.#vote === null, 'one vote a term');
    this.#vote = candidate;
    this.#touch();
  }

  /** An operator chose this replica; see RaftGroup.forceElection. */
  beginRecovery(configuration: Configuration): void {
    this.#recovery++;
    this.configurations.install({ position: this.shape.end, configuration });
    this.#touch();
  }

  // ---- Sending

  send(to: ReplicaId, content: Content): void {
    this.#outbox.send(this.#addressed(to, content));
  }

  /** Leaves when all that is true now is in the store, and an acknowledgement when its position is durable too. */
  hold(to: ReplicaId, content: Content): void {
    this.#outbox.hold(this.#addressed(to, content), this.#version);
  }

  /** A pre-vote asks about a term that nobody entered, and a yes to it speaks of that one. */
  sendAbout(term: LeaderEpoch, to: ReplicaId, content: Content): void {
    this.#outbox.send({ ...this.#addressed(to, content), term });
  }

  #addressed(to: ReplicaId, content: Content): Message {
    return { ...content, from: this.self, to, term: this.#term, recovery: this.#recovery };
  }

  // ---- The log

  /** Of a leader: opens its epoch. */
  beginEpoch(): EpochStart {
    const start = { epoch: this.#term, startOffset: this.shape.end.offset };
    this.shape.growByStart(start);
    this.#log.push({ kind: 'epoch-start', start });
    return start;
  }

  /** Of a leader: a batch of its own that the driver appends in this step. */
  proposed(offsets: number): Position {
    assert(!this.hasLogOrders, 'what was ordered of the log is taken before something is proposed');
    const end = { epoch: this.#term, offset: offset(this.shape.end.offset + offsets) };
    this.shape.grow(end);
    return end;
  }

  /** Of a leader. In force from now on. */
  appendConfiguration(configuration: Configuration): ConfigurationAt {
    const baseOffset = this.shape.end.offset;
    const position = { epoch: this.#term, offset: offset(baseOffset + 1) };
    this.shape.grow(position);
    this.#log.push({ kind: 'configuration', epoch: this.#term, baseOffset, configuration });
    const added = { position, configuration };
    if (this.configurations.note(added)) this.#touch();
    return added;
  }

  /** Of a follower: the four steps of append-request.ts. True when the request matched. */
  takeAppend(append: Append): boolean {
    // Where writes can be lost even what is committed can differ, and only what is gone from the log is beyond question.
    const settled = this.settings.mayLoseWrites ? this.shape.base : this.#commit;
    const judgement = judgeAppend(append, this.shape, settled);
    if (judgement.kind === 'rejected') {
      const mayHaveLost = this.condition.kind === 'recovering';
      this.hold(append.from, { kind: 'append-rejected', prev: append.prev, hint: judgement.hint, mayHaveLost });
      return false;
    }
    if (judgement.cutTo !== null) this.#cut(judgement.cutTo);
    if (judgement.batches.length > 0) this.#append(judgement.batches);
    this.commitTo(earlier(append.commit, judgement.matched));
    this.#followLogStart(append.logStart);
    this.hold(append.from, { kind: 'append-matched', position: judgement.matched, commit: this.#commit });
    if (append.commit.epoch === this.#term) this.#soundAt = append.commit;
    this.#checkRecovered();
    return true;
  }

  /**
   * What a leader has committed in its own term covers all that was committed before, so who holds it lacks nothing that it
   * may have acknowledged and lost.
   */
  #checkRecovered(): void {
    if (this.condition.kind !== 'recovering' || this.#soundAt === null || this.isInstalling) return;
    if (!isBefore(this.shape.durable, this.#soundAt)) this.condition = { kind: 'sound' };
  }

  #cut(to: Position): void {
    const isLoss = isBefore(to, this.#commit);
    assert(!isLoss || this.settings.mayLoseWrites, `a cut to ${textOf(to)} below commit ${textOf(this.#commit)}`);
    this.shape.cut(to);
    this.#log.push({ kind: 'cut', to, isLoss });
    if (isLoss) this.#commit = to;
    if (this.configurations.cut(to)) this.#touch();
  }

  #append(batches: readonly Batch[]): void {
    for (const batch of batches) {
      if (batch.kind === 'epoch-start') this.shape.growByStart(startOf(batch));
      else this.shape.grow(positionOfBatch(batch));
      if (batch.kind !== 'configuration') continue;
      const { configuration } = batch;
      if (this.configurations.note({ position: positionOfBatch(batch), configuration })) this.#touch();
    }
    this.#log.push({ kind: 'append', batches });
  }

  /** What its leader knew when it handed over: who leads next would not hear it any more. */
  takeOver({ commit, logStart }: Transfer): void {
    this.commitTo(commit);
    this.#followLogStart(logStart);
  }

  /** Nothing at or above the commit point goes, whatever the leader dropped. */
  #followLogStart(leaders: Offset): void {
    const to = offset(Math.min(leaders, this.#commit.offset));
    if (to <= this.shape.logStart) return;
    this.shape.moveLogStart(to);
    this.#log.push({ kind: 'log-start', offset: to });
  }

  commitTo(position: Position): void {
    if (!isBefore(this.#commit, position) || !this.shape.holds(position)) return;
    this.#commit = position;
    this.#isCommitNews = true;
    if (this.configurations.commit(position)) this.#touch();
  }

  /** Of a follower that is behind the leader's log start. */
  takeSnapshot(snapshot: Snapshot): void {
    if (this.hasSnapshotWaiting) return;
    const isSettled = !isBefore(this.#commit, snapshot.base);
    if (isSettled || this.shape.holds(snapshot.base)) {
      this.commitTo(snapshot.base);
      this.#followLogStart(snapshot.logStart);
      const position = later(this.#commit, snapshot.base);
      this.hold(snapshot.from, { kind: 'append-matched', position, commit: this.#commit });
      return;
    }
    // The configuration is durable before the log is replaced: under the old one, a log that reaches this far could win an
    // election among those who have left.
    if (this.configurations.install(snapshot.configuration)) this.#touch();
    this.#installing = { snapshot, version: this.#version };
    this.#installIfStored();
  }

  #installIfStored(): void {
    if (this.#installing === null || this.#installing.version > this.#storedVersion) return;
    const { snapshot } = this.#installing;
    this.#installing = null;
    this.shape.install(snapshot.base);
    this.#log.push({ kind: 'install', base: snapshot.base });
    this.#commit = snapshot.base;
    this.#isCommitNews = true;
    if (snapshot.term !== this.#term) return;
    this.hold(snapshot.from, { kind: 'append-matched', position: snapshot.base, commit: this.#commit });
  }

  // ---- Notices and output

  /** True when it was news. */
  stored(version: number): boolean {
    if (version <= this.#storedVersion) return false;
    assert(version <= this.#version, 'the store holds no version that was never given to it');
    this.#storedVersion = version;
    this.#installIfStored();
    return true;
  }

  durable(notice: DurableNotice): boolean {
    const isNews = this.shape.noteDurable(notice);
    if (isNews) this.#checkRecovered();
    return isNews;
  }

  #touch(): void {
    if (this.#isDirty) return;
    this.#isDirty = true;
    this.#version++;
  }

  /** Whether there is nothing to take, but for messages that wait. */
  get isAtRest(): boolean {
    return !this.#isDirty && this.#log.length === 0 && !this.#isCommitNews && this.#outbox.isEmpty;
  }

  takeSave(): SavedState | null {
    if (!this.#isDirty) return null;
    this.#isDirty = false;
    const { entries } = this.configurations;
    return {
      version: this.#version,
      term: this.#term,
      vote: this.#vote,
      recovery: this.#recovery,
      configurations: [...entries],
    };
  }

  takeLogOrders(): LogOrder[] {
    const taken = this.#log;
    this.#log = [];
    return taken;
  }

  takeMessages(): Message[] {
    return this.#outbox.take({
      term: this.#term,
      version: this.#storedVersion,
      position: this.acknowledgeable,
    });
  }

  takeCommit(): Position | null {
    const news = this.#isCommitNews ? this.#commit : null;
    this.#isCommitNews = false;
    return news;
  }
}

/** What the store and the log say together; what the log lost again is not in force, but for the committed one. */
function restoredConfigurations(
  saved: readonly ConfigurationAt[],
  found: readonly ConfigurationAt[],
  shape: LogShape,
): ConfigurationHistory {
  const history = new ConfigurationHistory(
    saved.filter((entry, index) => index === 0 || isBefore(entry.position, shape.base) || shape.holds(entry.position)),
  );
  const inOrder = [...found].sort((a, b) => (isBefore(a.position, b.position) ? -1 : 1));
  for (const entry of inOrder) if (shape.holds(entry.position)) history.note(entry);
  return history;
}

// One replica of one group at work: carries out what the core (raft-group.ts) wants, and tells it what came of it.
//
//   a message, a tick, a proposal, a notice ──> RaftGroup ──> Ready ──> store, log, peers, listener
//        ▲                                                                     │
//        └────────────── stored, durable, read for a follower ◄────────────────┘
//
// The core never sees bytes, and this class decides nothing of Raft. What it adds:
//
// - While the log is being cut or replaced nothing may be appended: messages wait, bounded, and proposals are refused. So it is while the
//   store is behind a configuration that goes into the log: a log is never ahead of its record.
// - A log that lost what it had taken (a full disk, a failed write) no longer is what the core believes. The core is then made anew from what
//   is stored, as after a crash, which is always right; what it knew to be committed it keeps. It leads no more, which is told at once.
// - News for the layer above are told after the effects of the same Ready were begun.

import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import { offset } from '@sluice/protocol/ids';
import { encodeConfiguration, readLastOffsetDelta } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { PENDING_LOG_BYTES_MAX, WAITING_MESSAGE_BYTES_MAX, WAITING_MESSAGES_MAX } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import { type DurableNotice, earlier, isBefore, isSame, type Position } from '../base/position.ts';
import type { ReplicaCondition } from '../base/replica-condition.ts';
import type { ConfigurationChange } from '../raft/configuration-change.ts';
import type { ConfigurationAt } from '../raft/configuration-history.ts';
import type { Configuration } from '../raft/configuration.ts';
import { LogShape } from '../raft/log-shape.ts';
import type { Message, Snapshot } from '../raft/message.ts';
import { RaftGroup } from '../raft/raft-group.ts';
import type {
  LogOrder,
  ProgressView,
  Ready,
  ReplicateOrder,
  RoleChange,
  SavedState,
  SnapshotOrder,
} from '../raft/ready.ts';
import type { RaftSettings } from '../raft/replica.ts';
import type { ReplicaId } from '../raft/replica-id.ts';
import type { FollowOutcome } from '../storage/log-reader.ts';
import type { RepairOutcome, RepairSource } from '../storage/log-repair.ts';
import { appendedBytes, headsOf } from './batch-heads.ts';
import { storedForm } from './configuration-form.ts';
import { conditionOf, type GroupLog } from './group-log.ts';
import type { GroupName } from './group-name.ts';

export type { Position } from '../base/position.ts';
export type { Configuration } from '../raft/configuration.ts';
export type { ProgressView, RoleChange } from '../raft/ready.ts';
export type { RaftSettings } from '../raft/replica.ts';
export { type ReplicaId, replicaId } from '../raft/replica-id.ts';

/** What the layer above hears. Nothing may be proposed from within. */
export interface GroupListener {
  /** Durable on a quorum up to here. A leader's own high watermark counts from the first of its own epoch on. */
  committed(position: Position): void;
  roleChanged(change: RoleChange): void;
  /** Of a leader: who is in sync and how far everybody is. */
  progressed(view: ProgressView): void;
  /** What was proposed in this epoch and is not committed has an unknown outcome. */
  leadershipLost(epoch: LeaderEpoch): void;
  readsConfirmed(tokens: readonly number[]): void;
  readsLost(tokens: readonly number[]): void;
  /** A forced election elsewhere gave this log up: it is to be set aside. */
  superseded(recovery: number): void;
}

/** State that is made of the log and has to travel where the log does not reach back any more. */
export interface GroupSnapshots {
  /** The state as of `base`, or null when there is none now: it is asked for again. */
  snapshotState(base: Position): Uint8Array | null;
  /** The log is about to be replaced by an empty one at `base`; once settled, the state must survive a crash. */
  installState(base: Position, state: Uint8Array): Promise<void>;
  /** The state is kept durably up to here: the log may not begin above it, whoever asks for that. */
  startMax(): Offset;
}

/** Reads for a follower when its turn has come, or hears that it never will. */
export interface AppendSource {
  read(): Promise<Message | null>;
  dropped(): void;
}

export interface SnapshotSource {
  readonly snapshot: Snapshot;
  readonly state: Uint8Array | null;
  ended(isDone: boolean): void;
}

/** What a replica needs of its node. */
export interface GroupHost {
  readonly logger: Logger;
  readonly fraction: () => number;
  readonly wallMs: () => number;
  /** Durable some time after: then `stored` of the same group is called with the version. */
  save(group: ReplicatedLog, state: SavedState): void;
  send(name: GroupName, message: Message): void;
  sendAppend(name: GroupName, to: ReplicaId, source: AppendSource): void;
  sendSnapshot(name: GroupName, source: SnapshotSource): void;
  roleChanged(group: ReplicatedLog, change: RoleChange): void;
  /** Its log is damaged, as was found now. */
  damaged(group: ReplicatedLog): void;
  /** To be settled at the end of this turn: see `settle`. */
  touched(group: ReplicatedLog): void;
}

export interface StoredReplica {
  readonly saved: Omit<SavedState, 'version'>;
  /** Configurations in the log that the record lacks; none where records are written first, as here. */
  readonly found: readonly ConfigurationAt[];
  readonly condition: ReplicaCondition;
}

export interface ReplicatedLogOptions {
  readonly name: GroupName;
  readonly self: ReplicaId;
  readonly log: GroupLog;
  readonly settings: RaftSettings;
  readonly stored: StoredReplica;
  readonly host: GroupHost;
  readonly listener: GroupListener;
  readonly snapshots?: GroupSnapshots;
}

export type ProposeRefusal =
  | 'not-leader'
  | 'transferring'
  | 'throttled'
  | 'busy'
  | 'full'
  | 'failed'
  | 'closed'
  | 'backlog';

export type ProposeOutcome =
  | { readonly ok: true; readonly epoch: LeaderEpoch; readonly baseOffset: Offset; readonly endOffset: Offset }
  | { readonly ok: false; readonly refusal: ProposeRefusal };

const refusals: Record<ProposeRefusal, ProposeOutcome> = {
  'not-leader': { ok: false, refusal: 'not-leader' },
  transferring: { ok: false, refusal: 'transferring' },
  throttled: { ok: false, refusal: 'throttled' },
  busy: { ok: false, refusal: 'busy' },
  full: { ok: false, refusal: 'full' },
  failed: { ok: false, refusal: 'failed' },
  closed: { ok: false, refusal: 'closed' },
  backlog: { ok: false, refusal: 'backlog' },
};

/** Snapshot states that arrived and are not installed: the one that the core waits with, and a newer one. */
const ARRIVED_STATES_MAX = 2;

export class ReplicatedLog {
  readonly name: GroupName;
  readonly #options: ReplicatedLogOptions;
  readonly #log: GroupLog;
  #raft: RaftGroup;
  /** The newest state that was given to the store, and how much of it the store has. */
  #saved: Omit<SavedState, 'version'>;
  #savedVersion = 0;
  #storedVersion = 0;
  /** Raised when the core is made anew: notices meant for the one before are dropped. */
  #life = 0;
  /**
   * `log`: it is being cut or replaced. `store`: it is behind something that must not reach the log before it. Invariant: only while it is
   * not `no` do messages and orders wait.
   */
  #busy: 'no' | 'log' | 'store' = 'no';
  #messages: Message[] = [];
  #messageBytes = 0;
  #orders: LogOrder[] = [];
  #replicates: ReplicateOrder[] = [];
  /** The log dropped something while it was being changed. */
  #isRestartDue = false;
  #startWanted: Offset = offset(0);
  /** What was committed when core and log were last the same: whatever waits cuts nothing of it. */
  #commitSure: Position;
  #commitNews: Position | null = null;
  #commitTold: Position | null = null;
  #arrived: { readonly base: Position; readonly state: Uint8Array }[] = [];
  /** What the log looked like when the core was told of it last. */
  #seen: { state: GroupLog['state']; damages: number; start: Offset };
  /** Committed in the term of its leader, as was heard last. */
  #commitOfTerm: Position | null = null;
  /** The store is being told that nothing is missing any more. */
  #isClearing = false;
  /** Without what was found on the disk later. */
  #plainCondition: ReplicaCondition;
  #isClosed = false;
  #durableWaiters: { readonly end: Offset; readonly resolve: () => void }[] = [];

  constructor(options: ReplicatedLogOptions) {
    this.name = options.name;
    this.#options = options;
    this.#log = options.log;
    this.#saved = options.stored.saved;
    this.#plainCondition = options.stored.condition.kind === 'faulty' ? { kind: 'sound' } : options.stored.condition;
    this.#seen = this.#look();
    this.#raft = this.#newCore(options.stored.found, options.stored.condition);
    this.#commitSure = this.#raft.commit;
  }

  #newCore(found: readonly ConfigurationAt[], condition: ReplicaCondition, commit?: Position): RaftGroup {
    const { self, settings, host } = this.#options;
    const shape = new LogShape(this.#log.shape);
    const restored = { self, settings, fraction: host.fraction, saved: this.#saved, shape, found, condition };
    return new RaftGroup(commit === undefined ? restored : { ...restored, commit });
  }

  // ---- What it is

  get role(): RoleChange['role'] {
    return this.#raft.role;
  }
  get term(): LeaderEpoch {
    return this.#raft.term;
  }
  get leader(): ReplicaId | null {
    return this.#raft.leader;
  }
  get isLeader(): boolean {
    return this.#raft.role === 'leader';
  }
  get commit(): Position {
    return this.#raft.commit;
  }
  get configuration(): Configuration {
    return this.#raft.configuration;
  }
  /** A membership change is in the log and not committed. */
  get isChangePending(): boolean {
    return this.#raft.isChangePending;
  }
  get condition(): ReplicaCondition {
    return this.#raft.condition;
  }
  /** Some of its log cannot be read. */
  get isDamaged(): boolean {
    return this.#log.damagedRanges.length > 0;
  }
  get isClosed(): boolean {
    return this.#isClosed;
  }
  get isQuiet(): boolean {
    return this.#raft.isQuiet;
  }
  /** Awake, and nobody leads it that it knows of. */
  get isLeaderless(): boolean {
    return this.#raft.role === 'follower' && this.#raft.leader === null && !this.#raft.isQuiet;
  }
  /** The only voter. */
  get isAlone(): boolean {
    return this.#raft.isAlone;
  }
  /** Taken, and not durable yet. */
  get queuedBytes(): number {
    return this.#log.queuedBytes;
  }
  /** Tells the store's answers to one life of the core from those to another. */
  get life(): number {
    return this.#life;
  }

  // ---- Inputs

  tick(): void {
    this.#lookAtLog();
    this.#raft.tick();
    this.#touch();
  }

  /** Whether it has to be ticked even while it is quiet: its log has something to tell. */
  get needsTick(): boolean {
    return !this.#raft.isQuiet || this.#isLogNews;
  }

  step(message: Message): void {
    if (this.#isClosed) return;
    if (this.#busy !== 'no') {
      this.#wait(message);
      return;
    }
    const { kind } = message;
    // A log that begins to give something up says so when it has done so; a vote that came meanwhile would make a leader of it.
    if (this.#log.state !== 'open') this.#lookAtLog();
    // Raft says again what is dropped here.
    if ((kind === 'append' || kind === 'snapshot') && this.#log.state !== 'open') return;
    if (kind === 'append' && message.batches.length > 0) {
      if (!this.#hasRoom(bytesOf(message))) return;
      this.#raft.step(message);
      // What comes next is judged by a log that has it.
      this.settle();
      this.#touch();
      return;
    }
    this.#raft.step(message);
    this.#touch();
  }

  #wait(message: Message): void {
    const bytes = bytesOf(message);
    if (this.#messages.length >= WAITING_MESSAGES_MAX) return;
    if (bytes > 0 && this.#messageBytes + bytes > WAITING_MESSAGE_BYTES_MAX) return;
    this.#messages.push(message);
    this.#messageBytes += bytes;
  }

  /** A snapshot and the state that travelled with it. */
  stepSnapshot(snapshot: Snapshot, state: Uint8Array | null): void {
    if ((this.#options.snapshots === undefined) !== (state === null)) return;
    if (state !== null) {
      if (!this.#raft.isInstalling) this.#arrived = [];
      if (this.#arrived.length === ARRIVED_STATES_MAX) this.#arrived.pop();
      this.#arrived.push({ base: snapshot.base, state });
    }
    this.step(snapshot);
  }

  /** Takes ownership of the batches; appends them in this step. They were inspected by the caller. */
  propose(batches: readonly Uint8Array[]): ProposeOutcome {
    if (this.#isClosed) return refusals.closed;
    const { state } = this.#log;
    if (state !== 'open') return refusals[state];
    this.settle();
    if (this.#busy !== 'no') return this.isLeader ? refusals.busy : refusals['not-leader'];
    let offsets = 0;
    let bytes = 0;
    for (const batch of batches) {
      offsets += readLastOffsetDelta(batch, 0) + 1;
      bytes += batch.length;
    }
    if (!this.#hasRoom(bytes)) return refusals.backlog;
    const proposed = this.#raft.propose({ offsets, bytes });
    if (!proposed.ok) return refusals[proposed.refusal];
    const appended = this.#log.append(batches, proposed.epoch);
    assert(appended.ok && appended.baseOffset === proposed.baseOffset, 'the log takes what the core has counted');
    this.#touch();
    const { epoch, baseOffset } = proposed;
    return { ok: true, epoch, baseOffset, endOffset: appended.endOffset };
  }

  /** As the log judges it: one is always taken. */
  #hasRoom(bytes: number): boolean {
    const queued = this.#log.queuedBytes;
    return queued === 0 || queued + bytes <= PENDING_LOG_BYTES_MAX;
  }

  /** Confirmed or lost later, by the listener. False: it does not lead. */
  requestRead(token: number): boolean {
    const isTaken = !this.#isClosed && this.#raft.requestRead(token);
    this.#touch();
    return isTaken;
  }

  proposeConfiguration(change: ConfigurationChange): ReturnType<RaftGroup['proposeConfiguration']> {
    if (this.#log.state !== 'open' || this.#isClosed) return { ok: false, refusal: 'not-ready' };
    this.settle();
    const answer = this.#raft.proposeConfiguration(change);
    this.#touch();
    return answer;
  }

  transfer(to: ReplicaId): ReturnType<RaftGroup['transfer']> {
    const answer = this.#raft.transfer(to);
    this.#touch();
    return answer;
  }

  campaign(): void {
    this.#raft.campaign();
    this.#touch();
  }

  /** An operator decides that this replica's log is the group's; see RaftGroup. */
  forceElection(): void {
    this.#raft.forceElection();
    this.#touch();
  }

  wake(): void {
    this.#raft.wake();
    this.#touch();
  }

  /** Of a leader: some node is silent, and may hold a replica. */
  doubt(): void {
    this.#raft.doubt();
    this.#touch();
  }

  /** Of a leader: everybody has everything and knows it. */
  get mayBeQuiet(): boolean {
    return this.#busy === 'no' && this.#raft.mayBeQuiet();
  }

  goQuiet(): void {
    this.#raft.beQuiet();
    this.#touch();
  }

  /**
   * Settled when this replica has everything below the offset durably, which the others may have before it does, and also when it gave up
   * what it had taken or was closed.
   */
  durableTo(end: Offset): Promise<void> {
    if (this.#isClosed || this.#log.durable.offset >= end) return Promise.resolve();
    return new Promise(resolve => this.#durableWaiters.push({ end, resolve }));
  }

  #settleDurable(isOver: boolean): void {
    if (this.#durableWaiters.length === 0) return;
    const waiters = this.#durableWaiters;
    const reached = this.#log.durable.offset;
    this.#durableWaiters = waiters.filter(waiter => !isOver && waiter.end > reached);
    for (const { end, resolve } of waiters) if (isOver || end <= reached) resolve();
  }

  /** Drops records that are committed, from the beginning on; settled when that is durable, and the core knows. */
  async advanceStart(start: Offset): Promise<void> {
    await this.durableTo(offset(Math.min(start, this.#raft.commit.offset)));
    const to = Math.min(start, this.#raft.commit.offset, this.#log.durable.offset);
    await this.#log.advanceStart(offset(to));
    if (!this.#isClosed) this.#followStart();
  }

  /** What stands behind a position of this log, for a replica that lost it. */
  async entriesAfter(position: Position, bytesMax: number): Promise<FollowOutcome> {
    const read = await this.#log.readAfter(position, { bytesMax });
    if (read.kind === 'damaged' && !this.#isClosed) this.#lookAtLog();
    return read;
  }

  /** Fetches the first thing that is damaged again. One at a time. */
  async repair(source: RepairSource): Promise<RepairOutcome> {
    const outcome = await this.#log.repair(source);
    if (!this.#isClosed) {
      this.#lookAtLog();
      this.#touch();
    }
    return outcome;
  }

  close(): void {
    this.#isClosed = true;
    this.#forgetWaiting();
    this.#settleDurable(true);
    this.#arrived = [];
  }

  // ---- Notices

  stored(life: number, version: number): void {
    if (life !== this.#life || this.#isClosed) return;
    this.#storedVersion = version;
    if (this.#log.state !== 'open') this.#lookAtLog();
    this.#raft.stored(version);
    // What waits was judged by a log that still took it: where that gives its end up meanwhile, it says so soon, and nothing of it counts.
    const isVain = this.#orders.length > 0 && this.#log.state !== 'open';
    if (this.#busy === 'store' && version >= this.#savedVersion && !isVain) this.#resume();
    this.#touch();
  }

  /** From the log. */
  durable(notice: DurableNotice): void {
    if (this.#isClosed) return;
    this.#raft.durable(notice);
    this.#settleDurable(false);
    this.#checkWhole();
    if (this.#startWanted > this.#log.startOffset) this.#moveStart();
    this.#touch();
  }

  /** From the log: what it had taken above its end is gone, and the core is to believe the log. */
  dropped(_state: 'full' | 'failed', _endOffset: Offset): void {
    if (this.#isClosed) return;
    if (this.#busy === 'log') this.#isRestartDue = true;
    else this.#restart();
    this.#settleDurable(true);
  }

  #restart(): void {
    const { listener, host } = this.#options;
    const before = this.#raft;
    const condition = this.#conditionNow();
    before.setCondition({ kind: 'suspect' });
    const last = before.takeReady();
    this.#life++;
    this.#isRestartDue = false;
    this.#forgetWaiting();
    this.#seen = this.#look();
    this.#busy = 'no';
    const commit = earlier(this.#commitSure, endOf(this.#log));
    this.#raft = this.#newCore([], condition, commit);
    if (this.#storedVersion < this.#savedVersion) {
      // The new core takes for durable what the old one saved last.
      this.#storedVersion = -1;
      this.#savedVersion = 0;
      this.#busy = 'store';
      host.save(this, { ...this.#saved, version: 0 });
    } else {
      this.#storedVersion = 0;
      this.#savedVersion = 0;
    }
    if (last !== null && last.lost !== null) {
      host.logger.error({ ...this.name, epoch: last.lost }, 'leadership is given up: the log lost what it had taken');
      listener.leadershipLost(last.lost);
    }
    if (last !== null && last.readsLost.length > 0) listener.readsLost(last.readsLost);
    this.#touch();
  }

  #forgetWaiting(): void {
    this.#messages = [];
    this.#messageBytes = 0;
    this.#orders = [];
    this.#replicates = [];
    this.#commitNews = null;
  }

  // ---- What the log has to tell

  #look(): { state: GroupLog['state']; damages: number; start: Offset } {
    const { state, damagedRanges, startOffset } = this.#log;
    return { state, damages: damagedRanges.length, start: startOffset };
  }

  get #isLogNews(): boolean {
    const { state, damages, start } = this.#seen;
    const log = this.#log;
    return state !== log.state || damages !== log.damagedRanges.length || start !== log.startOffset;
  }

  #lookAtLog(): void {
    if (!this.#isLogNews || this.#busy === 'log') return;
    this.#seen = this.#look();
    if (this.isDamaged) this.#options.host.damaged(this);
    const condition = this.#conditionNow();
    if (condition.kind !== this.#raft.condition.kind || condition.kind === 'faulty') this.#raft.setCondition(condition);
    this.#followStart();
    // Nobody else would ask for its vote.
    if (condition.kind === 'sound' && this.#raft.isAlone) this.#raft.campaign();
  }

  /**
   * A folder or a record was missing at the start. What a leader has committed in its own term covers all that was committed before, so who
   * has that durably lacks nothing that it may have acknowledged, and counts as the others do. One that is alone has nobody to get it from.
   */
  #checkWhole(): void {
    const { condition, isAlone } = this.#raft;
    if (condition.kind !== 'faulty' || isAlone || this.isDamaged || this.#isClearing) return;
    if (this.#log.state !== 'open' || this.#busy !== 'no') return;
    const told = this.#commitOfTerm;
    if (told === null || isBefore(told, condition.claims) || isBefore(this.#log.durable, told)) return;
    this.#isClearing = true;
    void this.#clearFault();
  }

  async #clearFault(): Promise<void> {
    try {
      await this.#log.clearFault();
    } catch {
      // A store that cannot be written ends the node.
      return;
    }
    this.#isClearing = false;
    if (this.#isClosed) return;
    this.#raft.setCondition(this.#conditionNow());
    this.#touch();
  }

  /** What was known when it was opened, and what was found since. */
  #conditionNow(): ReplicaCondition {
    const now = this.#raft.condition;
    if (now.kind === 'sound') this.#plainCondition = now;
    if (this.#plainCondition.kind === 'suspect') return this.#plainCondition;
    const found = conditionOf(this.#log);
    return found.kind === 'faulty' || found.kind === 'suspect' ? found : this.#plainCondition;
  }

  /** Retention, or a leader's word, moved the beginning of the log. */
  #followStart(): void {
    if (this.#busy === 'log') return;
    const { base, logStart } = this.#log.shape;
    const { commit } = this.#raft;
    if (logStart <= commit.offset && !isBefore(commit, base)) this.#raft.baseMoved({ base, logStart });
    this.#touch();
  }

  #moveStart(): void {
    const to = this.#startWanted;
    // What is committed can be durable elsewhere first.
    if (to > this.#log.durable.offset || this.#busy === 'log' || this.#log.state !== 'open') return;
    // Two replicas that lose power together would hold neither the records nor a state that is made of them.
    if (to > (this.#options.snapshots?.startMax() ?? to)) return;
    this.#log.advanceStart(to).then(
      () => {
        if (!this.#isClosed) this.#followStart();
      },
      (fault: unknown) => {
        this.#options.host.logger.warn({ ...this.name, fault: String(fault) }, 'the log start could not be moved');
      },
    );
  }

  // ---- Effects

  #touch(): void {
    if (!this.#isClosed) this.#options.host.touched(this);
  }

  /** Carries out all that the core wants by now. */
  settle(): void {
    while (!this.#isClosed) {
      const ready = this.#raft.takeReady();
      if (ready === null) return;
      this.#carryOut(ready);
    }
  }

  #carryOut(ready: Ready): void {
    const { host } = this.#options;
    if (ready.save !== null) {
      this.#saved = ready.save;
      this.#savedVersion = ready.save.version;
      host.save(this, ready.save);
    }
    for (const order of ready.log) this.#obey(order);
    if (this.#busy === 'no') this.#commitSure = this.#raft.commit;
    for (const message of ready.send) host.send(this.name, message);
    for (const order of ready.replicate) this.#replicate(order);
    for (const order of ready.snapshots) this.#sendSnapshot(order);
    this.#tell(ready);
  }

  #tell(ready: Ready): void {
    const { host, listener } = this.#options;
    if (ready.role !== null) {
      host.roleChanged(this, ready.role);
      listener.roleChanged(ready.role);
    }
    if (ready.commit !== null) this.#commitNews = ready.commit;
    this.#tellCommit();
    if (ready.commit?.epoch === this.#raft.term) this.#commitOfTerm = ready.commit;
    this.#checkWhole();
    if (ready.progress !== null) listener.progressed(ready.progress);
    if (ready.lost !== null) listener.leadershipLost(ready.lost);
    if (ready.reads.length > 0) listener.readsConfirmed(ready.reads.map(read => read.token));
    if (ready.readsLost.length > 0) listener.readsLost(ready.readsLost);
    if (ready.supersededBy !== null) listener.superseded(ready.supersededBy);
  }

  /** Not while the log lacks some of it, and never a second time: a core that was made anew learns of it again. */
  #tellCommit(): void {
    const news = this.#commitNews;
    if (news === null || this.#busy !== 'no') return;
    this.#commitNews = null;
    if (this.#commitTold !== null && !isBefore(this.#commitTold, news)) return;
    this.#commitTold = news;
    this.#log.noteCommitted(news.offset);
    this.#options.listener.committed(news);
  }

  #obey(order: LogOrder): void {
    if (this.#busy === 'no' && holdsConfiguration(order) && this.#storedVersion < this.#savedVersion) {
      this.#busy = 'store';
    }
    if (this.#busy !== 'no') {
      this.#orders.push(order);
      return;
    }
    switch (order.kind) {
      case 'cut':
        if (order.isLoss) {
          const facts = { ...this.name, to: order.to };
          this.#options.host.logger.error(
            facts,
            'records that were committed are lost: a replica without synced writes',
          );
        }
        this.#commitSure = earlier(this.#commitSure, order.to);
        this.#whileBusy(() => this.#log.cut(order.to));
        return;
      case 'install':
        this.#whileBusy(() => this.#install(order.base));
        return;
      case 'epoch-start':
        assert(order.start.startOffset === this.#log.endOffset, 'an epoch starts at the end of the log');
        taken(this.#log.appendEpochStart(order.start.epoch));
        return;
      case 'configuration':
        assert(order.baseOffset === this.#log.endOffset, 'a configuration stands at the end of the log');
        this.#appendConfiguration(order);
        return;
      case 'append':
        taken(this.#log.appendReplicated(order.batches.map(appendedBytes)));
        return;
      case 'log-start':
        this.#startWanted = order.offset;
        this.#moveStart();
    }
  }

  #appendConfiguration({ configuration, epoch, baseOffset }: LogOrder & { readonly kind: 'configuration' }): void {
    const timestamp = this.#options.host.wallMs();
    taken(this.#log.append([encodeConfiguration(storedForm(configuration), { epoch, baseOffset, timestamp })], epoch));
  }

  async #install(base: Position): Promise<void> {
    const { snapshots } = this.#options;
    if (snapshots !== undefined) {
      const arrived = this.#arrived.find(each => isSame(each.base, base));
      assert(arrived !== undefined, 'the state of a snapshot comes before it');
      this.#arrived = [];
      await snapshots.installState(base, arrived.state);
    }
    if (!this.#isClosed) await this.#log.install(base);
  }

  #whileBusy(change: () => Promise<void>): void {
    this.#busy = 'log';
    void this.#change(change);
  }

  async #change(change: () => Promise<void>): Promise<void> {
    try {
      await change();
    } catch {
      // A change that fails poisons the log, which says so itself: `dropped`.
    }
    if (this.#isClosed) return;
    if (this.#isRestartDue) {
      this.#busy = 'no';
      this.#restart();
    } else {
      this.#resume();
    }
  }

  #resume(): void {
    const [orders, replicates, messages, commit] = [this.#orders, this.#replicates, this.#messages, this.#commitNews];
    this.#forgetWaiting();
    this.#commitNews = commit;
    this.#busy = 'no';
    // One of them may make it busy again; the rest then waits once more.
    for (const order of orders) this.#obey(order);
    for (const order of replicates) this.#replicate(order);
    this.#tellCommit();
    for (const message of messages) this.step(message);
    if (this.#startWanted > this.#log.startOffset) this.#moveStart();
    this.#lookAtLog();
    this.#touch();
  }

  // ---- To the followers

  #replicate(order: ReplicateOrder): void {
    if (this.#busy !== 'no') {
      this.#replicates.push(order);
      return;
    }
    const life = this.#life;
    this.#options.host.sendAppend(this.name, order.to, {
      read: () => this.#read(order, life),
      dropped: () => this.#unreadable(order, life),
    });
  }

  #unreadable(order: ReplicateOrder, life: number): void {
    if (life !== this.#life || this.#isClosed) return;
    this.#raft.unreadable(order);
    this.#touch();
  }

  async #read(order: ReplicateOrder, life: number): Promise<Message | null> {
    if (life !== this.#life || this.#isClosed) return null;
    const read = await this.#log.readAfter(order.prev, { bytesMax: order.bytesMax });
    if (life !== this.#life || this.#isClosed) return null;
    const batches = read.kind === 'batches' ? headsOf(read.batches) : null;
    if (batches !== null && batches.length > 0) {
      const message = this.#raft.fill(order, batches);
      this.#touch();
      return message;
    }
    this.#lookAtLog();
    this.#unreadable(order, life);
    return null;
  }

  #sendSnapshot({ snapshot }: SnapshotOrder): void {
    const { host, snapshots } = this.#options;
    const life = this.#life;
    const ended = (isDone: boolean): void => {
      if (life !== this.#life || this.#isClosed) return;
      this.#raft.snapshotEnded({ to: snapshot.to, isDone });
      this.#touch();
    };
    const state = snapshots?.snapshotState(snapshot.base) ?? null;
    if (snapshots !== undefined && state === null) queueMicrotask(() => ended(false));
    else host.sendSnapshot(this.name, { snapshot, state, ended });
  }
}

const bytesOf = (message: Message): number => {
  if (message.kind !== 'append') return 0;
  let bytes = 0;
  for (const batch of message.batches) bytes += batch.byteLength;
  return bytes;
};

const holdsConfiguration = (order: LogOrder): boolean =>
  order.kind === 'configuration' ||
  (order.kind === 'append' && order.batches.some(batch => batch.kind === 'configuration'));

const endOf = ({ shape }: GroupLog): Position => ({
  epoch: shape.starts.at(-1)?.epoch ?? shape.base.epoch,
  offset: shape.endOffset,
});

const taken = (outcome: { readonly ok: boolean }): void => {
  assert(outcome.ok, 'a log takes what its core was told that it takes');
};

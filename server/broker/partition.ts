// One replica of a partition on this node: as its leader it checks what is produced, answers those who wait and serves reads; as a
// follower it only knows where it stands.
//
// A leader serves from the moment when its own epoch start is committed: only then does it know everything that was acknowledged before
// it. Everything judged on the log is answered when that is committed, in order. When leadership ends, whoever waits is told
// when the next leader has decided it, or after a moment that nobody knows (orphaned-answers.ts).
//
// Invariants: the high watermark never falls; nothing above it is given to a reader.

import { accepted, type Problem, problem, refused, type Result } from '@sluice/protocol/errors';
import { type LeaderEpoch, type NodeId, type Offset, offset } from '@sluice/protocol/ids';
import { readLastOffset, readMaxTimestamp, stampAppendTime } from '@sluice/protocol/record';
import type { PartitionReport } from '../base/metrics.ts';
import type { Clock } from '../io/clock.ts';
import { DiskFault } from '../io/disk.ts';
import type { HostedState } from '../coordinator/groups/group-coordinator.ts';
import type { GroupListener, ProposeOutcome, ReplicatedLog } from '../replication/replicated-log.ts';
import type { DamagedRange } from '../storage/damage.ts';
import type { PartitionLog } from '../storage/partition-log.ts';
import { checkBatches } from './batch-check.ts';
import type {
  DeletedRecords,
  DeleteRecordsCode,
  FetchCode,
  OffsetQuery,
  PartitionOffsets,
  ProduceAck,
  ProduceCode,
  ProduceRequest,
} from './broker.ts';
import { InSync } from './in-sync.ts';
import { OrphanedAnswers } from './orphaned-answers.ts';
import { ParkedAnswers, type PendingBytes, type ProduceResult } from './parked-answers.ts';
import { isSigned, judgeProduced } from './producer-verdict.ts';
import type { TopicSettings } from './topic-settings.ts';

export interface ReadPiece {
  readonly batches: readonly Uint8Array[];
  readonly nextOffset: Offset;
}

export interface PartitionOptions {
  readonly topic: string;
  readonly partition: number;
  readonly nodeId: NodeId;
  readonly clock: Clock;
  readonly pending: PendingBytes;
  /** It began or ceased to serve. */
  readonly changed: () => void;
  /** A state machine that writes this partition, and hears what comes of it; nobody else may write it then. */
  readonly hosted?: HostedState | null;
}

/** What a partition is not told: its own name. */
type Produced = Pick<ProduceRequest, 'batches' | 'acks' | 'timeoutMs' | 'expectedOffset'>;

type Refusal<C extends ProduceCode | FetchCode | DeleteRecordsCode> = {
  readonly ok: false;
  readonly problem: Problem<C>;
};

export class Partition implements GroupListener {
  readonly topic: string;
  readonly partition: number;
  readonly #options: PartitionOptions;
  readonly #parked: ParkedAnswers;
  readonly #orphaned: OrphanedAnswers;
  readonly #inSync = new InSync();
  #log: PartitionLog | null = null;
  #group: ReplicatedLog | null = null;
  #settings: TopicSettings;
  #highWatermark = offset(0);
  /** The epoch in which this replica leads and serves; null while it does not. */
  #servingEpoch: LeaderEpoch | null = null;
  /** The high watermark is one that this replica found out as leader. */
  #hasServed = false;
  readonly #watchers = new Set<() => void>();
  /** Set once by the node's stop or the topic's deletion. */
  #closed: 'SHUTTING_DOWN' | 'TOPIC_NOT_FOUND' | null = null;

  constructor(options: PartitionOptions, settings: TopicSettings) {
    this.topic = options.topic;
    this.partition = options.partition;
    this.#options = options;
    this.#settings = settings;
    this.#parked = new ParkedAnswers({
      ...options,
      late: () => this.#unknown('the records were not committed in time'),
    });
    this.#orphaned = new OrphanedAnswers({
      ...options,
      notWritten: () => this.#notLeader(),
      unknown: () => this.#deposed(),
    });
  }

  /** Log and group tell this partition what comes of it, so they are made second. */
  attach(log: PartitionLog, group: ReplicatedLog): void {
    this.#log = log;
    this.#group = group;
    this.#options.hosted?.attach(group, log);
  }

  /** The only replica has nobody to wait for. */
  begin(): void {
    if (this.group.isAlone) this.group.campaign();
  }

  get log(): PartitionLog {
    if (this.#log === null) throw new TypeError('the partition has no log yet');
    return this.#log;
  }

  get group(): ReplicatedLog {
    if (this.#group === null) throw new TypeError('the partition has no group yet');
    return this.#group;
  }

  get highWatermark(): Offset {
    return this.#highWatermark;
  }

  get leaderEpoch(): LeaderEpoch {
    return this.group.term;
  }

  /** It leads, and knows everything that was acknowledged before. */
  get isServing(): boolean {
    return this.#servingEpoch !== null;
  }

  /** Committed, and on the disk of every replica, of those that are away too. Known to who leads. */
  get heldByAll(): Offset {
    if (!this.isServing) return offset(0);
    if (this.group.isAlone) return this.#highWatermark;
    const { voters, outgoing, learners, learnersNext } = this.group.configuration;
    const held = this.#inSync.heldBy([...voters, ...outgoing, ...learners, ...learnersNext]);
    return offset(Math.min(this.#highWatermark, held));
  }

  get inSyncNodes(): readonly NodeId[] {
    return this.group.isAlone ? [this.#options.nodeId] : this.#inSync.nodes;
  }

  report(): Omit<PartitionReport, 'isLeaderless'> {
    const { log, topic, partition, group } = this;
    return {
      topic,
      partition,
      sizeBytes: log.byteLength,
      segments: log.segmentCount,
      highWatermark: this.#highWatermark,
      startOffset: log.startOffset,
      dirtyRatio: log.compactionSettings === null ? null : log.dirtyShare(this.#highWatermark).ratio,
      isOffline: log.state !== 'open' || log.damagedRanges.length > 0,
      leaderEpoch: this.leaderEpoch,
      led: this.isServing ? { replicas: group.configuration.voters.size, inSync: this.inSyncNodes.length } : null,
    };
  }

  changeSettings(settings: TopicSettings): void {
    this.#settings = settings;
    this.log.changeSettings(settings.log);
  }

  // --------------------------------------------------------------------------------------------------------- produce

  /** Null: nothing can be written here now, and somebody else may lead, or this replica a moment later. */
  produce(request: Produced): Promise<ProduceResult> | null {
    if (this.#closed !== null) return Promise.resolve(this.#closedRefusal());
    if (this.#options.hosted) {
      return Promise.resolve(this.#refuse('FORBIDDEN', `topic "${this.topic}" is written by the cluster alone`));
    }
    const checked = checkBatches(request.batches, this.#settings, this.#options.clock.wallMs());
    if (!checked.ok) return Promise.resolve(checked);
    const { pending } = this.#options;
    if (pending.used > 0 && pending.used + request.batches.length > pending.limit) {
      const facts = { pending_bytes: pending.used };
      return Promise.resolve(
        refused('THROTTLED', 'too many bytes wait to be committed; slow down and try again', facts),
      );
    }
    return this.#append(request, checked.value);
  }

  #append(request: Produced, batches: readonly Uint8Array[]): Promise<ProduceResult> | null {
    const { clock } = this.#options;
    const waits = request.acks === 'all';
    // What the log of the only replica says is the answer; of several, another one leads when this one's takes nothing.
    if (!this.isServing && (this.log.state === 'open' || !this.group.isAlone)) return null;
    if (waits && this.isServing && this.#inSync.count < this.#settings.minInsyncReplicas) {
      return Promise.resolve(this.#notEnoughReplicas());
    }
    const judged = this.#judge(request, batches);
    if (judged !== null) return judged;
    let timestampMs = Number.NEGATIVE_INFINITY;
    if (this.#settings.timestampType === 'LogAppendTime') {
      timestampMs = clock.wallMs();
      for (const batch of batches) stampAppendTime(batch, timestampMs);
    } else {
      for (const batch of batches) timestampMs = Math.max(timestampMs, readMaxTimestamp(batch, 0));
    }
    const outcome = this.group.propose(batches);
    if (!outcome.ok) {
      const refusal = this.#proposalRefused(outcome.refusal);
      return refusal === null ? null : Promise.resolve(refusal);
    }
    const { baseOffset, endOffset } = outcome;
    const ack: ProduceAck = { baseOffset, count: endOffset - baseOffset, timestampMs };
    const bytes = request.batches.length;
    if (!waits) {
      this.#parked.add({ endOffset, bytes, answer: null, ack, deadlineMs: Number.POSITIVE_INFINITY });
      return Promise.resolve(accepted(ack));
    }
    const deadlineMs = clock.monotonicMs() + request.timeoutMs;
    return new Promise(answer => this.#parked.add({ endOffset, bytes, answer, ack, deadlineMs }));
  }

  /**
   * What a producer wrote before, or may not write now; null for what is to be appended. It was judged on what may not be committed
   * yet, so that the answer waits until it is.
   */
  #judge(request: Produced, batches: readonly Uint8Array[]): Promise<ProduceResult> | null {
    const { expectedOffset } = request;
    const { endOffset, producers } = this.log;
    if (isSigned(batches)) {
      let verdict = judgeProduced(producers.table, batches);
      if (verdict.kind === 'refused' && verdict.problem.code === 'THROTTLED') {
        producers.makeRoom();
        verdict = judgeProduced(producers.table, batches);
      }
      // A repeat found the log as it expected to when it was written.
      if (verdict.kind === 'repeat') {
        const { baseOffset, count } = verdict.ack;
        return this.#whenCommitted(request, offset(baseOffset + count), accepted(verdict.ack));
      }
      if (verdict.kind === 'refused') {
        const { code, detail, facts } = verdict.problem;
        return this.#whenCommitted(request, endOffset, refused(code, detail, { ...this.#where(), ...facts }));
      }
    }
    if (expectedOffset === undefined || expectedOffset === endOffset) return null;
    const detail = `the partition ends at offset ${endOffset}, not at ${expectedOffset}; nothing was written`;
    const facts = { ...this.#where(), expected_offset: expectedOffset, actual_offset: endOffset };
    return this.#whenCommitted(request, endOffset, refused('EXPECTED_OFFSET_MISMATCH', detail, facts));
  }

  /** Nothing is appended for it; the answer is good as soon as everything below `endOffset` is as safe as was asked for. */
  #whenCommitted(request: Produced, endOffset: Offset, result: ProduceResult): Promise<ProduceResult> {
    if (request.acks !== 'all' || endOffset <= this.#safeTo) return Promise.resolve(result);
    const ack: ProduceAck = result.ok ? result.value : { baseOffset: endOffset, count: 0, timestampMs: 0 };
    const deadlineMs = this.#options.clock.monotonicMs() + request.timeoutMs;
    return new Promise(resolve => {
      const answer = (outcome: ProduceResult): void => {
        if (result.ok || (!outcome.ok && outcome.problem.facts['outcome'] === undefined)) resolve(outcome);
        // What was refused was not written, whatever became of what stood before it.
        else resolve(outcome.ok ? result : this.#notLeader());
      };
      this.#parked.add({ endOffset, bytes: request.batches.length, answer, ack, deadlineMs });
    });
  }

  #proposalRefused(refusal: (ProposeOutcome & { readonly ok: false })['refusal']): Refusal<ProduceCode> | null {
    switch (refusal) {
      case 'full':
        return this.#full();
      case 'failed':
        return this.#refuse('STORAGE_FAILED', 'a write or sync failed; the partition takes no records until a restart');
      case 'backlog':
        return this.#refuse('THROTTLED', 'the partition has too much to write; slow down and try again');
      case 'throttled':
        return this.#refuse('THROTTLED', 'the replicas are too far behind; slow down and try again');
      case 'closed':
        return this.#closedRefusal();
      case 'busy':
      case 'transferring':
      case 'not-leader':
        return null;
    }
  }

  #full(): Refusal<'DISK_FULL'> {
    return this.#refuse('DISK_FULL', 'the disk is full; the partition takes records again when there is room');
  }

  /** What was written and not synced is cut by nobody: the next start keeps of it what it finds. */
  #failedUnderWay(): Refusal<'STORAGE_FAILED'> {
    const detail =
      'a write or sync failed, and the records may be there after a restart; the partition takes none until then';
    return refused('STORAGE_FAILED', detail, { outcome: 'unknown', ...this.#where() });
  }

  #notEnoughReplicas(): Refusal<'NOT_ENOUGH_REPLICAS'> {
    const { minInsyncReplicas } = this.#settings;
    const { count } = this.#inSync;
    return refused(
      'NOT_ENOUGH_REPLICAS',
      `${count} replicas of the partition are in sync, and min.insync.replicas is ${minInsyncReplicas}`,
      { ...this.#where(), in_sync: count, min_insync_replicas: minInsyncReplicas },
    );
  }

  #refuse<C extends ProduceCode>(code: C, detail: string): Refusal<C> {
    return { ok: false, problem: problem(code, detail, this.#where()) };
  }

  #where(): { readonly partition: number } {
    return { partition: this.partition };
  }

  /** Nothing was written. */
  #notLeader(): Refusal<'NOT_LEADER'> {
    return this.#refuse('NOT_LEADER', `this broker does not lead partition ${this.partition} now`);
  }

  #unknown(why: string): Refusal<'REQUEST_TIMED_OUT'> {
    return refused('REQUEST_TIMED_OUT', `${why}; they may be written`, { outcome: 'unknown', ...this.#where() });
  }

  /** Others may have committed it, and somebody may have read it, before the topic came to its end. */
  #goneUnderWay(): Refusal<'TOPIC_NOT_FOUND'> {
    const detail = `topic "${this.topic}" was deleted before it was known that the records were committed`;
    return refused('TOPIC_NOT_FOUND', detail, { outcome: 'unknown', ...this.#where() });
  }

  #closedRefusal(): Refusal<'SHUTTING_DOWN' | 'TOPIC_NOT_FOUND'> {
    return this.#closed === 'TOPIC_NOT_FOUND'
      ? refused('TOPIC_NOT_FOUND', `topic "${this.topic}" was deleted`)
      : refused('SHUTTING_DOWN', 'the broker is stopping');
  }

  // ------------------------------------------------------------------------------------------------- from the group

  committed(position: { readonly epoch: LeaderEpoch; readonly offset: Offset }): void {
    if (position.offset > this.#highWatermark) this.#highWatermark = position.offset;
    const { group } = this;
    const beginsToServe = this.#servingEpoch === null && group.isLeader && position.epoch === group.term;
    if (beginsToServe) {
      this.#servingEpoch = group.term;
      this.#hasServed = true;
    }
    this.#settleParked();
    this.#orphaned.committed(position.offset, offset => this.#epochAt(offset));
    this.#options.hosted?.listener.committed(position);
    this.#wake();
    if (beginsToServe) this.#options.changed();
  }

  roleChanged(change: Parameters<GroupListener['roleChanged']>[0]): void {
    this.#options.hosted?.listener.roleChanged(change);
    if (this.group.isLeader || this.#servingEpoch === null) return;
    this.#servingEpoch = null;
    this.#wake();
    this.#options.changed();
  }

  progressed(view: Parameters<GroupListener['progressed']>[0]): void {
    this.#inSync.update(view);
    this.#settleParked();
  }

  /** Committed, and durable on as many replicas as the topic asks for. */
  #settleParked(): void {
    if (this.#servingEpoch !== null) this.#parked.settle(this.#safeTo);
  }

  get #safeTo(): Offset {
    const safe = this.#inSync.durableOn(this.#settings.minInsyncReplicas);
    return offset(Math.min(this.#highWatermark, safe));
  }

  /** The latest start at or below the offset; null below the log's own start. */
  #epochAt(offset: number): LeaderEpoch | null {
    const { shape, startOffset } = this.log;
    if (offset < startOffset) return null;
    return shape.starts.findLast(start => start.startOffset <= offset)?.epoch ?? shape.base.epoch;
  }

  leadershipLost(epoch: LeaderEpoch): void {
    this.#options.hosted?.listener.leadershipLost(epoch);
    this.#servingEpoch = null;
    this.#inSync.forget();
    // The log is about to say what became of it, which nobody else can contradict.
    const isLogsFault = this.group.isAlone && (this.log.state === 'full' || this.log.state === 'failed');
    // A commit says that they are on a majority; of more replicas only a leader knows.
    const isCommitEnough = this.#settings.minInsyncReplicas <= Math.floor(this.group.configuration.voters.size / 2) + 1;
    if (isCommitEnough && !this.group.isAlone) this.#orphaned.adopt(epoch, this.#parked.takeAll());
    else if (!isLogsFault) this.#parked.dropAll(this.#deposed());
    this.#wake();
    this.#options.changed();
  }

  /** The log gave up what it had taken above `endOffset`. Where this replica is the only one, nobody else has it, and the rest is safe. */
  dropped(state: 'full' | 'failed', endOffset: Offset): void {
    if (this.group.isAlone) {
      this.#parked.settle(endOffset);
      this.#parked.dropAll(state === 'full' ? this.#full() : this.#failedUnderWay());
    }
    this.#wake();
  }

  #deposed(): Refusal<'NOT_LEADER'> {
    const detail = 'the leader of the partition changed before the records were committed; they may be written';
    return refused('NOT_LEADER', detail, { outcome: 'unknown', ...this.#where() });
  }

  readsConfirmed(tokens: readonly number[]): void {
    this.#options.hosted?.listener.readsConfirmed(tokens);
  }

  readsLost(tokens: readonly number[]): void {
    this.#options.hosted?.listener.readsLost(tokens);
  }

  superseded(recovery: number): void {
    this.#options.hosted?.listener.superseded(recovery);
  }

  // ------------------------------------------------------------------------------------------------------------ read

  async read(from: Offset, bytesMax: number): Promise<Result<ReadPiece, FetchCode>> {
    for (;;) {
      if (this.#closed !== null) return this.#closedRefusal();
      if (!this.mayRead) return this.#notLeader();
      const end = this.#highWatermark;
      if (from > end || from < this.log.startOffset) return this.#outOfRange(from);
      // Also who wants nothing of it, since other partitions used its bytes up, is told where it stands by whoever leads.
      if (bytesMax <= 0) return accepted({ batches: [], nextOffset: from });
      if (from === end || from < this.log.durableOffset) break;
      // Committed by others that are ahead of this disk.
      await this.group.durableTo(end);
    }
    const endMax = offset(Math.min(this.#highWatermark, this.log.durableOffset));
    const outcome = await this.log.read(from, { endMax, bytesMax });
    switch (outcome.kind) {
      case 'batches': {
        const last = outcome.batches.at(-1);
        const nextOffset = last === undefined ? from : offset(readLastOffset(last, 0) + 1);
        return accepted({ batches: outcome.batches, nextOffset });
      }
      case 'below-start':
        return this.#outOfRange(from);
      case 'damaged':
        return this.#damaged(outcome.range);
      case 'failed':
        return refused('STORAGE_FAILED', 'the disk could not be read', this.#where());
    }
  }

  /** What is committed never changes, so the only replica serves it also while its log takes nothing. */
  get mayRead(): boolean {
    return this.isServing || (this.#hasServed && this.group.isAlone);
  }

  #damaged(range: DamagedRange): Refusal<'PARTITION_DAMAGED'> {
    return refused('PARTITION_DAMAGED', `offsets ${range.from} to ${range.to - 1} cannot be read: ${range.reason}`, {
      partition: this.partition,
      file: range.file.split('/').slice(-2).join('/'),
      position: range.position,
      damaged_from: range.from,
      resume_offset: range.to,
    });
  }

  #outOfRange(from: Offset): Refusal<'OFFSET_OUT_OF_RANGE'> {
    const earliest = this.log.startOffset;
    return refused(
      'OFFSET_OUT_OF_RANGE',
      `offset ${from} of partition ${this.partition} is outside ${earliest} to ${this.#highWatermark}`,
      { partition: this.partition, offset: from, earliest_offset: earliest, high_watermark: this.#highWatermark },
    );
  }

  /** Calls `wake` at the next change that a waiting reader may care about, until the returned function is called. */
  watch(wake: () => void): () => void {
    this.#watchers.add(wake);
    return () => this.#watchers.delete(wake);
  }

  #wake(): void {
    for (const wake of this.#watchers) wake();
  }

  async offsets(query: OffsetQuery): Promise<Result<PartitionOffsets, FetchCode>> {
    if (this.#closed !== null) return this.#closedRefusal();
    if (!this.mayRead) return this.#notLeader();
    const highWatermark = this.#highWatermark;
    const earliestOffset = this.log.startOffset;
    let found: PartitionOffsets['found'] = null;
    if (query.kind === 'timestamp') {
      // The others may be ahead of this disk, which is what is searched.
      await this.group.durableTo(highWatermark);
      try {
        found = await this.log.findTimestamp(
          query.timestampMs,
          offset(Math.min(highWatermark, this.log.durableOffset)),
        );
      } catch (cause) {
        if (!(cause instanceof DiskFault)) throw cause;
        return refused('STORAGE_FAILED', 'the disk could not be read', this.#where());
      }
    }
    if (query.kind === 'tail') {
      const start = offset(Math.max(earliestOffset, highWatermark - query.count));
      found = { offset: start, timestampMs: -1 };
    }
    return accepted({
      partition: this.partition,
      earliestOffset,
      highWatermark,
      lastStableOffset: highWatermark,
      found,
    });
  }

  // ----------------------------------------------------------------------------------------------------- deleting records

  async deleteRecords(before: Offset): Promise<Result<DeletedRecords, DeleteRecordsCode>> {
    if (this.#closed !== null) return this.#closedRefusal();
    const { log } = this;
    if (log.state === 'failed' && this.group.isAlone) {
      return refused('STORAGE_FAILED', 'a write or sync failed; nothing is deleted until a restart', this.#where());
    }
    if (!this.mayRead) return this.#notLeader();
    if (before > this.#highWatermark) return this.#outOfRange(before);
    // Across damage is a way to be rid of it; a start inside of it would be one that nobody can read.
    const damaged = log.damagedRanges.find(range => range.from < before && before < range.to);
    if (damaged !== undefined) return this.#damaged(damaged);
    try {
      await this.group.advanceStart(before);
    } catch (cause) {
      if (!(cause instanceof DiskFault)) throw cause;
      return cause.kind === 'full'
        ? refused('DISK_FULL', 'the disk is full', this.#where())
        : refused('STORAGE_FAILED', 'the new log start could not be written', this.#where());
    }
    return accepted({ earliestOffset: log.startOffset });
  }

  // ------------------------------------------------------------------------------------------------------------- end

  /** Of the leader: its followers move their starts when it tells them. */
  applyRetention(): Promise<void> {
    // Of every replica, each by its own clock.
    this.log.producers.expire(this.#settings.producerSilenceMs);
    // What a state machine wrote is true however old it is.
    if (!this.isServing || this.#options.hosted) return Promise.resolve();
    return this.group.advanceStart(this.log.retentionStart(this.#options.clock.wallMs(), this.#highWatermark));
  }

  /** False: it does not lead, or that node is not in sync. */
  transferTo(nodeId: NodeId): boolean {
    const heir = this.isServing ? this.#inSync.replicaOn(nodeId) : null;
    return heir !== null && this.group.transfer(heir).ok;
  }

  /** It leads, and somebody else could. */
  get hasHeir(): boolean {
    return this.isServing && this.#inSync.heirOf(this.#options.nodeId) !== null;
  }

  /** Whoever is in sync and has the most is to lead from now on. */
  handOver(): void {
    const heir = this.isServing ? this.#inSync.heirOf(this.#options.nodeId) : null;
    if (heir !== null) this.group.transfer(heir);
  }

  /** Takes no more requests. */
  drain(): void {
    this.#closed ??= 'SHUTTING_DOWN';
    this.#wake();
  }

  /** What was accepted is written, synced and, where others need not be asked, answered before this returns. */
  async close(): Promise<void> {
    this.drain();
    // Others go on, and so does an election; what they want of this log must not reach it any more. Who leads alone has answers to give
    // when all is durable.
    if (!this.group.isAlone || !this.group.isLeader) this.group.close();
    await this.log.close();
    this.#end();
  }

  /** The topic is gone: everybody who waits is told. */
  async abandon(): Promise<void> {
    this.#closed = 'TOPIC_NOT_FOUND';
    this.#wake();
    this.group.close();
    await this.log.abandon();
    this.#end();
  }

  #end(): void {
    this.#options.hosted?.close();
    const isGone = this.#closed === 'TOPIC_NOT_FOUND';
    const result = isGone
      ? this.#goneUnderWay()
      : this.#unknown('the broker stopped before the records were committed');
    this.#parked.dropAll(result);
    this.#orphaned.dropAll(result);
    this.#wake();
  }
}

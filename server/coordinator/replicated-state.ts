// A replicated state machine at work, on the replica that leads its log: commands look at the state, and what they decide is
// appended and replayed in one step, so that the next command sees it.
//
//   command ─> decide(state) ─┬─ records ──> one batch, proposed ──> replayed ──┐
//                             └─ response, or refusal ──────────────────────────┴─> waits ─> answered
//
//   not leading ──(leads)──> loading ──(all up to its committed epoch start replayed)──> ready ──(leadership lost)──> not leading
//
// Guarantees
// - An answer leaves only when all that the state held when it was made is committed. One that wrote nothing waits for a
//   read round as well: a leader that was deposed must not say how things stood.
// - When leadership ends the state is thrown away, and what was appended and is not committed is answered with an unknown
//   outcome; the next leader builds its state from the log.
// - Nothing is proposed within a call of the listener.
//
// Relies on the log holding, beside batches of `encode`, control batches only, and on `decide` changing nothing.

import { type ErrorCode, type Problem, problem, type Result } from '@sluice/protocol/errors';
import { type LeaderEpoch, type NodeId, nodeId, type Offset, offset } from '@sluice/protocol/ids';
import { encodeBatch, type RecordInput, type StoredRecord } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { METADATA_PAUSE_MS, METADATA_PIECE_BYTES, STATE_ANSWERS_MAX } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Clock } from '../io/clock.ts';
import type { GroupListener, ProposeOutcome, ReplicatedLog } from '../replication/replicated-log.ts';
import type { Decided } from '../state/decision.ts';
import { type RecordLog, recordsOf } from './record-log.ts';

export interface Restored<S> {
  readonly state: S;
  /** The first offset that the state does not hold. */
  readonly next: Offset;
}

export interface StateMachine<S, R> {
  readonly name: string;
  /** Where replaying begins: nothing, at the log's start, or a snapshot at or above it. */
  restore(): Promise<Restored<S>>;
  /** The state after the record: the same object changed, or another one. */
  replay(state: S, record: R): S;
  encode(record: R): Omit<RecordInput, 'timestamp'>;
  /** Null: this release cannot follow it, and must not go on. */
  decode(record: StoredRecord): R | null;
}

/** What the group of the machine is to it. */
export type StateGroup = Pick<ReplicatedLog, 'propose' | 'requestRead' | 'leader' | 'term'>;

export interface ReplicatedStateOptions<S, R> {
  readonly machine: StateMachine<S, R>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The state can be used from now on. */
  readonly ready?: () => void;
  /** A record of a newer release: the node has to stop. */
  readonly unreadable: (detail: string) => void;
}

export type StateCode =
  | 'NOT_LEADER'
  | 'COORDINATOR_LOADING'
  | 'REQUEST_TIMED_OUT'
  | 'THROTTLED'
  | 'DISK_FULL'
  | 'STORAGE_FAILED'
  | 'SHUTTING_DOWN';

export interface Answered<T, C extends ErrorCode> {
  readonly result: Result<T, C | StateCode>;
  /** What the answer was judged on lies below it. */
  readonly end: Offset;
}

interface Term<S> {
  readonly epoch: LeaderEpoch;
  /** Null while loading. */
  state: S | null;
  /** Behind the last record that the state holds. */
  end: Offset;
  /** Its epoch start is committed. */
  isBegun: boolean;
  isLoading: boolean;
}

interface Waiting {
  readonly end: Offset;
  readonly hasWritten: boolean;
  isCommitted: boolean;
  isConfirmed: boolean;
  readonly answer: () => void;
  readonly fail: (problem: Problem<StateCode>) => void;
}

export class ReplicatedState<S, R> {
  readonly listener: GroupListener;
  readonly #options: ReplicatedStateOptions<S, R>;
  #group: StateGroup | null = null;
  #records: RecordLog | null = null;
  #term: Term<S> | null = null;
  #commit: Offset = offset(0);
  /** Oldest first. Invariant: `end` never falls. */
  #uncommitted: Waiting[] = [];
  readonly #reads = new Map<number, Waiting>();
  #token = 0;
  #isClosed = false;

  constructor(options: ReplicatedStateOptions<S, R>) {
    this.#options = options;
    this.listener = {
      committed: position => this.#committed(position.epoch, position.offset),
      roleChanged: ({ role, term }) => this.#roleChanged(role === 'leader' ? term : null),
      progressed: () => {},
      leadershipLost: epoch => this.#lost(epoch),
      readsConfirmed: tokens => this.#confirmed(tokens),
      readsLost: tokens => this.#readsLost(tokens),
      superseded: () => this.#roleChanged(null),
    };
  }

  /** Once the group is open. What the listener heard before counts. */
  attach(group: StateGroup, records: RecordLog): void {
    this.#group = group;
    this.#records = records;
    if (this.#term?.isBegun === true) this.#loadSoon(this.#term);
  }

  close(): void {
    this.#isClosed = true;
    this.#endTerm();
  }

  /** As commands see it; null while it is not led here, or being loaded. */
  get state(): S | null {
    return this.#term?.state ?? null;
  }
  /** Of the leadership in which `state` is usable. */
  get epoch(): LeaderEpoch | null {
    return this.#term?.state === null ? null : (this.#term?.epoch ?? null);
  }
  /** Who leads, as far as it was heard. */
  get leader(): NodeId | null {
    const replica = this.#group?.leader ?? null;
    return replica === null ? null : nodeId(Number(replica.slice(0, replica.indexOf('/'))));
  }

  // ---- Commands

  submit<T, C extends ErrorCode>(decide: (state: S) => Decided<R, T, C>): Promise<Answered<T, C>> {
    const term = this.#term;
    if (term === null || term.state === null) return this.#refuse(this.#notReady());
    if (this.#uncommitted.length + this.#reads.size >= STATE_ANSWERS_MAX) {
      return this.#refuse(problem('THROTTLED', `${STATE_ANSWERS_MAX} answers of ${this.#name} wait already`));
    }
    const decided = decide(term.state);
    const records = decided.ok ? decided.value.records : [];
    const fault = records.length === 0 ? null : this.#append(term, records);
    if (fault !== null) return this.#refuse(fault);
    const result: Result<T, C> = decided.ok ? { ok: true, value: decided.value.response } : decided;
    return this.#answerLater(term, result, records.length > 0);
  }

  /** What the state says, for certain: nobody else led when it was asked for. */
  read<T>(look: (state: S) => T): Promise<Answered<T, never>> {
    return this.submit<T, never>(state => ({ ok: true, value: { records: [], response: look(state) } }));
  }

  get #name(): string {
    return this.#options.machine.name;
  }

  #refuse<T, C extends ErrorCode>(fault: Problem<StateCode>): Promise<Answered<T, C>> {
    return Promise.resolve({ result: { ok: false, problem: fault }, end: this.#commit });
  }

  #notReady(): Problem<StateCode> {
    if (this.#isClosed) return problem('SHUTTING_DOWN', 'the broker is stopping');
    if (this.#term !== null) return problem('COORDINATOR_LOADING', `${this.#name} is being loaded`);
    return this.#notLeader();
  }

  #notLeader(): Problem<StateCode> {
    const { leader } = this;
    const who = leader === null ? 'nobody that is known leads it' : `node ${leader} leads it`;
    const facts = { leader, term: this.#group?.term ?? 0 };
    return problem('NOT_LEADER', `${this.#name} is not led here: ${who}`, facts);
  }

  #append(term: Term<S>, records: readonly R[]): Problem<StateCode> | null {
    const { machine, clock } = this.#options;
    const timestamp = clock.wallMs();
    const batch = encodeBatch(records.map(record => ({ ...machine.encode(record), timestamp })));
    assert(this.#group !== null, 'a state is loaded from the log of a group');
    const proposed = this.#group.propose([batch]);
    // Leadership may have ended within the call.
    if (!proposed.ok) return this.#proposalRefused(proposed.refusal);
    assert(this.#term === term && proposed.epoch === term.epoch, 'what is appended belongs to the term of the state');
    for (const record of records) term.state = machine.replay(term.state as S, record);
    term.end = proposed.endOffset;
    return null;
  }

  #proposalRefused(refusal: (ProposeOutcome & { ok: false })['refusal']): Problem<StateCode> {
    switch (refusal) {
      case 'not-leader':
        return this.#notLeader();
      case 'transferring':
      case 'busy':
        return problem('COORDINATOR_LOADING', `the leadership of ${this.#name} is changing`);
      case 'throttled':
      case 'backlog':
        return problem('THROTTLED', `too much of ${this.#name} is not committed yet`);
      case 'full':
        return problem('DISK_FULL', 'the disk is full');
      case 'failed':
        return problem('STORAGE_FAILED', `the log of ${this.#name} failed`);
      case 'closed':
        return problem('SHUTTING_DOWN', 'the broker is stopping');
    }
  }

  // ---- Answers

  #answerLater<T, C extends ErrorCode>(
    term: Term<S>,
    result: Result<T, C>,
    hasWritten: boolean,
  ): Promise<Answered<T, C>> {
    const { end } = term;
    return new Promise(resolve => {
      const waiting: Waiting = {
        end,
        hasWritten,
        isCommitted: end <= this.#commit,
        isConfirmed: hasWritten,
        answer: () => resolve({ result, end }),
        fail: fault => resolve({ result: { ok: false, problem: fault }, end }),
      };
      if (!waiting.isCommitted) this.#uncommitted.push(waiting);
      if (hasWritten) return;
      const token = ++this.#token;
      this.#reads.set(token, waiting);
      if (this.#group?.requestRead(token) !== true) this.#readsLost([token]);
    });
  }

  #committed(epoch: LeaderEpoch, to: Offset): void {
    this.#commit = offset(Math.max(this.#commit, to));
    const term = this.#term;
    if (term === null || epoch !== term.epoch) return;
    term.isBegun = true;
    if (term.state === null) {
      if (this.#group !== null) this.#loadSoon(term);
      return;
    }
    let count = 0;
    for (const waiting of this.#uncommitted) {
      if (waiting.end > this.#commit) break;
      count++;
      waiting.isCommitted = true;
      if (waiting.isConfirmed) waiting.answer();
    }
    if (count > 0) this.#uncommitted.splice(0, count);
  }

  #confirmed(tokens: readonly number[]): void {
    for (const token of tokens) {
      const waiting = this.#reads.get(token);
      this.#reads.delete(token);
      if (waiting === undefined) continue;
      waiting.isConfirmed = true;
      if (waiting.isCommitted) waiting.answer();
    }
  }

  #readsLost(tokens: readonly number[]): void {
    for (const token of tokens) {
      const waiting = this.#reads.get(token);
      this.#reads.delete(token);
      if (waiting === undefined) continue;
      this.#uncommitted = this.#uncommitted.filter(other => other !== waiting);
      waiting.fail(this.#notLeader());
    }
  }

  // ---- Leadership

  #roleChanged(ledEpoch: LeaderEpoch | null): void {
    if (this.#term !== null && this.#term.epoch !== ledEpoch) this.#endTerm();
    if (ledEpoch === null || this.#term !== null || this.#isClosed) return;
    this.#term = { epoch: ledEpoch, state: null, end: offset(0), isBegun: false, isLoading: false };
  }

  #lost(epoch: LeaderEpoch): void {
    if (this.#term?.epoch === epoch) this.#endTerm();
  }

  #endTerm(): void {
    this.#term = null;
    const waiting = new Set([...this.#uncommitted, ...this.#reads.values()]);
    this.#uncommitted = [];
    this.#reads.clear();
    const facts = { outcome: 'unknown' };
    const unknown = problem('REQUEST_TIMED_OUT', `the leadership of ${this.#name} ended before the commit`, facts);
    for (const each of waiting) each.fail(each.hasWritten ? unknown : this.#notReady());
  }

  // ---- Loading

  /** The epoch start of the term is committed: all that was committed before lies at or below that point. */
  #loadSoon(term: Term<S>): void {
    if (term.isLoading || term.state !== null) return;
    term.isLoading = true;
    void this.#load(term).then(isDone => {
      term.isLoading = false;
      if (isDone || this.#term !== term) return;
      this.#options.clock.schedule(METADATA_PAUSE_MS, () => {
        if (this.#term === term) this.#loadSoon(term);
      });
    });
  }

  async #load(term: Term<S>): Promise<boolean> {
    const { machine, logger } = this.#options;
    const records = this.#records;
    assert(records !== null, 'a state is loaded from the log of its group');
    const end = this.#commit;
    let { state, next } = await machine.restore();
    while (next < end) {
      const endMax = offset(Math.min(end, records.durableOffset));
      const read = await records.read(next, { endMax, bytesMax: METADATA_PIECE_BYTES });
      if (this.#term !== term) return true;
      if (read.kind !== 'batches') {
        logger.error({ state: machine.name, offset: next, why: read.kind }, 'the log of a state cannot be read');
        return false;
      }
      // Others made it durable before this replica did.
      if (read.batches.length === 0) return false;
      const { records: found, next: after } = recordsOf(read.batches, next);
      for (const record of found) {
        const decoded = machine.decode(record);
        if (decoded === null) {
          this.#options.unreadable(`${machine.name}: the record at offset ${record.offset} is of a newer release`);
          return true;
        }
        state = machine.replay(state, decoded);
      }
      next = after;
    }
    if (this.#term !== term) return true;
    term.state = state;
    term.end = next;
    this.#options.ready?.();
    return true;
  }
}

// What must hold in every walk, seen from outside: no replica knows all of this.

import type { LeaderEpoch } from '@sluice/protocol/ids';
import { earlier, isBefore, isSame, later, ORIGIN, type Position, textOf } from '../../server/base/position.ts';
import type { Message } from '../../server/raft/message.ts';
import type { ConfirmedRead, SavedState } from '../../server/raft/ready.ts';
import type { ReplicaId } from '../../server/raft/replica-id.ts';
import { type Entry, type Image, endOf } from './model-log.ts';

interface Made {
  readonly entry: Entry;
  /** What stood before it in the log of the leader that made it. */
  readonly before: string;
}

export class Truth {
  readonly #leaders = new Map<LeaderEpoch, ReplicaId>();
  /** Every batch that was ever made, by its identity. */
  readonly #made = new Map<string, Made>();
  readonly #compacted = new Set<number>();
  /** What some replica knew to be committed, in order. Never changes but by growing. */
  readonly #committed: Entry[] = [];
  readonly #commits = new Map<ReplicaId, Position>();
  /** The furthest position that each replica acknowledged and was not told to cut. */
  readonly #acknowledged = new Map<ReplicaId, Position>();
  readonly #lastAcknowledged = new Map<ReplicaId, { readonly term: number; readonly position: Position }>();
  readonly #reads = new Map<number, Position>();
  #marks = 0;

  get committedCount(): number {
    return this.#committed.length;
  }

  get #committedEnd(): Position {
    const last = this.#committed.at(-1);
    return last === undefined ? ORIGIN : endOf(last);
  }

  // ---- Elections

  /** One leader a term, and it holds all that was ever committed. */
  led({ term, leader, log }: { term: LeaderEpoch; leader: ReplicaId; log: Image }): void {
    const known = this.#leaders.get(term);
    if (known !== undefined && known !== leader)
      throw new Error(`term ${term} has two leaders, ${known} and ${leader}`);
    this.#leaders.set(term, leader);
    this.#holdsCommitted(log, this.#committedEnd, `the leader of term ${term}`);
  }

  saved(before: SavedState, after: SavedState): void {
    if (after.term < before.term) throw new Error(`term ${after.term} is written over ${before.term}`);
    if (after.term === before.term && before.vote !== null && after.vote !== before.vote) {
      throw new Error(`a second vote in term ${after.term}`);
    }
  }

  /** Whatever leaves relies on the disk alone. */
  sent(message: Message, { disk, memory, saved }: { disk: Image; memory: Image; saved: SavedState }): void {
    const { kind, from, to, term } = message;
    const isPromise =
      kind === 'vote' || kind === 'append-matched' || (kind === 'vote-answer' && message.answer !== 'no');
    if (isPromise && saved.term < term) throw new Error(`${kind} of term ${term} before it was saved`);
    if (kind === 'vote-answer' && message.answer !== 'no' && saved.term === term && saved.vote !== to) {
      throw new Error(`a vote for ${to} in term ${term} before it was saved`);
    }
    if (kind !== 'append-matched') return;
    this.#acknowledged.set(from, later(this.#acknowledged.get(from) ?? ORIGIN, message.position));
    this.#lastAcknowledged.set(from, { term, position: message.position });
    if (!this.holds(disk, message.position)) {
      throw new Error(`${textOf(message.position)} is acknowledged, the disk ends at ${textOf(disk.end)}`);
    }
    if (!this.holds(memory, message.position))
      throw new Error(`${textOf(message.position)} is acknowledged and not held`);
  }

  claims(id: ReplicaId, durable: Position): void {
    const acknowledged = this.#acknowledged.get(id) ?? ORIGIN;
    if (isBefore(durable, acknowledged)) {
      throw new Error(`${id} claims ${textOf(durable)} and acknowledged ${textOf(acknowledged)}`);
    }
  }

  // ---- Logs

  made(content: Omit<Entry, 'mark'>, before: Position): Entry {
    const entry = { ...content, mark: ++this.#marks };
    const identity = textOf(endOf(entry));
    if (this.#made.has(identity)) throw new Error(`a second batch at ${identity}`);
    this.#made.set(identity, { entry, before: textOf(before) });
    return entry;
  }

  /** Log matching: what stands before a batch is what its leader had before it, but for what was compacted. */
  appended(log: Image, entries: readonly Entry[]): void {
    let before = textOf(log.end);
    for (const entry of entries) {
      this.#follows(entry, before);
      before = textOf(endOf(entry));
    }
  }

  #follows(entry: Entry, before: string): void {
    let at = this.#made.get(textOf(endOf(entry)))?.before;
    while (at !== undefined && at !== before) {
      const between = this.#made.get(at);
      if (between === undefined || !this.#compacted.has(between.entry.mark)) {
        throw new Error(`${textOf(endOf(entry))} stands after ${before}; its leader had ${at} before it`);
      }
      at = between.before;
    }
  }

  cut(id: ReplicaId, { to, term }: { to: Position; term: number }): void {
    const commit = this.#commits.get(id) ?? ORIGIN;
    if (isBefore(to, commit)) throw new Error(`${id} cuts to ${textOf(to)} below its commit point ${textOf(commit)}`);
    const last = this.#lastAcknowledged.get(id);
    if (last !== undefined && last.term === term && isBefore(to, last.position)) {
      throw new Error(`${id} cuts to ${textOf(to)} what it acknowledged in the same term, ${textOf(last.position)}`);
    }
    this.#acknowledged.set(id, earlier(this.#acknowledged.get(id) ?? ORIGIN, to));
  }

  installed(id: ReplicaId, base: Position): void {
    // Until the new log is in place the old one still speaks for what was acknowledged.
    this.#acknowledged.set(id, earlier(this.#acknowledged.get(id) ?? ORIGIN, base));
  }

  compacted(marks: ReadonlySet<number>): void {
    for (const mark of marks) this.#compacted.add(mark);
  }

  started(id: ReplicaId, base: Position): void {
    this.#commits.set(id, base);
  }

  // ---- Commit

  committed(id: ReplicaId, { commit, log }: { commit: Position; log: Image }): void {
    const before = this.#commits.get(id) ?? ORIGIN;
    if (isBefore(commit, before)) throw new Error(`${id} went back from ${textOf(before)} to ${textOf(commit)}`);
    this.#commits.set(id, commit);
    const end = this.#committedEnd;
    this.#holdsCommitted(log, earlier(commit, end), `${id}, committed at ${textOf(commit)},`);
    for (const entry of log.entries) {
      if (isBefore(end, endOf(entry)) && !isBefore(commit, endOf(entry))) this.#committed.push(entry);
    }
  }

  /** The log has every committed batch up to the position, none beside, but for what was compacted or dropped. */
  #holdsCommitted(log: Image, upTo: Position, who: string): void {
    const own = new Map(log.entries.map(entry => [textOf(endOf(entry)), entry]));
    let expected = 0;
    for (const entry of this.#committed) {
      const end = endOf(entry);
      if (isBefore(upTo, end)) break;
      if (!isBefore(log.base, end)) continue;
      const held = own.get(textOf(end));
      if (held === undefined && this.#compacted.has(entry.mark)) continue;
      if (held?.mark !== entry.mark) throw new Error(`${who} lacks the committed ${textOf(end)}`);
      expected++;
    }
    const count = log.entries.filter(entry => !isBefore(upTo, endOf(entry))).length;
    if (count !== expected) throw new Error(`${who} holds ${count - expected} batches that were never committed`);
  }

  /** Whether the log holds exactly what the leader of the position's epoch had up to it. */
  holds(log: Image, position: Position): boolean {
    if (!isBefore(log.base, position)) return true;
    const mark = this.#made.get(textOf(position))?.entry.mark;
    const isCompacted = mark !== undefined && this.#compacted.has(mark) && isBefore(position, log.end);
    if (!log.has(position) && !isCompacted) return false;
    const entries = log.entries.filter(entry => !isBefore(position, endOf(entry)));
    return entries.every(entry => this.#made.get(textOf(endOf(entry)))?.entry.mark === entry.mark);
  }

  // ---- Reads

  readAsked(token: number): void {
    this.#reads.set(token, this.#committedEnd);
  }

  readConfirmed({ token, commit }: ConfirmedRead): void {
    const seen = this.#reads.get(token) ?? ORIGIN;
    if (isBefore(commit, seen) && !isSame(commit, seen)) {
      throw new Error(`a read at ${textOf(commit)} misses what was committed at ${textOf(seen)} before it was asked`);
    }
  }
}

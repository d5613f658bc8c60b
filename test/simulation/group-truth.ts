// What must hold of one group whatever happens to its nodes. Told of everything as it happens, it remembers what was committed and
// who led, and fails at the first contradiction.
//
//   one leader a term                  the committed prefix is the same everywhere, for ever
//   nothing committed is cut           what is committed is durable on a majority
//   what was durable once is there     terms and votes on disk never go back
//     after a crash                    nothing is durable that is not in the log
//   a leader commits in its own term   a confirmed read sees what anybody saw before it

import { comparePositions, isSame, later, type Position, textOf } from '../../server/base/position.ts';
import {
  readBaseOffset,
  readLastOffset,
  readLeaderEpoch,
  isEpochStart,
  isConfiguration,
} from '@sluice/protocol/record';
import type { Configuration } from '../../server/raft/configuration.ts';
import { recordsOf } from '../storage/batches.ts';

/** One batch of a log, and whether two of them are the same. */
export interface LogEntry {
  readonly position: Position;
  readonly baseOffset: number;
  /** Of the bytes; epoch starts are told apart by their place alone. */
  readonly checksum: number;
  readonly kind: 'data' | 'epoch-start' | 'configuration';
  /** Empty but for data; read when they are asked for, which is seldom. */
  readonly values: () => readonly string[];
}

const CRC_AT = 17;

export const none = (): readonly string[] => [];

const readUint32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;

export const entryOf = (batch: Uint8Array): LogEntry => {
  const isStart = isEpochStart(batch, 0);
  const kind = isStart ? 'epoch-start' : isConfiguration(batch) ? 'configuration' : 'data';
  return {
    position: { epoch: readLeaderEpoch(batch, 0), offset: readLastOffset(batch, 0) + 1 } as Position,
    baseOffset: readBaseOffset(batch, 0),
    checksum: isStart ? 0 : readUint32(batch, CRC_AT),
    kind,
    values: kind === 'data' ? () => recordsOf(batch).map(record => record.value) : none,
  };
};

export const isSameEntry = (a: LogEntry, b: LogEntry): boolean =>
  isSame(a.position, b.position) && a.baseOffset === b.baseOffset && a.checksum === b.checksum;

const text = ({ position, baseOffset, checksum, kind }: LogEntry): string =>
  `${kind} ${baseOffset}..${textOf(position)} (${checksum.toString(16)})`;

/** Of NODE/DIRECTORY. */
export const nodeOf = (replica: string): number => Number(replica.split('/')[0]);

/** The first of them behind the position. */
export const firstBehind = (entries: readonly LogEntry[], position: Position): number => {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (comparePositions(entries[middle]!.position, position) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
};

/** What one replica's disk promised, as far as it was asked to. Outlives the node's lives. */
export interface Promised {
  /** Of the log as it stands now, durable or not. */
  entries: LogEntry[];
  base: Position;
  /** So far it said that it is durable; null while the log is being replaced. */
  durable: Position | null;
  /** Its committed prefix was compared so far. */
  compared: Position;
  record: { readonly term: number; readonly vote: string | null; readonly recovery: number } | null;
}

export class GroupTruth {
  readonly name: string;
  readonly #fail: (what: string) => void;
  readonly #leaders = new Map<number, number>();
  /** All that was ever committed, in order. */
  readonly committed: LogEntry[] = [];
  readonly promised = new Map<number, Promised>();
  /** So far anybody was told of it, by an acknowledgement or a read. */
  seen: Position | null = null;
  /** Damage of a log is no lie of its disk. */
  readonly mayRot: boolean;
  confirmedCount = 0;
  cutCount = 0;
  installCount = 0;

  constructor(name: string, { mayRot, fail }: { readonly mayRot: boolean; readonly fail: (what: string) => void }) {
    this.name = name;
    this.mayRot = mayRot;
    this.#fail = what => fail(`${name}: ${what}`);
  }

  get terms(): number {
    return this.#leaders.size;
  }

  leads(node: number, term: number, { voters, outgoing }: Configuration): void {
    const known = this.#leaders.get(term);
    if (known === node) return;
    if (known !== undefined) {
      this.#fail(`nodes ${known} and ${node} both lead in term ${term}`);
      return;
    }
    this.#leaders.set(term, node);
    let votes = 0;
    for (const voter of voters) {
      const record = this.promised.get(nodeOf(voter))?.record ?? null;
      if (record === null || record.term < term) continue;
      if (record.term > term || (record.vote !== null && nodeOf(record.vote) === node)) votes++;
    }
    if (votes * 2 <= voters.size && outgoing.size === 0) {
      this.#fail(`node ${node} leads in term ${term} by ${votes} of ${voters.size} votes that are on disk`);
    }
  }

  /** The replica believes that everything up to the position is committed. */
  commits(node: number, position: Position): void {
    const promised = this.promised.get(node)!;
    const { entries, base } = promised;
    const end = firstBehind(entries, position);
    const last = entries[end - 1]?.position ?? base;
    if (!isSame(last, position)) {
      this.#fail(`node ${node} commits ${textOf(position)}, which is no end of a batch of its log`);
      return;
    }
    const from = later(promised.compared, base);
    promised.compared = position;
    const first = firstBehind(entries, from);
    const start = firstBehind(this.committed, from);
    for (let index = 0; first + index < end; index++) {
      const mine = entries[first + index]!;
      const known = this.committed[start + index];
      if (known === undefined) this.#commit(node, mine);
      else if (!isSameEntry(known, mine)) {
        this.#fail(`node ${node} commits ${text(mine)} where ${text(known)} was committed`);
        return;
      }
    }
  }

  #commit(node: number, entry: LogEntry): void {
    const last = this.committed.at(-1);
    if (last !== undefined && comparePositions(last.position, entry.position) >= 0) {
      this.#fail(`node ${node} commits ${text(entry)} after ${text(last)}`);
    }
    this.committed.push(entry);
  }

  /** A leader moved its commit point: so many voters must have it on their disks, dead ones included. */
  isDurableOn(voters: readonly number[], position: Position): number {
    let count = 0;
    for (const voter of voters) {
      const promised = this.promised.get(voter);
      const durable = promised?.durable ?? null;
      if (promised === undefined || durable === null || comparePositions(durable, position) < 0) continue;
      const at = firstBehind(promised.entries, position) - 1;
      const held = at < 0 ? promised.base : promised.entries[at]!.position;
      if (isSame(held, position) || comparePositions(promised.base, position) >= 0) count++;
    }
    return count;
  }

  ledCommit(node: number, position: Position, voters: readonly number[]): void {
    const count = this.isDurableOn(voters, position);
    if (count * 2 <= voters.length) {
      this.#fail(`node ${node} commits ${textOf(position)}, durable on ${count} of ${voters.length} voters`);
    }
  }

  /** Raft section 5.4.2: what a leader counts is of its own term, and what is older comes with it. */
  ledOldTerm(node: number, position: Position, term: number): void {
    this.#fail(`node ${node} leads in term ${term} and commits no further than ${textOf(position)}`);
  }

  saw(position: Position): void {
    this.seen = this.seen === null ? position : later(this.seen, position);
  }

  /** What a confirmed read begins with, and what somebody had seen before it began. */
  readConfirmed(node: number, commit: Position, seen: Position | null): void {
    this.confirmedCount++;
    if (seen !== null && comparePositions(commit, seen) < 0) {
      this.#fail(`node ${node} confirms a read at ${textOf(commit)}, which began after ${textOf(seen)} was seen`);
    }
  }

  /** Of a log that ends elsewhere. */
  durableBeyond(node: number, position: Position, end: Position): void {
    this.#fail(`node ${node} has ${textOf(position)} durably in a log that ends at ${textOf(end)}`);
  }

  acknowledged(position: Position, offsetOfFirst: number): void {
    this.saw(position);
    const entry = this.committed[firstBehind(this.committed, position) - 1];
    if (entry === undefined || !isSame(entry.position, position) || entry.baseOffset !== offsetOfFirst) {
      this.#fail(`a record at ${offsetOfFirst} is acknowledged, and ${textOf(position)} is not committed`);
    }
  }

  cuts(node: number, removed: readonly LogEntry[]): void {
    for (const entry of removed) {
      const known = this.committed[firstBehind(this.committed, entry.position) - 1];
      if (known !== undefined && isSameEntry(known, entry))
        this.#fail(`node ${node} cuts ${text(entry)}, which is committed`);
    }
  }

  /** A log was opened again: what its disk promised must be there. */
  reopened(node: number, base: Position, entries: readonly LogEntry[]): void {
    const before = this.promised.get(node);
    if (before !== undefined && before.durable !== null) {
      const { durable } = before;
      const start = firstBehind(before.entries, base);
      const end = firstBehind(before.entries, durable);
      for (let index = start; index < end; index++) {
        const promised = before.entries[index]!;
        const found = entries[index - start];
        if (found === undefined || !isSameEntry(found, promised)) {
          this.#fail(
            `node ${node} lost ${text(promised)}, durable to ${textOf(durable)}; there is ${found === undefined ? 'nothing' : text(found)}`,
          );
          return;
        }
      }
    }
  }

  recordFound(node: number, record: Promised['record']): void {
    const before = this.promised.get(node)?.record ?? null;
    if (before === null) return;
    const isOlder =
      record === null ||
      record.term < before.term ||
      record.recovery < before.recovery ||
      (record.term === before.term && before.vote !== null && record.vote !== before.vote);
    if (isOlder) this.#fail(`node ${node} had ${JSON.stringify(before)} on disk and now has ${JSON.stringify(record)}`);
  }

  /** At rest: this replica's log is what was committed, all of it. */
  isWhole(node: number): boolean {
    const promised = this.promised.get(node);
    const last = this.committed.at(-1)?.position;
    if (promised === undefined || last === undefined) return false;
    const end = promised.entries.at(-1)?.position ?? promised.base;
    return isSame(end, last) && promised.durable !== null && isSame(promised.durable, last);
  }

  /** `entries`: read from the replica's log, which held the first `count` that were committed, as far as its base leaves them. */
  equals(
    node: number,
    read: { readonly base: Position; readonly entries: readonly LogEntry[]; readonly count: number },
  ): void {
    const start = firstBehind(this.committed, read.base);
    const wanted = read.count - start;
    if (read.entries.length < wanted) {
      this.#fail(`node ${node} holds ${read.entries.length} batches at the end, not ${wanted}`);
    }
    for (const [index, entry] of read.entries.entries()) {
      const known = this.committed[start + index];
      if (known !== undefined && !isSameEntry(known, entry)) {
        this.#fail(`node ${node} holds ${text(entry)}, not ${text(known)}`);
      }
    }
  }
}

// What a replica of a Raft group keeps in the node's store: `raft/KEY`, one record a group, replaced whole.
//
// Term and vote are durable before a vote or an append reply leaves, a configuration before its batch is acknowledged: `set`,
// then `flush`, which all groups that changed in one turn share. A record that the store cannot vouch for is *suspect*: it is
// there, but may be older than what was flushed once.
//
// Configurations: the last committed one first, then those behind it in the log, each with its position.

import { isOffset, type LeaderEpoch, leaderEpoch } from '@sluice/protocol/ids';
import type { StoredConfiguration } from '@sluice/protocol/record';
import { comparePositions, type Position, positionAt } from '../base/position.ts';
import { refuseMark } from './log-marks.ts';
import type { NodeStore, StoreValue } from './node-store.ts';

export interface ConfigurationMark {
  readonly position: Position;
  readonly configuration: StoredConfiguration;
}

export interface RaftRecord {
  readonly term: LeaderEpoch;
  /** NODE/DIRECTORY-UUID of who has this term's vote. */
  readonly vote: string | null;
  /** Raised by each forced election. */
  readonly recovery: number;
  readonly configurations: readonly ConfigurationMark[];
}

export class RaftMarks {
  readonly #store: NodeStore;
  readonly #key: string;

  /** `key` names the log: topic id and partition. */
  constructor(store: NodeStore, key: string) {
    this.#store = store;
    this.#key = `raft/${key}`;
  }

  /** Null before the group's first record. Throws StartRefusal for what no broker writes. */
  record(): RaftRecord | null {
    const value = this.#store.get(this.#key);
    return value === null ? null : parseRaftRecord(value);
  }

  get isSuspect(): boolean {
    return this.#store.isSuspect(this.#key);
  }

  set({ term, vote, recovery, configurations }: RaftRecord): void {
    this.#store.set(this.#key, { term, vote, recovery, configurations });
  }

  /** The replica is readmitted, and what it may have voted before counts for nothing. */
  clearSuspect(): void {
    this.#store.clearSuspect(this.#key);
  }

  remove(): void {
    this.#store.delete(this.#key);
  }

  /** Everything set so far, by anybody, is durable when this returns. */
  flush(): Promise<void> {
    return this.#store.flush();
  }
}

/** Keys of all logs that have a record. */
export const raftKeys = (store: NodeStore): readonly string[] =>
  store.keys('raft/').map(key => key.slice('raft/'.length));

const fail = (field: string): never => {
  throw refuseMark(field);
};

const count = (value: unknown, field: string): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : fail(field);

const epoch = (value: unknown, field: string): LeaderEpoch => {
  const found = count(value, field);
  return found > 0x7fff_ffff ? fail(field) : leaderEpoch(found);
};

const names = (value: unknown, field: string): readonly string[] =>
  Array.isArray(value) && value.every(each => typeof each === 'string') ? value : fail(field);

/** Throws StartRefusal for what no broker writes. */
export const parseRaftRecord = (value: StoreValue): RaftRecord => {
  const { vote, configurations } = value;
  if (vote !== null && typeof vote !== 'string') return fail('vote');
  if (!Array.isArray(configurations) || configurations.length === 0) return fail('configurations');
  const marks = configurations.map(each => parseMark(each as StoreValue));
  const rises = marks.every(
    (mark, index) => index === 0 || comparePositions(marks[index - 1]!.position, mark.position) < 0,
  );
  if (!rises) return fail('configurations in order');
  return {
    term: epoch(value['term'], 'term'),
    vote,
    recovery: count(value['recovery'], 'recovery number'),
    configurations: marks,
  };
};

const parseMark = (mark: StoreValue): ConfigurationMark => {
  const position = (mark['position'] ?? {}) as StoreValue;
  const configuration = (mark['configuration'] ?? {}) as StoreValue;
  const at = count(position['offset'], 'position');
  if (!isOffset(at) || typeof configuration['autoLeave'] !== 'boolean') return fail('configuration');
  return {
    position: positionAt(epoch(position['epoch'], 'position'), at),
    configuration: {
      voters: names(configuration['voters'], 'voters'),
      outgoing: names(configuration['outgoing'], 'outgoing voters'),
      learners: names(configuration['learners'], 'learners'),
      learnersNext: names(configuration['learnersNext'], 'next learners'),
      autoLeave: configuration['autoLeave'],
    },
  };
};

// What a node keeps of its replicas of groups, beside their logs: term, vote, recovery number and configurations, in the node's
// store. One flush serves all groups that changed in a turn.
//
// A replica without a record has never been asked for a vote: its first record is durable before it can be. A log with entries
// and no record has lost it, and is suspect like one of which the store lost lines: it may have voted.

import { type LeaderEpoch, leaderEpoch } from '@sluice/protocol/ids';
import { ORIGIN } from '../base/position.ts';
import type { ReplicaCondition } from '../base/replica-condition.ts';
import type { Configuration } from '../raft/configuration.ts';
import type { SavedState } from '../raft/ready.ts';
import { isReplicaId } from '../raft/replica-id.ts';
import type { NodeStore } from '../storage/node-store.ts';
import { RaftMarks, type RaftRecord } from '../storage/raft-marks.ts';
import { coreForm, storedForm } from './configuration-form.ts';
import { conditionOf, type GroupLog } from './group-log.ts';
import { groupKey, type GroupName } from './group-name.ts';
import type { StoredReplica } from './replicated-log.ts';

/** Where term, vote and configurations of the groups are kept. */
export interface ReplicaRecords {
  save(name: GroupName, state: SavedState): void;
  /** Everything saved so far is durable when this returns. A store that cannot be written rejects, and ends the node. */
  flush(): Promise<void>;
}

const FIRST_TERM: LeaderEpoch = leaderEpoch(0);

export class StoreRecords implements ReplicaRecords {
  readonly #store: NodeStore;

  constructor(store: NodeStore) {
    this.#store = store;
  }

  #marks(name: GroupName): RaftMarks {
    return new RaftMarks(this.#store, groupKey(name));
  }

  has(name: GroupName): boolean {
    return this.#marks(name).record() !== null;
  }

  /** The first record of a replica. To be flushed before its log is made, so that a log never is without one. */
  found(name: GroupName, configuration: Configuration): void {
    const first = { position: ORIGIN, configuration: storedForm(configuration) };
    this.#marks(name).set({ term: FIRST_TERM, vote: null, recovery: 0, configurations: [first] });
  }

  /** How a replica begins whose log was opened. `fallback`: the configuration of one whose record is lost. */
  restored(name: GroupName, log: GroupLog, fallback: Configuration): StoredReplica {
    const marks = this.#marks(name);
    const record = marks.record();
    if (record === null) {
      const configurations = [{ position: ORIGIN, configuration: fallback }];
      return {
        saved: { term: FIRST_TERM, vote: null, recovery: 0, configurations },
        found: [],
        condition: { kind: 'suspect' },
      };
    }
    const condition: ReplicaCondition = marks.isSuspect ? { kind: 'suspect' } : conditionOf(log);
    return { saved: savedOf(record), found: [], condition };
  }

  save(name: GroupName, { term, vote, recovery, configurations }: SavedState): void {
    this.#marks(name).set({
      term,
      vote,
      recovery,
      configurations: configurations.map(({ position, configuration }) => ({
        position,
        configuration: storedForm(configuration),
      })),
    });
  }

  flush(): Promise<void> {
    return this.#store.flush();
  }

  /** The group is no more, or not here. */
  remove(name: GroupName): void {
    this.#marks(name).remove();
  }
}

const savedOf = ({ term, vote, recovery, configurations }: RaftRecord): StoredReplica['saved'] => ({
  term,
  vote: vote !== null && isReplicaId(vote) ? vote : null,
  recovery,
  configurations: configurations.map(({ position, configuration }) => ({
    position,
    configuration: coreForm(configuration),
  })),
});

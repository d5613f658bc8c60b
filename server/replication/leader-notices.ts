// Who leads which group, as far as this node heard: leadership is not metadata, leaders announce themselves to every peer, also to
// those that hold no replica. Kept is the highest term, and who led in it.
//
// Bounded by LEADERS_HEARD_MAX; whoever knows that a topic is gone says so (`forget`).

import type { LeaderEpoch } from '@sluice/protocol/ids';
import { LEADERS_HEARD_MAX } from '../base/limits.ts';
import type { ReplicaId } from '../raft/replica-id.ts';
import { groupKey, type GroupName } from './group-name.ts';

export interface GroupLeader {
  readonly term: LeaderEpoch;
  readonly leader: ReplicaId;
}

export type LeaderListener = (name: GroupName, leader: GroupLeader) => void;

/** What a leader says of itself: that it leads, in this term. Who it is, the session says. */
export interface LeaderNotice {
  readonly group: GroupName;
  readonly term: LeaderEpoch;
}

export class LeadersHeard {
  readonly #leaders = new Map<string, GroupLeader>();
  readonly #listeners = new Set<LeaderListener>();

  of(name: GroupName): GroupLeader | null {
    return this.#leaders.get(groupKey(name)) ?? null;
  }

  heard(name: GroupName, { term, leader }: GroupLeader): void {
    const key = groupKey(name);
    const known = this.#leaders.get(key);
    if (known !== undefined && known.term >= term) return;
    if (known === undefined && this.#leaders.size >= LEADERS_HEARD_MAX) return;
    const now = { term, leader };
    this.#leaders.set(key, now);
    for (const listener of this.#listeners) listener(name, now);
  }

  forget(name: GroupName): void {
    this.#leaders.delete(groupKey(name));
  }

  /** Called whenever a later leader is heard of, this node among them. Ends with what is returned. */
  listen(listener: LeaderListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

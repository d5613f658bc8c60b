// When which member was heard, and since when it is asked to give something back: kept by the node that leads, in ticks, for one leadership.
// A fail-over begins with nothing, so that everybody has the full time.

import type { GroupsState, Member } from '../../state/groups/groups-state.ts';
import type { MemberTimes } from '../../state/groups/liveness.ts';

interface Asked {
  readonly memberEpoch: number;
  readonly sinceMs: number;
}

const keyOf = (groupId: string, memberId: string): string => `${groupId} ${memberId}`;

export class MemberClock implements MemberTimes {
  nowMs = 0;
  listeningSinceMs = 0;
  readonly #heard = new Map<string, number>();
  readonly #asked = new Map<string, Asked>();

  restart(): void {
    this.listeningSinceMs = this.nowMs;
    this.#heard.clear();
    this.#asked.clear();
  }

  heard(groupId: string, memberId: string): void {
    this.#heard.set(keyOf(groupId, memberId), this.nowMs);
  }

  lastHeardMs(groupId: string, memberId: string): number | undefined {
    return this.#heard.get(keyOf(groupId, memberId));
  }

  revokingSinceMs(member: Member, groupId: string): number | undefined {
    const asked = this.#asked.get(keyOf(groupId, member.memberId));
    // Asked anew since the last look: from now on.
    return asked?.memberEpoch === member.holding.memberEpoch ? asked.sinceMs : this.nowMs;
  }

  /** Once a tick: who is asked for something since when, and forgetting who is gone. */
  look(state: GroupsState): void {
    const asked = new Map<string, Asked>();
    let count = 0;
    for (const { groupId, members } of state.groups.values()) {
      count += members.size;
      for (const { memberId, holding } of members.values()) {
        if (holding.revoking.size === 0) continue;
        const key = keyOf(groupId, memberId);
        const before = this.#asked.get(key);
        const { memberEpoch } = holding;
        asked.set(key, before?.memberEpoch === memberEpoch ? before : { memberEpoch, sinceMs: this.nowMs });
      }
    }
    this.#asked.clear();
    for (const [key, each] of asked) this.#asked.set(key, each);
    if (this.#heard.size > 2 * count + FORGET_ABOVE) this.#forget(state);
  }

  #forget(state: GroupsState): void {
    const known = new Set<string>();
    for (const { groupId, members } of state.groups.values()) {
      for (const memberId of members.keys()) known.add(keyOf(groupId, memberId));
    }
    for (const key of this.#heard.keys()) if (!known.has(key)) this.#heard.delete(key);
  }
}

const FORGET_ABOVE = 64;

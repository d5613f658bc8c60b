// Who of a partition's voters is in sync, and how far so many of them are durable: what `min.insync.replicas` is judged on.
//
// Never used for elections: who may lead is decided by what is durable on a majority.

import type { NodeId, Offset } from '@sluice/protocol/ids';
import type { Position, ProgressView, ReplicaId } from '../replication/replicated-log.ts';

const nodeOf = (replica: ReplicaId): NodeId => Number.parseInt(replica, 10) as NodeId;

export class InSync {
  #inSync: readonly ReplicaId[] = [];
  #acknowledged: ReadonlyMap<ReplicaId, Position> = new Map();

  update({ inSync, acknowledged }: ProgressView): void {
    this.#inSync = inSync;
    this.#acknowledged = acknowledged;
  }

  forget(): void {
    this.#inSync = [];
    this.#acknowledged = new Map();
  }

  get count(): number {
    return this.#inSync.length;
  }

  get nodes(): readonly NodeId[] {
    return this.#inSync.map(nodeOf).sort((a, b) => a - b);
  }

  /** Who should lead in place of `leader`: the one that has the most. */
  heirOf(leader: NodeId): ReplicaId | null {
    let heir: ReplicaId | null = null;
    for (const replica of this.#inSync) {
      if (nodeOf(replica) === leader) continue;
      if (heir === null || this.#offsetOf(replica) > this.#offsetOf(heir)) heir = replica;
    }
    return heir;
  }

  replicaOn(nodeId: NodeId): ReplicaId | null {
    return this.#inSync.find(replica => nodeOf(replica) === nodeId) ?? null;
  }

  /** Below it every one of the replicas has everything on its disk; 0 while one of them has not said how far it is. */
  heldBy(replicas: Iterable<ReplicaId>): number {
    let least = Number.POSITIVE_INFINITY;
    for (const replica of replicas) least = Math.min(least, this.#acknowledged.get(replica)?.offset ?? 0);
    return Number.isFinite(least) ? least : 0;
  }

  #offsetOf(replica: ReplicaId): number {
    return this.#acknowledged.get(replica)?.offset ?? -1;
  }

  /** The offset up to which `count` replicas in sync have everything on their disks; infinite for one, which the commit point vouches for. */
  durableOn(count: number): number {
    if (count <= 1) return Number.POSITIVE_INFINITY;
    const ends: Offset[] = [];
    for (const replica of this.#inSync) {
      const position = this.#acknowledged.get(replica);
      if (position !== undefined) ends.push(position.offset);
    }
    ends.sort((a, b) => b - a);
    return ends[count - 1] ?? 0;
  }
}

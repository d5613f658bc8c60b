// Short names for what tests of the core need by the dozen.

import { leaderEpoch, offset } from '@sluice/protocol/ids';
import type { Position } from '../../server/base/position.ts';
import { type ReplicaId, replicaId } from '../../server/raft/replica-id.ts';

/** Replica number n: node n with its one directory. */
export const replica = (n: number): ReplicaId =>
  replicaId(n, `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`);

export const numberOf = (id: ReplicaId): number => Number(id.slice(0, id.indexOf('/')));

export const at = (epoch: number, end: number): Position => ({ epoch: leaderEpoch(epoch), offset: offset(end) });

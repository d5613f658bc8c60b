// What a replica wants done after its inputs. The order of the fields is the order of the effects:
//
//   save       into the node's store, before `log` is handed to the disk; when it is durable: `stored(version)`
//   log        into the log's queue, one after another; when a sync is done: `durable(notice)`
//   send       at once: what must wait for either of the two is withheld until then, inside the core
//   replicate  read the log, `fill` the order, send what it gives
//   snapshots  stream, then `snapshotEnded`
//   the rest   news for the layers above
//
// Proposals are not in `log`: the driver appends them in the step in which `propose` took them. So whatever `log` holds
// must have been taken before something is proposed, which `propose` asserts.

import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import type { EpochStart, Position } from '../base/position.ts';
import type { ConfigurationAt } from './configuration-history.ts';
import type { Configuration } from './configuration.ts';
import type { Batch, Message, Snapshot } from './message.ts';
import type { ReplicaId } from './replica-id.ts';

export interface Ready {
  readonly save: SavedState | null;
  readonly log: readonly LogOrder[];
  readonly send: readonly Message[];
  readonly replicate: readonly ReplicateOrder[];
  readonly snapshots: readonly SnapshotOrder[];
  /** The commit point moved. A leader's own high watermark counts from the first one of its own epoch on. */
  readonly commit: Position | null;
  /** Never together with an older one: the newest role, once it changed. */
  readonly role: RoleChange | null;
  /** Leadership of this epoch ended: what was proposed in it and is not committed has an unknown outcome. */
  readonly lost: LeaderEpoch | null;
  /** Linearizable at `commit` or above. */
  readonly reads: readonly ConfirmedRead[];
  /** Asked of a leader that is none any more. */
  readonly readsLost: readonly ReadToken[];
  /** Of a leader, when anything in it changed. */
  readonly progress: ProgressView | null;
  /** Somebody speaks of a later recovery: this replica stopped, and its log is set aside as evidence. */
  readonly supersededBy: number | null;
}

/** The whole record of the group in the store; each version replaces the one before. */
export interface SavedState {
  readonly version: number;
  readonly term: LeaderEpoch;
  readonly vote: ReplicaId | null;
  readonly recovery: number;
  /** The last committed one first, then those after it in the log. */
  readonly configurations: readonly ConfigurationAt[];
}

export type LogOrder =
  /** `isLoss`: below the commit point, which only a group without synced writes may order. Raises the generation. */
  | { readonly kind: 'cut'; readonly to: Position; readonly isLoss: boolean }
  /** A leader's own, to be built and stamped. */
  | { readonly kind: 'epoch-start'; readonly start: EpochStart }
  | {
      readonly kind: 'configuration';
      readonly epoch: LeaderEpoch;
      readonly baseOffset: Offset;
      readonly configuration: Configuration;
    }
  /** As they came, at their own offsets. */
  | { readonly kind: 'append'; readonly batches: readonly Batch[] }
  /** Nothing below is read any more; when the storage dropped it: `baseMoved`. */
  | { readonly kind: 'log-start'; readonly offset: Offset }
  /** The log beside this one takes its place. Raises the generation; durable at `base` once swapped in. */
  | { readonly kind: 'install'; readonly base: Position };

/** One a follower at a time: the next comes when this one was filled or found unreadable. */
export interface ReplicateOrder {
  readonly to: ReplicaId;
  readonly term: LeaderEpoch;
  readonly number: number;
  /** Batches after it are wanted. */
  readonly prev: Position;
  /** As many whole batches as fit, but one at least. */
  readonly bytesMax: number;
}

/** `snapshot` is for the follower's core, once its driver has all that belongs to it. */
export interface SnapshotOrder {
  readonly snapshot: Snapshot;
}

export type RoleName = 'follower' | 'pre-candidate' | 'candidate' | 'leader' | 'stopped';

export interface RoleChange {
  readonly role: RoleName;
  readonly term: LeaderEpoch;
  readonly leader: ReplicaId | null;
}

/** Whatever the driver knows its reader by. */
export type ReadToken = number;

export interface ConfirmedRead {
  readonly token: ReadToken;
  readonly commit: Position;
}

export interface ProgressView {
  /** Reached the leader's end lately; the leader is one. Learners are not in it. */
  readonly inSync: readonly ReplicaId[];
  /** Durable there and of this term; members without an entry have acknowledged nothing yet. */
  readonly acknowledged: ReadonlyMap<ReplicaId, Position>;
}

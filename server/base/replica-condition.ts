// In what state the disk left a replica. Storage judges, Raft decides what such a one may do (raft/condition.ts).
//
//   sound        everything that was acknowledged is here
//   recovering   its writes are not synced (flush.mode=interval) and the last stop was none: the end of what was acknowledged
//                may be gone
//   faulty       damage, a folder without its record, or a record without its folder: it keeps claiming what it acknowledged
//   suspect      the store lost lines of this log, among which its vote may have been

import type { Position } from './position.ts';

export type ReplicaCondition =
  | { readonly kind: 'sound' }
  | { readonly kind: 'recovering' }
  | {
      readonly kind: 'faulty';
      /** The least that it acknowledged before, whatever the log still holds. */
      readonly claims: Position;
      /** The last position below the damage. */
      readonly soundTo: Position;
      readonly isWritable: boolean;
      /** For people. */
      readonly reason: string;
    }
  | { readonly kind: 'suspect' };

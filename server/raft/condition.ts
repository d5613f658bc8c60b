// What a replica may do in an election, by the state in which its disk left it.
//
//               campaigns               grants                                         acknowledges
//   sound       yes                     to who is at or above its durable position     what is durable
//   recovering  if all voters say yes   only 'if all', to who is at or above it        what is durable
//   faulty      long after the others   to who is at or above what it claims           what is durable and below the damage
//   suspect     never                   never                                          what is durable
//
// recovering: writes are not synced in this group, and it may have lost what it acknowledged. It is sound again when it
//   holds what a leader has committed in its own term, which covers all that can have been committed before.
// faulty: damage was found. It keeps claiming what it acknowledged. Alone in its group there is nobody to wait for and it
//   counts in full. Without a writable log it takes no part but to answer.
// suspect: the store lost its vote; another one in the same term could elect a second leader.

import { later, type Position } from '../base/position.ts';
import type { ReplicaCondition } from '../base/replica-condition.ts';

export const claimOf = (condition: ReplicaCondition, durable: Position): Position =>
  condition.kind === 'faulty' ? later(condition.claims, durable) : durable;

// What a role answers when it is over: which one comes next. Only RaftGroup carries it out.
//
//                     time-out                 yes of a majority          yes of a majority
//   follower ──────────────────► pre-candidate ────────────────► candidate ───────────────► leader
//       ▲ ──────────────────────────────────────── transfer ────────► ▲                       │
//       └──────────── a higher term, a leader of this one, a lost vote, no quorum ◄───────────┘

import type { LeaderEpoch } from '@sluice/protocol/ids';
import type { ReplicaId } from './replica-id.ts';

export type Transition =
  /** `term` is this one or a later one. */
  | { readonly kind: 'follower'; readonly term: LeaderEpoch; readonly leader: ReplicaId | null }
  | { readonly kind: 'pre-candidate' }
  | { readonly kind: 'candidate'; readonly isTransfer: boolean }
  | { readonly kind: 'leader' };

// What a majority decides, of one set of voters or of both while the configuration is joint.
//
// An empty set decides nothing by itself: it lets every vote pass and every position count, so that a joint decision with an
// empty half is that of the other half.

import { comparePositions, earlier, type Position } from '../base/position.ts';
import type { Configuration } from './configuration.ts';
import type { ReplicaId } from './replica-id.ts';

export type VoteResult = 'won' | 'lost' | 'pending';

type Voters = ReadonlySet<ReplicaId>;
type Sets = Pick<Configuration, 'voters' | 'outgoing'>;

const majorityOf = (voters: Voters): number => Math.floor(voters.size / 2) + 1;

export function majorityVote(voters: Voters, votes: ReadonlyMap<ReplicaId, boolean>): VoteResult {
  if (voters.size === 0) return 'won';
  let granted = 0;
  let missing = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  if (granted >= majorityOf(voters)) return 'won';
  return granted + missing >= majorityOf(voters) ? 'pending' : 'lost';
}

export function jointVote(sets: Sets, votes: ReadonlyMap<ReplicaId, boolean>): VoteResult {
  const incoming = majorityVote(sets.voters, votes);
  const outgoing = majorityVote(sets.outgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'pending';
}

/** What a voter acknowledged; null where nothing is known. */
export type Acknowledged = (voter: ReplicaId) => Position | null;

/** The latest position that a majority acknowledged. Null: none yet. 'everything': there is nobody to ask. */
export function majorityPosition(voters: Voters, acknowledged: Acknowledged): Position | null | 'everything' {
  if (voters.size === 0) return 'everything';
  const known: Position[] = [];
  for (const voter of voters) {
    const position = acknowledged(voter);
    if (position !== null) known.push(position);
  }
  known.sort((a, b) => comparePositions(b, a));
  return known[majorityOf(voters) - 1] ?? null;
}

export function jointPosition(sets: Sets, acknowledged: Acknowledged): Position | null | 'everything' {
  const incoming = majorityPosition(sets.voters, acknowledged);
  const outgoing = majorityPosition(sets.outgoing, acknowledged);
  if (incoming === 'everything') return outgoing;
  if (outgoing === 'everything') return incoming;
  return incoming === null || outgoing === null ? null : earlier(incoming, outgoing);
}

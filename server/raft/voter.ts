// The answer to who wants to lead: the same in every role, and whatever this replica believes the membership to be. A
// candidate counts only the votes of its own configuration.
//
// A yes needs: no other vote in the term, and a candidate that is durable at least as far as this replica may have
// acknowledged. Whether a leader was heard lately was looked at before (see raft-group.ts).

import { isBefore } from '../base/position.ts';
import { isVoter } from './configuration.ts';
import type { Answer, PreVote, Vote } from './message.ts';
import type { Replica } from './replica.ts';

/** Of a term that is not below this replica's. */
export function answerPreVote(replica: Replica, message: PreVote): void {
  const isFree = message.term > replica.term || isUnbound(replica, message);
  const answer = isFree ? answerTo(replica, message) : 'no';
  if (answer === 'no') replica.send(message.from, { kind: 'pre-vote-answer', answer });
  else replica.sendAbout(message.term, message.from, { kind: 'pre-vote-answer', answer });
}

/** Of this replica's term. True when the vote was given; the answer leaves when it is durable. */
export function answerVote(replica: Replica, message: Vote): boolean {
  const answer = isUnbound(replica, message) ? answerTo(replica, message) : 'no';
  if (answer !== 'no') replica.voteFor(message.from);
  replica.hold(message.from, { kind: 'vote-answer', answer });
  return answer !== 'no';
}

const isUnbound = (replica: Replica, { from }: PreVote | Vote): boolean =>
  replica.vote === from || (replica.vote === null && replica.leader === null);

function answerTo(replica: Replica, { position }: PreVote | Vote): Answer {
  if (isBefore(position, replica.claim)) return 'no';
  switch (replica.condition.kind) {
    case 'sound':
    case 'faulty':
      return 'yes';
    case 'recovering':
      return 'if-all';
    case 'suspect':
      return 'no';
  }
}

/** What a candidate says to itself. */
export const ownAnswer = (replica: Replica): Answer => {
  const { condition, shape } = replica;
  if (condition.kind === 'faulty' && !replica.isAlone && isBefore(shape.durable, condition.claims)) return 'no';
  return condition.kind === 'recovering' ? 'if-all' : 'yes';
};

/**
 * Whether it may ask for votes at all. Who is removed by a change that is not committed may: it can be the only one that has
 * the change in its log, and the others cannot win against it.
 */
export const mayCampaign = (replica: Replica): boolean => {
  const { condition, configurations, self } = replica;
  const isVoterYet = configurations.entries.some(({ configuration }) => isVoter(configuration, self));
  if (!isVoterYet || replica.isInstalling || condition.kind === 'suspect') return false;
  return condition.kind !== 'faulty' || condition.isWritable;
};

// Who belongs to a group, and in which part.
//
// While a change is under way the configuration is *joint*: `voters` is the new set, `outgoing` the old one, and what needs
// a majority needs one of each. A voter that becomes a learner stays in `outgoing` until the change is over and waits in
// `learnersNext`, so that nobody is voter and learner at once.

import type { ReplicaId } from './replica-id.ts';

export interface Configuration {
  readonly voters: ReadonlySet<ReplicaId>;
  /** The old voters while joint, else empty. */
  readonly outgoing: ReadonlySet<ReplicaId>;
  /** Invariant: disjoint from voters and outgoing. */
  readonly learners: ReadonlySet<ReplicaId>;
  /** Invariant: a subset of outgoing, disjoint from voters. */
  readonly learnersNext: ReadonlySet<ReplicaId>;
  /** The leader leaves the joint configuration by itself once it is committed. */
  readonly autoLeave: boolean;
}

export const configurationOf = (voters: Iterable<ReplicaId>, learners: Iterable<ReplicaId> = []): Configuration => ({
  voters: new Set(voters),
  outgoing: new Set(),
  learners: new Set(learners),
  learnersNext: new Set(),
  autoLeave: false,
});

export const isJoint = (configuration: Configuration): boolean => configuration.outgoing.size > 0;

/** In either set. */
export const isVoter = (configuration: Configuration, replica: ReplicaId): boolean =>
  configuration.voters.has(replica) || configuration.outgoing.has(replica);

/** All that the leader sends the log to. */
export const membersOf = (configuration: Configuration): ReadonlySet<ReplicaId> =>
  configuration.voters.union(configuration.outgoing).union(configuration.learners).union(configuration.learnersNext);

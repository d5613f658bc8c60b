// A configuration as the core has it, sets of replicas, and as the log and the store have it, lists of texts.

import type { StoredConfiguration } from '@sluice/protocol/record';
import type { Configuration } from '../raft/configuration.ts';
import { isReplicaId, type ReplicaId } from '../raft/replica-id.ts';

export const storedForm = (configuration: Configuration): StoredConfiguration => ({
  voters: [...configuration.voters],
  outgoing: [...configuration.outgoing],
  learners: [...configuration.learners],
  learnersNext: [...configuration.learnersNext],
  autoLeave: configuration.autoLeave,
});

/** Relies on the decoder, which checked every replica. */
export const coreForm = (stored: StoredConfiguration): Configuration => ({
  voters: replicasOf(stored.voters),
  outgoing: replicasOf(stored.outgoing),
  learners: replicasOf(stored.learners),
  learnersNext: replicasOf(stored.learnersNext),
  autoLeave: stored.autoLeave,
});

const replicasOf = (texts: readonly string[]): ReadonlySet<ReplicaId> => new Set(texts.filter(isReplicaId));

// From one configuration to the next, or the reason why not.
//
//   simple       at most one voter comes or goes, so that majorities of before and after overlap by themselves
//   enter joint  any number: old and new voters decide together
//   leave joint  the new voters alone
//
// Steps are carried out in order and are idempotent: removing who is absent, or adding who is there, changes nothing. A
// change is judged as a whole and never applied in part. Whether one may be proposed now is the leader's question.

import { type Configuration, isJoint } from './configuration.ts';
import type { ReplicaId } from './replica-id.ts';

export interface ChangeStep {
  readonly kind: 'add-voter' | 'add-learner' | 'remove';
  readonly replica: ReplicaId;
}

export type ConfigurationChange =
  | { readonly kind: 'simple'; readonly steps: readonly ChangeStep[] }
  | { readonly kind: 'enter-joint'; readonly steps: readonly ChangeStep[]; readonly autoLeave: boolean }
  | { readonly kind: 'leave-joint' };

export type ChangeRefusal = 'already-joint' | 'not-joint' | 'no-voters-before' | 'no-voters-left' | 'several-voters';

export type ChangedConfiguration =
  | { readonly ok: true; readonly configuration: Configuration }
  | { readonly ok: false; readonly refusal: ChangeRefusal };

interface Draft {
  readonly voters: Set<ReplicaId>;
  readonly outgoing: ReadonlySet<ReplicaId>;
  readonly learners: Set<ReplicaId>;
  readonly learnersNext: Set<ReplicaId>;
}

export const changed = (before: Configuration, change: ConfigurationChange): ChangedConfiguration => {
  switch (change.kind) {
    case 'simple':
      return simple(before, change.steps);
    case 'enter-joint':
      return enterJoint(before, change.steps, change.autoLeave);
    case 'leave-joint':
      return leaveJoint(before);
  }
};

function simple(before: Configuration, steps: readonly ChangeStep[]): ChangedConfiguration {
  if (isJoint(before)) return refused('already-joint');
  const draft = drafted(before, before.outgoing);
  for (const step of steps) take(draft, step);
  if (draft.voters.size === 0) return refused('no-voters-left');
  if (before.voters.symmetricDifference(draft.voters).size > 1) return refused('several-voters');
  return { ok: true, configuration: { ...draft, autoLeave: false } };
}

function enterJoint(before: Configuration, steps: readonly ChangeStep[], autoLeave: boolean): ChangedConfiguration {
  if (isJoint(before)) return refused('already-joint');
  if (before.voters.size === 0) return refused('no-voters-before');
  const draft = drafted(before, new Set(before.voters));
  for (const step of steps) take(draft, step);
  if (draft.voters.size === 0) return refused('no-voters-left');
  return { ok: true, configuration: { ...draft, autoLeave } };
}

function leaveJoint(before: Configuration): ChangedConfiguration {
  if (!isJoint(before)) return refused('not-joint');
  return {
    ok: true,
    configuration: {
      voters: before.voters,
      outgoing: new Set(),
      learners: before.learners.union(before.learnersNext),
      learnersNext: new Set(),
      autoLeave: false,
    },
  };
}

const drafted = (before: Configuration, outgoing: ReadonlySet<ReplicaId>): Draft => ({
  voters: new Set(before.voters),
  outgoing,
  learners: new Set(before.learners),
  learnersNext: new Set(before.learnersNext),
});

function take(draft: Draft, { kind, replica }: ChangeStep): void {
  draft.voters.delete(replica);
  draft.learners.delete(replica);
  draft.learnersNext.delete(replica);
  if (kind === 'add-voter') draft.voters.add(replica);
  // Still a voter of the old set: a learner only when that set is gone.
  else if (kind === 'add-learner') (draft.outgoing.has(replica) ? draft.learnersNext : draft.learners).add(replica);
}

const refused = (refusal: ChangeRefusal): ChangedConfiguration => ({ ok: false, refusal });

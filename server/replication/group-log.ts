// What a Raft group needs of the log that it replicates. Storage's PartitionLog is one as it stands; the simulation looks at
// one through it.
//
// Contract: appends are stamped, noted and queued in the step of the call. `cut` and `install` are the only changes that take more than a
// step: until their promise is settled nothing may be appended.

import type { LeaderEpoch, Offset } from '@sluice/protocol/ids';
import type { Position, StoredShape } from '../base/position.ts';
import type { ReplicaCondition } from '../base/replica-condition.ts';
import type { DamagedRange } from '../storage/damage.ts';
import type { FollowOutcome } from '../storage/log-reader.ts';
import type { AppendOutcome } from '../storage/log-appends.ts';
import type { RepairOutcome, RepairSource } from '../storage/log-repair.ts';
import type { LogListener, LogState } from '../storage/open-log.ts';

export interface GroupLog {
  readonly state: LogState;
  readonly startOffset: Offset;
  readonly endOffset: Offset;
  readonly durable: Position;
  readonly queuedBytes: number;
  readonly shape: StoredShape;
  readonly condition: ReplicaCondition;
  readonly damagedRanges: readonly DamagedRange[];
  append(batches: readonly Uint8Array[], epoch: LeaderEpoch): AppendOutcome;
  appendEpochStart(epoch: LeaderEpoch): AppendOutcome;
  /** Stamped already; they follow the end. */
  appendReplicated(batches: readonly Uint8Array[]): AppendOutcome;
  cut(to: Position): Promise<void>;
  install(base: Position): Promise<void>;
  advanceStart(start: Offset): Promise<void>;
  /** Everything below is committed: it is never cut. */
  noteCommitted(to: Offset): void;
  readAfter(position: Position, limits: { readonly bytesMax: number }): Promise<FollowOutcome>;
  /** What was missing when the log was opened is here again; durable when settled. */
  clearFault(): Promise<void>;
  /** Fetches the first thing that is damaged again. One at a time. */
  repair(source: RepairSource): Promise<RepairOutcome>;
}

/**
 * A log is opened before its group, and tells what becomes of it to whoever it was opened with: this one, which passes it on. What
 * happened before the group is there is in the shape that the group begins with.
 */
export class LogNews implements LogListener {
  /** Hears first of what the log gave up. */
  readonly #first: Partial<Pick<LogListener, 'dropped'>>;
  #group: LogListener | null = null;

  constructor(first: Partial<Pick<LogListener, 'dropped'>> = {}) {
    this.#first = first;
  }

  attach(group: LogListener): void {
    this.#group = group;
  }

  durable(notice: Parameters<LogListener['durable']>[0]): void {
    this.#group?.durable(notice);
  }

  dropped(state: 'full' | 'failed', endOffset: Offset): void {
    this.#first.dropped?.(state, endOffset);
    this.#group?.dropped(state, endOffset);
  }
}

/** What the core is to know of the log's state. A log that takes nothing, if only for now, takes no part but to answer. */
export const conditionOf = (log: GroupLog): ReplicaCondition => {
  const { condition } = log;
  if (log.state === 'open' || condition.kind === 'suspect') return condition;
  if (condition.kind === 'faulty') return { ...condition, isWritable: false };
  const { durable } = log;
  return { kind: 'faulty', claims: durable, soundTo: durable, isWritable: false, reason: `the log is ${log.state}` };
};

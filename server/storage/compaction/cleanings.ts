// When which part of a log was first cleaned: a record without a value says that its key is gone, and is kept for a time behind its first
// cleaning, so that a reader who was given an older value meanwhile comes past it.
//
//   ├──── at 10:00 ────┼── at 10:20 ──┼─ at 10:21 ─┤            cleaned up to the last `to`
//                     to             to           to
//
// Bounded: cleanings that follow each other within a small part of the retention count as one, at the later time. Nothing goes too early.
//
// Invariant: `to` and `atMs` both rise.

import { type Offset, offset } from '@sluice/protocol/ids';

export interface Cleaning {
  readonly to: Offset;
  readonly atMs: number;
}

/** The retention is judged this exactly. */
const STEPS = 32;
/** Whatever the retention is changed to, there are no more. */
const CLEANINGS_MAX = 3 * STEPS;

/** After one more cleaning. */
export const withCleaning = (
  cleanings: readonly Cleaning[],
  next: Cleaning,
  deleteRetentionMs: number,
): readonly Cleaning[] => {
  const { atMs } = next;
  const kept = cleanings.filter(({ to }) => to < next.to);
  // The last one that is old enough says it for all before it.
  const expired = kept.findLastIndex(cleaning => atMs - cleaning.atMs > deleteRetentionMs);
  if (expired > 0) kept.splice(0, expired);
  const before = kept.at(-2);
  const last = kept.at(-1);
  const isNear = (early: Cleaning | undefined): boolean =>
    early !== undefined && atMs - early.atMs < deleteRetentionMs / STEPS;
  // Clocks are set back at times.
  while (kept.length > 0 && kept.at(-1)!.atMs >= atMs) kept.pop();
  if (last !== undefined && kept.at(-1) === last && isNear(before)) kept.pop();
  kept.push(next);
  while (kept.length > CLEANINGS_MAX) kept.splice(1, 1);
  return kept;
};

/** Below it every record was first cleaned longer ago than the retention. */
export const expiredBelow = (
  cleanings: readonly Cleaning[],
  { nowMs, deleteRetentionMs }: { readonly nowMs: number; readonly deleteRetentionMs: number },
): Offset => cleanings.findLast(({ atMs }) => nowMs - atMs > deleteRetentionMs)?.to ?? offset(0);

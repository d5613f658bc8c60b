// What a follower does with an append, as a function of its log's shape. Offsets can have gaps after compaction, so that
// lengths and last offsets say nothing; what is compared is under which epoch each offset lies.
//
// 1. Match: `prev` is at or before what is known to be committed, or the log holds that position. Otherwise the answer
//    is the last own position before it, and the leader steps back an epoch at a time.
// 2. Cut: at the first point after `prev`, up to the end of the request, where the epochs differ; points in gaps count, and
//    so does an own epoch start at the very end of the log. What lies in a gap under equal epochs stays. An own log that
//    goes on beyond the end of the request is no difference: the request may be an old one.
//    Compaction keeps the last batch of each epoch, if only without records, so that the point is always the end of a batch.
// 3. Append what is not held. What is held under the same epoch is skipped, whatever its bytes: one side may be compacted. Where batches
//    are gone for good the leader may have one gap that reaches from what is held to what is not: of it only the rest is appended.
// 4. The request matched up to its end, never further, wherever the own log ends.

import { assert } from '../base/assert.ts';
import { type EpochStart, isBefore, later, type Position, textOf } from '../base/position.ts';
import type { LogShape } from './log-shape.ts';
import { type Append, type Batch, positionOfBatch } from './message.ts';

export type AppendJudgement =
  | { readonly kind: 'rejected'; readonly hint: Position }
  | {
      readonly kind: 'matched';
      /** The log ends here before anything is appended; null: nothing is cut. */
      readonly cutTo: Position | null;
      readonly batches: readonly Batch[];
      readonly matched: Position;
    };

type Request = Pick<Append, 'prev' | 'batches'>;

/** `settled`: at or before it, what a leader sends and what the log holds are the same. */
export function judgeAppend(request: Request, shape: LogShape, settled: Position): AppendJudgement {
  const { prev, batches } = request;
  if (isBefore(settled, prev) && !shape.holds(prev)) {
    const hint = shape.floor(prev);
    assert(hint !== null, `${textOf(prev)} lies above ${textOf(settled)}, which is not below the base`);
    return { kind: 'rejected', hint };
  }
  const last = batches.at(-1);
  const end = last === undefined ? prev : positionOfBatch(last);
  const from = later(prev, settled);
  const matched = later(end, from);
  if (!isBefore(from, end)) return { kind: 'matched', cutTo: null, batches: [], matched };
  const cutTo = firstDifference({ from, end, batches }, shape);
  const ownEnd = cutTo ?? shape.end;
  const missing = batches.filter(batch => isBefore(ownEnd, positionOfBatch(batch)));
  const [first, ...rest] = missing;
  if (first === undefined || first.baseOffset >= ownEnd.offset) {
    return { kind: 'matched', cutTo, batches: missing, matched };
  }
  assert(first.kind === 'gap', `the log ends in a batch at ${textOf(ownEnd)}`);
  return { kind: 'matched', cutTo, batches: [{ ...first, baseOffset: ownEnd.offset }, ...rest], matched };
}

interface Range {
  readonly from: Position;
  readonly end: Position;
  readonly batches: readonly Batch[];
}

/** Up to where the epochs are the same, if they are not the same up to the end of the range or of the own log. */
function firstDifference({ from, end, batches }: Range, shape: LogShape): Position | null {
  const own = shape.startsAfter(from);
  const theirs: EpochStart[] = batches
    .filter(batch => batch.kind === 'epoch-start' && isBefore(from, positionOfBatch(batch)))
    .map(startOf);
  let epoch = from.epoch;
  for (let index = 0; ; index++) {
    const mine = own[index];
    const other = theirs[index];
    if (mine !== undefined && other !== undefined && mine.epoch === other.epoch) {
      if (mine.startOffset === other.startOffset) {
        epoch = mine.epoch;
        continue;
      }
    }
    // Both logs are the same up to here, and under `epoch` until one of them ends it.
    if (other === undefined) {
      const isBeyond = mine === undefined || mine.startOffset >= end.offset;
      return isBeyond ? null : { epoch, offset: mine.startOffset };
    }
    const ownEndOffset = mine?.startOffset ?? shape.end.offset;
    if (mine === undefined && ownEndOffset <= other.startOffset) return null;
    const offset = ownEndOffset < other.startOffset ? ownEndOffset : other.startOffset;
    return { epoch, offset };
  }
}

/** Whether the batches can stand in one log after `prev`. Those that cannot are a fault of the sender. */
export function isWellFormed({ prev, batches, term, commit }: Append): boolean {
  let before = prev;
  for (const batch of batches) {
    const isStart = batch.kind === 'epoch-start';
    const spans = isStart ? batch.endOffset === batch.baseOffset : batch.endOffset > batch.baseOffset;
    const follows = isStart ? batch.epoch > before.epoch : batch.epoch === before.epoch;
    if (!spans || !follows || batch.baseOffset < before.offset || batch.epoch > term) return false;
    before = positionOfBatch(batch);
  }
  return prev.epoch <= term && commit.epoch <= term;
}

export const startOf = (batch: Batch): EpochStart => ({ epoch: batch.epoch, startOffset: batch.baseOffset });

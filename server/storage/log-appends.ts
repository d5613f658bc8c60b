// What is appended to one log: checked, stamped or found in its place, noted in the active segment and queued, all in one step. When a
// segment ends is decided here.

import { type LeaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import {
  encodeEpochStart,
  isEpochStart,
  readBaseOffset,
  readLastOffsetDelta,
  readLeaderEpoch,
  readMaxTimestamp,
  readRecordCount,
  stampBatch,
} from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { PENDING_LOG_BYTES_MAX } from '../base/limits.ts';
import type { LogPump } from './log-pump.ts';
import type { LogSettings } from './log-settings.ts';
import type { OpenLog } from './open-log.ts';
import { Segment } from './segment.ts';

export type AppendRefusal = 'full' | 'failed' | 'closed' | 'backlog';

export type AppendOutcome =
  | { readonly ok: true; readonly baseOffset: Offset; readonly endOffset: Offset }
  | { readonly ok: false; readonly refusal: AppendRefusal };

/** Whether a batch begins a segment of its own behind this one. Decided by content and batch timestamps only. */
export const needsRoll = (
  active: Segment,
  {
    batch,
    endOffset,
    settings,
  }: { readonly batch: Uint8Array; readonly endOffset: Offset; readonly settings: LogSettings },
): boolean => {
  if (active.isEmpty) return false;
  if (active.byteLength + batch.length > settings.segmentBytes) return true;
  if (endOffset - active.baseOffset > 0x7fffffff || active.byteLength + batch.length > 0x7fffffff) return true;
  // A batch without records dates nothing: an election among old records is no reason to roll.
  const isDated = active.firstTimestamp !== null && readRecordCount(batch, 0) > 0;
  if (isDated && readMaxTimestamp(batch, 0) - active.firstTimestamp! > settings.segmentMs) return true;
  const indexes = active.indexes;
  assert(indexes !== null, 'the active segment has its indexes in memory');
  return indexes.offsets.byteLength + 8 > settings.segmentIndexBytes;
};

export class LogAppends {
  readonly #log: OpenLog;
  readonly #pump: LogPump;

  constructor(log: OpenLog, pump: LogPump) {
    this.#log = log;
    this.#pump = pump;
  }

  /** Takes ownership of a leader's batches, stamps and queues them. They were inspected by the caller. */
  append(batches: readonly Uint8Array[], epoch: LeaderEpoch): AppendOutcome {
    const refusal = this.#refusal(batches);
    if (refusal !== null) return { ok: false, refusal };
    assert(epoch === this.#log.epochs.latest, `a batch of epoch ${epoch} in epoch ${this.#log.epochs.latest}`);
    const baseOffset = this.#log.endOffset;
    for (const batch of batches) {
      stampBatch(batch, { baseOffset: this.#log.endOffset, leaderEpoch: epoch });
      this.#appendOne(batch);
    }
    this.#pump.start();
    return { ok: true, baseOffset, endOffset: this.#log.endOffset };
  }

  /** The first entry of a leader: what comes next is of its epoch. */
  appendEpochStart(epoch: LeaderEpoch): AppendOutcome {
    const refusal = this.#refusal([]);
    if (refusal !== null) return { ok: false, refusal };
    const timestamp = this.#log.context.clock.wallMs();
    return this.appendReplicated([encodeEpochStart({ epoch, baseOffset: this.#log.endOffset, timestamp })]);
  }

  /** Takes ownership of batches that another leader stamped, epoch starts among them: their place must be the end of the log. */
  appendReplicated(batches: readonly Uint8Array[]): AppendOutcome {
    const refusal = this.#refusal(batches);
    if (refusal !== null) return { ok: false, refusal };
    const baseOffset = this.#log.endOffset;
    for (const batch of batches) {
      const epoch = readLeaderEpoch(batch, 0);
      assert(
        readBaseOffset(batch, 0) === this.#log.endOffset,
        `a batch for ${readBaseOffset(batch, 0)} at ${this.#log.endOffset}`,
      );
      if (isEpochStart(batch, 0)) this.#log.epochs.start(epoch, this.#log.endOffset);
      else assert(epoch === this.#log.epochs.latest, `a batch of epoch ${epoch} in epoch ${this.#log.epochs.latest}`);
      this.#appendOne(batch);
    }
    this.#pump.start();
    return { ok: true, baseOffset, endOffset: this.#log.endOffset };
  }

  #refusal(batches: readonly Uint8Array[]): AppendRefusal | null {
    if (this.#log.state !== 'open') return this.#log.state;
    assert(!this.#log.isCutting, 'nothing is appended during a cut');
    let bytes = 0;
    for (const batch of batches) bytes += batch.length;
    return this.#log.queue.bytes > 0 && this.#log.queue.bytes + bytes > PENDING_LOG_BYTES_MAX ? 'backlog' : null;
  }

  /** A stamped batch whose epoch is the latest. */
  #appendOne(batch: Uint8Array): void {
    const log = this.#log;
    const endOffset = offset(log.endOffset + readLastOffsetDelta(batch, 0) + 1);
    const segment = this.#segmentFor(batch, endOffset);
    const position = segment.byteLength;
    segment.noteBatch(batch, 0, { batchBytes: batch.length, indexInterval: log.settings.indexIntervalBytes });
    const end = { epoch: log.epochs.latest, offset: endOffset };
    log.queue.push({ batch, segment, position, end, latest: segment.latest });
    log.tail.push(batch);
    log.producers.appended(batch);
    log.endOffset = endOffset;
  }

  /** The active segment, or a new one where the batch does not belong into it. */
  #segmentFor(batch: Uint8Array, endOffset: Offset): Segment {
    const active = this.#log.segments.at(-1);
    if (active !== undefined && !needsRoll(active, { batch, endOffset, settings: this.#log.settings })) return active;
    active?.noteSealed();
    this.#log.producers.rolled();
    const segment = new Segment(this.#log.directory, this.#log.endOffset);
    this.#log.segments.push(segment);
    return segment;
  }
}

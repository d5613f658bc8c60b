// The state of one open log, which those share that work on it: appends (log-appends.ts), what writes and syncs them (log-writer.ts), cuts
// (log-cut.ts), retention (log-retention.ts), failures (log-failures.ts) and reads (log-reader.ts, which changes nothing but what is known
// of damage).
//
// Invariants
// - startOffset <= durable.offset <= endOffset; positions of durable and end too. `end.epoch` is the epoch map's latest.
// - Segments and their indexes may be ahead of the disk, and behind the end while a cut is under way.

import type { Offset } from '@sluice/protocol/ids';
import type { DurableNotice, Position } from '../base/position.ts';
import type { DiskFault } from '../io/disk.ts';
import { AppendQueue } from './append-queue.ts';
import type { DamageMap } from './damage.ts';
import type { EpochMap } from './epoch-map.ts';
import type { LogContext } from './log-context.ts';
import type { LogMarks } from './log-marks.ts';
import type { LogView } from './log-reader.ts';
import type { LogSettings } from './log-settings.ts';
import { ProducerState } from './producer-state.ts';
import type { RecoveredLog } from './recovery.ts';
import type { Segment } from './segment.ts';
import type { LogTail } from './tail-cache.ts';

/** `full` opens again by itself; `failed` and `closed` last until the next start. */
export type LogState = 'open' | 'full' | 'failed' | 'closed';

export interface LogListener {
  /** Everything up to the position is durable, as the flush mode says. A notice of an older generation is never sent. */
  durable(notice: DurableNotice): void;
  /** What was appended at or above `endOffset` will never be durable. */
  dropped(state: 'full' | 'failed', endOffset: Offset): void;
}

export interface OpenLogParts {
  readonly context: LogContext;
  readonly directory: string;
  /** Names the log in the node's store: topic id and partition. */
  readonly key: string;
  readonly settings: LogSettings;
  readonly listener: LogListener;
  readonly marks: LogMarks;
}

export class OpenLog {
  readonly directory: string;
  readonly key: string;
  readonly context: LogContext;
  readonly marks: LogMarks;
  readonly listener: LogListener;
  readonly tail: LogTail;
  /** In offset order; the last one is active. */
  readonly segments: Segment[];
  readonly epochs: EpochMap;
  readonly damage: DamageMap;
  readonly queue = new AppendQueue();
  readonly producers: ProducerState;
  settings: LogSettings;
  state: LogState = 'open';
  fault: DiskFault | null = null;
  /** Raised by each cut and install. */
  generation: number;
  /** Raised when a segment takes the place of others, and again when its files have taken their names (segment-replacement.ts). */
  replacements = 0;
  startOffset: Offset;
  endOffset: Offset;
  durable: Position;
  /** From the call of `cut` or `install` until the files follow nothing may be appended: segments are behind the end. */
  isCutting = false;
  /** Written and not yet synced; only in flush mode `interval`, or while a sync is under way. */
  unsyncedRecords = 0;
  unsyncedBytes = 0;
  /** Written since the last sync point was handed to the store. */
  unmarkedBytes = 0;

  constructor(parts: OpenLogParts, recovered: RecoveredLog) {
    this.directory = parts.directory;
    this.key = parts.key;
    this.context = parts.context;
    this.settings = parts.settings;
    this.listener = parts.listener;
    this.marks = parts.marks;
    this.tail = parts.context.tailCache.newTail();
    this.segments = recovered.segments;
    this.epochs = recovered.epochs;
    this.damage = recovered.damage;
    this.producers = new ProducerState(parts.context, parts.directory);
    this.generation = recovered.generation;
    this.startOffset = recovered.startOffset;
    this.endOffset = recovered.end.offset;
    this.durable = recovered.end;
  }

  /** The position behind the last batch, durable or not. */
  get end(): Position {
    return { epoch: this.epochs.latest, offset: this.endOffset };
  }

  get byteLength(): number {
    let total = 0;
    for (const segment of this.segments) total += segment.byteLength;
    return total;
  }

  /** What the reader may see: always the current state, never a copy. */
  view(): LogView {
    return {
      directory: this.directory,
      segments: this.segments,
      epochs: this.epochs,
      damage: this.damage,
      tail: this.tail,
      startOffset: () => this.startOffset,
      durableOffset: () => this.durable.offset,
      end: () => this.end,
      generation: () => this.generation,
      replacements: () => this.replacements,
      indexInterval: () => this.settings.indexIntervalBytes,
    };
  }
}

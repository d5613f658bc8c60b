// The settings of a topic that its logs act on. Names and defaults are Kafka's; broker/topic-settings.ts reads them.

export type FlushMode = 'sync' | 'interval';

/** Of a log that keeps the newest record of each key. */
export interface CompactionSettings {
  /** Cleaned once this share of what can be cleaned was not cleaned before. */
  readonly minDirtyRatio: number;
  /** A record is left alone for this long, and one that is older than the other is a reason to clean. */
  readonly minLagMs: number;
  readonly maxLagMs: number;
  /** How long it is told that a key is gone. */
  readonly deleteRetentionMs: number;
  /** Who wrote nothing for this long is no producer that anybody remembers. */
  readonly producerSilenceMs: number;
}

export interface LogSettings {
  readonly segmentBytes: number;
  readonly segmentMs: number;
  readonly segmentIndexBytes: number;
  readonly indexIntervalBytes: number;
  /** Infinity: keep for ever. */
  readonly retentionMs: number;
  readonly retentionBytes: number;
  /** False when the topic is only compacted: nothing is deleted by time or size. */
  readonly retentionDeletes: boolean;
  /** Null: records go by age and size alone. */
  readonly compaction: CompactionSettings | null;
  readonly flushMode: FlushMode;
  /** For `interval`: a sync at the latest after this long, or this many records. */
  readonly flushMs: number;
  readonly flushMessages: number;
}

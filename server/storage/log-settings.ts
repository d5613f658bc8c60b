// The settings of a topic that its logs act on. Names and defaults are Kafka's; broker/topic-settings.ts reads them.

export type FlushMode = 'sync' | 'interval';

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
  readonly flushMode: FlushMode;
  /** For `interval`: a sync at the latest after this long, or this many records. */
  readonly flushMs: number;
  readonly flushMessages: number;
}

// What a partition acts on: the settings of its topic, of the broker and the defaults, merged and as numbers.

import { effectiveValue, type TopicConfig, type TopicConfigName } from '../base/topic-config.ts';
import type { CompactionSettings, FlushMode, LogSettings } from '../storage/log-settings.ts';

export interface TopicSettings {
  readonly log: LogSettings;
  readonly batchBytesMax: number;
  readonly timestampType: 'CreateTime' | 'LogAppendTime';
  readonly timestampAfterMaxMs: number;
  readonly timestampBeforeMaxMs: number;
  readonly minInsyncReplicas: number;
  /** Producers that were silent for longer are forgotten. */
  readonly producerSilenceMs: number;
}

/** Numbers beyond 2^53 mean "no limit" in everything that they bound. */
const numberOf = (text: string): number => {
  const value = Number(text);
  return value > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value;
};

export const topicSettings = (config: TopicConfig, brokerDefaults: TopicConfig): TopicSettings => {
  const text = (name: TopicConfigName): string => effectiveValue(name, config, brokerDefaults).value;
  const number = (name: TopicConfigName): number => numberOf(text(name));
  const limit = (name: TopicConfigName): number => (number(name) < 0 ? Number.POSITIVE_INFINITY : number(name));
  const policies = text('cleanup.policy').split(',');
  const compaction: CompactionSettings | null = policies.includes('compact')
    ? {
        minDirtyRatio: number('min.cleanable.dirty.ratio'),
        minLagMs: number('min.compaction.lag.ms'),
        maxLagMs: number('max.compaction.lag.ms'),
        deleteRetentionMs: number('delete.retention.ms'),
        producerSilenceMs: number('producer.id.expiration.ms'),
      }
    : null;
  return {
    log: {
      segmentBytes: number('segment.bytes'),
      // The active segment is never cleaned, so it must not be older than a record may stay dirty.
      segmentMs: Math.min(number('segment.ms'), compaction?.maxLagMs ?? Number.POSITIVE_INFINITY),
      segmentIndexBytes: number('segment.index.bytes'),
      indexIntervalBytes: number('index.interval.bytes'),
      retentionMs: limit('retention.ms'),
      retentionBytes: limit('retention.bytes'),
      retentionDeletes: policies.includes('delete'),
      compaction,
      flushMode: text('flush.mode') as FlushMode,
      flushMs: number('flush.ms'),
      flushMessages: number('flush.messages'),
    },
    batchBytesMax: number('max.message.bytes'),
    timestampType: text('message.timestamp.type') as TopicSettings['timestampType'],
    timestampAfterMaxMs: number('message.timestamp.after.max.ms'),
    timestampBeforeMaxMs: number('message.timestamp.before.max.ms'),
    minInsyncReplicas: number('min.insync.replicas'),
    producerSilenceMs: number('producer.id.expiration.ms'),
  };
};

/** Of the log of the cluster's metadata, whose start follows its snapshots and nothing else. */
export const METADATA_LOG_SETTINGS: LogSettings = {
  ...topicSettings({}, {}).log,
  segmentBytes: 16 * 1024 * 1024,
  segmentMs: Number.POSITIVE_INFINITY,
  retentionMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  retentionDeletes: false,
};

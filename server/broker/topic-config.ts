// Topic settings: Kafka's names and defaults, as far as they have an effect here. A setting without an effect is not
// accepted, so that nobody relies on it.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { BODY_BYTES_MAX } from '../base/limits.ts';
import type { FlushMode, LogSettings } from '../storage/log-settings.ts';
import type { ConfigEntry } from './broker.ts';

type Rule =
  | { readonly kind: 'integer'; readonly min: number; readonly max: number; readonly byDefault: string }
  | { readonly kind: 'choice'; readonly choices: readonly string[]; readonly byDefault: string };

/** Kafka's Long.MAX_VALUE: "never" and "no limit". */
const LONG_MAX = '9223372036854775807';
const DAY_MS = 24 * 60 * 60 * 1_000;

const integer = (byDefault: string, min: number, max: number): Rule => ({ kind: 'integer', min, max, byDefault });
const long = (byDefault: string, min: number): Rule => integer(byDefault, min, Number.POSITIVE_INFINITY);
const choice = (byDefault: string, choices: readonly string[]): Rule => ({ kind: 'choice', choices, byDefault });

const INT_MAX = 0x7fffffff;

export const topicConfigRules = {
  'cleanup.policy': choice('delete', ['delete']),
  'compression.type': choice('producer', ['producer']),
  'flush.messages': long(LONG_MAX, 1),
  'flush.mode': choice('sync', ['sync', 'interval']),
  'flush.ms': long(LONG_MAX, 0),
  'index.interval.bytes': integer('4096', 0, INT_MAX),
  'max.message.bytes': integer('1048588', 128, BODY_BYTES_MAX),
  'message.timestamp.after.max.ms': long('3600000', 0),
  'message.timestamp.before.max.ms': long(LONG_MAX, 0),
  'message.timestamp.type': choice('CreateTime', ['CreateTime', 'LogAppendTime']),
  'min.insync.replicas': integer('1', 1, INT_MAX),
  'retention.bytes': long('-1', -1),
  'retention.ms': long(String(7 * DAY_MS), -1),
  'segment.bytes': integer('1073741824', 14, INT_MAX),
  'segment.index.bytes': integer('10485760', 24, INT_MAX),
  'segment.ms': long(String(7 * DAY_MS), 1),
} as const satisfies Record<string, Rule>;

export type TopicConfigName = keyof typeof topicConfigRules;

export type TopicConfig = Readonly<Partial<Record<TopicConfigName, string>>>;

export const topicConfigNames = Object.keys(topicConfigRules) as TopicConfigName[];

const isTopicConfigName = (name: string): name is TopicConfigName => Object.hasOwn(topicConfigRules, name);

const valueFault = (rule: Rule, value: string): string | null => {
  if (rule.kind === 'choice') {
    return rule.choices.includes(value) ? null : `must be ${rule.choices.map(known => `"${known}"`).join(' or ')}`;
  }
  if (!/^-?\d{1,19}$/.test(value)) return 'must be an integer';
  const number = BigInt(value);
  const max = Number.isFinite(rule.max) ? BigInt(rule.max) : BigInt(LONG_MAX);
  return number >= BigInt(rule.min) && number <= max ? null : `must be between ${rule.min} and ${max}`;
};

/** Values in the spelling in which they read back. */
const canonical = (rule: Rule, value: string): string => (rule.kind === 'integer' ? String(BigInt(value)) : value);

export const checkTopicConfig = (entries: Readonly<Record<string, string>>): Result<TopicConfig, 'INVALID_CONFIG'> => {
  const config: Partial<Record<TopicConfigName, string>> = {};
  for (const [name, value] of Object.entries(entries)) {
    if (!isTopicConfigName(name)) {
      return refused('INVALID_CONFIG', `unknown topic setting "${name}"`, { name });
    }
    const rule: Rule = topicConfigRules[name];
    const fault = valueFault(rule, value);
    if (fault !== null) return refused('INVALID_CONFIG', `${name} ${fault}, not "${value}"`, { name });
    config[name] = canonical(rule, value);
  }
  return accepted(config);
};

/** What a partition acts on. */
export interface TopicSettings {
  readonly log: LogSettings;
  readonly batchBytesMax: number;
  readonly timestampType: 'CreateTime' | 'LogAppendTime';
  readonly timestampAfterMaxMs: number;
  readonly timestampBeforeMaxMs: number;
  readonly minInsyncReplicas: number;
}

export const effectiveValue = (
  name: TopicConfigName,
  config: TopicConfig,
  brokerDefaults: TopicConfig,
): ConfigEntry => {
  const own = config[name];
  if (own !== undefined) return { name, value: own, source: 'topic' };
  const fromBroker = brokerDefaults[name];
  if (fromBroker !== undefined) return { name, value: fromBroker, source: 'broker' };
  return { name, value: topicConfigRules[name].byDefault, source: 'default' };
};

export const describeTopicConfig = (config: TopicConfig, brokerDefaults: TopicConfig): readonly ConfigEntry[] =>
  topicConfigNames.map(name => effectiveValue(name, config, brokerDefaults));

/** Numbers beyond 2^53 mean "no limit" in everything that they bound. */
const numberOf = (text: string): number => {
  const value = Number(text);
  return value > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value;
};

export const topicSettings = (config: TopicConfig, brokerDefaults: TopicConfig): TopicSettings => {
  const text = (name: TopicConfigName): string => effectiveValue(name, config, brokerDefaults).value;
  const number = (name: TopicConfigName): number => numberOf(text(name));
  const limit = (name: TopicConfigName): number => (number(name) < 0 ? Number.POSITIVE_INFINITY : number(name));
  return {
    log: {
      segmentBytes: number('segment.bytes'),
      segmentMs: number('segment.ms'),
      segmentIndexBytes: number('segment.index.bytes'),
      indexIntervalBytes: number('index.interval.bytes'),
      retentionMs: limit('retention.ms'),
      retentionBytes: limit('retention.bytes'),
      retentionDeletes: text('cleanup.policy') === 'delete',
      flushMode: text('flush.mode') as FlushMode,
      flushMs: number('flush.ms'),
      flushMessages: number('flush.messages'),
    },
    batchBytesMax: number('max.message.bytes'),
    timestampType: text('message.timestamp.type') as TopicSettings['timestampType'],
    timestampAfterMaxMs: number('message.timestamp.after.max.ms'),
    timestampBeforeMaxMs: number('message.timestamp.before.max.ms'),
    minInsyncReplicas: number('min.insync.replicas'),
  };
};

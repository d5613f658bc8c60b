// Topic settings: Kafka's names and defaults, as far as they have an effect here. A setting without an effect is not
// accepted, so that nobody relies on it. Pure: whoever judges a setting (the broker's own file, a request, the metadata of
// the cluster) judges it here.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { BODY_BYTES_MAX } from './limits.ts';

type Rule =
  | { readonly kind: 'integer'; readonly min: number; readonly max: number; readonly byDefault: string }
  /** Of a whole: from 0 to 1. */
  | { readonly kind: 'share'; readonly byDefault: string }
  | { readonly kind: 'choice'; readonly choices: readonly string[]; readonly byDefault: string };

/** Kafka's Long.MAX_VALUE: "never" and "no limit". */
const LONG_MAX = '9223372036854775807';
const DAY_MS = 24 * 60 * 60 * 1_000;

const integer = (byDefault: string, min: number, max: number): Rule => ({ kind: 'integer', min, max, byDefault });
const long = (byDefault: string, min: number): Rule => integer(byDefault, min, Number.POSITIVE_INFINITY);
const choice = (byDefault: string, choices: readonly string[]): Rule => ({ kind: 'choice', choices, byDefault });

const INT_MAX = 0x7fffffff;

export const topicConfigRules = {
  'cleanup.policy': choice('delete', ['delete', 'compact', 'compact,delete', 'delete,compact']),
  'compression.type': choice('producer', ['producer']),
  'delete.retention.ms': long(String(DAY_MS), 0),
  'flush.messages': long(LONG_MAX, 1),
  'flush.mode': choice('sync', ['sync', 'interval']),
  'flush.ms': long(LONG_MAX, 0),
  'index.interval.bytes': integer('4096', 0, INT_MAX),
  'max.compaction.lag.ms': long(LONG_MAX, 1),
  'max.message.bytes': integer('1048588', 128, BODY_BYTES_MAX),
  'message.timestamp.after.max.ms': long('3600000', 0),
  'message.timestamp.before.max.ms': long(LONG_MAX, 0),
  'message.timestamp.type': choice('CreateTime', ['CreateTime', 'LogAppendTime']),
  'min.cleanable.dirty.ratio': { kind: 'share', byDefault: '0.5' },
  'min.compaction.lag.ms': long('0', 0),
  'min.insync.replicas': integer('1', 1, INT_MAX),
  'producer.id.expiration.ms': long(String(DAY_MS), 60_000),
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
  if (rule.kind === 'share') {
    return /^(0(\.\d{1,6})?|1(\.0{1,6})?)$/.test(value) ? null : 'must be between 0 and 1';
  }
  if (!/^-?\d{1,19}$/.test(value)) return 'must be an integer';
  const number = BigInt(value);
  const max = Number.isFinite(rule.max) ? BigInt(rule.max) : BigInt(LONG_MAX);
  return number >= BigInt(rule.min) && number <= max ? null : `must be between ${rule.min} and ${max}`;
};

/** Values in the spelling in which they read back. */
const canonical = (rule: Rule, value: string): string => {
  if (rule.kind === 'share') return String(Number(value));
  return rule.kind === 'integer' ? String(BigInt(value)) : value;
};

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
  const lag = (name: 'min.compaction.lag.ms' | 'max.compaction.lag.ms'): bigint =>
    BigInt(config[name] ?? topicConfigRules[name].byDefault);
  if (lag('min.compaction.lag.ms') > lag('max.compaction.lag.ms')) {
    const name = 'min.compaction.lag.ms';
    return refused('INVALID_CONFIG', `${name} must not be above max.compaction.lag.ms`, { name });
  }
  return accepted(config);
};

/** The settings after a change; null deletes one, and to delete what is not set is no fault. */
export const changeTopicConfig = (
  current: TopicConfig,
  changes: Readonly<Record<string, string | null>>,
): Result<TopicConfig, 'INVALID_CONFIG'> => {
  const merged = new Map(Object.entries(current));
  for (const [name, value] of Object.entries(changes)) {
    if (!isTopicConfigName(name)) return refused('INVALID_CONFIG', `unknown topic setting "${name}"`, { name });
    if (value === null) merged.delete(name);
    else merged.set(name, value);
  }
  return checkTopicConfig(Object.fromEntries(merged));
};

/** Why a record without a key is refused: nothing would ever take its place. */
export const KEY_REQUIRED = 'the topic is compacted (cleanup.policy), so every record needs a key';

export type ConfigSource = 'topic' | 'broker' | 'default';

/** One setting in force. */
export interface ConfigEntry {
  readonly name: string;
  readonly value: string;
  readonly source: ConfigSource;
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

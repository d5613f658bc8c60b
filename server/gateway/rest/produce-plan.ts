// What the path and the query of a produce request settle before its body is read, and what every body's records are
// measured against.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import type { Codec } from '@sluice/protocol/record';
import { assert } from '../../base/assert.ts';
import type { Acks, Broker, TopicView } from '../../broker/broker.ts';
import type { Clock } from '../../io/clock.ts';
import type { GatewayContext } from '../gateway.ts';
import { structureFault } from '../json-text.ts';
import type { BuilderPool } from '../partition-batches.ts';
import type { PartitionChoice } from '../partition-choice.ts';
import type { WrittenRecord } from '../record-json.ts';
import { ABSENT, bareValue } from '../record-json.ts';
import { unknownPartition } from '../topic-lookup.ts';
import type { Query } from './contract.ts';
import type { Exchange } from './exchange.ts';
import { parsePointer, pointedKey } from './key-pointer.ts';
import { findPartition, findTopic } from './topic-lookup.ts';

/** Where the records of one request go and how. */
export interface ProducePlan {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly choice: PartitionChoice;
  readonly pool: BuilderPool;
  readonly topic: TopicView;
  /** From the path; null lets records choose. */
  readonly partition: number | null;
  readonly acks: Acks;
  readonly timeoutMs: number;
  readonly codec: Codec;
  /** Each JSON text is the value itself. */
  readonly isBare: boolean;
  /** Where in a bare value its key is; null for no keys. */
  readonly keyPointer: readonly string[] | null;
}

/** What the requests of a door have in common. */
export interface SharedState {
  readonly choice: PartitionChoice;
  readonly pool: BuilderPool;
}

const ACKS: Readonly<Record<string, Acks>> = { all: 'all', 1: 'leader', 0: 'none' };

export const makePlan = (
  context: GatewayContext,
  { choice, pool }: SharedState,
  { exchange, query }: { readonly exchange: Exchange; readonly query: Query },
): Result<ProducePlan> => {
  const { broker, clock } = context;
  const topic = findTopic(broker, exchange);
  if (!topic.ok) return topic;
  let partition: number | null = null;
  if (exchange.params['partition'] !== undefined) {
    const found = findPartition(exchange, topic.value);
    if (!found.ok) return found;
    partition = found.value;
  }
  const isBare = query['envelope'] === 'none';
  const pointer = query['key'];
  if (pointer !== undefined && !isBare) {
    return refused('INVALID_REQUEST', 'the query parameter key needs envelope=none', { field: 'key' });
  }
  const acks = ACKS[String(query['acks'])];
  assert(acks !== undefined, 'the schema lets no other acks through');
  return accepted({
    broker,
    clock,
    choice,
    pool,
    topic: topic.value,
    partition,
    acks,
    timeoutMs: Number(query['timeout_ms']),
    codec: query['compression'] as Codec,
    isBare,
    keyPointer: pointer === undefined ? null : parsePointer(String(pointer)),
  });
};

/** A record from a JSON value that stands alone. */
export const bareRecord = (value: unknown, plan: ProducePlan): Result<WrittenRecord> => {
  const fault = structureFault(value);
  if (fault !== null) return refused('INVALID_REQUEST', `the value ${fault}`, { field: 'value' });
  let key: string | null = null;
  if (plan.keyPointer !== null) {
    const found = pointedKey(value, plan.keyPointer);
    if (!found.ok) return found;
    key = found.value;
  }
  return accepted({
    kind: 'record',
    key,
    value: bareValue(value),
    headers: [],
    timestamp: ABSENT,
    partition: ABSENT,
  });
};

/** Why a record may not name this partition. */
export const partitionFault = (partition: number, plan: ProducePlan, index: number | null): Problem | null => {
  const { topic } = plan;
  const at = index === null ? {} : { index };
  if (partition >= topic.partitionCount) {
    const { problem: unknown } = unknownPartition(topic, partition);
    return { ...unknown, facts: { ...unknown.facts, ...at } };
  }
  if (plan.partition === null || partition === plan.partition) return null;
  const detail = `the record names partition ${partition}, the path ${plan.partition}`;
  return problem('INVALID_REQUEST', detail, { ...at, field: 'partition' });
};

export const recordTooLarge = (
  topic: TopicView,
  at: Readonly<Record<string, number>>,
): { readonly ok: false; readonly problem: Problem } =>
  refused('RECORD_TOO_LARGE', `the record does not fit into a batch of ${topic.batchBytesMax} bytes`, {
    ...at,
    limit_bytes: topic.batchBytesMax,
  });

// What the path and the query of a produce request settle before its body is read, and what every body's records are
// measured against.

import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import type { Codec } from '@sluice/protocol/record';
import { assert } from '../../base/assert.ts';
import type { Acks } from '../../broker/broker.ts';
import { exactAppend } from '../exact-append.ts';
import type { GatewayContext } from '../gateway.ts';
import { structureFault } from '../json-text.ts';
import type { BuilderPool } from '../partition-batches.ts';
import type { PartitionChoice } from '../partition-choice.ts';
import type { WrittenRecord } from '../record-json.ts';
import type { RecordGathering } from '../record-gathering.ts';
import { ABSENT, bareValue } from '../record-json.ts';
import type { RecordScan } from '../record-scan.ts';
import type { AppendOutcome, PlacementPlan } from '../record-placement.ts';
import type { TextBuffer } from '../text-buffer.ts';
import type { Query } from './contract.ts';
import type { Exchange } from './exchange.ts';
import { parsePointer, pointedKey } from './key-pointer.ts';
import { findPartition, findTopic } from './topic-lookup.ts';

export interface GatheredAppend {
  readonly outcome: AppendOutcome;
  readonly partition: number;
  /** Of the record within its batch. */
  readonly index: number;
}

/** A request whose record shares a batch, waiting for what became of it. */
export interface GatheredRequest {
  appended(append: GatheredAppend): void;
  failed(error: unknown): void;
}

/** Where the records of one request go and how. */
export interface ProducePlan extends PlacementPlan {
  readonly gathering: RecordGathering<GatheredRequest>;
  readonly scan: RecordScan;
  /** Each JSON text is the value itself. */
  readonly isBare: boolean;
  /** Where in a bare value its key is; null for no keys. */
  readonly keyPointer: readonly string[] | null;
}

/** What the requests of a door have in common. */
export interface SharedState {
  readonly choice: PartitionChoice;
  readonly pool: BuilderPool;
  readonly gathering: RecordGathering<GatheredRequest>;
  readonly scan: RecordScan;
  readonly text: TextBuffer;
}

const ACKS: Readonly<Record<string, Acks>> = { all: 'all', 1: 'leader', 0: 'none' };

export const makePlan = (
  context: GatewayContext,
  { choice, pool, gathering, scan, text }: SharedState,
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
  const exact = exactAppend(query);
  if (!exact.ok) return exact;
  const acks = ACKS[String(query['acks'])];
  assert(acks !== undefined, 'the schema lets no other acks through');
  return accepted({
    broker,
    clock,
    partitionOf: 'path',
    choice,
    pool,
    gathering,
    scan,
    text,
    topic: topic.value,
    partition,
    acks,
    timeoutMs: Number(query['timeout_ms']),
    codec: query['compression'] as Codec,
    exact: exact.value,
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

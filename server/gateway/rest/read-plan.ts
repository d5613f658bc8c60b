// What the path and the query of a read settle: which partitions, from where, and in which form.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import { isOffset } from '@sluice/protocol/ids';
import { READ_BYTES_DEFAULT, READ_PARTITIONS_MAX } from '../../base/limits.ts';
import type { FetchPosition, Isolation, OffsetQuery, TopicView } from '../../broker/broker.ts';
import { decodeCursor } from '../cursor.ts';
import type { GatewayContext } from '../gateway.ts';
import type { ValueForm } from '../record-json.ts';
import { parseTimestamp } from '../timestamp-text.ts';
import { invalidTimestamp } from './admin.ts';
import type { Query } from './contract.ts';
import type { Exchange } from './exchange.ts';
import { chosenPartitions } from './partition-list.ts';
import { findPartition, findTopic } from './topic-lookup.ts';

const START_PARAMETERS = ['from', 'offset', 'timestamp', 'tail', 'cursor'] as const;

export interface ReadPlan {
  readonly topic: TopicView;
  /** The partition of the path; null for a read over several. */
  readonly partition: number | null;
  readonly partitions: readonly number[];
  readonly isolation: Isolation;
  readonly bytesMax: number;
  /** null: without bound. */
  readonly limit: number | null;
  readonly waitMs: number;
  readonly form: ValueForm;
}

export const makeReadPlan = (context: GatewayContext, exchange: Exchange, query: Query): Result<ReadPlan> => {
  const topic = findTopic(context.broker, exchange);
  if (!topic.ok) return topic;
  let partition: number | null = null;
  if (exchange.params['partition'] !== undefined) {
    const found = findPartition(exchange, topic.value);
    if (!found.ok) return found;
    partition = found.value;
  }
  const starts = START_PARAMETERS.filter(name => query[name] !== undefined);
  if (starts.length > 1) {
    const detail = `a read has one start, not ${starts.join(' and ')}`;
    return refused('INVALID_REQUEST', detail, { field: starts[1]! });
  }
  const partitions = partition === null ? chosenPartitions(topic.value, query['partitions']) : accepted([partition]);
  if (!partitions.ok) return partitions;
  if (partitions.value.length > READ_PARTITIONS_MAX && query['cursor'] === undefined) {
    const detail = `one read covers at most ${READ_PARTITIONS_MAX} partitions; choose some, as partitions=0-255`;
    return refused('INVALID_REQUEST', detail, { field: 'partitions', partition_count: topic.value.partitionCount });
  }
  return accepted({
    topic: topic.value,
    partition,
    partitions: partitions.value,
    isolation: query['isolation'] as Isolation,
    bytesMax: Number(query['max_bytes'] ?? READ_BYTES_DEFAULT),
    limit: query['limit'] === undefined ? null : Number(query['limit']),
    waitMs: Number(query['wait'] ?? 0),
    form: valueForm(query),
  });
};

export const valueForm = (query: Query): ValueForm => (query['values'] as ValueForm | undefined) ?? 'auto';

/** True when the read begins wherever the log begins. */
export const startsAtEarliest = (query: Query): boolean =>
  !START_PARAMETERS.some(name => query[name] !== undefined) || query['from'] === 'earliest';

/** Where each partition begins to be read. */
export const startPositions = async (
  context: GatewayContext,
  plan: ReadPlan,
  query: Query,
): Promise<Result<readonly FetchPosition[]>> => {
  if (query['cursor'] !== undefined) return cursorPositions(String(query['cursor']), plan, query);
  const asked = query['offset'];
  if (asked !== undefined && asked !== 'earliest' && asked !== 'latest') {
    const start = Number(asked);
    if (!isOffset(start))
      return refused('INVALID_REQUEST', 'the query parameter offset is too large', { field: 'offset' });
    return accepted(plan.partitions.map(partition => ({ partition, offset: start })));
  }
  const wanted = offsetQuery(query);
  if ('code' in wanted) return { ok: false, problem: wanted };
  const listed = await context.broker.listOffsets({
    topic: plan.topic.name,
    partitions: plan.partitions,
    query: wanted,
  });
  if (!listed.ok) return listed;
  const isLatest = asked === 'latest' || query['from'] === 'latest';
  return accepted(
    listed.value.map(({ partition, earliestOffset, highWatermark, found }) => {
      if (wanted.kind !== 'none') return { partition, offset: found?.offset ?? highWatermark };
      return { partition, offset: isLatest ? highWatermark : earliestOffset };
    }),
  );
};

const offsetQuery = (query: Query): OffsetQuery | Problem => {
  if (query['tail'] !== undefined) return { kind: 'tail', count: Number(query['tail']) };
  if (query['timestamp'] === undefined) return { kind: 'none' };
  const timestampMs = parseTimestamp(String(query['timestamp']));
  return timestampMs === null ? invalidTimestamp() : { kind: 'timestamp', timestampMs };
};

const cursorPositions = (text: string, plan: ReadPlan, query: Query): Result<readonly FetchPosition[]> => {
  const cursor = decodeCursor(text);
  if (cursor === null) return refused('INVALID_CURSOR', 'this is not a cursor of this service', { field: 'cursor' });
  if (cursor.topicId !== plan.topic.id) {
    const detail = `the cursor belongs to another topic, or to a topic ${plan.topic.name} that was deleted since`;
    return refused('INVALID_CURSOR', detail, { field: 'cursor' });
  }
  const named = cursor.positions.map(position => position.partition);
  if (named.some(partition => partition >= plan.topic.partitionCount)) {
    return refused('INVALID_CURSOR', 'the cursor names a partition that the topic does not have', { field: 'cursor' });
  }
  if (plan.partition !== null && (named.length !== 1 || named[0] !== plan.partition)) {
    const detail = `the cursor is of other partitions than ${plan.partition}`;
    return refused('INVALID_CURSOR', detail, { field: 'cursor' });
  }
  const chosen = query['partitions'];
  if (
    chosen !== undefined &&
    (named.length !== plan.partitions.length || named.some(p => !plan.partitions.includes(p)))
  ) {
    return refused('INVALID_CURSOR', 'the cursor is of other partitions than the request', { field: 'cursor' });
  }
  return accepted(cursor.positions);
};

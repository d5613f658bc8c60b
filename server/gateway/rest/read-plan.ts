// What the path and the query of a read settle: which partitions, and in which form.

import type { Result } from '@sluice/protocol/errors';
import { accepted } from '@sluice/protocol/errors';
import { READ_BYTES_DEFAULT } from '../../base/limits.ts';
import type { Isolation } from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import type { ReadTarget } from '../read-start.ts';
import { readTarget } from '../read-start.ts';
import type { ValueForm } from '../record-json.ts';
import type { Query } from './contract.ts';
import type { Exchange } from './exchange.ts';
import { findPartition, findTopic } from './topic-lookup.ts';

export interface ReadPlan extends ReadTarget {
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
  const target = readTarget(topic.value, partition, query);
  if (!target.ok) return target;
  return accepted({
    ...target.value,
    isolation: query['isolation'] as Isolation,
    bytesMax: Number(query['max_bytes'] ?? READ_BYTES_DEFAULT),
    limit: query['limit'] === undefined ? null : Number(query['limit']),
    waitMs: Number(query['wait'] ?? 0),
    form: valueForm(query),
  });
};

export const valueForm = (query: Query): ValueForm => (query['values'] as ValueForm | undefined) ?? 'auto';

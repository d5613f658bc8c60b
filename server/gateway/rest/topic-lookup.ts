// The topic and the partition that a path names.

import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import type { Broker, TopicView } from '../../broker/broker.ts';
import { lookUpTopic, unknownPartition } from '../topic-lookup.ts';
import type { Exchange } from './exchange.ts';

export const findTopic = (
  broker: Broker,
  exchange: Exchange,
): Result<TopicView, 'TOPIC_NOT_FOUND' | 'INVALID_TOPIC_NAME'> => lookUpTopic(broker, exchange.params['topic'] ?? '');

/** A whole number from the path; null when it is not one. */
export const pathInteger = (exchange: Exchange, name: string): number | null => {
  const text = exchange.params[name] ?? '';
  if (!/^\d{1,16}$/.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : null;
};

export const findPartition = (
  exchange: Exchange,
  topic: TopicView,
): Result<number, 'PARTITION_NOT_FOUND' | 'INVALID_REQUEST'> => {
  const partition = pathInteger(exchange, 'partition');
  if (partition === null) {
    return refused('INVALID_REQUEST', 'a partition is a whole number', { field: 'partition' });
  }
  if (partition >= topic.partitionCount) return unknownPartition(topic, partition);
  return accepted(partition);
};

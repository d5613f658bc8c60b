// The topic and the partition that a path names, or why there is none.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import { topicNameFault } from '@sluice/protocol/ids';
import type { Broker, TopicView } from '../../broker/broker.ts';
import type { Exchange } from './exchange.ts';

export const findTopic = (
  broker: Broker,
  exchange: Exchange,
): Result<TopicView, 'TOPIC_NOT_FOUND' | 'INVALID_TOPIC_NAME'> => {
  const name = exchange.params['topic'] ?? '';
  const topic = broker.findTopic(name);
  if (topic !== null) return accepted(topic);
  const fault = topicNameFault(name);
  if (fault !== null) return refused('INVALID_TOPIC_NAME', fault, { topic: name });
  return refused('TOPIC_NOT_FOUND', `there is no topic ${JSON.stringify(name)}`, { topic: name });
};

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

export const unknownPartition = (
  topic: TopicView,
  partition: number,
): { readonly ok: false; readonly problem: Problem<'PARTITION_NOT_FOUND'> } =>
  refused(
    'PARTITION_NOT_FOUND',
    `the topic ${topic.name} has partitions 0 to ${topic.partitionCount - 1}, not ${partition}`,
    { topic: topic.name, partition },
  );

// The topic and the partition that a client names, or why there is none. Every door refuses alike.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import { topicNameFault } from '@sluice/protocol/ids';
import type { Broker, TopicView } from '../broker/broker.ts';

export const lookUpTopic = (
  broker: Broker,
  name: string,
): Result<TopicView, 'TOPIC_NOT_FOUND' | 'INVALID_TOPIC_NAME'> => {
  const topic = broker.findTopic(name);
  if (topic !== null) return accepted(topic);
  const fault = topicNameFault(name);
  if (fault !== null) return refused('INVALID_TOPIC_NAME', fault, { topic: name });
  return refused('TOPIC_NOT_FOUND', `there is no topic ${JSON.stringify(name)}`, { topic: name });
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

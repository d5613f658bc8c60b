// Names a group: one partition of one topic, by the topic's id, so that a topic of the same name made later is another group.

import type { TopicId } from '@sluice/protocol/ids';

export interface GroupName {
  readonly topicId: TopicId;
  readonly partition: number;
}

/** For maps and for keys of the node's store. */
export const groupKey = ({ topicId, partition }: GroupName): string => `${topicId}/${partition}`;

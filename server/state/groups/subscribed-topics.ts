// What members subscribe to, looked up in the cluster's metadata.

import type { TopicId } from '@sluice/protocol/ids';
import { assert } from '../../base/assert.ts';
import type { ClusterImage, ClusterTopic } from '../cluster/image.ts';
import type { GroupTopics, SubscribedTopic, Subscription } from './record.ts';
import { topicPattern } from './topic-pattern.ts';

export type TopicImage = Pick<ClusterImage, 'version' | 'topics'>;

type Subscribed = Pick<Subscription, 'topics' | 'topicPattern'>;

export interface ResolvedTopics {
  readonly topics: GroupTopics;
  /** For each of the subscriptions, in their order. */
  readonly subscribed: readonly ReadonlySet<TopicId>[];
}

/** Internal topics are never meant by a pattern. */
const topicsOf = (image: TopicImage, { topics, topicPattern: text }: Subscribed): readonly ClusterTopic[] => {
  if (text === null) return topics.map(name => image.topics.get(name)).filter(topic => topic !== undefined);
  const pattern = topicPattern(text);
  assert(pattern.ok, 'a pattern that is kept can be read');
  const found: ClusterTopic[] = [];
  for (const topic of image.topics.values())
    if (!topic.internal && pattern.value.matches(topic.name)) found.push(topic);
  return found;
};

const keyOf = ({ topics, topicPattern: text }: Subscribed): string => (text === null ? `/${topics.join('/')}` : text);

/** Topics that are not there (yet, or any more) are left out. Many members subscribe to the same, which is looked up once. */
export const resolveTopics = (image: TopicImage, subscriptions: readonly Subscribed[]): ResolvedTopics => {
  const known = new Map<string, ReadonlySet<TopicId>>();
  const all = new Map<string, SubscribedTopic>();
  const subscribed = subscriptions.map(subscription => {
    const key = keyOf(subscription);
    let ids = known.get(key);
    if (ids === undefined) {
      const found = topicsOf(image, subscription);
      for (const { name, topicId, partitions } of found) all.set(name, { topicId, partitionCount: partitions.length });
      ids = new Set(found.map(topic => topic.topicId));
      known.set(key, ids);
    }
    return ids;
  });
  const names = Array.from(all.keys()).sort();
  const topics = names.map(name => all.get(name)!);
  return { topics: { metadataVersion: image.version, topics }, subscribed };
};

export const isSameTopics = (a: GroupTopics, b: GroupTopics): boolean =>
  a.topics.length === b.topics.length &&
  a.topics.every((topic, index) => {
    const other = b.topics[index]!;
    return topic.topicId === other.topicId && topic.partitionCount === other.partitionCount;
  });

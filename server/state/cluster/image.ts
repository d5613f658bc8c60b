// The metadata of a cluster as of one record: never changed, so that whoever reads it holds it as long as it likes and waits
// for nobody. A newer image shares with an older one everything that did not change.
//
// What differs between two images is found with `differences` of their maps; a value that is the same object did not change.

import type { NodeId, TopicId } from '@sluice/protocol/ids';
import type { TopicConfig } from '../../base/topic-config.ts';
import { SortedMap } from '../sorted-map.ts';
import type { BrokerRegistration, ClusterPartition, FoundedRecord } from './record.ts';

export interface ClusterBroker {
  readonly registration: BrokerRegistration;
  /** Not heard of, or not ready: nobody should ask it for anything, and new replicas go elsewhere while they can. */
  readonly fenced: boolean;
  /** Its replicas are to move away: it gets no new ones and should lead nothing. */
  readonly draining: boolean;
}

/** Counted from the partitions of all topics, so that placement need not walk over them. */
export interface BrokerLoad {
  readonly replicas: number;
  /** Partitions whose first replica is here. */
  readonly preferred: number;
}

export interface ClusterTopic {
  readonly topicId: TopicId;
  readonly name: string;
  readonly internal: boolean;
  /** As asked for; what a new partition gets. */
  readonly replicationFactor: number;
  readonly config: TopicConfig;
  readonly partitions: readonly ClusterPartition[];
}

export interface DeletedTopic {
  readonly topicId: TopicId;
  /** What its folders are called, whoever has the name now. */
  readonly name: string;
  readonly partitionCount: number;
  /** Registered brokers that have not said that they hold nothing of it any more. Never empty. */
  readonly waitingFor: readonly NodeId[];
}

export interface ClusterImage {
  /** Records replayed so far. The same on every node that replayed the same records. */
  readonly version: number;
  readonly founded: FoundedRecord | null;
  readonly brokers: SortedMap<NodeId, ClusterBroker>;
  /** One entry for every registered broker. */
  readonly loads: SortedMap<NodeId, BrokerLoad>;
  readonly topics: SortedMap<string, ClusterTopic>;
  /** Names of `topics` by their ids. */
  readonly topicNames: SortedMap<TopicId, string>;
  readonly deletedTopics: SortedMap<TopicId, DeletedTopic>;
  /** All lower ids were given out. */
  readonly nextProducerId: number;
}

export const emptyImage = (): ClusterImage => ({
  version: 0,
  founded: null,
  brokers: SortedMap.empty(),
  loads: SortedMap.empty(),
  topics: SortedMap.empty(),
  topicNames: SortedMap.empty(),
  deletedTopics: SortedMap.empty(),
  nextProducerId: 0,
});

export const topicById = (image: ClusterImage, id: TopicId): ClusterTopic | undefined => {
  const name = image.topicNames.get(id);
  return name === undefined ? undefined : image.topics.get(name);
};

/** What a directory with this topic id is: only what is `deleted` may be removed. */
export const topicStanding = (image: ClusterImage, id: TopicId): 'live' | 'deleted' | 'unknown' => {
  if (image.topicNames.has(id)) return 'live';
  return image.deletedTopics.has(id) ? 'deleted' : 'unknown';
};

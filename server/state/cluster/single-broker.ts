// A data directory of the time before clusters, opened as a cluster of one: its catalogue as records of the metadata.
//
// The node is the only voter and broker, and holds every partition. Topics that were deleted and whose folders may still be
// there come first, each created and deleted again, because their names may belong to other topics now.

import type { TopicId } from '@sluice/protocol/ids';
import type { TopicConfig } from '../../base/topic-config.ts';
import type { BrokerRegistration, ClusterRecord, TopicCreatedRecord } from './record.ts';

interface FormerTopic {
  readonly name: string;
  readonly id: TopicId;
  readonly partitionCount: number;
}

/** The image of topics.json (broker/topic-catalogue.ts). */
export interface FormerCatalogue {
  readonly topics: ReadonlyMap<string, FormerTopic & { readonly internal: boolean; readonly config: TopicConfig }>;
  readonly deleted: readonly FormerTopic[];
}

export interface FormerBroker {
  readonly clusterId: string;
  readonly registration: BrokerRegistration;
  readonly catalogue: FormerCatalogue;
}

/** To be replayed from nothing, in this order; later starts register as any node does. */
export const clusterOfOne = ({ clusterId, registration, catalogue }: FormerBroker): readonly ClusterRecord[] => {
  const { nodeId, directoryId } = registration;
  const replica = { nodeId, directoryId };
  const created = (topic: FormerTopic, rest: { internal: boolean; config: TopicConfig }): TopicCreatedRecord => ({
    kind: 'topic-created',
    topicId: topic.id,
    name: topic.name,
    replicationFactor: 1,
    partitions: Array.from({ length: topic.partitionCount }, () => ({ replicas: [replica] })),
    internal: rest.internal,
    config: rest.config,
  });
  const records: ClusterRecord[] = [
    { kind: 'founded', clusterId, voters: [replica] },
    { kind: 'broker-registered', registration },
  ];
  for (const topic of catalogue.deleted) {
    records.push(created(topic, { internal: false, config: {} }), { kind: 'topic-deleted', topicId: topic.id });
  }
  for (const topic of catalogue.topics.values()) records.push(created(topic, topic));
  return records;
};

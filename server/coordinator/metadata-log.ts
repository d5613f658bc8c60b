// The log of the cluster's metadata: its name, and how its records stand in batches.
//
//   record   key none | value one ClusterRecord (state/cluster/record-codec.ts)
//
// Nothing is compacted: the log is cut off behind snapshots instead.

import { type TopicId, topicId } from '@sluice/protocol/ids';
import type { StoredRecord } from '@sluice/protocol/record';
import type { GroupName } from '../replication/group-name.ts';
import type { ClusterRecord } from '../state/cluster/record.ts';
import { decodeClusterRecord } from '../state/cluster/record-codec.ts';
import type { Decoding } from '../state/cluster/undecodable.ts';

export const METADATA_TOPIC = '__cluster_metadata';

/** The same in every cluster: there is nobody yet who could have given it out. No version 4 UUID, so nobody draws it. */
export const METADATA_TOPIC_ID: TopicId = topicId('00000000-0000-0000-0000-000000000001');

export const METADATA_GROUP: GroupName = { topicId: METADATA_TOPIC_ID, partition: 0 };

export const readClusterRecord = (record: StoredRecord): Decoding<ClusterRecord> =>
  record.value === null
    ? { ok: false, kind: 'damaged', detail: 'a record of the metadata has no value' }
    : decodeClusterRecord(record.value);

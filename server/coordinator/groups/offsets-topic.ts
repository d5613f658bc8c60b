// The topic that keeps the groups: its name, and which partition of it a group lives in.
//
//   record   key and value as state/groups/record-codec.ts has them
//
// The number of its partitions is fixed when it is created: where a group lives follows from it. It is created by the first request that
// needs it, so that a cluster without groups has none of it.

import { murmur2, type StoredRecord } from '@sluice/protocol/record';
import { OFFSETS_TOPIC_PARTITIONS } from '../../base/limits.ts';
import type { TopicConfig } from '../../base/topic-config.ts';
import { decodeGroupRecord } from '../../state/groups/record-codec.ts';
import type { GroupRecord } from '../../state/groups/record.ts';

export const OFFSETS_TOPIC = '__consumer_offsets';

/** Nothing goes by age or size: what is said of a group stays true until something else is said. */
const config: TopicConfig = { 'retention.ms': '-1', 'retention.bytes': '-1' };

export const offsetsTopicRequest = {
  name: OFFSETS_TOPIC,
  partitionCount: OFFSETS_TOPIC_PARTITIONS,
  config,
} as const;

/** As records with the group's name as their key would be placed. */
export const partitionOfGroup = (groupId: string, partitionCount: number): number =>
  (murmur2(Buffer.from(groupId)) & 0x7fff_ffff) % partitionCount;

/** Null: a record of a newer release, or none at all. */
export const readGroupRecord = ({ key, value }: StoredRecord): GroupRecord | null => {
  if (key === null) return null;
  const read = decodeGroupRecord(key, value);
  return read.ok ? read.value : null;
};

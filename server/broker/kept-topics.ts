// The topics of a stopped node's directory, of whichever format it is: what the doctor goes by.

import path from 'node:path';
import type { TopicId } from '@sluice/protocol/ids';
import type { Logger } from '../base/logger.ts';
import type { TopicConfig } from '../base/topic-config.ts';
import { readKeptMetadata, snapshotFaults } from '../coordinator/kept-metadata.ts';
import { METADATA_TOPIC, METADATA_TOPIC_ID } from '../coordinator/metadata-log.ts';
import type { Disk } from '../io/disk.ts';
import { readIdentity } from '../storage/data-directory.ts';
import { partitionDirectoryName } from '../storage/segment-name.ts';
import { FORMER_CATALOGUE, readFormerCatalogue } from './former-catalogue.ts';

export interface KeptTopic {
  readonly name: string;
  readonly id: TopicId;
  readonly config: TopicConfig;
  /** Those of which a replica belongs here. */
  readonly partitions: readonly number[];
  /** The metadata itself, which no user made. */
  readonly isMetadata: boolean;
}

export interface KeptTopics {
  readonly topics: ReadonlyMap<string, KeptTopic>;
  /** Their folders may still be here. */
  readonly deleted: readonly { readonly name: string; readonly id: TopicId; readonly partitionCount: number }[];
}

export { FORMER_CATALOGUE, METADATA_TOPIC, snapshotFaults };

const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);

/** Throws StartRefusal for what is damaged, or of a newer release. */
export const readKeptTopics = async (disk: Disk, directory: string, logger: Logger): Promise<KeptTopics> => {
  const identity = await readIdentity(disk, directory);
  const former = identity?.formatVersion === 1 ? await readFormerCatalogue(disk, directory) : null;
  const topics = new Map<string, KeptTopic>();
  // A directory whose conversion was interrupted has both; the metadata's log then says the same or less.
  if (former !== null) {
    for (const topic of former.topics.values())
      topics.set(topic.name, { ...topic, partitions: upTo(topic.partitionCount), isMetadata: false });
    return { topics, deleted: former.deleted };
  }
  const logFolder = path.join(directory, partitionDirectoryName(METADATA_TOPIC, 0));
  const image = await readKeptMetadata(disk, { directory, logFolder }, logger);
  const hasMetadata = identity !== null && (identity.formatVersion > 1 || (await disk.exists(logFolder)));
  if (hasMetadata) {
    topics.set(METADATA_TOPIC, {
      name: METADATA_TOPIC,
      id: METADATA_TOPIC_ID,
      config: {},
      partitions: [0],
      isMetadata: true,
    });
  }
  for (const { name, topicId: id, config, partitions } of image.topics.values()) {
    const isHere = (partition: number): boolean =>
      partitions[partition]!.replicas.some(
        ({ nodeId, directoryId }) => nodeId === identity?.nodeId && directoryId === identity.directoryId,
      );
    topics.set(name, { name, id, config, partitions: upTo(partitions.length).filter(isHere), isMetadata: false });
  }
  const deleted = Array.from(image.deletedTopics.values(), ({ name, topicId: id, partitionCount }) => ({
    name,
    id,
    partitionCount,
  }));
  return { topics, deleted };
};

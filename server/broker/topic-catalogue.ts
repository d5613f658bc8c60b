// The topics of the node, durable and versioned. A metadata log can take its place: whoever asks sees only the current
// image and one way to change it.
//
//   topics.json  {"version": 1, "topics": [{name, id, partition_count, internal, config}], "deleted": [{name, id, partition_count}],
//                "checksum"}
//
// A change is durable before it is visible. Deleted topics stay listed until their folders are gone, so that an interrupted
// removal is finished at the next start.

import path from 'node:path';
import { isTopicId, type TopicId, topicNameFault } from '@sluice/protocol/ids';
import { PARTITIONS_PER_TOPIC_MAX } from '../base/limits.ts';
import { StartRefusal } from '../base/start-refusal.ts';
import { checkTopicConfig, type TopicConfig } from '../base/topic-config.ts';
import type { Disk } from '../io/disk.ts';
import { formatChecked, parseChecked } from '../storage/checked-document.ts';
import { readSmallFile, replaceSmallFile } from '../storage/small-file.ts';

export interface CatalogueTopic {
  readonly name: string;
  readonly id: TopicId;
  readonly partitionCount: number;
  readonly internal: boolean;
  readonly config: TopicConfig;
}

export interface DeletedTopic {
  readonly name: string;
  readonly id: TopicId;
  readonly partitionCount: number;
}

/** Replaced whole, never changed. */
export interface CatalogueImage {
  readonly topics: ReadonlyMap<string, CatalogueTopic>;
  readonly deleted: readonly DeletedTopic[];
}

export interface TopicCatalogue {
  image(): CatalogueImage;
  /** Durable and visible when this returns. Changes come one at a time. */
  replace(next: CatalogueImage): Promise<void>;
}

const FILE_VERSION = 1;

const isPartitionCount = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= PARTITIONS_PER_TOPIC_MAX;

const parseImage = (file: string, text: string): CatalogueImage => {
  const refuse = (why: string): StartRefusal =>
    new StartRefusal('data-directory-damaged', `${file} ${why}. Restore it from a backup.`);
  const parsed = parseChecked(text, ['version', 'topics', 'deleted']);
  if (!parsed.ok) throw refuse(parsed.why);
  const document: { version?: unknown; topics?: unknown; deleted?: unknown } = parsed.document;
  if (document.version !== FILE_VERSION)
    throw refuse(`has version ${String(document.version)} instead of ${FILE_VERSION}`);
  if (!Array.isArray(document.topics) || !Array.isArray(document.deleted)) throw refuse('lists no topics');
  const named = (entry: unknown): DeletedTopic => {
    const { name, id, partition_count: partitionCount } = (entry ?? {}) as Record<string, unknown>;
    const isNamed = typeof name === 'string' && topicNameFault(name) === null;
    // Every partition is opened at a start.
    if (!isNamed || typeof id !== 'string' || !isTopicId(id) || !isPartitionCount(partitionCount)) {
      throw refuse('holds an entry that is no topic');
    }
    return { name, id, partitionCount };
  };
  const topics = new Map<string, CatalogueTopic>();
  for (const entry of document.topics as Record<string, unknown>[]) {
    const topic = named(entry);
    const config = checkTopicConfig((entry['config'] ?? {}) as Record<string, string>);
    if (!config.ok)
      throw refuse(`holds a topic with a setting that this broker does not know (${config.problem.detail})`);
    topics.set(topic.name, { ...topic, internal: entry['internal'] === true, config: config.value });
  }
  return { topics, deleted: (document.deleted as unknown[]).map(named) };
};

const formatImage = (image: CatalogueImage): string => {
  const topics = [...image.topics.values()].map(topic => ({
    name: topic.name,
    id: topic.id,
    partition_count: topic.partitionCount,
    internal: topic.internal,
    config: topic.config,
  }));
  const deleted = image.deleted.map(topic => ({
    name: topic.name,
    id: topic.id,
    partition_count: topic.partitionCount,
  }));
  return formatChecked({ version: FILE_VERSION, topics, deleted }, 1);
};

export const openFileCatalogue = async (disk: Disk, directory: string): Promise<TopicCatalogue> => {
  const file = path.join(directory, 'topics.json');
  const text = await readSmallFile(disk, file);
  let current: CatalogueImage = text === null ? { topics: new Map(), deleted: [] } : parseImage(file, text);
  return {
    image: () => current,
    async replace(next) {
      await replaceSmallFile(disk, file, formatImage(next));
      current = next;
    },
  };
};

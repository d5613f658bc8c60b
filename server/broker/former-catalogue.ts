// The topics of a data directory of format 1, which had a file for them. It is read once: what it says becomes the first records of the
// metadata's log (state/cluster/single-broker.ts), and the file is removed after that.
//
//   topics.json  {"version": 1, "topics": [{name, id, partition_count, internal, config}], "deleted": [{name, id, partition_count}],
//                "checksum"}
//
// Deleted topics are those whose folders may still be there.

import path from 'node:path';
import { isTopicId, topicNameFault } from '@sluice/protocol/ids';
import { PARTITIONS_PER_TOPIC_MAX } from '../base/limits.ts';
import { StartRefusal } from '../base/start-refusal.ts';
import { checkTopicConfig } from '../base/topic-config.ts';
import type { Disk } from '../io/disk.ts';
import type { FormerCatalogue } from '../state/cluster/single-broker.ts';
import { parseChecked } from '../storage/checked-document.ts';
import { readSmallFile } from '../storage/small-file.ts';

export const FORMER_CATALOGUE = 'topics.json';

type Topic = FormerCatalogue['topics'] extends ReadonlyMap<string, infer T> ? T : never;
type DeletedTopic = FormerCatalogue['deleted'][number];

const FILE_VERSION = 1;

const isPartitionCount = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= PARTITIONS_PER_TOPIC_MAX;

const parseCatalogue = (file: string, text: string): FormerCatalogue => {
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
  const topics = new Map<string, Topic>();
  for (const entry of document.topics as Record<string, unknown>[]) {
    const topic = named(entry);
    const config = checkTopicConfig((entry['config'] ?? {}) as Record<string, string>);
    if (!config.ok)
      throw refuse(`holds a topic with a setting that this broker does not know (${config.problem.detail})`);
    topics.set(topic.name, { ...topic, internal: entry['internal'] === true, config: config.value });
  }
  return { topics, deleted: (document.deleted as unknown[]).map(named) };
};

/** Null where there is none: the directory is newer, or new. Throws StartRefusal for what is damaged. */
export const readFormerCatalogue = async (disk: Disk, directory: string): Promise<FormerCatalogue | null> => {
  const file = path.join(directory, FORMER_CATALOGUE);
  const text = await readSmallFile(disk, file);
  return text === null ? null : parseCatalogue(file, text);
};

/** What it said is in the metadata's log, durably. */
export const removeFormerCatalogue = async (disk: Disk, directory: string): Promise<void> => {
  const file = path.join(directory, FORMER_CATALOGUE);
  if (!(await disk.exists(file))) return;
  await disk.removeFile(file);
  await disk.syncDirectory(directory);
};

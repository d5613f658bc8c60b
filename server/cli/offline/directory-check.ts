// A whole data directory examined: meta.json, both copies of the store, the topics against the folders, the snapshots of the metadata
// and its log, and the log of every partition. Nothing is changed. What is counted is what users made.

import { join } from 'node:path';
import { StartRefusal } from '../../base/start-refusal.ts';
import { createLogger } from '../../base/logger.ts';
import {
  FORMER_CATALOGUE,
  type KeptTopics,
  METADATA_TOPIC,
  readKeptTopics,
  snapshotFaults,
} from '../../broker/kept-topics.ts';
import type { Disk } from '../../io/disk.ts';
import { metadataText, type PartitionName, readIdentity, storeKey } from '../../storage/data-directory.ts';
import type { Finding } from '../../storage/finding.ts';
import { checkLog } from '../../storage/log-check.ts';
import { MarksView } from '../../storage/log-marks.ts';
import { readStore, type StoreImage } from '../../storage/node-store.ts';
import type { CheckedCounts } from '../../storage/segment-check.ts';
import { deletedDirectoryName, partitionDirectoryName } from '../../storage/segment-name.ts';
import { readSmallFile } from '../../storage/small-file.ts';

export interface DirectoryCounts extends CheckedCounts {
  topics: number;
  partitions: number;
}

export interface DirectoryCheckRequest {
  readonly disk: Disk;
  readonly directory: string;
  readonly found: (finding: Finding) => void;
  /** Asked before each partition. */
  readonly isOver: () => boolean;
}

const noCounts = (): DirectoryCounts => ({ topics: 0, partitions: 0, segments: 0, batches: 0, records: 0, bytes: 0 });

export const checkDirectory = async (request: DirectoryCheckRequest): Promise<DirectoryCounts> => {
  const { disk, directory } = request;
  const counts = noCounts();
  await checkIdentity(request);
  const store = await checkStore(request);
  const image = await checkTopics(request);
  await checkSnapshots(request);
  const folders = new Set((await disk.list(directory)).flatMap(entry => (entry.isDirectory ? [entry.name] : [])));
  for (const { name, id, partitions, isMetadata } of image?.topics.values() ?? []) {
    const counted = isMetadata ? noCounts() : counts;
    counted.topics++;
    for (const partition of partitions) {
      if (request.isOver()) return counts;
      counted.partitions++;
      const isThere = folders.delete(partitionDirectoryName(name, partition));
      await checkPartition(request, { name: { topic: name, topicId: id, partition }, store, isThere, counts: counted });
    }
  }
  for (const { name, id, partitionCount } of image?.deleted ?? []) {
    for (let partition = 0; partition < partitionCount; partition++) {
      for (const folder of [partitionDirectoryName(name, partition), deletedDirectoryName(name, partition, id)]) {
        if (image?.topics.has(name) === true && folder === partitionDirectoryName(name, partition)) continue;
        if (folders.delete(folder)) {
          request.found(whole('note', join(directory, folder), 'its topic was deleted', 'the next start removes it'));
        }
      }
    }
  }
  // Without the topics nobody can say whose they are.
  if (image === null) return counts;
  for (const folder of folders) {
    request.found(
      whole(
        'damage',
        join(directory, folder),
        'no topic has this folder',
        'it is kept and not opened; move it away if it is not needed',
      ),
    );
  }
  return counts;
};

const whole = (grade: Finding['grade'], file: string, meaning: string, advice: string): Finding => ({
  grade,
  file,
  position: null,
  offsets: null,
  meaning,
  advice,
});

/** Runs what refuses a start; the refusal is the finding. */
const refusable = async <T>(
  request: DirectoryCheckRequest,
  file: string,
  read: () => Promise<T>,
): Promise<T | null> => {
  try {
    return await read();
  } catch (refusal) {
    if (!(refusal instanceof StartRefusal)) throw refusal;
    request.found(
      whole('damage', file, `the broker refuses to start: ${refusal.message}`, 'restore the file from a copy'),
    );
    return null;
  }
};

const checkIdentity = async (request: DirectoryCheckRequest): Promise<void> => {
  const { disk, directory, found } = request;
  const file = join(directory, 'meta.json');
  if (await disk.exists(file)) {
    await refusable(request, file, () => readIdentity(disk, directory));
    return;
  }
  found(
    whole(
      'damage',
      file,
      'the file is missing: this is no data directory, or a broker refuses to start on it',
      'restore the file from a copy',
    ),
  );
};

const checkStore = async ({ disk, directory, found }: DirectoryCheckRequest): Promise<StoreImage> => {
  const image = await readStore(disk, directory);
  const newest = Math.max(...image.copies.map(copy => copy.sequence));
  for (const copy of image.copies) {
    const isBehind = copy.sequence < newest;
    if (newest < 0) {
      found(
        whole(
          'damage',
          copy.file,
          copy.isPresent ? 'no line of it can be read' : 'the file is missing',
          'restore it from a copy; without it every log is taken as it lies',
        ),
      );
    } else if (!copy.isPresent) {
      found(
        whole('derived', copy.file, 'the file is missing; the other copy is whole', 'the next start writes both anew'),
      );
    } else if (isBehind || copy.hasMore) {
      const advice = 'the next start writes both copies anew from what either has';
      const meaning = `the lines end at ${copy.end} with ${copy.hasMore ? 'one that cannot be read' : 'fewer than the other copy has'}`;
      // One copy that simply ends earlier, or the same torn end in both, is a flush that a crash cut off.
      found({
        grade: isBehind && copy.hasMore ? 'derived' : 'note',
        file: copy.file,
        position: copy.end,
        offsets: null,
        meaning,
        advice,
      });
    }
  }
  if (image.lost > 0) {
    found(
      whole(
        'damage',
        join(directory, 'store-0'),
        `lines that neither copy can read: ${image.lost}; ${image.suspects.size} of the keys may be older than they were`,
        'restore a copy of the store; without it the marks of these partitions are taken as they are',
      ),
    );
  }
  return image;
};

const checkTopics = async (request: DirectoryCheckRequest): Promise<KeptTopics | null> => {
  const { disk, directory } = request;
  const former = join(directory, FORMER_CATALOGUE);
  const isFormer = await disk.exists(former);
  const file = isFormer ? former : join(directory, partitionDirectoryName(METADATA_TOPIC, 0));
  return refusable(request, file, () => readKeptTopics(disk, directory, createLogger('silent')));
};

/** One of two, and the log keeps what is above the older. */
const checkSnapshots = async ({ disk, directory, found }: DirectoryCheckRequest): Promise<void> => {
  for (const { file, why } of await snapshotFaults(disk, directory)) {
    found(
      whole(
        'derived',
        file,
        `a snapshot of the metadata cannot be read: ${why}`,
        'nothing: the other one and the log have what it had, and it is written anew',
      ),
    );
  }
};

const checkPartition = async (
  request: DirectoryCheckRequest,
  partition: {
    readonly name: PartitionName;
    readonly store: StoreImage;
    readonly isThere: boolean;
    readonly counts: CheckedCounts;
  },
): Promise<void> => {
  const { disk, found } = request;
  const { name, store, isThere, counts } = partition;
  const directory = join(request.directory, partitionDirectoryName(name.topic, name.partition));
  const marks = new MarksView({ get: key => store.values.get(key) ?? null }, storeKey(name));
  const point = marks.syncPoint();
  if (!isThere) {
    const start = marks.logStart().offset;
    const isNew = point === null || point.endOffset === start;
    found(
      isNew
        ? whole('note', directory, 'the folder is missing, and nothing was ever in it', 'the next start makes it')
        : {
            ...whole('damage', directory, 'the folder is missing with all its records', 'restore it from a copy'),
            offsets: { from: start, to: point.endOffset },
          },
    );
    return;
  }
  const metadata = join(directory, 'partition.metadata');
  const text = await readSmallFile(disk, metadata);
  if (text === null) found(whole('derived', metadata, 'the file is missing', 'the next start writes it'));
  else if (text !== metadataText(name.topicId)) {
    found(
      whole(
        'damage',
        metadata,
        'it names another topic than the metadata, or none: the broker refuses to start',
        `restore it, or remove it if the folder is ${name.topic}'s: the next start writes it`,
      ),
    );
  }
  if (point === null)
    found(whole('damage', directory, 'the store has no mark of this partition', 'the next start looks at every batch'));
  await checkLog({ disk, directory, marks, counts, found });
};

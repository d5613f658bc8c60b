// Names of files and folders of a partition, as Kafka names them: a segment is named by its base offset in 20 digits.

import { isOffset, type Offset } from '@sluice/protocol/ids';

export type SegmentFileKind = 'log' | 'index' | 'timeindex';

export const segmentFileName = (baseOffset: Offset, kind: SegmentFileKind): string =>
  `${String(baseOffset).padStart(20, '0')}.${kind}`;

/** Null for every other file. */
export const parseSegmentFileName = (name: string): { baseOffset: Offset; kind: SegmentFileKind } | null => {
  const match = /^(\d{20})\.(log|index|timeindex)$/.exec(name);
  if (match === null) return null;
  const baseOffset = Number(match[1]);
  return isOffset(baseOffset) ? { baseOffset, kind: match[2] as SegmentFileKind } : null;
};

/** The producers as of an offset. */
export const snapshotFileName = (at: Offset): string => `${String(at).padStart(20, '0')}.snapshot`;

/** Null for every other file. */
export const parseSnapshotFileName = (name: string): Offset | null => {
  const match = /^(\d{20})\.snapshot$/.exec(name);
  const at = match === null ? -1 : Number(match[1]);
  return isOffset(at) ? at : null;
};

/** Behind the name of a file that is to take the place of the one of that name (segment-replacement.ts). */
export const NEW_SUFFIX = '.new';

/** Of a segment that has not taken its place. */
export const isNewFileName = (name: string): boolean =>
  name.endsWith(NEW_SUFFIX) && parseSegmentFileName(name.slice(0, -NEW_SUFFIX.length)) !== null;

export const partitionDirectoryName = (topic: string, partition: number): string => `${topic}-${partition}`;

/** Null for a folder that is no partition's. */
export const parsePartitionDirectoryName = (name: string): { topic: string; partition: number } | null => {
  const match = /^(.+)-(\d{1,10})$/.exec(name);
  return match === null ? null : { topic: match[1]!, partition: Number(match[2]) };
};

/** A name that no partition has: a folder on its way out. The topic's name is cut so that the whole fits into 255 bytes. */
export const deletedDirectoryName = (topic: string, partition: number, topicId: string): string =>
  `${topic.slice(0, 190)}-${partition}.${topicId}-delete`;

export const isDeletedDirectoryName = (name: string): boolean => name.endsWith('-delete') && name.includes('.');

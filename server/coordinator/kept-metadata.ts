// The metadata as a stopped node's directory has it: the newest snapshot that can be read, and what stands behind it in the log.
//
// What was never committed may be in it: nobody can tell without the other voters. For the doctor and for reading, never for a broker.

import path from 'node:path';
import { offset } from '@sluice/protocol/ids';
import { inspectBatch, isEpochStart, readBaseOffset, readLastOffset } from '@sluice/protocol/record';
import { StartRefusal } from '../base/start-refusal.ts';
import type { Logger } from '../base/logger.ts';
import type { Disk } from '../io/disk.ts';
import { type ClusterImage, emptyImage } from '../state/cluster/image.ts';
import { replayed } from '../state/cluster/replay.ts';
import { decodeKeptImage, ImageSnapshots, SNAPSHOT_NAMES } from './image-snapshots.ts';
import { readClusterRecord } from './metadata-log.ts';
import { recordsOf } from './record-log.ts';

/** What is wrong with the snapshots of the metadata, by file. */
export const snapshotFaults = async (
  disk: Disk,
  directory: string,
): Promise<readonly { readonly file: string; readonly why: string }[]> => {
  const faults: { file: string; why: string }[] = [];
  for (const name of SNAPSHOT_NAMES) {
    const file = path.join(directory, name);
    if (!(await disk.exists(file))) continue;
    const read = decodeKeptImage(await disk.readFile(file));
    if (read.kind === 'damaged' || read.kind === 'newer') faults.push({ file, why: read.detail });
  }
  return faults;
};

export interface KeptMetadata {
  /** Of the node's data. */
  readonly directory: string;
  /** Of the metadata's log. */
  readonly logFolder: string;
}

/** The image is empty where there is no metadata. Throws StartRefusal for what is damaged, or of a newer release. */
export const readKeptMetadata = async (
  disk: Disk,
  { directory, logFolder }: KeptMetadata,
  logger: Logger,
): Promise<ClusterImage> => {
  const loaded = await new ImageSnapshots(disk, directory, logger).load();
  if (loaded.kind === 'newer')
    throw new StartRefusal('data-directory-version', `metadata of a newer release: ${loaded.detail}`);
  let { image, next } = loaded.kind === 'image' ? loaded.kept : { image: emptyImage(), next: offset(0) };
  for (const batch of await keptBatches(disk, logFolder)) {
    const read = recordsOf([batch], next);
    if (read.next <= next) continue;
    if (readBaseOffset(batch, 0) > next) {
      throw new StartRefusal(
        'data-directory-damaged',
        `the metadata in ${directory} is lost between two snapshots of it`,
      );
    }
    for (const record of read.records) {
      const decoded = readClusterRecord(record);
      if (!decoded.ok)
        throw new StartRefusal('data-directory-damaged', `a record of the metadata in ${directory}: ${decoded.detail}`);
      image = replayed(image, decoded.value);
    }
    next = read.next;
  }
  return image;
};

/** All whole batches, in the order of the log, up to the first that is damaged or stands where it does not belong. */
const keptBatches = async (disk: Disk, directory: string): Promise<readonly Uint8Array[]> => {
  if (!(await disk.exists(directory))) return [];
  const names = (await disk.list(directory)).map(entry => entry.name).filter(name => name.endsWith('.log'));
  const batches: Uint8Array[] = [];
  let end = Number.parseInt(names.sort()[0] ?? '0', 10);
  for (const name of names) {
    const bytes = await disk.readFile(path.join(directory, name));
    for (let at = 0; at < bytes.length; ) {
      const inspection = inspectBatch(bytes, at, { bytesMax: Math.max(1, bytes.length), verifyCrc: true });
      // No checksum covers a base offset.
      if (!inspection.ok || readBaseOffset(bytes, at) !== end) return batches;
      batches.push(bytes.subarray(at, at + inspection.byteLength));
      // What begins an epoch spans no offset.
      if (!isEpochStart(bytes, at)) end = readLastOffset(bytes, at) + 1;
      at += inspection.byteLength;
    }
  }
  return batches;
};

// A snapshot takes the place of a log: an empty log at the snapshot's base, built beside the old one and swapped in.
//
//   <partition>.<key>-install     the new folder while it is built
//   <partition>.<key>-replaced    the old one until it is removed
//
// Each step is durable before the next:
//
//   1. the new folder with all that is in it, under its own name
//   2. the mark `install` in the store: decided; from here on a crash leads to the new log
//   3. the old folder under its last name
//   4. the new folder under the partition's name
//   5. the marks of the new log, and with the last line of the same flush the mark `install` turns into `replaced`
//   6. the old folder is removed, and then that mark
//
// Before step 2 a crash leaves the old log and a folder that nothing names; the next start or install removes it, since only this
// file makes folders of that name. After it, whichever folders are there tell where to go on.

import path from 'node:path';
import type { Position } from '../base/position.ts';
import { type Disk, DiskFault } from '../io/disk.ts';
import { EpochMap } from './epoch-map.ts';
import type { LogContext } from './log-context.ts';
import type { LogMarks } from './log-marks.ts';
import { checkpointCrc, EPOCH_CHECKPOINT } from './recovery.ts';
import { snapshotFileName } from './segment-name.ts';
import { readSmallFile, replaceSmallFile } from './small-file.ts';

export const PARTITION_METADATA = 'partition.metadata';

export interface InstallRequest {
  readonly context: LogContext;
  readonly directory: string;
  readonly key: string;
  readonly marks: LogMarks;
}

interface Folders {
  readonly log: string;
  readonly fresh: string;
  readonly replaced: string;
}

const foldersOf = ({ directory, key }: Pick<InstallRequest, 'directory' | 'key'>): Folders => {
  const parent = path.dirname(directory);
  // File names end at 255 bytes; the key tells apart what the cut makes alike.
  const stem = path.join(parent, `${path.basename(directory).slice(0, 180)}.${key.replaceAll('/', '-')}`);
  return { log: directory, fresh: `${stem}-install`, replaced: `${stem}-replaced` };
};

/** The new folder while it is built. */
export const freshFolder = (place: Pick<InstallRequest, 'directory' | 'key'>): string => foldersOf(place).fresh;

export interface NewLog {
  readonly base: Position;
  readonly generation: number;
  /** As of the base; null where there are none. */
  readonly producers: Uint8Array | null;
}

/** Puts an empty log with this base in the place of the present one. The caller has let go of its files. */
export const installLog = async (request: InstallRequest, { base, generation, producers }: NewLog): Promise<void> => {
  await buildFresh(request, base, producers);
  request.marks.setInstall({ base, generation, isSwapped: false });
  await request.marks.flush();
  await finishInstall(request);
};

/** Goes on where a crash interrupted an install; does nothing where none was under way. */
export const finishInstall = async (request: InstallRequest): Promise<void> => {
  const { context, marks } = request;
  const { disk } = context;
  const folders = foldersOf(request);
  const install = marks.install();
  if (install === null) {
    await removeFolder(disk, folders.fresh);
    return;
  }
  if (!install.isSwapped) {
    await swapFolders(request, install.base);
    marks.removeAllSealed();
    marks.setReplacement(null);
    marks.setCleanings([]);
    marks.setFault(null);
    marks.setLogStart(install.base.offset, install.base);
    marks.setSyncPoint(
      {
        generation: install.generation,
        leaderEpoch: install.base.epoch,
        endOffset: install.base.offset,
        segment: install.base.offset,
        position: 0,
        crc: 0,
        latestTimestamp: -1,
        latestOffset: -1,
        firstTimestamp: -1,
        epochsCrc: checkpointCrc(new EpochMap(install.base).format()),
        epochsBehind: [],
        producersFrom: install.base.offset,
      },
      0,
    );
    // Lines of one flush may be torn apart by a crash: the one that ends the step comes last.
    marks.setInstall({ ...install, isSwapped: true });
    await marks.flush();
  }
  await removeFolder(disk, folders.replaced);
  marks.setInstall(null);
  await marks.flush();
};

const swapFolders = async (request: InstallRequest, base: Position): Promise<void> => {
  const { disk } = request.context;
  const { log, fresh, replaced } = foldersOf(request);
  const parent = path.dirname(log);
  // Names that a dying process changed and nobody made durable.
  await disk.syncDirectory(parent);
  if (await disk.exists(fresh)) {
    if (await disk.exists(log)) {
      await removeFolder(disk, replaced);
      await disk.rename(log, replaced);
      await disk.syncDirectory(parent);
    }
    await disk.rename(fresh, log);
    await disk.syncDirectory(parent);
  } else if (!(await disk.exists(log))) {
    // Both are gone, which no crash does: the decided log is empty, and can be made again.
    await buildFresh(request, base, null);
    await disk.rename(fresh, log);
    await disk.syncDirectory(parent);
  }
};

const buildFresh = async (request: InstallRequest, base: Position, producers: Uint8Array | null): Promise<void> => {
  const { disk } = request.context;
  const { log, fresh } = foldersOf(request);
  await removeFolder(disk, fresh);
  await disk.makeDirectory(fresh);
  const metadata = await readSmallFile(disk, path.join(log, PARTITION_METADATA));
  if (metadata !== null) await replaceSmallFile(disk, path.join(fresh, PARTITION_METADATA), metadata);
  await replaceSmallFile(disk, path.join(fresh, EPOCH_CHECKPOINT), new EpochMap(base).format());
  if (producers !== null) await replaceSmallFile(disk, path.join(fresh, snapshotFileName(base.offset)), producers);
  await disk.syncDirectory(path.dirname(fresh));
};

const removeFolder = async (disk: Disk, folder: string): Promise<void> => {
  if (!(await disk.exists(folder))) return;
  for (const entry of await disk.list(folder)) {
    try {
      await disk.removeFile(path.join(folder, entry.name));
    } catch (fault) {
      if (!(fault instanceof DiskFault && fault.kind === 'not-found')) throw fault;
    }
  }
  // Or a power loss could leave the folder with what was in it, under a name that means something else by then.
  await disk.syncDirectory(folder);
  await disk.removeDirectory(folder);
  await disk.syncDirectory(path.dirname(folder));
};

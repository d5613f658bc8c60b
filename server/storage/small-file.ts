// Small files are replaced whole: written under a temporary name, synced, renamed, and their folder synced. A reader sees
// the old contents or the new ones, never a mixture, whatever crashes.

import path from 'node:path';
import { type Disk, DiskFault } from '../io/disk.ts';

export const TEMPORARY_SUFFIX = '.tmp';

export const isTemporaryName = (name: string): boolean => name.endsWith(TEMPORARY_SUFFIX);

export const replaceSmallFile = async (disk: Disk, target: string, contents: string | Uint8Array): Promise<void> => {
  const temporary = target + TEMPORARY_SUFFIX;
  if (await disk.exists(temporary)) await disk.removeFile(temporary);
  const bytes = typeof contents === 'string' ? Buffer.from(contents, 'utf8') : contents;
  const file = await disk.open(temporary, 'create');
  try {
    const written = await file.write([bytes], 0);
    if (written < bytes.length) throw new DiskFault('full', temporary);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(temporary, target);
  await disk.syncDirectory(path.dirname(target));
};

/** Null where there is no such file. */
export const readSmallFile = async (disk: Disk, target: string): Promise<string | null> => {
  try {
    return Buffer.from(await disk.readFile(target)).toString('utf8');
  } catch (fault) {
    if (fault instanceof DiskFault && fault.kind === 'not-found') return null;
    throw fault;
  }
};

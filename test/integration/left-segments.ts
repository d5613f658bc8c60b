// Leaves the segments that a test wrote where the outside judges look for them (test/outside): SLUICE_SEGMENTS_DIR, or
// .work/segments. Call it when the broker has stopped: indexes are whole then.

import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

const FOLDER = process.env['SLUICE_SEGMENTS_DIR'] ?? new URL('../../.work/segments', import.meta.url).pathname;

/** Replaces what an earlier run left under this label. */
export async function leaveSegments(dataDir: string, label: string): Promise<void> {
  const target = join(FOLDER, label);
  await rm(target, { recursive: true, force: true });
  for (const name of await readdir(dataDir, { recursive: true })) {
    if (!/(^|\/)\d{20}\.(log|index|timeindex)$/.test(name)) continue;
    await mkdir(join(target, name, '..'), { recursive: true });
    await cp(join(dataDir, name), join(target, name));
  }
}

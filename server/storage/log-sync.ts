// The sync of a log's file, and what a failed one means.

import type { DiskFile } from '../io/disk.ts';
import type { OpenLog } from './open-log.ts';

/** Tells a failed sync from a failed write: after it nothing about the unsynced bytes is known. */
export class SyncFailure extends Error {
  override readonly name = 'SyncFailure';

  constructor(cause: unknown) {
    super('a sync failed', { cause });
  }
}

/** Inside the pump. Rejects with a SyncFailure. */
export const syncFile = async (log: OpenLog, file: DiskFile): Promise<void> => {
  const { clock, syncGate, onSync } = log.context;
  const started = clock.monotonicMs();
  try {
    await syncGate.run('log', () => file.sync());
  } catch (cause) {
    throw new SyncFailure(cause);
  }
  onSync((clock.monotonicMs() - started) / 1_000);
  log.unsyncedRecords = 0;
  log.unsyncedBytes = 0;
};

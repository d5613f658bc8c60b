// What all logs of a node share. Made once by the data directory.

import type { Logger } from '../base/logger.ts';
import type { Clock } from '../io/clock.ts';
import type { Disk } from '../io/disk.ts';
import type { FilePool } from './file-pool.ts';
import type { IndexCache } from './index-cache.ts';
import type { NodeStore } from './node-store.ts';
import type { SyncGate } from './sync-gate.ts';
import type { TailCache } from './tail-cache.ts';

export interface LogContext {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: FilePool;
  readonly indexCache: IndexCache;
  readonly tailCache: TailCache;
  readonly store: NodeStore;
  readonly syncGate: SyncGate;
  /** Told how long each sync took. */
  readonly onSync: (seconds: number) => void;
}

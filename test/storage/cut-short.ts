// A world that ends at one of the changes that some work makes to its disk.

import { type DiskCall, usual } from '../simulation/disk.ts';
import type { LogWorld } from './log-world.ts';

const CHANGES = new Set<DiskCall['kind']>([
  'write',
  'sync',
  'rename',
  'make-directory',
  'sync-directory',
  'remove-file',
  'truncate',
]);

/** Opening changes something only when it creates; the simulated disk does not tell, and one more point does no harm. */
export const isChange = (call: DiskCall): boolean => CHANGES.has(call.kind) || call.kind === 'open';

export type Death = 'power' | 'kill';

/** Runs the work until it is done, or the given change of the disk, at which the world ends; 0: it is not ended. */
export const cutShort = async (
  world: LogWorld,
  begin: () => Promise<unknown>,
  { change, death }: { readonly change: number; readonly death: Death },
): Promise<{ readonly isDone: boolean; readonly failure: unknown }> => {
  const progress = { isDone: false, isDead: false };
  let changes = 0;
  world.disk.judge = call => {
    if (isChange(call) && ++changes === change) {
      progress.isDead = true;
      if (death === 'power') world.crash();
      else world.kill();
    }
    return usual;
  };
  let failure: unknown = null;
  begin().then(
    () => (progress.isDone = true),
    (cause: unknown) => {
      failure = cause;
      progress.isDone = true;
    },
  );
  await world.scheduler.driveUntil(() => progress.isDone || progress.isDead);
  world.disk.judge = () => usual;
  return { isDone: !progress.isDead, failure };
};

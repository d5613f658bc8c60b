// Waits between attempts, by the node's clock.

import type { Clock } from '../io/clock.ts';

export const pause = (clock: Clock, ms: number): Promise<void> =>
  new Promise(resolve => {
    clock.schedule(ms, resolve);
  });

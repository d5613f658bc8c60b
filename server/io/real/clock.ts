// The machine's clocks and timers. Timers do not keep the process alive: a listener does.

import type { Clock } from '../clock.ts';

/** A longer delay makes `setTimeout` fire at once; it is waited for in pieces, and an infinite one for ever. */
const DELAY_MS_MAX = 0x7fffffff;

export const realClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  schedule(delayMs, action) {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const onTime = leftMs <= DELAY_MS_MAX ? action : (): void => arm(leftMs - DELAY_MS_MAX);
      timer = setTimeout(onTime, Math.min(leftMs, DELAY_MS_MAX));
      timer.unref();
    };
    arm(delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  defer(action) {
    setImmediate(action);
  },
};

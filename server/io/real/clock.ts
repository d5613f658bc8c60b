// The machine's clocks and timers. Timers do not keep the process alive: a listener does.

import type { Clock } from '../clock.ts';

export const realClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  schedule(delayMs, action) {
    const timer = setTimeout(action, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  defer(action) {
    setImmediate(action);
  },
};

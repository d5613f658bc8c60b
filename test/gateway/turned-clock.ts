// A clock whose timers run when a test tells them to; everything else is real.

import type { Clock } from '../../server/io/clock.ts';
import { realClock } from '../../server/io/real/clock.ts';

export class TurnedClock implements Clock {
  private due: { readonly delayMs: number; readonly action: () => void }[] = [];
  wallMs = (): number => realClock.wallMs();
  monotonicMs = (): number => realClock.monotonicMs();
  defer = (action: () => void): void => realClock.defer(action);

  schedule(delayMs: number, action: () => void): { cancel(): void } {
    const entry = { delayMs, action };
    this.due.push(entry);
    return { cancel: () => (this.due = this.due.filter(other => other !== entry)) };
  }

  /** Runs what was scheduled with this delay; answers how many that were. */
  elapse(delayMs: number): number {
    const now = this.due.filter(entry => entry.delayMs === delayMs);
    this.due = this.due.filter(entry => entry.delayMs !== delayMs);
    for (const { action } of now) action();
    return now.length;
  }
}

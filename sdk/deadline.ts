// A time limit and a caller's signal as one signal, on the injected clock.

import { onAbort } from './abort.ts';
import type { Clock } from './clock.ts';

export class Deadline {
  /** Aborts with the caller's reason, or with what `onExpiry` answers. */
  readonly signal: AbortSignal;
  readonly #release: () => void;
  #isExpired = false;

  constructor(
    clock: Clock,
    limit: { readonly ms: number; readonly onExpiry: () => unknown; readonly signal?: AbortSignal | undefined },
  ) {
    const controller = new AbortController();
    this.signal = controller.signal;
    const timer = clock.schedule(limit.ms, () => {
      this.#isExpired = true;
      controller.abort(limit.onExpiry());
    });
    const stop = onAbort(limit.signal, reason => controller.abort(reason));
    this.#release = () => {
      timer.cancel();
      stop();
    };
  }

  /** True when time ran out, false when the caller aborted or nothing happened yet. */
  get isExpired(): boolean {
    return this.#isExpired;
  }

  release(): void {
    this.#release();
  }
}

/** Resolves after the time, or rejects with the signal's reason. */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let stop = (): void => {};
    const timer = clock.schedule(ms, () => {
      stop();
      resolve();
    });
    stop = onAbort(signal, reason => {
      timer.cancel();
      reject(reason);
    });
  });
}

// The cleaner of a node: whenever it is called it looks at all compacted logs and cleans the dirtiest, one log at a time, until none is due.
//
// It works beside everything else on the same event loop and the same disk, so it goes in small steps: after each piece whatever waits is
// handled first, and where that was something the cleaner rests for twice as long as it worked, so that at most a third of a busy loop is
// its own, and all of an idle one.

import type { Logger } from '../../base/logger.ts';
import { type CleanerReport, NO_CLEANING } from '../../base/metrics.ts';
import type { Clock } from '../../io/clock.ts';
import type { Random } from '../../io/random.ts';
import type { PartitionLog } from '../partition-log.ts';
import type { HashSeed } from './key-hash.ts';
import type { CleanedLog, CleaningBounds } from './log-compaction.ts';

/** A log that may be cleaned. */
export interface CleanerTarget {
  readonly log: PartitionLog;
  /** Committed, as far as this node knows. */
  readonly limit: CleaningBounds['limit'];
  /** What every replica has; asked of whoever leads. */
  readonly heldByAll: () => Promise<CleaningBounds['heldByAll']>;
}

export interface CleanerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly targets: () => Iterable<CleanerTarget>;
}

/** A turn of the loop in which nothing happened is shorter. */
const OTHERS_MS_MIN = 0.2;
/** However long a piece took: a large batch is worked on in one. */
const REST_MS_MAX = 20;

export class Cleaner {
  readonly #options: CleanerOptions;
  #running: Promise<void> | null = null;
  #isStopped = false;
  #report: CleanerReport = NO_CLEANING;

  constructor(options: CleanerOptions) {
    this.#options = options;
  }

  get report(): CleanerReport {
    return this.#report;
  }

  /** Cleans whatever is due, the dirtiest first; called while it is at work it goes on with that. */
  run(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    this.#running ??= this.#run().finally(() => (this.#running = null));
    return this.#running;
  }

  async #run(): Promise<void> {
    /** Those that have had their turn without getting further. */
    const stuck = new Set<PartitionLog>();
    for (let target = await this.#dirtiest(stuck); target !== null; target = await this.#dirtiest(stuck)) {
      const { log } = target;
      const before = log.cleanTo;
      await this.#clean(target);
      if (log.cleanTo <= before) stuck.add(log);
    }
  }

  async #dirtiest(stuck: ReadonlySet<PartitionLog>): Promise<CleanerTarget | null> {
    let dirtiest: CleanerTarget | null = null;
    let most = -1;
    for (const target of Array.from(this.#options.targets())) {
      if (this.#isStopped) return null;
      if (stuck.has(target.log)) continue;
      const { ratio, isDue } = await target.log.dirtiness(target.limit);
      if (!isDue || ratio <= most) continue;
      most = ratio;
      dirtiest = target;
    }
    return dirtiest;
  }

  async #clean(target: CleanerTarget): Promise<void> {
    this.#report = { ...this.#report, isAtWork: true };
    try {
      await this.#cleanOne(target);
    } finally {
      this.#report = { ...this.#report, isAtWork: false };
    }
  }

  async #cleanOne({ log, limit, heldByAll }: CleanerTarget): Promise<void> {
    const { clock, logger } = this.#options;
    const pace = pacing(clock);
    const startedMs = clock.monotonicMs();
    const outcome = await log.clean({ limit, heldByAll: await heldByAll(), seed: this.#seed(), pace });
    const { directory } = log;
    if (outcome.kind === 'interrupted') {
      if (!this.#isStopped)
        logger.warn({ directory, reason: outcome.reason }, 'a cleaning ended early: it is tried again');
    } else if (outcome.kind === 'cleaned') {
      this.#note(outcome.cleaned);
      const seconds = (clock.monotonicMs() - startedMs) / 1_000;
      logger.info({ directory, seconds, ...outcome.cleaned }, 'a log was cleaned');
    }
  }

  #note({ bytesRead, bytesBefore, bytesAfter }: CleanedLog): void {
    const report = this.#report;
    this.#report = {
      ...report,
      bytesRead: report.bytesRead + bytesRead,
      bytesFreed: report.bytesFreed + bytesBefore - bytesAfter,
      runs: report.runs + 1,
      lastRunSeconds: this.#options.clock.wallMs() / 1_000,
    };
  }

  #seed(): HashSeed {
    const word = (): number => Math.floor(this.#options.random.fraction() * 0x1_0000_0000);
    return { low: word(), high: word() };
  }

  /** What is under way ends with its log, which the caller closes. */
  stop(): void {
    this.#isStopped = true;
  }
}

/** Awaited after each piece of work. */
const pacing = (clock: Clock): (() => Promise<void>) => {
  let beganMs = clock.monotonicMs();
  return async () => {
    const endedMs = clock.monotonicMs();
    await new Promise<void>(resolve => clock.defer(resolve));
    if (clock.monotonicMs() - endedMs > OTHERS_MS_MIN) {
      const restMs = Math.min(2 * (endedMs - beganMs), REST_MS_MAX);
      await new Promise<void>(resolve => clock.schedule(restMs, resolve));
    }
    beganMs = clock.monotonicMs();
  };
};

// What becomes of a log whose disk refused a write or a sync. A full disk is cut back, and the log takes appends again by itself when there
// is room; anything else poisons it until the next start.

import { DISK_HEADROOM_BYTES } from '../base/limits.ts';
import { DiskFault } from '../io/disk.ts';
import type { LogCut } from './log-cut.ts';
import { SyncFailure } from './log-sync.ts';
import type { LogState, OpenLog } from './open-log.ts';

const FULL_RETRY_MS = 250;

export class LogFailures {
  readonly #log: OpenLog;
  readonly #cut: LogCut;

  constructor(log: OpenLog, cut: LogCut) {
    this.#log = log;
    this.#cut = cut;
  }

  /** Inside the pump. A full disk is cut back; anything else poisons the log. */
  async writeFailed(cause: unknown): Promise<void> {
    const fault =
      cause instanceof DiskFault
        ? cause
        : new DiskFault('failed', this.#log.directory, cause instanceof SyncFailure ? cause.cause : cause);
    const isFull = fault.kind === 'full' && !(cause instanceof SyncFailure);
    if (this.#log.state === 'closed') return;
    this.#log.fault = fault;
    this.#log.state = isFull ? 'full' : 'failed';
    this.#log.context.logger.error(
      { directory: this.#log.directory, fault: fault.message, state: this.#log.state },
      isFull
        ? 'the disk is full: the unsynced end of the log is cut back, appends are refused until there is room'
        : 'a write or sync failed: the log takes no more appends until a restart',
    );
    this.#cut.forgetBehind(this.#log.durable);
    if (isFull) {
      try {
        await this.#cut.truncateFiles();
        this.#scheduleReopen();
      } catch (second) {
        this.#log.fault = second instanceof DiskFault ? second : new DiskFault('failed', this.#log.directory, second);
        this.#log.state = 'failed';
        this.#log.context.logger.error(
          { directory: this.#log.directory, fault: this.#log.fault.message },
          'the unsynced end of the log could not be cut back: the log takes no more appends until a restart',
        );
      }
    }
    this.#log.listener.dropped(isFull && this.#log.state !== 'failed' ? 'full' : 'failed', this.#log.durable.offset);
  }

  #scheduleReopen(): void {
    this.#log.context.clock.schedule(FULL_RETRY_MS, () => {
      // A disk that cannot be asked now is asked again.
      this.#reopenWithRoom().catch(() => this.#scheduleReopen());
    });
  }

  async #reopenWithRoom(): Promise<void> {
    if (this.#log.state !== 'full') return;
    const free = await this.#log.context.disk.freeBytes(this.#log.directory);
    // A close may have come while the disk was asked.
    if ((this.#log.state as LogState) !== 'full') return;
    if (free < DISK_HEADROOM_BYTES) {
      this.#scheduleReopen();
      return;
    }
    this.#log.state = 'open';
    this.#log.fault = null;
    this.#log.context.logger.info(
      { directory: this.#log.directory },
      'there is room on the disk again: the log takes appends',
    );
  }
}

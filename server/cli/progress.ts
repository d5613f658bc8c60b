// A line about work under way, on a terminal only and once a second at most; a pipe sees nothing of it.

import type { Terminal } from './terminal.ts';

const INTERVAL_MS = 1_000;
const ERASE_LINE = '\r\u001b[K';

export class Progress {
  private readonly terminal: Terminal;
  private shownAtMs = performance.now();
  private isShown = false;

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  /** `text` is asked for only when it is shown. */
  tick(text: () => string): void {
    if (!this.terminal.isInteractive) return;
    const nowMs = performance.now();
    if (nowMs - this.shownAtMs < INTERVAL_MS) return;
    this.shownAtMs = nowMs;
    this.isShown = true;
    this.terminal.note(ERASE_LINE + text());
  }

  end(): void {
    if (this.isShown) this.terminal.note(ERASE_LINE);
    this.isShown = false;
  }
}

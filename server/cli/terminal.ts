// The world as a command sees it: standard streams, environment, Ctrl-C.
//
// Guarantees: a write waits when the reader is slow, so that output is never collected in memory; a reader that went
// away (EPIPE, as after `| head`) ends the command quietly with exit code 0; the first SIGINT or SIGTERM asks the command
// to end, the second ends the process at once with exit code 1.

import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

export interface Terminal {
  readonly input: Readable & { readonly isTTY?: boolean };
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Progress is shown and questions are asked only here. */
  readonly isInteractive: boolean;
  /** Aborted by the first SIGINT or SIGTERM, and when the reader of standard output went away. */
  readonly interrupted: AbortSignal;
  /** Resolves when there is room for more. */
  print(output: string | Uint8Array): Promise<void>;
  /** To standard error. */
  note(text: string): void;
  /** Resolves when everything printed has left the process. */
  flush(): Promise<void>;
}

/** The part of `process` that a terminal is made of. */
export interface Host {
  readonly stdin: Terminal['input'];
  readonly stdout: Writable;
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly env: Terminal['environment'];
  on(event: 'SIGINT' | 'SIGTERM', listener: () => void): unknown;
  exit(code: number): never;
}

/** The process's own terminal. Called once: it installs signal handlers. */
export const openTerminal = (host: Host): Terminal => {
  const interruption = new AbortController();
  let signals = 0;
  const onSignal = (): void => {
    if (++signals > 1) host.exit(1);
    interruption.abort();
  };
  host.on('SIGINT', onSignal);
  host.on('SIGTERM', onSignal);
  let isReaderGone = false;
  host.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    isReaderGone = true;
    interruption.abort();
  });
  // Nobody can be told that standard error is gone.
  host.stderr.on('error', () => {});
  return {
    // Looking at standard input opens it; most commands never do.
    get input() {
      return host.stdin;
    },
    environment: host.env,
    isInteractive: host.stderr.isTTY === true,
    interrupted: interruption.signal,
    async print(output) {
      if (isReaderGone || host.stdout.write(output)) return;
      await once(host.stdout, 'drain', { signal: interruption.signal }).catch(() => undefined);
    },
    note(text) {
      host.stderr.write(text);
    },
    flush: () => new Promise(done => host.stdout.write('', () => done())),
  };
};

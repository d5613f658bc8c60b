// The command line as a user starts it: a process of its own, through the launcher.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

const launcher = new URL('../../server/sluice.cjs', import.meta.url).pathname;

export interface Launched extends AsyncDisposable {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** What was printed so far. */
  readonly output: () => string;
  readonly notes: () => string;
  /** Resolves when the output matches; rejects when the process ends before. */
  readonly printed: (pattern: RegExp) => Promise<RegExpExecArray>;
  /** Resolves with the exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
}

/** Settings of this process's own environment never reach the child. */
export const cleanEnvironment = (extra: Record<string, string> = {}): Record<string, string> => {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICE_') && name !== 'NODE_OPTIONS');
  return { ...(Object.fromEntries(kept) as Record<string, string>), ...extra };
};

export const launch = (words: readonly string[], environment: Record<string, string> = {}): Launched => {
  const child = spawn(process.execPath, [launcher, ...words], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: cleanEnvironment(environment),
  });
  let output = '';
  let notes = '';
  let isEnded = false;
  const watchers = new Set<() => void>();
  const changed = (): void => {
    for (const watcher of watchers) watcher();
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    changed();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    notes += text;
  });
  // A child that ends early takes its input's reader away; the test sees the exit code.
  child.stdin.on('error', () => {});
  const ended = once(child, 'close').then(([code, signal]: (number | string | null)[]) => {
    isEnded = true;
    changed();
    return code ?? signal ?? 'gone';
  });
  const printed = (pattern: RegExp): Promise<RegExpExecArray> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(output);
        if (match === null && !isEnded) return;
        watchers.delete(look);
        if (match === null) reject(new Error(`ended without ${String(pattern)}:\n${output}\n${notes}`));
        else resolve(match);
      };
      watchers.add(look);
      look();
    });
  return {
    child,
    output: () => output,
    notes: () => notes,
    printed,
    ended,
    async [Symbol.asyncDispose]() {
      if (!isEnded) child.kill('SIGKILL');
      await ended;
    },
  };
};

/** A process whose input ends at once, to its end. */
export const launchToEnd = async (
  words: readonly string[],
  options: { readonly input?: string | Uint8Array; readonly environment?: Record<string, string> } = {},
): Promise<{ readonly exitCode: number | string; readonly output: string; readonly notes: string }> => {
  await using launched = launch(words, options.environment);
  launched.child.stdin.end(options.input ?? '');
  const exitCode = await launched.ended;
  return { exitCode, output: launched.output(), notes: launched.notes() };
};

// Runs the command line in the test's own process, with streams of its own: everything but the process around it. Tests
// that are about the process (signals, pipes, exit codes of the launcher) spawn it instead: launched.ts.

import { PassThrough, type Readable } from 'node:stream';
import type { StartNode } from '../../server/cli/command.ts';
import { runCommandLine } from '../../server/cli/command-line.ts';
import type { Terminal } from '../../server/cli/terminal.ts';

export interface CommandRun {
  readonly exitCode: number;
  readonly output: Buffer;
  readonly text: string;
  /** What was said on standard error. */
  readonly notes: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array | Readable;
  readonly environment?: Record<string, string>;
  readonly interruption?: AbortController;
  /** Called with each piece as it is printed. */
  readonly onPrint?: (text: string) => void;
  readonly startNode?: StartNode;
  /** Somebody sits at the terminal. */
  readonly isInteractive?: boolean;
}

const nobodyStarts: StartNode = () => Promise.reject(new Error('this run starts no broker'));

export const runCommand = async (words: readonly string[], options: RunOptions = {}): Promise<CommandRun> => {
  const pieces: Buffer[] = [];
  let notes = '';
  const interruption = options.interruption ?? new AbortController();
  const terminal: Terminal = {
    input: Object.assign(inputOf(options.input ?? ''), { isTTY: options.isInteractive === true }),
    environment: options.environment ?? {},
    isInteractive: options.isInteractive === true,
    interrupted: interruption.signal,
    print: async piece => {
      const bytes = typeof piece === 'string' ? Buffer.from(piece, 'utf8') : Buffer.from(piece);
      pieces.push(bytes);
      options.onPrint?.(bytes.toString('utf8'));
    },
    note: text => {
      notes += text;
    },
    flush: async () => {},
  };
  const exitCode = await runCommandLine(words, { terminal, startNode: options.startNode ?? nobodyStarts });
  const output = Buffer.concat(pieces);
  return { exitCode, output, text: output.toString('utf8'), notes };
};

const inputOf = (input: string | Uint8Array | Readable): Readable => {
  if (typeof input !== 'string' && !(input instanceof Uint8Array)) return input;
  const stream = new PassThrough();
  stream.end(input);
  return stream;
};

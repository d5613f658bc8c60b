// The command line as a process: lines in, output out, and how it ended.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { environmentWithoutSettings, LAUNCHER, type ProcessEnd } from './broker-process.ts';

export interface CommandEnd extends Omit<ProcessEnd, 'stdout'> {
  readonly stdout: Buffer;
}

/** Runs `sluice WORDS` to its end, feeding `input` as fast as it is taken. A command that ends early is no error here. */
export async function sluice(
  words: readonly string[],
  input: AsyncIterable<Uint8Array> | Iterable<Uint8Array> = [],
): Promise<CommandEnd> {
  const child = spawn(process.execPath, [LAUNCHER, ...words], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: environmentWithoutSettings(),
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
  child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  // A command that ends before it has read everything closes the pipe: its exit status tells.
  const broken = once(child.stdin, 'error');
  for await (const piece of input) {
    if (!child.stdin.writable) break;
    if (!child.stdin.write(piece)) await Promise.race([drained(child.stdin), broken, ended]);
  }
  child.stdin.end();
  const [status, signal] = await ended;
  return { status, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString('utf8') };
}

function drained(stream: NodeJS.WritableStream): Promise<void> {
  return new Promise(resolve => {
    stream.once('drain', resolve);
  });
}

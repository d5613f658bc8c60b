// Destructive commands ask on a terminal, and need --yes where nobody can be asked.

import { createInterface } from 'node:readline/promises';
import type { CommandContext } from './command.ts';

/** Throws wrong usage where there is neither --yes nor somebody to ask. */
export const isConfirmed = async ({ invocation, terminal }: CommandContext, question: string): Promise<boolean> => {
  if (invocation.isOn('yes')) return true;
  if (!terminal.isInteractive || terminal.input.isTTY !== true) {
    throw invocation.misused('this cannot be undone and there is nobody to ask: add --yes');
  }
  // Without an output of its own it neither echoes nor moves the cursor: the terminal does that.
  const lines = createInterface({ input: terminal.input });
  const ended = new Promise<string>(done => lines.once('close', () => done('')));
  try {
    terminal.note(`${question} [y/N] `);
    const answer = await Promise.race([lines.question('', { signal: terminal.interrupted }), ended]);
    return /^y(?:es)?$/i.test(answer.trim());
  } catch {
    // Ctrl-C is a no, as is the end of the input.
    return false;
  } finally {
    lines.close();
  }
};

// Destructive commands ask on a terminal, and need --yes where nobody can be asked.

import { createInterface } from 'node:readline/promises';
import type { CommandContext } from './command.ts';

/** Throws wrong usage where there is neither --yes nor somebody to ask. */
export const isConfirmed = async ({ invocation, terminal }: CommandContext, question: string): Promise<boolean> => {
  if (invocation.isOn('yes')) return true;
  if (!terminal.isInteractive || terminal.input.isTTY !== true) {
    throw invocation.misused('this cannot be undone and there is nobody to ask: add --yes');
  }
  const lines = createInterface({ input: terminal.input, output: process.stderr });
  try {
    const answer = await lines.question(`${question} [y/N] `, { signal: terminal.interrupted });
    return /^y(?:es)?$/i.test(answer.trim());
  } catch {
    // Ctrl-C or the end of input is a no.
    return false;
  } finally {
    lines.close();
  }
};

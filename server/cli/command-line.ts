// One run of the command line: words in, exit code out.
//
// Guarantees: 0 done, 1 the operation failed, 2 wrong usage; a failure is one line on standard error. What is thrown and
// is no CommandFailure is a defect and passes through to main.ts, which ends the process with 70.

import type { CommandContext } from './command.ts';
import { commands } from './commands.ts';
import { CommandFailure, failureLine } from './failure.ts';
import { helpText } from './help.ts';
import { parseLine } from './invocation.ts';

export type CommandLineContext = Omit<CommandContext, 'invocation' | 'syntax'>;

export const runCommandLine = async (words: readonly string[], context: CommandLineContext): Promise<number> => {
  const { terminal } = context;
  try {
    const line = parseLine(commands, words[0] === '--version' ? ['version', ...words.slice(1)] : words);
    if (line.kind === 'help') {
      await terminal.print(helpText(commands, line.path));
      return 0;
    }
    const run = await line.command.load();
    return await run({ ...context, syntax: commands, invocation: line.invocation });
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    terminal.note(failureLine(error));
    return error.exitCode;
  }
};

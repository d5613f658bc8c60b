// The process: what sluice.cjs starts. It gives the command line its terminal and the function that starts a broker, and
// it is the end of every unexpected error: memory cannot be trusted any more, so it is logged and the process ends with
// exit code 70 before anything else is written. Nothing below catches such an error and goes on.

import { flushCompileCache } from 'node:module';
import { createLogger } from './base/logger.ts';
import { runCommandLine } from './cli/command-line.ts';
import { openTerminal } from './cli/terminal.ts';

const EXIT_SOFTWARE = 70;

const panic = (error: unknown): never => {
  const fields = error instanceof Error ? { error: error.stack ?? error.message } : { error: String(error) };
  createLogger('error').fatal(fields, 'unexpected error: the process ends');
  process.exit(EXIT_SOFTWARE);
};

process.on('uncaughtException', panic);
process.on('unhandledRejection', panic);

const terminal = openTerminal(process);
const exitCode = await runCommandLine(process.argv.slice(2), {
  terminal,
  // Loaded when a broker is wanted: client commands do not pay for it.
  async startNode(config, logger, interrupted) {
    const { startNode } = await import('./node.ts');
    const node = await startNode(config, logger, interrupted);
    // Written now, since a process that is killed never gets to it.
    flushCompileCache();
    return node;
  },
});
await terminal.flush();
process.exit(exitCode);

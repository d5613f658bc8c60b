// What a command is: its syntax and the function that runs it.
//
// One table of these (commands.ts) is the only source: parsing, help and shell completion all read it, so that none of
// them can know a flag that another does not. The function is loaded when it is called: `sluice version` must not pay
// for loading a broker.

import type { Logger } from '../base/logger.ts';
import type { Config } from '../config.ts';
import type { Invocation } from './invocation.ts';
import type { CommandSyntax } from './syntax.ts';
import type { Terminal } from './terminal.ts';

/** A broker in this process. Addresses are HOST:PORT as bound. */
export interface RunningNode {
  readonly addresses: { readonly http: string; readonly grpc: string; readonly management: string };
  readonly clusterId: string;
  /** Drains, syncs, writes the clean-shutdown mark. */
  stop(): Promise<void>;
}

/** Handed in by main.ts, so that the command line imports nothing of the broker. Throws StartInterrupted when asked to end meanwhile. */
export type StartNode = (config: Config, logger: Logger, interrupted: AbortSignal) => Promise<RunningNode>;

export interface CommandContext {
  readonly invocation: Invocation;
  readonly terminal: Terminal;
  readonly startNode: StartNode;
  /** All commands, for those that are about the command line itself. */
  readonly syntax: readonly CommandSyntax[];
}

/** Resolves with the exit code: 0 done, 1 the operation failed. Throws CommandFailure for what one line can tell. */
export type RunCommand = (context: CommandContext) => Promise<number>;

export interface Command extends CommandSyntax {
  readonly load: () => Promise<RunCommand>;
}

// `sluice start`: settings from everywhere, a broker, a few lines that say where it is, and a clean end.
//
// Exit codes: 0 stopped by SIGTERM or SIGINT, 1 the broker cannot start (one line that says what to do), 2 a flag's value
// is wrong. Reports go to standard output, JSON logs to standard error.

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createLogger } from '../base/logger.ts';
import { StartInterrupted, StartRefusal } from '../base/start-refusal.ts';
import {
  type Config,
  CONFIG_FILE_VARIABLE,
  type ConfigFault,
  describeSource,
  formatAddress,
  isLoopback,
  isWildcard,
  type MergedSetting,
  printConfig,
  resolveConfig,
  VERSION,
} from '../config.ts';
import type { CommandContext, RunningNode } from './command.ts';
import { failure } from './failure.ts';
import type { Invocation } from './invocation.ts';
import type { Terminal } from './terminal.ts';

export const start = async (context: CommandContext): Promise<number> => {
  const { invocation, terminal } = context;
  const { config, settings } = await readConfig(invocation, terminal);
  if (invocation.isOn('print-config')) {
    await terminal.print(printConfig(settings));
    return 0;
  }
  const logger = createLogger(config.logLevel);
  for (const { name, host } of exposedDoors(config)) {
    logger.warn(
      { door: name, host },
      'this door can be reached from other machines and nobody is authenticated (--insecure): anyone there can read, write and delete every topic',
    );
  }
  // The broker's timers do not keep a process alive, and its listeners are the last to open and the first to close.
  const awake = setInterval(() => undefined, AWAKE_MS);
  try {
    // Asked to end while it recovers, the broker is stopped as soon as it stands; while it waits for the rest of its cluster, at once.
    const node = await context.startNode(config, logger, terminal.interrupted).catch((error: unknown) => {
      if (error instanceof StartInterrupted) return null;
      throw startFailure(error);
    });
    if (node === null) return 0;
    await terminal.print(announcement(config, node));
    await interruption(terminal.interrupted);
    await node.stop();
    return 0;
  } finally {
    clearInterval(awake);
  }
};

/** Any time: only that there is a timer matters. */
const AWAKE_MS = 3_600_000;

interface CheckedConfig {
  readonly config: Config;
  readonly settings: readonly MergedSetting[];
}

const readConfig = async (invocation: Invocation, terminal: Terminal): Promise<CheckedConfig> => {
  const path = invocation.optional('config') ?? terminal.environment[CONFIG_FILE_VARIABLE] ?? null;
  const file = path === null ? null : { path, text: await readSettingsFile(path) };
  const resolution = resolveConfig({ flags: invocation.given, environment: terminal.environment, file });
  if (resolution.ok) return resolution;
  const detail = resolution.faults.map(fault => `${describeSource(fault.source)}: ${fault.detail}`).join('; ');
  if (resolution.faults.some(isUsage)) throw invocation.misused(detail);
  throw failure(detail);
};

/** A flag's value that can never be right is wrong usage; what a file or a combination forbids is a refused start. */
const isUsage = (fault: ConfigFault): boolean => fault.source.kind === 'flag' && fault.kind === 'value';

const readSettingsFile = async (path: string): Promise<string> => {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw failure(
      `cannot read the settings file ${path} (${(error as NodeJS.ErrnoException).code ?? 'failed'})`,
      error,
    );
  }
};

const exposedDoors = (config: Config): { readonly name: string; readonly host: string }[] =>
  [
    { name: 'http', host: config.http.host },
    { name: 'grpc', host: config.grpc.host },
    { name: 'management', host: config.management.host },
  ].filter(({ host }) => !isLoopback(host));

const announcement = (config: Config, node: RunningNode): string => {
  const { http, grpc, management } = node.addresses;
  return [
    `Sluice ${VERSION}, node ${config.nodeId}, cluster ${node.clusterId}`,
    `  HTTP        http://${http}`,
    `  gRPC        ${grpc}`,
    `  management  http://${management}`,
    `  data        ${resolve(config.dataDir)}`,
    `Try: curl http://${reachable(http)}/v1/cluster`,
    '',
  ].join('\n');
};

/** An address that a client on this machine can use where the door listens on all of them. */
const reachable = (address: string): string => {
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[|\]$/g, '');
  const port = Number(address.slice(at + 1));
  if (!isWildcard(host)) return address;
  return formatAddress({ host: host === '::' ? '::1' : '127.0.0.1', port });
};

const interruption = (signal: AbortSignal): Promise<void> =>
  new Promise(done => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });

/** What the doors throw when an address cannot be bound; recognised by name, because the doors are not the CLI's to import. */
interface ListenFailure extends Error {
  readonly address: string;
  readonly reason: 'in-use' | 'not-permitted' | 'not-available' | 'failed';
}

const isListenFailure = (error: unknown): error is ListenFailure =>
  error instanceof Error && error.name === 'ListenFailure' && 'address' in error && 'reason' in error;

const listenAdvice: Readonly<Record<ListenFailure['reason'], string>> = {
  'in-use':
    'another process listens there; stop it, or choose another address (--http, --grpc, --management; port 0 picks a free one)',
  'not-permitted': 'this user may not listen there; choose a port above 1023',
  'not-available': 'this machine has no such address; use 127.0.0.1, or an address of one of its interfaces',
  failed: 'the system refused it; choose another address',
};

const startFailure = (error: unknown): unknown => {
  if (error instanceof StartRefusal) return failure(error.message, error);
  if (isListenFailure(error)) return failure(`cannot listen on ${error.address}: ${listenAdvice[error.reason]}`, error);
  return error;
};

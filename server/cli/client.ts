// A command's connection to a broker, through the SDK as any program would; and the SDK's errors as a person reads them.

import { Sluice, SluiceError } from '@sluice/client';
import type { CommandContext } from './command.ts';
import { refusal } from './failure.ts';

const SERVER_DEFAULT = '127.0.0.1:9090';

/** A person waits for this; a program's default is longer. */
const CONNECT_TIMEOUT_MS = 3_000;

export interface ClientContext extends CommandContext {
  readonly client: Sluice;
}

/** Opens a client for the time of `use`, and turns what the SDK throws into one line. */
export const withClient = async (
  context: CommandContext,
  use: (context: ClientContext) => Promise<number>,
): Promise<number> => {
  const { invocation, terminal } = context;
  const server = invocation.optional('server') ?? terminal.environment['SLUICE_SERVER'] ?? SERVER_DEFAULT;
  const token = invocation.optional('token') ?? terminal.environment['SLUICE_TOKEN'];
  const servers = server.split(',').map(part => part.trim());
  for (const address of servers) {
    if (!/^(?:\[[0-9a-fA-F:.]+\]|[^:[\]\s/]+):\d{1,5}$/.test(address)) {
      throw invocation.misused(`"${address}" is not the address of a server; use HOST:PORT of its gRPC door`);
    }
  }
  const client = new Sluice({
    servers,
    clientId: 'sluice-cli',
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    ...(token === undefined ? {} : { token }),
  });
  try {
    return await use({ ...context, client });
  } catch (error) {
    // Ctrl-C, passed on as the signal of a call.
    if (terminal.interrupted.aborted && error === terminal.interrupted.reason) return 0;
    throw clientFailure(error, server);
  } finally {
    await client.close();
  }
};

/** Everything else comes back as it is. */
const clientFailure = (error: unknown, server: string): unknown => {
  if (!(error instanceof SluiceError)) return error;
  return refusal(error, `${error.detail}${advice(error, server)}`);
};

/** What to do about it, where there is something to do. */
const advice = (error: SluiceError, server: string): string => {
  if (error.outcome === 'unknown') return '; look whether it was done before doing it again';
  const topic = error.facts['topic'];
  const advices: Partial<Record<SluiceError['code'], string>> = {
    TOPIC_NOT_FOUND: `; \`sluice topic create ${String(topic ?? 'NAME')}\` creates it, \`sluice topic list\` shows what there is`,
    TOPIC_EXISTS: '; --if-not-exists makes that no error',
    REQUEST_TIMED_OUT: `; is a broker listening at ${server}? \`sluice start\` starts one, --server names another`,
    UNAUTHENTICATED: '; give a token with --token or SLUICE_TOKEN',
  };
  return advices[error.code] ?? (error.retriable ? '; try again' : '');
};

// The gRPC port. This file owns the sockets: it binds them itself and hands connections to grpc-js, so that a failure to
// bind is known by its error code and the number of connections is bounded.
//
// Stopping: no new connections → open calls are told and end → every session is closed when its last call has ended, or
// cut after GRPC_DRAIN_MS_MAX.

import { createServer, type AddressInfo, type Server as SocketServer, type Socket } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import {
  GRPC_CONNECTIONS_MAX,
  GRPC_CONNECTION_WINDOW_BYTES,
  GRPC_DRAIN_MS_MAX,
  GRPC_IDLE_MS,
  GRPC_KEEPALIVE_MS,
  GRPC_KEEPALIVE_TIMEOUT_MS,
  GRPC_MESSAGE_BYTES_MAX,
  GRPC_SESSION_MEMORY_MIB_MAX,
  GRPC_STREAMS_PER_SESSION_MAX,
  GRPC_STREAM_WINDOW_BYTES,
  HEADER_BYTES_MAX,
} from '../../base/limits.ts';
import { limitConnections } from '../connection-limit.ts';
import type { GatewayContext, ListenAddress, Listener } from '../gateway.ts';
import { listenFailure } from '../listen-failure.ts';
import { admitMessages } from './message-admission.ts';
import { OpenCalls } from './open-calls.ts';
import { ReadGates } from './read-gate.ts';
import { addServices } from './services.ts';
import { guardSession, guardStream, sessionLimits } from './session-guard.ts';
import { limitSessions } from '../../base/grpc-windows.ts';

export interface GrpcOptions {
  readonly listen: ListenAddress;
}

export const listenGrpc = async (context: GatewayContext, options: GrpcOptions): Promise<Listener> => {
  const calls = new OpenCalls(context);
  const gates = new ReadGates();
  const server = new Server({
    'grpc.max_receive_message_length': GRPC_MESSAGE_BYTES_MAX,
    // What is sent is bounded where it is made.
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': GRPC_STREAMS_PER_SESSION_MAX,
    'grpc-node.max_session_memory': GRPC_SESSION_MEMORY_MIB_MAX,
    'grpc.keepalive_time_ms': GRPC_KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': GRPC_KEEPALIVE_TIMEOUT_MS,
    'grpc.max_connection_idle_ms': GRPC_IDLE_MS,
    'grpc.enable_channelz': 0,
    interceptors: [gates.interceptor],
  });
  const connectionMetrics = context.metrics.connections('grpc');
  const { clock, bodyBudget } = context;
  const receive = {
    streamWindowBytes: GRPC_STREAM_WINDOW_BYTES,
    connectionWindowBytes: GRPC_CONNECTION_WINDOW_BYTES,
    headerBytesMax: HEADER_BYTES_MAX,
    session: sessionLimits,
  };
  limitSessions(server, receive, {
    session: session => guardSession(session, clock, connectionMetrics),
    stream(stream) {
      guardStream(stream);
      admitMessages(stream, { budget: bodyBudget, clock });
    },
  });
  addServices(server, context, { calls, gates });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  // Known here because grpc-js does not cut its sessions where channelz is off, and where closing an HTTP/2 server closes
  // its sessions (Node 24) takes those for closed that still have calls.
  const connections = new Set<Socket>();
  const sockets = createServer({ noDelay: true }, socket => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    injector.injectConnection(socket);
  });
  limitConnections(sockets, GRPC_CONNECTIONS_MAX, connectionMetrics);
  const address = await bind(sockets, options.listen);
  // For example too many open files: connections wait in the system's queue meanwhile.
  sockets.on('error', error => context.logger.error({ door: 'grpc', err: error }, 'the listener failed'));
  return new GrpcListener(address, { context, server, sockets, connections, calls });
};

interface Parts {
  readonly context: GatewayContext;
  readonly server: Server;
  readonly sockets: SocketServer;
  readonly connections: ReadonlySet<Socket>;
  readonly calls: OpenCalls;
}

class GrpcListener implements Listener {
  readonly address: string;
  readonly #parts: Parts;
  #draining: Promise<void> | null = null;

  constructor(address: string, parts: Parts) {
    this.address = address;
    this.#parts = parts;
  }

  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  async close(): Promise<void> {
    const { server, sockets, connections } = this.#parts;
    const closed = new Promise<void>(resolve => {
      sockets.close(() => resolve());
    });
    server.forceShutdown();
    for (const socket of connections) socket.destroy();
    await closed;
  }

  async #drain(): Promise<void> {
    const { context, server, sockets, connections, calls } = this.#parts;
    sockets.close();
    calls.drain();
    // Tells clients to open calls elsewhere; each connection closes after its last call.
    server.tryShutdown(() => {});
    await new Promise<void>(resolve => {
      const limit = context.clock.schedule(GRPC_DRAIN_MS_MAX, resolve);
      const closed = (): void => {
        if (connections.size > 0) return;
        limit.cancel();
        resolve();
      };
      for (const socket of connections) socket.once('close', closed);
      closed();
    });
  }
}

const bind = (sockets: SocketServer, { host, port }: ListenAddress): Promise<string> =>
  new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(listenFailure(`${host}:${port}`, error));
    sockets.once('error', fail);
    sockets.listen({ host, port }, () => {
      sockets.off('error', fail);
      const bound = sockets.address() as AddressInfo;
      resolve(bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`);
    });
  });

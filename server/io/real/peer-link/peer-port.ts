// The peer port: the sockets, and grpc-js on top of them.
//
// Guarantees: a connection that does not prove the secret in time is cut, and there are few of them at once. One connection
// carries one stream, so that ending a stream and ending its connection are one thing.

import { createServer, type AddressInfo, type Server as SocketServer, type Socket } from 'node:net';
import { Server, ServerCredentials, type ConnectionInjector, type ServiceDefinition } from '@grpc/grpc-js';
import { limitSessions } from '../../../base/grpc-windows.ts';
import {
  GRPC_CONNECTION_WINDOW_BYTES,
  GRPC_HEADER_PAIRS_MAX,
  GRPC_INVALID_FRAMES_MAX,
  GRPC_REJECTED_STREAMS_MAX,
  GRPC_SESSION_MEMORY_MIB_MAX,
  GRPC_SETTINGS_MAX,
  GRPC_STREAM_WINDOW_BYTES,
  HEADER_BYTES_MAX,
  PEER_CONNECTIONS_MAX,
  PEER_HANDSHAKE_MS_MAX,
  PEER_KEEPALIVE_MS,
  PEER_KEEPALIVE_TIMEOUT_MS,
  PEER_UNPROVEN_CONNECTIONS_MAX,
} from '../../../base/limits.ts';
import type { Logger } from '../../../base/logger.ts';
import type { Clock } from '../../clock.ts';
import type { AcceptedConnection, ConnectCall } from './accepted-lane.ts';
import { CONNECT_PATH } from './dialled-lane.ts';
import { MESSAGE_BYTES_MAX } from './wire.ts';

export interface PortOwner {
  readonly clock: Clock;
  readonly logger: Logger;
  /** A stream was opened on a connection that had none. */
  readonly accept: (call: ConnectCall, connection: AcceptedConnection) => void;
}

const same = (bytes: Buffer): Buffer => bytes;

const service: ServiceDefinition = {
  connect: {
    path: CONNECT_PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
};

class Connection implements AcceptedConnection {
  readonly remoteAddress: string;
  readonly #socket: Socket;
  readonly #settled: () => void;
  hasStream = false;
  #isProven = false;

  /** `settled` is called once, when it is proven or gone. */
  constructor(socket: Socket, clock: Clock, settled: () => void) {
    this.#socket = socket;
    this.remoteAddress = `${socket.remoteAddress}:${socket.remotePort}`;
    const late = clock.schedule(PEER_HANDSHAKE_MS_MAX, () => this.cut());
    this.#settled = () => {
      late.cancel();
      if (!this.#isProven) settled();
      this.#isProven = true;
    };
    socket.once('close', this.#settled);
  }

  proven(): void {
    this.#settled();
  }

  cut(): void {
    this.#socket.destroy();
  }
}

export class PeerPort {
  readonly #sockets: SocketServer;
  /** By remote address, which is what grpc-js tells of a call. */
  readonly #connections = new Map<string, Connection>();
  #running: { readonly server: Server; readonly injector: ConnectionInjector; readonly owner: PortOwner } | null = null;
  #unproven = 0;

  constructor() {
    this.#sockets = createServer({ noDelay: true }, socket => this.#connected(socket));
    this.#sockets.maxConnections = PEER_CONNECTIONS_MAX;
  }

  /** Answers HOST:PORT; rejects with the system's error. Whoever connects before `start` is turned away. */
  bind({ host, port }: { readonly host: string; readonly port: number }): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#sockets.once('error', reject);
      this.#sockets.listen({ host, port }, () => {
        this.#sockets.off('error', reject);
        const bound = this.#sockets.address() as AddressInfo;
        resolve(bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`);
      });
    });
  }

  start(owner: PortOwner): void {
    const server = createGrpcServer();
    server.addService(service, { connect: (call: ConnectCall): void => this.#called(call, owner) });
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#running = { server, injector, owner };
    // For example too many open files: connections wait in the system's queue meanwhile.
    this.#sockets.on('error', error => owner.logger.error({ door: 'peer', err: error }, 'the listener failed'));
  }

  async close(): Promise<void> {
    const closed = new Promise<void>(resolve => {
      this.#sockets.close(() => resolve());
    });
    this.#running?.server.forceShutdown();
    for (const connection of this.#connections.values()) connection.cut();
    await closed;
  }

  #connected(socket: Socket): void {
    if (
      this.#running === null ||
      this.#unproven >= PEER_UNPROVEN_CONNECTIONS_MAX ||
      socket.remoteAddress === undefined
    ) {
      socket.destroy();
      return;
    }
    const { injector, owner } = this.#running;
    this.#unproven++;
    const connection = new Connection(socket, owner.clock, () => this.#unproven--);
    this.#connections.set(connection.remoteAddress, connection);
    socket.once('close', () => this.#connections.delete(connection.remoteAddress));
    injector.injectConnection(socket);
  }

  #called(call: ConnectCall, owner: PortOwner): void {
    const connection = this.#connections.get(call.getPeer());
    if (connection === undefined || connection.hasStream) {
      // Gone already, or more than one stream.
      call.on('error', () => {});
      call.end();
      return;
    }
    connection.hasStream = true;
    owner.accept(call, connection);
  }
}

const createGrpcServer = (): Server => {
  const server = new Server({
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': 1,
    'grpc-node.max_session_memory': GRPC_SESSION_MEMORY_MIB_MAX,
    'grpc.keepalive_time_ms': PEER_KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': PEER_KEEPALIVE_TIMEOUT_MS,
    'grpc.enable_channelz': 0,
  });
  const receive = {
    streamWindowBytes: GRPC_STREAM_WINDOW_BYTES,
    connectionWindowBytes: GRPC_CONNECTION_WINDOW_BYTES,
    headerBytesMax: HEADER_BYTES_MAX,
    session: {
      maxSettings: GRPC_SETTINGS_MAX,
      maxHeaderListPairs: GRPC_HEADER_PAIRS_MAX,
      maxSessionInvalidFrames: GRPC_INVALID_FRAMES_MAX,
      maxSessionRejectedStreams: GRPC_REJECTED_STREAMS_MAX,
    },
  };
  limitSessions(server, receive, {
    // Without a listener an error of the protocol would end the process.
    session: session => session.on('error', () => {}),
    stream: () => {},
  });
  return server;
};

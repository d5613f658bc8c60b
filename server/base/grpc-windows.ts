// The receive windows of a gRPC server, and the limits of its sessions: the gRPC door's and the peer port's.
//
// HTTP/2's default windows (64 KiB) halve what one stream carries upwards. The client of grpc-js takes them as a channel
// option; its server has no such option in 1.14, so this file reaches for private names. It is the only file that
// does, it checks that they are there, and a test measures the windows that a client is given.

import { assert } from './assert.ts';
import type { Server, ServerInterceptingCallInterface } from '@grpc/grpc-js';
import type { Http2Server, ServerHttp2Session, ServerHttp2Stream, ServerSessionOptions, Settings } from 'node:http2';

export interface ReceiveLimits {
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
  /** What one request's headers may take. */
  readonly headerBytesMax: number;
  /** What Node is told beside the windows. */
  readonly session: ServerSessionOptions;
}

export interface SessionWatch {
  session(session: ServerHttp2Session): void;
  /** After grpc-js has seen the stream. */
  stream(stream: ServerHttp2Stream): void;
}

interface Internals {
  readonly commonServerOptions: ServerSessionOptions & { settings?: Settings };
  createHttp2Server: (credentials: unknown) => Http2Server;
}

/** Relies on being called before the server binds or takes connections. */
export const limitSessions = (server: Server, limits: ReceiveLimits, watch: SessionWatch): void => {
  const internals = server as unknown as Internals;
  assert(typeof internals.commonServerOptions === 'object', 'grpc-js keeps its server options');
  assert(typeof internals.createHttp2Server === 'function', 'grpc-js makes its servers in one place');
  Object.assign(internals.commonServerOptions, limits.session);
  internals.commonServerOptions.settings = {
    ...internals.commonServerOptions.settings,
    initialWindowSize: limits.streamWindowBytes,
    maxHeaderListSize: limits.headerBytesMax,
  };
  const create = internals.createHttp2Server.bind(server);
  internals.createHttp2Server = credentials => {
    const http2Server = create(credentials);
    http2Server.on('session', (session: ServerHttp2Session) => {
      if (session.destroyed) return;
      session.setLocalWindowSize(limits.connectionWindowBytes);
      watch.session(session);
    });
    http2Server.on('stream', (stream: ServerHttp2Stream) => {
      if (!stream.destroyed) watch.stream(stream);
    });
    return http2Server;
  };
};

/** The stream below a call, which is the only way to end one whose reader stands still: a status waits behind what it has not taken. */
export const streamBelow = (call: ServerInterceptingCallInterface): ServerHttp2Stream => {
  const { stream } = call as unknown as { readonly stream?: ServerHttp2Stream };
  assert(stream !== undefined, 'grpc-js keeps the stream of a call');
  return stream;
};

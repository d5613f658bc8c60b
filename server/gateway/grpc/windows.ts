// The receive windows of the gRPC server.
//
// HTTP/2's default windows (64 KiB) halve what one stream carries upwards. The client of grpc-js takes them as a channel
// option; its server has no such option in 1.14, so this file reaches for two private names. It is the only file that
// does, it checks that they are there, and a test measures the windows that a client is given.

import { assert } from '../../base/assert.ts';
import type { Server } from '@grpc/grpc-js';
import type { Http2Server, ServerHttp2Session, Settings } from 'node:http2';

export interface ReceiveLimits {
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
  /** What one request's headers may take. */
  readonly headerBytesMax: number;
}

interface Internals {
  readonly commonServerOptions: { settings?: Settings };
  createHttp2Server: (credentials: unknown) => Http2Server;
}

/** Relies on being called before the server binds or takes connections. */
export const widenWindows = (server: Server, limits: ReceiveLimits): void => {
  const internals = server as unknown as Internals;
  assert(typeof internals.commonServerOptions === 'object', 'grpc-js keeps its server options');
  assert(typeof internals.createHttp2Server === 'function', 'grpc-js makes its servers in one place');
  internals.commonServerOptions.settings = {
    ...internals.commonServerOptions.settings,
    initialWindowSize: limits.streamWindowBytes,
    maxHeaderListSize: limits.headerBytesMax,
  };
  const create = internals.createHttp2Server.bind(server);
  internals.createHttp2Server = credentials => {
    const http2Server = create(credentials);
    http2Server.on('session', (session: ServerHttp2Session) => {
      if (!session.destroyed) session.setLocalWindowSize(limits.connectionWindowBytes);
    });
    return http2Server;
  };
};

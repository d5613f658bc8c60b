// How many connections a listener takes, and what the metrics know of them.

import type { Server, Socket } from 'node:net';
import type { ConnectionMetrics } from '../base/metrics.ts';

/** Beyond `connectionsMax` a connection is closed as it is accepted, without a word: an answer would cost what it saves. */
export const limitConnections = (server: Server, connectionsMax: number, metrics: ConnectionMetrics): void => {
  server.maxConnections = connectionsMax;
  server.on('connection', (socket: Socket) => {
    metrics.opened();
    socket.once('close', () => metrics.closed());
  });
  server.on('drop', () => metrics.refused());
};

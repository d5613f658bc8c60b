// The WebSocket's route for who does not ask for an upgrade: those who do never come to this door.

import { problem } from '@sluice/protocol/errors';
import type { HandlerTable } from './handlers.ts';

export const webSocketRoute: HandlerTable = {
  openWebSocket: {
    verb: 'unrouted',
    handle(exchange) {
      const detail = 'this route is a WebSocket: it takes a handshake with Upgrade: websocket';
      exchange.problem(problem('INVALID_REQUEST', detail, { upgrade: 'websocket' }));
    },
  },
};

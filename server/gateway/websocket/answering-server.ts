// The server of `ws`, which speaks the protocol, made to let answers out before a close frame. Loaded with the first handshake:
// a broker without WebSockets starts without it.

import { createRequire } from 'node:module';
import type * as Ws from 'ws';
import { WEBSOCKET_CHUNKS_MAX, WEBSOCKET_FRAGMENTS_MAX, WEBSOCKET_MESSAGE_BYTES_MAX } from '../../base/limits.ts';
import { SUBPROTOCOL } from './handshake.ts';

/** The answers of a turn are written at its end, and nothing may follow a close frame, whichever side it comes from. */
export interface AnsweringWebSocket extends Ws.WebSocket {
  beforeClose: (() => void) | null;
}

export type AnsweringServer = Ws.WebSocketServer;

const load = createRequire(import.meta.url);

export const answeringServer = (): AnsweringServer => {
  const { WebSocket, WebSocketServer } = load('ws') as typeof Ws;
  class Answering extends WebSocket implements AnsweringWebSocket {
    beforeClose: (() => void) | null = null;

    override close(code?: number, reason?: string | Buffer): void {
      this.beforeClose?.();
      super.close(code, reason);
    }
  }
  return new WebSocketServer({
    noServer: true,
    WebSocket: Answering,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: WEBSOCKET_MESSAGE_BYTES_MAX,
    maxFragments: WEBSOCKET_FRAGMENTS_MAX,
    maxBufferedChunks: WEBSOCKET_CHUNKS_MAX,
    handleProtocols: () => SUBPROTOCOL,
  });
};

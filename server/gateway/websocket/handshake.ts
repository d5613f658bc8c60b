// Whether a request may become a WebSocket, judged before anything is upgraded, and the HTTP answer when it may not.
//
// Order: host and origin, the door's state, the route, the method, the handshake, the subprotocol, the limit.

import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Problem } from '@sluice/protocol/errors';
import { errorTable, problem } from '@sluice/protocol/errors';
import { WEBSOCKET_CONNECTIONS_MAX } from '../../base/limits.ts';
import { httpStatus, problemDocument } from '../error-mapping.ts';
import { STATUS_CODES } from '../http-server.ts';
import type { OriginRule } from '../origin-rule.ts';

export const ROUTE = '/v1/ws';
export const SUBPROTOCOL = 'sluice.v1.json';

const VERSION = '13';
/** Seconds after which a refusal for want of room may be tried again. */
const RETRY_AFTER_SECONDS = '1';
/** 16 bytes in base64. */
const handshakeKey = /^[A-Za-z0-9+/]{22}==$/;
/** A token of RFC 9110. */
const protocolName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export interface HandshakeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly localAddress: string | undefined;
}

export interface DoorState {
  readonly originRule: OriginRule;
  readonly isDraining: boolean;
  readonly connectionCount: number;
}

/** Null when the connection may be upgraded. */
export const judgeHandshake = (request: HandshakeRequest, door: DoorState): Problem | null => {
  const { headers } = request;
  const { refusal } = door.originRule.judge(headers, request.localAddress);
  if (refusal !== null) return refusal;
  if (door.isDraining) return problem('SHUTTING_DOWN', 'this broker is stopping');
  const [path, query] = splitUrl(request.url ?? '');
  if (path !== ROUTE) {
    return problem('ROUTE_NOT_FOUND', `there is no WebSocket at this route; there is one at ${ROUTE}`);
  }
  if (query !== '')
    return problem('INVALID_REQUEST', 'this route has no query parameters', { field: query.split('=')[0]! });
  if (request.method !== 'GET') return problem('INVALID_REQUEST', 'a WebSocket handshake is a GET');
  if (!handshakeKey.test(headers['sec-websocket-key'] ?? '')) {
    return problem('INVALID_REQUEST', 'Sec-WebSocket-Key is missing or not 16 bytes in base64');
  }
  if (headers['sec-websocket-version'] !== VERSION) {
    return problem('INVALID_REQUEST', `Sec-WebSocket-Version must be ${VERSION}`, { version: VERSION });
  }
  const offered = headers['sec-websocket-protocol'];
  if (offered !== undefined) {
    const names = offered.split(',').map(name => name.trim());
    if (names.some(name => !protocolName.test(name)) || new Set(names).size !== names.length) {
      return problem('INVALID_REQUEST', 'Sec-WebSocket-Protocol is not a list of different names');
    }
    if (!names.includes(SUBPROTOCOL)) {
      return problem('INVALID_REQUEST', `the subprotocol here is ${SUBPROTOCOL}`, { subprotocol: SUBPROTOCOL });
    }
  }
  if (door.connectionCount >= WEBSOCKET_CONNECTIONS_MAX) {
    return problem('THROTTLED', 'too many WebSockets are open; try again', { limit: WEBSOCKET_CONNECTIONS_MAX });
  }
  return null;
};

const splitUrl = (url: string): readonly [string, string] => {
  const mark = url.indexOf('?');
  return mark < 0 ? [url, ''] : [url.slice(0, mark), url.slice(mark + 1)];
};

/** Answers on the socket, which nobody else has, and closes it. */
export const refuseUpgrade = (socket: Duplex, refusal: Problem, requestId: string): void => {
  const status = httpStatus(refusal.code);
  const body = JSON.stringify(problemDocument(refusal, requestId));
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `Request-Id: ${requestId}`,
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    'Connection: close',
  ];
  if (errorTable[refusal.code].retriable) lines.push(`Retry-After: ${RETRY_AFTER_SECONDS}`);
  if (refusal.facts['version'] === VERSION) lines.push(`Sec-WebSocket-Version: ${VERSION}`);
  socket.on('error', () => socket.destroy());
  socket.once('finish', () => socket.destroy());
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
};

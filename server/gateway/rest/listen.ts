// The REST door's socket: binding, limits of connections and headers, draining and closing.

import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { getCompileCacheDir } from 'node:module';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { AddressInfo } from 'node:net';
import { problem } from '@sluice/protocol/errors';
import {
  HEADER_BYTES_MAX,
  HEADER_CHECK_MS,
  HEADER_LINES_MAX,
  HEADER_TIMEOUT_MS,
  HTTP_CONNECTIONS_MAX,
} from '../../base/limits.ts';
import { limitConnections } from '../connection-limit.ts';
import { problemDocument } from '../error-mapping.ts';
import type { GatewayContext, ListenAddress, Listener, UpgradeDoor } from '../gateway.ts';
import { createHttpServer } from '../http-server.ts';
import { listenFailure } from '../listen-failure.ts';
import { createAdminHandlers } from './admin.ts';
import { createGroupHandlers } from './group.ts';
import { Contract, documentJson } from './contract.ts';
import { RestDoor } from './door.ts';
import type { OriginRule } from '../origin-rule.ts';
import { createPageHandlers, readPage } from './page.ts';
import { createProduceHandlers } from './produce.ts';
import { createProducerHandlers } from './producers.ts';
import { createReadHandlers } from './read.ts';
import { shapeFault } from './request-shape.ts';
import { webSocketRoute } from './web-socket-route.ts';

export interface RestOptions {
  readonly listen: ListenAddress;
  readonly originRule: OriginRule;
  /** Takes over the connections that ask for it. */
  readonly upgradeDoor: UpgradeDoor;
}

/** A connection without a byte in either direction for this long is closed; the longest wait for records is shorter. */
const SILENCE_MS_MAX = 120_000;
const KEEP_ALIVE_MS = 65_000;

/** The built package has the document at its top, the clone one higher, where in an installation strangers live. */
const DOCUMENT_PLACES = ['../../openapi.yaml', '../../../openapi.yaml'];

export const listenRest = async (context: GatewayContext, options: RestOptions): Promise<Listener> => {
  const yaml = readDocument();
  const page = readPage(readFileSync(new URL('page.html', import.meta.url), 'utf8'));
  const contract = new Contract(yaml, keptJson(yaml));
  const { listen, originRule, upgradeDoor } = options;
  const door = new RestDoor({
    context,
    contract,
    handlers: {
      ...createProduceHandlers(context),
      ...createProducerHandlers(context),
      ...createReadHandlers(context),
      ...webSocketRoute,
      ...createAdminHandlers(context, { yaml, json: contract.json }),
      ...createGroupHandlers(context),
      ...createPageHandlers(page),
    },
    originRule,
  });
  const server = createHttpServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADER_TIMEOUT_MS,
    connectionsCheckingInterval: HEADER_CHECK_MS,
    // Uploads of lines may last as long as they bring bytes; silence ends them.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    noDelay: true,
    // The door answers a missing Host itself, as a problem document.
    requireHostHeader: false,
    // What asks for another protocol is answered in this one.
    shouldUpgradeCallback: (request: IncomingMessage) => upgradeDoor.isFor(request),
  });
  const connections = context.metrics.connections('http');
  limitConnections(server, HTTP_CONNECTIONS_MAX, connections);
  // Node drops the lines beyond without a word; one more than allowed lets the door refuse them.
  server.maxHeadersCount = HEADER_LINES_MAX + 1;
  server.setTimeout(SILENCE_MS_MAX);
  server.on('request', (request: IncomingMessage, response: ServerResponse) => door.handle(request, response, false));
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    door.handle(request, response, true);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (shapeFault(request) !== null || door.isEnding(socket)) {
      connections.cut();
      socket.destroy();
      return;
    }
    upgradeDoor.upgrade(request, socket, head);
  });
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    door.refuseExpectation(request, response);
  });
  server.on('clientError', (error: Error, socket: Duplex) => {
    if (door.isEnding(socket)) return;
    connections.cut();
    answerUnreadable(context, error, socket);
  });
  await bind(server, listen);
  const { port } = server.address() as AddressInfo;
  return {
    address: `${bracketed(listen.host)}:${port}`,
    async drain() {
      server.close();
      await door.drain();
      server.closeIdleConnections();
    },
    close() {
      return new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
};

const readDocument = (): string => {
  for (const place of DOCUMENT_PLACES) {
    try {
      return readFileSync(new URL(place, import.meta.url), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  throw new Error('openapi.yaml is missing from this installation');
};

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/**
 * The document as JSON, kept from the start before in the folder where Node keeps compiled code (the launcher chose it: it
 * is the user's own). The name tells from which document it was made, the first line whether it is whole. Without such a
 * folder, or where it cannot be written, every start makes it anew.
 */
const keptJson = (yaml: string): string => {
  const folder = getCompileCacheDir();
  if (folder === undefined) return documentJson(yaml);
  const path = join(folder, `openapi-${digest(yaml)}.json`);
  try {
    const [check, json] = readFileSync(path, 'utf8').split('\n', 2);
    if (json !== undefined && digest(json) === check) return json;
  } catch {
    // Not there yet.
  }
  const json = documentJson(yaml);
  try {
    const unnamed = `${path}.${process.pid}`;
    writeFileSync(unnamed, `${digest(json)}\n${json}`);
    renameSync(unnamed, path);
  } catch {
    // Slower the next time, and right.
  }
  return json;
};

const bind = (server: Server, listen: ListenAddress): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(listenFailure(`${bracketed(listen.host)}:${listen.port}`, error));
    });
    server.listen(listen.port, listen.host, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });

/** IPv6 addresses as they stand in URLs. */
const bracketed = (host: string): string => (host.includes(':') && !host.startsWith('[') ? `[${host}]` : host);

/** What could not be read as HTTP still gets a problem document. */
const answerUnreadable = (context: GatewayContext, error: NodeJS.ErrnoException, socket: Duplex): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const requestId = context.random.uuid();
  const body = JSON.stringify(problemDocument(problem('INVALID_REQUEST', unreadable(error.code)), requestId));
  const lines = [
    'HTTP/1.1 400 Bad Request',
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `Request-Id: ${requestId}`,
    'Connection: close',
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
};

const unreadable = (code: string | undefined): string => {
  if (code === 'HPE_HEADER_OVERFLOW') return `the headers are longer than ${HEADER_BYTES_MAX} bytes`;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return `the headers did not arrive within ${HEADER_TIMEOUT_MS} ms`;
  return 'this is not an HTTP/1.1 request';
};

// The management port: is the process alive, is it ready, what does it count. For orchestrators and scrapers; nothing
// here changes anything, and it is bound apart from what clients reach.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ErrorCode, Facts } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';
import { HEADER_BYTES_MAX, HEADER_CHECK_MS, HEADER_TIMEOUT_MS, MANAGEMENT_CONNECTIONS_MAX } from '../../base/limits.ts';
import { limitConnections } from '../connection-limit.ts';
import { httpStatus, problemDocument } from '../error-mapping.ts';
import type { GatewayContext, ListenAddress, Listener } from '../gateway.ts';
import { createHttpServer } from '../http-server.ts';
import { listenFailure } from '../listen-failure.ts';

export interface ManagementOptions {
  readonly listen: ListenAddress;
}

export const listenManagement = async (context: GatewayContext, options: ManagementOptions): Promise<Listener> => {
  const routes = managementRoutes(context);
  const server = createHttpServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADER_TIMEOUT_MS,
      requestTimeout: HEADER_TIMEOUT_MS,
      connectionsCheckingInterval: HEADER_CHECK_MS,
    },
    (request, response) => {
      respond({ context, routes, request, response }).catch((error: unknown) => {
        context.logger.error({ door: 'management', err: error }, 'a request failed unexpectedly');
        response.destroy();
      });
    },
  );
  limitConnections(server, MANAGEMENT_CONNECTIONS_MAX, context.metrics.connections('management'));
  const address = await bind(server, options.listen);
  server.on('error', error => context.logger.error({ door: 'management', err: error }, 'the listener failed'));
  return {
    address,
    // Orchestrators go on asking while the broker stops, and are answered until the end.
    drain: async () => {},
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};

interface Page {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

type Routes = ReadonlyMap<string, () => Page | Promise<Page>>;

const json = (status: number, value: unknown): Page => ({
  status,
  contentType: 'application/json',
  body: `${JSON.stringify(value)}\n`,
});

const managementRoutes = (context: GatewayContext): Routes =>
  new Map<string, () => Page | Promise<Page>>([
    // That the event loop got here is the answer.
    ['/livez', () => json(200, { live: true })],
    [
      '/readyz',
      () => {
        const missing = context.broker.notReady();
        const ready = missing.length === 0;
        return json(ready ? 200 : 503, { ready, missing });
      },
    ],
    [
      '/metrics',
      async () => {
        const { registry } = context.metrics;
        return { status: 200, contentType: registry.contentType, body: await registry.metrics() };
      },
    ],
  ]);

interface Exchange {
  readonly context: GatewayContext;
  readonly routes: Routes;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

const respond = async (exchange: Exchange): Promise<void> => {
  const { routes, request } = exchange;
  const [path = ''] = (request.url ?? '').split('?', 1);
  const page = routes.get(path);
  if (page === undefined) {
    refuse(exchange, { code: 'ROUTE_NOT_FOUND', detail: `there is nothing at ${path}`, facts: {} });
  } else if (request.method !== 'GET' && request.method !== 'HEAD') {
    exchange.response.setHeader('Allow', 'GET, HEAD');
    refuse(exchange, { code: 'METHOD_NOT_ALLOWED', detail: `${request.method} is not allowed here`, facts: {} });
  } else {
    send(exchange, await page());
  }
};

const refuse = (
  exchange: Exchange,
  refusal: { readonly code: ErrorCode; readonly detail: string; readonly facts: Facts },
): void => {
  const requestId = exchange.context.random.uuid();
  const document = problemDocument(problem(refusal.code, refusal.detail, refusal.facts), requestId);
  exchange.response.setHeader('Request-Id', requestId);
  send(exchange, {
    status: httpStatus(refusal.code),
    contentType: 'application/problem+json',
    body: `${JSON.stringify(document)}\n`,
  });
};

const send = ({ request, response }: Exchange, page: Page): void => {
  const body = Buffer.from(page.body);
  response.writeHead(page.status, {
    'Content-Type': page.contentType,
    'Content-Length': body.byteLength,
    'Cache-Control': 'no-store',
  });
  response.end(request.method === 'HEAD' ? undefined : body);
};

const bind = (server: Server, { host, port }: ListenAddress): Promise<string> =>
  new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(listenFailure(`${host}:${port}`, error));
    server.once('error', fail);
    server.listen({ host, port }, () => {
      server.off('error', fail);
      const bound = server.address() as AddressInfo;
      resolve(bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`);
    });
  });

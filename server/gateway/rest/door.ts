// The REST door without its socket: from a request to the handler of its operation.
//
// Order of judgement, before any handler runs: the shape of the request, host and origin, the door's state, the route, the method, the query. What
// a handler throws is a bug: it is logged with its cause and answered INTERNAL, except a broken invariant, which ends
// the process.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Problem } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';
import { AssertionFailure, assert } from '../../base/assert.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { GatewayContext } from '../gateway.ts';
import type { Contract, Operation } from './contract.ts';
import { stopping } from './body.ts';
import { Exchange } from './exchange.ts';
import { expressApplication } from './express-application.ts';
import type { OriginRule } from '../origin-rule.ts';
import type { Handler, HandlerTable } from './handlers.ts';
import { shapeFault } from './request-shape.ts';

export interface DoorOptions {
  readonly context: GatewayContext;
  readonly contract: Contract;
  readonly handlers: HandlerTable;
  readonly originRule: OriginRule;
}

interface Verb {
  readonly operation: Operation;
  readonly handle: Handler;
  readonly metrics: VerbMetrics;
}

interface RestRequest extends IncomingMessage {
  exchange: Exchange;
  params: Readonly<Record<string, string>>;
}

/** Longer than an append takes on a slow disk, shorter than a supervisor's patience. */
const DRAIN_GRACE_MS = 5_000;

const PREFLIGHT_METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE';
const PREFLIGHT_SECONDS = '600';

export class RestDoor {
  readonly #context: GatewayContext;
  readonly #originRule: OriginRule;
  readonly #unrouted: VerbMetrics;
  readonly #app: (request: IncomingMessage, response: ServerResponse) => void;
  readonly #exchanges = new Set<Exchange>();
  /** Connections whose bytes may be read in two ways: they end with the answer that is on its way. */
  readonly #untrusted = new WeakSet<object>();
  #isDraining = false;
  #whenIdle: (() => void) | null = null;

  constructor(options: DoorOptions) {
    this.#context = options.context;
    this.#originRule = options.originRule;
    this.#unrouted = options.context.metrics.verb('rest', 'unrouted');
    this.#app = this.#routes(options);
  }

  /** Called for every request of the socket. */
  handle(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    if (this.#untrusted.has(request.socket)) return;
    const exchange = this.#opened(request, response, expectsContinue);
    const fault = shapeFault(request);
    if (fault !== null) {
      this.#refuseForGood(exchange, fault);
      return;
    }
    const verdict = this.#originRule.judge(request.headers, request.socket.localAddress);
    exchange.origin = verdict.origin;
    if (verdict.refusal !== null) {
      exchange.problem(verdict.refusal);
      return;
    }
    if (this.#isDraining) {
      exchange.problem(stopping());
      return;
    }
    if (request.method === 'OPTIONS' && isPreflight(exchange)) {
      answerPreflight(exchange);
      return;
    }
    (request as RestRequest).exchange = exchange;
    this.#app(request, response);
  }

  /** True when the last answer of this connection is on its way. */
  isEnding(socket: object): boolean {
    return this.#untrusted.has(socket);
  }

  /** A request with an `Expect` other than 100-continue. */
  refuseExpectation(request: IncomingMessage, response: ServerResponse): void {
    if (this.#untrusted.has(request.socket)) return;
    const exchange = this.#opened(request, response, true);
    this.#refuseForGood(exchange, problem('INVALID_REQUEST', 'the only expectation is 100-continue'));
  }

  /**
   * New requests are refused and waits are cut short; resolves when the last exchange has ended, or when those that are
   * left have had their time: a client that does not take its answer must not hold up the broker's stop.
   */
  drain(): Promise<void> {
    this.#isDraining = true;
    for (const exchange of this.#exchanges) exchange.stopWaiting();
    if (this.#exchanges.size === 0) return Promise.resolve();
    return new Promise(resolve => {
      const timer = this.#context.clock.schedule(DRAIN_GRACE_MS, resolve);
      this.#whenIdle = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  /** The answer is the connection's last: its end follows, and nothing behind the request is handled. */
  #refuseForGood(exchange: Exchange, refusal: Problem): void {
    this.#untrusted.add(exchange.request.socket);
    exchange.problem(refusal, undefined, { Connection: 'close' });
  }

  #opened(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): Exchange {
    const exchange = new Exchange({
      context: this.#context,
      request,
      response,
      expectsContinue,
      metrics: this.#unrouted,
      isDraining: () => this.#isDraining,
    });
    this.#exchanges.add(exchange);
    response.once('close', () => this.#closed(exchange));
    return exchange;
  }

  #closed(exchange: Exchange): void {
    exchange.closed();
    this.#exchanges.delete(exchange);
    if (this.#exchanges.size === 0) this.#whenIdle?.();
  }

  #routes(options: DoorOptions): (request: IncomingMessage, response: ServerResponse) => void {
    const app = expressApplication();
    app.disable('x-powered-by');
    app.disable('etag');
    app.set('query parser', false);
    app.enable('strict routing');
    app.enable('case sensitive routing');
    for (const [path, verbs] of verbsByPath(options)) {
      const allow = allowed(verbs);
      app.route(path.replaceAll(/\{(\w+)\}/g, ':$1')).all(request => {
        return dispatch(request as unknown as RestRequest, verbs, allow);
      });
    }
    app.use((request: unknown) => {
      const { exchange } = request as RestRequest;
      exchange.problem(problem('ROUTE_NOT_FOUND', 'there is no such route; /openapi.yaml lists them all'));
    });
    app.use((error: unknown, request: unknown, _response: unknown, _next: unknown) => {
      this.#failed(error, (request as RestRequest).exchange);
    });
    return app;
  }

  #failed(error: unknown, exchange: Exchange): void {
    if (error instanceof AssertionFailure) {
      // Out of the router, where nobody catches it: the process ends.
      queueMicrotask(() => {
        throw error;
      });
      return;
    }
    if (isPathFault(error)) {
      exchange.problem(problem('INVALID_REQUEST', 'the path is not a valid percent-encoding'));
      return;
    }
    this.#context.logger.error({ err: error, request_id: exchange.requestId }, 'a request failed unexpectedly');
    if (exchange.isAnswered || exchange.response.headersSent) exchange.breakStream('INTERNAL');
    else exchange.problem(problem('INTERNAL', 'the broker failed; its log has the cause under this request id'));
  }
}

/** Paths with their verbs; those of records first, because routes are tried in order. */
const verbsByPath = ({ context, contract, handlers }: DoorOptions): Map<string, Map<string, Verb>> => {
  const paths = new Map<string, Map<string, Verb>>();
  const ids = new Set<string>();
  for (const operation of contract.operations) {
    const entry = handlers[operation.id];
    assert(entry !== undefined, `the operation ${operation.id} has a handler`);
    ids.add(operation.id);
    const verbs = paths.get(operation.path) ?? new Map<string, Verb>();
    const verb: Verb = { operation, handle: entry.handle, metrics: context.metrics.verb('rest', entry.verb) };
    verbs.set(operation.method, verb);
    if (operation.method === 'GET') verbs.set('HEAD', verb);
    paths.set(operation.path, verbs);
  }
  for (const id of Object.keys(handlers)) assert(ids.has(id), `the handler ${id} has an operation`);
  return paths;
};

const allowed = (verbs: ReadonlyMap<string, Verb>): string => [...verbs.keys()].join(', ');

const dispatch = (request: RestRequest, verbs: ReadonlyMap<string, Verb>, allow: string): void | Promise<void> => {
  const { exchange } = request;
  const verb = verbs.get(request.method ?? '');
  if (verb === undefined) {
    const detail = `${request.method} is not a method of this route`;
    exchange.problem(problem('METHOD_NOT_ALLOWED', detail, { allow }), undefined, { Allow: allow });
    return undefined;
  }
  exchange.metrics = verb.metrics;
  exchange.params = request.params;
  const url = request.url ?? '';
  const mark = url.indexOf('?');
  const query = verb.operation.query(mark < 0 ? '' : url.slice(mark + 1));
  if (!query.ok) {
    exchange.problem(query.problem);
    return undefined;
  }
  return verb.handle(exchange, query.value, verb.operation);
};

const isPreflight = (exchange: Exchange): boolean =>
  exchange.origin !== null && exchange.request.headers['access-control-request-method'] !== undefined;

const answerPreflight = (exchange: Exchange): void => {
  const headers: Record<string, string> = {
    'Access-Control-Allow-Methods': PREFLIGHT_METHODS,
    'Access-Control-Max-Age': PREFLIGHT_SECONDS,
  };
  const asked = exchange.request.headers['access-control-request-headers'];
  // Any header: the origin is trusted, and what a header may do is judged where it is read.
  if (asked !== undefined) headers['Access-Control-Allow-Headers'] = asked;
  exchange.empty(204, headers);
};

/** The router could not decode a parameter of the path. */
const isPathFault = (error: unknown): boolean =>
  error instanceof Error && (error as { readonly status?: unknown }).status === 400;

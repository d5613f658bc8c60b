// One HTTP request and its whole answer, over node:http with connections kept alive: what curl does, without its start.

import { Agent, request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';

export interface Exchange {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** An iterable is sent chunked, piece by piece as the connection takes it. */
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
}

export class HttpClient {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 64 });
  private readonly host: string;
  private readonly port: number;

  /** HOST:PORT */
  constructor(address: string) {
    const at = address.lastIndexOf(':');
    this.host = address.slice(0, at);
    this.port = Number(address.slice(at + 1));
  }

  /** Rejects when the connection breaks before the answer is whole; any status is an answer. */
  async send(exchange: Exchange): Promise<HttpAnswer> {
    const incoming = await this.open(exchange);
    const pieces: Buffer[] = [];
    for await (const piece of incoming) pieces.push(piece as Buffer);
    return {
      status: incoming.statusCode ?? 0,
      headers: incoming.headers,
      trailers: incoming.trailers,
      body: Buffer.concat(pieces),
    };
  }

  /** Parsed as JSON; throws with the answer on any status but the one expected. */
  async json<T>(exchange: Exchange, expectedStatus = 200): Promise<T> {
    const answer = await this.send(exchange);
    if (answer.status !== expectedStatus) {
      throw new Error(`${exchange.method ?? 'GET'} ${exchange.path}: ${answer.status} ${answer.body.toString('utf8')}`);
    }
    return JSON.parse(answer.body.toString('utf8')) as T;
  }

  /** The answer as it arrives. */
  open(exchange: Exchange): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { body } = exchange;
      const outgoing = request({
        agent: this.agent,
        host: this.host,
        port: this.port,
        method: exchange.method ?? 'GET',
        path: exchange.path,
        headers: {
          ...(typeof body === 'string' || body instanceof Uint8Array
            ? { 'content-length': Buffer.byteLength(body) }
            : {}),
          ...exchange.headers,
        },
      });
      outgoing.on('response', resolve);
      outgoing.on('error', reject);
      if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) outgoing.end(body);
      else pipeline(body, outgoing).catch(reject);
    });
  }

  close(): void {
    this.agent.destroy();
  }
}

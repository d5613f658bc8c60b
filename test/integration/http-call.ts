// HTTP for tests: one call with everything of the answer, and bare bytes over a socket for what no client would send.

import type { IncomingHttpHeaders, RequestOptions } from 'node:http';
import { request } from 'node:http';
import { connect } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  readonly bytes: Buffer;
  readonly text: string;
  /** The body as JSON; throws when it is none. */
  readonly json: Record<string, unknown>;
}

export interface Call {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly type?: string;
}

export const call = (base: string, path: string, options: Call = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(base);
    const headers: Record<string, string> = { ...options.headers };
    if (options.type !== undefined) headers['Content-Type'] = options.type;
    const settings: RequestOptions = { host: hostname, port, path, method: options.method ?? 'GET', headers };
    const sent = request(settings, response => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = Buffer.concat(chunks);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          trailers: response.trailers,
          bytes,
          text: bytes.toString('utf8'),
          get json() {
            return JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
          },
        });
      });
    });
    sent.on('error', reject);
    sent.end(options.body);
  });

/** The answer when it has this status; else an error that shows all of it. */
export const expectStatus = (answer: Answer, status: number): Answer => {
  if (answer.status !== status) throw new Error(`${answer.status} in place of ${status}: ${answer.text}`);
  return answer;
};

export const post = (base: string, path: string, body: unknown, type = 'application/json'): Promise<Answer> => {
  const bytes = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
  return call(base, path, { method: 'POST', type, body: bytes });
};

/** Sends bytes as they are and gives everything that came back until the other side closed. */
export const sendBytes = (base: string, bytes: string | Uint8Array, isEnd = false): Promise<string> =>
  new Promise(resolve => {
    const { hostname, port } = new URL(base);
    const socket = connect(Number(port), hostname);
    let received = '';
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => (received += text));
    socket.on('close', () => resolve(received));
    // A reset is an end like another: what was received before it counts.
    socket.on('error', () => undefined);
    if (isEnd) socket.end(bytes);
    else socket.write(bytes);
  });

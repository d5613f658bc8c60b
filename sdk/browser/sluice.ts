// The client of a page: one WebSocket, REST beside it, and what is made from them.

import type { Admin } from '../admin.ts';
import { OpenParts } from '../open-parts.ts';
import type { Producer } from '../producer.ts';
import { SluiceError } from '../sluice-error.ts';
import { asTopic, type Topic } from '../topic.ts';
import { AdminClient } from './admin-client.ts';
import { RestCaller } from './http.ts';
import type { ProducerOptions } from './producer.ts';
import type { Reader, ReaderOptions } from './reader.ts';
import { pageOrigin, realRuntime } from './real-defaults.ts';
import type { BrowserRuntime } from './runtime.ts';
import { SocketLink, type Connection } from './socket-link.ts';
import { TopicProducer } from './topic-producer.ts';
import { TopicReader } from './topic-reader.ts';

export interface SluiceOptions {
  /** The broker's HTTP listener. Default: where the page came from. */
  readonly url?: string;
  /** Sent as a bearer token with admin calls: a page cannot give headers to a WebSocket. */
  readonly token?: string | undefined;
  /** How long a first connection may take. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /** How long an admin call may take, retries included. Default 30,000. */
  readonly requestTimeoutMs?: number;
  /** Told when the WebSocket is looked for, stands, and is lost. */
  readonly onConnection?: (state: Connection) => void;
}

type Raw = Uint8Array | string;

const CONNECT_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

export class Sluice implements AsyncDisposable {
  readonly admin: Admin;
  readonly #runtime: BrowserRuntime;
  readonly #rest: RestCaller;
  readonly #link: SocketLink;
  readonly #parts = new OpenParts();

  /** `runtime` replaces clock, randomness and network, for tests. */
  constructor(options: SluiceOptions = {}, runtime: BrowserRuntime = realRuntime) {
    const origin = httpOrigin(options.url ?? pageOrigin());
    const { connectTimeoutMs = CONNECT_TIMEOUT_MS, requestTimeoutMs = REQUEST_TIMEOUT_MS, token } = options;
    this.#runtime = runtime;
    this.#rest = new RestCaller(runtime, { origin, token, requestTimeoutMs });
    this.#link = new SocketLink(runtime, {
      url: `${origin.replace(/^http/, 'ws')}/v1/ws`,
      connectTimeoutMs,
      onConnection: options.onConnection ?? (() => {}),
    });
    this.admin = new AdminClient(this.#rest);
  }

  producer(options: ProducerOptions & { readonly topic: string }): Producer<Raw, Raw>;
  producer<KI, KO, VI, VO>(options: ProducerOptions & { readonly topic: Topic<KI, KO, VI, VO> }): Producer<KI, VI>;
  producer<KI, KO, VI, VO>(
    options: ProducerOptions & { readonly topic: Topic<KI, KO, VI, VO> | string },
  ): Producer<KI, VI> {
    return this.#parts.producer(
      onEnded =>
        new TopicProducer<KI, VI>(asTopic(options.topic), options, {
          runtime: this.#runtime,
          link: this.#link,
          onEnded,
        }),
    );
  }

  reader(options: ReaderOptions & { readonly topic: string }): Reader<Uint8Array, Uint8Array>;
  reader<KI, KO, VI, VO>(options: ReaderOptions & { readonly topic: Topic<KI, KO, VI, VO> }): Reader<KO, VO>;
  reader<KI, KO, VI, VO>(options: ReaderOptions & { readonly topic: Topic<KI, KO, VI, VO> | string }): Reader<KO, VO> {
    const topic = asTopic(options.topic) as unknown as Topic<unknown, KO, unknown, VO>;
    return this.#parts.reader(
      onEnded =>
        new TopicReader<KO, VO>(topic, options, {
          runtime: this.#runtime,
          link: this.#link,
          rest: this.#rest,
          onEnded,
        }),
    );
  }

  /** Ends the readers, drains the producers, then lets go of the connection. Rejects when a record was lost. */
  close(): Promise<void> {
    // The link lets go of its connection when its last user has.
    return this.#parts.close(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function httpOrigin(url: string | null): string {
  if (url === null) throw new SluiceError('INVALID_REQUEST', 'outside of a page a client needs the url of a broker');
  const found = /^(https?:\/\/[^/?#\s]+)\/?$/.exec(url)?.[1];
  if (found === undefined) throw new SluiceError('INVALID_REQUEST', `${url} is not http://HOST:PORT`);
  return found;
}

// The client: one set of connections, and what is made from it.

import { AdminClient } from './admin-client.ts';
import type { Admin } from './admin.ts';
import { ClusterMetadata } from './cluster-metadata.ts';
import { GroupsClient } from './groups-client.ts';
import type { Groups } from './groups.ts';
import { Links } from './links.ts';
import { OpenParts } from './open-parts.ts';
import type { Producer, ProducerOptions } from './producer.ts';
import type { Reader, ReaderOptions } from './reader.ts';
import { realRuntime } from './real-defaults.ts';
import { Requester } from './request.ts';
import type { Runtime } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';
import { TopicProducer } from './topic-producer.ts';
import { TopicReader } from './topic-reader.ts';
import { asTopic, type Topic } from './topic.ts';

export interface SluiceOptions {
  /** HOST:PORT of gRPC listeners; any one of a cluster is enough. */
  readonly servers: readonly string[];
  /** Told to the broker with every call. */
  readonly clientId?: string;
  /** Sent as a bearer token. */
  readonly token?: string | undefined;
  /** How long a call looks for a server that answers. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /** How long an admin call may take, retries included. Default 30,000. */
  readonly requestTimeoutMs?: number;
}

type Raw = Uint8Array | string;

const CONNECT_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

export class Sluice implements AsyncDisposable {
  readonly admin: Admin;
  readonly groups: Groups;
  readonly #runtime: Runtime;
  readonly #links: Links;
  readonly #metadata: ClusterMetadata;
  readonly #parts = new OpenParts();

  /** `runtime` replaces clock, randomness and transport, for tests. */
  constructor(options: SluiceOptions, runtime?: Runtime) {
    const { servers, clientId = 'sluice-client', token } = options;
    if (servers.length === 0) throw new SluiceError('INVALID_REQUEST', 'a client needs at least one server');
    for (const server of servers) {
      if (!/^.+:\d+$/.test(server)) throw new SluiceError('INVALID_REQUEST', `${server} is not HOST:PORT`);
    }
    const { connectTimeoutMs = CONNECT_TIMEOUT_MS, requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
    this.#runtime = runtime ?? realRuntime({ clientId, token });
    this.#links = new Links(this.#runtime, servers);
    this.#metadata = new ClusterMetadata(this.#runtime, this.#links, connectTimeoutMs);
    const requester = new Requester(this.#runtime, this.#links, { connectTimeoutMs, requestTimeoutMs });
    this.admin = new AdminClient(requester);
    this.groups = new GroupsClient(requester);
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
          links: this.#links,
          metadata: this.#metadata,
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
          links: this.#links,
          metadata: this.#metadata,
          onEnded,
        }),
    );
  }

  /** Ends the readers, drains the producers, then lets go of the connections. Rejects when a record was lost. */
  close(): Promise<void> {
    return this.#parts.close(() => {
      this.#metadata.close();
      this.#links.close();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

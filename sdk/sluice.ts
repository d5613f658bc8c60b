// The client: one set of connections, and what is made from it.

import type { Admin } from './admin.ts';
import type { Producer, ProducerOptions } from './producer.ts';
import type { Reader, ReaderOptions } from './reader.ts';
import type { Topic } from './topic.ts';

export interface SluiceOptions {
  /** HOST:PORT of gRPC listeners; any one of a cluster is enough. */
  readonly servers: readonly string[];
  /** Told to the broker with every call. */
  readonly clientId?: string;
  /** Sent as a bearer token. */
  readonly token?: string;
  /** How long a call looks for a server that answers. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /** How long an admin call may take, retries included. Default 30,000. */
  readonly requestTimeoutMs?: number;
}

type Raw = Uint8Array | string;

export declare class Sluice implements AsyncDisposable {
  readonly admin: Admin;

  constructor(options: SluiceOptions);

  producer(options: ProducerOptions & { readonly topic: string }): Producer<Raw, Raw>;
  producer<KI, KO, VI, VO>(options: ProducerOptions & { readonly topic: Topic<KI, KO, VI, VO> }): Producer<KI, VI>;

  reader(options: ReaderOptions & { readonly topic: string }): Reader<Uint8Array, Uint8Array>;
  reader<KI, KO, VI, VO>(options: ReaderOptions & { readonly topic: Topic<KI, KO, VI, VO> }): Reader<KO, VO>;

  /** Drains the producers and ends the readers, then lets go of the connections. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

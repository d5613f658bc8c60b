// The connections of one client: at most one to an address, shared by all that is made from the client, found again
// when it was lost. An attempt is made once; who wants more asks again, after a wait of his own.

import { Deadline } from './deadline.ts';
import type { Clock, Runtime } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';
import { LinkFailure, type Connection, type Transport } from './transport/transport.ts';

/** An address that swallows packets must not hold up the others. */
const ATTEMPT_MS_MAX = 5_000;

export class Links {
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #servers: readonly string[];
  readonly #links = new Map<string, Connection | Promise<Connection>>();
  /** The configured server that answered last: the first to be asked. */
  #favourite = 0;
  /** Ends the attempts that are under way. */
  readonly #closing = new AbortController();

  constructor(runtime: Runtime, servers: readonly string[]) {
    this.#transport = runtime.transport;
    this.#clock = runtime.clock;
    this.#servers = servers;
  }

  /** Rejects with a LinkFailure of stage `connect`. */
  async to(address: string): Promise<Connection> {
    this.#closing.signal.throwIfAborted();
    const link = this.#links.get(address);
    if (link instanceof Promise) return link;
    if (link?.isOpen === true) return link;
    link?.close();
    const attempt = this.#connect(address);
    this.#links.set(address, attempt);
    try {
      const connection = await attempt;
      if (this.#closing.signal.aborted) {
        connection.close();
        throw this.#closing.signal.reason;
      }
      this.#links.set(address, connection);
      return connection;
    } catch (error) {
      this.#links.delete(address);
      throw error;
    }
  }

  /** To any configured server; each is asked once. Rejects with the last one's LinkFailure. */
  async toAny(): Promise<Connection> {
    let failure: unknown;
    for (let turn = 0; turn < this.#servers.length; turn++) {
      const at = (this.#favourite + turn) % this.#servers.length;
      try {
        const connection = await this.to(this.#servers[at]!);
        this.#favourite = at;
        return connection;
      } catch (error) {
        if (!(error instanceof LinkFailure)) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** To this address or, where it cannot be reached, to any server: each can serve what another leads. */
  async toward(address: string): Promise<Connection> {
    try {
      return await this.to(address);
    } catch (error) {
      if (!(error instanceof LinkFailure) || this.#servers.includes(address)) throw error;
      return this.toAny();
    }
  }

  close(): void {
    this.#closing.abort(new SluiceError('INVALID_REQUEST', 'the client is closed'));
    for (const link of this.#links.values()) if (!(link instanceof Promise)) link.close();
    this.#links.clear();
  }

  async #connect(address: string): Promise<Connection> {
    const onExpiry = (): LinkFailure => new LinkFailure(address, 'connect', 'no answer');
    const deadline = new Deadline(this.#clock, { ms: ATTEMPT_MS_MAX, onExpiry, signal: this.#closing.signal });
    try {
      return await this.#transport.connect(address, deadline.signal);
    } finally {
      deadline.release();
    }
  }
}

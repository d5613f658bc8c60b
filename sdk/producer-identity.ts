// The identity of an idempotent producer: asked for when the first batch is to go out, from any broker, again and again until one gives it.
//
// An identity that was given and did not arrive is never used, so that asking twice does no harm.

import { ProducerService } from '@sluice/protocol/services';
import { Backoff } from './backoff.ts';
import type { Links } from './links.ts';
import type { Runtime, Timer } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';

export interface IdentityHost {
  /** There is an id now. */
  identified(): void;
  /** Nobody could be asked, for now; told to those whose time runs out. */
  failed(cause: unknown): void;
  /** There will be none. */
  unidentified(error: SluiceError): void;
}

export class ProducerIdentity {
  readonly #runtime: Runtime;
  readonly #links: Links;
  readonly #host: IdentityHost;
  readonly #backoff: Backoff;
  readonly #closing = new AbortController();
  #id: number | null = null;
  #isAsking = false;
  #pause: Timer | null = null;

  constructor(host: IdentityHost, links: Links, runtime: Runtime) {
    this.#host = host;
    this.#links = links;
    this.#runtime = runtime;
    this.#backoff = new Backoff(runtime.random);
  }

  /** Null: it is being asked for. */
  want(): number | null {
    // oxlint-disable-next-line typescript/no-floating-promises -- ends by itself, and never rejects
    if (this.#id === null && !this.#isAsking && !this.#closing.signal.aborted) this.#ask();
    return this.#id;
  }

  /** All epochs of this one are used up. */
  wear(id: number): void {
    if (this.#id === id) this.#id = null;
  }

  close(): void {
    this.#pause?.cancel();
    this.#closing.abort();
  }

  async #ask(): Promise<void> {
    this.#isAsking = true;
    const { signal } = this.#closing;
    try {
      const connection = await this.#links.toAny();
      signal.throwIfAborted();
      const answer = await connection.unary(ProducerService.method.initProducer, {}, signal);
      signal.throwIfAborted();
      this.#isAsking = false;
      this.#backoff.reset();
      this.#id = Number(answer.producerId);
      this.#host.identified();
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof SluiceError && !error.retriable) {
        this.#isAsking = false;
        this.#host.unidentified(error);
        return;
      }
      this.#host.failed(error);
      this.#pause = this.#runtime.clock.schedule(this.#backoff.nextMs(), () => {
        // oxlint-disable-next-line typescript/no-floating-promises -- as above
        this.#ask();
      });
    }
  }
}

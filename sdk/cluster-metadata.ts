// Who leads what, as the brokers push it: one watch for all topics that somebody here uses, opened again after every
// loss. Producers and readers subscribe to their topic and follow.
//
// Guarantees: a subscriber is told the newest state it has not seen, at once where it is known, and again after every
// change. A lost watch keeps the last state: it is better than none and the next one replaces it.

import { MetadataService, type Metadata } from '@sluice/protocol/services';
import { onAbort } from './abort.ts';
import { Backoff } from './backoff.ts';
import { Deadline, pause } from './deadline.ts';
import type { Links } from './links.ts';
import type { Clock, Runtime } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';
import { LinkFailure, type CallFailure, type Connection, type Incoming } from './transport/transport.ts';

export interface TopicView {
  readonly name: string;
  readonly topicId: string;
  readonly partitionCount: number;
  /** Largest batch that the topic takes. */
  readonly batchBytesMax: number;
  /** Where each partition is served best, HOST:PORT. */
  readonly leaders: readonly string[];
}

/** Null: there is no such topic. */
export type TopicListener = (view: TopicView | null) => void;

export class ClusterMetadata {
  readonly #links: Links;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #connectTimeoutMs: number;
  readonly #listeners = new Map<string, Set<TopicListener>>();
  /** Invariant: only names that have listeners. */
  readonly #views = new Map<string, TopicView | null>();
  /** Callers of `find` that have no answer yet. */
  readonly #waiting = new Set<(error: SluiceError) => void>();
  readonly #closing = new AbortController();
  #closed: SluiceError | null = null;
  #watch: Incoming | null = null;
  /** The names have changed since the watch was opened. */
  #isStale = false;
  #isRunning = false;
  /** Why there is no watch: told to callers who waited in vain. */
  #lastFailure: unknown = null;

  constructor(runtime: Runtime, links: Links, connectTimeoutMs: number) {
    this.#links = links;
    this.#clock = runtime.clock;
    this.#backoff = new Backoff(runtime.random);
    this.#connectTimeoutMs = connectTimeoutMs;
  }

  /** The answer ends the subscription. */
  subscribe(topic: string, listener: TopicListener): () => void {
    let listeners = this.#listeners.get(topic);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(topic, listeners);
      this.#refresh();
    }
    listeners.add(listener);
    const view = this.#views.get(topic);
    if (view !== undefined) listener(view);
    return () => {
      listeners.delete(listener);
      if (listeners.size > 0 || this.#listeners.get(topic) !== listeners) return;
      this.#listeners.delete(topic);
      this.#views.delete(topic);
      // The watch keeps telling of the topic until it is opened again; nobody listens. The last one ends it.
      if (this.#listeners.size === 0) this.#watch?.cancel();
    };
  }

  /** The topic's state, waiting for a server as long as `connectTimeoutMs` says. */
  find(topic: string, signal?: AbortSignal): Promise<TopicView> {
    const onExpiry = (): SluiceError => unreachable(this.#connectTimeoutMs, this.#lastFailure);
    const deadline = new Deadline(this.#clock, { ms: this.#connectTimeoutMs, onExpiry, signal });
    let release = (): void => deadline.release();
    const found = new Promise<TopicView>((resolve, reject) => {
      if (this.#closed !== null) {
        reject(this.#closed);
        return;
      }
      if (this.#views.get(topic) === null) {
        // It may have been created since: only a new watch tells.
        this.#views.delete(topic);
        this.#refresh();
      }
      const stop = onAbort(deadline.signal, reject);
      const unsubscribe = this.subscribe(topic, view => (view === null ? reject(topicNotFound(topic)) : resolve(view)));
      this.#waiting.add(reject);
      release = () => {
        deadline.release();
        stop();
        unsubscribe();
        this.#waiting.delete(reject);
      };
    });
    return found.finally(() => release());
  }

  close(): void {
    this.#closed = new SluiceError('INVALID_REQUEST', 'the client is closed');
    this.#closing.abort(this.#closed);
    this.#watch?.cancel();
    this.#listeners.clear();
    this.#views.clear();
    this.#giveUp(this.#closed);
  }

  /** Several topics of one turn make one new watch. */
  #refresh(): void {
    if (!this.#isRunning) {
      this.#isRunning = true;
      // oxlint-disable-next-line typescript/no-floating-promises -- ends by itself, and never rejects
      this.#run();
    } else if (!this.#isStale) {
      this.#isStale = true;
      this.#clock.defer(() => this.#watch?.cancel());
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (this.#listeners.size > 0 && !signal.aborted) {
      try {
        const connection = await this.#links.toAny();
        this.#lastFailure = await this.#watchUntilEnd(connection);
        if (this.#isStale) continue;
        // An answer such as UNAUTHENTICATED: waiting longer brings no other.
        if (this.#lastFailure instanceof SluiceError && !this.#lastFailure.retriable) this.#giveUp(this.#lastFailure);
      } catch (error) {
        this.#lastFailure = error;
      }
      if (this.#listeners.size === 0 || signal.aborted) break;
      await pause(this.#clock, this.#backoff.nextMs(), signal).catch(() => {});
    }
    this.#isRunning = false;
  }

  #giveUp(error: SluiceError): void {
    for (const reject of this.#waiting) reject(error);
    this.#waiting.clear();
  }

  #watchUntilEnd(connection: Connection): Promise<CallFailure | null> {
    this.#isStale = false;
    const request = { topics: [...this.#listeners.keys()] };
    return new Promise(resolve => {
      this.#watch = connection.subscribe(MetadataService.method.watch, request, {
        onMessage: metadata => {
          this.#backoff.reset();
          // About to be replaced by one that answers newer questions.
          if (!this.#isStale) this.#publish(metadata, connection.address);
        },
        onEnd: failure => {
          this.#watch = null;
          resolve(failure);
        },
      });
    });
  }

  #publish(metadata: Metadata, source: string): void {
    for (const view of viewsOf(metadata, source)) this.#tell(view.name, view);
    for (const name of metadata.missingTopics) this.#tell(name, null);
  }

  #tell(name: string, view: TopicView | null): void {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return;
    this.#views.set(name, view);
    // A set may lose members while it is walked.
    for (const listener of listeners) listener(view);
  }
}

/**
 * A cluster of one is served where it was found: that address works, and the advertised one may not from here. Where no
 * leader is known any broker will do; it answers or forwards.
 */
function viewsOf(metadata: Metadata, source: string): TopicView[] {
  const addresses = new Map(metadata.brokers.map(broker => [broker.nodeId, broker.grpcAddress]));
  const addressOf = (leader: number): string => (addresses.size > 1 ? (addresses.get(leader) ?? source) : source);
  return metadata.topics.map(topic => ({
    name: topic.name,
    topicId: topic.topicId,
    partitionCount: topic.partitions.length,
    batchBytesMax: topic.maxMessageBytes,
    leaders: topic.partitions.toSorted((a, b) => a.partition - b.partition).map(({ leader }) => addressOf(leader)),
  }));
}

export const topicNotFound = (topic: string): SluiceError =>
  new SluiceError('TOPIC_NOT_FOUND', `there is no topic ${topic}`, { facts: { topic } });

export const unreachable = (waitedMs: number, cause: unknown): SluiceError => {
  const reason = cause instanceof LinkFailure ? `: ${cause.message}` : '';
  return new SluiceError('REQUEST_TIMED_OUT', `no server answered within ${waitedMs} ms${reason}`, { cause });
};

// One WebSocket for a whole client: requests and their answers, subscriptions, and the way back when it is lost.
//
//   idle ──first user──▶ connecting ──▶ open ──draining notice──▶ finishing
//                            ▲            │ lost                      │ all answered, or lost
//                            └─ back-off ◀┴───────────────────────────┘       without users: idle
//
// What comes and is no frame ends the connection, as a loss.
// Guarantees: at most 64 requests are unanswered. Every request is told exactly once how it ended: answered, or lost with
// the connection. Whatever was given to a socket may have been handled; the link never sends anything again.

import { Backoff } from '../backoff.ts';
import type { Timer } from '../clock.ts';
import { SluiceError } from '../sluice-error.ts';
import type { BrowserRuntime, Socket } from './runtime.ts';
import { readFrame, type Frame } from './wire.ts';

export type Connection = 'connecting' | 'open' | 'lost';

/** A producer or a reader. */
export interface LinkUser {
  /** The link takes requests: it has just been opened, or an answer made room. */
  writable(): void;
  /** What stood on the connection is gone; a new one is under way. */
  lost(): void;
  /** There was no connection since the first user came, for as long as a client looks for one. */
  unreachable(error: SluiceError): void;
}

export interface RequestSink {
  answered(frame: Frame): void;
  lost(reason: string): void;
}

export interface SubscriptionSink {
  received(frame: Frame): void;
}

export interface LinkOptions {
  readonly url: string;
  readonly connectTimeoutMs: number;
  onConnection(state: Connection): void;
}

const UNANSWERED_MAX = 64;

export class SocketLink {
  readonly #runtime: BrowserRuntime;
  readonly #options: LinkOptions;
  readonly #backoff: Backoff;
  readonly #users = new Set<LinkUser>();
  readonly #requests = new Map<number, RequestSink>();
  readonly #subscriptions = new Map<string, SubscriptionSink>();
  #state: 'idle' | 'connecting' | 'open' | 'finishing' = 'idle';
  #socket: Socket | null = null;
  #timer: Timer | null = null;
  #nextId = 1;
  #hasOpened = false;
  #beganMs = 0;

  constructor(runtime: BrowserRuntime, options: LinkOptions) {
    this.#runtime = runtime;
    this.#options = options;
    this.#backoff = new Backoff(runtime.random);
  }

  get isWritable(): boolean {
    return this.#state === 'open' && this.#requests.size < UNANSWERED_MAX;
  }

  /** Keeps the connection up; `writable` comes when it takes requests, now if it does already. */
  attach(user: LinkUser): void {
    this.#users.add(user);
    if (this.#state === 'idle') {
      this.#hasOpened = false;
      this.#beganMs = this.#runtime.clock.monotonicMs();
      this.#connect();
    } else if (this.isWritable) user.writable();
  }

  detach(user: LinkUser): void {
    this.#users.delete(user);
    if (this.#users.size === 0) this.#disconnect();
  }

  /** Only while writable. `members` are what follows the id: `"op":"produce",…`. */
  request(members: string, sink: RequestSink): void {
    const id = this.#nextId++;
    this.#requests.set(id, sink);
    this.#socket?.send(`{"id":${id},${members}}`);
  }

  /** Without an answer. */
  tell(members: string): void {
    if (this.#state === 'open' || this.#state === 'finishing') this.#socket?.send(`{${members}}`);
  }

  listen(subscription: string, sink: SubscriptionSink): void {
    this.#subscriptions.set(subscription, sink);
  }

  unlisten(subscription: string): void {
    this.#subscriptions.delete(subscription);
  }

  #connect(): void {
    this.#state = 'connecting';
    this.#options.onConnection('connecting');
    const socket = this.#runtime.connect(this.#options.url, {
      onOpen: () => {
        if (this.#socket === socket) this.#opened();
      },
      onText: text => {
        if (this.#socket === socket) this.#received(text);
      },
      onClose: reason => {
        if (this.#socket === socket) this.#lost(reason);
      },
    });
    this.#socket = socket;
    this.#timer = this.#runtime.clock.schedule(this.#options.connectTimeoutMs, () => {
      this.#lost('no answer');
      socket.close();
    });
  }

  #opened(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#state = 'open';
    this.#hasOpened = true;
    this.#options.onConnection('open');
    this.#offerRoom();
  }

  #received(text: string): void {
    const frame = readFrame(text);
    if (frame === null) {
      const socket = this.#socket;
      this.#lost('what came is no frame of a broker');
      socket?.close();
      return;
    }
    // It works: the next loss is a new one.
    this.#backoff.reset();
    if (frame.op === 'draining') {
      this.#state = 'finishing';
    } else if (frame.id !== undefined) {
      const sink = this.#requests.get(frame.id);
      this.#requests.delete(frame.id);
      sink?.answered(frame);
      this.#offerRoom();
    } else if (frame.subscription !== undefined) {
      this.#subscriptions.get(frame.subscription)?.received(frame);
    }
    if (this.#state === 'finishing' && this.#requests.size === 0) {
      const socket = this.#socket;
      this.#lost('the broker is stopping');
      socket?.close();
    }
  }

  #offerRoom(): void {
    for (const user of this.#users) {
      if (!this.isWritable) return;
      user.writable();
    }
  }

  #lost(reason: string): void {
    this.#forget(reason);
    this.#options.onConnection('lost');
    for (const user of this.#users) user.lost();
    const { clock } = this.#runtime;
    const { connectTimeoutMs, url } = this.#options;
    if (!this.#hasOpened && clock.monotonicMs() - this.#beganMs >= connectTimeoutMs) {
      const detail = `${url} could not be reached within ${connectTimeoutMs} ms (${reason})`;
      const error = new SluiceError('REQUEST_TIMED_OUT', detail);
      for (const user of this.#users) user.unreachable(error);
    }
    if (this.#users.size === 0) {
      this.#state = 'idle';
      return;
    }
    this.#state = 'connecting';
    this.#timer = clock.schedule(this.#backoff.nextMs(), () => this.#connect());
  }

  #forget(reason: string): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#socket = null;
    this.#state = 'connecting';
    this.#subscriptions.clear();
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const sink of requests) sink.lost(reason);
  }

  #disconnect(): void {
    const socket = this.#socket;
    this.#forget('the client is closed');
    this.#state = 'idle';
    socket?.close();
  }
}

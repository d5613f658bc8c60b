// A reader of Server-Sent Events as a browser's EventSource is one, on a plain socket's terms: it parses as the HTML
// standard says, keeps the last event id, and comes back only when it is told to.

import type { ClientRequest, IncomingMessage } from 'node:http';
import { request } from 'node:http';

export interface ReceivedEvent {
  /** `message` for unnamed events. */
  readonly event: string;
  readonly data: string;
  readonly id: string;
}

export interface EventSourceOptions {
  readonly lastEventId?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export class EventSourceReader {
  readonly events: ReceivedEvent[] = [];
  status = 0;
  headers: IncomingMessage['headers'] = {};
  /** All bytes of the body as they came. */
  text = '';
  retryMs: number | null = null;
  lastEventId: string;
  isEnded = false;
  readonly #request: ClientRequest;
  #line = '';
  #data: string[] = [];
  #event = '';
  #id: string;
  #changed: (() => void)[] = [];

  constructor(url: string, { lastEventId, headers = {} }: EventSourceOptions = {}) {
    this.#id = this.lastEventId = lastEventId ?? '';
    const resume = lastEventId === undefined ? {} : { 'Last-Event-ID': lastEventId };
    this.#request = request(url, { headers: { Accept: 'text/event-stream', ...resume, ...headers }, agent: false });
    this.#request.on('response', response => {
      this.status = response.statusCode ?? 0;
      this.headers = response.headers;
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => this.#received(chunk));
      response.on('error', () => undefined);
      response.on('close', () => this.#ended());
      this.#tell();
    });
    this.#request.on('error', () => this.#ended());
    this.#request.end();
  }

  get messages(): readonly ReceivedEvent[] {
    return this.events.filter(({ event }) => event === 'message');
  }

  /** Resolves once the condition holds. */
  async until(condition: (reader: this) => boolean): Promise<this> {
    while (!condition(this)) {
      if (this.isEnded) throw new Error(`the stream ended (${this.status}): ${this.text.slice(-2000)}`);
      await new Promise<void>(resolve => this.#changed.push(resolve));
    }
    return this;
  }

  async untilEnd(): Promise<this> {
    while (!this.isEnded) await new Promise<void>(resolve => this.#changed.push(resolve));
    return this;
  }

  opened(): Promise<this> {
    return this.until(reader => reader.retryMs !== null);
  }

  close(): void {
    this.#request.destroy();
  }

  #received(chunk: string): void {
    this.text += chunk;
    const lines = (this.#line + chunk).split('\n');
    this.#line = lines.pop()!;
    for (const line of lines) this.#field(line);
    this.#tell();
  }

  #field(line: string): void {
    if (line === '') {
      this.#dispatch();
      return;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') this.#data.push(value);
    else if (name === 'event') this.#event = value;
    else if (name === 'id') this.#id = value;
    else if (name === 'retry') this.retryMs = Number(value);
  }

  #dispatch(): void {
    this.lastEventId = this.#id;
    if (this.#data.length > 0) {
      this.events.push({ event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id });
    }
    this.#data = [];
    this.#event = '';
  }

  #ended(): void {
    this.isEnded = true;
    this.#tell();
  }

  #tell(): void {
    const changed = this.#changed;
    this.#changed = [];
    for (const resolve of changed) resolve();
  }
}

// The world of a page under a test's control: sockets that a test answers by hand, REST answers from a list, time that
// stands still.

import type { BrowserRuntime, HttpAnswer, HttpRequest, Socket, SocketEvents } from '@sluice/client/browser';
import { ManualClock } from '../manual-runtime.ts';

export type SentFrame = Readonly<Record<string, unknown>> & { readonly id?: number; readonly op: string };

export class ScriptedSocket implements Socket {
  readonly url: string;
  readonly #events: SocketEvents;
  readonly sent: SentFrame[] = [];
  isClosed = false;

  constructor(url: string, events: SocketEvents) {
    this.url = url;
    this.#events = events;
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text) as SentFrame);
  }

  close(): void {
    this.isClosed = true;
  }

  open(): void {
    this.#events.onOpen();
  }

  answer(frame: unknown): void {
    this.receive(JSON.stringify(frame));
  }

  receive(text: string): void {
    this.#events.onText(text);
  }

  cut(): void {
    this.#events.onClose('closed with 1006');
  }

  ops(op: string): readonly SentFrame[] {
    return this.sent.filter(frame => frame.op === op);
  }
}

export class ScriptedWorld implements BrowserRuntime {
  readonly clock = new ManualClock();
  readonly random = { fraction: () => 0.5 };
  readonly sockets: ScriptedSocket[] = [];
  readonly requests: HttpRequest[] = [];
  /** Taken from the front; an Error is a lost connection. */
  readonly answers: (HttpAnswer | Error)[] = [];

  connect(url: string, events: SocketEvents): Socket {
    const socket = new ScriptedSocket(url, events);
    this.sockets.push(socket);
    return socket;
  }

  request(request: HttpRequest): Promise<HttpAnswer> {
    this.requests.push(request);
    const answer = this.answers.shift() ?? new Error('no answer is left');
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  }

  /** The newest. */
  get socket(): ScriptedSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error('nothing has been connected');
    return socket;
  }
}

export const record = (offset: number, value: string, partition = 0): Record<string, unknown> => ({
  topic: 't',
  partition,
  offset,
  timestamp: 1_700_000_000_000 + offset,
  key: null,
  value_text: value,
  headers: [],
});

// What the browser's client is given of the outside world. `real-defaults.ts` has the real ones; tests bring their own.

import type { Clock, Random } from '../clock.ts';

export interface SocketEvents {
  onOpen(): void;
  onText(text: string): void;
  /** Once, also for a socket that never opened. Nothing comes after it. */
  onClose(reason: string): void;
}

export interface Socket {
  send(text: string): void;
  close(): void;
}

export interface HttpRequest {
  readonly method: string;
  readonly url: string;
  /** JSON text; null for none. */
  readonly body: string | null;
  readonly token: string | undefined;
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

export interface BrowserRuntime {
  readonly clock: Clock;
  readonly random: Random;
  connect(url: string, events: SocketEvents): Socket;
  /** Rejects when there was no answer. */
  request(request: HttpRequest): Promise<HttpAnswer>;
}

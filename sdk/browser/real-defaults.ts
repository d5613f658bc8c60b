// The one file of the browser's client that touches the clock, randomness and the network by itself.

import type { BrowserRuntime } from './runtime.ts';

const SUBPROTOCOL = 'sluice.v1.json';

export const realRuntime: BrowserRuntime = {
  clock: {
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    schedule: (delayMs, action) => {
      const timer = setTimeout(action, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
    defer: action => {
      setTimeout(action, 0);
    },
  },
  random: { fraction: () => Math.random() },
  connect: (url, events) => {
    const socket = new WebSocket(url, SUBPROTOCOL);
    socket.addEventListener('open', () => events.onOpen());
    socket.addEventListener('message', event => {
      if (typeof event.data === 'string') events.onText(event.data);
    });
    // An error is followed by the close, and says nothing that the page may know.
    socket.addEventListener('close', event => {
      events.onClose(`closed with ${event.code}${event.reason === '' ? '' : ` (${event.reason})`}`);
    });
    return { send: text => socket.send(text), close: () => socket.close() };
  },
  request: async ({ method, url, body, token, signal }) => {
    const headers: Record<string, string> = { Accept: 'application/json' };
    if (body !== null) headers['Content-Type'] = 'application/json';
    if (token !== undefined) headers['Authorization'] = `Bearer ${token}`;
    const response = await fetch(url, { method, headers, body, signal });
    return { status: response.status, text: await response.text() };
  },
};

/** Where the page came from; null outside of a page. */
export const pageOrigin = (): string | null => {
  const { location } = globalThis as { readonly location?: { readonly origin: string } };
  return location === undefined || location.origin === 'null' ? null : location.origin;
};

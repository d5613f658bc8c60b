// A TCP link to a broker that a test can cut or silence: a port that passes bytes on until it is told not to.

import { createServer, connect, type Server, type Socket } from 'node:net';
import { once } from 'node:events';

export class CuttableLink {
  readonly address: string;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  readonly #state: { swallowsAnswers: boolean };

  private constructor(server: Server, sockets: Set<Socket>, state: { swallowsAnswers: boolean }) {
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error('a TCP server has a port');
    this.address = `127.0.0.1:${bound.port}`;
    this.#server = server;
    this.#sockets = sockets;
    this.#state = state;
  }

  static async to(address: string): Promise<CuttableLink> {
    const [host, port] = address.split(':') as [string, string];
    const sockets = new Set<Socket>();
    const state = { swallowsAnswers: false };
    const server = createServer(near => {
      const far = connect(Number(port), host);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(from);
        from.on('error', () => to.destroy());
        from.on('close', () => {
          sockets.delete(from);
          to.destroy();
        });
        from.on('data', bytes => {
          if (from === near || !state.swallowsAnswers) to.write(bytes);
        });
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new CuttableLink(server, sockets, state);
  }

  /** What the broker sends from here on is lost. */
  swallowAnswers(): void {
    this.#state.swallowsAnswers = true;
  }

  /** Ends every connection; new ones are taken, and pass both ways. */
  cut(): void {
    this.#state.swallowsAnswers = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise(resolve => this.#server.close(resolve));
    this.cut();
    await closed;
  }
}

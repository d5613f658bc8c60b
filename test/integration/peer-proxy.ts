// A TCP link between two peers that a test can silence, cut and corrupt, and whose bytes it can look at.

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export type Way = 'there' | 'back';

export class PeerProxy {
  readonly address: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #silent = new Set<Way>();
  /** Called with everything that passes, in its order; what it answers passes instead. */
  pass: (bytes: Buffer, way: Way) => Buffer = bytes => bytes;

  private constructor(server: Server, target: string) {
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error('a TCP server has a port');
    this.address = `127.0.0.1:${bound.port}`;
    this.#server = server;
    const [host = '', port = ''] = target.split(':');
    server.on('connection', near => {
      const far = connect(Number(port), host);
      this.#join(near, far, 'there');
      this.#join(far, near, 'back');
    });
  }

  static async to(target: string): Promise<PeerProxy> {
    const server = createServer({ noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new PeerProxy(server, target);
  }

  /** What goes that way vanishes, and nobody is told: as behind a cable that was pulled. */
  silence(way: Way): void {
    this.#silent.add(way);
  }

  /** For connections from now on; those that lost something are cut. */
  heal(): void {
    this.#silent.clear();
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    const closed = new Promise(resolve => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #join(from: Socket, to: Socket, way: Way): void {
    this.#sockets.add(from);
    const other: Way = way === 'there' ? 'back' : 'there';
    from.on('error', () => {});
    from.on('close', () => {
      this.#sockets.delete(from);
      // The news is lost too where nothing passes.
      if (!this.#silent.has(way) && !this.#silent.has(other)) to.destroy();
    });
    from.on('data', bytes => {
      if (!this.#silent.has(way)) to.write(this.pass(bytes, way));
    });
  }
}

// The network between the nodes of a cluster on this machine: one forwarder in front of each node's peer listener, through which all
// others reach it. Whose connection it is, is read from what the dialler says first (its data directory's id), so that the
// two ways between any two nodes can be cut apart.
//
//   cut       nothing passes that way, and nobody is told: what is under way vanishes, and so does what comes
//   sever     the connections between two nodes break, and new ones are made

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** From one node to another. */
interface Way {
  readonly from: number;
  readonly to: number;
}

interface Connection {
  readonly near: Socket;
  readonly far: Socket;
  readonly target: number;
  /** Null until it said so. */
  dialler: number | null;
  /** Kept until the dialler is known, at most HEAD_BYTES_MAX. */
  head: Buffer;
  hasLost: boolean;
}

/** The introduction is among the first few hundred bytes of a connection. */
const HEAD_BYTES_MAX = 8192;

const wayKey = ({ from, to }: Way): string => `${from}>${to}`;

export class ClusterNetwork {
  readonly #servers = new Map<number, Server>();
  readonly #connections = new Set<Connection>();
  readonly #cut = new Set<string>();
  readonly #diallerOf: (head: Buffer) => number | null;

  /** `diallerOf` is given the first bytes that a dialler said, and knows whose they are, or not yet. */
  constructor(diallerOf: (head: Buffer) => number | null) {
    this.#diallerOf = diallerOf;
  }

  /** A forwarder to the node's listener; where it is reached. */
  async forward(node: number, listener: { readonly port: number; readonly forwarded: number }): Promise<void> {
    const server = createServer({ noDelay: true }, near => this.#accept(near, node, listener.port));
    server.listen(listener.forwarded, '127.0.0.1');
    await once(server, 'listening');
    this.#servers.set(node, server);
  }

  cut(...ways: readonly Way[]): void {
    for (const way of ways) this.#cut.add(wayKey(way));
  }

  /** Everything passes again; connections that lost something break, as nothing resends for them. */
  heal(): void {
    this.#cut.clear();
    for (const connection of this.#connections) if (connection.hasLost) this.#end(connection);
  }

  /** Of this node with everybody. */
  sever(node: number): void {
    for (const connection of this.#connections) {
      if (connection.target === node || connection.dialler === node) this.#end(connection);
    }
  }

  async close(): Promise<void> {
    const closed = Array.from(this.#servers.values(), server => new Promise(resolve => server.close(resolve)));
    for (const connection of this.#connections) this.#end(connection);
    await Promise.all(closed);
  }

  #accept(near: Socket, target: number, port: number): void {
    const far = connect({ host: '127.0.0.1', port, noDelay: true });
    const connection: Connection = { near, far, target, dialler: null, head: Buffer.alloc(0), hasLost: false };
    this.#connections.add(connection);
    near.on('data', (bytes: Buffer) => {
      this.#recognise(connection, bytes);
      this.#pass(connection, far, bytes);
    });
    far.on('data', (bytes: Buffer) => this.#pass(connection, near, bytes));
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.on('error', () => {});
      socket.on('close', () => this.#ended(connection, other));
    }
  }

  #recognise(connection: Connection, bytes: Buffer): void {
    if (connection.dialler !== null || connection.head.length >= HEAD_BYTES_MAX) return;
    connection.head = Buffer.concat([connection.head, bytes]);
    connection.dialler = this.#diallerOf(connection.head);
    if (connection.dialler !== null) connection.head = Buffer.alloc(0);
  }

  /** Also what is under way when a way is cut is lost, and so is the news of a connection's end. */
  #pass(connection: Connection, to: Socket, bytes: Buffer): void {
    if (!this.#isCut(connection, to)) to.write(bytes);
    else connection.hasLost = true;
  }

  #isCut({ dialler, target, far }: Connection, to: Socket): boolean {
    if (dialler === null) return false;
    return this.#cut.has(to === far ? wayKey({ from: dialler, to: target }) : wayKey({ from: target, to: dialler }));
  }

  /** The news of it goes the same way as everything else. */
  #ended(connection: Connection, other: Socket): void {
    if (!this.#isCut(connection, other)) this.#end(connection);
    else connection.hasLost = true;
  }

  #end(connection: Connection): void {
    this.#connections.delete(connection);
    connection.near.destroy();
    connection.far.destroy();
  }
}

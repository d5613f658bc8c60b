// Three brokers of one cluster on this machine, each a process of its own, for benchmarks that kill them.

import { once } from 'node:events';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BrokerProcess } from '../test/integration/broker-process.ts';

const NODES = [1, 2, 3] as const;
export type Node = (typeof NODES)[number];

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise(resolve => server.close(resolve));
  return port;
};

interface Ports {
  readonly http: string;
  readonly grpc: string;
  readonly management: string;
  readonly peer: string;
}

export class LocalBrokers {
  readonly #root: string;
  readonly #ports: ReadonlyMap<Node, Ports>;
  readonly #running = new Map<Node, BrokerProcess>();

  private constructor(root: string, ports: ReadonlyMap<Node, Ports>) {
    this.#root = root;
    this.#ports = ports;
  }

  static async start(root: string): Promise<LocalBrokers> {
    const ports = new Map<Node, Ports>();
    for (const node of NODES) {
      const address = async (): Promise<string> => `127.0.0.1:${await freePort()}`;
      ports.set(node, {
        http: await address(),
        grpc: await address(),
        management: await address(),
        peer: await address(),
      });
    }
    const brokers = new LocalBrokers(root, ports);
    await Promise.all(NODES.map(node => brokers.start(node)));
    await Promise.all(NODES.map(node => brokers.ready(node)));
    return brokers;
  }

  get nodes(): readonly Node[] {
    return NODES;
  }

  address(node: Node): Ports {
    return this.#ports.get(node)!;
  }

  get grpcAddresses(): readonly string[] {
    return NODES.map(node => this.address(node).grpc);
  }

  pid(node: Node): number {
    return this.#running.get(node)!.child.pid!;
  }

  dataDir(node: Node): string {
    return path.join(this.#root, `node-${node}`);
  }

  async start(node: Node): Promise<void> {
    const { http, grpc, management, peer } = this.address(node);
    const cluster = NODES.map(each => `${each}@${this.address(each).peer}`).join(',');
    const flags = { 'node-id': String(node), http, grpc, management, cluster, peer };
    this.#running.set(node, await BrokerProcess.start(this.dataDir(node), flags));
  }

  async ready(node: Node): Promise<void> {
    const url = `http://${this.address(node).management}/readyz`;
    for (;;) {
      const answer = await fetch(url).catch(() => null);
      if (answer?.status === 200) return;
      await sleep(20);
    }
  }

  async kill(node: Node): Promise<void> {
    await this.#running.get(node)?.kill();
    this.#running.delete(node);
  }

  async terminate(node: Node): Promise<void> {
    const ended = await this.#running.get(node)?.terminate();
    this.#running.delete(node);
    if (ended?.status !== 0) throw new Error(`broker ${node} ended with ${ended?.status}: ${ended?.stderr}`);
  }

  async stop(): Promise<void> {
    await Promise.all(Array.from(this.#running.keys(), node => this.kill(node)));
  }

  /** GET or POST of JSON at a node that runs. */
  async ask(node: Node, route: string, body?: unknown): Promise<{ readonly status: number; readonly body: unknown }> {
    const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const answer = await fetch(`http://${this.address(node).http}${route}`, {
      ...init,
      headers: { 'content-type': 'application/json' },
      signal: AbortSignal.timeout(120_000),
    });
    return { status: answer.status, body: await answer.json() };
  }
}

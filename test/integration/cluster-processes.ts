// A cluster of brokers, each in a process of its own, started by the command line; whatever goes from one to another passes through
// forwarders of the test (cluster-network.ts).
//
// Ports are taken from below those that the system gives to outgoing connections, so that a node finds its own free again
// after it was killed.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { BrokerProcess, type ProcessEnd } from './broker-process.ts';
import { ClusterNetwork } from './cluster-network.ts';
import { HttpClient } from './http-exchange.ts';

const PORT_MIN = 15_000;
const PORT_MAX = 32_000;

const taken = new Set<number>();

/** Free now, and not given away before in this process. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    if (taken.has(port)) continue;
    const isFree = await new Promise<boolean>(resolve => {
      const server = createServer();
      server.on('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (!isFree) continue;
    taken.add(port);
    return port;
  }
}

type Flags = Readonly<Record<string, string>>;

export class ClusterNode {
  readonly id: number;
  readonly dataDir: string;
  readonly flags: Flags;
  readonly http: string;
  readonly grpc: string;
  readonly management: string;
  /** The newest life of it; null before the first. */
  process: BrokerProcess | null = null;
  /** Every line that any life of it logged as an error or worse. */
  readonly faults: string[] = [];
  isUp = false;
  isPaused = false;

  constructor(id: number, dataDir: string, flags: Flags) {
    this.id = id;
    this.dataDir = dataDir;
    this.flags = flags;
    this.http = flags['http'] ?? '';
    this.grpc = flags['grpc'] ?? '';
    this.management = flags['management'] ?? '';
  }

  launch(flags: Flags = {}): BrokerProcess {
    const life = BrokerProcess.launch(this.dataDir, { ...this.flags, ...flags });
    this.process = life;
    this.isUp = true;
    void life.ended.then(end => this.#over(life, end));
    return life;
  }

  async start(flags: Flags = {}): Promise<BrokerProcess> {
    return this.launch(flags).listening();
  }

  #over(life: BrokerProcess, { stderr, status, signal }: ProcessEnd): void {
    if (this.process === life) this.isUp = false;
    for (const line of stderr.split('\n')) if (/"level":[56]0/.test(line)) this.faults.push(`${this.id}: ${line}`);
    if (status !== 0 && signal !== 'SIGKILL') this.faults.push(`${this.id}: ended with ${status ?? signal}`);
  }

  async kill(): Promise<void> {
    this.isPaused = false;
    await this.process?.kill();
  }

  async terminate(): Promise<ProcessEnd | null> {
    return this.process?.terminate() ?? null;
  }

  pause(): void {
    this.isPaused = true;
    this.process?.child.kill('SIGSTOP');
  }

  resume(): void {
    this.isPaused = false;
    this.process?.child.kill('SIGCONT');
  }

  /** As `/readyz` says: until it is, each answer is what is waited for. */
  async ready(): Promise<void> {
    const http = new HttpClient(this.management);
    try {
      while ((await http.send({ path: '/readyz' }).catch(() => null))?.status !== 200) {
        if (!this.isUp) throw new Error(`node ${this.id} ended: ${this.process?.log ?? ''}`);
      }
    } finally {
      http.close();
    }
  }

  get directoryId(): string | null {
    try {
      return (JSON.parse(readFileSync(join(this.dataDir, 'meta.json'), 'utf8')) as { directory_id: string })
        .directory_id;
    } catch {
      return null;
    }
  }
}

export interface ClusterOptions {
  /** One data directory a node is made below it. */
  readonly folder: string;
  readonly size?: number;
  readonly flags?: Flags;
  /** In place of one below the folder. */
  readonly dataDirs?: Readonly<Record<number, string>>;
}

export class TestCluster {
  readonly nodes: readonly ClusterNode[];
  readonly network: ClusterNetwork;
  /** What `--cluster` says. */
  readonly list: string;

  private constructor(nodes: readonly ClusterNode[], network: ClusterNetwork, list: string) {
    this.nodes = nodes;
    this.network = network;
    this.list = list;
  }

  /** Nothing is started yet. */
  static async plan({ folder, size = 3, flags = {}, dataDirs = {} }: ClusterOptions): Promise<TestCluster> {
    const ids = Array.from({ length: size }, (_, index) => index + 1);
    const nodes: ClusterNode[] = [];
    const network = new ClusterNetwork(head => {
      const text = head.toString('latin1');
      const dialler = nodes.find(({ directoryId }) => directoryId !== null && text.includes(directoryId));
      return dialler?.id ?? null;
    });
    const members: string[] = [];
    const listeners: number[] = [];
    for (const id of ids) {
      const [port, forwarded] = [await freePort(), await freePort()];
      await network.forward(id, { port, forwarded });
      members.push(`${id}@127.0.0.1:${forwarded}`);
      listeners.push(port);
    }
    const list = members.join(',');
    for (const id of ids) {
      const own = { 'node-id': `${id}`, cluster: list, peer: `127.0.0.1:${listeners[id - 1]}`, ...(await doors()) };
      nodes.push(new ClusterNode(id, dataDirs[id] ?? join(folder, `node-${id}`), { ...own, ...flags }));
    }
    return new TestCluster(nodes, network, list);
  }

  /** A founded cluster, all of whose nodes are ready. */
  static async start(options: ClusterOptions): Promise<TestCluster> {
    const cluster = await TestCluster.plan(options);
    try {
      await cluster.startAll();
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  async startAll(): Promise<void> {
    await Promise.all(this.nodes.filter(node => !node.isUp).map(node => node.start()));
    await Promise.all(this.nodes.map(node => node.ready()));
  }

  node(id: number): ClusterNode {
    const node = this.nodes[id - 1];
    if (node === undefined) throw new RangeError(`there is no node ${id}`);
    return node;
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    await Promise.all(this.nodes.map(node => node.kill()));
    await this.network.close();
  }

  /** All exit codes, of nodes that were asked to stop one after the other. */
  async stop(): Promise<readonly (number | null)[]> {
    const statuses: (number | null)[] = [];
    for (const node of this.nodes) statuses.push((await node.terminate())?.status ?? null);
    return statuses;
  }
}

/** Free addresses for the doors of a node. */
export async function doors(): Promise<Flags> {
  const address = async (): Promise<string> => `127.0.0.1:${await freePort()}`;
  return { http: await address(), grpc: await address(), management: await address() };
}

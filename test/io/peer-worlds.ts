// Two worlds in which the same tests of the peer links run: sockets of this machine, and the simulated network.
//
// A test awaits events in both: `until` looks at its condition after each thing that is told.

import type { NodeId } from '@sluice/protocol/ids';
import type { LogFields, Logger } from '../../server/base/logger.ts';
import type {
  CallOutcome,
  Lane,
  PeerHandlers,
  PeerIdentity,
  PeerLinks,
  PeerRefusal,
} from '../../server/io/peer-link.ts';
import { realClock } from '../../server/io/real/clock.ts';
import { listenPeers } from '../../server/io/real/peer-link/peer-links.ts';
import { realRandom } from '../../server/io/real/random.ts';
import { SimulatedNetwork } from '../simulation/network.ts';
import type { SimulatedPeerLinks } from '../simulation/network-links.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';

export interface NodeOptions {
  readonly id: number;
  readonly directory?: string;
  readonly incarnation?: number;
  readonly clusterId?: string;
  readonly secret?: string | null;
  readonly protocolVersion?: number;
  /** Where an earlier life of it was. */
  readonly address?: string;
  readonly frame?: PeerHandlers['frame'];
  readonly call?: PeerHandlers['call'];
  readonly admit?: PeerHandlers['admit'];
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** A node that keeps what it was told. */
export interface TestNode {
  readonly id: NodeId;
  readonly links: PeerLinks;
  readonly frames: { readonly from: PeerIdentity; readonly lane: Lane; readonly bytes: Uint8Array }[];
  readonly ups: PeerIdentity[];
  readonly downs: PeerIdentity[];
  readonly refusals: { readonly to: NodeId; readonly refusal: PeerRefusal }[];
  /** Of the real links. */
  readonly log: LogLine[];
}

export interface World {
  readonly name: string;
  start(options: NodeOptions): Promise<TestNode>;
  until(condition: () => boolean): Promise<void>;
  settle<T>(promise: Promise<T>): Promise<T>;
  /** Ends a life as suddenly as can be, without a word from it. */
  kill(node: TestNode): Promise<void>;
  /** Something that a condition depends on has changed. */
  poke(): void;
  stop(): Promise<void>;
}

export const directoryOf = (id: number, disk = 0): string =>
  `00000000-0000-4000-8000-${String(disk * 1000 + id).padStart(12, '0')}`;

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
export const bytesOf = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value));

export const answerText = (outcome: CallOutcome): string =>
  outcome.kind === 'answer' ? text(outcome.bytes) : `${outcome.kind}: ${outcome.reason}`;

export const identityOf = (options: NodeOptions): PeerIdentity => ({
  nodeId: options.id as NodeId,
  directory: options.directory ?? directoryOf(options.id),
  incarnation: options.incarnation ?? 1,
  clusterId: options.clusterId ?? '',
});

const recording = (log: LogLine[]): Logger => {
  const at =
    (level: string) =>
    (fields: LogFields, message: string): void =>
      void log.push({ level, message, fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), fatal: at('fatal') };
};

const testNode = (options: NodeOptions, links: PeerLinks, log: LogLine[]): TestNode => ({
  id: options.id as NodeId,
  links,
  frames: [],
  ups: [],
  downs: [],
  refusals: [],
  log,
});

const handlersOf = (node: TestNode, options: NodeOptions, poke: () => void): PeerHandlers => ({
  frame(from, lane, bytes) {
    node.frames.push({ from, lane, bytes });
    poke();
    return options.frame?.(from, lane, bytes);
  },
  call(from, request, signal) {
    poke();
    return options.call?.(from, request, signal) ?? Promise.resolve(request);
  },
  up(peer) {
    node.ups.push(peer);
    poke();
  },
  down(peer) {
    node.downs.push(peer);
    poke();
  },
  refused(to, refusal) {
    node.refusals.push({ to, refusal });
    poke();
  },
  admit: peer => options.admit?.(peer) ?? null,
});

export class RealWorld implements World {
  readonly name = 'real';
  readonly #nodes: TestNode[] = [];
  readonly #waiting = new Set<() => void>();

  async start(options: NodeOptions): Promise<TestNode> {
    const log: LogLine[] = [];
    const secret = options.secret === undefined ? 'a secret' : options.secret;
    const [host = '127.0.0.1', port = '0'] = (options.address ?? '127.0.0.1:0').split(':');
    const links = await listenPeers({
      listen: { host, port: Number(port) },
      local: identityOf(options),
      secret: secret === null ? null : Buffer.from(secret),
      clock: realClock,
      random: realRandom,
      logger: recording(log),
      ...(options.protocolVersion === undefined ? {} : { protocolVersion: options.protocolVersion }),
    });
    const node = testNode(options, links, log);
    this.#nodes.push(node);
    links.start(handlersOf(node, options, () => this.poke()));
    return node;
  }

  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const look = (): void => {
        try {
          if (!condition()) return;
          resolve();
        } catch (error) {
          reject(error);
        }
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
    });
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return promise;
  }

  kill(node: TestNode): Promise<void> {
    return node.links.close();
  }

  poke(): void {
    // After what the handler that pokes returns to.
    setImmediate(() => {
      for (const look of [...this.#waiting]) look();
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map(node => node.links.close()));
  }
}

export class SimulatedWorld implements World {
  readonly name = 'simulated';
  readonly random: SeededRandom;
  readonly scheduler: Scheduler;
  readonly network: SimulatedNetwork;
  readonly trace: string[] = [];

  constructor(seed: string) {
    this.random = new SeededRandom(seed);
    this.scheduler = new Scheduler(this.random.fork('scheduler'));
    this.network = new SimulatedNetwork({
      scheduler: this.scheduler,
      random: this.random.fork('network'),
      trace: line => this.trace.push(`${this.scheduler.nowMs} ${line}`),
    });
  }

  start(options: NodeOptions): Promise<TestNode> {
    const links = this.network.join({
      address: options.address ?? `node-${options.id}-${options.directory ?? ''}:9091`,
      local: identityOf(options),
      secret: (options.secret === undefined ? 'a secret' : options.secret) ?? '',
      ...(options.protocolVersion === undefined ? {} : { protocolVersion: options.protocolVersion }),
    });
    const node = testNode(options, links, []);
    links.start(handlersOf(node, options, () => {}));
    return Promise.resolve(node);
  }

  until(condition: () => boolean): Promise<void> {
    return this.scheduler.driveUntil(condition);
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.scheduler.drive(promise);
  }

  kill(node: TestNode): Promise<void> {
    (node.links as SimulatedPeerLinks).kill();
    return Promise.resolve();
  }

  poke(): void {}

  stop(): Promise<void> {
    return Promise.resolve();
  }
}

// Nodes with nothing but the cluster's metadata, in one simulated world: real storage, driver and Raft below it, simulated disks, network
// and time. A node outlives its process: it can be stopped, killed or lose its power, and be started again.

import { type NodeId, nodeId } from '@sluice/protocol/ids';
import type { Logger } from '../../server/base/logger.ts';
import { readMembership } from '../../server/coordinator/membership.ts';
import {
  type Metadata,
  type MetadataStart,
  type OpenedGroup,
  type OpenGroupRequest,
  openMetadata,
} from '../../server/coordinator/metadata.ts';
import { METADATA_TOPIC } from '../../server/coordinator/metadata-log.ts';
import type { Disk } from '../../server/io/disk.ts';
import type { PeerHandlers } from '../../server/io/peer-link.ts';
import { configurationOf } from '../../server/raft/configuration.ts';
import { replicaId } from '../../server/raft/replica-id.ts';
import { LogNews } from '../../server/replication/group-log.ts';
import { PeerRequests } from '../../server/replication/peer-request.ts';
import type { RaftSettings, ReplicatedLog } from '../../server/replication/replicated-log.ts';
import { Replication } from '../../server/replication/replication.ts';
import { StoreRecords } from '../../server/replication/replica-records.ts';
import type { Leadership, PartitionPlace } from '../../server/state/cluster/leader-balance.ts';
import type { FormerCatalogue } from '../../server/state/cluster/single-broker.ts';
import { type BrokerRegistration, directoryId, incarnation } from '../../server/state/cluster/record.ts';
import { DataDirectory } from '../../server/storage/data-directory.ts';
import type { PartitionLog } from '../../server/storage/partition-log.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { SimulatedDisk } from '../simulation/disk.ts';
import type { SimulatedPeerLinks } from '../simulation/network-links.ts';
import { SimulatedNetwork } from '../simulation/network.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { settingsFor } from '../storage/log-world.ts';

const DATA = '/data';
const TICK_MS = 100;

const raftSettings: RaftSettings = {
  electionTicks: 10,
  heartbeatTicks: 2,
  appendBytesMax: 256 * 1024,
  inFlightBytesMax: 1024 * 1024,
  uncommittedBytesMax: 64 * 1024 * 1024,
  lagTicksMax: 100,
  mayLoseWrites: false,
};

export interface WorldLine {
  readonly node: number;
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export interface NodeOptions {
  readonly rack?: string;
  readonly secret?: string;
  readonly votersMax?: number;
  readonly snapshotEveryRecords?: number;
  /** It has no peer listener at all. */
  readonly isWithoutLinks?: boolean;
}

export const addressOf = (id: number): string => `host-${id}:9091`;

export class MetadataWorld {
  readonly random: SeededRandom;
  readonly scheduler: Scheduler;
  readonly network: SimulatedNetwork;
  readonly lines: WorldLine[] = [];
  readonly nodes = new Map<number, WorldNode>();

  constructor(seed: string) {
    this.random = new SeededRandom(seed);
    this.scheduler = new Scheduler(this.random.fork('order'));
    this.network = new SimulatedNetwork({ scheduler: this.scheduler, random: this.random.fork('network') });
  }

  node(id: number, options: NodeOptions = {}): WorldNode {
    const known = this.nodes.get(id);
    if (known !== undefined) return known;
    const node = new WorldNode(this, nodeId(id), options);
    this.nodes.set(id, node);
    return node;
  }

  list(...ids: readonly number[]): { readonly nodeId: NodeId; readonly address: string }[] {
    return ids.map(id => ({ nodeId: nodeId(id), address: addressOf(id) }));
  }

  /** Nodes that found a cluster together; settled when all have joined it. */
  async found(...ids: readonly number[]): Promise<readonly WorldNode[]> {
    const nodes = ids.map(id => this.node(id));
    for (const node of nodes) await node.start({ kind: 'cluster', nodes: this.list(...ids) });
    await this.drive(Promise.all(nodes.map(node => node.metadata.joined())));
    return nodes;
  }

  drive<T>(work: Promise<T>): Promise<T> {
    return this.scheduler.drive(work);
  }

  until(condition: () => boolean): Promise<void> {
    return this.scheduler.driveUntil(condition);
  }

  said(message: RegExp): readonly WorldLine[] {
    return this.lines.filter(line => message.test(line.message) || message.test(JSON.stringify(line.fields)));
  }
}

interface Life {
  readonly clock: SimulatedClock;
  readonly directory: DataDirectory;
  readonly links: SimulatedPeerLinks;
  readonly replication: Replication;
  readonly metadata: Metadata;
}

export class WorldNode {
  readonly id: NodeId;
  readonly #world: MetadataWorld;
  /** Of its next start. */
  options: NodeOptions;
  readonly #random: SeededRandom;
  disk: SimulatedDisk;
  /** Of the partitions that a test plays: who leads them. */
  leaderships: (place: PartitionPlace) => Leadership | null = () => null;
  transfers: { readonly place: PartitionPlace; readonly to: NodeId }[] = [];
  failures: string[] = [];
  /** Found in its directory. */
  catalogue: FormerCatalogue | null = null;
  group: ReplicatedLog | null = null;
  log: PartitionLog | null = null;
  #life: Life | null = null;
  /** From the moment that it starts. */
  #process: { readonly clock: SimulatedClock; links: SimulatedPeerLinks | null } | null = null;
  #lives = 0;

  constructor(world: MetadataWorld, id: NodeId, options: NodeOptions) {
    this.id = id;
    this.#world = world;
    this.options = options;
    this.#random = world.random.fork(`node-${id}`);
    this.disk = this.#newDisk();
  }

  #newDisk(): SimulatedDisk {
    return new SimulatedDisk({ scheduler: this.#world.scheduler, random: this.#random.fork(`disk-${this.#lives}`) });
  }

  get life(): Life {
    if (this.#life === null) throw new Error(`node ${this.id} does not run`);
    return this.#life;
  }
  get metadata(): Metadata {
    return this.life.metadata;
  }
  get isRunning(): boolean {
    return this.#life !== null;
  }

  start(start: MetadataStart): Promise<void> {
    return this.#world.drive(this.beginStart(start));
  }

  async beginStart(start: MetadataStart): Promise<void> {
    const { network, scheduler } = this.#world;
    const logger = this.#logger();
    const clock = new SimulatedClock(scheduler);
    const disk = this.disk.mount();
    const life = ++this.#lives;
    const process: { readonly clock: SimulatedClock; links: SimulatedPeerLinks | null } = { clock, links: null };
    this.#process = process;
    const random = this.#random.fork(`life-${life}`);
    const directory = await openDirectory({ disk, clock, random, logger, nodeId: this.id });
    const { directoryId: uuid, clusterId } = directory.identity;
    const membership = await readMembership(disk, DATA);
    const links = network.join({
      address: addressOf(this.id),
      local: {
        nodeId: this.id,
        directory: uuid,
        incarnation: life,
        clusterId: membership?.clusterId ?? (start.kind === 'alone' ? clusterId : ''),
      },
      secret: this.options.secret ?? 'secret',
    });
    process.links = links;
    const records = new StoreRecords(directory.context.store);
    const replication = new Replication({
      nodeId: this.id,
      directory: uuid,
      links: this.options.isWithoutLinks === true ? null : links,
      records,
      clock,
      random: random.fork('replication'),
      logger,
      tickMs: TICK_MS,
      electionMs: TICK_MS * raftSettings.electionTicks,
    });
    const requests = new PeerRequests();
    const handlers: PeerHandlers = {
      frame: (from, lane, frame) => replication.frame(from, lane, frame),
      call: (from, request, signal) => requests.handle(from, request, signal),
      up: identity => replication.peerUp(identity),
      down: identity => replication.peerDown(identity),
      refused: (to, refusal) => logger.error({ to, reason: refusal.reason }, 'a peer refuses'),
      admit: () => null,
    };
    links.start(handlers);
    replication.start();
    const registration: Omit<BrokerRegistration, 'registeredAtMs'> = {
      nodeId: this.id,
      directoryId: directoryId(uuid),
      incarnation: incarnation(life),
      rack: this.options.rack ?? '',
      roles: ['broker', 'controller', 'gateway'],
      httpAddress: `host-${this.id}:8080`,
      grpcAddress: `host-${this.id}:9090`,
      peerAddress: addressOf(this.id),
    };
    const metadata = await openMetadata({
      registration,
      start,
      clusterId,
      catalogue: this.catalogue,
      votersMax: this.options.votersMax ?? 3,
      directory: DATA,
      disk,
      clock,
      random: random.fork('metadata'),
      logger,
      links: this.options.isWithoutLinks === true ? null : links,
      requests,
      topicDefaults: {},
      openGroup: request => this.#openGroup(request, { directory, replication, records }),
      addPeer: (id, address) => replication.addPeer(id, address),
      removePeer: id => replication.removePeer(id),
      leadership: place => this.leaderships(place),
      transferLeader: (place, to) => {
        this.transfers.push({ place, to });
        return Promise.resolve(true);
      },
      failed: detail => this.failures.push(detail),
      ...(this.options.snapshotEveryRecords === undefined
        ? {}
        : { snapshotEveryRecords: this.options.snapshotEveryRecords }),
    });
    this.#life = { clock, directory, links, replication, metadata };
  }

  async #openGroup(
    { name, voters, listener, snapshots }: OpenGroupRequest,
    parts: { readonly directory: DataDirectory; readonly replication: Replication; readonly records: StoreRecords },
  ): Promise<OpenedGroup> {
    const { directory, replication, records } = parts;
    const first = configurationOf(voters.map(voter => replicaId(voter.nodeId, voter.directoryId)));
    if (!records.has(name)) {
      records.found(name, first);
      await records.flush();
    }
    const news = new LogNews();
    const partition = { topic: METADATA_TOPIC, ...name };
    // Small segments, so that a start that moves up drops some.
    const log = await directory.openLog(partition, settingsFor({ segmentBytes: 4_096 }), news);
    const stored = records.restored(name, log, first);
    const group = replication.open({
      name,
      log,
      news,
      settings: raftSettings,
      stored,
      listener,
      snapshots,
      isAwake: true,
    });
    this.group = group;
    this.log = log;
    return { group, records: log };
  }

  /** As a clean stop. */
  async stop(): Promise<void> {
    const { metadata, replication, links, directory, clock } = this.life;
    await this.#world.drive(metadata.close());
    replication.close();
    await this.#world.drive(links.close());
    if (this.log !== null) await this.#world.drive(this.log.close());
    await this.#world.drive(directory.close());
    clock.kill();
    this.disk.kill();
    this.#end();
  }

  /** The process ends, also while it starts; `crash`: the machine does, and what was not synced may be gone. */
  kill(how: 'kill' | 'crash' = 'kill'): void {
    this.#process?.clock.kill();
    this.#process?.links?.kill();
    if (how === 'kill') this.disk.kill();
    else this.disk.crash();
    this.#end();
  }

  /** The directory is gone: the next start begins with an empty one. */
  wipe(): void {
    this.disk = this.#newDisk();
  }

  #end(): void {
    this.#process = null;
    this.#life = null;
    this.group = null;
    this.log = null;
  }

  #logger(): Logger {
    const write =
      (level: string): Logger['info'] =>
      (fields, message) => {
        this.#world.lines.push({ node: this.id, level, fields, message });
      };
    return {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      fatal: write('fatal'),
    };
  }
}

const openDirectory = (parts: {
  readonly disk: Disk;
  readonly clock: SimulatedClock;
  readonly random: SeededRandom;
  readonly logger: Logger;
  readonly nodeId: NodeId;
}): Promise<DataDirectory> =>
  DataDirectory.open({
    ...parts,
    path: DATA,
    locks: {
      acquire: () => Promise.resolve({ isHeld: () => Promise.resolve(true), release: () => Promise.resolve() }),
    },
    onSync: () => {},
    storeFailed: fault => {
      throw fault;
    },
  });

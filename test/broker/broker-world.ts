// Nodes that serve partitions to each other, in one simulated world: real storage, Raft and driver below the broker's own parts,
// simulated disks, network and time.

import { topicId as checkedTopicId, type NodeId, nodeId, type TopicId } from '@sluice/protocol/ids';
import type { Logger } from '../../server/base/logger.ts';
import type { TopicConfig } from '../../server/base/topic-config.ts';
import type { ProduceRequest } from '../../server/broker/broker.ts';
import { LocalPartitions } from '../../server/broker/local-partitions.ts';
import { countPending, type PendingBytes, type ProduceResult } from '../../server/broker/parked-answers.ts';
import { Partition } from '../../server/broker/partition.ts';
import { PartitionRoutes } from '../../server/broker/partition-routes.ts';
import { answerPeers } from '../../server/broker/peer-answers.ts';
import { raftSettings, RAFT_TICK_MS, ELECTION_MS } from '../../server/broker/raft-settings.ts';
import { RemotePartitions } from '../../server/broker/remote-partitions.ts';
import { topicSettings } from '../../server/broker/topic-settings.ts';
import type { DirectoryLocks } from '../../server/io/directory-lock.ts';
import { openGroupLog } from '../../server/replication/open-group-log.ts';
import { PeerRequests } from '../../server/replication/peer-request.ts';
import { ReplicaRepair } from '../../server/replication/replica-repair.ts';
import { Replication } from '../../server/replication/replication.ts';
import { StoreRecords } from '../../server/replication/replica-records.ts';
import { DataDirectory } from '../../server/storage/data-directory.ts';
import type { LogSettings } from '../../server/storage/log-settings.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { type DiskCall, SimulatedDisk, usual } from '../simulation/disk.ts';
import type { Repaired } from '../../server/storage/log-repair.ts';
import type { SimulatedPeerLinks } from '../simulation/network-links.ts';
import { SimulatedNetwork } from '../simulation/network.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { makeBatch, type BatchPlan } from '../storage/batches.ts';

export const DATA = '/data';
export const TOPIC = 't';
export const TOPIC_ID: TopicId = checkedTopicId('00000000-0000-4000-8000-000000000001');

const unlocked: DirectoryLocks = {
  acquire: () => Promise.resolve({ isHeld: () => Promise.resolve(true), release: () => Promise.resolve() }),
};

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {} };

export interface PartitionPlan {
  readonly partition?: number;
  readonly config?: TopicConfig;
  /** What a topic's settings cannot say. */
  readonly log?: Partial<LogSettings>;
  /** Nodes; without it, the node itself. */
  readonly voters?: readonly number[];
}

export class BrokerWorld {
  readonly random: SeededRandom;
  readonly scheduler: Scheduler;
  readonly network: SimulatedNetwork;
  readonly nodes = new Map<number, BrokerNode>();

  constructor(seed: string) {
    this.random = new SeededRandom(seed);
    this.scheduler = new Scheduler(this.random.fork('order'));
    this.network = new SimulatedNetwork({ scheduler: this.scheduler, random: this.random.fork('network') });
  }

  /** One node that has no others. */
  static async alone(seed: string): Promise<BrokerNode> {
    const world = new BrokerWorld(seed);
    return world.start(1, false);
  }

  /** Nodes with sessions to each other. */
  static async of(seed: string, ...ids: readonly number[]): Promise<BrokerWorld> {
    const world = new BrokerWorld(seed);
    for (const id of ids) await world.start(id, true);
    for (const node of world.nodes.values()) {
      for (const id of ids) if (id !== node.nodeId) node.replication.addPeer(nodeId(id), addressOf(id));
    }
    await world.until(() => world.all(node => ids.every(id => id === node.nodeId || node.hasSessionTo(id))));
    return world;
  }

  async start(id: number, hasLinks: boolean): Promise<BrokerNode> {
    const node = await this.drive(BrokerNode.start(this, nodeId(id), hasLinks));
    this.nodes.set(id, node);
    return node;
  }

  node(id: number): BrokerNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`there is no node ${id}`);
    return node;
  }

  all(holds: (node: BrokerNode) => boolean): boolean {
    return [...this.nodes.values()].every(holds);
  }

  drive<T>(work: Promise<T>): Promise<T> {
    return this.scheduler.drive(work);
  }

  until(condition: () => boolean): Promise<void> {
    return this.scheduler.driveUntil(condition);
  }

  /** A replica on each of `voters`; returns the one that leads, as soon as one does. */
  async replicate(plan: PartitionPlan & { readonly voters: readonly number[] }): Promise<Partition> {
    await this.drive(Promise.all(plan.voters.map(id => this.node(id).open(plan))));
    return this.leader(plan.voters, plan.partition ?? 0);
  }

  /** Leads, and is known to lead on all nodes. */
  async leader(voters: readonly number[], partition = 0): Promise<Partition> {
    const name = { topicId: TOPIC_ID, partition };
    const leading = (): number | undefined => voters.find(id => this.node(id).partition(partition).isServing);
    const isKnown = (): boolean => {
      const leader = leading();
      return leader !== undefined && this.all(node => node.routes.leaderOf(name).nodeId === leader);
    };
    await this.until(isKnown);
    return this.node(leading()!).partition(partition);
  }
}

const addressOf = (id: number): string => `host-${id}:9091`;

export class BrokerNode {
  readonly world: BrokerWorld;
  readonly nodeId: NodeId;
  readonly disk: SimulatedDisk;
  readonly clock: SimulatedClock;
  readonly links: SimulatedPeerLinks | null;
  readonly requests = new PeerRequests();
  readonly directory: DataDirectory;
  readonly records: StoreRecords;
  readonly replication: Replication;
  readonly local: LocalPartitions;
  readonly routes: PartitionRoutes;
  readonly storeFaults: string[];
  readonly repaired: Repaired[] = [];
  readonly repair: ReplicaRepair | null = null;
  pending: PendingBytes = countPending(64 * 1024 * 1024);
  readonly #partitions = new Map<number, Partition>();

  static async start(world: BrokerWorld, id: NodeId, hasLinks: boolean): Promise<BrokerNode> {
    const random = world.random.fork(`node-${id}`);
    const disk = new SimulatedDisk({ scheduler: world.scheduler, random: random.fork('disk') });
    const clock = new SimulatedClock(world.scheduler);
    const storeFaults: string[] = [];
    const directory = await DataDirectory.open({
      disk: disk.mount(),
      clock,
      random,
      locks: unlocked,
      path: DATA,
      nodeId: id,
      logger: silent,
      onSync() {},
      storeFailed: fault => storeFaults.push(fault.kind),
    });
    return new BrokerNode(world, { id, disk, clock, directory, storeFaults, random, hasLinks });
  }

  private constructor(
    world: BrokerWorld,
    parts: {
      readonly id: NodeId;
      readonly disk: SimulatedDisk;
      readonly clock: SimulatedClock;
      readonly directory: DataDirectory;
      readonly storeFaults: string[];
      readonly random: SeededRandom;
      readonly hasLinks: boolean;
    },
  ) {
    const { id, disk, clock, directory, storeFaults } = parts;
    this.world = world;
    this.nodeId = id;
    this.disk = disk;
    this.clock = clock;
    this.directory = directory;
    this.storeFaults = storeFaults;
    this.records = new StoreRecords(directory.context.store);
    const { directoryId } = directory.identity;
    const local = { nodeId: id, directory: directoryId, incarnation: 1, clusterId: 'cluster' };
    this.links = parts.hasLinks ? world.network.join({ address: addressOf(id), local, secret: 'secret' }) : null;
    this.replication = new Replication({
      nodeId: id,
      directory: directoryId,
      links: this.links,
      records: this.records,
      clock,
      random: parts.random.fork('replication'),
      logger: silent,
      tickMs: RAFT_TICK_MS,
      electionMs: ELECTION_MS,
    });
    const replicas = {
      find: (topicId: TopicId, partition: number) =>
        topicId === TOPIC_ID ? this.#partitions.get(partition) : undefined,
    };
    this.local = new LocalPartitions(replicas, clock);
    this.routes = new PartitionRoutes({
      nodeId: id,
      clock,
      links: this.links,
      replication: this.replication,
      replicas,
      local: this.local,
    });
    answerPeers(this.requests, this.local);
    if (this.links !== null) {
      const parts = { replication: this.replication, links: this.links, requests: this.requests };
      this.repair = new ReplicaRepair({ ...parts, clock, logger: silent, repaired: each => this.repaired.push(each) });
    }
    this.replication.start();
    this.links?.start({
      frame: (from, lane, frame) => this.replication.frame(from, lane, frame),
      call: (from, request, signal) => this.requests.handle(from, request, signal),
      up: peer => this.replication.peerUp(peer),
      down: peer => this.replication.peerDown(peer),
      refused() {},
      admit: () => null,
    });
  }

  hasSessionTo(id: number): boolean {
    return this.links?.state(nodeId(id)).kind === 'up';
  }

  remote(id: number): RemotePartitions {
    if (this.links === null) throw new Error('a node that is alone asks nobody');
    return new RemotePartitions(this.links, nodeId(id));
  }

  partition(partition = 0): Partition {
    const found = this.#partitions.get(partition);
    if (found === undefined) throw new Error(`node ${this.nodeId} has no partition ${partition}`);
    return found;
  }

  drive<T>(work: Promise<T>): Promise<T> {
    return this.world.drive(work);
  }

  async open({ partition = 0, config = {}, log = {}, voters = [this.nodeId] }: PartitionPlan = {}): Promise<Partition> {
    const { clock, pending, nodeId: id, directory, replication, records } = this;
    const plain = topicSettings(config, {});
    const settings = { ...plain, log: { ...plain.log, ...log } };
    const name = { topic: TOPIC, topicId: TOPIC_ID, partition };
    const changed = (): void => this.routes.changed(name);
    const opened = new Partition({ topic: TOPIC, partition, nodeId: id, clock, pending, changed }, settings);
    await openGroupLog({
      directory,
      replication,
      records,
      name,
      settings: settings.log,
      raft: raftSettings(settings.log.flushMode),
      voters: voters.map(voter => this.world.node(voter).directory.identity),
      listener: opened,
      opened: parts => opened.attach(parts.log, parts.group),
    });
    this.#partitions.set(partition, opened);
    return opened;
  }

  /** A partition of which this node has the only replica, as soon as it serves. */
  async serve(plan: PartitionPlan = {}): Promise<Partition> {
    const partition = await this.drive(this.open(plan));
    await this.world.until(() => partition.isServing);
    return partition;
  }
}

export const request = (
  plan: BatchPlan = {},
  changes: Partial<ProduceRequest> = {},
): Pick<ProduceRequest, 'batches' | 'acks' | 'timeoutMs'> => ({
  batches: makeBatch({ timestamp: 1_767_225_600_000, ...plan }),
  acks: 'all',
  timeoutMs: 30_000,
  ...changes,
});

/** Issues a produce; the answer comes while the world is driven. */
export const produce = (partition: Partition, given = request()): Promise<ProduceResult> => {
  const answer = partition.produce(given);
  if (answer === null) throw new Error('nothing can be written here now');
  return answer;
};

export const failing = (which: (call: DiskCall) => boolean) => (call: DiskCall) =>
  which(call) ? ({ kind: 'fault', fault: 'failed' } as const) : usual;

// One node of a simulated cluster of whole brokers: a machine with a disk, and the lives of the process on it. Each life is put together as
// server/node.ts does it, without doors: data directory, peer links, Replication, metadata, ClusterBroker.

import type { NodeId, TopicId } from '@sluice/protocol/ids';
import type { Logger } from '../../server/base/logger.ts';
import { StartRefusal } from '../../server/base/start-refusal.ts';
import { ClusterBroker } from '../../server/broker/cluster-broker.ts';
import { ELECTION_MS, RAFT_TICK_MS, raftSettings } from '../../server/broker/raft-settings.ts';
import { METADATA_LOG_SETTINGS, topicSettings } from '../../server/broker/topic-settings.ts';
import { readMembership } from '../../server/coordinator/membership.ts';
import { type Metadata, openMetadata } from '../../server/coordinator/metadata.ts';
import { METADATA_TOPIC, METADATA_TOPIC_ID } from '../../server/coordinator/metadata-log.ts';
import { DiskFault } from '../../server/io/disk.ts';
import type { PeerLinks } from '../../server/io/peer-link.ts';
import { type OpenedGroupLog, openGroupLog } from '../../server/replication/open-group-log.ts';
import { PeerRequests } from '../../server/replication/peer-request.ts';
import { StoreRecords } from '../../server/replication/replica-records.ts';
import { ReplicaRepair } from '../../server/replication/replica-repair.ts';
import { Replication } from '../../server/replication/replication.ts';
import { directoryId, incarnation } from '../../server/state/cluster/record.ts';
import { DataDirectory } from '../../server/storage/data-directory.ts';
import type { BrokerCluster } from './broker-cluster.ts';
import { SimulatedDisk } from './disk.ts';
import type { SimulatedPeerLinks } from './network-links.ts';
import { NodeClock, Stall } from './node-clock.ts';
import { diskOf } from './node-disk.ts';
import { handlersOf, RESTART_MS, ROOT, unlocked } from './node-parts.ts';
import type { SeededRandom } from './random.ts';
import { textOf } from './thrown.ts';
import { type ReadLog, readAll } from './watched-log.ts';

const VOTERS_MAX = 5;
const METADATA_LOG = { topic: METADATA_TOPIC, topicId: METADATA_TOPIC_ID, partition: 0 } as const;

/** One run of the process. After its end nothing of it happens any more. */
export interface BrokerLife {
  readonly number: number;
  readonly stall: Stall;
  readonly clock: NodeClock;
  readonly random: SeededRandom;
  links: SimulatedPeerLinks | null;
  running: RunningBroker | null;
  metadata: OpenedGroupLog | null;
  /** Requests of clients that are not answered. */
  openRequests: number;
  isOver: boolean;
}

interface RunningBroker {
  readonly directory: DataDirectory;
  readonly repair: ReplicaRepair;
  readonly replication: Replication;
  readonly metadata: Metadata;
  readonly broker: ClusterBroker;
}

export interface PartitionFolder {
  readonly topic: string;
  readonly topicId: TopicId;
  readonly partition: number;
}

export class BrokerNode {
  readonly nodeId: NodeId;
  readonly disk: SimulatedDisk;
  readonly #cluster: BrokerCluster;
  readonly #random: SeededRandom;
  readonly #rate: number;
  life: BrokerLife | null = null;
  #lives = 0;
  /** It was stopped for good: whoever wanted to start it again comes too late. */
  #isRetired = false;

  constructor(cluster: BrokerCluster, nodeId: NodeId, random: SeededRandom) {
    this.#cluster = cluster;
    this.nodeId = nodeId;
    this.#random = random;
    this.#rate = 1 + cluster.plan.drift * (2 * random.fraction() - 1);
    this.disk = new SimulatedDisk({ scheduler: cluster.scheduler, random: random.fork('disk') });
  }

  get lives(): number {
    return this.#lives;
  }

  get address(): string {
    return `node-${this.nodeId}:9094`;
  }

  /** Everything is open, and the broker takes requests. */
  get isUp(): boolean {
    return (this.life?.running ?? null) !== null;
  }

  /** Of a node that is up. */
  get running(): RunningBroker {
    const running = this.life?.running ?? null;
    if (running === null) throw new Error(`node ${this.nodeId} is not up`);
    return running;
  }

  #newLife(): BrokerLife {
    const stall = new Stall();
    const number = ++this.#lives;
    this.life = {
      number,
      stall,
      clock: new NodeClock(this.#cluster.scheduler, { rate: this.#rate, stall }),
      random: this.#random.fork(`life ${number}`),
      links: null,
      running: null,
      metadata: null,
      openRequests: 0,
      isOver: false,
    };
    return this.life;
  }

  #openDirectory(life: BrokerLife): Promise<DataDirectory> {
    return DataDirectory.open({
      disk: diskOf(this.disk.mount(), life.stall),
      clock: life.clock,
      random: life.random,
      locks: unlocked,
      path: ROOT,
      nodeId: this.nodeId,
      logger: this.#logger(life),
      onSync: () => undefined,
      // Not from within: the process takes a moment to stop.
      storeFailed: () => this.#cluster.scheduler.after(0, () => this.#restart(life)),
    });
  }

  start(): void {
    if (this.life !== null || this.#isRetired) return;
    const life = this.#newLife();
    this.#cluster.trace(`${this.nodeId} starts, life ${life.number}`);
    this.#run(life).catch((fault: unknown) => {
      if (fault instanceof StartRefusal || fault instanceof DiskFault) {
        this.#cluster.trace(`${this.nodeId} does not start: ${fault.message}`);
        this.#restart(life);
      } else this.#cluster.fail(`node ${this.nodeId} does not start: ${textOf(fault)}`);
    });
  }

  async #run(life: BrokerLife): Promise<void> {
    const { clock, stall, random } = life;
    const logger = this.#logger(life);
    const directory = await this.#openDirectory(life);
    const { identity, context } = directory;
    const disk = context.disk;
    const number = await directory.nextIncarnation();
    const membership = await readMembership(disk, ROOT);
    const local = { nodeId: this.nodeId, directory: identity.directoryId, incarnation: number };
    life.links = this.#cluster.network.join({
      address: this.address,
      local: { ...local, clusterId: membership?.clusterId ?? '' },
      secret: 'secret',
    });
    const links = linksOf(life.links, stall);
    const records = new StoreRecords(context.store);
    const requests = new PeerRequests();
    const replication = new Replication({
      nodeId: this.nodeId,
      directory: identity.directoryId,
      links,
      records,
      clock,
      random,
      logger,
      tickMs: RAFT_TICK_MS,
      electionMs: ELECTION_MS,
    });
    const late: { broker: ClusterBroker | null; metadata: Metadata | null } = { broker: null, metadata: null };
    const repair = new ReplicaRepair({ replication, links, requests, clock, logger });
    replication.start();
    links.start(
      handlersOf({ replication, requests, stall }, ({ nodeId, directory: theirs }) => {
        const known = late.metadata?.image().brokers.get(nodeId)?.registration.directoryId;
        return known === undefined || known === theirs ? null : { reason: 'wiped-directory', detail: 'another one' };
      }),
    );
    const metadata = await openMetadata({
      registration: {
        nodeId: this.nodeId,
        directoryId: directoryId(identity.directoryId),
        incarnation: incarnation(number),
        rack: '',
        roles: ['broker', 'controller', 'gateway'],
        httpAddress: `node-${this.nodeId}:8080`,
        grpcAddress: `node-${this.nodeId}:9090`,
        peerAddress: this.address,
      },
      start: {
        kind: 'cluster',
        nodes: this.#cluster.nodes.map(({ nodeId, address }) => ({ nodeId, address })),
      },
      clusterId: identity.clusterId,
      catalogue: null,
      votersMax: VOTERS_MAX,
      directory: ROOT,
      disk,
      clock,
      random,
      logger,
      links,
      requests,
      topicDefaults: {},
      openGroup: async ({ voters, listener, snapshots }) => {
        const { log, group } = await openGroupLog({
          directory,
          replication,
          records,
          name: METADATA_LOG,
          settings: METADATA_LOG_SETTINGS,
          raft: raftSettings('sync'),
          voters,
          listener,
          snapshots,
          isAwake: true,
        });
        life.metadata = { log, group };
        return { group, records: log };
      },
      addPeer: (peer, address) => replication.addPeer(peer, address),
      removePeer: peer => replication.removePeer(peer),
      leadership: place => late.broker?.leadership(place) ?? null,
      transferLeader: (place, to) => Promise.resolve(late.broker?.transferLeader(place, to) ?? false),
      failed: detail => this.#cluster.fail(`node ${this.nodeId} cannot go on: ${detail}`),
      snapshotEveryRecords: this.#cluster.plan.snapshotEveryRecords,
    });
    late.metadata = metadata;
    const broker = new ClusterBroker({
      directory,
      metadata,
      replication,
      records,
      links,
      requests,
      clock,
      random: life.random.fork('broker'),
      logger,
      topicDefaults: {},
      offsetsRetentionMs: this.#cluster.offsetsRetentionMs,
      version: 'simulated',
      addresses: () => ({ http: '', grpc: '' }),
    });
    late.broker = broker;
    await metadata.joined();
    await broker.open();
    life.running = { directory, replication, repair, metadata, broker };
    this.#cluster.trace(`${this.nodeId} is up`);
  }

  /** A supervisor starts the process again, some time after it ended by itself. */
  #restart(life: BrokerLife): void {
    if (life.isOver) return;
    this.end('kill');
    this.#cluster.scheduler.after(RESTART_MS, () => {
      if (this.life === null) this.start();
    });
  }

  /** Logs that failed take nothing until the next start. */
  restartWhereFailed(): void {
    const { life } = this;
    if (life === null || this.#isRetired) return;
    const isFailed = life.running?.broker.notReady().some(reason => reason.includes('takes no records')) ?? false;
    if (isFailed || life.metadata?.log.state === 'failed') this.#restart(life);
  }

  end(how: 'kill' | 'power'): void {
    const { life } = this;
    if (life === null) return;
    this.#cluster.trace(`${this.nodeId} ends: ${how}`);
    this.life = null;
    life.isOver = true;
    life.running = null;
    life.clock.kill();
    life.stall.kill();
    if (how === 'power') this.disk.crash();
    else this.disk.kill();
    life.links?.kill(how === 'power' ? 'machine' : 'process');
  }

  stall(forMs: number): void {
    const { life } = this;
    if (life === null || life.stall.isStalled) return;
    life.stall.begin();
    this.#cluster.scheduler.after(forMs, () => life.stall.end());
  }

  /** As a clean stop, without a hand-over. */
  async stop(): Promise<void> {
    this.#isRetired = true;
    const { directory, replication, repair, metadata, broker } = this.running;
    const { links, metadata: group } = this.life!;
    await broker.close();
    await metadata.close();
    repair.close();
    replication.close();
    await group?.log.close();
    await links?.close();
    await directory.close();
    this.end('kill');
  }

  /** Of a node that was stopped: what its logs hold, each opened as at a start; null where it cannot be read, and may be so. */
  async logs(
    folders: readonly PartitionFolder[],
    { mayRot }: { readonly mayRot: boolean },
  ): Promise<readonly (ReadLog | null)[]> {
    const directory = await this.#openDirectory(this.#newLife());
    const found: (ReadLog | null)[] = [];
    for (const folder of folders) {
      const deaf = { durable: () => undefined, dropped: () => undefined };
      const log = await directory.openLog(folder, topicSettings({}, {}).log, deaf);
      const read = mayRot ? await readAll(log).catch(() => null) : await readAll(log);
      found.push(read);
      await log.close();
    }
    await directory.close();
    this.end('kill');
    return found;
  }

  #logger(life: BrokerLife): Logger {
    const write =
      (level: string): Logger['info'] =>
      (fields, message) => {
        if (!life.isOver) this.#cluster.trace(`${this.nodeId} ${level}: ${message} ${JSON.stringify(fields)}`);
      };
    return {
      debug: () => undefined,
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      fatal: write('fatal'),
    };
  }
}

/** What comes in while the process stands still is noticed when it goes on. */
const linksOf = (links: SimulatedPeerLinks, stall: Stall): PeerLinks => ({
  address: links.address,
  start: handlers => links.start(handlers),
  open: (to, address) => links.open(to, address),
  forget: to => links.forget(to),
  state: to => links.state(to),
  joinCluster: clusterId => links.joinCluster(clusterId),
  hasRoom: (to, lane) => links.hasRoom(to, lane),
  send: (to, lane, frame) => links.send(to, lane, frame),
  whenDrained: (to, lane, listener) => links.whenDrained(to, lane, () => stall.whenRunning('input', listener)),
  call: (to, request, options) => stall.hold(links.call(to, request, options)),
  close: () => links.close(),
});

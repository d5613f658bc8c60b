// One node of a simulated cluster: a machine with a disk, and the lives of the process on it. Each life is the real data directory, store,
// logs and Replication; what serves clients above them (served-group.ts) is as small as it can be.

import type { NodeId } from '@sluice/protocol/ids';
import type { Logger } from '../../server/base/logger.ts';
import { StartRefusal } from '../../server/base/start-refusal.ts';
import { DiskFault } from '../../server/io/disk.ts';
import type { SavedState } from '../../server/raft/ready.ts';
import { LogNews } from '../../server/replication/group-log.ts';
import { groupKey, type GroupName } from '../../server/replication/group-name.ts';
import { PeerRequests } from '../../server/replication/peer-request.ts';
import { type ReplicaRecords, StoreRecords } from '../../server/replication/replica-records.ts';
import { ReplicaRepair } from '../../server/replication/replica-repair.ts';
import { Replication } from '../../server/replication/replication.ts';
import { DataDirectory } from '../../server/storage/data-directory.ts';
import { RaftMarks } from '../../server/storage/raft-marks.ts';
import type { Cluster } from './cluster.ts';
import { SimulatedDisk } from './disk.ts';
import type { GroupTruth } from './group-truth.ts';
import type { SimulatedPeerLinks } from './network-links.ts';
import { NodeClock, Stall } from './node-clock.ts';
import { diskOf } from './node-disk.ts';
import { handlersOf, RESTART_MS, ROOT, unlocked } from './node-parts.ts';
import type { SeededRandom } from './random.ts';
import { ServedGroup } from './served-group.ts';
import { WatchedLog } from './watched-log.ts';

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  fatal: () => undefined,
};

/** One run of the process. After its end nothing of it happens any more. */
export interface Life {
  readonly number: number;
  readonly stall: Stall;
  readonly clock: NodeClock;
  links: SimulatedPeerLinks | null;
  replication: Replication | null;
  repair: ReplicaRepair | null;
  readonly served: Map<number, ServedGroup>;
  /** Everything is open. */
  isUp: boolean;
  isOver: boolean;
}

export class ClusterNode {
  readonly nodeId: NodeId;
  readonly disk: SimulatedDisk;
  readonly #cluster: Cluster;
  readonly #random: SeededRandom;
  readonly #rate: number;
  directory = '';
  life: Life | null = null;
  #lives = 0;

  constructor(cluster: Cluster, nodeId: NodeId, random: SeededRandom) {
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

  /** A first life that only makes the directory, so that the others can name it. */
  async found(): Promise<void> {
    const directory = await this.#openDirectory(this.#newLife());
    this.directory = directory.identity.directoryId;
    await directory.close();
    this.end('kill');
  }

  #newLife(): Life {
    const stall = new Stall();
    const clock = new NodeClock(this.#cluster.scheduler, { rate: this.#rate, stall });
    const number = ++this.#lives;
    const life = {
      number,
      stall,
      clock,
      links: null,
      replication: null,
      repair: null,
      served: new Map(),
      isUp: false,
      isOver: false,
    };
    this.life = life;
    return life;
  }

  #openDirectory(life: Life): Promise<DataDirectory> {
    return DataDirectory.open({
      disk: diskOf(this.disk.mount(), life.stall),
      clock: life.clock,
      random: this.#random,
      locks: unlocked,
      path: ROOT,
      nodeId: this.nodeId,
      logger: silent,
      onSync: () => undefined,
      // Not from within: the process takes a moment to stop.
      storeFailed: () => this.#cluster.scheduler.after(0, () => this.#restart(life)),
    });
  }

  start(): void {
    if (this.life !== null) return;
    const life = this.#newLife();
    this.#run(life).catch((fault: unknown) => {
      if (fault instanceof StartRefusal || fault instanceof DiskFault) this.#restart(life);
      else
        this.#cluster.fail(
          `node ${this.nodeId} does not start: ${fault instanceof Error ? fault.stack : String(fault)}`,
        );
    });
  }

  async #run(life: Life): Promise<void> {
    const directory = await this.#openDirectory(life);
    const { context } = directory;
    const records = new StoreRecords(context.store);
    const watchedRecords = new WatchedRecords(records, name => this.#cluster.truthOf(name), this.nodeId);
    const links = this.#cluster.network.join({
      address: this.address,
      local: { nodeId: this.nodeId, directory: this.directory, incarnation: life.number, clusterId: 'simulated' },
      secret: 'secret',
    });
    life.links = links;
    const replication = new Replication({
      nodeId: this.nodeId,
      directory: this.directory,
      links,
      records: watchedRecords,
      clock: life.clock,
      random: this.#random,
      logger: silent,
      tickMs: this.#cluster.plan.tickMs,
      electionMs: this.#cluster.plan.tickMs * this.#cluster.plan.electionTicks,
      // Small, so that it happens.
      receivedBytesMax: 2_000,
    });
    life.replication = replication;
    const requests = new PeerRequests();
    life.repair = new ReplicaRepair({ replication, links, requests, clock: life.clock, logger: silent });
    for (const { partition } of this.#cluster.plan.groups) {
      if (!this.#cluster.hostsOf(partition).includes(this.nodeId)) continue;
      const name = this.#cluster.nameOf(partition);
      const configuration = this.#cluster.firstConfiguration(partition);
      if (!records.has(name)) {
        records.found(name, configuration);
        await records.flush();
      }
      const truth = this.#cluster.truthOf(name);
      const news = new LogNews();
      const log = new WatchedLog(truth, this.nodeId, news);
      const inner = await directory.openLog({ topic: 't', ...name }, this.#cluster.logSettings, log.listener);
      const record = new RaftMarks(context.store, groupKey(name)).record();
      await log.begin(inner, record);
      const served = new ServedGroup({ cluster: this.#cluster, nodeId: this.nodeId, partition, log, truth });
      const stored = records.restored(name, log, configuration);
      served.attach(
        replication.open({ name, log, news, settings: this.#cluster.raftSettings, stored, listener: served }),
      );
      life.served.set(partition, served);
    }
    links.start(handlersOf({ replication, requests, stall: life.stall }));
    replication.start();
    for (const peer of this.#cluster.nodes) {
      if (peer.nodeId !== this.nodeId) replication.addPeer(peer.nodeId, peer.address);
    }
    life.isUp = true;
  }

  /** A supervisor starts the process again, some time after it ended by itself. */
  #restart(life: Life): void {
    if (life.isOver) return;
    this.end('kill');
    this.#cluster.scheduler.after(RESTART_MS, () => {
      if (this.life === null) this.start();
    });
  }

  /** Logs that failed take nothing until the next start. */
  restartWhereFailed(): void {
    const { life } = this;
    if (life === null || !life.isUp) return;
    for (const { log } of life.served.values()) {
      if (log.state !== 'failed') continue;
      this.#restart(life);
      return;
    }
  }

  end(how: 'kill' | 'power'): void {
    const { life } = this;
    if (life === null) return;
    this.life = null;
    life.isOver = true;
    life.isUp = false;
    life.clock.kill();
    life.stall.kill();
    if (how === 'power') this.disk.crash();
    else this.disk.kill();
    life.links?.kill(how === 'power' ? 'machine' : 'process');
    for (const served of life.served.values()) served.end();
  }

  stall(forMs: number): void {
    const { life } = this;
    if (life === null || life.stall.isStalled) return;
    life.stall.begin();
    this.#cluster.scheduler.after(forMs, () => life.stall.end());
  }
}

/** Notes what the store holds for certain. */
class WatchedRecords implements ReplicaRecords {
  readonly #inner: StoreRecords;
  readonly #truthOf: (name: GroupName) => GroupTruth;
  readonly #node: number;
  #saved: { readonly name: GroupName; readonly state: SavedState }[] = [];

  constructor(inner: StoreRecords, truthOf: (name: GroupName) => GroupTruth, node: number) {
    this.#inner = inner;
    this.#truthOf = truthOf;
    this.#node = node;
  }

  save(name: GroupName, state: SavedState): void {
    this.#saved.push({ name, state });
    this.#inner.save(name, state);
  }

  async flush(): Promise<void> {
    const saved = this.#saved;
    this.#saved = [];
    await this.#inner.flush();
    for (const { name, state } of saved) {
      const promised = this.#truthOf(name).promised.get(this.#node);
      if (promised !== undefined) promised.record = { term: state.term, vote: state.vote, recovery: state.recovery };
    }
  }
}

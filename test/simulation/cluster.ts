// A cluster in one process: nodes, the network between them, clients, troubles, and what must hold. Two phases: in the first anything may go
// wrong; then everything is healed, and all replicas must agree within a bounded time.

import { nodeId, offset, topicId } from '@sluice/protocol/ids';
import { DiskFault } from '../../server/io/disk.ts';
import { type Configuration, configurationOf, isJoint, membersOf } from '../../server/raft/configuration.ts';
import type { RaftSettings } from '../../server/raft/replica.ts';
import { type ReplicaId, replicaId } from '../../server/raft/replica-id.ts';
import type { GroupName } from '../../server/replication/group-name.ts';
import type { LogSettings } from '../../server/storage/log-settings.ts';
import { LogHistory } from '../history/log-history.ts';
import { settingsFor } from '../storage/log-world.ts';
import { ClusterNode } from './cluster-node.ts';
import { type ClusterPlan, drawPlan } from './cluster-plan.ts';
import { GroupTruth, nodeOf } from './group-truth.ts';
import { SimulatedNetwork } from './network.ts';
import type { SeededRandom } from './random.ts';
import type { ServedGroup } from './served-group.ts';
import { SimulationRun } from './simulation-run.ts';
import { SimulationFailure, textOf } from './thrown.ts';
import { type Led, sealedLogs, type TroubledCluster, type TroubledNode, Troubles } from './troubles.ts';
import { readAll } from './watched-log.ts';

export interface ClusterReport {
  readonly events: number;
  readonly acknowledged: number;
  readonly sent: number;
  readonly committed: number;
  readonly terms: number;
  readonly lives: number;
  readonly cuts: number;
  readonly installs: number;
  /** How often a bulk lane waited for the disk, in the last lives. */
  readonly held: number;
  /** Reads that a leader made sure of. */
  readonly confirmed: number;
  readonly convergedMs: number;
  readonly trace: string;
}

const TOPIC = topicId('5a5a5a5a-0000-4000-8000-000000000001');
/** From healing to agreement: several elections, back-offs of links and restarts. */
const CONVERGE_MS = 30_000;
/** Idle for long enough that every group goes quiet. */
const ASLEEP_MS = 1_500;
const REPAIR_LOOK_MS = 500;

interface Reader {
  readonly name: string;
  readonly next: Map<number, number>;
  isBusy: boolean;
}

export class Cluster extends SimulationRun<ClusterReport> {
  readonly plan: ClusterPlan;
  readonly network: SimulatedNetwork;
  readonly history = new LogHistory();
  readonly nodes: ClusterNode[] = [];
  readonly logSettings: LogSettings;
  readonly raftSettings: RaftSettings;
  readonly #truths = new Map<number, GroupTruth>();
  readonly #troubles: Troubles;
  /** The one node whose disk rots. */
  readonly #rotten: number;
  #names = 0;
  #isCalm = false;

  constructor(seed: string, wishes: Partial<ClusterPlan> = {}) {
    super(seed);
    this.plan = drawPlan(this.random.fork('plan'), wishes);
    const trace = (line: string): void => this.trace(line);
    this.network = new SimulatedNetwork({ scheduler: this.scheduler, random: this.random.fork('network'), trace });
    this.logSettings = settingsFor({ segmentBytes: this.plan.segmentBytes });
    this.raftSettings = {
      electionTicks: this.plan.electionTicks,
      heartbeatTicks: 2,
      appendBytesMax: this.plan.appendBytesMax,
      inFlightBytesMax: 64 * 1024,
      uncommittedBytesMax: 256 * 1024,
      lagTicksMax: 40,
      mayLoseWrites: false,
    };
    const truthOptions = { mayRot: this.plan.troubles.includes('rot'), fail: (what: string) => this.fail(what) };
    for (const { partition } of this.plan.groups) {
      this.#truths.set(partition, new GroupTruth(`group ${partition}`, truthOptions));
    }
    for (let id = 1; id <= this.plan.nodes; id++) {
      this.nodes.push(new ClusterNode(this, nodeId(id), this.random.fork(`node ${id}`)));
    }
    this.#rotten = this.random.fork('rot').below(this.plan.nodes);
    this.#troubles = new Troubles(this, this.random.fork('troubles'));
  }

  // ---- Names

  nameOf(partition: number): GroupName {
    return { topicId: TOPIC, partition };
  }

  truthOf({ partition }: GroupName): GroupTruth {
    return this.#truths.get(partition)!;
  }

  /** Where members can come from other nodes, those have a replica waiting. */
  hostsOf(partition: number): readonly number[] {
    if (this.plan.troubles.includes('membership')) return this.nodes.map(node => node.nodeId);
    return this.plan.groups[partition]!.nodes;
  }

  replicaOn(node: ClusterNode): ReplicaId {
    return replicaId(node.nodeId, node.directory);
  }

  firstConfiguration(partition: number): Configuration {
    const { nodes } = this.plan.groups[partition]!;
    return configurationOf(nodes.map(id => this.replicaOn(this.nodes[id - 1]!)));
  }

  // ---- Running

  protected async play(): Promise<ClusterReport> {
    for (const node of this.nodes) await this.drive(CONVERGE_MS, node.found());
    for (const node of this.nodes) node.start();
    this.#startClients();
    this.#troubles.start();
    await this.until(() => this.scheduler.nowMs >= this.plan.safetyMs);
    const convergedMs = await this.#converge();
    this.#judge();
    return this.#report(convergedMs);
  }

  protected override check(): void {
    for (const { nodeId: id, life } of this.nodes) {
      if (life === null) continue;
      for (const [partition, { group }] of life.served) {
        if (group.isLeader) this.#truths.get(partition)!.leads(id, group.term, group.configuration);
      }
    }
  }

  async #converge(): Promise<number> {
    this.#isCalm = true;
    this.#troubles.heal();
    this.trace('healed');
    const healedMs = this.scheduler.nowMs;
    await this.settled(CONVERGE_MS, 'no agreement', () => this.#isAgreed());
    const convergedMs = this.scheduler.nowMs - healedMs;
    await this.#writeEverywhere();
    await this.#loseALeader();
    for (const node of this.nodes) {
      for (const [partition, served] of node.life!.served) {
        const members = membersOf(this.#configurationOf(partition));
        if (members.has(this.replicaOn(node)))
          await this.drive(CONVERGE_MS, this.#compare(node.nodeId, partition, served));
      }
    }
    return convergedMs;
  }

  /** Whoever leads takes a record, wakes who sleeps, and all have it. */
  async #writeEverywhere(): Promise<void> {
    const isWritten = this.#write('last', [...this.#truths.keys()]);
    await this.settled(CONVERGE_MS, 'a last record is not everywhere', () => isWritten() && this.#isAgreed());
  }

  /** Gives a record to each leader; the answer tells whether all have committed something since. */
  #write(process: string, partitions: readonly number[]): () => boolean {
    const before = new Map([...this.#truths].map(([partition, truth]) => [partition, truth.committed.length]));
    for (const partition of partitions) this.#produce(process, this.#leaderOf(partition));
    return () => {
      const waiting = partitions.filter(each => this.#truths.get(each)!.committed.length <= before.get(each)!);
      // A leader that finds out that it is damaged makes room for another one, who has to be asked again.
      for (const partition of waiting) {
        const leader = this.#leaderOf(partition);
        if (leader !== null && leader.waiters === 0 && this.#truths.get(partition)!.mayRot)
          this.#produce(process, leader);
      }
      return waiting.length === 0;
    };
  }

  /** When all groups sleep a node dies: those that have a majority left elect, and take records again. */
  async #loseALeader(): Promise<void> {
    const asleepMs = this.scheduler.nowMs + ASLEEP_MS;
    await this.until(() => this.scheduler.nowMs > asleepMs);
    const leader = this.nodes.find(({ life }) => [...life!.served.values()].some(({ group }) => group.isLeader))!;
    const configurations = new Map(
      this.plan.groups.map(({ partition }) => [partition, this.#configurationOf(partition)]),
    );
    leader.end('kill');
    this.trace(`${leader.nodeId} dies`);
    const living = this.plan.groups.filter(({ partition }) => {
      const { voters, outgoing } = configurations.get(partition)!;
      const isMajority = (set: ReadonlySet<ReplicaId>): boolean =>
        [...set].filter(voter => nodeOf(voter) !== leader.nodeId).length * 2 > set.size;
      return isMajority(voters) && (outgoing.size === 0 || isMajority(outgoing));
    });
    const isLed = (): boolean => living.every(({ partition }) => this.#leaderOf(partition) !== null);
    await this.settled(CONVERGE_MS, 'a group has no leader after the one it had died', isLed);
    const partitions = living.map(({ partition }) => partition);
    const isServed = this.#write('survivor', partitions);
    await this.settled(CONVERGE_MS, 'a group commits nothing after its leader died', isServed);
    leader.start();
    await this.settled(CONVERGE_MS, 'no agreement after a node came back', () => this.#isAgreed());
  }

  async #compare(node: number, partition: number, { log }: ServedGroup): Promise<void> {
    const truth = this.#truths.get(partition)!;
    const count = truth.committed.length;
    for (;;) {
      const read = await readAll(log.inner).catch((fault: unknown) => {
        // What rotted is found by this read, and made good.
        if (log.inner.damagedRanges.length === 0 || !truth.mayRot) throw fault;
        return null;
      });
      if (read !== null) {
        truth.equals(node, { ...read, count });
        return;
      }
      await new Promise<void>(resolve => this.scheduler.after(REPAIR_LOOK_MS, resolve));
    }
  }

  /** At rest; its leader may just have found out that its log is damaged, and have left. */
  #configurationOf(partition: number): Configuration {
    const led = this.#leaderOf(partition) ?? this.nodes.map(({ life }) => life?.served.get(partition)).find(Boolean);
    return led!.group.configuration;
  }

  #leaderOf(partition: number): ServedGroup | null {
    for (const { life } of this.nodes) {
      const served = life?.served.get(partition);
      if (served?.group.isLeader === true) return served;
    }
    return null;
  }

  /** Everybody is up, knows the leader, and has what was committed, which is all there is. */
  #isAgreed(): boolean {
    if (this.nodes.some(({ life }) => life === null || !life.isUp)) return false;
    return this.plan.groups.every(({ partition }) => {
      const leader = this.#leaderOf(partition);
      if (leader === null) return false;
      const { term } = leader.group;
      if (this.nodes.some(({ life }) => (life!.served.get(partition)?.waiters ?? 0) > 0)) return false;
      const truth = this.#truths.get(partition)!;
      const isKnown = this.nodes.every(
        ({ life }) => life!.replication!.leaderOf(this.nameOf(partition))?.term === term,
      );
      return isKnown && [...membersOf(leader.group.configuration)].every(member => truth.isWhole(nodeOf(member)));
    });
  }

  protected picture(): string {
    return this.nodes
      .map(({ nodeId: id, life }) => {
        const groups = [...(life?.served ?? [])].map(([partition, { group, log }]) => {
          const { role, term, commit } = group;
          const known = life?.replication?.leaderOf(this.nameOf(partition));
          return `${partition}: ${role} ${term}, commit ${commit.epoch}/${commit.offset}, end ${log.inner.end.epoch}/${log.endOffset}, ${log.state}, ${group.condition.kind}${group.isQuiet ? ', quiet' : ''}, knows ${known?.leader.slice(0, 1)} in ${known?.term}`;
        });
        return `\n  node ${id} ${life === null ? 'down' : life.isUp ? 'up' : 'starting'} ${groups.join('; ')}`;
      })
      .join('');
  }

  #judge(): void {
    for (const [partition, truth] of this.#truths) {
      const records = truth.committed.flatMap(({ baseOffset, values }) =>
        values().map((value, index) => ({ offset: baseOffset + index, value })),
      );
      this.history.seek('end', String(partition));
      this.history.poll('end', String(partition), records);
    }
    const [first] = this.history.anomalies();
    if (first !== undefined)
      throw new SimulationFailure(`${first.name} in partition ${first.partition}: ${first.detail}`);
  }

  #report(convergedMs: number): ClusterReport {
    const sum = (of: (truth: GroupTruth) => number): number =>
      [...this.#truths.values()].reduce((total, truth) => total + of(truth), 0);
    return {
      events: this.events,
      acknowledged: this.history.acknowledgedCount,
      sent: this.history.sendCount,
      committed: sum(truth => truth.committed.length),
      terms: sum(truth => truth.terms),
      lives: this.nodes.reduce((total, node) => total + node.lives - 1, 0),
      cuts: sum(truth => truth.cutCount),
      installs: sum(truth => truth.installCount),
      held: this.nodes.reduce((total, { life }) => total + (life?.replication?.heldCount ?? 0), 0),
      confirmed: sum(truth => truth.confirmedCount),
      convergedMs,
      trace: this.traceHash(),
    };
  }

  // ---- Clients

  #startClients(): void {
    const random = this.random.fork('clients');
    for (let client = 0; client < this.plan.clients; client++) {
      this.#every(random, () => this.#clientTurn(`client ${client}`, random));
    }
    for (let each = 0; each < this.plan.readers; each++) {
      const reader: Reader = { name: `reader ${each}`, next: new Map(), isBusy: false };
      this.#every(random, () => void this.#readerTurn(reader, random));
    }
  }

  #every(random: SeededRandom, turn: () => void): void {
    this.scheduler.after(this.plan.clientEveryMs * 2 * random.fraction(), () => {
      if (this.#isCalm) return;
      turn();
      this.#every(random, turn);
    });
  }

  /** Asks any node who leads, and mostly believes it. */
  #clientTurn(process: string, random: SeededRandom): void {
    const { partition } = random.pick(this.plan.groups);
    const asked = random.pick(this.nodes);
    const leader = asked.life?.replication?.leaderOf(this.nameOf(partition)) ?? null;
    const id = leader === null || random.chance(0.05) ? asked.nodeId : Number(leader.leader.split('/')[0]);
    const life = this.nodes[id - 1]?.life ?? null;
    if (life === null || life.stall.isStalled || !life.isUp) return;
    const served = life.served.get(partition) ?? null;
    for (let more = random.pick([1, 1, 1, 3]); more > 0; more--) this.#produce(process, served, random.between(1, 3));
  }

  #produce(process: string, served: ServedGroup | null, count = 1): void {
    served?.produce(process, { name: `r${this.#names++}`, count });
  }

  async #readerTurn(reader: Reader, random: SeededRandom): Promise<void> {
    const { partition } = random.pick(this.plan.groups);
    const { life } = random.pick(this.nodes);
    const served = life?.served.get(partition);
    if (served === undefined || reader.isBusy || life!.stall.isStalled) return;
    if (served.group.isLeader && random.chance(0.3)) served.confirmRead();
    const key = String(partition);
    const from = reader.next.get(partition) ?? 0;
    // A life may end meanwhile, and then nobody answers.
    const isThere = this.#busyWhile(reader);
    const records = await served.read(from);
    isThere();
    if (records === null) {
      this.history.seek(reader.name, key);
      reader.next.set(partition, Math.max(from, served.log.startOffset));
    } else if (records.length > 0) {
      this.history.poll(reader.name, key, records);
      reader.next.set(partition, records.at(-1)!.offset + 1);
    }
  }

  #busyWhile(reader: Reader): () => void {
    reader.isBusy = true;
    const free = (): void => {
      reader.isBusy = false;
    };
    this.scheduler.after(1_000, free);
    return free;
  }

  elected(id: number): void {
    this.#troubles.elected(id);
  }

  rottable(): ReturnType<TroubledCluster['rottable']> {
    const { disk, life } = this.nodes[this.#rotten]!;
    // What a failed sync left on the disk is known to nobody until the next start.
    const isKnown = life !== null && life.isUp && [...life.served.values()].every(({ log }) => log.state === 'open');
    if (!isKnown) return { disk, paths: [] };
    const isShared = (folder: string): boolean => {
      const partition = Number(folder.split('-').at(-1));
      return this.plan.groups[partition]!.nodes.length >= 3 && !this.plan.troubles.includes('membership');
    };
    return { disk, paths: sealedLogs(disk, isShared) };
  }

  /** What a node leads, for `Troubles`. */
  ledOn(node: TroubledNode): readonly Led[] {
    const served = this.nodes[node.nodeId - 1]!.life?.served.values() ?? [];
    return [...served]
      .filter(({ group }) => group.isLeader)
      .map(each => ({
        transfer: random => void each.group.transfer(random.pick([...each.group.configuration.voters])),
        retain: part => this.#retain(each, part),
        changeMembers: random => this.#changeMembers(each, random),
      }));
  }

  #retain(served: ServedGroup, part: number): void {
    const { group, log } = served;
    const to = Math.floor(log.startOffset + (group.commit.offset - log.startOffset) * part);
    group.advanceStart(offset(to)).catch((fault: unknown) => {
      // The disk may refuse, and then the node says so elsewhere.
      if (!(fault instanceof DiskFault)) this.fail(`the log start could not be moved: ${textOf(fault)}`);
    });
  }

  /** One step or more, of any kind, towards nothing in particular. */
  #changeMembers({ group }: ServedGroup, random: SeededRandom): void {
    const steps = random.shuffled(this.nodes).map(node => ({
      kind: random.pick(['add-voter', 'add-voter', 'add-learner', 'remove'] as const),
      replica: this.replicaOn(node),
    }));
    if (isJoint(group.configuration)) group.proposeConfiguration({ kind: 'leave-joint' });
    else if (random.chance(0.5)) group.proposeConfiguration({ kind: 'simple', steps: steps.slice(0, 1) });
    else group.proposeConfiguration({ kind: 'enter-joint', steps: steps.slice(0, 3), autoLeave: random.chance(0.7) });
  }
}

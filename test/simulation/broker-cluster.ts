// Whole brokers in one process: nodes, the network between them, clients, troubles, and what must hold. The cluster is founded; then
// anything may go wrong; then everything is healed, and within a bounded time all nodes agree on the metadata, every partition is led, all
// replicas hold the same, and every node gives every reader all that was acknowledged.

import { nodeId, offset } from '@sluice/protocol/ids';
import type { ReadRecord } from '../history/log-history.ts';
import type { ClusterTopic } from '../../server/state/cluster/image.ts';
import { encodeSnapshot } from '../../server/state/cluster/snapshot.ts';
import { BrokerClients, dataRecords, type KnownTopic } from './broker-clients.ts';
import { BrokerNode, type PartitionFolder } from './broker-node.ts';
import { type BrokerClusterPlan, drawBrokerPlan } from './broker-plan.ts';
import { isSameEntry, type LogEntry } from './group-truth.ts';
import { SimulatedNetwork } from './network.ts';
import { SimulationRun } from './simulation-run.ts';
import { SimulationFailure } from './thrown.ts';
import { type Led, sealedLogs, type TroubledCluster, type TroubledNode, Troubles } from './troubles.ts';

export interface BrokerClusterReport {
  readonly events: number;
  readonly answers: number;
  readonly sent: number;
  readonly acknowledged: number;
  readonly topics: number;
  readonly lives: number;
  /** Readers that a leader told of an end below what they had read. */
  readonly behind: number;
  readonly convergedMs: number;
  readonly trace: string;
}

/** From healing to agreement: elections, back-offs of links, restarts, sessions with the controller, requests that run out of time. */
const CONVERGE_MS = 60_000;
const REPAIR_LOOK_MS = 500;
const REPAIR_TRIES_MAX = 20;

export class BrokerCluster extends SimulationRun<BrokerClusterReport> {
  readonly plan: BrokerClusterPlan;
  /** Longer than any run. */
  offsetsRetentionMs = 7 * 24 * 3_600_000;
  readonly network: SimulatedNetwork;
  readonly nodes: BrokerNode[] = [];
  readonly clients: BrokerClients;
  readonly #troubles: Troubles;
  /** The one node whose disk rots. */
  readonly #rotten: number;
  /** That were there when all nodes stopped. */
  #keptTopics: readonly string[] = [];

  constructor(seed: string, wishes: Partial<BrokerClusterPlan> = {}) {
    super(seed);
    const { random } = this;
    this.plan = drawBrokerPlan(random.fork('plan'), wishes);
    const trace = (line: string): void => this.trace(line);
    this.network = new SimulatedNetwork({ scheduler: this.scheduler, random: random.fork('network'), trace });
    for (let id = 1; id <= this.plan.nodes; id++) {
      this.nodes.push(new BrokerNode(this, nodeId(id), random.fork(`node ${id}`)));
    }
    this.clients = new BrokerClients(this, random.fork('clients'));
    this.#rotten = random.fork('rot').below(this.plan.nodes);
    this.#troubles = new Troubles(this, random.fork('troubles'));
  }

  // ---- Running

  protected async play(): Promise<BrokerClusterReport> {
    for (const node of this.nodes) node.start();
    await this.settled(CONVERGE_MS, 'the cluster is not founded', () => this.#disagreement() === null);
    const { hasAdministrators, topicsMax } = this.plan;
    for (let topics = hasAdministrators ? 1 : topicsMax; topics > 0; topics--) {
      await this.drive(CONVERGE_MS, this.clients.create(this.nodes[0]!));
    }
    this.clients.start();
    this.#troubles.start();
    const endMs = this.scheduler.nowMs + this.plan.safetyMs;
    await this.until(() => this.scheduler.nowMs >= endMs);
    const convergedMs = await this.#converge();
    await this.#writeEverywhere();
    await this.drive(CONVERGE_MS, this.#readEverywhere());
    await this.drive(CONVERGE_MS, this.#compareLogs());
    this.#judge();
    return this.#report(convergedMs);
  }

  async #converge(): Promise<number> {
    this.clients.stop();
    this.#troubles.heal();
    this.trace('healed');
    const healedMs = this.scheduler.nowMs;
    await this.settled(CONVERGE_MS, 'no agreement', () => this.#disagreement() === null);
    return this.scheduler.nowMs - healedMs;
  }

  get mayRot(): boolean {
    return this.plan.troubles.includes('rot');
  }

  // ---- At rest

  /** Topics as the first node knows them, which are those of all once they agree. */
  #topics(): readonly ClusterTopic[] {
    return [...this.nodes[0]!.running.metadata.image().topics.values()].filter(topic => !topic.internal);
  }

  #folders(): readonly (PartitionFolder & { readonly hosts: readonly number[] })[] {
    return this.#topics().flatMap(({ name, topicId, partitions }) =>
      partitions.map(({ replicas }, partition) => ({
        topic: name,
        topicId,
        partition,
        hosts: replicas.map(replica => replica.nodeId),
      })),
    );
  }

  /** The first thing in which the cluster is not at rest; null: in nothing. */
  #disagreement(): string | null {
    for (const node of this.nodes) {
      if (!node.isUp) return `node ${node.nodeId} is ${node.life === null ? 'down' : 'starting'}`;
      const { broker } = node.running;
      const { openRequests } = node.life!;
      if (openRequests > 0) return `node ${node.nodeId} owes ${openRequests} answers`;
      const { pendingProduceBytes, peers } = broker.report();
      // An attempt that began before the healing may still have to fail.
      if (peers.down > 0) return `node ${node.nodeId} does not reach ${peers.down} others`;
      if (pendingProduceBytes > 0) return `node ${node.nodeId} has ${pendingProduceBytes} bytes pending`;
      const [missing] = broker.notReady();
      if (missing !== undefined) return `node ${node.nodeId} is not ready: ${missing}`;
    }
    return this.#metadataDisagreement() ?? this.#replicaDisagreement();
  }

  protected picture(): string {
    const nodes = this.nodes
      .map(({ nodeId: id, life, isUp }) => {
        const state = life === null ? 'down' : isUp ? 'up' : 'starting';
        if (life?.metadata == null) return `\n  node ${id} ${state}`;
        const { group, log } = life.metadata;
        const { role, term, commit } = group;
        return `\n  node ${id} ${state}, metadata: ${role} ${term}, commit ${commit.epoch}/${commit.offset}, end ${log.end.epoch}/${log.endOffset}, ${log.state}, knows ${group.leader}`;
      })
      .join('');
    return `${this.#disagreement()}${nodes}`;
  }

  #metadataDisagreement(): string | null {
    const [first, ...others] = this.nodes.map(({ running }) => {
      const image = running.metadata.image();
      return { image, bytes: Buffer.concat([...encodeSnapshot(image)]), controller: running.metadata.controller() };
    });
    for (const [index, { image, bytes, controller }] of others.entries()) {
      const id = index + 2;
      if (image.version !== first!.image.version) {
        return `node ${id} knows version ${image.version} of the metadata, node 1 ${first!.image.version}`;
      }
      if (controller !== first!.controller)
        return `the controller is ${controller} for node ${id}, not ${first!.controller}`;
      if (!bytes.equals(first!.bytes)) return `node ${id} has other metadata than node 1 in version ${image.version}`;
    }
    const { brokers, deletedTopics } = first!.image;
    for (const deleted of deletedTopics.values()) return `${deleted.name} waits for ${deleted.waitingFor.join()}`;
    for (const { registration, fenced } of brokers.values()) if (fenced) return `node ${registration.nodeId} is fenced`;
    return null;
  }

  #replicaDisagreement(): string | null {
    const replicas = this.nodes.map(
      ({ running }) =>
        new Map(running.broker.report().partitions.map(each => [`${each.topic}/${each.partition}`, each])),
    );
    for (const { topic, partition, hosts } of this.#folders()) {
      const key = `${topic}/${partition}`;
      const leaders = this.nodes.map(({ running }) => running.broker.leaders(topic)?.[partition]);
      const leader = leaders[0]?.leader ?? -1;
      if (leader < 0 || !hosts.includes(leader)) return `${key} is led by ${leader}`;
      for (const [index, view] of leaders.entries()) {
        const isSame = view?.leader === leader && view.leaderEpoch === leaders[0]!.leaderEpoch;
        if (!isSame)
          return `node ${index + 1} says that ${view?.leader} leads ${key} in ${view?.leaderEpoch}, not ${leader}`;
      }
      const end = replicas[leader - 1]!.get(key)?.highWatermark;
      for (const host of hosts) {
        const replica = replicas[host - 1]!.get(key);
        if (replica === undefined) return `node ${host} has no replica of ${key}`;
        if (replica.isOffline) return `${key} is offline on node ${host}`;
        if (replica.highWatermark !== end)
          return `${key} ends at ${replica.highWatermark} on node ${host}, not at ${end}`;
      }
    }
    return null;
  }

  /** Every node takes a record for every partition, and all have it. */
  async #writeEverywhere(): Promise<void> {
    const writing = this.nodes.flatMap(node =>
      this.#folders().map(async ({ topic, partition }) => {
        const known = this.#known(topic);
        const last = { process: `last of ${node.nodeId}`, topic: known, partition, acks: 'all', count: 1 } as const;
        let isWritten = await this.clients.produce(node, last);
        // A leader that finds out that it is damaged makes room for another one.
        for (let more = REPAIR_TRIES_MAX; !isWritten && this.mayRot && more > 0; more--) {
          await new Promise<void>(resolve => this.scheduler.after(REPAIR_LOOK_MS, resolve));
          isWritten = await this.clients.produce(node, last);
        }
        if (!isWritten) this.fail(`node ${node.nodeId} does not take a last record for ${topic}/${partition}`);
      }),
    );
    await this.drive(CONVERGE_MS, Promise.all(writing));
    await this.settled(CONVERGE_MS, 'no agreement after the last records', () => this.#disagreement() === null);
  }

  #known(name: string): KnownTopic {
    const topic = this.clients.topics.find(each => each.name === name);
    if (topic === undefined) throw new SimulationFailure(`nobody asked for a topic ${name}`);
    return topic;
  }

  /** All that there is, through every node: the same. */
  async #readEverywhere(): Promise<void> {
    for (const { topic, partition } of this.#folders()) {
      const { history } = this.#known(topic);
      let first: string | null = null;
      for (const node of this.nodes) {
        const records = await this.#readAll(node, { topic, partition });
        history.seek(`end ${node.nodeId}`, String(partition));
        history.poll(`end ${node.nodeId}`, String(partition), records);
        const text = JSON.stringify(records.map(record => [record.offset, record.value]));
        first ??= text;
        if (text !== first) this.fail(`node ${node.nodeId} gives other records of ${topic}/${partition} than node 1`);
      }
    }
  }

  async #readAll(
    node: BrokerNode,
    { topic, partition }: { readonly topic: string; readonly partition: number },
  ): Promise<readonly ReadRecord[]> {
    const partitions = [partition];
    const offsets = await this.clients.ask(node, `last offsets ${topic}`, broker =>
      broker.listOffsets({ topic, partitions, query: { kind: 'none' } }),
    );
    if (!offsets.ok) throw new SimulationFailure(`node ${node.nodeId} gives no offsets: ${offsets.problem.detail}`);
    const { earliestOffset, highWatermark } = offsets.value[0]!;
    const records: ReadRecord[] = [];
    for (let at: number = earliestOffset; at < highWatermark; ) {
      const positions = [{ partition, offset: offset(at) }];
      const request = { topic, positions, bytesMax: 65_536, isolation: 'read_uncommitted', waitMs: 0 } as const;
      const answer = await this.clients.ask(node, `last read ${topic}/${partition}`, broker => broker.fetch(request));
      // What rotted is found by this read, and made good.
      if (!answer.ok && answer.problem.code === 'PARTITION_DAMAGED' && this.mayRot) {
        await new Promise<void>(resolve => this.scheduler.after(REPAIR_LOOK_MS, resolve));
        continue;
      }
      if (!answer.ok) throw new SimulationFailure(`node ${node.nodeId} cannot be read: ${answer.problem.detail}`);
      const piece = answer.value[0]!;
      records.push(...dataRecords(piece, at));
      if (piece.nextOffset <= at) throw new SimulationFailure(`node ${node.nodeId} gives nothing at ${at}`);
      at = piece.nextOffset;
    }
    return records;
  }

  /** All nodes stop; then their logs are opened again, and those of one partition hold the same batches. */
  async #compareLogs(): Promise<void> {
    const folders = this.#folders();
    const ends = new Map<PartitionFolder, number>();
    for (const folder of folders) {
      const { broker } = this.nodes[folder.hosts[0]! - 1]!.running;
      const report = broker
        .report()
        .partitions.find(each => each.topic === folder.topic && each.partition === folder.partition)!;
      ends.set(folder, report.highWatermark);
    }
    this.#keptTopics = folders.map(({ topic }) => topic);
    for (const node of this.nodes) await node.stop();
    const known = new Map<PartitionFolder, readonly LogEntry[]>();
    for (const node of this.nodes) {
      const here = folders.filter(folder => folder.hosts.includes(node.nodeId));
      for (const [index, log] of (
        await node.logs(here, { mayRot: this.mayRot && node.nodeId === this.#rotten + 1 })
      ).entries()) {
        const folder = here[index]!;
        // Nobody has read it yet.
        if (log === null) continue;
        const { base, entries } = log;
        const held = entries.filter(({ position }) => position.offset <= ends.get(folder)!);
        const batches = held.filter(({ kind }) => kind !== 'epoch-start');
        if (batches.length > 0 || base.offset === ends.get(folder)) this.#compare(node, folder, { known, batches });
        else this.fail(`node ${node.nodeId} holds nothing of ${folder.topic}/${folder.partition}`);
      }
    }
  }

  /** Each may begin later than the others, as its segments let it; from there on all are the same. */
  #compare(
    node: BrokerNode,
    folder: PartitionFolder,
    {
      known,
      batches,
    }: { readonly known: Map<PartitionFolder, readonly LogEntry[]>; readonly batches: readonly LogEntry[] },
  ): void {
    const others = known.get(folder);
    if (others === undefined || others.length < batches.length) known.set(folder, batches);
    if (others === undefined) return;
    const count = Math.min(others.length, batches.length);
    for (let back = 1; back <= count; back++) {
      const mine = batches.at(-back)!;
      const theirs = others.at(-back)!;
      if (isSameEntry(mine, theirs)) continue;
      this.fail(
        `node ${node.nodeId} holds ${JSON.stringify(mine)} of ${folder.topic}/${folder.partition}, others ${JSON.stringify(theirs)}`,
      );
      return;
    }
  }

  #judge(): void {
    const kept = new Set(this.#keptTopics);
    for (const { name, history } of this.clients.topics) {
      // What was deleted cannot be read at the end.
      const first = history
        .anomalies()
        .find(each => kept.has(name) || (each.name !== 'unseen' && each.name !== 'lost-write'));
      if (first !== undefined) {
        throw new SimulationFailure(`${first.name} in ${name}/${first.partition}: ${first.detail}`);
      }
    }
    this.throwFailure();
  }

  #report(convergedMs: number): BrokerClusterReport {
    const { topics, answers, behindCount } = this.clients;
    return {
      events: this.events,
      answers,
      sent: topics.reduce((total, { history }) => total + history.sendCount, 0),
      acknowledged: topics.reduce((total, { history }) => total + history.acknowledgedCount, 0),
      topics: topics.length,
      lives: this.nodes.reduce((total, node) => total + node.lives - 2, 0),
      behind: behindCount,
      convergedMs,
      trace: this.traceHash(),
    };
  }

  // ---- For troubles

  rottable(): ReturnType<TroubledCluster['rottable']> {
    const { disk } = this.nodes[this.#rotten]!;
    const shared = new Set(
      this.clients.topics
        .filter(topic => topic.replicationFactor >= 3)
        .flatMap(({ name, partitions }) => Array.from({ length: partitions }, (_, at) => `${name}-${at}`)),
    );
    return { disk, paths: sealedLogs(disk, folder => shared.has(folder.split('/').at(-1)!)) };
  }

  ledOn(node: TroubledNode): readonly Led[] {
    const running = this.nodes[node.nodeId - 1]!.life?.running ?? null;
    if (running === null) return [];
    const { broker, metadata } = running;
    return [...metadata.image().topics.values()].flatMap(({ name, topicId, partitions }) =>
      (broker.leaders(name) ?? [])
        .filter(({ leader }) => leader === node.nodeId)
        .map(({ partition }) => ({
          transfer: random => {
            const replicas = partitions[partition]?.replicas ?? [];
            if (replicas.length > 0) broker.transferLeader({ topicId, partition }, random.pick(replicas).nodeId);
          },
          retain: () => undefined,
          changeMembers: () => undefined,
        })),
    );
  }
}

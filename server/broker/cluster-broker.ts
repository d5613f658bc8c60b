// The broker as one node of a cluster, which may be a cluster of one: every request is served here, by the replicas of this node or by
// whoever leads the partition; topics are changed by the controller.
//
// Names are looked up in this node's copy of the metadata. A request goes to at most one other node at a time, and is put again to
// another one only where nothing was done.

import { accepted, type ErrorCode, type Problem, refused, type Result } from '@sluice/protocol/errors';
import { leaderEpoch, type NodeId, type Offset, offset } from '@sluice/protocol/ids';
import { DESCRIBE_WAIT_MS, GROUP_LAGS_MAX, LEADER_WAIT_MS, PENDING_PRODUCE_BYTES_MAX } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { BrokerReport, GroupLag } from '../base/metrics.ts';
import { describeTopicConfig, type TopicConfig } from '../base/topic-config.ts';
import type { Clock, Timer } from '../io/clock.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import type { Random } from '../io/random.ts';
import { GroupClient } from '../coordinator/groups/group-client.ts';
import { GroupCoordinators } from '../coordinator/groups/group-coordinators.ts';
import type { Metadata } from '../coordinator/metadata.ts';
import type { GroupName } from '../replication/group-name.ts';
import type { PeerRequests } from '../replication/peer-request.ts';
import type { StoreRecords } from '../replication/replica-records.ts';
import type { Replication } from '../replication/replication.ts';
import type { ClusterTopic } from '../state/cluster/image.ts';
import type { Leadership, PartitionPlace } from '../state/cluster/leader-balance.ts';
import { Cleaner, type CleanerTarget } from '../storage/compaction/cleaner.ts';
import type { DataDirectory } from '../storage/data-directory.ts';
import type {
  AlterTopicCode,
  AlterTopicRequest,
  Broker,
  BrokerView,
  ClusterView,
  CreateTopicCode,
  CreateTopicRequest,
  DeletedRecords,
  DeleteRecordsCode,
  DeleteRecordsRequest,
  DeleteTopicCode,
  FetchRequest,
  FetchResult,
  InitProducerCode,
  LeaderView,
  ListOffsetsCode,
  ListOffsetsRequest,
  ListTopicsRequest,
  PartitionDescription,
  PartitionOffsets,
  ProduceAck,
  ProduceCode,
  ProducerIdentity,
  ProduceRequest,
  TopicDescription,
  TopicPage,
  TopicView,
} from './broker.ts';
import type { Partition } from './partition.ts';
import { ClusterGroups } from './cluster-groups.ts';
import { fetchFromLeaders } from './fetch-from-leaders.ts';
import { LocalPartitions } from './local-partitions.ts';
import { countPending, type PendingBytes } from './parked-answers.ts';
import { hasMoved, PartitionRoutes, type Share } from './partition-routes.ts';
import { notLeader, type PartitionService, stopping } from './partition-service.ts';
import { answerPeers } from './peer-answers.ts';
import { ProducerIds } from './producer-ids.ts';
import { Replicas } from './replicas.ts';
import { TopicViews } from './topic-views.ts';

/** How often sealed segments are judged by the retention settings, and cleaned where their topic is compacted. */
const RETENTION_CHECK_MS = 30_000;

export interface ClusterBrokerOptions {
  readonly directory: DataDirectory;
  readonly metadata: Metadata;
  readonly replication: Replication;
  readonly records: StoreRecords;
  /** Null: a node that is alone. */
  readonly links: PeerLinks | null;
  readonly requests: PeerRequests;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly topicDefaults: TopicConfig;
  /** Of positions of groups that have no members any more. */
  readonly offsetsRetentionMs: number;
  readonly version: string;
  /** Of this node; known once the doors listen. */
  readonly addresses: () => { readonly http: string; readonly grpc: string };
}

export class ClusterBroker implements Broker {
  readonly #options: ClusterBrokerOptions;
  readonly #nodeId: NodeId;
  readonly #pending: PendingBytes = countPending(PENDING_PRODUCE_BYTES_MAX);
  readonly #topics: TopicViews;
  readonly #replicas: Replicas;
  readonly #local: LocalPartitions;
  readonly #routes: PartitionRoutes;
  readonly #coordinators: GroupCoordinators;
  readonly #groupClient: GroupClient;
  readonly groups: ClusterGroups;
  readonly #producerIds: ProducerIds;
  readonly #metadataListeners = new Set<() => void>();
  #phase: 'recovering' | 'running' | 'draining' = 'recovering';
  /** Until then new topics are placed without this node. Of one that is alone it goes without saying. */
  #isKnownReady: boolean;
  readonly #cleaner: Cleaner;
  #retentionTimer: Timer | null = null;
  #isTelling = false;

  constructor(options: ClusterBrokerOptions) {
    const { clock, directory, metadata, replication, requests, topicDefaults } = options;
    this.#options = options;
    this.#nodeId = directory.identity.nodeId as NodeId;
    this.#isKnownReady = options.links === null;
    this.#topics = new TopicViews(() => metadata.image(), topicDefaults);
    this.#coordinators = new GroupCoordinators(options);
    this.#replicas = new Replicas({
      ...options,
      host: (topic, partition) => this.#coordinators.host(topic, partition),
      pending: this.#pending,
      acknowledgeRemoval: topicIds => metadata.acknowledgeRemoval(topicIds),
      changed: name => {
        this.#routes.changed(name);
        this.#tellListeners();
      },
    });
    this.#local = new LocalPartitions(this.#replicas, clock);
    this.#routes = new PartitionRoutes({
      ...options,
      nodeId: this.#nodeId,
      replicas: this.#replicas,
      local: this.#local,
    });
    this.#groupClient = new GroupClient({
      ...options,
      self: this.#nodeId,
      coordinators: this.#coordinators,
      leaderOf: name => this.#routes.leaderOf(name).nodeId,
      wait: (name, untilMs, signal) => this.#routes.wait(name, untilMs, signal),
    });
    this.groups = new ClusterGroups({
      ...options,
      client: this.#groupClient,
      listOffsets: request => this.listOffsets(request),
    });
    this.#producerIds = new ProducerIds(() => metadata.allocateProducerIds());
    this.#cleaner = new Cleaner({ ...options, targets: () => this.#compacted() });
    answerPeers(requests, this.#local);
    replication.onLeaderChange(() => this.#tellListeners());
  }

  /** Recovers the replicas of this node; until then the broker is not ready and refuses everything. */
  async open(): Promise<void> {
    const { metadata } = this.#options;
    metadata.watch(image => {
      this.#tellListeners();
      void this.#replicas.follow(image);
    });
    await this.#replicas.follow(metadata.image());
    await this.#loneReplicasServe();
    this.#phase = 'running';
    // The controller hears of it, whenever there is one.
    void metadata.setReady(true).then(() => {
      this.#isKnownReady = true;
    });
    this.#scheduleRetention();
  }

  /** The replicas here of topics that are compacted: each cleans its own log, whoever leads. */
  *#compacted(): Iterable<CleanerTarget> {
    for (const replica of this.#replicas.partitions()) {
      const { log } = replica;
      if (log.compactionSettings === null) continue;
      yield { log, limit: replica.highWatermark, heldByAll: () => this.#heldByAll(replica) };
    }
  }

  async #heldByAll({ group, partition }: Partition): Promise<Offset> {
    const { topicId } = group.name;
    const standings = await this.#routes.find(group.name)?.standings({ topicId, partitions: [partition] });
    return (standings?.ok === true ? standings.value[0]?.heldByAll : undefined) ?? offset(0);
  }

  /** Those that wait for no other node: a broker that is ready serves them. */
  async #loneReplicasServe(): Promise<void> {
    const untilMs = this.#options.clock.monotonicMs() + LEADER_WAIT_MS;
    for (const replica of Array.from(this.#replicas.partitions())) {
      const { log, group } = replica;
      while (group.isAlone && !replica.isServing && log.state === 'open') {
        if (!(await this.#routes.wait(group.name, untilMs))) return;
      }
    }
  }

  // ---------------------------------------------------------------------------------------------------------- records

  #locate(topicName: string, partition: number): Result<GroupName, 'TOPIC_NOT_FOUND' | 'PARTITION_NOT_FOUND'> {
    const topic = this.#topics.topic(topicName);
    if (topic === undefined) return topicNotFound(topicName);
    const count = topic.partitions.length;
    if (partition >= 0 && partition < count) return accepted({ topicId: topic.topicId, partition });
    return refused('PARTITION_NOT_FOUND', `topic "${topicName}" has partitions 0 to ${count - 1}, not ${partition}`, {
      topic: topicName,
      partition,
      partition_count: count,
    });
  }

  produce(request: ProduceRequest): Promise<Result<ProduceAck, ProduceCode>> {
    if (this.#phase !== 'running') return Promise.resolve(stopping());
    const located = this.#locate(request.topic, request.partition);
    if (!located.ok) return Promise.resolve(located);
    const { topicId, partition } = located.value;
    const own = this.#routes.hasLine(located.value) ? undefined : this.#replicas.find(topicId, partition);
    return own?.produce(request) ?? this.#produceAtLeader(request, located.value);
  }

  #produceAtLeader(
    { batches, acks, timeoutMs, expectedOffset }: ProduceRequest,
    name: GroupName,
  ): Promise<Result<ProduceAck, ProduceCode>> {
    const { clock } = this.#options;
    const untilMs = clock.monotonicMs() + timeoutMs;
    return this.#routes.askInOrder(name, untilMs, service =>
      service.produce({
        ...name,
        batches,
        acks,
        timeoutMs: Math.max(0, Math.round(untilMs - clock.monotonicMs())),
        ...(expectedOffset !== undefined && { expectedOffset }),
      }),
    );
  }

  initProducer(): Promise<Result<ProducerIdentity, InitProducerCode>> {
    return this.#phase === 'running' ? this.#producerIds.take() : Promise.resolve(stopping());
  }

  async fetch(request: FetchRequest): Promise<FetchResult> {
    for (const { partition } of request.positions) {
      const located = this.#locate(request.topic, partition);
      if (!located.ok) return located;
    }
    const topic = this.#topics.topic(request.topic);
    if (topic === undefined) return topicNotFound(request.topic);
    return fetchFromLeaders({ ...request, topicId: topic.topicId }, this.#routes, this.#options.clock);
  }

  async listOffsets(request: ListOffsetsRequest): Promise<Result<readonly PartitionOffsets[], ListOffsetsCode>> {
    const topic = this.#topics.topic(request.topic);
    if (topic === undefined) return topicNotFound(request.topic);
    const wanted = request.partitions ?? topic.partitions.keys().toArray();
    for (const partition of wanted) {
      const located = this.#locate(request.topic, partition);
      if (!located.ok) return located;
    }
    const { query } = request;
    const { topicId } = topic;
    return this.#askLeaders(topic, wanted, (service, partitions) =>
      service.listOffsets({ topicId, partitions, query }),
    );
  }

  /** One answer for each partition, in their order, from as many leaders as there are. */
  async #askLeaders<T>(
    { topicId }: ClusterTopic,
    wanted: readonly number[],
    question: Question<T>,
  ): Promise<Result<readonly T[], ListOffsetsCode>> {
    const untilMs = this.#options.clock.monotonicMs() + LEADER_WAIT_MS;
    for (;;) {
      const shares = this.#routes.shares(topicId, wanted);
      let waitFor = 0;
      if (typeof shares === 'number') waitFor = shares;
      else {
        const answers = await Promise.all(
          shares.map(({ service, indices }) =>
            question(
              service,
              indices.map(index => wanted[index]!),
            ),
          ),
        );
        const failed = answers.find(answer => !answer.ok);
        if (failed === undefined) return accepted(inOrder(shares, answers));
        if (failed.ok || !hasMoved(failed)) return failed;
        waitFor = Number(failed.problem.facts['partition'] ?? wanted[0]);
      }
      if (!(await this.#routes.wait({ topicId, partition: waitFor }, untilMs))) return notLeader(waitFor);
    }
  }

  // ----------------------------------------------------------------------------------------------------------- topics

  findTopic(name: string): TopicView | null {
    return this.#topics.find(name);
  }

  listTopics(request: ListTopicsRequest): TopicPage {
    return this.#topics.list(request);
  }

  leaders(name: string): readonly LeaderView[] | null {
    const topic = this.#topics.topic(name);
    if (topic === undefined) return null;
    return topic.partitions.map((_, partition): LeaderView => {
      const { nodeId, epoch } = this.#routes.leaderOf({ topicId: topic.topicId, partition });
      return { partition, leader: nodeId, leaderEpoch: leaderEpoch(epoch) };
    });
  }

  async describeTopic(name: string): Promise<Result<TopicDescription, 'TOPIC_NOT_FOUND' | 'SHUTTING_DOWN'>> {
    const topic = this.#topics.topic(name);
    if (topic === undefined) return topicNotFound(name);
    const partitions = await Promise.all(topic.partitions.keys().map(partition => this.#describe(topic, partition)));
    const allConfig = describeTopicConfig(topic.config, this.#options.topicDefaults);
    return accepted({ ...this.#topics.view(topic), partitions, allConfig });
  }

  /** A partition that nobody leads, or whose leader does not answer, is described by what is known without it. */
  async #describe(topic: ClusterTopic, partition: number): Promise<PartitionDescription> {
    const name = { topicId: topic.topicId, partition };
    const replicas = topic.partitions[partition]!.replicas.map(replica => replica.nodeId);
    const untilMs = this.#options.clock.monotonicMs() + DESCRIBE_WAIT_MS;
    const query = { topicId: topic.topicId, partitions: [partition] };
    const asked = await this.#routes.ask(name, untilMs, service => service.standings(query));
    const standing = asked.ok ? asked.value[0] : undefined;
    const { nodeId, epoch } = this.#routes.leaderOf(name);
    if (standing === undefined) return this.#describeLeaderless({ partition, replicas, epoch }, topic.topicId);
    return {
      partition,
      leader: nodeId as NodeId,
      leaderEpoch: standing.leaderEpoch,
      replicas,
      isr: standing.isr,
      earliestOffset: standing.earliestOffset,
      highWatermark: standing.highWatermark,
      lastStableOffset: standing.highWatermark,
      logEndOffset: standing.logEndOffset,
    };
  }

  /** Who was the leader last does not answer. What a replica here holds is still worth knowing. */
  #describeLeaderless(
    { partition, replicas, epoch }: Leaderless,
    topicId: ClusterTopic['topicId'],
  ): PartitionDescription {
    const own = this.#replicas.find(topicId, partition);
    const highWatermark = own?.highWatermark ?? offset(0);
    return {
      partition,
      leader: NOBODY,
      leaderEpoch: leaderEpoch(epoch),
      replicas,
      isr: [],
      earliestOffset: own?.log.startOffset ?? offset(0),
      highWatermark,
      lastStableOffset: highWatermark,
      logEndOffset: own?.log.endOffset ?? offset(0),
    };
  }

  async createTopic(request: CreateTopicRequest): Promise<Result<TopicDescription, CreateTopicCode>> {
    if (this.#phase !== 'running') return stopping();
    const created = await this.#options.metadata.createTopic(request);
    return created.ok ? this.#describeLed(request.name) : (created as Refused<CreateTopicCode>);
  }

  async alterTopic(request: AlterTopicRequest): Promise<Result<TopicDescription, AlterTopicCode>> {
    if (this.#phase !== 'running') return stopping();
    const altered = await this.#options.metadata.alterTopic(request);
    return altered.ok ? this.#describeLed(request.name) : (altered as Refused<AlterTopicCode>);
  }

  /** Once its partitions have leaders, so that whoever made it can use it; it exists also where that takes too long. */
  async #describeLed(name: string): Promise<Result<TopicDescription, 'TOPIC_NOT_FOUND' | 'SHUTTING_DOWN'>> {
    await this.#replicas.settled();
    const untilMs = this.#options.clock.monotonicMs() + LEADER_WAIT_MS;
    const topic = this.#topics.topic(name);
    for (const partition of topic?.partitions.keys() ?? []) {
      const place = { topicId: topic!.topicId, partition };
      while (this.#routes.find(place) === null) if (!(await this.#routes.wait(place, untilMs))) break;
    }
    return this.describeTopic(name);
  }

  async deleteTopic(name: string): Promise<Result<null, DeleteTopicCode>> {
    if (this.#phase !== 'running') return stopping();
    const deleted = await this.#options.directory.reserve.withRoom(() => this.#options.metadata.deleteTopic(name));
    if (!deleted.ok) return deleted as Refused<DeleteTopicCode>;
    // The folders of this node are gone when the answer is out, unless the disk fails.
    await this.#replicas.settled();
    return accepted(null);
  }

  async deleteRecords(request: DeleteRecordsRequest): Promise<Result<DeletedRecords, DeleteRecordsCode>> {
    if (this.#phase !== 'running') return stopping();
    const { topic, partition, beforeOffset } = request;
    if (this.#topics.find(topic)?.internal === true) {
      return refused('FORBIDDEN', `topic "${topic}" is internal`, { topic });
    }
    const located = this.#locate(topic, partition);
    if (!located.ok) return located;
    const name = located.value;
    const untilMs = this.#options.clock.monotonicMs() + LEADER_WAIT_MS;
    return this.#routes.ask(name, untilMs, service => service.deleteRecords({ ...name, beforeOffset }));
  }

  // ------------------------------------------------------------------------------------------------------------- node

  /** For the controller, which moves leadership back gently. Who of another leader's replicas is in sync, that one judges. */
  leadership({ topicId, partition }: PartitionPlace): Leadership | null {
    const { nodeId } = this.#routes.leaderOf({ topicId, partition });
    if (nodeId < 0) return null;
    const leader = nodeId as NodeId;
    const own = leader === this.#nodeId ? this.#replicas.find(topicId, partition)?.inSyncNodes : undefined;
    const topic = this.#topics.byId(topicId);
    return { leader, inSync: own ?? topic?.partitions[partition]?.replicas.map(replica => replica.nodeId) ?? [] };
  }

  transferLeader({ topicId, partition }: PartitionPlace, to: NodeId): boolean {
    return this.#replicas.find(topicId, partition)?.transferTo(to) ?? false;
  }

  cluster(): ClusterView {
    const { metadata, version, addresses } = this.#options;
    const { founded, brokers } = metadata.image();
    return {
      clusterId: founded?.clusterId ?? this.#options.directory.identity.clusterId,
      controller: metadata.controller() ?? NOBODY,
      version,
      brokers: brokers
        .values()
        .map(({ registration, fenced, draining }): BrokerView => {
          const isSelf = registration.nodeId === this.#nodeId;
          const isStopping = draining || (isSelf && this.#phase === 'draining');
          const { http, grpc } = isSelf ? addresses() : { http: '', grpc: '' };
          return {
            nodeId: registration.nodeId,
            rack: registration.rack,
            state: isStopping ? 'draining' : fenced ? 'fenced' : 'running',
            // As bound, where a free port was asked for.
            httpAddress: http === '' ? registration.httpAddress : http,
            grpcAddress: grpc === '' ? registration.grpcAddress : grpc,
          };
        })
        .toArray(),
    };
  }

  watchMetadata(listener: () => void): () => void {
    this.#metadataListeners.add(listener);
    return () => this.#metadataListeners.delete(listener);
  }

  /** Many leaders change at once when a broker dies: one telling a turn. */
  #tellListeners(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    this.#options.clock.defer(() => {
      this.#isTelling = false;
      for (const listener of this.#metadataListeners) listener();
    });
  }

  notReady(): readonly string[] {
    if (this.#phase === 'recovering') return ['partitions are being recovered'];
    if (this.#phase === 'draining') return ['the broker is stopping'];
    const missing: string[] = [];
    if (this.#options.metadata.controller() === null) missing.push('no controller is known');
    else if (!this.#isKnownReady) missing.push('the controller has not heard yet that this node is ready');
    for (const { topic, partition, log } of this.#replicas.partitions()) {
      if (log.state === 'failed') missing.push(`${topic}-${partition} takes no records: ${log.fault?.message ?? ''}`);
    }
    return missing;
  }

  #reaches(nodeId: number): boolean {
    if (nodeId === this.#nodeId) return true;
    return nodeId >= 0 && this.#options.links?.state(nodeId as NodeId).kind === 'up';
  }

  /** For /metrics. */
  report(): BrokerReport {
    const { directory, metadata } = this.#options;
    const partitions = Array.from(this.#replicas.partitions(), partition => ({
      ...partition.report(),
      isLeaderless: !this.#reaches(this.#routes.leaderOf(partition.group.name).nodeId),
    }));
    const peers = { up: 0, down: 0 };
    for (const nodeId of metadata.image().brokers.keys()) {
      if (nodeId !== this.#nodeId) peers[this.#reaches(nodeId) ? 'up' : 'down']++;
    }
    return {
      cleaner: this.#cleaner.report,
      partitions,
      pendingProduceBytes: this.#pending.used,
      tailCacheBytes: directory.context.tailCache.usedBytes,
      isController: metadata.controller() === this.#nodeId,
      peers,
      groups: { ...this.#coordinators.report(), lags: this.#lags() },
    };
  }

  /** As far as this node's replicas say where topics end. */
  #lags(): readonly GroupLag[] {
    const lags: GroupLag[] = [];
    for (const { groupId, topicId, positions } of this.#coordinators.positions()) {
      const topic = this.#topics.byId(topicId)?.name;
      if (topic === undefined || lags.length >= GROUP_LAGS_MAX) continue;
      let lag = 0;
      for (const [partition, { offset: position }] of positions) {
        const end = this.#replicas.find(topicId, partition)?.highWatermark;
        lag += end === undefined ? Number.NaN : Math.max(0, end - position);
      }
      if (!Number.isNaN(lag)) lags.push({ group: groupId, topic, lag });
    }
    return lags;
  }

  #scheduleRetention(): void {
    this.#retentionTimer = this.#options.clock.schedule(RETENTION_CHECK_MS, () => {
      this.applyRetention()
        .catch((cause: unknown) => {
          this.#options.logger.error({ cause: String(cause) }, 'retention could not remove segments');
        })
        .finally(() => {
          if (this.#phase !== 'running') return;
          this.#scheduleRetention();
          this.clean().catch((cause: unknown) => {
            this.#options.logger.error({ cause: String(cause) }, 'a log could not be cleaned');
          });
        });
    });
  }

  /** Cleans the logs here of compacted topics that are due. */
  clean(): Promise<void> {
    return this.#cleaner.run();
  }

  /** Removes what every topic's retention settings allow to be removed now. */
  async applyRetention(): Promise<void> {
    await this.#options.directory.reserve.hold();
    for (const partition of Array.from(this.#replicas.partitions())) {
      if (partition.log.state === 'open') await partition.applyRetention();
    }
  }

  /**
   * Leadership goes to others that have everything, where there are any. Clients hear of it and have a moment to go there; what still comes
   * here is passed on.
   */
  async handOver(): Promise<void> {
    const { clock, metadata } = this.#options;
    const leading = (): readonly Partition[] =>
      Array.from(this.#replicas.partitions()).filter(partition => partition.hasHeir);
    if (leading().length === 0) return;
    // Nothing is to come back meanwhile.
    void metadata.setReady(false);
    const untilMs = clock.monotonicMs() + HAND_OVER_MS_MAX;
    for (let left = leading(); left.length > 0; left = leading()) {
      // One that is moving already, or was not caught up, is asked for again.
      for (const partition of left) partition.handOver();
      if (!(await this.#routes.wait(left[0]!.group.name, untilMs))) break;
    }
    await new Promise<void>(resolve => {
      clock.schedule(HAND_OVER_NOTICE_MS, resolve);
    });
  }

  /** From here on everything new is refused with SHUTTING_DOWN; waiting reads end. */
  drain(): void {
    this.#phase = 'draining';
    this.#retentionTimer?.cancel();
    this.#cleaner.stop();
    this.#local.drain();
    this.#coordinators.drain();
    this.#groupClient.close();
    this.#routes.drain();
    this.#tellListeners();
  }

  /** Everything accepted is durable and, where it could be, answered when this returns. */
  async close(): Promise<void> {
    if (this.#phase !== 'draining') this.drain();
    this.#coordinators.close();
    await this.#replicas.close();
  }
}

/** The controller's answers come as text from wherever it is; their codes are those of its commands (state/cluster). */
type Refused<C extends ErrorCode> = { readonly ok: false; readonly problem: Problem<C> };

/** Longest that a stop waits for others to take over. */
const HAND_OVER_MS_MAX = 5_000;
/** Longer than it takes clients to hear who leads now, and to have answers for what they sent here before. */
const HAND_OVER_NOTICE_MS = 300;

interface Leaderless {
  readonly partition: number;
  readonly replicas: readonly NodeId[];
  /** Of the last leader that was heard of. */
  readonly epoch: number;
}

const NOBODY = -1 as NodeId;

type Question<T> = (
  service: PartitionService,
  partitions: readonly number[],
) => Promise<Result<readonly T[], ListOffsetsCode>>;

const inOrder = <T>(shares: readonly Share[], answers: readonly Result<readonly T[]>[]): readonly T[] => {
  const ordered: T[] = [];
  for (const [at, { indices }] of shares.entries()) {
    const answer = answers[at]!;
    for (const [place, index] of indices.entries()) if (answer.ok) ordered[index] = answer.value[place]!;
  }
  return ordered;
};

const topicNotFound = (topic: string): { readonly ok: false; readonly problem: Problem<'TOPIC_NOT_FOUND'> } =>
  refused('TOPIC_NOT_FOUND', `there is no topic "${topic}"`, { topic });

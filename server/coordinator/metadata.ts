// The cluster's metadata on this node: how the node comes to belong to a cluster, what it knows of it, and how it changes it.
//
//   voter      own replica of the metadata group ─> committed-records ─> image        metadata-serving <─ nodes that follow
//   observer   metadata-pull ─────────────────────────────────────────> image
//   leader     replicated-state ─ controller: commands, liveness, balance
//   any node   controller-client ─ own controller, or one hop to it
//
// The image holds committed records only. What is answered is in the image of the node that was asked, or a short wait ran out.

import type { Result } from '@sluice/protocol/errors';
import { type NodeId, type Offset, type TopicId } from '@sluice/protocol/ids';
import { REMOVALS_PER_REQUEST_MAX } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import { StartRefusal } from '../base/start-refusal.ts';
import type { TopicConfig } from '../base/topic-config.ts';
import type { Clock } from '../io/clock.ts';
import type { Disk } from '../io/disk.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import type { Random } from '../io/random.ts';
import type { GroupName } from '../replication/group-name.ts';
import type { PeerRequests } from '../replication/peer-request.ts';
import type { GroupListener, GroupSnapshots, ReplicatedLog } from '../replication/replicated-log.ts';
import { ClusterState } from '../state/cluster/cluster-state.ts';
import type { ClusterImage } from '../state/cluster/image.ts';
import type { Leadership, PartitionPlace } from '../state/cluster/leader-balance.ts';
import type { ProducerIdBlock } from '../state/cluster/producer-ids.ts';
import { type BrokerRegistration, type ClusterRecord, isSameReplica, type Replica } from '../state/cluster/record.ts';
import { encodeClusterRecord } from '../state/cluster/record-codec.ts';
import { clusterOfOne, type FormerCatalogue } from '../state/cluster/single-broker.ts';
import type {
  AlterTopicRequest,
  CreateInternalTopicRequest,
  CreateTopicRequest,
  TopicResponse,
} from '../state/cluster/topic-change.ts';
import { BrokerSession } from './broker-session.ts';
import { CommittedRecords } from './committed-records.ts';
import { Controller } from './controller.ts';
import { ControllerClient } from './controller-client.ts';
import { Founding } from './founding.ts';
import { ImageKeeper } from './image-keeper.ts';
import { ImageSnapshots } from './image-snapshots.ts';
import { KnownPeers, type PeerPorts } from './known-peers.ts';
import { LeaderDirectory } from './leader-directory.ts';
import { LeaderTransfers } from './leader-transfers.ts';
import { type Membership, type NodeAddress, readMembership, writeMembership } from './membership.ts';
import { decodeCommand, encodeCommandAnswer } from './metadata-command.ts';
import { type ImageListener, MetadataImage } from './metadata-image.ts';
import { METADATA_GROUP, readClusterRecord } from './metadata-log.ts';
import { MetadataPull } from './metadata-pull.ts';
import { MetadataServing } from './metadata-serving.ts';
import { PEER_KIND } from './peer-kinds.ts';
import type { RecordLog } from './record-log.ts';
import { ReplicatedState } from './replicated-state.ts';

export interface OpenGroupRequest {
  readonly name: GroupName;
  /** The configuration of a group that was never opened here; durable before the replica's first vote. */
  readonly voters: readonly Replica[];
  readonly listener: GroupListener;
  readonly snapshots: GroupSnapshots;
}

export interface OpenedGroup {
  readonly group: Pick<ReplicatedLog, 'propose' | 'requestRead' | 'leader' | 'term' | 'advanceStart' | 'campaign'>;
  readonly records: RecordLog;
}

export type MetadataStart =
  /** A cluster of one, founded at once, unless the directory belongs to another one already. */
  { readonly kind: 'alone' } | { readonly kind: 'cluster' | 'join'; readonly nodes: readonly NodeAddress[] };

export interface MetadataOptions extends PeerPorts {
  readonly registration: Omit<BrokerRegistration, 'registeredAtMs'>;
  readonly start: MetadataStart;
  /** Of meta.json: what a cluster of one is called. */
  readonly clusterId: string;
  /** Of a directory from the time before clusters: it is a cluster of one with these topics, whatever list there is. */
  readonly catalogue: FormerCatalogue | null;
  readonly votersMax: number;
  /** Path of the data directory. */
  readonly directory: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Null: this node is alone and listens to nobody. */
  readonly links: Pick<PeerLinks, 'call' | 'joinCluster'> | null;
  readonly requests: PeerRequests;
  readonly topicDefaults: TopicConfig;
  readonly openGroup: (request: OpenGroupRequest) => Promise<OpenedGroup>;
  readonly leadership: (place: PartitionPlace) => Leadership | null;
  /** Of a partition that this node leads. False: it does not, or cannot. */
  readonly transferLeader: (place: PartitionPlace, to: NodeId) => Promise<boolean>;
  /** Something that this release cannot follow, or that is gone for good: the node has to stop. */
  readonly failed: (detail: string) => void;
  /** For tests: METADATA_SNAPSHOT_RECORDS otherwise. */
  readonly snapshotEveryRecords?: number;
}

/** Throws StartRefusal for what is damaged, or of a newer release. */
export const openMetadata = async (options: MetadataOptions): Promise<Metadata> => {
  const { disk, directory, logger, start, registration } = options;
  const image = new MetadataImage(options.clock);
  const snapshots = new ImageSnapshots(disk, directory, logger);
  const loaded = await snapshots.load();
  if (loaded.kind === 'newer') {
    const detail = `the metadata in ${directory} was written by a newer release: ${loaded.detail}`;
    throw new StartRefusal('data-directory-version', detail);
  }
  if (loaded.kind === 'image') image.install(loaded.kept.image, loaded.kept.next);
  let membership = await readMembership(disk, directory);
  if (membership === null && image.image.founded !== null) {
    const detail = `${directory} holds the metadata of a cluster, but no cluster.json. Restore that file from a backup.`;
    throw new StartRefusal('data-directory-damaged', detail);
  }
  if (membership === null && (start.kind === 'alone' || options.catalogue !== null)) {
    const { nodeId, directoryId } = registration;
    membership = { clusterId: options.clusterId, voters: [{ nodeId, directoryId }], nodes: [] };
    // Also here, or a later start with a list would take the directory for a blank one.
    await writeMembership(disk, directory, membership);
  }
  const metadata = new Metadata(options, { image, snapshots, membership });
  try {
    await metadata.open();
  } catch (cause) {
    await metadata.close();
    throw cause;
  }
  return metadata;
};

const noPeers: Pick<PeerLinks, 'call' | 'joinCluster'> = {
  call: () => Promise.resolve({ kind: 'not-sent', reason: 'no-session' }),
  joinCluster: () => {},
};

interface MetadataParts {
  readonly image: MetadataImage;
  readonly snapshots: ImageSnapshots;
  readonly membership: Membership | null;
}

export class Metadata {
  readonly #options: MetadataOptions;
  readonly #self: Replica;
  readonly #links: Pick<PeerLinks, 'call' | 'joinCluster'>;
  readonly #image: MetadataImage;
  readonly #state: ReplicatedState<ClusterState, ClusterRecord>;
  readonly #leaders = new LeaderDirectory();
  readonly #controller: Controller;
  readonly #client: ControllerClient;
  readonly #session: BrokerSession;
  readonly #pull: MetadataPull;
  readonly #serving: MetadataServing;
  readonly #keeper: ImageKeeper;
  readonly #peers: KnownPeers;
  readonly #founding: Founding;
  readonly #transfers: LeaderTransfers;
  #membership: Membership | null;
  #group: OpenedGroup['group'] | null = null;
  #committed: CommittedRecords | null = null;
  /** Heard before the group was handed over. */
  #commit: Offset | null = null;
  #isClosed = false;

  constructor(options: MetadataOptions, parts: MetadataParts) {
    const { clock, logger, registration, start } = options;
    const { nodeId, directoryId } = registration;
    const links = options.links ?? noPeers;
    const image = parts.image;
    this.#options = options;
    this.#self = { nodeId, directoryId };
    this.#links = links;
    this.#image = image;
    this.#membership = parts.membership;
    const listed = start.kind === 'alone' ? [] : start.nodes;
    this.#peers = new KnownPeers(nodeId, options, [...(parts.membership?.nodes ?? []), ...listed]);
    this.#state = this.#newState();
    this.#transfers = new LeaderTransfers({ self: nodeId, links, carryOut: options.transferLeader });
    this.#controller = new Controller({
      ...options,
      state: this.#state,
      leaders: this.#leaders,
      transfer: planned => this.#transfers.ask(planned),
    });
    const sources = (): readonly NodeId[] => this.#sources();
    const leaders = this.#leaders;
    this.#client = new ControllerClient({
      self: nodeId,
      controller: this.#controller,
      leaders,
      image,
      links,
      clock,
      sources,
    });
    this.#session = new BrokerSession({
      client: this.#client,
      registration: { ...registration, registeredAtMs: 0 },
      clock,
      logger,
    });
    const unreadable = (detail: string): void => options.failed(`the cluster's metadata cannot be followed: ${detail}`);
    const heard = leaders.heard.bind(leaders);
    this.#pull = new MetadataPull({ image, links, clock, logger, sources, heard, unreadable });
    this.#serving = new MetadataServing(image, () => leaders.hint);
    this.#keeper = new ImageKeeper({
      image,
      snapshots: parts.snapshots,
      isLeader: () => this.#state.state !== null,
      clock,
      failed: options.failed,
      everyRecords: options.snapshotEveryRecords,
    });
    this.#founding = this.#newFounding(listed);
    image.watch((now, before) => this.#peers.follow(now, before));
  }

  #newState(): ReplicatedState<ClusterState, ClusterRecord> {
    const { clock, logger, failed } = this.#options;
    return new ReplicatedState<ClusterState, ClusterRecord>({
      clock,
      logger,
      machine: {
        name: 'the metadata of the cluster',
        restore: async () => ({ state: new ClusterState(this.#image.image), next: this.#image.next }),
        replay: (state, record) => {
          state.replay(record);
          return state;
        },
        encode: record => ({ key: null, value: encodeClusterRecord(record) }),
        decode: record => {
          const read = readClusterRecord(record);
          return read.ok ? read.value : null;
        },
      },
      ready: () => this.#leaders.changed(),
      unreadable: failed,
    });
  }

  #newFounding(nodes: readonly NodeAddress[]): Founding {
    const { start, votersMax, random, clock, logger, disk, directory } = this.#options;
    return new Founding(
      {
        self: this.#self,
        mode: start.kind === 'join' ? 'join' : 'cluster',
        nodes,
        votersMax,
        links: this.#links,
        random,
        clock,
        logger,
        keep: membership => writeMembership(disk, directory, membership),
        isFounded: () => this.#image.image.founded !== null,
      },
      this.#membership,
    );
  }

  // ---- Opening

  async open(): Promise<void> {
    const { requests } = this.#options;
    const image = this.#image.image;
    this.#peers.follow(image, new ClusterState().image);
    this.#founding.answerTo(requests);
    requests.register(PEER_KIND.metadataPull, (_from, body) => this.#serving.answer(body));
    requests.register(PEER_KIND.metadataCommand, (_from, body) => this.#answerCommand(body));
    requests.register(PEER_KIND.leaderTransfer, (_from, body) => this.#transfers.answer(body));
    this.#controller.start();
    if (this.#membership !== null) await this.#enter(this.#membership);
    else void this.#becomeMember();
  }

  async #becomeMember(): Promise<void> {
    const membership = await this.#founding.run();
    if (membership !== null && !this.#isClosed) await this.#enter(membership);
  }

  async #enter(membership: Membership): Promise<void> {
    this.#membership = membership;
    this.#links.joinCluster(membership.clusterId);
    if (membership.voters.some(voter => isSameReplica(voter, this.#self))) await this.#openGroup(membership);
    else void this.#pull.run(() => this.#isClosed);
    if (this.#isClosed) return;
    void this.#found(membership);
    this.#session.start(membership.clusterId);
  }

  async #openGroup({ voters }: Membership): Promise<void> {
    const state = this.#state;
    const listener: GroupListener = {
      ...state.listener,
      committed: position => {
        this.#commit = position.offset;
        this.#committed?.committed(position.offset);
        state.listener.committed(position);
      },
      roleChanged: change => {
        state.listener.roleChanged(change);
        this.#leaders.changed();
      },
    };
    const { group, records } = await this.#options.openGroup({
      name: METADATA_GROUP,
      voters,
      listener,
      snapshots: this.#keeper,
    });
    if (voters.length === 1 && this.#image.next < records.startOffset) {
      throw new StartRefusal(
        'data-directory-damaged',
        `the metadata in ${this.#options.directory} is lost: no snapshot of it can be read, and its log begins behind it. Restore metadata-*.snapshot from a backup.`,
      );
    }
    const { clock, logger, failed } = this.#options;
    this.#leaders.askFirst(() => ({ leader: state.leader, term: group.term }));
    this.#committed = new CommittedRecords({
      image: this.#image,
      records,
      pull: this.#pull,
      clock,
      logger,
      unreadable: failed,
    });
    this.#keeper.keepLog(records, group);
    this.#serving.serveFrom(records);
    this.#group = group;
    state.attach(group, records);
    if (this.#commit !== null) this.#committed.committed(this.#commit);
  }

  /** The first record, by the node whose task it is. */
  async #found(membership: Membership): Promise<void> {
    const { clusterId, voters } = membership;
    const [founder] = voters;
    if (founder === undefined || !isSameReplica(founder, this.#self)) return;
    if (voters.length === 1) {
      await this.#foundAlone(clusterId);
      return;
    }
    await this.#founding.gatherPromises();
    // Nobody waits for anybody but this node now.
    if (this.#image.image.founded === null && this.#leaders.hint.leader === null) this.#group?.campaign();
    while (!this.#isClosed && this.#image.image.founded === null)
      await this.#client.ask('found', { clusterId, voters });
  }

  async #foundAlone(clusterId: string): Promise<void> {
    const { registration, clock, catalogue } = this.#options;
    const former = {
      clusterId,
      registration: { ...registration, registeredAtMs: clock.wallMs() },
      catalogue: catalogue ?? { topics: new Map(), deleted: [] },
    };
    while (!this.#isClosed && this.#image.image.founded === null) {
      const { news } = this.#leaders;
      const { result } = await this.#state.submit(({ image }) => {
        const records = image.founded === null ? clusterOfOne(former) : [];
        return { ok: true, value: { records, response: null } } as const;
      });
      if (result.ok) break;
      await news;
    }
  }

  // ---- What other nodes ask

  async #answerCommand(body: Uint8Array): Promise<Uint8Array> {
    const command = decodeCommand(body);
    if (command !== null) return encodeCommandAnswer(await this.#controller.execute(command));
    const fault = { code: 'INVALID_REQUEST', detail: 'this release does not know the command', facts: {} } as const;
    return encodeCommandAnswer({ result: { ok: false, problem: fault }, end: 0, hint: this.#leaders.hint });
  }

  /** Whom to ask about the metadata: its voters first, as far as they are known. */
  #sources(): readonly NodeId[] {
    const voters = this.#image.image.founded?.voters ?? this.#membership?.voters ?? [];
    const known = this.#peers.nodes;
    const first = voters.map(voter => voter.nodeId).filter(id => known.includes(id));
    return first.length > 0 ? first : known;
  }

  // ---- What the node asks

  image(): ClusterImage {
    return this.#image.image;
  }

  watch(listener: ImageListener): () => void {
    return this.#image.watch(listener);
  }

  controller(): NodeId | null {
    return this.#leaders.hint.leader;
  }

  /** Of which cluster this directory is, as soon as it is known. */
  get clusterId(): string | null {
    return this.#membership?.clusterId ?? null;
  }

  /** This start is registered, and the image is as new as that. */
  joined(): Promise<void> {
    return this.#session.registered;
  }

  /** Settled when the cluster knows. */
  setReady(isReady: boolean): Promise<void> {
    return this.#session.setReady(isReady);
  }

  createTopic(request: Omit<CreateTopicRequest, 'topicId'>): Promise<Result<TopicResponse>> {
    return this.#client.ask('createTopic', { ...request, topicId: this.#options.random.uuid() as TopicId });
  }

  createInternalTopic(request: Omit<CreateInternalTopicRequest, 'topicId'>): Promise<Result<TopicResponse>> {
    return this.#client.ask('createInternalTopic', { ...request, topicId: this.#options.random.uuid() as TopicId });
  }

  alterTopic(request: AlterTopicRequest): Promise<Result<TopicResponse>> {
    return this.#client.ask('alterTopic', request);
  }

  deleteTopic(name: string): Promise<Result<TopicResponse>> {
    return this.#client.ask('deleteTopic', { name });
  }

  drainBroker(request: { readonly nodeId: NodeId; readonly draining: boolean }): Promise<Result<null>> {
    return this.#client.ask('drain', request);
  }

  removeBroker(nodeId: NodeId): Promise<Result<null>> {
    return this.#client.ask('remove', { nodeId });
  }

  allocateProducerIds(): Promise<Result<ProducerIdBlock>> {
    const { nodeId, incarnation } = this.#options.registration;
    return this.#client.ask('allocateProducerIds', { nodeId, incarnation });
  }

  /**
   * Resolves when the image holds everything that was committed before the call; false: no controller answered, or this node is too far
   * behind. What it does not hold then is not there.
   */
  async isCurrent(): Promise<boolean> {
    const asked = await this.#client.ask('version', {});
    return asked.ok && this.#image.image.version >= asked.value.version;
  }

  /** This node holds nothing of these topics any more. */
  async acknowledgeRemoval(topicIds: readonly TopicId[]): Promise<Result<null>> {
    const { nodeId, incarnation } = this.#options.registration;
    for (let at = 0; at < topicIds.length; at += REMOVALS_PER_REQUEST_MAX) {
      const some = topicIds.slice(at, at + REMOVALS_PER_REQUEST_MAX);
      const result = await this.#client.ask('acknowledgeRemoval', { nodeId, incarnation, topicIds: some });
      if (!result.ok) return result;
    }
    return { ok: true, value: null };
  }

  /** Before the group is closed. Nothing waits for other nodes. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#founding.close();
    this.#controller.close();
    this.#client.close();
    this.#pull.close();
    this.#serving.close();
    this.#committed?.close();
    this.#state.close();
    await this.#session.close();
    await this.#keeper.close();
  }
}

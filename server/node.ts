// The composition root: one broker from its settings. The only file that may import everything of the server but the
// command line.
//
//   data directory ─> peer links ─> replication ─> metadata ─> partitions ─> doors
//
// A node that is alone has no peer links; everything else is the same.

import type { NodeId } from '@sluice/protocol/ids';
import { VERSION, type Config, formatAddress, type NodeRole } from './config.ts';
import { BODY_BUDGET_BYTES, OUTGOING_BYTES_MAX, STREAM_PIECES_PER_TURN } from './base/limits.ts';
import type { Logger } from './base/logger.ts';
import { createMetrics, type Metrics } from './base/metrics.ts';
import { StartInterrupted, StartRefusal } from './base/start-refusal.ts';
import { checkTopicConfig, type TopicConfig } from './base/topic-config.ts';
import type { Broker } from './broker/broker.ts';
import { ClusterBroker } from './broker/cluster-broker.ts';
import { readFormerCatalogue, removeFormerCatalogue } from './broker/former-catalogue.ts';
import { ELECTION_MS, RAFT_TICK_MS, raftSettings } from './broker/raft-settings.ts';
import { METADATA_LOG_SETTINGS } from './broker/topic-settings.ts';
import { readMembership } from './coordinator/membership.ts';
import { type Metadata, type MetadataStart, openMetadata } from './coordinator/metadata.ts';
import { METADATA_TOPIC, METADATA_TOPIC_ID } from './coordinator/metadata-log.ts';
import { BodyBudget } from './gateway/body-budget.ts';
import type { GatewayContext, Listener } from './gateway/gateway.ts';
import { listenFailure } from './gateway/listen-failure.ts';
import { LoopShare } from './gateway/loop-share.ts';
import { OutgoingBudget } from './gateway/outgoing-budget.ts';
import { RecordFeeds } from './gateway/record-feed.ts';
import { listenGrpc } from './gateway/grpc/listen.ts';
import { listenManagement } from './gateway/management/listen.ts';
import { OriginRule } from './gateway/origin-rule.ts';
import { listenRest } from './gateway/rest/listen.ts';
import { WebSocketDoor } from './gateway/websocket/door.ts';
import type { PeerIdentity, PeerLinks, PeerRefusal } from './io/peer-link.ts';
import { realClock } from './io/real/clock.ts';
import { realDirectoryLocks } from './io/real/directory-lock.ts';
import { realDisk } from './io/real/disk.ts';
import { realRandom } from './io/real/random.ts';
import { configurationOf } from './raft/configuration.ts';
import type { ReplicaId } from './raft/replica-id.ts';
import { type OpenedGroupLog, openGroupLog } from './replication/open-group-log.ts';
import { PeerRequests } from './replication/peer-request.ts';
import { StoreRecords } from './replication/replica-records.ts';
import type { ReplicatedLog } from './replication/replicated-log.ts';
import { ReplicaRepair } from './replication/replica-repair.ts';
import { Replication } from './replication/replication.ts';
import { directoryId, incarnation as incarnationOf } from './state/cluster/record.ts';
import type { FormerCatalogue } from './state/cluster/single-broker.ts';
import { DataDirectory } from './storage/data-directory.ts';
import { partitionDirectoryName } from './storage/segment-name.ts';

export interface RunningNode {
  /** HOST:PORT as bound. */
  readonly addresses: { readonly http: string; readonly grpc: string; readonly management: string };
  readonly clusterId: string;
  readonly broker: Broker;
  /** Hands leadership over, ends long reads with a notice, answers what is under way, makes everything durable. */
  stop(): Promise<void>;
}

const METADATA_LOG = { topic: METADATA_TOPIC, topicId: METADATA_TOPIC_ID, partition: 0 } as const;

/**
 * Throws StartRefusal, ListenFailure or StartInterrupted with nothing left behind. `interrupted` ends the wait for the rest of the cluster,
 * which may be for ever.
 */
export const startNode = async (config: Config, logger: Logger, interrupted?: AbortSignal): Promise<RunningNode> => {
  const topicDefaults = checkTopicConfig(config.topicDefaults);
  if (!topicDefaults.ok) throw new StartRefusal('settings', `topic-defaults: ${topicDefaults.problem.detail}`);
  const metrics = createMetrics();
  const directory = await DataDirectory.open({
    disk: realDisk,
    clock: realClock,
    random: realRandom,
    locks: realDirectoryLocks,
    path: config.dataDir,
    nodeId: config.nodeId,
    logger,
    onSync: seconds => metrics.syncSeconds.observe(seconds),
    storeFailed(fault) {
      // Nothing promised after this could be kept: the process ends, and the supervisor sees it.
      logger.fatal({ fault: fault.message }, 'the store of the node cannot be written');
      queueMicrotask(() => {
        throw fault;
      });
    },
  });
  const addresses = { http: '', grpc: '', management: '' };
  const opened: (() => Promise<void>)[] = [() => directory.close()];
  const undo = async (): Promise<void> => {
    for (const close of opened.toReversed()) await close();
  };
  try {
    const cluster = await joinCluster({
      config,
      directory,
      logger,
      topicDefaults: topicDefaults.value,
      metrics,
      opened,
    });
    const broker = new ClusterBroker({
      ...cluster,
      directory,
      clock: realClock,
      random: realRandom,
      logger,
      topicDefaults: topicDefaults.value,
      offsetsRetentionMs: config.offsetsRetentionMinutes * 60_000,
      version: VERSION,
      addresses: () => addresses,
    });
    cluster.serveWith(broker);
    opened.push(() => broker.close());
    metrics.reportFrom(() => broker.report());
    const outgoing = new OutgoingBudget(realClock, OUTGOING_BYTES_MAX);
    const bodyBudget = new BodyBudget(BODY_BUDGET_BYTES);
    metrics.reportBodiesFrom(() => bodyBudget.usedBytes);
    metrics.reportOutgoingFrom(() => outgoing.report());
    const loopShare = new LoopShare(realClock, STREAM_PIECES_PER_TURN);
    const context: GatewayContext = {
      broker,
      clock: realClock,
      random: realRandom,
      logger,
      metrics,
      bodyBudget,
      outgoing,
      loopShare,
      recordFeeds: new RecordFeeds(broker, loopShare),
      version: VERSION,
    };
    const management = await listenManagement(context, { listen: config.management });
    opened.push(() => management.close());
    await Promise.race([cluster.joined(), aborted(interrupted)]);
    if (interrupted?.aborted === true) throw new StartInterrupted();
    await broker.open();
    const originRule = OriginRule.of({ ...config, host: config.http.host });
    const webSocket = new WebSocketDoor(context, originRule);
    const rest = await listenRest(context, { listen: config.http, originRule, upgradeDoor: webSocket });
    opened.push(() => rest.close());
    // Before the socket that its connections came from: that one waits for them.
    opened.push(() => webSocket.close());
    const grpc = await listenGrpc(context, { listen: config.grpc });
    opened.push(() => grpc.close());
    addresses.http = rest.address;
    addresses.grpc = grpc.address;
    addresses.management = management.address;
    const stop = async (): Promise<void> => {
      cluster.handOver();
      await broker.handOver();
      const doors: readonly Pick<Listener, 'drain'>[] = [rest, webSocket, grpc];
      const drained = Promise.all(doors.map(door => door.drain()));
      broker.drain();
      await drained;
      await undo();
      metrics.registry.clear();
    };
    let stopping: Promise<void> | null = null;
    return {
      addresses,
      clusterId: broker.cluster().clusterId,
      broker,
      stop: () => (stopping ??= stop()),
    };
  } catch (cause) {
    await undo();
    throw cause;
  }
};

/** Never without a signal. */
const aborted = (signal: AbortSignal | undefined): Promise<void> =>
  new Promise(resolve => {
    if (signal?.aborted === true) resolve();
    else signal?.addEventListener('abort', () => resolve(), { once: true });
  });

interface Membership {
  readonly links: PeerLinks | null;
  readonly requests: PeerRequests;
  readonly replication: Replication;
  readonly records: StoreRecords;
  readonly metadata: Metadata;
  /** Whom the controller asks about leaders. */
  serveWith(broker: ClusterBroker): void;
  /** This node is known to its cluster, which is founded if it was not before. */
  joined(): Promise<void>;
  /** Somebody else is to be the controller, where anybody can. */
  handOver(): void;
}

interface ClusterParts {
  readonly config: Config;
  readonly directory: DataDirectory;
  readonly logger: Logger;
  readonly topicDefaults: TopicConfig;
  readonly metrics: Metrics;
  /** What ends it all, the last one first; also what was begun when this fails. */
  readonly opened: (() => Promise<void>)[];
}

/** Makes this node part of its cluster, or the whole of one. */
const joinCluster = async (parts: ClusterParts): Promise<Membership> => {
  const { config, directory, logger, topicDefaults, metrics, opened } = parts;
  const { identity, path } = directory;
  const nodeId = identity.nodeId as NodeId;
  const disk = realDisk;
  const environment = { clock: realClock, random: realRandom, logger };
  const catalogue = identity.formatVersion === 1 ? await formerCatalogue(directory) : null;
  const records = new StoreRecords(directory.context.store);
  const registration = {
    nodeId,
    directoryId: directoryId(identity.directoryId),
    incarnation: incarnationOf(await directory.nextIncarnation()),
    rack: config.rack,
    roles: rolesOf(config),
    httpAddress: formatAddress(config.http),
    grpcAddress: formatAddress(config.grpc),
    peerAddress: peerAddressOf(config),
  };
  const links =
    config.cluster === null ? null : await listenToPeers(config, directory, registration.incarnation, logger);
  if (links !== null) opened.push(() => links.close());
  const requests = new PeerRequests();
  const replication = new Replication({
    ...environment,
    nodeId,
    directory: identity.directoryId,
    links,
    records,
    tickMs: RAFT_TICK_MS,
    electionMs: ELECTION_MS,
  });
  const late: { broker: ClusterBroker | null; metadata: Metadata | null } = { broker: null, metadata: null };
  let metadataLog: OpenedGroupLog | null = null;
  opened.push(async () => {
    replication.close();
    await metadataLog?.log.close();
  });
  if (links !== null) {
    const repair = new ReplicaRepair({
      ...environment,
      replication,
      links,
      requests,
      repaired({ fetchedBytes }) {
        metrics.repairedSegments.add(1);
        metrics.repairedBytes.add(fetchedBytes);
      },
    });
    opened.push(async () => repair.close());
  }
  replication.start();
  links?.start({
    frame: (from, lane, frame) => replication.frame(from, lane, frame),
    call: (from, request, signal) => requests.handle(from, request, signal),
    up: peer => replication.peerUp(peer),
    down: peer => replication.peerDown(peer),
    // The links log it.
    refused: () => {},
    admit: peer => refusalOf(peer, late.metadata),
  });
  const failed = (detail: string): void => {
    logger.fatal({}, detail);
    queueMicrotask(() => {
      throw new Error(detail);
    });
  };
  const metadata = await openMetadata({
    ...environment,
    disk,
    registration,
    directory: path,
    links,
    requests,
    start: startOf(config),
    clusterId: identity.clusterId,
    catalogue,
    topicDefaults,
    votersMax: VOTERS_MAX,
    async openGroup({ voters, listener, snapshots }) {
      const { log, group } = await openGroupLog({
        directory,
        replication,
        records,
        name: METADATA_LOG,
        settings: METADATA_LOG_SETTINGS,
        raft: raftSettings('sync'),
        voters,
        listener: {
          ...listener,
          dropped(state) {
            // Whoever supervises this process sees it; nothing that the cluster decides would reach this node any more.
            if (state === 'failed') failed("a write or sync of the metadata's log failed");
          },
        },
        snapshots,
        isAwake: true,
      });
      metadataLog = { log, group };
      return { group, records: log };
    },
    addPeer: (peer, address) => replication.addPeer(peer, address),
    removePeer: peer => replication.removePeer(peer),
    leadership: place => late.broker?.leadership(place) ?? null,
    transferLeader: (place, to) => Promise.resolve(late.broker?.transferLeader(place, to) ?? false),
    failed,
  });
  late.metadata = metadata;
  opened.push(() => metadata.close());
  return {
    links,
    requests,
    replication,
    records,
    metadata,
    serveWith(broker) {
      late.broker = broker;
    },
    async joined() {
      await metadata.joined();
      if (identity.formatVersion !== 1) return;
      await keepFormerReplicas(records, metadata, replication.self);
      await directory.raiseFormat();
      await removeFormerCatalogue(disk, path);
    },
    handOver() {
      if (metadataLog?.group.isLeader === true) handOverMetadata(metadataLog.group, replication.self);
    },
  };
};

/** Null: no topic was ever created. Without it the topics of a directory would be forgotten for good once its format is raised. */
const formerCatalogue = async (directory: DataDirectory): Promise<FormerCatalogue | null> => {
  const catalogue = await readFormerCatalogue(realDisk, directory.path);
  const [folder] =
    catalogue === null ? await directory.strangers(new Set([partitionDirectoryName(METADATA_TOPIC, 0)])) : [];
  if (folder === undefined) return catalogue;
  throw new StartRefusal(
    'data-directory-damaged',
    `${directory.path} holds partitions (${folder}, …) but no topics.json. Restore that file from a backup, or choose another directory with --data-dir.`,
  );
};

const VOTERS_MAX = 5;

/** The first that takes it: one that is behind catches up first, or the election decides. */
const handOverMetadata = (group: ReplicatedLog, self: ReplicaId): void => {
  for (const voter of group.configuration.voters) if (voter !== self && group.transfer(voter).ok) return;
};

const startOf = ({ cluster, nodeId }: Config): MetadataStart => {
  if (cluster === null) return { kind: 'alone' };
  const nodes = cluster.map(member => ({ nodeId: member.nodeId as NodeId, address: formatAddress(member.address) }));
  return { kind: cluster.some(member => member.nodeId === nodeId) ? 'cluster' : 'join', nodes };
};

/** Where the others reach this node: as the list has it, which may be another address than the one it listens on. */
const peerAddressOf = ({ nodeId, cluster, peer }: Config): string => {
  if (cluster === null) return '';
  return formatAddress(cluster.find(member => member.nodeId === nodeId)?.address ?? peer);
};

/** Who is not listed has no vote, whatever it was given by default. */
const rolesOf = ({ cluster, nodeId, roles }: Config): readonly NodeRole[] =>
  cluster === null || cluster.some(member => member.nodeId === nodeId)
    ? roles
    : roles.filter(role => role !== 'controller');

const listenToPeers = async (
  config: Config,
  directory: DataDirectory,
  incarnation: number,
  logger: Logger,
): Promise<PeerLinks> => {
  const { nodeId, directoryId: uuid } = directory.identity;
  const membership = await readMembership(realDisk, directory.path);
  const secret = config.clusterSecretFile === null ? null : await readSecret(config.clusterSecretFile);
  const { listenPeers } = await import('./io/real/peer-link/peer-links.ts');
  try {
    return await listenPeers({
      listen: config.peer,
      local: { nodeId: nodeId as NodeId, directory: uuid, incarnation, clusterId: membership?.clusterId ?? '' },
      secret,
      clock: realClock,
      random: realRandom,
      logger,
    });
  } catch (cause) {
    throw listenFailure(formatAddress(config.peer), cause as NodeJS.ErrnoException);
  }
};

/** Anything but white space at its ends, which editors add. */
const readSecret = async (file: string): Promise<Uint8Array> => {
  try {
    const text = Buffer.from(await realDisk.readFile(file))
      .toString('utf8')
      .trim();
    if (text !== '') return Buffer.from(text);
  } catch (cause) {
    throw new StartRefusal('settings', `cluster-secret-file: ${file} cannot be read`, cause);
  }
  throw new StartRefusal('settings', `cluster-secret-file: ${file} is empty`);
};

/** A node that comes back with another directory has forgotten what it acknowledged: it is somebody else. */
const refusalOf = (peer: PeerIdentity, metadata: Metadata | null): PeerRefusal | null => {
  const known = metadata?.image().brokers.get(peer.nodeId)?.registration.directoryId;
  if (known === undefined || known === peer.directory) return null;
  return {
    reason: 'wiped-directory',
    detail:
      `node ${peer.nodeId} belongs to this cluster with the data directory ${known}, and comes with ${peer.directory}: ` +
      'start it on the directory that it had, or give the new one a node id of its own',
  };
};

/** Replicas from the time before groups have a log and no record: theirs are the first ones. */
const keepFormerReplicas = async (records: StoreRecords, metadata: Metadata, self: ReplicaId): Promise<void> => {
  for (const { topicId, partitions } of metadata.image().topics.values()) {
    for (const partition of partitions.keys()) {
      const name = { topicId, partition };
      if (!records.has(name)) records.found(name, configurationOf([self]));
    }
  }
  await records.flush();
};

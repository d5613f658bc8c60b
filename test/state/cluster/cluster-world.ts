// A cluster's metadata as a runtime would keep it: what a command decides is encoded, decoded and replayed; refusals change
// nothing. A second state follows by the decoded records alone.

import { expect } from 'vitest';
import type { ErrorCode } from '@sluice/protocol/errors';
import { type NodeId, nodeId, type TopicId, topicId } from '@sluice/protocol/ids';
import type { TopicConfig } from '../../../server/base/topic-config.ts';
import { ClusterState } from '../../../server/state/cluster/cluster-state.ts';
import { found } from '../../../server/state/cluster/founding.ts';
import type { ClusterImage } from '../../../server/state/cluster/image.ts';
import { heartbeat } from '../../../server/state/cluster/liveness.ts';
import {
  type BrokerRegistration,
  type ClusterRecord,
  type DirectoryId,
  directoryId,
  type Incarnation,
  incarnation,
} from '../../../server/state/cluster/record.ts';
import { decodeClusterRecord, encodeClusterRecord } from '../../../server/state/cluster/record-codec.ts';
import { registerBroker } from '../../../server/state/cluster/registration.ts';
import { createTopic } from '../../../server/state/cluster/topic-change.ts';
import type { Decided } from '../../../server/state/decision.ts';

export const CLUSTER_ID = 'test-cluster';

const uuid = (kind: string, number: number): string =>
  `${kind.padStart(8, '0')}-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;

export const topicIdOf = (number: number): TopicId => topicId(uuid('aaaa', number));
export const directoryOf = (node: number, which = 0): DirectoryId => directoryId(uuid('dddd', node * 1_000 + which));
/** The incarnation of a start: nodes begin at different ones. */
export const startOf = (node: number, start = 0): Incarnation => incarnation(node * 100 + start);

export interface NodeOptions {
  readonly rack?: string;
  readonly start?: number;
  readonly directory?: number;
  readonly roles?: BrokerRegistration['roles'];
}

export const registrationOf = (node: number, options: NodeOptions = {}): BrokerRegistration => ({
  nodeId: nodeId(node),
  directoryId: directoryOf(node, options.directory ?? 0),
  incarnation: startOf(node, options.start ?? 0),
  rack: options.rack ?? '',
  roles: options.roles ?? ['broker', 'controller', 'gateway'],
  httpAddress: `host-${node}:8080`,
  grpcAddress: `host-${node}:9090`,
  peerAddress: `host-${node}:9091`,
  registeredAtMs: 1_700_000_000_000 + node,
});

/** Everything of an image as plain values, to be compared. */
export const plain = (image: ClusterImage) => ({
  ...image,
  brokers: [...image.brokers.entries()],
  loads: [...image.loads.entries()],
  topics: [...image.topics.entries()],
  topicNames: [...image.topicNames.entries()],
  deletedTopics: [...image.deletedTopics.entries()],
});

const freeze = (value: unknown): void => {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const part of Object.values(value)) freeze(part);
};

/** The image, of which nothing can be written any more without an exception. */
const frozen = (image: ClusterImage): ClusterImage => {
  for (const map of [image.brokers, image.loads, image.topics, image.topicNames, image.deletedTopics]) {
    for (const value of map.values()) freeze(value);
  }
  return Object.freeze(image);
};

export class ClusterWorld {
  readonly state = new ClusterState();
  readonly follower = new ClusterState();
  readonly records: ClusterRecord[] = [];
  readonly context: { topicDefaults: TopicConfig } = { topicDefaults: {} };
  #topicCount = 0;

  /** Founded by the given nodes; all of them registered and running. */
  static of(nodes: readonly (NodeOptions & { readonly node: number })[]): ClusterWorld {
    const world = new ClusterWorld();
    world.do(found, { clusterId: CLUSTER_ID, voters: nodes.slice(0, 3).map(({ node }) => replicaOf(node)) });
    for (const { node, ...options } of nodes) world.join(node, options);
    return world;
  }

  static ofCount(count: number): ClusterWorld {
    return ClusterWorld.of(Array.from({ length: count }, (_, index) => ({ node: index + 1 })));
  }

  get image(): ClusterImage {
    return this.state.image;
  }

  /** Runs a command and replays what it decided, as appended by this node and as read by another. */
  try<Request, Response, C extends ErrorCode>(
    command: (image: ClusterImage, request: Request) => Decided<ClusterRecord, Response, C>,
    request: Request,
  ): Decided<ClusterRecord, Response, C> {
    const before = frozen(this.image);
    const decided = command(before, request);
    expect(this.image).toBe(before);
    if (decided.ok) for (const record of decided.value.records) this.replay(record);
    return decided;
  }

  replay(record: ClusterRecord): void {
    this.state.replay(record);
    this.records.push(record);
    const read = decodeClusterRecord(encodeClusterRecord(record));
    expect(read).toEqual({ ok: true, value: record });
    if (read.ok) this.follower.replay(read.value);
  }

  /** The same for what must be accepted: gives the response. */
  do<Request, Response, C extends ErrorCode>(
    command: (image: ClusterImage, request: Request) => Decided<ClusterRecord, Response, C>,
    request: Request,
  ): Response {
    const decided = this.try(command, request);
    if (!decided.ok) expect.fail(`${decided.problem.code}: ${decided.problem.detail}`);
    return decided.value.response;
  }

  join(node: number, options: NodeOptions = {}): void {
    this.do(registerBroker, { clusterId: CLUSTER_ID, registration: registrationOf(node, options) });
    this.beat(node, options.start);
  }

  beat(node: number, start = 0, readiness: 'ready' | 'not-ready' = 'ready'): { readonly fenced: boolean } {
    return this.do(heartbeat, { nodeId: nodeId(node), incarnation: startOf(node, start), readiness });
  }

  topic(name: string, options: { partitions?: number; factor?: number; config?: TopicConfig } = {}): TopicId {
    const request = {
      topicId: topicIdOf(this.#topicCount++),
      name,
      partitionCount: options.partitions,
      replicationFactor: options.factor,
      config: options.config,
    };
    return this.do((image, asked: typeof request) => createTopic(image, asked, this.context), request).topicId;
  }

  replicas(name: string): NodeId[][] {
    const { partitions } = this.image.topics.get(name)!;
    return partitions.map(partition => partition.replicas.map(replica => replica.nodeId));
  }
}

export const replicaOf = (node: number) => ({ nodeId: nodeId(node), directoryId: directoryOf(node) });

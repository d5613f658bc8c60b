// What can happen to the metadata of a cluster: one record a fact, decided by a command and replayed by every node. How they
// become bytes is in record-codec.ts; what they do to the state is in replay.ts.

import type { NodeId, TopicId } from '@sluice/protocol/ids';
import type { TopicConfig } from '../../base/topic-config.ts';

declare const brand: unique symbol;

/** The UUID of a data directory, drawn when it was made. */
export type DirectoryId = string & { readonly [brand]: 'DirectoryId' };

/** One start of a node's process: 1 to 2^53 - 1, and it grows with each start on the same directory. */
export type Incarnation = number & { readonly [brand]: 'Incarnation' };

const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const isDirectoryId = (text: string): text is DirectoryId => uuidPattern.test(text);

/** For values that are right by construction; a wrong one is a broken invariant. */
export const directoryId = (text: string): DirectoryId => {
  if (!isDirectoryId(text)) throw new RangeError(`not a directory id: ${text}`);
  return text;
};

export const isIncarnation = (value: number): value is Incarnation => Number.isSafeInteger(value) && value > 0;

export const incarnation = (value: number): Incarnation => {
  if (!isIncarnation(value)) throw new RangeError(`not an incarnation: ${value}`);
  return value;
};

/** Who holds a copy: a node with this directory. The same node with an empty directory is somebody else. */
export interface Replica {
  readonly nodeId: NodeId;
  readonly directoryId: DirectoryId;
}

export const isSameReplica = (a: Replica, b: Replica): boolean =>
  a.nodeId === b.nodeId && a.directoryId === b.directoryId;

export type BrokerRole = 'broker' | 'controller' | 'gateway';

export const brokerRoles: readonly BrokerRole[] = ['broker', 'controller', 'gateway'];

export interface BrokerRegistration extends Replica {
  readonly incarnation: Incarnation;
  /** Empty: not known. */
  readonly rack: string;
  readonly roles: readonly BrokerRole[];
  /** HOST:PORT under which others reach it; empty where it does not listen. */
  readonly httpAddress: string;
  readonly grpcAddress: string;
  readonly peerAddress: string;
  /** By the controller's clock. */
  readonly registeredAtMs: number;
}

/** An object, so that orders to move replicas can stand beside them. */
export interface ClusterPartition {
  /** The preferred leader first. The first configuration of the partition's group comes from here. */
  readonly replicas: readonly Replica[];
}

export interface FoundedRecord {
  readonly kind: 'founded';
  readonly clusterId: string;
  /** The first voters of the metadata log. */
  readonly voters: readonly Replica[];
}

/** Also a new start of a known node. It is fenced until it says that it is ready; whether it drains stays as it was. */
export interface BrokerRegisteredRecord {
  readonly kind: 'broker-registered';
  readonly registration: BrokerRegistration;
}

export interface BrokerStateChangedRecord {
  readonly kind: 'broker-state-changed';
  readonly nodeId: NodeId;
  readonly fenced: boolean;
  readonly draining: boolean;
}

export interface BrokerRemovedRecord {
  readonly kind: 'broker-removed';
  readonly nodeId: NodeId;
}

export interface TopicCreatedRecord {
  readonly kind: 'topic-created';
  readonly topicId: TopicId;
  readonly name: string;
  readonly internal: boolean;
  readonly replicationFactor: number;
  readonly config: TopicConfig;
  readonly partitions: readonly ClusterPartition[];
}

export interface PartitionsAddedRecord {
  readonly kind: 'partitions-added';
  readonly topicId: TopicId;
  readonly firstPartition: number;
  readonly partitions: readonly ClusterPartition[];
}

export interface TopicConfigChangedRecord {
  readonly kind: 'topic-config-changed';
  readonly topicId: TopicId;
  /** All settings of the topic from now on. */
  readonly config: TopicConfig;
}

export interface TopicDeletedRecord {
  readonly kind: 'topic-deleted';
  readonly topicId: TopicId;
}

export interface RemovalAcknowledgedRecord {
  readonly kind: 'removal-acknowledged';
  readonly nodeId: NodeId;
  readonly topicIds: readonly TopicId[];
}

export interface ProducerIdsAllocatedRecord {
  readonly kind: 'producer-ids-allocated';
  readonly nodeId: NodeId;
  readonly first: number;
  readonly count: number;
}

export type ClusterRecord =
  | FoundedRecord
  | BrokerRegisteredRecord
  | BrokerStateChangedRecord
  | BrokerRemovedRecord
  | TopicCreatedRecord
  | PartitionsAddedRecord
  | TopicConfigChangedRecord
  | TopicDeletedRecord
  | RemovalAcknowledgedRecord
  | ProducerIdsAllocatedRecord;

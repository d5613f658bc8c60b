// Who belongs to the cluster: nodes register at every start, are drained and removed.
//
//   unknown node        -> registered, fenced
//   same incarnation    -> nothing, or what changed (a repeat of a request whose answer was lost)
//   later incarnation   -> registered anew, fenced: what the old process still says is refused
//   earlier incarnation -> refused: a request of a process that is gone was under way for long ("stale-incarnation")
//   another directory   -> refused: two nodes were given one id ("duplicate-node", while the known one lives), or the node
//                          lost its disk ("wiped-directory"): as a replica it would be somebody else
//   another node id, known directory -> refused: a directory was copied ("duplicate-directory")

import { accepted, problem, refused, type Result } from '@sluice/protocol/errors';
import type { NodeId } from '@sluice/protocol/ids';
import { BROKER_TEXT_CHARS_MAX, BROKERS_MAX } from '../../base/limits.ts';
import { type Decided, decided } from '../decision.ts';
import { notFounded } from './founding.ts';
import type { ClusterBroker, ClusterImage } from './image.ts';
import type { BrokerRegistration, ClusterRecord, Incarnation } from './record.ts';

export interface RegisterRequest {
  /** Of the cluster that the node believes to belong to. */
  readonly clusterId: string;
  readonly registration: BrokerRegistration;
}

export type RegisterCode = 'INVALID_REQUEST' | 'FORBIDDEN' | 'COORDINATOR_LOADING';

/** In the facts of a FORBIDDEN, as `reason`. */
export type RegisterReason =
  | 'cluster-id'
  | 'duplicate-node'
  | 'wiped-directory'
  | 'duplicate-directory'
  | 'stale-incarnation';

const forbidden = (reason: RegisterReason, id: NodeId, detail: string) =>
  refused('FORBIDDEN', detail, { reason, node_id: id });

const laterStart = (id: NodeId) => forbidden('stale-incarnation', id, `a later start of node ${id} is registered`);

const formFault = (registration: BrokerRegistration): string | null => {
  const { roles, rack, httpAddress, grpcAddress, peerAddress } = registration;
  if (roles.length === 0 || new Set(roles).size < roles.length)
    return 'a node has one role or several, each named once';
  for (const text of [rack, httpAddress, grpcAddress, peerAddress]) {
    if (text.length > BROKER_TEXT_CHARS_MAX) {
      return `a rack or an address has at most ${BROKER_TEXT_CHARS_MAX} characters`;
    }
  }
  return null;
};

const identityFault = (image: ClusterImage, registration: BrokerRegistration) => {
  const { nodeId: id, directoryId } = registration;
  const known = image.brokers.get(id);
  const founder = image.founded?.voters.find(voter => voter.nodeId === id);
  const directory = known?.registration.directoryId ?? founder?.directoryId;
  if (directory !== undefined && directory !== directoryId) {
    return known !== undefined && !known.fenced
      ? forbidden('duplicate-node', id, `node ${id} is running with another data directory: give this node another id`)
      : forbidden(
          'wiped-directory',
          id,
          `node ${id} belongs to the cluster with directory ${directory}, not with ${directoryId}: bring that directory back, or start with an id that is free`,
        );
  }
  for (const other of image.brokers.values()) {
    if (other.registration.directoryId === directoryId && other.registration.nodeId !== id) {
      return forbidden(
        'duplicate-directory',
        id,
        `the data directory ${directoryId} belongs to node ${other.registration.nodeId}`,
      );
    }
  }
  return null;
};

const isSameRegistration = (a: BrokerRegistration, b: BrokerRegistration): boolean =>
  a.incarnation === b.incarnation &&
  a.rack === b.rack &&
  a.httpAddress === b.httpAddress &&
  a.grpcAddress === b.grpcAddress &&
  a.peerAddress === b.peerAddress &&
  a.roles.length === b.roles.length &&
  a.roles.every(role => b.roles.includes(role));

export const registerBroker = (
  image: ClusterImage,
  request: RegisterRequest,
): Decided<ClusterRecord, { readonly fenced: boolean }, RegisterCode> => {
  const { registration } = request;
  const id = registration.nodeId;
  const early = notFounded(image);
  if (early !== null) return early;
  const clusterId = image.founded?.clusterId;
  if (clusterId !== request.clusterId) {
    return forbidden('cluster-id', id, `node ${id} belongs to cluster ${request.clusterId}, and this is ${clusterId}`);
  }
  const fault = formFault(registration);
  if (fault !== null) return refused('INVALID_REQUEST', fault, { node_id: id });
  const stranger = identityFault(image, registration);
  if (stranger !== null) return stranger;
  const known = image.brokers.get(id);
  if (known !== undefined && registration.incarnation < known.registration.incarnation) return laterStart(id);
  if (known === undefined && image.brokers.size >= BROKERS_MAX) {
    return refused('INVALID_REQUEST', `a cluster has at most ${BROKERS_MAX} nodes`, { node_id: id });
  }
  const held = image.loads.get(id)?.replicas ?? 0;
  if (held > 0 && !registration.roles.includes('broker')) {
    return refused('INVALID_REQUEST', `node ${id} holds ${held} replicas, so it keeps the role "broker"`, {
      node_id: id,
    });
  }
  if (known !== undefined && isSameRegistration(known.registration, registration)) {
    return decided([], { fenced: known.fenced });
  }
  return decided([{ kind: 'broker-registered', registration }], { fenced: true });
};

/** The broker that speaks, if it is the process that registered last. */
export const speaker = (
  image: ClusterImage,
  request: { readonly nodeId: NodeId; readonly incarnation: Incarnation },
): Result<ClusterBroker, 'FORBIDDEN' | 'COORDINATOR_LOADING'> => {
  const early = notFounded(image);
  if (early !== null) return early;
  const { nodeId: id, incarnation } = request;
  const known = image.brokers.get(id);
  if (known === undefined || known.registration.incarnation < incarnation) {
    const who = known === undefined ? `node ${id}` : `this start of node ${id}`;
    return refused('FORBIDDEN', `${who} is not registered`, { reason: 'not-registered', node_id: id });
  }
  return known.registration.incarnation === incarnation ? accepted(known) : laterStart(id);
};

const noSuchBroker = (id: NodeId) => problem('INVALID_REQUEST', `there is no node ${id}`, { node_id: id });

/** Marks a broker whose replicas are to move away, or takes the mark off. */
export const drainBroker = (
  image: ClusterImage,
  request: { readonly nodeId: NodeId; readonly draining: boolean },
): Decided<ClusterRecord, null, 'INVALID_REQUEST' | 'COORDINATOR_LOADING'> => {
  const early = notFounded(image);
  if (early !== null) return early;
  const { nodeId, draining } = request;
  const known = image.brokers.get(nodeId);
  if (known === undefined) return { ok: false, problem: noSuchBroker(nodeId) };
  if (known.draining === draining) return decided([], null);
  return decided([{ kind: 'broker-state-changed', nodeId, fenced: known.fenced, draining }], null);
};

/** Forgets a broker that is gone for good. Nobody waits for it any more, and its id is free. */
export const removeBroker = (
  image: ClusterImage,
  id: NodeId,
): Decided<ClusterRecord, null, 'INVALID_REQUEST' | 'COORDINATOR_LOADING'> => {
  const early = notFounded(image);
  if (early !== null) return early;
  const known = image.brokers.get(id);
  if (known === undefined) return { ok: false, problem: noSuchBroker(id) };
  const facts = { node_id: id };
  if (!known.fenced) return refused('INVALID_REQUEST', `node ${id} is running: stop it first`, facts);
  const held = image.loads.get(id)?.replicas ?? 0;
  if (held > 0) {
    return refused('INVALID_REQUEST', `node ${id} holds ${held} replicas: drain it first`, {
      ...facts,
      replicas: held,
    });
  }
  return decided([{ kind: 'broker-removed', nodeId: id }], null);
};

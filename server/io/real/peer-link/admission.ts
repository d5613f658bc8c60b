// Who may talk to whom: the rules that both sides of a handshake apply to what the other one says of itself.
//
//   before the proof   version → cluster → node ids           judgeHello, from the two Hellos alone
//   after it           duplicates → the owner's own reasons   judgeKnown, from who is connected
//
// Pure, so that the simulated network refuses exactly what the real one refuses.

import { isTopicId, nodeId, type NodeId } from '@sluice/protocol/ids';
import type { Hello } from '@sluice/protocol/peer';
import { PEER_NAME_CHARS_MAX } from '../../../base/limits.ts';
import type { PeerIdentity, PeerRefusal } from '../../peer-link.ts';

export const PEER_PROTOCOL_VERSION = 2;

/** What one side says of itself. */
export interface Introduction extends PeerIdentity {
  readonly protocolVersion: number;
}

export const describePeer = ({ nodeId, directory, incarnation }: PeerIdentity): string =>
  `node ${nodeId} (directory ${directory}, incarnation ${incarnation})`;

/** Null for a Hello in which something cannot be. */
export const readIntroduction = (hello: Hello): Introduction | null => {
  const incarnation = Number(hello.incarnation);
  const isGood =
    hello.nodeId <= 0x7fffffff &&
    isTopicId(hello.directory) &&
    Number.isSafeInteger(incarnation) &&
    hello.clusterId.length <= PEER_NAME_CHARS_MAX;
  if (!isGood) return null;
  const { protocolVersion, clusterId, directory } = hello;
  return { protocolVersion, clusterId, nodeId: nodeId(hello.nodeId), directory, incarnation };
};

/** `expected`: which node the dialler wants to reach, whichever side judges. */
export const judgeHello = (dialler: Introduction, listener: Introduction, expected: NodeId): PeerRefusal | null => {
  if (dialler.protocolVersion !== listener.protocolVersion) {
    const detail = `node ${dialler.nodeId} speaks version ${dialler.protocolVersion} of the peer protocol, node ${listener.nodeId} version ${listener.protocolVersion}`;
    return { reason: 'protocol-version', detail };
  }
  if (areOfTwoClusters(dialler.clusterId, listener.clusterId)) {
    const detail = `node ${dialler.nodeId} belongs to cluster ${dialler.clusterId}, node ${listener.nodeId} to cluster ${listener.clusterId}`;
    return { reason: 'cluster-id', detail };
  }
  if (dialler.nodeId === listener.nodeId) {
    const isItself = dialler.directory === listener.directory;
    const detail = isItself
      ? `node ${dialler.nodeId} dialled itself`
      : `two nodes have the id ${dialler.nodeId}: directories ${dialler.directory} and ${listener.directory}`;
    return { reason: 'own-node', detail };
  }
  if (listener.nodeId !== expected) {
    const detail = `node ${dialler.nodeId} wanted node ${expected} and reached node ${listener.nodeId}`;
    return { reason: 'wrong-node', detail };
  }
  return null;
};

/** A blank node may talk to any other: that is how clusters are founded and joined. */
export const areOfTwoClusters = (one: string, other: string): boolean => one !== '' && other !== '' && one !== other;

/** `connected`: the sessions, both ways, that are open now. */
export const judgeKnown = (peer: PeerIdentity, connected: Iterable<PeerIdentity>): PeerRefusal | null => {
  for (const other of connected) {
    if (other.nodeId !== peer.nodeId) continue;
    if (other.directory !== peer.directory) {
      const detail = `${describePeer(peer)} has the id of ${describePeer(other)}, which is connected`;
      return { reason: 'duplicate-node', detail };
    }
    if (other.incarnation > peer.incarnation) {
      const detail = `${describePeer(peer)} was started again since, as incarnation ${other.incarnation}`;
      return { reason: 'stale-incarnation', detail };
    }
  }
  return null;
};

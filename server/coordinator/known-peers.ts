// Keeps sessions to the nodes that this one should talk to: those of its list until the image knows better, and every registered
// node that says where it can be reached.

import type { NodeId } from '@sluice/protocol/ids';
import type { ClusterImage } from '../state/cluster/image.ts';
import type { NodeAddress } from './membership.ts';

export interface PeerPorts {
  readonly addPeer: (nodeId: NodeId, address: string) => void;
  readonly removePeer: (nodeId: NodeId) => void;
}

export class KnownPeers {
  readonly #self: NodeId;
  readonly #ports: PeerPorts;
  readonly #addresses = new Map<NodeId, string>();
  readonly #listed: ReadonlySet<NodeId>;

  constructor(self: NodeId, ports: PeerPorts, listed: readonly NodeAddress[]) {
    this.#self = self;
    this.#ports = ports;
    this.#listed = new Set(listed.map(node => node.nodeId));
    for (const { nodeId, address } of listed) this.#add(nodeId, address);
  }

  /** All that there is a session to, or that one is tried to. */
  get nodes(): readonly NodeId[] {
    return [...this.#addresses.keys()];
  }

  follow(image: ClusterImage, before: ClusterImage): void {
    for (const { key, after } of before.brokers.differences(image.brokers)) {
      const address = after?.registration.peerAddress ?? '';
      if (address !== '') this.#add(key, address);
      else if (after === undefined && !this.#listed.has(key)) this.#remove(key);
    }
  }

  #add(nodeId: NodeId, address: string): void {
    if (nodeId === this.#self || this.#addresses.get(nodeId) === address) return;
    this.#addresses.set(nodeId, address);
    this.#ports.addPeer(nodeId, address);
  }

  #remove(nodeId: NodeId): void {
    if (this.#addresses.delete(nodeId)) this.#ports.removePeer(nodeId);
  }
}

// The real peer links: server/io/peer-link.ts over gRPC streams. One port for what peers dial, one dialler for each peer.
//
// A session ends at both of its ends within PEER_PING_MS * (PEER_SILENT_LOOKS_MAX + 1) of a peer that falls silent
// (life-watch.ts).

import type { NodeId } from '@sluice/protocol/ids';
import { assert } from '../../../base/assert.ts';
import { PEER_CALL_REQUEST_BYTES_MAX } from '../../../base/limits.ts';
import type { Logger } from '../../../base/logger.ts';
import type { Clock } from '../../clock.ts';
import type {
  CallOptions,
  CallOutcome,
  Frame,
  Lane,
  PeerHandlers,
  PeerIdentity,
  PeerLinks,
  PeerState,
} from '../../peer-link.ts';
import type { Random } from '../../random.ts';
import { AcceptedLane } from './accepted-lane.ts';
import { PEER_PROTOCOL_VERSION } from './admission.ts';
import { RequestBudget } from './incoming-calls.ts';
import { IncomingSessions } from './incoming-sessions.ts';
import type { LinkContext } from './link-context.ts';
import { PeerDialler } from './peer-dialler.ts';
import { PeerPort } from './peer-port.ts';
import { RefusalLog } from './refusal-log.ts';

export interface PeerLinkOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly local: PeerIdentity;
  /** The cluster's secret; null where a cluster has none, which is a secret like any other to one that has. */
  readonly secret: Uint8Array | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Another one than this release speaks: for tests of what a later release will meet. */
  readonly protocolVersion?: number;
}

/** Rejects with the system's error when the address cannot be bound. */
export const listenPeers = async (options: PeerLinkOptions): Promise<PeerLinks> => {
  const port = new PeerPort();
  const address = await port.bind(options.listen);
  return new RealPeerLinks(address, port, options);
};

class RealPeerLinks implements PeerLinks {
  readonly address: string;
  readonly #port: PeerPort;
  readonly #options: PeerLinkOptions;
  readonly #diallers = new Map<NodeId, PeerDialler>();
  #clusterId: string;
  #running: { readonly context: LinkContext; readonly sessions: IncomingSessions } | null = null;

  constructor(address: string, port: PeerPort, options: PeerLinkOptions) {
    this.address = address;
    this.#port = port;
    this.#options = options;
    this.#clusterId = options.local.clusterId;
  }

  start(handlers: PeerHandlers): void {
    assert(this.#running === null, 'peer links start once');
    const { clock, random, logger, local, secret, protocolVersion = PEER_PROTOCOL_VERSION } = this.#options;
    const context: LinkContext = {
      clock,
      random,
      logger,
      secret: secret ?? new Uint8Array(),
      handlers,
      local: () => ({ ...local, clusterId: this.#clusterId, protocolVersion }),
      connected: () => this.#connected(),
      seen: peer => this.#seen(peer),
    };
    const sessions = new IncomingSessions(context, new RequestBudget(PEER_CALL_REQUEST_BYTES_MAX));
    const refusals = new RefusalLog(logger, clock);
    this.#running = { context, sessions };
    this.#port.start({
      clock,
      logger,
      accept: (call, connection) => void new AcceptedLane(call, { context, sessions, refusals, connection }),
    });
    for (const dialler of this.#diallers.values()) dialler.start();
  }

  open(to: NodeId, address: string): void {
    if (this.#diallers.get(to)?.address === address) return;
    this.forget(to);
    assert(this.#running !== null, 'peers are opened after the links were started');
    const dialler = new PeerDialler(to, address, this.#running.context);
    this.#diallers.set(to, dialler);
    dialler.start();
  }

  forget(to: NodeId): void {
    this.#diallers.get(to)?.stop();
    this.#diallers.delete(to);
  }

  state(to: NodeId): PeerState {
    return this.#diallers.get(to)?.state ?? { kind: 'closed' };
  }

  joinCluster(clusterId: string): void {
    this.#clusterId = clusterId;
    for (const dialler of this.#diallers.values()) dialler.clusterJoined(clusterId);
    this.#running?.sessions.clusterJoined(clusterId);
  }

  hasRoom(to: NodeId, lane: Lane): boolean {
    return this.#diallers.get(to)?.hasRoom(lane) ?? false;
  }

  send(to: NodeId, lane: Lane, frame: Frame): boolean {
    return this.#diallers.get(to)?.send(lane, frame) ?? false;
  }

  whenDrained(to: NodeId, lane: Lane, listener: () => void): void {
    this.#diallers.get(to)?.whenDrained(lane, listener);
  }

  call(to: NodeId, request: Uint8Array, options: CallOptions): Promise<CallOutcome> {
    const dialler = this.#diallers.get(to);
    return dialler?.call(request, options) ?? Promise.resolve({ kind: 'not-sent', reason: 'no-session' });
  }

  async close(): Promise<void> {
    for (const to of [...this.#diallers.keys()]) this.forget(to);
    this.#running?.sessions.endAll();
    await this.#port.close();
  }

  *#connected(): Generator<PeerIdentity> {
    if (this.#running !== null) yield* this.#running.sessions.peers();
    for (const { state } of this.#diallers.values()) if (state.kind === 'up') yield state.identity;
  }

  #seen(peer: PeerIdentity): void {
    this.#running?.sessions.seen(peer);
    for (const dialler of this.#diallers.values()) dialler.seen(peer);
    this.#diallers.get(peer.nodeId)?.hurry();
  }
}

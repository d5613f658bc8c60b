// How brokers talk to each other: frames on two lanes and calls with answers, between nodes that proved to each other that
// they know the cluster's secret.
//
//   control   heartbeats, votes, acknowledgements: small and never behind anything large
//   bulk      batches and snapshots
//   calls     a request and its answer, many at once, each up to 17 MiB
//
// A *session* leads from one node to another and carries what the first one sends: frames, calls and the answers to
// these calls. It is made of all lanes together: it is up when every lane is open, and when one breaks, all do, and it is made
// again after a back-off. What A sends to B and what B sends to A are two sessions, which live and die apart (a cut may be
// one-way).
//
// Contract (what the real and the simulated implementation both keep):
// - Frames of one lane of one session arrive in the order of `send`, each whole and as it was sent, or not at all; when one is
//   lost, everything behind it on its session is lost too. Nothing is promised between lanes, sessions and calls.
// - `send` that answers true handed the frame over; it says nothing about arrival. The bytes belong to the link from then
//   on and are not changed by the caller any more. What arrives belongs to the receiver.
// - The link keeps no frame that the connection does not take: `send` answers false while there is no session or the lane has not
//   drained. Whoever asks `hasRoom` first builds nothing in vain.
// - `up` and `down` of a session alternate. A session that breaks is retried for as long as it is open, with back-off and jitter.
// - After a frame or a call of one incarnation of a directory, nothing of an older one arrives.
// - A call ends in exactly one way: `answer`; `not-sent`: its handler did not and will not run; `unknown`: it may have. All
//   calls of a session end with it.
// - No handler runs, and no promise is settled, within a call of this interface.
// - A handler's exception or rejection is a broken invariant and is not caught.

import type { NodeId } from '@sluice/protocol/ids';

export type Lane = 'control' | 'bulk';

/** One life of a node: who it says it is, proven by the secret. */
export interface PeerIdentity {
  readonly nodeId: NodeId;
  /** UUID of the data directory. */
  readonly directory: string;
  /** Grows with each start on the same directory. */
  readonly incarnation: number;
  /** Empty while the node belongs to no cluster; as of the handshake. */
  readonly clusterId: string;
}

/**
 * `protocol-version`  the two releases speak different versions of this protocol
 * `cluster-id`        both belong to clusters, and not to the same one
 * `own-node`          the peer has the node id of the one that it talks to: one node is configured twice, or dialled itself
 * `wrong-node`        another node than expected listens at the address
 * `secret`            the proof was made with another secret, or without one
 * `duplicate-node`    the node id is in use, right now, by a node with another data directory
 * `stale-incarnation` a later start of the same directory is connected already
 * `wiped-directory`   the cluster knows the node id with another data directory; the owner of the link says so (`admit`)
 * `not-admitted`      any other reason of the owner
 */
export type PeerRefusalReason =
  | 'protocol-version'
  | 'cluster-id'
  | 'own-node'
  | 'wrong-node'
  | 'secret'
  | 'duplicate-node'
  | 'stale-incarnation'
  | 'wiped-directory'
  | 'not-admitted';

export interface PeerRefusal {
  readonly reason: PeerRefusalReason;
  /** One sentence for the log, the same on both sides. */
  readonly detail: string;
}

export type NotSentReason = 'no-session' | 'crowded' | 'cancelled' | 'timed-out';
export type UnknownReason = 'session-ended' | 'crowded' | 'cancelled' | 'timed-out';

export type CallOutcome =
  | { readonly kind: 'answer'; readonly bytes: Uint8Array }
  | { readonly kind: 'not-sent'; readonly reason: NotSentReason }
  | { readonly kind: 'unknown'; readonly reason: UnknownReason };

export interface CallOptions {
  readonly timeoutMs: number;
  /** Ends the call early: the other side's handler is told, and what it answers is dropped. */
  readonly signal?: AbortSignal;
}

/** What happens to the one that listens. */
export interface PeerHandlers {
  /**
   * On the bulk lane a promise holds the lane of that session back until it is settled: nothing further of it is handed over,
   * and little is read. The control lane is never held: what it carries is taken as it comes.
   */
  frame(from: PeerIdentity, lane: Lane, frame: Uint8Array): void | Promise<void>;
  /** `signal` aborts when nobody waits for the answer any more. */
  call(from: PeerIdentity, request: Uint8Array, signal: AbortSignal): Promise<Uint8Array>;
  /** The session to that node is up. */
  up(to: PeerIdentity): void;
  /** It is not any more, and all calls on it have ended or are ending. Not called for what the caller ended itself. */
  down(to: PeerIdentity): void;
  /** The session to that node was refused, by it or here. Told once for as long as the reason stays the same. */
  refused(to: NodeId, refusal: PeerRefusal): void;
  /** What the owner knows against a peer that has proven the secret; asked on both sides, at every handshake. */
  admit(peer: PeerIdentity): PeerRefusal | null;
}

export type PeerState =
  | { readonly kind: 'closed' }
  | { readonly kind: 'connecting'; readonly refusal: PeerRefusal | null }
  | { readonly kind: 'up'; readonly identity: PeerIdentity };

/** A frame may come in pieces, which are joined on the way out. */
export type Frame = Uint8Array | readonly Uint8Array[];

export interface PeerLinks {
  /** HOST:PORT where peers reach this node. */
  readonly address: string;
  /** Begins to listen and to dial. Called once, after the owner is ready for what it may be told. */
  start(handlers: PeerHandlers): void;
  /** Keeps a session to that node. Another address than before ends the session and dials there. */
  open(to: NodeId, address: string): void;
  /** Ends the session and keeps none. */
  forget(to: NodeId): void;
  state(to: NodeId): PeerState;
  /** From now on the node belongs to this cluster: sessions with nodes of others end. */
  joinCluster(clusterId: string): void;
  hasRoom(to: NodeId, lane: Lane): boolean;
  /** At most PEER_FRAME_BYTES_MAX, which is asserted, and at least one byte. */
  send(to: NodeId, lane: Lane, frame: Frame): boolean;
  /** Calls `listener` once, as soon as the lane has room (now, if it has). Forgotten with the peer. */
  whenDrained(to: NodeId, lane: Lane, listener: () => void): void;
  /** At most PEER_CALL_BYTES_MAX each way, which is asserted. Never rejects. */
  call(to: NodeId, request: Uint8Array, options: CallOptions): Promise<CallOutcome>;
  /** Ends all sessions, both ways, and stops listening. */
  close(): Promise<void>;
}

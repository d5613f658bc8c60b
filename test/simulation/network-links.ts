// The peer links of one life of a simulated node: server/io/peer-link.ts over test/simulation/network.ts.
//
// After `kill` nothing of it is told and no promise of it settles, as in a process that is gone.

import { assert } from '../../server/base/assert.ts';
import {
  PEER_BULK_PENDING_BYTES,
  PEER_CALL_BYTES_MAX,
  PEER_CONTROL_PENDING_BYTES,
  PEER_FRAME_BYTES_MAX,
  PEER_SETTLED_MS,
} from '../../server/base/limits.ts';
import type {
  CallOptions,
  CallOutcome,
  Frame,
  Lane,
  PeerHandlers,
  PeerIdentity,
  PeerLinks,
  PeerRefusal,
  PeerRefusalReason,
  PeerState,
} from '../../server/io/peer-link.ts';
import {
  areOfTwoClusters,
  PEER_PROTOCOL_VERSION,
  type Introduction,
} from '../../server/io/real/peer-link/admission.ts';
import { Backoff } from '../../server/io/real/peer-link/backoff.ts';
import type { NodeId } from '@sluice/protocol/ids';
import type { SimulatedNetwork } from './network.ts';
import type { SimulatedSession } from './network-session.ts';

export interface SimulatedNodeOptions {
  /** HOST:PORT. Another life of the node has the same. */
  readonly address: string;
  readonly local: PeerIdentity;
  readonly secret: string;
  readonly protocolVersion?: number;
}

interface Dialler {
  readonly to: NodeId;
  readonly address: string;
  readonly backoff: Backoff;
  readonly waiting: Record<Lane, (() => void)[]>;
  session: SimulatedSession | null;
  upSinceMs: number;
  refusal: PeerRefusal | null;
  toldReason: PeerRefusalReason | null;
}

const pendingBytesMax = { control: PEER_CONTROL_PENDING_BYTES, bulk: PEER_BULK_PENDING_BYTES } as const;

const join = (frame: Frame): Uint8Array => {
  if (frame instanceof Uint8Array) return frame.slice();
  let length = 0;
  for (const part of frame) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of frame) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
};

export class SimulatedPeerLinks implements PeerLinks {
  readonly address: string;
  readonly secret: string;
  readonly #network: SimulatedNetwork;
  readonly #local: PeerIdentity;
  readonly #protocolVersion: number;
  readonly #diallers = new Map<NodeId, Dialler>();
  /** What peers dialled, by their node id. */
  readonly #heard = new Map<number, SimulatedSession>();
  #clusterId: string;
  #handlers: PeerHandlers | null = null;
  #isDead = false;
  #isClosed = false;

  constructor(network: SimulatedNetwork, options: SimulatedNodeOptions) {
    this.#network = network;
    this.address = options.address;
    this.secret = options.secret;
    this.#local = options.local;
    this.#clusterId = options.local.clusterId;
    this.#protocolVersion = options.protocolVersion ?? PEER_PROTOCOL_VERSION;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Another life may have the address. */
  get isGone(): boolean {
    return this.#isDead || this.#isClosed;
  }

  get isListening(): boolean {
    return this.#handlers !== null && !this.#isDead;
  }

  get nodeId(): NodeId {
    return this.#local.nodeId;
  }

  get identity(): PeerIdentity {
    return { ...this.#local, clusterId: this.#clusterId };
  }

  get introduction(): Introduction {
    return { ...this.identity, protocolVersion: this.#protocolVersion };
  }

  start(handlers: PeerHandlers): void {
    assert(this.#handlers === null, 'peer links start once');
    this.#handlers = handlers;
  }

  open(to: NodeId, address: string): void {
    if (this.#diallers.get(to)?.address === address) return;
    this.forget(to);
    const dialler: Dialler = {
      to,
      address,
      backoff: new Backoff(this.#network.random),
      waiting: { control: [], bulk: [] },
      session: null,
      upSinceMs: 0,
      refusal: null,
      toldReason: null,
    };
    this.#diallers.set(to, dialler);
    this.#dialAfter(dialler, 0);
  }

  forget(to: NodeId): void {
    const dialler = this.#diallers.get(to);
    this.#diallers.delete(to);
    dialler?.session?.endDialled();
  }

  state(to: NodeId): PeerState {
    const dialler = this.#diallers.get(to);
    if (dialler === undefined) return { kind: 'closed' };
    if (dialler.session !== null) return { kind: 'up', identity: dialler.session.listenerIdentity };
    return { kind: 'connecting', refusal: dialler.refusal };
  }

  joinCluster(clusterId: string): void {
    this.#clusterId = clusterId;
    this.#later(() => {
      for (const { session } of this.#diallers.values())
        if (session !== null && areOfTwoClusters(session.listenerIdentity.clusterId, clusterId)) session.endDialled();
      for (const session of this.#heard.values())
        if (areOfTwoClusters(session.diallerIdentity.clusterId, clusterId)) session.endHeard();
    });
  }

  hasRoom(to: NodeId, lane: Lane): boolean {
    const session = this.#diallers.get(to)?.session ?? null;
    return session !== null && session.pendingBytes(lane) < pendingBytesMax[lane];
  }

  send(to: NodeId, lane: Lane, frame: Frame): boolean {
    const session = this.#diallers.get(to)?.session ?? null;
    if (session === null || !this.hasRoom(to, lane)) return false;
    const bytes = join(frame);
    assert(bytes.length > 0 && bytes.length <= PEER_FRAME_BYTES_MAX, 'a frame is neither empty nor beyond its limit');
    session.send(lane, bytes);
    return true;
  }

  whenDrained(to: NodeId, lane: Lane, listener: () => void): void {
    const dialler = this.#diallers.get(to);
    if (dialler === undefined) return;
    dialler.waiting[lane].push(listener);
    if (this.hasRoom(to, lane)) this.#later(() => this.#wake(dialler, lane));
  }

  call(to: NodeId, request: Uint8Array, options: CallOptions): Promise<CallOutcome> {
    assert(request.length <= PEER_CALL_BYTES_MAX, 'a request of a call is within its limit');
    const session = this.#diallers.get(to)?.session ?? null;
    return new Promise(resolve => {
      const settle = (outcome: CallOutcome): void => this.#later(() => resolve(outcome));
      if (options.signal?.aborted === true) settle({ kind: 'not-sent', reason: 'cancelled' });
      else if (session === null) settle({ kind: 'not-sent', reason: 'no-session' });
      else session.call(request.slice(), options, settle);
    });
  }

  close(): Promise<void> {
    for (const to of [...this.#diallers.keys()]) this.forget(to);
    this.#handlers = null;
    this.#isClosed = true;
    for (const session of [...this.#heard.values()]) session.endHeard();
    return new Promise(resolve => this.#later(resolve));
  }

  /** The process is gone: peers are told by the machine that it ran on, or by their own patience. */
  kill(how: 'process' | 'machine' = this.#network.random.pick(['process', 'machine'])): void {
    if (this.#isDead) return;
    this.#isDead = true;
    for (const { session } of this.#diallers.values()) if (session !== null) this.#network.loseDialler(session, how);
    for (const session of this.#heard.values()) this.#network.loseListener(session, how);
  }

  /** What the handshake asks of this end, once the secret is proven. */
  admit(peer: PeerIdentity): PeerRefusal | null {
    return this.#handlers?.admit(peer) ?? null;
  }

  *connected(): Generator<PeerIdentity> {
    for (const session of this.#heard.values()) yield session.diallerIdentity;
    for (const { session } of this.#diallers.values()) if (session !== null) yield session.listenerIdentity;
  }

  /** A peer dialled, and was admitted. */
  heard(session: SimulatedSession): void {
    const peer = session.diallerIdentity;
    this.#heard.get(peer.nodeId)?.endHeard();
    this.#heard.set(peer.nodeId, session);
    this.#seen(peer);
  }

  heardEnded(session: SimulatedSession): void {
    if (this.#heard.get(session.diallerIdentity.nodeId) === session) this.#heard.delete(session.diallerIdentity.nodeId);
  }

  frameArrived(from: PeerIdentity, lane: Lane, frame: Uint8Array): void | Promise<void> {
    this.#network.trace(`${from.nodeId}>${this.#local.nodeId} ${lane} ${frame.length}`);
    const held = this.#handlers?.frame(from, lane, frame);
    return lane === 'control' ? undefined : held;
  }

  callArrived(from: PeerIdentity, request: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    this.#network.trace(`${from.nodeId}>${this.#local.nodeId} call ${request.length}`);
    // A node that closed its links does not answer.
    return this.#handlers?.call(from, request, signal) ?? new Promise(() => {});
  }

  drained(session: SimulatedSession, lane: Lane): void {
    const dialler = this.#diallers.get(session.listenerIdentity.nodeId);
    if (dialler?.session === session && !this.#isDead) this.#wake(dialler, lane);
  }

  dialledEnded(session: SimulatedSession): void {
    const dialler = this.#diallers.get(session.listenerIdentity.nodeId);
    if (this.#isDead || dialler?.session !== session) return;
    dialler.session = null;
    this.#network.trace(`${this.#local.nodeId}>${dialler.to} down`);
    if (this.#network.scheduler.nowMs - dialler.upSinceMs >= PEER_SETTLED_MS) dialler.backoff.reset();
    this.#dialAfter(dialler, dialler.backoff.nextMs());
    this.#later(() => {
      if (this.#diallers.get(dialler.to) === dialler) this.#handlers?.down(session.listenerIdentity);
    });
  }

  #dialAfter(dialler: Dialler, waitMs: number): void {
    this.#network.scheduler.after(waitMs, () => {
      if (this.#isDead || this.#diallers.get(dialler.to) !== dialler) return;
      this.#network.dial(this, dialler, result => {
        if (this.#isDead || this.#diallers.get(dialler.to) !== dialler) {
          if (result.kind === 'up') result.session.endDialled();
        } else if (result.kind === 'up') {
          this.#up(dialler, result.session);
        } else {
          if (result.kind === 'refused') this.#refused(dialler, result.refusal);
          this.#dialAfter(dialler, dialler.backoff.nextMs());
        }
      });
    });
  }

  #up(dialler: Dialler, session: SimulatedSession): void {
    dialler.session = session;
    dialler.upSinceMs = this.#network.scheduler.nowMs;
    dialler.refusal = null;
    dialler.toldReason = null;
    this.#network.trace(`${this.#local.nodeId}>${dialler.to} up ${session.listenerIdentity.incarnation}`);
    this.#seen(session.listenerIdentity);
    this.#handlers?.up(session.listenerIdentity);
    this.#wake(dialler, 'control');
    this.#wake(dialler, 'bulk');
  }

  #refused(dialler: Dialler, refusal: PeerRefusal): void {
    dialler.refusal = refusal;
    dialler.backoff.toLongest();
    this.#network.trace(`${this.#local.nodeId}>${dialler.to} ${refusal.reason}`);
    if (dialler.toldReason === refusal.reason) return;
    dialler.toldReason = refusal.reason;
    this.#handlers?.refused(dialler.to, refusal);
  }

  #wake(dialler: Dialler, lane: Lane): void {
    // Those that wait now: one that asks again at once has its next turn later.
    for (let count = dialler.waiting[lane].length; count > 0 && this.hasRoom(dialler.to, lane); count--)
      dialler.waiting[lane].shift()?.();
  }

  /** What leads to an earlier life of the peer, or comes from one, is over. */
  #seen(peer: PeerIdentity): void {
    const isOlder = (other: PeerIdentity): boolean =>
      other.directory === peer.directory && other.incarnation < peer.incarnation;
    for (const session of [...this.#heard.values()]) if (isOlder(session.diallerIdentity)) session.endHeard();
    for (const { session } of [...this.#diallers.values()])
      if (session !== null && isOlder(session.listenerIdentity)) session.endDialled();
  }

  #later(action: () => void): void {
    this.#network.scheduler.after(0, () => {
      if (!this.#isDead) action();
    });
  }
}

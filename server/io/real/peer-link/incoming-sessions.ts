// The sessions of peers that dialled this node, and their lanes.
//
// A control lane begins a session; bulk and calls join it by the session's own text. Whatever ends one lane ends all.
// A node has one session at most: a newer one ends the one before, as the peer would have if it had noticed.

import type { PeerIdentity } from '../../peer-link.ts';
import { areOfTwoClusters } from './admission.ts';
import type { Attempt, LaneName } from './handshake.ts';
import { IncomingCalls, type RequestBudget } from './incoming-calls.ts';
import type { LinkContext } from './link-context.ts';
import type { MessageStream } from './message-stream.ts';

export class IncomingSession {
  readonly peer: PeerIdentity;
  readonly key: string;
  readonly #lanes = new Map<LaneName, MessageStream>();
  readonly #context: LinkContext;
  readonly #budget: RequestBudget;
  #calls: IncomingCalls | null = null;
  #isEnded = false;

  constructor(peer: PeerIdentity, key: string, shared: { context: LinkContext; budget: RequestBudget }) {
    this.peer = peer;
    this.key = key;
    this.#context = shared.context;
    this.#budget = shared.budget;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** False when it has that lane already. */
  join(lane: LaneName, stream: MessageStream): boolean {
    if (this.#isEnded || this.#lanes.has(lane)) return false;
    this.#lanes.set(lane, stream);
    if (lane === 'calls') {
      const { peer } = this;
      const { handlers } = this.#context;
      this.#calls = new IncomingCalls(stream, this.#budget, (request, signal) => handlers.call(peer, request, signal));
    }
    return true;
  }

  /** Null, what to wait for, or what is wrong with the peer. */
  frame(lane: LaneName, payload: Uint8Array): void | Promise<void> | string {
    if (lane === 'calls') return this.#calls?.take(payload) ?? undefined;
    const held = this.#context.handlers.frame(this.peer, lane, payload);
    // Signs of life stand behind what is held.
    return lane === 'control' ? undefined : held;
  }

  taken(): void {
    this.#calls?.pump();
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    for (const stream of this.#lanes.values()) stream.cut();
    this.#calls?.endAll();
  }
}

export class IncomingSessions {
  readonly #context: LinkContext;
  readonly #budget: RequestBudget;
  /** By node id. */
  readonly #sessions = new Map<number, IncomingSession>();

  constructor(context: LinkContext, budget: RequestBudget) {
    this.#context = context;
    this.#budget = budget;
  }

  *peers(): Generator<PeerIdentity> {
    for (const session of this.#sessions.values()) yield session.peer;
  }

  /** Null when the lane belongs to no session that is still there. */
  open(peer: PeerIdentity, attempt: Attempt, stream: MessageStream): IncomingSession | null {
    const known = this.#sessions.get(peer.nodeId);
    if (attempt.lane === 'control') {
      if (known !== undefined) this.end(known);
      const session = new IncomingSession(peer, attempt.session, { context: this.#context, budget: this.#budget });
      this.#sessions.set(peer.nodeId, session);
      session.join('control', stream);
      return session;
    }
    const isIts =
      known?.key === attempt.session &&
      known.peer.directory === peer.directory &&
      known.peer.incarnation === peer.incarnation;
    return isIts && known.join(attempt.lane, stream) ? known : null;
  }

  end(session: IncomingSession): void {
    if (this.#sessions.get(session.peer.nodeId) === session) this.#sessions.delete(session.peer.nodeId);
    session.end();
  }

  /** A later life of the peer was met. */
  seen(peer: PeerIdentity): void {
    const known = this.#sessions.get(peer.nodeId);
    if (known?.peer.directory === peer.directory && known.peer.incarnation < peer.incarnation) this.end(known);
  }

  clusterJoined(clusterId: string): void {
    for (const session of this.#sessions.values()) {
      if (areOfTwoClusters(session.peer.clusterId, clusterId)) this.end(session);
    }
  }

  endAll(): void {
    for (const session of this.#sessions.values()) this.end(session);
  }
}

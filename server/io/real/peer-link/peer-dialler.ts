// The session from this node to one peer: dialled, lost and dialled again for as long as somebody wants it.
//
//   waiting ─→ control ─→ bulk and calls ─→ up
//      ↑          │              │          │
//      └──────────┴── back-off ──┴──────────┘
//
// Invariant: `lanes` holds the connections of the present attempt, and nothing of an earlier one is told.

import { randomBytes } from 'node:crypto';
import type { NodeId } from '@sluice/protocol/ids';
import { PEER_BULK_PENDING_BYTES, PEER_CONTROL_PENDING_BYTES, PEER_SETTLED_MS } from '../../../base/limits.ts';
import type { Timer } from '../../clock.ts';
import type {
  CallOptions,
  CallOutcome,
  Frame,
  Lane,
  PeerIdentity,
  PeerRefusal,
  PeerRefusalReason,
  PeerState,
} from '../../peer-link.ts';
import { areOfTwoClusters, judgeKnown } from './admission.ts';
import { Backoff } from './backoff.ts';
import { DialHandshake, NONCE_BYTES, SESSION_BYTES, type LaneName } from './handshake.ts';
import { DialledLane } from './dialled-lane.ts';
import type { LinkContext } from './link-context.ts';
import { OutgoingCalls } from './outgoing-calls.ts';
import { encodeFrame } from './wire.ts';

const pendingBytesMax = { control: PEER_CONTROL_PENDING_BYTES, bulk: PEER_BULK_PENDING_BYTES } as const;

/** A session that is up. */
interface Session {
  readonly peer: PeerIdentity;
  readonly lanes: Readonly<Record<LaneName, DialledLane>>;
  readonly calls: OutgoingCalls;
  readonly sinceMs: number;
}

export class PeerDialler {
  readonly address: string;
  readonly #to: NodeId;
  readonly #context: LinkContext;
  readonly #backoff: Backoff;
  readonly #lanes = new Map<LaneName, DialledLane>();
  readonly #opened = new Set<LaneName>();
  readonly #waiting: Record<Lane, (() => void)[]> = { control: [], bulk: [] };
  #peer: PeerIdentity | null = null;
  #session: Session | null = null;
  #refusal: PeerRefusal | null = null;
  #toldReason: PeerRefusalReason | null = null;
  #isSilentAbout = false;
  #retry: Timer | null = null;
  #isStopped = false;

  constructor(to: NodeId, address: string, context: LinkContext) {
    this.#to = to;
    this.address = address;
    this.#context = context;
    this.#backoff = new Backoff(context.random);
  }

  get state(): PeerState {
    if (this.#session !== null) return { kind: 'up', identity: this.#session.peer };
    return { kind: 'connecting', refusal: this.#refusal };
  }

  /** Soon: nothing is told within the caller's call. */
  start(): void {
    this.#retry = this.#context.clock.schedule(0, () => this.#dial());
  }

  stop(): void {
    this.#isStopped = true;
    this.#retry?.cancel();
    this.#cutLanes();
    this.#session?.calls.endAll();
    this.#session = null;
    this.#waiting.control = [];
    this.#waiting.bulk = [];
  }

  hasRoom(lane: Lane): boolean {
    return this.#session !== null && this.#session.lanes[lane].pendingBytes < pendingBytesMax[lane];
  }

  send(lane: Lane, frame: Frame): boolean {
    if (this.#session === null || !this.hasRoom(lane)) return false;
    this.#session.lanes[lane].write(encodeFrame(frame));
    return true;
  }

  whenDrained(lane: Lane, listener: () => void): void {
    this.#waiting[lane].push(listener);
    if (this.hasRoom(lane)) this.#context.clock.defer(() => this.#drained(lane));
  }

  call(request: Uint8Array, options: CallOptions): Promise<CallOutcome> {
    if (this.#session === null) return Promise.resolve({ kind: 'not-sent', reason: 'no-session' });
    return this.#session.calls.call(request, options);
  }

  /** A later life of the peer was met: what leads to an earlier one leads nowhere. */
  seen(peer: PeerIdentity): void {
    const known = this.#peer;
    if (known === null || known.directory !== peer.directory || known.incarnation >= peer.incarnation) return;
    this.#context.clock.defer(() => {
      if (this.#peer === known) this.#fail('the peer was started again');
    });
  }

  /** The peer is there, for it has dialled: no reason to wait for long. What was refused waits all the same. */
  hurry(): void {
    if (this.#retry === null || this.#refusal !== null) return;
    this.#retry.cancel();
    this.#backoff.reset();
    this.#retry = this.#context.clock.schedule(this.#backoff.nextMs(), () => this.#dial());
  }

  /** The node belongs to a cluster now. */
  clusterJoined(clusterId: string): void {
    const known = this.#peer;
    if (known === null || !areOfTwoClusters(known.clusterId, clusterId)) return;
    this.#context.clock.defer(() => {
      if (this.#peer === known) this.#fail('the peer belongs to another cluster');
    });
  }

  #dial(): void {
    this.#retry = null;
    const session = randomBytes(SESSION_BYTES).toString('hex');
    this.#openLane('control', session);
  }

  #openLane(lane: LaneName, session: string): void {
    const { clock, connected, handlers, local, secret } = this.#context;
    const handshake = new DialHandshake(
      {
        local: local(),
        secret,
        nonce: randomBytes(NONCE_BYTES),
        admit: peer => judgeKnown(peer, connected()) ?? handlers.admit(peer),
      },
      { expected: this.#to, attempt: { lane, session } },
    );
    const opened: DialledLane = new DialledLane(
      { address: this.address, lane, handshake, clock },
      {
        opened: peer => this.#laneOpened(opened, peer, session),
        frame: payload => this.#callPart(payload),
        taken: () => this.#taken(lane),
        refused: refusal => this.#refused(refusal),
        broken: detail => this.#fail(detail),
      },
    );
    this.#lanes.set(lane, opened);
  }

  #laneOpened({ lane }: DialledLane, peer: PeerIdentity, session: string): void {
    const known = this.#peer;
    if (known !== null && (known.directory !== peer.directory || known.incarnation !== peer.incarnation)) {
      this.#fail('the peer was started again');
      return;
    }
    this.#peer = peer;
    this.#opened.add(lane);
    if (lane === 'control') {
      this.#openLane('bulk', session);
      this.#openLane('calls', session);
    } else if (this.#opened.size === 3) {
      this.#up(peer);
    }
  }

  #up(peer: PeerIdentity): void {
    const { clock, handlers, logger, seen } = this.#context;
    const [control, bulk, calls] = [this.#lanes.get('control'), this.#lanes.get('bulk'), this.#lanes.get('calls')];
    if (control === undefined || bulk === undefined || calls === undefined) return;
    this.#session = {
      peer,
      lanes: { control, bulk, calls },
      calls: new OutgoingCalls(calls, clock),
      sinceMs: clock.monotonicMs(),
    };
    this.#refusal = null;
    this.#toldReason = null;
    this.#isSilentAbout = false;
    logger.info(
      { door: 'peer', peer: peer.nodeId, address: this.address, incarnation: peer.incarnation },
      'a peer is up',
    );
    seen(peer);
    handlers.up(peer);
    this.#drained('control');
    this.#drained('bulk');
  }

  #callPart(payload: Uint8Array): void {
    const fault = this.#session === null ? 'an answer before the session was up' : this.#session.calls.take(payload);
    if (fault !== null) this.#fail(fault);
  }

  #taken(lane: LaneName): void {
    if (lane === 'calls') this.#session?.calls.pump();
    else this.#drained(lane);
  }

  #drained(lane: Lane): void {
    // Those that wait now: one that asks again at once has its next turn later.
    for (let count = this.#waiting[lane].length; count > 0 && this.hasRoom(lane); count--)
      this.#waiting[lane].shift()?.();
  }

  #refused(refusal: PeerRefusal): void {
    const { handlers, logger } = this.#context;
    this.#refusal = refusal;
    this.#backoff.toLongest();
    const isNews = this.#toldReason !== refusal.reason;
    this.#toldReason = refusal.reason;
    if (isNews) {
      const { reason, detail } = refusal;
      logger.warn({ door: 'peer', peer: this.#to, address: this.address, reason, detail }, 'a peer was refused');
    }
    this.#isSilentAbout = true;
    this.#fail(refusal.detail);
    if (isNews) handlers.refused(this.#to, refusal);
  }

  /** Everything of this attempt ends, and another one follows. */
  #fail(detail: string): void {
    if (this.#isStopped || this.#retry !== null) return;
    const { clock, handlers, logger } = this.#context;
    const session = this.#session;
    this.#session = null;
    this.#cutLanes();
    if (session !== null && clock.monotonicMs() - session.sinceMs >= PEER_SETTLED_MS) this.#backoff.reset();
    this.#retry = clock.schedule(this.#backoff.nextMs(), () => this.#dial());
    if (session !== null || !this.#isSilentAbout) {
      this.#isSilentAbout = true;
      const fields = { door: 'peer', peer: this.#to, address: this.address, detail };
      if (session === null) logger.info(fields, 'a peer is not reached');
      else logger.warn(fields, 'a peer is down');
    }
    if (session === null) return;
    session.calls.endAll();
    handlers.down(session.peer);
  }

  #cutLanes(): void {
    for (const lane of this.#lanes.values()) lane.cut();
    this.#lanes.clear();
    this.#opened.clear();
    this.#peer = null;
  }
}

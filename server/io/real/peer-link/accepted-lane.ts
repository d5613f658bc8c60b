// One connection from a peer, from its first message to its end: handshake → a lane of a session → frames.

import { randomBytes } from 'node:crypto';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { PeerIdentity } from '../../peer-link.ts';
import { judgeKnown } from './admission.ts';
import { ListenHandshake, NONCE_BYTES, type Attempt, type HandshakeStep, type LaneName } from './handshake.ts';
import type { IncomingSession, IncomingSessions } from './incoming-sessions.ts';
import type { LinkContext } from './link-context.ts';
import { LifeWatch } from './life-watch.ts';
import { MessageStream } from './message-stream.ts';
import type { RefusalLog } from './refusal-log.ts';
import { decodeMessage, encodePing } from './wire.ts';

export type ConnectCall = ServerDuplexStream<Buffer, Buffer>;

/** The connection that a call came over, and nothing else. */
export interface AcceptedConnection {
  readonly remoteAddress: string;
  /** The peer knows the secret: its time is its own. */
  proven(): void;
  cut(): void;
}

interface Parts {
  readonly context: LinkContext;
  readonly sessions: IncomingSessions;
  readonly refusals: RefusalLog;
  readonly connection: AcceptedConnection;
}

export class AcceptedLane {
  readonly #parts: Parts;
  readonly #stream: MessageStream;
  readonly #handshake: ListenHandshake;
  #life: LifeWatch | null = null;
  #open: { readonly session: IncomingSession; readonly lane: LaneName } | null = null;

  constructor(call: ConnectCall, parts: Parts) {
    const { connected, handlers, local, secret } = parts.context;
    this.#parts = parts;
    this.#handshake = new ListenHandshake({
      local: local(),
      secret,
      nonce: randomBytes(NONCE_BYTES),
      admit: peer => judgeKnown(peer, connected()) ?? handlers.admit(peer),
    });
    const cut = (): void => {
      this.#life?.stop();
      parts.connection.cut();
    };
    this.#stream = new MessageStream(call, cut, {
      message: bytes => this.#message(bytes),
      taken: () => this.#open?.session.taken(),
      ended: detail => this.#end(detail),
    });
  }

  #message(bytes: Buffer): void | Promise<void> {
    if (this.#open === null) {
      this.#step(this.#handshake.take(bytes));
      return;
    }
    const { session, lane } = this.#open;
    const message = decodeMessage(bytes);
    this.#life?.heard();
    if (message.kind === 'ping' && lane === 'control') {
      this.#stream.write(encodePing());
      return;
    }
    if (message.kind !== 'frame') {
      this.#fault(message.kind === 'bad' ? message.detail : `a ${message.kind} on the open ${lane} lane`);
      return;
    }
    const held = session.frame(lane, message.payload);
    if (typeof held !== 'string') return held;
    this.#fault(held);
  }

  #step(step: HandshakeStep): void {
    const { connection, context, refusals } = this.#parts;
    switch (step.kind) {
      case 'say':
        this.#stream.write(step.bytes);
        return;
      case 'open':
        this.#opened(step.peer, step.attempt, step.bytes);
        return;
      case 'refused':
        refusals.refused({ refusal: step.refusal, peer: step.peer, remoteAddress: connection.remoteAddress });
        if (step.bytes === null) this.#stream.cut();
        else this.#stream.endWith(step.bytes);
        return;
      case 'bad':
        context.logger.debug({ door: 'peer', address: connection.remoteAddress, detail: step.detail }, 'no handshake');
        this.#stream.cut();
    }
  }

  #opened(peer: PeerIdentity, attempt: Attempt, proof: Buffer | null): void {
    const { connection, context, sessions } = this.#parts;
    const session = sessions.open(peer, attempt, this.#stream);
    if (session === null) {
      // Its control lane was lost meanwhile; the peer notices that too.
      this.#stream.cut();
      return;
    }
    this.#open = { session, lane: attempt.lane };
    connection.proven();
    if (attempt.lane === 'control') {
      const { clock } = context;
      this.#life = new LifeWatch({ clock, ask: () => {}, lost: () => this.#end('the peer is silent') });
    }
    context.seen(peer);
    if (proof !== null) this.#stream.write(proof);
  }

  #fault(detail: string): void {
    const { context, connection } = this.#parts;
    const peer = this.#open?.session.peer.nodeId;
    context.logger.warn(
      { door: 'peer', peer, address: connection.remoteAddress, detail },
      'a peer said what cannot be',
    );
    this.#end(detail);
  }

  #end(detail: string): void {
    this.#stream.cut();
    if (this.#open === null) return;
    const { session } = this.#open;
    if (!session.isEnded)
      this.#parts.context.logger.debug({ door: 'peer', peer: session.peer.nodeId, detail }, 'a peer left');
    this.#parts.sessions.end(session);
  }
}

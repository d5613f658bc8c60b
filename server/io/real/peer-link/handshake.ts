// The handshake of one connection, from either side, without the connection: messages in, messages and a verdict out.
//
//   dialler    hello → (judge Hello) proof → (check proof) open
//   listener   (judge Hello) hello → (check proof, admit) proof, open
//
// What is asked of the owner and of other sessions comes last, after the proof: a stranger learns nothing about them.
// The layout of a proof is in proto/sluice/internal/v1/peer.proto.

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { NodeId } from '@sluice/protocol/ids';
import { nodeId } from '@sluice/protocol/ids';
import { Lane, type Hello } from '@sluice/protocol/peer';
import { PEER_HELLO_BYTES_MAX } from '../../../base/limits.ts';
import type { PeerIdentity, PeerRefusal } from '../../peer-link.ts';
import { judgeHello, readIntroduction, type Introduction } from './admission.ts';
import { decodeMessage, encodeHello, encodeProof, encodeRefusal } from './wire.ts';

export const NONCE_BYTES = 32;
export const SESSION_BYTES = 16;

export type LaneName = 'control' | 'bulk' | 'calls';

const laneCodes = { control: Lane.CONTROL, bulk: Lane.BULK, calls: Lane.CALLS } as const;
const laneNames: ReadonlyMap<number, LaneName> = new Map([
  [Lane.CONTROL, 'control'],
  [Lane.BULK, 'bulk'],
  [Lane.CALLS, 'calls'],
]);

export interface HandshakeSide {
  readonly local: Introduction;
  readonly secret: Uint8Array;
  /** Fresh. */
  readonly nonce: Uint8Array;
  /** Asked once the peer has proven the secret. */
  readonly admit: (peer: PeerIdentity, attempt: Attempt) => PeerRefusal | null;
}

export interface Attempt {
  readonly lane: LaneName;
  /** Lanes with the same text belong together. */
  readonly session: string;
}

export type HandshakeStep =
  /** Say this and wait for more. */
  | { readonly kind: 'say'; readonly bytes: Buffer }
  /** Say this, if there is something to say; the lane is open. */
  | { readonly kind: 'open'; readonly peer: PeerIdentity; readonly attempt: Attempt; readonly bytes: Buffer | null }
  /** Say this, if it was refused here, and end. `peer` is who it claims to be. */
  | {
      readonly kind: 'refused';
      readonly refusal: PeerRefusal;
      readonly peer: PeerIdentity | null;
      readonly isProven: boolean;
      readonly bytes: Buffer | null;
    }
  | { readonly kind: 'bad'; readonly detail: string };

export interface Handshake {
  take(bytes: Uint8Array): HandshakeStep;
}

const bad = (detail: string): HandshakeStep => ({ kind: 'bad', detail });

const lengthBytes = (length: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(length);
  return bytes;
};

/** What both sides have seen, once they have: the bytes of the two Hellos. */
interface Transcript {
  readonly dialler: Uint8Array;
  readonly listener: Uint8Array;
}

const proofOf = (role: 'dialler' | 'listener', secret: Uint8Array, { dialler, listener }: Transcript): Buffer =>
  createHmac('sha256', secret)
    .update(`sluice-peer-${role}`)
    .update(lengthBytes(dialler.length))
    .update(dialler)
    .update(lengthBytes(listener.length))
    .update(listener)
    .digest();

const isSame = (mac: Uint8Array, expected: Uint8Array): boolean =>
  mac.length === expected.length && timingSafeEqual(mac, expected);

const wrongSecret = (dialler: PeerIdentity, listener: PeerIdentity): PeerRefusal => ({
  reason: 'secret',
  detail: `node ${dialler.nodeId} and node ${listener.nodeId} do not have the same cluster secret`,
});

interface Verdict {
  readonly refusal: PeerRefusal;
  readonly peer: PeerIdentity | null;
  readonly isProven: boolean;
}

const refuse = ({ refusal, peer, isProven }: Verdict): HandshakeStep => ({
  kind: 'refused',
  refusal,
  peer,
  isProven,
  bytes: encodeRefusal(refusal),
});

const refusedByPeer = (refusal: PeerRefusal, peer: PeerIdentity | null): HandshakeStep => ({
  kind: 'refused',
  refusal,
  peer,
  isProven: false,
  bytes: null,
});

const identityOf = ({ nodeId, directory, incarnation, clusterId }: Introduction): PeerIdentity => ({
  nodeId,
  directory,
  incarnation,
  clusterId,
});

const helloOf = (local: Introduction, nonce: Uint8Array) => ({
  protocolVersion: local.protocolVersion,
  clusterId: local.clusterId,
  nodeId: local.nodeId,
  directory: local.directory,
  incarnation: BigInt(local.incarnation),
  nonce,
});

const isHello = (hello: Hello, bytes: Uint8Array): boolean =>
  hello.nonce.length === NONCE_BYTES && bytes.length <= PEER_HELLO_BYTES_MAX;

export class DialHandshake implements Handshake {
  /** To be said first. */
  readonly hello: Buffer;
  readonly #side: HandshakeSide;
  readonly #expected: NodeId;
  readonly #attempt: Attempt;
  #transcript: Transcript | null = null;
  #peer: Introduction | null = null;

  constructor(side: HandshakeSide, to: { readonly expected: NodeId; readonly attempt: Attempt }) {
    this.#side = side;
    this.#expected = to.expected;
    this.#attempt = to.attempt;
    this.hello = encodeHello({
      ...helloOf(side.local, side.nonce),
      expectedNodeId: to.expected,
      lane: laneCodes[to.attempt.lane],
      session: Buffer.from(to.attempt.session, 'hex'),
    });
  }

  take(bytes: Uint8Array): HandshakeStep {
    const message = decodeMessage(bytes);
    if (message.kind === 'bad') return message;
    if (message.kind === 'refusal') return refusedByPeer(message.refusal, this.#peer);
    if (message.kind === 'hello' && this.#transcript === null) return this.#hello(message.hello, bytes);
    if (message.kind === 'proof' && this.#transcript !== null) return this.#proof(message.mac);
    return bad(`a ${message.kind} where none is due`);
  }

  #hello(hello: Hello, bytes: Uint8Array): HandshakeStep {
    const { local, secret } = this.#side;
    const peer = readIntroduction(hello);
    if (peer === null || !isHello(hello, bytes)) return bad('an impossible Hello');
    this.#peer = peer;
    const refusal = judgeHello(local, peer, this.#expected);
    if (refusal !== null) return refuse({ refusal, peer, isProven: false });
    this.#transcript = { dialler: this.hello, listener: bytes };
    return { kind: 'say', bytes: encodeProof(proofOf('dialler', secret, this.#transcript)) };
  }

  #proof(mac: Uint8Array): HandshakeStep {
    const { local, secret, admit } = this.#side;
    if (this.#transcript === null || this.#peer === null) return bad('a proof where none is due');
    const peer = identityOf(this.#peer);
    if (!isSame(mac, proofOf('listener', secret, this.#transcript)))
      return refuse({ refusal: wrongSecret(local, peer), peer, isProven: false });
    const refusal = admit(peer, this.#attempt);
    if (refusal !== null) return refuse({ refusal, peer, isProven: true });
    return { kind: 'open', peer, attempt: this.#attempt, bytes: null };
  }
}

export class ListenHandshake implements Handshake {
  readonly #side: HandshakeSide;
  #heard: { readonly transcript: Transcript; readonly peer: PeerIdentity; readonly attempt: Attempt } | null = null;

  constructor(side: HandshakeSide) {
    this.#side = side;
  }

  take(bytes: Uint8Array): HandshakeStep {
    const message = decodeMessage(bytes);
    if (message.kind === 'bad') return message;
    if (message.kind === 'refusal') return refusedByPeer(message.refusal, this.#heard?.peer ?? null);
    if (message.kind === 'hello' && this.#heard === null) return this.#hello(message.hello, bytes);
    if (message.kind === 'proof' && this.#heard !== null) return this.#proof(message.mac);
    return bad(`a ${message.kind} where none is due`);
  }

  #hello(hello: Hello, bytes: Uint8Array): HandshakeStep {
    const { local, nonce } = this.#side;
    const peer = readIntroduction(hello);
    const lane = laneNames.get(hello.lane);
    const isGood = lane !== undefined && hello.session.length === SESSION_BYTES && isHello(hello, bytes);
    if (peer === null || lane === undefined || !isGood || hello.expectedNodeId > 0x7fffffff)
      return bad('an impossible Hello');
    const refusal = judgeHello(peer, local, nodeId(hello.expectedNodeId));
    if (refusal !== null) return refuse({ refusal, peer, isProven: false });
    const answer = encodeHello(helloOf(local, nonce));
    this.#heard = {
      transcript: { dialler: bytes, listener: answer },
      peer: identityOf(peer),
      attempt: { lane, session: Buffer.from(hello.session).toString('hex') },
    };
    return { kind: 'say', bytes: answer };
  }

  #proof(mac: Uint8Array): HandshakeStep {
    const { local, secret, admit } = this.#side;
    if (this.#heard === null) return bad('a proof where none is due');
    const { transcript, peer, attempt } = this.#heard;
    if (!isSame(mac, proofOf('dialler', secret, transcript)))
      return refuse({ refusal: wrongSecret(peer, local), peer, isProven: false });
    const refusal = admit(peer, attempt);
    if (refusal !== null) return refuse({ refusal, peer, isProven: true });
    return { kind: 'open', peer, attempt, bytes: encodeProof(proofOf('listener', secret, transcript)) };
  }
}

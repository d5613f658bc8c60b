// What nodes ask of each other beside Raft: one table of kinds, to which each part of the broker adds its own.
//
//   request   kind u8 | the rest is the kind's own
//   answer    what became of it u8 | the rest is the kind's own
//               0  carried out     1  nobody here knows this kind     2  too many of this kind are under way: it was not begun
//
// Answers of 1 and 2 say for certain that nothing was done. The links bound what all requests of a peer hold in memory; here
// each kind is bounded by itself.

import { assert } from '../base/assert.ts';
import { PEER_REQUESTS_PER_KIND_MAX } from '../base/limits.ts';
import type { CallOptions, CallOutcome, PeerIdentity, PeerLinks } from '../io/peer-link.ts';
import type { NodeId } from '@sluice/protocol/ids';

/** The first byte: 1 to 63 are the broker's, 64 to 127 the controller's, 128 to 191 replication's own, 192 and up about groups. A number that was given is never given again. */
export type PeerRequestKind = number;

/** `signal` aborts when nobody waits any more. What it throws is a broken invariant. */
export type PeerRequestHandler = (from: PeerIdentity, body: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>;

export type PeerAnswer =
  | { readonly kind: 'answer'; readonly body: Uint8Array }
  /** Certainly not carried out. */
  | { readonly kind: 'not-sent'; readonly reason: string }
  /** It may have been. */
  | { readonly kind: 'unknown'; readonly reason: string };

const DONE = 0;
const UNKNOWN_KIND = 1;
const CROWDED = 2;

interface Entry {
  readonly handler: PeerRequestHandler;
  underway: number;
}

export class PeerRequests {
  readonly #entries = new Map<PeerRequestKind, Entry>();

  register(kind: PeerRequestKind, handler: PeerRequestHandler): void {
    assert(Number.isInteger(kind) && kind > 0 && kind < 256, 'the kind of a request is a byte, and not zero');
    assert(!this.#entries.has(kind), `requests of kind ${kind} have a handler`);
    this.#entries.set(kind, { handler, underway: 0 });
  }

  /** For PeerHandlers.call. */
  async handle(from: PeerIdentity, request: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const entry = this.#entries.get(request[0] ?? 0);
    if (entry === undefined) return Uint8Array.of(UNKNOWN_KIND);
    if (entry.underway >= PEER_REQUESTS_PER_KIND_MAX) return Uint8Array.of(CROWDED);
    entry.underway++;
    try {
      return prefixed(DONE, await entry.handler(from, request.subarray(1), signal));
    } finally {
      entry.underway--;
    }
  }
}

export interface PeerRequest {
  readonly to: NodeId;
  readonly kind: PeerRequestKind;
  readonly body: Uint8Array;
}

/** Asks a peer; never rejects. */
export const askPeer = async (
  links: Pick<PeerLinks, 'call'>,
  request: PeerRequest,
  options: CallOptions,
): Promise<PeerAnswer> => {
  const outcome: CallOutcome = await links.call(request.to, prefixed(request.kind, request.body), options);
  if (outcome.kind !== 'answer') return outcome;
  const [status] = outcome.bytes;
  if (status === DONE) return { kind: 'answer', body: outcome.bytes.subarray(1) };
  if (status === UNKNOWN_KIND) return { kind: 'not-sent', reason: 'unknown-kind' };
  if (status === CROWDED) return { kind: 'not-sent', reason: 'crowded' };
  return { kind: 'unknown', reason: 'no answer that this release knows' };
};

const prefixed = (first: number, rest: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(1 + rest.length);
  whole[0] = first;
  whole.set(rest, 1);
  return whole;
};

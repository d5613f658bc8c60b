// Calls of a peer on one session, from the first part of a request to the last of its answer.
//
// Guarantees: a request is handed over whole and once. A refused one is never begun. Memory: requests count in one budget
// for all peers from their first part until they were carried out, answers in the queue of their session.

import { CallPart_Kind, type CallPart } from '@sluice/protocol/peer';
import { assert } from '../../../base/assert.ts';
import { PEER_CALL_BYTES_MAX, PEER_CALL_QUEUED_BYTES_MAX, PEER_CALLS_MAX } from '../../../base/limits.ts';
import { ArrivingCall } from './arriving-call.ts';
import { PartQueue, type PartLane } from './part-queue.ts';
import { decodePart } from './wire.ts';

/** Bytes of requests, all peers together. */
export class RequestBudget {
  readonly #bytesMax: number;
  #usedBytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  reserve(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.#bytesMax) return false;
    this.#usedBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

export type CallHandler = (request: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>;

interface Call {
  readonly request: ArrivingCall;
  readonly given: AbortController;
  isRunning: boolean;
}

export class IncomingCalls {
  readonly #queue: PartQueue;
  readonly #budget: RequestBudget;
  readonly #handler: CallHandler;
  /** Those whose caller still waits for us. */
  readonly #calls = new Map<number, Call>();
  #running = 0;

  constructor(lane: PartLane, budget: RequestBudget, handler: CallHandler) {
    this.#queue = new PartQueue(lane);
    this.#budget = budget;
    this.#handler = handler;
  }

  pump(): void {
    this.#queue.pump();
  }

  /** Null, or what is wrong with the peer. */
  take(payload: Uint8Array): string | null {
    const part = decodePart(payload);
    if (part === null || part.call === 0) return 'an impossible part of a call';
    if (part.kind === CallPart_Kind.REQUEST) return this.#requestPart(part);
    if (part.kind !== CallPart_Kind.CANCEL) return 'a part of a call that is the other side’s to send';
    this.#cancel(part.call);
    return null;
  }

  /** The session is no more: nobody waits for any answer. */
  endAll(): void {
    for (const id of this.#calls.keys()) this.#cancel(id);
  }

  #requestPart(part: CallPart): string | null {
    let call = this.#calls.get(part.call);
    if (call === undefined) {
      // The rest of one that was refused or cancelled.
      if (part.at > 0) return null;
      if (this.#calls.size + this.#running >= 2 * PEER_CALLS_MAX || !this.#budget.reserve(part.total)) {
        this.#queue.putNotice(part.call, CallPart_Kind.REFUSED);
        return null;
      }
      call = { request: new ArrivingCall(part), given: new AbortController(), isRunning: false };
      this.#calls.set(part.call, call);
    }
    if (call.isRunning || !call.request.take(part)) return 'parts of a request out of order';
    const request = call.request.whole;
    if (request !== null) void this.#run(part.call, call, request);
    return null;
  }

  async #run(id: number, call: Call, request: Uint8Array): Promise<void> {
    call.isRunning = true;
    this.#running++;
    const answer = await this.#handler(request, call.given.signal);
    this.#running--;
    this.#budget.release(call.request.total);
    if (this.#calls.get(id) !== call) return;
    this.#calls.delete(id);
    assert(answer.length <= PEER_CALL_BYTES_MAX, 'an answer of a call is within its limit');
    if (this.#queue.queuedBytes + answer.length > PEER_CALL_QUEUED_BYTES_MAX)
      this.#queue.putNotice(id, CallPart_Kind.DROPPED);
    else this.#queue.put({ call: id, kind: CallPart_Kind.ANSWER, bytes: answer });
  }

  #cancel(id: number): void {
    this.#queue.drop(id);
    const call = this.#calls.get(id);
    if (call === undefined) return;
    this.#calls.delete(id);
    if (!call.isRunning) this.#budget.release(call.request.total);
    call.given.abort();
  }
}

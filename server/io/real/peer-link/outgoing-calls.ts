// Calls that this node makes on one session, from the request to the one outcome of each.
//
//   waiting ──(last part given to the lane)──→ left ──→ answer
//      │                                        │
//      └─ cancelled, late, refused, session ended: not-sent   └─ the same: unknown (refused: not-sent, it never began)
//
// Invariant: a call is in the map exactly until its promise is settled. `answerBytes` is what arriving answers hold.

import { CallPart_Kind, type CallPart } from '@sluice/protocol/peer';
import { assert } from '../../../base/assert.ts';
import {
  PEER_CALL_ANSWER_BYTES_MAX,
  PEER_CALL_BYTES_MAX,
  PEER_CALL_QUEUED_BYTES_MAX,
  PEER_CALLS_MAX,
} from '../../../base/limits.ts';
import type { Clock } from '../../clock.ts';
import type { CallOptions, CallOutcome } from '../../peer-link.ts';
import { ArrivingCall } from './arriving-call.ts';
import { PartQueue, type PartLane } from './part-queue.ts';
import { decodePart } from './wire.ts';

interface Call {
  hasLeft: boolean;
  answer: ArrivingCall | null;
  /** Settles the promise and lets go of timer and signal. */
  readonly end: (outcome: CallOutcome) => void;
}

const CALL_ID_MAX = 0xffffffff;

export class OutgoingCalls {
  readonly #queue: PartQueue;
  readonly #clock: Clock;
  readonly #calls = new Map<number, Call>();
  #lastId = 0;
  #answerBytes = 0;

  constructor(lane: PartLane, clock: Clock) {
    this.#queue = new PartQueue(lane);
    this.#clock = clock;
  }

  call(request: Uint8Array, { timeoutMs, signal }: CallOptions): Promise<CallOutcome> {
    assert(request.length <= PEER_CALL_BYTES_MAX, 'a request of a call is within its limit');
    if (signal?.aborted === true) return Promise.resolve({ kind: 'not-sent', reason: 'cancelled' });
    const isCrowded =
      this.#calls.size >= PEER_CALLS_MAX || this.#queue.queuedBytes + request.length > PEER_CALL_QUEUED_BYTES_MAX;
    if (isCrowded) return Promise.resolve({ kind: 'not-sent', reason: 'crowded' });
    const id = this.#nextId();
    return new Promise(resolve => {
      const abort = (): void => this.#giveUp(id, 'cancelled');
      const timer = this.#clock.schedule(timeoutMs, () => this.#giveUp(id, 'timed-out'));
      signal?.addEventListener('abort', abort);
      const call: Call = {
        hasLeft: false,
        answer: null,
        end(outcome) {
          timer.cancel();
          signal?.removeEventListener('abort', abort);
          resolve(outcome);
        },
      };
      this.#calls.set(id, call);
      const left = (): void => {
        call.hasLeft = true;
      };
      this.#queue.put({ call: id, kind: CallPart_Kind.REQUEST, bytes: request, left });
    });
  }

  pump(): void {
    this.#queue.pump();
  }

  /** Null, or what is wrong with the peer. */
  take(payload: Uint8Array): string | null {
    const part = decodePart(payload);
    if (part === null) return 'an impossible part of a call';
    const call = this.#calls.get(part.call);
    // It was given up, and the peer does not know yet.
    if (call === undefined) return null;
    if (part.kind === CallPart_Kind.ANSWER) return this.#answerPart(part, call);
    const isRefused = part.kind === CallPart_Kind.REFUSED;
    if (!isRefused && part.kind !== CallPart_Kind.DROPPED) return 'a part of a call that is the other side’s to send';
    this.#queue.drop(part.call);
    this.#end(part.call, { kind: isRefused ? 'not-sent' : 'unknown', reason: 'crowded' });
    return null;
  }

  /** The session is no more. */
  endAll(): void {
    for (const [id, call] of this.#calls) {
      this.#end(
        id,
        call.hasLeft ? { kind: 'unknown', reason: 'session-ended' } : { kind: 'not-sent', reason: 'no-session' },
      );
    }
  }

  #answerPart(part: CallPart, call: Call): string | null {
    if (!call.hasLeft) return 'an answer to a request that has not left';
    if (call.answer === null) {
      if (this.#answerBytes + part.total > PEER_CALL_ANSWER_BYTES_MAX) return 'too many answers at once';
      this.#answerBytes += part.total;
      call.answer = new ArrivingCall(part);
    }
    if (!call.answer.take(part)) return 'parts of an answer out of order';
    const bytes = call.answer.whole;
    if (bytes !== null) this.#end(part.call, { kind: 'answer', bytes });
    return null;
  }

  #giveUp(id: number, reason: 'cancelled' | 'timed-out'): void {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    this.#queue.drop(id);
    this.#queue.putNotice(id, CallPart_Kind.CANCEL);
    this.#end(id, { kind: call.hasLeft ? 'unknown' : 'not-sent', reason });
  }

  #end(id: number, outcome: CallOutcome): void {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    this.#calls.delete(id);
    this.#answerBytes -= call.answer?.total ?? 0;
    call.end(outcome);
  }

  /** Above 0; the same comes again only after four billion others. */
  #nextId(): number {
    do this.#lastId = this.#lastId >= CALL_ID_MAX ? 1 : this.#lastId + 1;
    while (this.#calls.has(this.#lastId));
    return this.#lastId;
  }
}

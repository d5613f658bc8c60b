// Requests or answers on their way out of one calls lane, in parts.
//
//   short (one part)  ──┐
//                       ├─ in turn, while the lane has room ─→ lane
//   long, the first N ──┘        one part of each in turn
//
// A short one overtakes long ones and is overtaken by none; at most PEER_LONG_CALLS_MAX long ones are under way at once, so
// that the other side holds no more than that half-done.
// Invariant: `queuedBytes` are the bytes of all that was put and of which the last part was not yet given to the lane.

import type { CallPart_Kind } from '@sluice/protocol/peer';
import { PEER_CALL_PART_BYTES, PEER_CALLS_PENDING_BYTES, PEER_LONG_CALLS_MAX } from '../../../base/limits.ts';
import { encodeFrame, partFrame } from './wire.ts';

export interface PartLane {
  readonly pendingBytes: number;
  write(message: Buffer): void;
}

export interface Parcel {
  readonly call: number;
  readonly kind: typeof CallPart_Kind.REQUEST | typeof CallPart_Kind.ANSWER;
  readonly bytes: Uint8Array;
  /** The last part was given to the lane: from now on the other side may have it whole. */
  readonly left?: () => void;
}

interface Queued {
  readonly parcel: Parcel;
  at: number;
}

export class PartQueue {
  readonly #lane: PartLane;
  #short: Queued[] = [];
  #long: Queued[] = [];
  /** Which of the long ones under way is next. */
  #turn = 0;
  #isLongNext = false;
  #queuedBytes = 0;

  constructor(lane: PartLane) {
    this.#lane = lane;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  put(parcel: Parcel): void {
    this.#queuedBytes += parcel.bytes.length;
    (parcel.bytes.length <= PEER_CALL_PART_BYTES ? this.#short : this.#long).push({ parcel, at: 0 });
    this.pump();
  }

  /** Small, and never behind anything. */
  putNotice(call: number, kind: (typeof CallPart_Kind)[keyof typeof CallPart_Kind]): void {
    this.#lane.write(encodeFrame(partFrame({ call, kind })));
  }

  /** Takes out what has not left whole; false when there is nothing of it. */
  drop(call: number): boolean {
    for (const queue of [this.#short, this.#long]) {
      const index = queue.findIndex(queued => queued.parcel.call === call);
      if (index < 0) continue;
      const [dropped] = queue.splice(index, 1);
      this.#queuedBytes -= dropped?.parcel.bytes.length ?? 0;
      return true;
    }
    return false;
  }

  pump(): void {
    while (this.#lane.pendingBytes < PEER_CALLS_PENDING_BYTES) {
      const isLong = this.#long.length > 0 && (this.#isLongNext || this.#short.length === 0);
      this.#isLongNext = !isLong;
      const queue = isLong ? this.#long : this.#short;
      const index = isLong ? this.#turn++ % Math.min(queue.length, PEER_LONG_CALLS_MAX) : 0;
      const queued = queue[index];
      if (queued === undefined) return;
      const isLast = this.#writePart(queued);
      if (!isLast) continue;
      queue.splice(index, 1);
      this.#queuedBytes -= queued.parcel.bytes.length;
      queued.parcel.left?.();
    }
  }

  #writePart(queued: Queued): boolean {
    const { call, kind, bytes } = queued.parcel;
    const { at } = queued;
    const part = bytes.subarray(at, at + PEER_CALL_PART_BYTES);
    queued.at += part.length;
    this.#lane.write(encodeFrame(partFrame({ call, kind, total: bytes.length, at, bytes: part })));
    return queued.at === bytes.length;
  }
}

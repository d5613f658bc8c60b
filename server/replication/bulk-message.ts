// Messages of the bulk lane in frames, because a frame has at most 1 MiB and a batch may be larger.
//
//   frame   place u16, counted from 0 | is the last u8 | part of the message
//
// The lane keeps the order and loses only ends, so the parts of a message follow each other. A part that does not follow is
// dropped with its whole message: the sender's connection broke in between, and Raft sends again.

import { PEER_BULK_MESSAGE_BYTES_MAX, PEER_FRAME_BYTES_MAX } from '../base/limits.ts';

const HEADER_BYTES = 3;
const PART_BYTES_MAX = PEER_FRAME_BYTES_MAX - HEADER_BYTES;

/** The frames of a message given in pieces. Nothing is copied. */
export const framesOf = (pieces: readonly Uint8Array[]): (readonly Uint8Array[])[] => {
  const parts: Uint8Array[][] = [[]];
  let room = PART_BYTES_MAX;
  for (const piece of pieces) {
    let at = 0;
    while (at < piece.length) {
      if (room === 0) {
        parts.push([]);
        room = PART_BYTES_MAX;
      }
      const taken = Math.min(room, piece.length - at);
      parts.at(-1)!.push(piece.subarray(at, at + taken));
      at += taken;
      room -= taken;
    }
  }
  for (const [place, part] of parts.entries()) part.unshift(headerOf(place, place === parts.length - 1));
  return parts;
};

const headerOf = (place: number, isLast: boolean): Uint8Array =>
  Uint8Array.of(place >> 8, place & 0xff, Number(isLast));

/** Of one session: puts messages together again. */
export class BulkAssembly {
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /** The whole message with its last part, else null. */
  take(frame: Uint8Array): Uint8Array | null {
    if (frame.length < HEADER_BYTES) return this.#drop();
    const place = (frame[0]! << 8) | frame[1]!;
    if (place === 0) this.#drop();
    if (place !== this.#parts.length) return this.#drop();
    const part = frame.subarray(HEADER_BYTES);
    this.#bytes += part.length;
    if (this.#bytes > PEER_BULK_MESSAGE_BYTES_MAX) return this.#drop();
    this.#parts.push(part);
    if (frame[2] !== 1) return null;
    const whole = this.#parts.length === 1 ? part : Buffer.concat(this.#parts, this.#bytes);
    this.#drop();
    return whole;
  }

  #drop(): null {
    this.#parts = [];
    this.#bytes = 0;
    return null;
  }
}

// A piece of a feed as the bytes of one WebSocket message to subscribers of one name:
//
//   frame header │ {"op":"records","subscription":"s1","records":[ │ text of the piece, shared │ ],"cursor":"…"}
//
// Subscriptions of different connections mostly have the same name and get the same piece one after another, so the latest
// frame is kept: for a thousand readers a short one is put together once, and of a long one the text is never copied.
// Written straight to the socket: ws frames each message anew, which costs more than sending it.

import type { FeedPiece } from '../record-feed.ts';
import { frameHeaderBytes, writeFrameHeader } from './text-frame.ts';

/** Up to here one buffer is cheaper than a gathered write of three. */
const JOINED_BYTES_MAX = 8 * 1024;

export class RecordFrames {
  #piece: FeedPiece | null = null;
  #name = '';
  #chunks: readonly Buffer[] = [];

  /** What to write, in order. Shared: never written into. */
  frame(piece: FeedPiece, name: string): readonly Buffer[] {
    if (this.#piece === piece && this.#name === name) return this.#chunks;
    this.#piece = piece;
    this.#name = name;
    this.#chunks = encode(piece, name);
    return this.#chunks;
  }
}

const encode = ({ text, cursor }: FeedPiece, name: string): readonly Buffer[] => {
  const before = `{"op":"records","subscription":"${name}","records":[`;
  const after = `],"cursor":"${cursor}"}`;
  const payloadBytes = before.length + text.length + after.length;
  const headerBytes = frameHeaderBytes(payloadBytes);
  if (payloadBytes > JOINED_BYTES_MAX) {
    const head = Buffer.allocUnsafeSlow(headerBytes + before.length);
    head.write(before, writeFrameHeader(head, 0, payloadBytes), 'latin1');
    return [head, text, Buffer.from(after, 'latin1')];
  }
  const whole = Buffer.allocUnsafeSlow(headerBytes + payloadBytes);
  let at = writeFrameHeader(whole, 0, payloadBytes);
  at += whole.write(before, at, 'latin1');
  whole.set(text, at);
  whole.write(after, at + text.length, 'latin1');
  return [whole];
};

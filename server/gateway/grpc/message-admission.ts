// Bytes of messages that have not arrived whole, counted in the budget of bodies.
//
//   5 bytes of prefix (compressed?, length) | payload | prefix | payload …
//
// grpc-js collects a message until its last byte is there, and nothing that it offers counts what it collects: a hundred
// streams of a session could each hold one byte less than the largest message. So the framing is followed here, beside
// grpc-js. Nothing is reserved from the length that a prefix names, only what has come.
//
// Guarantees: what is held is given back when the message is whole or the stream is gone. A message that finds no room, or
// takes longer than MESSAGE_MS_MAX to arrive, has its stream reset.

import type { ServerHttp2Stream } from 'node:http2';
import { constants } from 'node:http2';
import { MESSAGE_MS_MAX } from '../../base/limits.ts';
import type { Clock, Timer } from '../../io/clock.ts';
import type { BodyBudget } from '../body-budget.ts';

const PREFIX_BYTES = 5;

/** Where a stream of messages stands: how much of the message that is not whole has come. */
export class MessageFraming {
  #prefixBytes = 0;
  #length = 0;
  #payloadBytes = 0;
  /** Messages that became whole so far. */
  messages = 0;

  /** Bytes of the message that is not whole. */
  get heldBytes(): number {
    return this.#prefixBytes + this.#payloadBytes;
  }

  receive(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length || this.#isWhole) {
      if (this.#isWhole) this.#next();
      else if (this.#prefixBytes < PREFIX_BYTES) this.#prefixByte(chunk[at++]!);
      else {
        const taken = Math.min(chunk.length - at, this.#length - this.#payloadBytes);
        this.#payloadBytes += taken;
        at += taken;
      }
    }
  }

  get #isWhole(): boolean {
    return this.#prefixBytes === PREFIX_BYTES && this.#payloadBytes === this.#length;
  }

  #prefixByte(byte: number): void {
    // The first one says whether the message is compressed.
    if (this.#prefixBytes > 0) this.#length = this.#length * 0x100 + byte;
    this.#prefixBytes++;
  }

  #next(): void {
    this.#prefixBytes = 0;
    this.#payloadBytes = 0;
    this.#length = 0;
    this.messages++;
  }
}

/** Relies on grpc-js having attached itself to the stream, paused, before. */
export const admitMessages = (
  stream: ServerHttp2Stream,
  room: { readonly budget: BodyBudget; readonly clock: Clock },
): void => {
  const framing = new MessageFraming();
  let heldBytes = 0;
  let timer: Timer | null = null;
  let lateMessage = -1;
  const reset = (): void => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  const late = (): void => {
    timer = null;
    if (heldBytes === 0) return;
    if (framing.messages === lateMessage) reset();
    else watch();
  };
  const watch = (): void => {
    lateMessage = framing.messages;
    timer = room.clock.schedule(MESSAGE_MS_MAX, late);
  };
  stream.on('data', (chunk: Buffer) => {
    if (stream.closed) return;
    framing.receive(chunk);
    const change = framing.heldBytes - heldBytes;
    if (change > 0 && !room.budget.reserve(change)) {
      reset();
      return;
    }
    if (change < 0) room.budget.release(-change);
    heldBytes += change;
    if (heldBytes > 0 && timer === null) watch();
  });
  stream.once('close', () => {
    timer?.cancel();
    room.budget.release(heldBytes);
    heldBytes = 0;
  });
};

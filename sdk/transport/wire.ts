// The produce request written by hand: one copy of the batch, into memory of the caller. The generated writer makes a message
// object, a list of chunks and their join, which shows when batches are small or large.
//
//   field 1 id: varint | 2 topic: bytes | 3 partition: varint | 4 acks: varint | 5 timeout_ms: varint | 6 batches: bytes
//   each: tag = field << 3 | wire type (0 varint, 2 length-delimited); zero and empty fields are left out

import type { ProduceFrame } from './transport.ts';

const VARINT_BYTES_MAX = 10;
const TAGS = 6;

/** Room that suffices for the frame. */
export function produceFrameBytesMax({ topic, batches }: ProduceFrame): number {
  // A topic name is ASCII: one byte a character.
  return TAGS + TAGS * VARINT_BYTES_MAX + topic.length + batches.length;
}

/** Answers the part of `target` that was written. */
export function encodeProduceFrame(frame: ProduceFrame, target: Buffer): Buffer {
  const { topic, batches } = frame;
  let at = varintField(target, 0, 0x08, frame.id);
  target[at++] = 0x12;
  at = varint(target, at, topic.length);
  at += target.write(topic, at, 'latin1');
  at = varintField(target, at, 0x18, frame.partition);
  at = varintField(target, at, 0x20, frame.acks);
  at = varintField(target, at, 0x28, frame.timeoutMs);
  target[at++] = 0x32;
  at = varint(target, at, batches.length);
  target.set(batches, at);
  return target.subarray(0, at + batches.length);
}

function varintField(target: Uint8Array, at: number, tag: number, value: number): number {
  if (value === 0) return at;
  target[at] = tag;
  return varint(target, at + 1, value);
}

/** Safe integers from 0 on. */
function varint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  while (rest >= 0x80) {
    target[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  target[at++] = rest;
  return at;
}

// The hot answer of a fetch, written by hand: stored batches go into the message with one copy, however many they are.
//
//   08 stream   1a length batch batch …   40 high watermark   48 last stable offset
//
// (field number × 8 + wire type; a zero is left out, as proto3 says). A test holds it against the generated encoder.

import type { Offset } from '@sluice/protocol/ids';
import type { Encoded } from './service-definition.ts';

const STREAM_TAG = 0x08;
const BATCHES_TAG = 0x1a;
const HIGH_WATERMARK_TAG = 0x40;
const LAST_STABLE_OFFSET_TAG = 0x48;

/** Four tags, a 32-bit and a 64-bit number, a length, and another 64-bit number. */
const OVERHEAD_BYTES_MAX = 4 + 5 + 5 + 10 + 10;

export interface BatchesParts {
  readonly stream: number;
  readonly batches: readonly Uint8Array[];
  readonly highWatermark: Offset;
  readonly lastStableOffset: Offset;
}

export class FetchedBatches implements Encoded {
  readonly #parts: BatchesParts;
  readonly #batchBytes: number;

  constructor(parts: BatchesParts) {
    let batchBytes = 0;
    for (const batch of parts.batches) batchBytes += batch.byteLength;
    this.#parts = parts;
    this.#batchBytes = batchBytes;
  }

  get byteLength(): number {
    return this.#batchBytes;
  }

  encode(): Buffer {
    const { stream, batches, highWatermark, lastStableOffset } = this.#parts;
    const target = Buffer.allocUnsafe(this.#batchBytes + OVERHEAD_BYTES_MAX);
    let at = 0;
    if (stream !== 0) at = writeField(target, at, { tag: STREAM_TAG, value: stream });
    at = writeField(target, at, { tag: BATCHES_TAG, value: this.#batchBytes });
    for (const batch of batches) {
      target.set(batch, at);
      at += batch.byteLength;
    }
    if (highWatermark !== 0) at = writeField(target, at, { tag: HIGH_WATERMARK_TAG, value: highWatermark });
    if (lastStableOffset !== 0) at = writeField(target, at, { tag: LAST_STABLE_OFFSET_TAG, value: lastStableOffset });
    return target.subarray(0, at);
  }
}

/** A tag and a natural number up to 2^53 as a varint. Answers where the next field begins. */
const writeField = (
  target: Uint8Array,
  at: number,
  field: { readonly tag: number; readonly value: number },
): number => {
  let position = at;
  target[position++] = field.tag;
  let rest = field.value;
  while (rest >= 0x80) {
    target[position++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  target[position++] = rest;
  return position;
};

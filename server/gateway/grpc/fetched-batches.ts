// The hot answer of a fetch, written by hand: stored batches go out as they lie, between two pieces of a few bytes.
//
//   08 stream   1a length │ batch │ batch │ … │ 40 high watermark   48 last stable offset
//
// (field number × 8 + wire type; a zero is left out, as proto3 says). A test holds it against the generated encoder.
//
// Until the client has taken them, batches keep alive what they are slices of. Where that is more than twice as much as
// the batches themselves, they are copied: what is pending is counted by the bytes of the batches.

import type { Offset } from '@sluice/protocol/ids';
import type { Encoded } from './service-definition.ts';

const STREAM_TAG = 0x08;
const BATCHES_TAG = 0x1a;
const HIGH_WATERMARK_TAG = 0x40;
const LAST_STABLE_OFFSET_TAG = 0x48;

/** A tag and a 32-bit number, a tag and a length. */
const HEAD_BYTES_MAX = 1 + 5 + 1 + 5;
/** Two tags, each with a 64-bit number. */
const TAIL_BYTES_MAX = 2 * (1 + 10);
const KEPT_TIMES_MAX = 2;

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

  pieces(): readonly Uint8Array[] {
    const { stream, batches, highWatermark, lastStableOffset } = this.#parts;
    const head = Buffer.allocUnsafe(HEAD_BYTES_MAX);
    let at = stream === 0 ? 0 : writeField(head, 0, { tag: STREAM_TAG, value: stream });
    at = writeField(head, at, { tag: BATCHES_TAG, value: this.#batchBytes });
    const tail = Buffer.allocUnsafe(TAIL_BYTES_MAX);
    let end = 0;
    if (highWatermark !== 0) end = writeField(tail, end, { tag: HIGH_WATERMARK_TAG, value: highWatermark });
    if (lastStableOffset !== 0) end = writeField(tail, end, { tag: LAST_STABLE_OFFSET_TAG, value: lastStableOffset });
    const isKeepingTooMuch = keptBytes(batches) > this.#batchBytes * KEPT_TIMES_MAX;
    const sent = isKeepingTooMuch ? [Buffer.concat(batches, this.#batchBytes)] : batches;
    return [head.subarray(0, at), ...sent, tail.subarray(0, end)];
  }
}

/** What the batches are slices of; those of one read lie in one buffer, side by side in the list. */
const keptBytes = (batches: readonly Uint8Array[]): number => {
  let bytes = 0;
  let last: ArrayBufferLike | null = null;
  for (const { buffer } of batches) {
    if (buffer !== last) bytes += buffer.byteLength;
    last = buffer;
  }
  return bytes;
};

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

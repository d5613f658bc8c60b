// The records of one request for one partition, on their way into batches: one batch, and several only where they
// exceed what the topic allows for one.
//
// Guarantees: no batch that comes out is larger than batchBytesMax; a record that cannot fit alone is refused when it is
// added, and the ones added before it stay. The order is the order of adding.
// Sizes are judged uncompressed, so that compressing can only help; only a single record that is too large uncompressed
// is judged by its compressed size.

import type { Codec } from '@sluice/protocol/record';
import { BATCH_HEADER_BYTES, BatchBuilder } from '@sluice/protocol/record';
import type { WrittenRecord } from './record-json.ts';

/** More than any record adds to its own key, value and headers: lengths, deltas, counts. */
export const RECORD_OVERHEAD_BYTES_MAX = 46;

export class PartitionBatches {
  readonly partition: number;
  readonly #builder: BatchBuilder;
  readonly #codec: Codec;
  readonly #batchBytesMax: number;
  readonly #ready: Uint8Array[] = [];
  #readyBytes = 0;
  #readyCount = 0;

  constructor(partition: number, codec: Codec, batchBytesMax: number, initialBytes: number) {
    this.partition = partition;
    this.#codec = codec;
    this.#batchBytesMax = batchBytesMax;
    this.#builder = new BatchBuilder({ codec, initialBytes });
  }

  get recordCount(): number {
    return this.#readyCount + this.#builder.recordCount;
  }

  /** Bytes in memory, uncompressed where not built yet. */
  get byteLength(): number {
    return this.#readyBytes + (this.#builder.isEmpty ? 0 : this.#builder.byteLength);
  }

  /** False when the record fits into no batch of this topic. */
  add(record: WrittenRecord): boolean {
    const builder = this.#builder;
    if (builder.estimatedBytesWith(record) <= this.#batchBytesMax) {
      builder.append(record);
      return true;
    }
    // The estimate is an upper bound: only a batch of its own tells what the record really takes.
    this.#cut();
    builder.append(record);
    if (builder.byteLength <= this.#batchBytesMax) return true;
    if (this.#codec === 'none') {
      builder.reset();
      return false;
    }
    const batch = builder.build();
    if (batch.length > this.#batchBytesMax) return false;
    this.#push(batch, 1);
    return true;
  }

  /** The same for a caller who knows that everything together fits into one batch. */
  addFitting(record: WrittenRecord): void {
    this.#builder.append(record);
  }

  /** All that was added, whole batches one after another; empty again afterwards. */
  async take(): Promise<Uint8Array> {
    if (this.#ready.length === 0) return this.#builder.buildOffLoop();
    const count = this.#builder.recordCount;
    if (count > 0) this.#push(await this.#builder.buildOffLoop(), count);
    const [only] = this.#ready;
    const joined = this.#ready.length === 1 && only !== undefined ? only : Buffer.concat(this.#ready);
    this.#ready.length = 0;
    this.#readyBytes = 0;
    this.#readyCount = 0;
    return joined;
  }

  #cut(): void {
    const count = this.#builder.recordCount;
    if (count > 0) this.#push(this.#builder.build(), count);
  }

  #push(batch: Uint8Array, count: number): void {
    this.#ready.push(batch);
    this.#readyBytes += batch.length;
    this.#readyCount += count;
  }
}

/** True when records written in `bodyBytes` of text certainly fit into one batch together, whoever they go to. */
export const fitsOneBatch = (bodyBytes: number, recordCount: number, batchBytesMax: number): boolean =>
  // Compact JSON can be longer than what was written only for numbers: 1e20 becomes 21 digits, five times as much.
  BATCH_HEADER_BYTES + bodyBytes * 6 + recordCount * RECORD_OVERHEAD_BYTES_MAX <= batchBytesMax;

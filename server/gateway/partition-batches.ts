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

/** Builders at rest: enough for the partitions of a few requests. */
const IDLE_BUILDERS_MAX = 32;
/** A builder copies small batches out of its own memory and hands large ones over whole; see BatchBuilder. */
const BUILDER_BYTES = 65_536;

/**
 * Builders between uses, one object a door. A builder for every request would take its memory anew each time, and with
 * small requests the garbage collector would be busiest of all.
 */
export class BuilderPool {
  readonly #idle = new Map<Codec, BatchBuilder[]>();

  take(codec: Codec): BatchBuilder {
    return this.#idle.get(codec)?.pop() ?? new BatchBuilder({ codec, initialBytes: BUILDER_BYTES });
  }

  give(codec: Codec, builder: BatchBuilder): void {
    builder.reset();
    const idle = this.#idle.get(codec);
    if (idle === undefined) this.#idle.set(codec, [builder]);
    else if (idle.length < IDLE_BUILDERS_MAX) idle.push(builder);
  }
}

export interface PartitionBatchesOptions {
  readonly pool: BuilderPool;
  readonly codec: Codec;
  readonly batchBytesMax: number;
}

export class PartitionBatches {
  readonly partition: number;
  /** Null between two uses. */
  #builder: BatchBuilder | null = null;
  readonly #pool: BuilderPool;
  readonly #codec: Codec;
  readonly #batchBytesMax: number;
  readonly #ready: Uint8Array[] = [];
  #readyBytes = 0;
  #readyCount = 0;

  constructor(partition: number, options: PartitionBatchesOptions) {
    this.partition = partition;
    this.#pool = options.pool;
    this.#codec = options.codec;
    this.#batchBytesMax = options.batchBytesMax;
  }

  get recordCount(): number {
    return this.#readyCount + (this.#builder?.recordCount ?? 0);
  }

  /** Bytes in memory, uncompressed where not built yet. */
  get byteLength(): number {
    return this.#readyBytes + (this.#builder === null || this.#builder.isEmpty ? 0 : this.#builder.byteLength);
  }

  /** False when the record fits into no batch of this topic. */
  add(record: WrittenRecord): boolean {
    const builder = this.#open();
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
    this.#open().append(record);
  }

  /** All that was added, whole batches one after another; empty again afterwards. */
  async take(): Promise<Uint8Array> {
    if (this.#ready.length === 0) return this.#build();
    const count = this.#builder?.recordCount ?? 0;
    if (count > 0) this.#push(await this.#build(), count);
    const [only] = this.#ready;
    const joined = this.#ready.length === 1 && only !== undefined ? only : Buffer.concat(this.#ready);
    this.#ready.length = 0;
    this.#readyBytes = 0;
    this.#readyCount = 0;
    return joined;
  }

  /** Gives the builder back when what was added will not be taken. */
  drop(): void {
    this.#close();
    this.#ready.length = 0;
  }

  #open(): BatchBuilder {
    this.#builder ??= this.#pool.take(this.#codec);
    return this.#builder;
  }

  #build(): Promise<Uint8Array> {
    const batch = this.#open().buildOffLoop();
    // Its records are out of it by now, whether they are being compressed or not.
    this.#close();
    return batch;
  }

  #close(): void {
    if (this.#builder !== null) this.#pool.give(this.#codec, this.#builder);
    this.#builder = null;
  }

  #cut(): void {
    const builder = this.#open();
    const count = builder.recordCount;
    if (count > 0) this.#push(builder.build(), count);
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

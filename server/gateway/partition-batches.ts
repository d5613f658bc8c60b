// The records of one request for one partition, on their way into batches: one batch, and several only where they
// exceed what the topic allows for one.
//
// Guarantees: no batch that comes out is larger than batchBytesMax; a record that cannot fit alone is refused when it is
// added, and the ones added before it stay. The order is the order of adding.
// Sizes are judged uncompressed; only a single record that is too large so is judged by its compressed size.

import type { Codec, ProducerStamp, RecordSpans } from '@sluice/protocol/record';
import { BATCH_HEADER_BYTES, BatchBuilder } from '@sluice/protocol/record';
import type { WrittenRecord } from './record-json.ts';

/** More than any record adds to its own key, value and headers: lengths, deltas, counts. */
export const RECORD_OVERHEAD_BYTES_MAX = 46;

/** Builders at rest: enough for the partitions of a few requests. */
const IDLE_BUILDERS_MAX = 32;
/** Small, because one request may have records for thousands of partitions; a builder grows with what it is given. */
const BUILDER_BYTES = 4_096;
/** A builder keeps memory for a batch as large as its last one: large ones are not worth keeping alive. */
const IDLE_BUILDER_BYTES_MAX = 131_072;

/**
 * Builders between uses, one object a door. A builder for every request would take its memory anew each time, and with
 * small requests the garbage collector would be busiest of all.
 */
export class BuilderPool {
  readonly #idle = new Map<Codec, BatchBuilder[]>();

  take(codec: Codec): BatchBuilder {
    return this.#idle.get(codec)?.pop() ?? new BatchBuilder({ codec, initialBytes: BUILDER_BYTES });
  }

  /** `usedBytes`: how large the last batch became. */
  give(codec: Codec, builder: BatchBuilder, usedBytes: number): void {
    if (usedBytes > IDLE_BUILDER_BYTES_MAX) return;
    builder.reset();
    const idle = this.#idle.get(codec);
    if (idle === undefined) this.#idle.set(codec, [builder]);
    else if (idle.length < IDLE_BUILDERS_MAX) idle.push(builder);
  }
}

export interface PartitionBatchesOptions {
  /** Who signs the batches, and the sequence of the first record. */
  readonly producer?: ProducerStamp | null;
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
  readonly #producer: ProducerStamp | null;
  /** Uncompressed, so that the batch fits also when compressing makes it longer. */
  readonly #plainBytesMax: number;
  #ready: Uint8Array[] = [];
  #readyBytes = 0;
  #readyCount = 0;

  constructor(partition: number, options: PartitionBatchesOptions) {
    this.partition = partition;
    this.#pool = options.pool;
    this.#codec = options.codec;
    this.#producer = options.producer ?? null;
    this.#batchBytesMax = options.batchBytesMax;
    this.#plainBytesMax = options.codec === 'none' ? options.batchBytesMax : plainBytesMax(options.batchBytesMax);
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
    if (builder.estimatedBytesWith(record) <= this.#plainBytesMax) {
      builder.append(record);
      return true;
    }
    this.#cut();
    builder.append(record);
    return this.#fitsAlone(builder);
  }

  /** The same for a record that lies in bytes. */
  addSpans(record: RecordSpans): boolean {
    const builder = this.#open();
    if (builder.estimatedBytesWithSpans(record) <= this.#plainBytesMax) {
      builder.appendSpans(record);
      return true;
    }
    this.#cut();
    builder.appendSpans(record);
    return this.#fitsAlone(builder);
  }

  /** The estimate is an upper bound: only a batch of its own tells what the record really takes. */
  #fitsAlone(builder: BatchBuilder): boolean {
    if (builder.byteLength <= this.#plainBytesMax) return true;
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

  /** All that was added so far, whole batches one after another; new records may be added while they are compressed. */
  async take(): Promise<Uint8Array> {
    const ready = this.#ready;
    this.#ready = [];
    this.#readyBytes = 0;
    this.#readyCount = 0;
    if (ready.length === 0) return this.#build();
    if (this.#builder !== null && !this.#builder.isEmpty) ready.push(await this.#build());
    const [only] = ready;
    return ready.length === 1 && only !== undefined ? only : Buffer.concat(ready);
  }

  /** Gives the builder back when what was added will not be taken. */
  drop(): void {
    if (this.#builder !== null) this.#letGo(this.#builder, this.#builder.byteLength);
    this.#ready = [];
    this.#readyBytes = 0;
    this.#readyCount = 0;
  }

  #open(): BatchBuilder {
    this.#builder ??= this.#take();
    return this.#builder;
  }

  /** One that signs is of no use to others. */
  #take(): BatchBuilder {
    const producer = this.#producer;
    if (producer === null) return this.#pool.take(this.#codec);
    return new BatchBuilder({ codec: this.#codec, initialBytes: BUILDER_BYTES, producer });
  }

  /** It goes on with the sequence where it was, so that it must not be begun anew. */
  #letGo(builder: BatchBuilder, usedBytes: number): void {
    if (this.#producer !== null) return;
    this.#pool.give(this.#codec, builder, usedBytes);
    this.#builder = null;
  }

  #build(): Promise<Uint8Array> {
    const builder = this.#open();
    const usedBytes = builder.byteLength;
    const batch = builder.buildOffLoop();
    // Its records are out of it by now, whether they are being compressed or not.
    this.#letGo(builder, usedBytes);
    return batch;
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

/** What cannot be compressed grows by its framing: gzip adds 5 bytes to each 16 KiB, snappy 10 to 32 KiB, others less. */
const plainBytesMax = (batchBytesMax: number): number => Math.max(0, batchBytesMax - (batchBytesMax >>> 10) - 64);

/** True when records written in `bodyBytes` of text certainly fit into one batch together, whoever they go to. */
export const fitsOneBatch = (bodyBytes: number, recordCount: number, batchBytesMax: number): boolean =>
  // Compact JSON can be longer than what was written only for numbers: 1e20 becomes 21 digits, five times as much.
  BATCH_HEADER_BYTES + bodyBytes * 6 + recordCount * RECORD_OVERHEAD_BYTES_MAX <= batchBytesMax;

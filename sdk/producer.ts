// The producer as a program sees it.
//
//   send      one record, answered when it is durable
//   enqueue   one record into the batch in the making: a ticket at once, the answer when somebody asks for it
//
// Guarantees of an idempotent producer, which is the default: the records of one partition are written in the order in which they were
// handed over, each once, however often a connection or a leader is lost meanwhile, until `deliveryTimeoutMs` is over. Of a record that is
// given up then, or whose producer the broker has forgotten, the outcome may be unknown; it is not written later.
//
// Without (`idempotent: false`, or acks other than `all`) the order holds as long as no batch is refused; one refused for a passing reason
// is written again in its place, but those behind it that were on the wire already may have overtaken it (`inFlightMax: 1` rules that out).
// A failure whose outcome is unknown is then never retried: the record could be written twice.
//
// Memory is bounded by `bufferBytesMax`.

/** `all`: durable. `leader`: accepted, before the sync. `none`: handed to the connection; offsets are not known. */
export type Acks = 'all' | 'leader' | 'none';

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd';

export interface PartitionerInput {
  readonly topic: string;
  readonly partitionCount: number;
  /** As it is written; null for a record without a key. */
  readonly key: Uint8Array | null;
}

/**
 * `default`: murmur2 of the key, as Kafka's clients do; without a key one partition per batch. `round-robin`: records
 * without a key take turns. A function answers the partition. A record's own `partition` always wins.
 */
export type Partitioner = 'default' | 'round-robin' | ((input: PartitionerInput) => number);

export interface ProducerOptions {
  /** Default `all`. */
  readonly acks?: Acks;
  /**
   * Repeats write nothing twice. Default true, where `acks` is `all`; it allows up to 5 batches of a partition on the wire.
   */
  readonly idempotent?: boolean;
  /** How long a batch that is not full waits for more records. Default 5. */
  readonly lingerMs?: number;
  /** A batch is sent when it has this many bytes. Default 262,144; the topic's max.message.bytes caps it. */
  readonly batchBytes?: number;
  /** Default `none`. */
  readonly compression?: Compression;
  readonly partitioner?: Partitioner;
  /** Records that are not answered yet. Default 64 MiB. */
  readonly bufferBytesMax?: number;
  /** Batches of one partition on the wire at once. Default 5. */
  readonly inFlightMax?: number;
  /** From a record's acceptance to its answer, retries included. Default 120,000. */
  readonly deliveryTimeoutMs?: number;
  /** Aborts the producer: what is not answered yet is rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export type HeadersInput =
  | Readonly<Record<string, string | Uint8Array | null>>
  | readonly { readonly key: string; readonly value: string | Uint8Array | null }[];

export interface ProducerRecord<Key, Value> {
  readonly key?: Key | null | undefined;
  /** Null: a tombstone. */
  readonly value: Value | null;
  /** An object, or a list where order and repeats matter. */
  readonly headers?: HeadersInput | undefined;
  readonly partition?: number | undefined;
  /** Milliseconds since 1970. Default: now. */
  readonly timestamp?: number | undefined;
}

/** Where a record is. */
export interface Delivery {
  readonly topic: string;
  readonly partition: number;
  /** -1 where it is not known: with `acks: 'none'`, and of a record whose answer was lost long ago. */
  readonly offset: number;
  readonly timestamp: number;
}

export interface Ticket {
  /** Resolves when the record is acknowledged, rejects with a SluiceError when it is not. May be called any time, or never. */
  ack(): Promise<Delivery>;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface Producer<Key, Value> extends AsyncDisposable {
  readonly topic: string;

  /**
   * Waits for room in the buffer and for the acknowledgement. An aborted call rejects with the signal's reason; the
   * record is then not written if it still waited for room, else it may be.
   */
  send(record: ProducerRecord<Key, Value>, options?: CallOptions): Promise<Delivery>;

  /**
   * Accepts the record now; it is durable when the ticket's `ack()` resolves. Throws THROTTLED while the buffer is full:
   * `if (!producer.hasRoom) await producer.ready();` before the call paces a loop.
   */
  enqueue(record: ProducerRecord<Key, Value>): Ticket;

  /** False while `bufferBytesMax` is used up. */
  readonly hasRoom: boolean;
  /** Resolves when there is room, and rejects when the producer ended. */
  ready(options?: CallOptions): Promise<void>;
  /** Bytes of accepted records that are not answered yet. */
  readonly bufferedBytes: number;

  /**
   * Sends what lingers and resolves when everything accepted so far is answered. Rejects with the first failure of a
   * batch of which no ticket was asked for its ack: no loss goes unseen.
   */
  flush(options?: CallOptions): Promise<void>;
  /** Refuses new records, flushes, then closes. The same as the end of an `await using` block. */
  drain(options?: CallOptions): Promise<void>;
  /** Ends at once: records that are not answered are rejected; those on the wire with `outcome: 'unknown'`. */
  close(): void;
}

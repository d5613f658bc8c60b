// The browser's producer as a program sees it: Node's, without what the broker does here (choosing partitions by key,
// compressing, stamping the time). What it guarantees is told in the Node client's producer.ts.

import type { Acks, Compression } from '../producer.ts';

export type {
  Acks,
  CallOptions,
  Compression,
  Delivery,
  HeadersInput,
  Producer,
  ProducerRecord,
  Ticket,
} from '../producer.ts';

export interface ProducerOptions {
  /** Default `all`. */
  readonly acks?: Acks;
  /** How the broker compresses the batches. Default `none`. */
  readonly compression?: Compression;
  /** How long records wait for more that go in the same frame. Default 5. */
  readonly lingerMs?: number;
  /** A frame is sent when it has this many characters of JSON. Default 262,144. */
  readonly batchBytes?: number;
  /** Records that are not answered yet, as characters of their JSON. Default 16 MiB. */
  readonly bufferBytesMax?: number;
  /** Frames on the wire at once. Default 5. */
  readonly inFlightMax?: number;
  /** From a record's acceptance to its answer, retries included. Default 120,000. */
  readonly deliveryTimeoutMs?: number;
  /** Aborts the producer: what is not answered yet is rejected. */
  readonly signal?: AbortSignal | undefined;
}

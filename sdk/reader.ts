// The reader as a program sees it: the records of a topic's partitions from positions of its own, without a group.
//
// Guarantees: every record from the start position on exactly once, in order within its partition, across reconnects and
// restarts of brokers. Memory is bounded by `bufferBytesMax` plus one batch a partition: a slow program holds the broker
// back by credit. New partitions of the topic are followed from their beginning.
// A reader is consumed once, by one loop: `for await` over messages, or over batches.

import type { Message } from './message.ts';

/** Where reading begins. */
export type ReadFrom =
  | 'earliest'
  | 'latest'
  /** One partition, from this offset on. */
  | { readonly offset: number; readonly partition: number }
  /** These partitions, each from its offset on: what `positions()` answered. */
  | { readonly positions: ReadonlyMap<number, number> }
  /** In every partition the first record at or after this time, in milliseconds since 1970. */
  | { readonly timestamp: number }
  /** In every partition that many records before the end. */
  | { readonly tail: number };

export type Isolation = 'read_uncommitted' | 'read_committed';

export interface ReaderOptions {
  /** Default `earliest`. */
  readonly from?: ReadFrom;
  /** Default: all. */
  readonly partitions?: readonly number[] | undefined;
  /** Ends where the partitions ended when the reader began, instead of waiting for more. */
  readonly untilEnd?: boolean;
  /** Bytes received and not yet taken by the program, all partitions together. Default 16 MiB. */
  readonly bufferBytesMax?: number;
  readonly isolation?: Isolation;
  /** Ends the loop by throwing the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface Reader<Key, Value> extends AsyncIterable<Message<Key, Value>>, AsyncDisposable {
  readonly topic: string;
  /** The same records in arrays, each of one partition: the way for millions a second. */
  batches(): AsyncIterable<readonly Message<Key, Value>[]>;
  /** The offset after the last message taken; null before the partition's start is known. */
  position(partition: number): number | null;
  /** All known positions; they feed `from: { positions }`. */
  positions(): Map<number, number>;
  /** Messages of the partition behind the position, as of the last answer; null while unknown. */
  lag(partition: number): number | null;
  /** Bytes received and not yet taken. */
  readonly bufferedBytes: number;
  /** Ends the loop without an error. */
  close(): void;
}

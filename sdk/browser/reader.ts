// The browser's reader as a program sees it: the records of a topic from a position that a page can keep.
//
// Guarantees: every record from the start on exactly once, in order within its partition, across lost connections and
// restarts of brokers. Memory is bounded by `bufferBytesMax` plus one frame: a slow program holds the broker back by
// credit. A reader is consumed once, by one loop.

import type { Message } from './message.ts';

export type Isolation = 'read_uncommitted' | 'read_committed';

/** Where reading begins. */
export type ReadFrom =
  | 'earliest'
  | 'latest'
  /** What `reader.cursor`, or the cursor of a REST page, said. */
  | { readonly cursor: string }
  /** One partition, from this offset on. */
  | { readonly offset: number; readonly partition: number }
  /** In every partition the first record at or after this time, in milliseconds since 1970. */
  | { readonly timestamp: number }
  /** In every partition that many records before the end. */
  | { readonly tail: number };

export interface ReaderOptions {
  /** Default `earliest`. */
  readonly from?: ReadFrom;
  /** Default: all that there are when reading begins. */
  readonly partitions?: readonly number[] | undefined;
  /** Ends where the partitions ended when the reader began, instead of waiting for more. */
  readonly untilEnd?: boolean;
  /** Bytes of keys, values and headers received and not yet taken. Default 1 MiB. */
  readonly bufferBytesMax?: number;
  readonly isolation?: Isolation;
  /** Ends the loop by throwing the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface Reader<Key, Value> extends AsyncIterable<Message<Key, Value>>, AsyncDisposable {
  readonly topic: string;
  /**
   * The position after the last message taken, for `from: { cursor }`; null before the broker has named one. It is text
   * without spaces, to be kept as it is.
   */
  readonly cursor: string | null;
  /** False while there is no connection that brings records. */
  readonly isConnected: boolean;
  /** Ends the loop without an error. */
  close(): void;
}

// One partition of a reader: where it is, what it was granted, and from where it goes on after a loss.
//
//   detached ──attach──▶ attached ──opened, batches──▶ attached ──end──▶ ended
//      ▲                                                   │
//      └────────────── lost, or refused for now ───────────┘     again from nextOffset
//
// Invariant: position <= nextOffset; between them is what was received and not taken yet.
// Invariant: the broker's credit is the window less what was received and not granted again, so a program that has
// taken everything leaves the broker at least three quarters of the window.

import type { MessageInitShape } from '@bufbuild/protobuf';
import { inspectBatch, readLastOffset, readRecordCount } from '@sluice/protocol/record';
import { Form, Isolation as WireIsolation, Position, type OpenReadSchema } from '@sluice/protocol/services';
import { Backoff } from './backoff.ts';
import type { Isolation } from './reader.ts';
import type { Random, Timer } from './runtime.ts';

/** Where the partition begins when nothing was read of it yet. */
export type ReadStart =
  | { readonly kind: 'earliest' | 'latest' }
  | { readonly kind: 'offset'; readonly offset: number }
  | { readonly kind: 'timestamp'; readonly timestamp: number }
  | { readonly kind: 'tail'; readonly count: number };

export interface PartitionReadOptions {
  readonly topic: string;
  readonly partition: number;
  readonly start: ReadStart;
  readonly isolation: Isolation;
  readonly untilEnd: boolean;
  /** Credit in bytes. */
  readonly windowBytes: number;
}

/** The stream that a read is attached to. */
export interface ReadCarrier {
  grant(read: PartitionRead, credit: GrantedCredit): void;
}

export interface GrantedCredit {
  readonly bytes: number;
  readonly records: number;
}

/** Whole batches of one partition, as they came. */
export interface Piece {
  readonly read: PartitionRead;
  readonly bytes: Uint8Array;
  readonly recordCount: number;
}

/** Records are held back by their bytes alone; what is received is granted back one for one. */
const CREDIT_RECORDS = 1_000_000_000n;
const PIECE_BYTES_MAX = 1024 * 1024;
const HEADERS_ONLY = { bytesMax: Number.MAX_SAFE_INTEGER, verifyCrc: false };

export class PartitionRead {
  readonly partition: number;
  readonly options: PartitionReadOptions;
  readonly backoff: Backoff;
  /** Where it is read, and under which number there; null while nowhere. */
  channel: ReadCarrier | null = null;
  stream = 0;
  /** Waits before it is attached again. */
  retry: Timer | null = null;
  hasEnded = false;
  /** The broker said that it is about to stop: its `end` is not ours. */
  isDraining = false;
  /** The offset after the last message taken; null until the start is known. */
  position: number | null = null;
  /** The offset after the last batch received. */
  nextOffset: number | null = null;
  /** With untilEnd: the end as of the first opening. */
  endOffset: number | null = null;
  highWatermark: number | null = null;
  #takenBytes = 0;
  #takenRecords = 0;

  constructor(options: PartitionReadOptions, random: Random) {
    this.partition = options.partition;
    this.options = options;
    this.backoff = new Backoff(random);
  }

  /** A new opening, with a whole window of credit. */
  openRequest(stream: number): MessageInitShape<typeof OpenReadSchema> {
    const { topic, partition, isolation, untilEnd, windowBytes } = this.options;
    this.#takenBytes = 0;
    this.#takenRecords = 0;
    return {
      stream,
      topic,
      partition,
      from: this.#from(),
      isolation: isolation === 'read_committed' ? WireIsolation.READ_COMMITTED : WireIsolation.READ_UNCOMMITTED,
      form: Form.BATCHES,
      credit: { records: CREDIT_RECORDS, bytes: BigInt(windowBytes) },
      maxBytes: Math.min(PIECE_BYTES_MAX, windowBytes),
      untilEnd,
    };
  }

  opened(at: { readonly offset: number; readonly endOffset: number }): void {
    this.nextOffset ??= at.offset;
    this.position ??= at.offset;
    if (this.options.untilEnd) this.endOffset ??= at.endOffset;
  }

  /** Null when the bytes are not whole batches. */
  received(bytes: Uint8Array): Piece | null {
    let recordCount = 0;
    for (let at = 0; at < bytes.length; ) {
      const inspection = inspectBatch(bytes, at, HEADERS_ONLY);
      if (!inspection.ok) return null;
      recordCount += readRecordCount(bytes, at);
      this.nextOffset = Math.max(this.nextOffset ?? 0, readLastOffset(bytes, at) + 1);
      at += inspection.byteLength;
    }
    return { read: this, bytes, recordCount };
  }

  /** All that was asked for with untilEnd has come. */
  get isComplete(): boolean {
    return this.endOffset !== null && this.nextOffset !== null && this.nextOffset >= this.endOffset;
  }

  /** The piece left the buffer. Answers what to grant the broker now, if anything. */
  taken(piece: Piece): GrantedCredit | null {
    this.#takenBytes += piece.bytes.length;
    this.#takenRecords += piece.recordCount;
    if (this.#takenBytes < this.options.windowBytes / 4) return null;
    const credit = { bytes: this.#takenBytes, records: this.#takenRecords };
    this.#takenBytes = 0;
    this.#takenRecords = 0;
    return credit;
  }

  #from(): NonNullable<MessageInitShape<typeof OpenReadSchema>['from']> {
    if (this.nextOffset !== null) return { case: 'offset', value: BigInt(this.nextOffset) };
    const { start } = this.options;
    switch (start.kind) {
      case 'latest':
        return { case: 'position', value: Position.LATEST };
      case 'offset':
        return { case: 'offset', value: BigInt(start.offset) };
      case 'timestamp':
        return { case: 'timestampMs', value: BigInt(start.timestamp) };
      case 'tail':
        return { case: 'tail', value: BigInt(start.count) };
      case 'earliest':
      default:
        return { case: 'position', value: Position.EARLIEST };
    }
  }
}

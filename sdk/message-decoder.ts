// From whole batches to messages: from the wanted offset on, without control records.
//
// Small batches are joined into one array until it is worth a turn of the program's loop; a large one is an array by
// itself. The CRC is checked here: what comes out is what the producer put in.

import {
  CONTROL_BIT,
  RecordCursor,
  inspectBatch,
  readAttributes,
  readBaseTimestamp,
  readBatchBytes,
  readLastOffset,
  readLeaderEpoch,
  type OpenedCursor,
} from '@sluice/protocol/record';
import { Message, type MessageSource, type ReadableTopic } from './message.ts';
import type { Piece } from './partition-read.ts';
import { SluiceError } from './sluice-error.ts';

export interface Decoded<Key, Value> {
  readonly messages: Message<Key, Value>[];
  /** The offset after everything that was looked at. */
  readonly nextOffset: number;
}

/** From here on an array is handed out, although the next batch is there. */
const MESSAGES_ENOUGH = 500;
const CODEC_BITS = 0x07;
const CHECKED = { bytesMax: Number.MAX_SAFE_INTEGER, verifyCrc: true };

export class MessageDecoder<Key, Value> {
  readonly piece: Piece;
  readonly #topic: ReadableTopic<Key, Value>;
  #at = 0;

  constructor(piece: Piece, topic: ReadableTopic<Key, Value>) {
    this.piece = piece;
    this.#topic = topic;
  }

  get isDone(): boolean {
    return this.#at >= this.piece.bytes.length;
  }

  /** The next array; a promise where something has to be inflated off the loop. */
  next(): Decoded<Key, Value> | Promise<Decoded<Key, Value>> {
    const messages: Message<Key, Value>[] = [];
    let nextOffset = 0;
    while (!this.isDone) {
      const batch = this.#peek();
      const isPlain = (readAttributes(batch, 0) & CODEC_BITS) === 0;
      if (!isPlain && messages.length > 0) break;
      this.#at += batch.length;
      nextOffset = readLastOffset(batch, 0) + 1;
      if ((readAttributes(batch, 0) & CONTROL_BIT) !== 0) continue;
      if (!isPlain) return this.#inflated(batch, nextOffset);
      this.#read(batch, RecordCursor.open(batch), messages);
      if (messages.length >= MESSAGES_ENOUGH) break;
    }
    return { messages, nextOffset };
  }

  async #inflated(batch: Uint8Array, nextOffset: number): Promise<Decoded<Key, Value>> {
    const messages: Message<Key, Value>[] = [];
    this.#read(batch, await RecordCursor.openOffLoop(batch), messages);
    return { messages, nextOffset };
  }

  #peek(): Uint8Array {
    const { bytes } = this.piece;
    const inspection = inspectBatch(bytes, this.#at, CHECKED);
    if (!inspection.ok) throw this.#corrupt('detail' in inspection.fault ? inspection.fault.detail : 'cut off');
    return bytes.subarray(this.#at, this.#at + readBatchBytes(bytes, this.#at));
  }

  #read(batch: Uint8Array, opened: OpenedCursor, messages: Message<Key, Value>[]): void {
    if (!opened.ok) throw this.#corrupt('detail' in opened.fault ? opened.fault.detail : 'cut off');
    const { cursor } = opened;
    const { read } = this.piece;
    const from = read.position ?? 0;
    const until = read.endOffset ?? Number.POSITIVE_INFINITY;
    let source: MessageSource<Key, Value> | null = null;
    while (cursor.next()) {
      if (cursor.offset < from) continue;
      if (cursor.offset >= until) break;
      source ??= {
        topic: this.#topic,
        partition: read.partition,
        baseOffset: cursor.offset,
        baseTimestamp: readBaseTimestamp(batch, 0),
        leaderEpoch: readLeaderEpoch(batch, 0),
        bytes: cursor.bytes,
      };
      messages.push(new Message(source, cursor));
    }
    if (cursor.fault !== null) throw this.#corrupt('detail' in cursor.fault ? cursor.fault.detail : 'cut off');
  }

  #corrupt(detail: string): SluiceError {
    const { name } = this.#topic;
    const { partition, position } = this.piece.read;
    return new SluiceError('CORRUPT_BATCH', `${name}/${partition}, at or after offset ${position ?? 0}: ${detail}`, {
      facts: { topic: name, partition, offset: position },
    });
  }
}

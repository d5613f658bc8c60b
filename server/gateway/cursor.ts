// A cursor: where a read of one topic stands, as text that a client keeps and gives back.
//
//   +---------+----------+--------------+------------------------------------+----------+
//   | version | topic id | count varint | count x (partition, next offset)   | CRC-32C  |
//   |    1    |    16    |              |  varints, partitions ascending     |    4     |
//   +---------+----------+--------------+------------------------------------+----------+
//                                                        all of it base64url without padding
//
// Varints are unsigned, least significant seven bits first, in their shortest form only, so that equal positions have
// one spelling. The checksum is over everything before it, big-endian. It protects against truncation and typing, not
// against a client that means harm: a made-up cursor can name nothing that `offset=` could not.
//
// Guarantees: decoding never throws and accepts exactly what encoding makes.

import type { Offset, TopicId } from '@sluice/protocol/ids';
import { isOffset, topicIdBytes, topicIdFromBytes } from '@sluice/protocol/ids';
import { crc32c } from '@sluice/protocol/record';
import { CURSOR_CHARS_MAX, PARTITIONS_PER_TOPIC_MAX, READ_PARTITIONS_MAX } from '../base/limits.ts';
import type { TextBuffer } from './text-buffer.ts';

export interface CursorPosition {
  readonly partition: number;
  readonly offset: Offset;
}

export interface Cursor {
  readonly topicId: TopicId;
  readonly positions: readonly CursorPosition[];
}

const VERSION = 1;
const TOPIC_ID_AT = 1;
const COUNT_AT = 17;
const CHECKSUM_BYTES = 4;
/** 256 positions of a partition below 2^14 and an offset below 2^53 (2 and 8 bytes) still fit into the limit. */
const VARINT_BYTES_MAX = 8;

/** Base64 spells three bytes with four characters. */
const GROUP_BYTES = 3;
const GROUP_CHARS = 4;
const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_');
const charsOf = (byteCount: number): number => Math.ceil((byteCount * GROUP_CHARS) / GROUP_BYTES);

export const encodeCursor = (cursor: Cursor): string => new CursorWriter(cursor).toString();

interface Place {
  readonly index: number;
  readonly partition: number;
  offset: Offset;
  /** Where the offset stands in the bytes. */
  start: number;
  end: number;
}

/**
 * The cursors of a read that goes on, one for each record that it passes: encoding each from nothing costs several times
 * what the record costs. Bytes and characters are kept, and a move writes anew what it changes: one offset and the
 * checksum, and what lies behind the offset only where its length changed.
 *
 * Invariant: the characters spell the bytes, and the bytes are those of the positions.
 */
export class CursorWriter {
  readonly #bytes: Uint8Array;
  readonly #chars: Buffer;
  readonly #places: readonly Place[];
  readonly #byPartition: ReadonlyMap<number, Place>;
  /** Of the positions: the checksum follows. */
  #end: number;
  #charCount = 0;

  constructor({ topicId, positions }: Cursor) {
    const sorted = positions.length === 1 ? positions : positions.toSorted((a, b) => a.partition - b.partition);
    this.#places = sorted.map(({ partition, offset }, index) => ({ index, partition, offset, start: 0, end: 0 }));
    this.#byPartition = new Map(this.#places.map(place => [place.partition, place]));
    const bytesMax = COUNT_AT + (1 + 2 * sorted.length) * VARINT_BYTES_MAX + CHECKSUM_BYTES;
    this.#bytes = new Uint8Array(bytesMax + GROUP_BYTES);
    this.#chars = Buffer.allocUnsafe(charsOf(bytesMax) + GROUP_CHARS);
    this.#bytes[0] = VERSION;
    this.#bytes.set(topicIdBytes(topicId), TOPIC_ID_AT);
    this.#end = writeUnsigned(this.#bytes, COUNT_AT, sorted.length);
    this.#layOut(0);
    this.#seal();
    this.#spell(0, this.#end);
  }

  /** Relies on the partition being one of the read's. */
  move(partition: number, offset: Offset): void {
    const place = this.#byPartition.get(partition)!;
    place.offset = offset;
    const { start, end } = place;
    if (writeUnsigned(this.#bytes, start, offset) === end) {
      this.#seal();
      this.#spell(start, end);
      return;
    }
    this.#layOut(place.index);
    this.#seal();
    this.#spell(start, this.#end);
  }

  writeTo(out: TextBuffer): void {
    out.bytes(this.#chars, 0, this.#charCount);
  }

  toString(): string {
    return this.#chars.toString('latin1', 0, this.#charCount);
  }

  /** Writes the positions from this one on behind the one before it. */
  #layOut(from: number): void {
    let at = from === 0 ? writeUnsigned(this.#bytes, COUNT_AT, this.#places.length) : this.#places[from - 1]!.end;
    for (let index = from; index < this.#places.length; index++) {
      const place = this.#places[index]!;
      place.start = writeUnsigned(this.#bytes, at, place.partition);
      place.end = writeUnsigned(this.#bytes, place.start, place.offset);
      at = place.end;
    }
    this.#end = at;
  }

  /** Writes the checksum, and zeros behind it for the bits of the last character that nothing fills. */
  #seal(): void {
    const bytes = this.#bytes;
    const end = this.#end;
    const checksum = crc32c(bytes, 0, end);
    bytes[end] = checksum >>> 24;
    bytes[end + 1] = checksum >>> 16;
    bytes[end + 2] = checksum >>> 8;
    bytes[end + 3] = checksum;
    bytes[end + CHECKSUM_BYTES] = 0;
    bytes[end + CHECKSUM_BYTES + 1] = 0;
    this.#charCount = charsOf(end + CHECKSUM_BYTES);
    this.#spell(end, end + CHECKSUM_BYTES);
  }

  /** Writes the characters of the groups that hold these bytes. */
  #spell(start: number, end: number): void {
    const bytes = this.#bytes;
    const chars = this.#chars;
    let at = start - (start % GROUP_BYTES);
    let char = (at / GROUP_BYTES) * GROUP_CHARS;
    for (; at < end; at += GROUP_BYTES) {
      const group = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      chars[char++] = ALPHABET[group >> 18]!;
      chars[char++] = ALPHABET[(group >> 12) & 0x3f]!;
      chars[char++] = ALPHABET[(group >> 6) & 0x3f]!;
      chars[char++] = ALPHABET[group & 0x3f]!;
    }
  }
}

/** Null for everything that encodeCursor did not make. */
export const decodeCursor = (text: string): Cursor | null => {
  if (text.length > CURSOR_CHARS_MAX || !/^[A-Za-z0-9_-]+$/.test(text)) return null;
  const bytes = Buffer.from(text, 'base64url');
  const end = bytes.length - CHECKSUM_BYTES;
  // The last character may carry bits that decoding ignores; only one spelling is ours.
  if (end <= COUNT_AT || bytes[0] !== VERSION || bytes.toString('base64url') !== text) return null;
  if (bytes.readUInt32BE(end) !== crc32c(bytes, 0, end)) return null;
  const span = { bytes, at: COUNT_AT, end };
  const count = readUnsigned(span);
  if (count === null || count < 1 || count > READ_PARTITIONS_MAX) return null;
  const positions: CursorPosition[] = [];
  let previous = -1;
  for (let index = 0; index < count; index++) {
    const partition = readUnsigned(span);
    const offset = readUnsigned(span);
    if (partition === null || offset === null || !isOffset(offset)) return null;
    if (partition <= previous || partition >= PARTITIONS_PER_TOPIC_MAX) return null;
    previous = partition;
    positions.push({ partition, offset });
  }
  if (span.at !== end) return null;
  return { topicId: topicIdFromBytes(bytes.subarray(TOPIC_ID_AT, COUNT_AT)), positions };
};

const writeUnsigned = (bytes: Uint8Array, from: number, value: number): number => {
  let at = from;
  let rest = value;
  // Above 31 bits shifting would cut; below it is much quicker than dividing.
  for (; rest > 0x7fffffff; rest = Math.floor(rest / 0x80)) bytes[at++] = (rest % 0x80) | 0x80;
  for (; rest >= 0x80; rest >>>= 7) bytes[at++] = rest | 0x80;
  bytes[at++] = rest;
  return at;
};

const readUnsigned = (span: { readonly bytes: Buffer; at: number; readonly end: number }): number | null => {
  let value = 0;
  let scale = 1;
  for (let length = 0; length < VARINT_BYTES_MAX; length++) {
    if (span.at >= span.end) return null;
    const byte = span.bytes[span.at++]!;
    value += (byte & 0x7f) * scale;
    scale *= 0x80;
    if (byte < 0x80) return byte === 0 && length > 0 ? null : value;
  }
  return null;
};

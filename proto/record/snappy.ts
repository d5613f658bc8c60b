// Snappy as Kafka's clients write it: blocks of snappy in the frame of snappy-java ("xerial").
//
//   frame:   magic 82 'SNAPPY' 00 | version int32 | compatible with int32 | chunk …        integers big-endian
//   chunk:   length int32 | block
//   block:   uncompressed length varint | element …                                        integers little-endian
//   element: tag 1, its low two bits say what follows:
//            00  literal: length - 1 in the upper six bits, or 60 to 63 there and in the 1 to 4 bytes behind | bytes
//            01  repeat: length - 4 in bits 2-4, distance in bits 5-7 and 1 byte
//            10  repeat: length - 1 in the upper six bits, distance in 2 bytes
//            11  repeat: length - 1 in the upper six bits, distance in 4 bytes
//
// Reading: as Kafka's Java reader takes them, also a bare block without a frame (some clients write that), and frames one
// behind the other. Every block tells its length, so the output is measured before it is allocated, and no block is
// believed that promises more than its bytes can hold. A repeat never reaches out of its block.
// Writing: chunks of 32 KiB uncompressed, as snappy-java cuts them.
//
// Format: https://github.com/google/snappy/blob/main/format_description.txt, and snappy-java's SnappyCodec.

import { BlockDeflation, BlockInflation } from './block-work.ts';
import { malformed, tooLarge, type OpenedInflation, type Piecework } from './piecework.ts';
import { LOOPED_BYTES, copyRepeat, plainBytes, repeatTable, slotOf, wordAt } from './repeat.ts';

const MAGIC = Uint8Array.of(0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00);
const FRAME_HEADER_BYTES = 16;
const VERSION = 1;
const CHUNK_BYTES = 32_768;
const LENGTH_BYTES = 4;
/** A chunk's length, the block's own, and the tag of one literal: no chunk is longer than that and what it holds. */
const CHUNK_OVERHEAD_BYTES_MAX = LENGTH_BYTES + 3 + 3;
/** By how much one outgrows that before it is seen: a byte in 65, for repeats that save nothing between literals. */
const CHUNK_SLACK_BYTES = CHUNK_BYTES / 32;

const TAG_LITERAL = 0;
const TAG_REPEAT_1 = 1;
const TAG_REPEAT_2 = 2;
const REPEAT_BYTES_MIN = 4;
const REPEAT_BYTES_MAX = 64;
/** The best that an element can do: 64 bytes out of three. */
const BEST_ELEMENT = { output: 64, input: 3 };

const BROKEN_ELEMENT = 'snappy: an element reaches out of its block';
const BROKEN_REPEAT = 'snappy: a repeat of bytes before its block';
const SHORT_BLOCK = 'snappy: a block is shorter than it promises';

export function snappyDeflation(input: Uint8Array): Piecework {
  return new Deflation(input);
}

class Deflation extends BlockDeflation {
  constructor(input: Uint8Array) {
    const chunks = Math.ceil(input.length / CHUNK_BYTES);
    const outputBytesMax = FRAME_HEADER_BYTES + input.length + chunks * CHUNK_OVERHEAD_BYTES_MAX + CHUNK_SLACK_BYTES;
    super(input, { blockBytes: CHUNK_BYTES, headerBytes: FRAME_HEADER_BYTES, outputBytesMax });
    this.target.set(MAGIC);
    this.buffer.writeInt32BE(VERSION, 8);
    this.buffer.writeInt32BE(VERSION, 12);
  }

  protected writeBlock(end: number): number {
    const blockEnd = this.#compress(end);
    this.buffer.writeInt32BE(blockEnd - this.at - LENGTH_BYTES, this.at);
    return blockEnd;
  }

  protected writeEnd(): number {
    return this.at;
  }

  /** Writes the block of what stands before `end`; answers where it ends. */
  #compress(end: number): number {
    const { input, target, from: start } = this;
    const { table, shift } = repeatTable(end - start);
    const bodyAt = putPreamble(target, this.at + LENGTH_BYTES, end - start);
    let at = bodyAt;
    let literal = start;
    let position = start;
    let misses = 0;
    while (position <= end - REPEAT_BYTES_MIN) {
      const word = wordAt(input, position);
      const slot = slotOf(word, shift);
      let earlier = table[slot]!;
      table[slot] = position;
      if (earlier < start || wordAt(input, earlier) !== word) {
        // The longer nothing repeats, the larger the steps: noise is passed quickly.
        position += 1 + (misses++ >>> 5);
        continue;
      }
      misses = 0;
      while (position > literal && earlier > start && input[position - 1] === input[earlier - 1]) {
        position--;
        earlier--;
      }
      if (position > literal) at = putLiteral(target, at, input.subarray(literal, position));
      const distance = position - earlier;
      literal = position + REPEAT_BYTES_MIN;
      while (literal < end && input[literal] === input[literal - distance]) literal++;
      at = putRepeat(target, at, { distance, length: literal - position });
      position = literal;
      if (position <= end - 2) table[slotOf(wordAt(input, position - 2), shift)] = position - 2;
    }
    if (literal < end) at = putLiteral(target, at, input.subarray(literal, end));
    return at - bodyAt <= end - start ? at : putLiteral(target, bodyAt, input.subarray(start, end));
  }
}

function putPreamble(target: Uint8Array, at: number, length: number): number {
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) target[at++] = (rest & 0x7f) | 0x80;
  target[at++] = rest;
  return at;
}

/** At most 64 KiB, so two bytes hold any length. */
function putLiteral(target: Uint8Array, at: number, literal: Uint8Array): number {
  const last = literal.length - 1;
  if (last < 60) {
    target[at++] = (last << 2) | TAG_LITERAL;
  } else if (last < 0x100) {
    target[at++] = (60 << 2) | TAG_LITERAL;
    target[at++] = last;
  } else {
    target[at++] = (61 << 2) | TAG_LITERAL;
    target[at++] = last & 0xff;
    target[at++] = last >>> 8;
  }
  target.set(literal, at);
  return at + literal.length;
}

function putRepeat(target: Uint8Array, at: number, repeat: { distance: number; length: number }): number {
  const { distance } = repeat;
  let { length } = repeat;
  // What is left after the long ones must be long enough for the short form.
  while (length >= REPEAT_BYTES_MAX + REPEAT_BYTES_MIN) {
    at = putLongRepeat(target, at, { distance, length: REPEAT_BYTES_MAX });
    length -= REPEAT_BYTES_MAX;
  }
  if (length > REPEAT_BYTES_MAX) {
    at = putLongRepeat(target, at, { distance, length: REPEAT_BYTES_MAX - REPEAT_BYTES_MIN });
    length -= REPEAT_BYTES_MAX - REPEAT_BYTES_MIN;
  }
  if (length >= 12 || distance >= 2048) return putLongRepeat(target, at, { distance, length });
  target[at++] = ((distance >>> 8) << 5) | ((length - REPEAT_BYTES_MIN) << 2) | TAG_REPEAT_1;
  target[at++] = distance & 0xff;
  return at;
}

function putLongRepeat(target: Uint8Array, at: number, repeat: { distance: number; length: number }): number {
  target[at++] = ((repeat.length - 1) << 2) | TAG_REPEAT_2;
  target[at++] = repeat.distance & 0xff;
  target[at++] = repeat.distance >>> 8;
  return at;
}

/** Measures the output and allocates it. */
export function snappyInflation(bytes: Uint8Array, bytesMax: number): OpenedInflation {
  const input = plainBytes(bytes);
  const blocks = new BlockWalk(input);
  let outputBytes = 0;
  while (blocks.next()) {
    outputBytes += blocks.outputBytes;
    if (outputBytes > bytesMax) return tooLarge(bytesMax);
  }
  if (blocks.fault !== null) return malformed(blocks.fault);
  return { ok: true, inflation: new Inflation(input, outputBytes) };
}

/** From block to block of a frame, or to the one bare block. */
class BlockWalk {
  /** The first element of the block, and what is behind its last. */
  start = 0;
  end = 0;
  outputBytes = 0;
  /** Why there is no next block; null at a sound end. */
  fault: string | null = null;
  readonly #input: Uint8Array;
  readonly #isFramed: boolean;
  #isBegun = false;

  constructor(input: Uint8Array) {
    this.#input = input;
    this.#isFramed = isMagicAt(input, 0);
  }

  next(): boolean {
    const input = this.#input;
    if (this.fault !== null || (this.#isBegun && this.end === input.length)) return false;
    let end = input.length;
    if (this.#isFramed) {
      let at = this.end;
      while (isMagicAt(input, at)) {
        if (at + FRAME_HEADER_BYTES > input.length) return this.#broken('the header of a frame is cut off');
        if (int32At(input, at + 12) < VERSION) return this.#broken('the frame is of a version before the first');
        at += FRAME_HEADER_BYTES;
      }
      this.end = at;
      this.#isBegun = true;
      if (at === input.length) return false;
      if (at + LENGTH_BYTES > input.length) return this.#broken('the length of a block is cut off');
      const length = int32At(input, at);
      this.start = at + LENGTH_BYTES;
      end = this.start + length;
      if (length <= 0 || end > input.length) return this.#broken(`a block of ${length} bytes`);
    }
    this.#isBegun = true;
    this.end = end;
    return this.#readPreamble();
  }

  #readPreamble(): boolean {
    let length = 0;
    let scale = 1;
    for (let byte = 0x80; byte > 0x7f; scale *= 0x80) {
      if (this.start === this.end || scale > 0x80 ** 4) return this.#broken('a block does not tell its length');
      byte = this.#input[this.start++]!;
      length += (byte & 0x7f) * scale;
    }
    const bodyBytes = this.end - this.start;
    if (length * BEST_ELEMENT.input > bodyBytes * BEST_ELEMENT.output) {
      return this.#broken(`${bodyBytes} bytes cannot hold the ${length} that they promise`);
    }
    this.outputBytes = length;
    return true;
  }

  #broken(detail: string): boolean {
    this.fault = `snappy: ${detail}`;
    return false;
  }
}

class Inflation extends BlockInflation {
  readonly #blocks: BlockWalk;
  /** Where the bytes of the block begin and end. */
  #targetStart = 0;
  #targetEnd = 0;

  constructor(input: Uint8Array, outputBytes: number) {
    super(input, outputBytes);
    this.#blocks = new BlockWalk(input);
  }

  protected beginBlock(): boolean {
    const blocks = this.#blocks;
    if (!blocks.next()) return false;
    this.from = blocks.start;
    this.blockEnd = blocks.end;
    this.#targetStart = this.at;
    this.#targetEnd = this.at + blocks.outputBytes;
    return true;
  }

  protected readBlock(pause: number): string | null {
    const { input, target, blockEnd } = this;
    const targetStart = this.#targetStart;
    const targetEnd = this.#targetEnd;
    let { from, at } = this;
    while (from < blockEnd && from + at < pause) {
      const tag = input[from++]!;
      const kind = tag & 3;
      let length = (tag >>> 2) + 1;
      if (kind === TAG_LITERAL) {
        if (length > 60) {
          const more = length - 60;
          if (from + more > blockEnd) return BROKEN_ELEMENT;
          length = uintAt(input, from, more) + 1;
          from += more;
        }
        if (length > blockEnd - from || length > targetEnd - at) return BROKEN_ELEMENT;
        if (length > LOOPED_BYTES) target.set(input.subarray(from, from + length), at);
        else for (let index = 0; index < length; index++) target[at + index] = input[from + index]!;
        from += length;
        at += length;
        continue;
      }
      let distance = 0;
      if (kind === TAG_REPEAT_1) {
        if (from >= blockEnd) return BROKEN_ELEMENT;
        length = ((tag >>> 2) & 7) + REPEAT_BYTES_MIN;
        distance = ((tag >>> 5) << 8) | input[from++]!;
      } else {
        const bytes = kind === TAG_REPEAT_2 ? 2 : 4;
        if (from + bytes > blockEnd) return BROKEN_ELEMENT;
        distance = uintAt(input, from, bytes);
        from += bytes;
      }
      if (distance === 0 || distance > at - targetStart) return BROKEN_REPEAT;
      if (length > targetEnd - at) return BROKEN_ELEMENT;
      if (length > LOOPED_BYTES) copyRepeat(target, { at, distance, length });
      else for (let index = 0; index < length; index++) target[at + index] = target[at + index - distance]!;
      at += length;
    }
    this.from = from;
    this.at = at;
    return from === blockEnd && at !== targetEnd ? SHORT_BLOCK : null;
  }
}

function isMagicAt(input: Uint8Array, at: number): boolean {
  for (let index = 0; index < MAGIC.length; index++) if (input[at + index] !== MAGIC[index]) return false;
  return true;
}

function int32At(input: Uint8Array, at: number): number {
  return (input[at]! << 24) | (input[at + 1]! << 16) | (input[at + 2]! << 8) | input[at + 3]!;
}

/** One to four bytes, the lowest first. */
function uintAt(input: Uint8Array, at: number, bytes: number): number {
  let value = 0;
  for (let index = bytes - 1; index >= 0; index--) value = value * 0x100 + input[at + index]!;
  return value;
}

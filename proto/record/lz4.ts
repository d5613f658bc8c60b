// LZ4 as Kafka's clients write it: the frame format, version 01.
//
//   frame:    magic 184D2204 | FLG 1 | BD 1 | content size 8, optional | header checksum 1
//             | block … | 00000000 | content checksum 4, optional                          integers little-endian
//   FLG:      bits 7-6 version 01, 5 blocks are independent, 4 block checksums, 3 content size, 2 content checksum,
//             1 zero, 0 dictionary
//   BD:       bits 6-4 the largest block: 4 for 64 KiB, 5, 6, 7 for 4 MiB; the others zero
//   block:    length 4, its high bit set where the bytes are stored as they are | bytes | checksum 4, optional
//   bytes:    sequence …, the last one without repeat
//   sequence: token 1 | more of the literal length … | literals | distance 2 | more of the repeat length …
//             token: literal length in the upper four bits, repeat length - 4 in the lower; 15 means that more follows,
//             bytes that are added up until one is not 255
//
// Reading: one frame, and nothing behind it. Frames one behind the other, and those to be skipped, are refused: Kafka's
// own reader ends after the first, so whoever sent them would lose records without a word. Linked blocks are read though
// Kafka refuses them; each checksum that is there is verified; a dictionary is refused. The lengths of all sequences are
// walked first, so the output is measured before it is allocated, and copying has only distances left to check.
// Writing: independent blocks of 64 KiB without checksums (the batch has one), as Kafka's Java client does.
//
// Format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md and lz4_Block_format.md beside it.

import { BlockDeflation, BlockInflation } from './block-work.ts';
import { malformed, tooLarge, type OpenedInflation, type Piecework } from './piecework.ts';
import { LOOPED_BYTES, copyRepeat, plainBytes, repeatTable, slotOf, wordAt } from './repeat.ts';
import { RunningXxhash32, xxhash32 } from './xxhash32.ts';

const MAGIC = 0x184d2204;
const VERSION = 1;
const FLAG_INDEPENDENT = 0x20;
const FLAG_BLOCK_CHECKSUM = 0x10;
const FLAG_CONTENT_SIZE = 0x08;
const FLAG_CONTENT_CHECKSUM = 0x04;
const FLAG_RESERVED = 0x02;
const FLAG_DICTIONARY = 0x01;

const LENGTH_BYTES = 4;
const CHECKSUM_BYTES = 4;
const STORED = 0x80000000;

const BLOCK_BYTES = 65_536;
/** Magic, flags, and the checksum of the two. */
const WRITTEN_HEADER = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82);
const REPEAT_BYTES_MIN = 4;
/** The format keeps the end of a block free of repeats, for readers that copy more than they must. */
const LAST_REPEAT_BEFORE_END = 12;
const LITERALS_AT_END = 5;
const LONG = 15;

const BROKEN_REPEAT = 'lz4: a repeat of bytes before its block';

export function lz4Deflation(input: Uint8Array): Piecework {
  return new Deflation(input);
}

class Deflation extends BlockDeflation {
  constructor(input: Uint8Array) {
    const blocks = Math.ceil(input.length / BLOCK_BYTES);
    const headerBytes = WRITTEN_HEADER.length;
    // No block is longer than what it holds: it would be stored instead.
    const outputBytesMax = headerBytes + blocks * LENGTH_BYTES + input.length + LENGTH_BYTES;
    super(input, { blockBytes: BLOCK_BYTES, headerBytes, outputBytesMax });
    this.target.set(WRITTEN_HEADER);
  }

  protected writeBlock(end: number): number {
    const { from, at } = this;
    const start = at + LENGTH_BYTES;
    const compressedEnd = this.#compress(end);
    const isStored = compressedEnd < 0;
    if (isStored) this.target.set(this.input.subarray(from, end), start);
    const length = isStored ? end - from : compressedEnd - start;
    this.buffer.writeUInt32LE(isStored ? length + STORED : length, at);
    return start + length;
  }

  protected writeEnd(): number {
    return this.buffer.writeUInt32LE(0, this.at);
  }

  /** Writes the sequences of what stands before `end`; answers where they end, or -1 when they save nothing. */
  #compress(end: number): number {
    const { input, target, from: start } = this;
    const { table, shift } = repeatTable(end - start);
    let at = this.at + LENGTH_BYTES;
    const atMax = at + (end - start);
    const repeatsEnd = end - LITERALS_AT_END;
    const positionMax = end - LAST_REPEAT_BEFORE_END;
    let literal = start;
    let position = start;
    let misses = 0;
    while (position <= positionMax) {
      const word = wordAt(input, position);
      const slot = slotOf(word, shift);
      let earlier = table[slot]!;
      table[slot] = position;
      if (earlier < start || wordAt(input, earlier) !== word) {
        // The longer nothing repeats, the larger the steps: noise is passed quickly.
        position += 1 + (misses++ >>> 6);
        continue;
      }
      misses = 0;
      while (position > literal && earlier > start && input[position - 1] === input[earlier - 1]) {
        position--;
        earlier--;
      }
      const literals = position - literal;
      const distance = position - earlier;
      let repeatEnd = position + REPEAT_BYTES_MIN;
      while (repeatEnd < repeatsEnd && input[repeatEnd] === input[repeatEnd - distance]) repeatEnd++;
      const more = repeatEnd - position - REPEAT_BYTES_MIN;
      if (at + literals + 5 + lengthBytes(literals) + lengthBytes(more) > atMax) return -1;
      const tokenAt = at++;
      target[tokenAt] = (Math.min(literals, LONG) << 4) | Math.min(more, LONG);
      if (literals >= LONG) at = putLength(target, at, literals - LONG);
      if (literals > LOOPED_BYTES) target.set(input.subarray(literal, position), at);
      else for (let index = 0; index < literals; index++) target[at + index] = input[literal + index]!;
      at += literals;
      target[at++] = distance & 0xff;
      target[at++] = distance >>> 8;
      if (more >= LONG) at = putLength(target, at, more - LONG);
      literal = repeatEnd;
      position = repeatEnd;
      table[slotOf(wordAt(input, position - 2), shift)] = position - 2;
    }
    const literals = end - literal;
    if (at + 1 + lengthBytes(literals) + literals >= atMax) return -1;
    target[at++] = Math.min(literals, LONG) << 4;
    if (literals >= LONG) at = putLength(target, at, literals - LONG);
    target.set(input.subarray(literal, end), at);
    return at + literals;
  }
}

/** An upper bound of what a length takes behind its token. */
function lengthBytes(length: number): number {
  return length < LONG ? 0 : Math.floor((length - LONG) / 255) + 1;
}

function putLength(target: Uint8Array, at: number, length: number): number {
  let rest = length;
  for (; rest >= 255; rest -= 255) target[at++] = 255;
  target[at++] = rest;
  return at;
}

interface FrameHeader {
  readonly flags: number;
  readonly blockBytesMax: number;
  readonly contentSize: bigint | null;
  /** Where the first block begins. */
  readonly end: number;
}

/** Measures the output and allocates it. */
export function lz4Inflation(bytes: Uint8Array, bytesMax: number): OpenedInflation {
  const input = plainBytes(bytes);
  const header = readHeader(input);
  if (typeof header === 'string') return malformed(`lz4: ${header}`);
  const blocks = new BlockWalk(input, header);
  let outputBytes = 0;
  while (blocks.next()) {
    const length = blocks.isStored ? blocks.end - blocks.start : measured(input, blocks);
    if (length < 0 || length > header.blockBytesMax) return malformed('lz4: the sequences of a block do not add up');
    outputBytes += length;
    if (outputBytes > bytesMax) return tooLarge(bytesMax);
  }
  if (blocks.fault !== null) return malformed(`lz4: ${blocks.fault}`);
  if (header.contentSize !== null && header.contentSize !== BigInt(outputBytes)) {
    return malformed(`lz4: ${outputBytes} bytes where the header says ${header.contentSize}`);
  }
  return { ok: true, inflation: new Inflation(input, { header, outputBytes }) };
}

function readHeader(input: Uint8Array): FrameHeader | string {
  if (input.length < 7) return 'the header is cut off';
  if (wordAt(input, 0) !== MAGIC) return 'this is no frame';
  const flags = input[4]!;
  const descriptor = input[5]!;
  if (flags >>> 6 !== VERSION) return `version ${flags >>> 6} of the frame is not known`;
  if ((flags & FLAG_DICTIONARY) !== 0) return 'the frame needs a dictionary';
  const sizeCode = descriptor >>> 4;
  if ((flags & FLAG_RESERVED) !== 0 || (descriptor & 0x0f) !== 0 || sizeCode < 4 || sizeCode > 7) {
    return 'the header has bits that mean nothing';
  }
  const hasSize = (flags & FLAG_CONTENT_SIZE) !== 0;
  const checksumAt = hasSize ? 14 : 6;
  if (input.length <= checksumAt) return 'the header is cut off';
  if (input[checksumAt] !== ((xxhash32(input, 4, checksumAt) >>> 8) & 0xff)) return 'the header fails its checksum';
  return {
    flags,
    blockBytesMax: 1 << (8 + 2 * sizeCode),
    contentSize: hasSize ? Buffer.from(input.buffer, input.byteOffset).readBigUInt64LE(6) : null,
    end: checksumAt + 1,
  };
}

/** From block to block of a frame. */
class BlockWalk {
  /** The bytes of the block. */
  start = 0;
  end = 0;
  isStored = false;
  /** Why there is no next block; null at a sound end. */
  fault: string | null = null;
  readonly #input: Uint8Array;
  readonly #header: FrameHeader;
  #next: number;

  constructor(input: Uint8Array, header: FrameHeader) {
    this.#input = input;
    this.#header = header;
    this.#next = header.end;
  }

  next(): boolean {
    const input = this.#input;
    const { flags, blockBytesMax } = this.#header;
    const at = this.#next;
    if (at + LENGTH_BYTES > input.length) return this.#broken('the frame is cut off');
    const word = wordAt(input, at);
    const length = word & ~STORED;
    this.start = at + LENGTH_BYTES;
    if (word === 0) {
      const end = this.start + ((flags & FLAG_CONTENT_CHECKSUM) === 0 ? 0 : CHECKSUM_BYTES);
      if (end > input.length) return this.#broken('the frame is cut off');
      return end < input.length ? this.#broken('there is more behind the frame') : false;
    }
    if (length === 0 || length > blockBytesMax) return this.#broken(`a block of ${length} bytes`);
    this.isStored = word < 0;
    this.end = this.start + length;
    this.#next = this.end + ((flags & FLAG_BLOCK_CHECKSUM) === 0 ? 0 : CHECKSUM_BYTES);
    return this.#next <= input.length || this.#broken('a block is cut off');
  }

  #broken(fault: string): boolean {
    this.fault = fault;
    return false;
  }
}

/** What a block's sequences inflate to; -1 where they do not end with the block. */
function measured(input: Uint8Array, block: { readonly start: number; readonly end: number }): number {
  const { start, end } = block;
  let from = start;
  let bytes = 0;
  while (from < end) {
    const token = input[from++]!;
    let length = token >>> 4;
    if (length === LONG) {
      let more = 255;
      while (more === 255 && from < end) length += more = input[from++]!;
      if (more === 255) return -1;
    }
    from += length;
    bytes += length;
    if (from >= end) return from === end ? bytes : -1;
    from += 2;
    length = (token & LONG) + REPEAT_BYTES_MIN;
    if (length === LONG + REPEAT_BYTES_MIN) {
      let more = 255;
      while (more === 255 && from < end) length += more = input[from++]!;
      if (more === 255) return -1;
    }
    bytes += length;
  }
  // The last sequence has no repeat, so a block that ends with one is cut off.
  return -1;
}

/** Relies on every block having been measured. */
class Inflation extends BlockInflation {
  readonly #flags: number;
  readonly #blocks: BlockWalk;
  readonly #checksum: RunningXxhash32 | null;
  /** The first byte that a repeat may fetch. */
  #windowStart = 0;

  constructor(input: Uint8Array, frame: { readonly header: FrameHeader; readonly outputBytes: number }) {
    super(input, frame.outputBytes);
    this.#flags = frame.header.flags;
    this.#blocks = new BlockWalk(input, frame.header);
    this.#checksum = (this.#flags & FLAG_CONTENT_CHECKSUM) === 0 ? null : new RunningXxhash32(this.target, 0);
  }

  protected override paused(): void {
    this.#checksum?.take(this.at);
  }

  /** Stored blocks are done with by this alone. False at the end of the frame, and where a checksum fails. */
  protected beginBlock(): boolean {
    const blocks = this.#blocks;
    const { input } = this;
    if (!blocks.next()) {
      if (this.#checksum === null || this.#checksum.digest(this.at) === wordAt(input, blocks.start) >>> 0) return false;
      return this.#broken('the content fails its checksum');
    }
    const { start, end } = blocks;
    if ((this.#flags & FLAG_BLOCK_CHECKSUM) !== 0 && xxhash32(input, start, end) !== wordAt(input, end) >>> 0) {
      return this.#broken('a block fails its checksum');
    }
    this.blockEnd = end;
    this.from = start;
    if ((this.#flags & FLAG_INDEPENDENT) !== 0) this.#windowStart = this.at;
    if (blocks.isStored) {
      this.target.set(input.subarray(start, end), this.at);
      this.at += end - start;
      this.from = end;
    }
    return true;
  }

  protected readBlock(pause: number): string | null {
    const { input, target, blockEnd } = this;
    const windowStart = this.#windowStart;
    let { from, at } = this;
    while (from < blockEnd && from + at < pause) {
      const token = input[from++]!;
      let length = token >>> 4;
      if (length === LONG) {
        let more = 255;
        while (more === 255) length += more = input[from++]!;
      }
      if (length > LOOPED_BYTES) target.set(input.subarray(from, from + length), at);
      else for (let index = 0; index < length; index++) target[at + index] = input[from + index]!;
      from += length;
      at += length;
      if (from === blockEnd) break;
      const distance = input[from]! | (input[from + 1]! << 8);
      from += 2;
      length = (token & LONG) + REPEAT_BYTES_MIN;
      if (length === LONG + REPEAT_BYTES_MIN) {
        let more = 255;
        while (more === 255) length += more = input[from++]!;
      }
      if (distance === 0 || distance > at - windowStart) return BROKEN_REPEAT;
      if (length > LOOPED_BYTES) copyRepeat(target, { at, distance, length });
      else for (let index = 0; index < length; index++) target[at + index] = target[at + index - distance]!;
      at += length;
    }
    this.from = from;
    this.at = at;
    return null;
  }

  #broken(detail: string): boolean {
    this.fault = `lz4: ${detail}`;
    return false;
  }
}

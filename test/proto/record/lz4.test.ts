// LZ4: the frame and its sequences by hand, what is refused, and that writing and reading undo each other.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lz4Deflation, lz4Inflation } from '../../../proto/record/lz4.ts';
import { PIECE_BYTES } from '../../../proto/record/piecework.ts';
import { xxhash32 } from '../../../proto/record/xxhash32.ts';
import { content, deflated, flips, hex, inflated, text } from './blocks.ts';

const BYTES_MAX = 1 << 24;
const KAFKA_HEADER = '04224d18 60 40 82';
const END = '00000000';
const INDEPENDENT = 0x20;
const BLOCK_CHECKSUM = 0x10;
const CONTENT_SIZE = 0x08;
const CONTENT_CHECKSUM = 0x04;

const read = (digits: string): string => text(inflated(lz4Inflation(hex(digits), BYTES_MAX)));

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

interface FrameParts {
  readonly flags: number;
  readonly descriptor?: number;
  /** As they stand in the frame; those of `stored` are marked so. */
  readonly blocks: readonly ({ readonly sequences: Uint8Array } | { readonly stored: Uint8Array })[];
  readonly content?: Uint8Array;
  readonly contentSize?: number;
}

/** A frame with all the checksums that its flags name. */
function frame({
  flags,
  descriptor = 0x40,
  blocks,
  content = hex(''),
  contentSize = content.length,
}: FrameParts): Buffer {
  const size = Buffer.alloc((flags & CONTENT_SIZE) === 0 ? 0 : 8);
  if (size.length > 0) size.writeBigUInt64LE(BigInt(contentSize));
  const header = Buffer.concat([Buffer.of(0x40 | flags, descriptor), size]);
  const parts: Uint8Array[] = [uint32(0x184d2204), header, Buffer.of((xxhash32(header) >>> 8) & 0xff)];
  for (const block of blocks) {
    const bytes = 'stored' in block ? block.stored : block.sequences;
    parts.push(uint32('stored' in block ? bytes.length + 0x80000000 : bytes.length), bytes);
    if ((flags & BLOCK_CHECKSUM) !== 0) parts.push(uint32(xxhash32(bytes)));
  }
  parts.push(uint32(0));
  if ((flags & CONTENT_CHECKSUM) !== 0) parts.push(uint32(xxhash32(content)));
  return Buffer.concat(parts);
}

const opened = (bytes: Uint8Array): string => text(inflated(lz4Inflation(bytes, BYTES_MAX)));
const block = (digits: string): string => opened(frame({ flags: INDEPENDENT, blocks: [{ sequences: hex(digits) }] }));

describe('the sequences of a block', () => {
  it.each([
    ['literals alone', '30 616263', 'abc'],
    ['15 literals, of which the length goes on', `f0 00 ${'61'.repeat(15)}`, 'a'.repeat(15)],
    ['270 literals', `f0 ff00 ${'61'.repeat(270)}`, 'a'.repeat(270)],
    ['a repeat, then literals', '33 616263 0300 50 76777879 7a', 'abcabcabcavwxyz'],
    ['a run of one byte', '1f 61 0100 0a 10 62', `${'a'.repeat(30)}b`],
    ['a long pattern', `2f 6162 0200 ff 00 10 63`, `${'ab'.repeat(138)}c`],
    ['nothing', '00', ''],
  ])('are read: %s', (_, digits, expected) => {
    expect(block(digits)).toBe(expected);
  });

  it.each([
    ['literals beyond the end', '40 616263', 'do not add up'],
    ['a length that does not end', 'f0 ff', 'do not add up'],
    ['half a distance', '33 616263 03', 'do not add up'],
    ['a repeat at the end', '33 616263 0300', 'do not add up'],
    ['a repeat of which the length does not end', '3f 616263 0300 ff', 'do not add up'],
    ['more than a block may hold', `1f 61 0100 ${'ff'.repeat(258)} 00 10 62`, 'do not add up'],
    ['a distance of zero', '33 616263 0000 10 64', 'before its block'],
    ['a repeat from nowhere', '33 616263 0400 10 64', 'before its block'],
  ])('are refused: %s', (_, digits, expected) => {
    expect(block(digits)).toContain('refused: lz4: ');
    expect(block(digits)).toContain(expected);
  });
});

describe('an LZ4 frame', () => {
  const abc = { stored: Buffer.from('abc') };
  const repeated = { sequences: hex('02 0300 10 64') };

  it('is read with everything that is optional in it', () => {
    const whole = Buffer.from('abcabcabcd');
    for (const flags of [0, BLOCK_CHECKSUM, CONTENT_SIZE, CONTENT_CHECKSUM, 0x1c]) {
      for (const descriptor of [0x40, 0x50, 0x60, 0x70]) {
        // Linked: the second block repeats what stands in the first.
        const linked = frame({ flags, descriptor, blocks: [abc, repeated], content: whole });
        expect(opened(linked)).toBe('abcabcabcd');
      }
    }
  });

  it('of independent blocks has no repeats across them', () => {
    expect(opened(frame({ flags: INDEPENDENT, blocks: [abc, repeated] }))).toContain('before its block');
  });

  it.each([
    ['nothing', '', 'the header is cut off'],
    ['another magic', '05224d18 60 40 82 00000000', 'this is no frame'],
    ['one to be skipped', '50 2a 4d 18 00000000', 'this is no frame'],
    ['another version', '04224d18 a0 40 00 00000000', 'version 2'],
    ['a dictionary', '04224d18 61 40 00 00000000 00000000', 'dictionary'],
    ['a reserved flag', '04224d18 62 40 00 00000000', 'mean nothing'],
    ['a reserved bit of the size', '04224d18 60 41 00 00000000', 'mean nothing'],
    ['a size of block that there is not', '04224d18 60 30 00 00000000', 'mean nothing'],
    ['a wrong checksum of the header', '04224d18 60 40 83 00000000', 'the header fails its checksum'],
    ['no end', KAFKA_HEADER, 'cut off'],
    ['half an end', `${KAFKA_HEADER} 0000`, 'cut off'],
    ['a stored block of no bytes', `${KAFKA_HEADER} 00000080 ${END}`, 'a block of 0 bytes'],
    ['a block that is cut off', `${KAFKA_HEADER} 03000080 6162`, 'cut off'],
    ['a block larger than the header allows', `${KAFKA_HEADER} 01000180 6162 ${END}`, 'a block of 65537 bytes'],
    ['bytes behind its end', `${KAFKA_HEADER} ${END} 00`, 'more behind the frame'],
    ['another frame behind it', `${KAFKA_HEADER} ${END} ${KAFKA_HEADER} ${END}`, 'more behind the frame'],
  ])('is refused: %s', (_, digits, expected) => {
    expect(read(digits)).toContain('refused: lz4: ');
    expect(read(digits)).toContain(expected);
  });

  it('is refused where a checksum or the size does not hold', () => {
    const content = Buffer.from('abd');
    expect(opened(frame({ flags: CONTENT_CHECKSUM, blocks: [abc], content }))).toContain('content fails its checksum');
    expect(opened(frame({ flags: CONTENT_SIZE, blocks: [abc], content: hex('00') }))).toContain('3 bytes where');
    const damaged = frame({ flags: BLOCK_CHECKSUM, blocks: [abc] });
    damaged[11]! ^= 1;
    expect(opened(damaged)).toContain('a block fails its checksum');
  });

  it('is what is written: independent blocks of 64 KiB, what does not shrink stored', () => {
    expect(Buffer.from(deflated(lz4Deflation(hex(''))))).toEqual(Buffer.from(hex(`${KAFKA_HEADER} ${END}`)));
    const short = hex(`${KAFKA_HEADER} 03000080 616263 ${END}`);
    expect(Buffer.from(deflated(lz4Deflation(Buffer.from('abc'))))).toEqual(Buffer.from(short));
    const written = Buffer.from(deflated(lz4Deflation(new Uint8Array(140_000))));
    const lengths: number[] = [];
    let at = 7;
    for (; written.readUInt32LE(at) !== 0; at += 4 + written.readUInt32LE(at)) lengths.push(written.readUInt32LE(at));
    expect(lengths).toHaveLength(3);
    expect(at + 4).toBe(written.length);
  });

  it('gives back any content, and grows by four bytes a block at most', () => {
    fc.assert(
      fc.property(content, bytes => {
        const packed = deflated(lz4Deflation(bytes));
        expect(packed.length).toBeLessThanOrEqual(11 + bytes.length + 4 * Math.ceil(bytes.length / 65_536));
        expect(Buffer.compare(inflated(lz4Inflation(packed, bytes.length)) as Uint8Array, bytes)).toBe(0);
        if (bytes.length > 0) expect(inflated(lz4Inflation(packed, bytes.length - 1))).toBe('decompressed-size');
      }),
      { numRuns: 200 },
    );
  });

  it('is equal for equal content, whatever was compressed before', () => {
    fc.assert(
      fc.property(content, content, (bytes, others) => {
        const first = deflated(lz4Deflation(bytes));
        deflated(lz4Deflation(others));
        expect(Buffer.compare(deflated(lz4Deflation(bytes)), first)).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it('keeps the last bytes of each block free of repeats, as other readers rely on', () => {
    // 32 equal bytes: the repeat must begin 12 bytes before the end and leave 5 literals.
    const written = Buffer.from(deflated(lz4Deflation(new Uint8Array(32))));
    const sequences = written.subarray(11, written.length - 4);
    expect(sequences.subarray(-6)).toEqual(Buffer.of(0x50, 0, 0, 0, 0, 0));
  });

  it('is worked on a piece at a time, however many bytes one block holds', () => {
    const large = new Uint8Array(4 * 1024 * 1024).fill(7);
    const run = Buffer.concat([hex('1f 07 0100'), Buffer.alloc(100, 255), hex('00')]);
    const runBytes = 1 + 19 + 100 * 255;
    const runs = Math.floor(large.length / runBytes);
    const sequences = Buffer.concat([...Array<Buffer>(runs).fill(run), hex('10 07')]);
    const bytes = large.subarray(0, runs * runBytes + 1);
    const flags = CONTENT_CHECKSUM;
    const opening = lz4Inflation(
      frame({ flags, descriptor: 0x70, blocks: [{ sequences }], content: bytes }),
      BYTES_MAX,
    );
    if (!opening.ok) throw new Error(opening.fault.detail);
    let pieces = 1;
    while (opening.inflation.advance()) pieces++;
    expect(opening.inflation.fault).toBeNull();
    expect(Buffer.compare(opening.inflation.output, bytes)).toBe(0);
    expect(pieces).toBeGreaterThanOrEqual(Math.floor(bytes.length / (PIECE_BYTES + runBytes)));
  });

  it('with any bit flipped or any end cut off is refused where it has a checksum', () => {
    const bytes = Buffer.from('the quick brown fox, the quick brown dog, the quick brown fox; '.repeat(3));
    const written = deflated(lz4Deflation(bytes));
    const sequences = written.subarray(11, written.length - 4);
    const flags = INDEPENDENT | CONTENT_CHECKSUM;
    const whole = frame({ flags, blocks: [{ sequences }], content: bytes });
    expect(opened(whole)).toBe(bytes.toString());
    for (const flipped of flips(whole)) expect(opened(flipped)).toContain('refused: lz4: ');
    for (let cut = 0; cut < whole.length; cut++) expect(opened(whole.subarray(0, cut))).toContain('refused: lz4: ');
    for (const flipped of flips(written)) {
      const result = inflated(lz4Inflation(flipped, 4_096));
      if (typeof result !== 'string') expect(result.length).toBeLessThanOrEqual(4_096);
    }
  });

  it('answers for any bytes behind a header', () => {
    const noise = fc.array(fc.oneof(fc.uint8Array({ maxLength: 30 }), fc.constant(hex('03000080 616263'))));
    fc.assert(
      fc.property(noise, parts => {
        const sequences = Buffer.concat(parts);
        for (const bytes of [
          Buffer.concat([hex(KAFKA_HEADER), sequences]),
          frame({ flags: 0, blocks: [{ sequences }, { sequences }] }),
        ]) {
          const result = inflated(lz4Inflation(bytes, 4_096));
          if (typeof result !== 'string') expect(result.length).toBeLessThanOrEqual(4_096);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

// Snappy: every element of the format by hand, what is refused, and that writing and reading undo each other.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PIECE_BYTES } from '../../../proto/record/piecework.ts';
import { snappyDeflation, snappyInflation } from '../../../proto/record/snappy.ts';
import { content, deflated, flips, hex, inflated, text } from './blocks.ts';

const BYTES_MAX = 1 << 24;
const HEADER = '82 53 4e 41 50 50 59 00  00 00 00 01  00 00 00 01';

const read = (digits: string): string => text(inflated(snappyInflation(hex(digits), BYTES_MAX)));

describe('a snappy block', () => {
  it.each([
    ['nothing', '00', ''],
    ['a literal', '03 08 616263', 'abc'],
    ['a literal with its length in one byte', `3d f0 3c ${'61'.repeat(61)}`, 'a'.repeat(61)],
    ['a literal with its length in two bytes', `ac02 f4 2b01 ${'62'.repeat(300)}`, 'b'.repeat(300)],
    ['a literal with its length in three bytes', `3d f8 3c0000 ${'61'.repeat(61)}`, 'a'.repeat(61)],
    ['a literal with its length in four bytes', `3d fc 3c000000 ${'61'.repeat(61)}`, 'a'.repeat(61)],
    ['a repeat with a distance of eleven bits', '07 08 616263 01 03', 'abcabca'],
    ['a repeat with a distance of two bytes', '08 08 616263 12 0300', 'abcabcab'],
    ['a repeat with a distance of four bytes', '08 08 616263 13 03000000', 'abcabcab'],
    ['a run of one byte', '41 00 61 fe 0100', 'a'.repeat(65)],
  ])('reads %s', (_, digits, expected) => {
    expect(read(digits)).toBe(expected);
  });

  it.each([
    ['no bytes at all', '', 'does not tell its length'],
    ['a length that does not end', '8080808080 80', 'does not tell its length'],
    ['more than its bytes can hold', 'ffffffff0f 08 616263', 'cannot hold'],
    ['fewer bytes than it promises', '08 08 616263', 'shorter than it promises'],
    ['more bytes than it promises', '02 08 616263', 'reaches out of its block'],
    ['a literal beyond its end', '05 10 616263', 'reaches out of its block'],
    ['a length beyond its end', '05 f4 61', 'reaches out of its block'],
    ['a length of 4 GiB', '05 fc ffffffff 61', 'reaches out of its block'],
    ['a repeat without its distance', '07 08 616263 01', 'reaches out of its block'],
    ['half a distance', '07 08 616263 12 03', 'reaches out of its block'],
    ['a repeat from nowhere', '07 08 616263 01 04', 'before its block'],
    ['a distance of 4 GiB', '08 08 616263 13 ffffffff', 'before its block'],
    ['a distance of zero', '07 08 616263 01 00', 'before its block'],
    ['a repeat beyond its promise', '04 08 616263 01 03', 'reaches out of its block'],
  ])('with %s is refused', (_, digits, expected) => {
    expect(read(digits)).toMatch(`refused: snappy: `);
    expect(read(digits)).toContain(expected);
  });
});

describe('a frame of snappy-java', () => {
  it.each([
    ['of one block', `${HEADER} 00000005 03 08 616263`, 'abc'],
    ['of two blocks', `${HEADER} 00000005 03 08 616263 00000003 01 00 64`, 'abcd'],
    ['behind another', `${HEADER} 00000005 03 08 616263 ${HEADER} 00000003 01 00 64`, 'abcd'],
    [
      'of a later version that says it can be read',
      `${HEADER.slice(0, 25)}00 00 00 09 00 00 00 01 00000003 01 00 64`,
      'd',
    ],
    ['without blocks', HEADER, ''],
  ])('%s is read', (_, digits, expected) => {
    expect(read(digits)).toBe(expected);
  });

  it.each([
    ['half a header', HEADER.slice(0, 30), 'the header of a frame is cut off'],
    ['a version before the first', '82534e4150505900 00000001 00000000', 'version before the first'],
    ['half a length', `${HEADER} 0000`, 'the length of a block is cut off'],
    ['an empty block', `${HEADER} 00000000`, 'a block of 0 bytes'],
    ['a negative length', `${HEADER} 80000000 03 08 616263`, 'a block of -2147483648 bytes'],
    ['a block that is cut off', `${HEADER} 00000006 03 08 616263`, 'a block of 6 bytes'],
    ['a repeat across blocks', `${HEADER} 00000005 03 08 616263 00000003 04 01 03`, 'before its block'],
  ])('with %s is refused', (_, digits, expected) => {
    expect(read(digits)).toContain(`refused: snappy: `);
    expect(read(digits)).toContain(expected);
  });

  it('is what is written, in chunks of 32 KiB', () => {
    const bytes = deflated(snappyDeflation(Buffer.from('abc')));
    expect(Buffer.from(bytes)).toEqual(Buffer.from(hex(`${HEADER} 00000005 03 08 616263`)));
    const written = Buffer.from(deflated(snappyDeflation(new Uint8Array(70_000))));
    let at = 16;
    const lengths: number[] = [];
    for (; at < written.length; at += 4 + written.readInt32BE(at)) {
      lengths.push((written[at + 4]! & 0x7f) | ((written[at + 5]! & 0x7f) << 7) | (written[at + 6]! << 14));
    }
    expect(lengths).toEqual([32_768, 32_768, 70_000 - 65_536]);
    expect(at).toBe(written.length);
  });

  it('gives back any content, and grows by ten bytes a chunk at most', () => {
    fc.assert(
      fc.property(content, bytes => {
        const packed = deflated(snappyDeflation(bytes));
        expect(packed.length).toBeLessThanOrEqual(16 + bytes.length + 10 * Math.ceil(bytes.length / 32_768));
        expect(Buffer.compare(inflated(snappyInflation(packed, bytes.length)) as Uint8Array, bytes)).toBe(0);
        if (bytes.length > 0) expect(inflated(snappyInflation(packed, bytes.length - 1))).toBe('decompressed-size');
      }),
      { numRuns: 200 },
    );
  });

  it('is equal for equal content, whatever was compressed before', () => {
    fc.assert(
      fc.property(content, content, (bytes, others) => {
        const first = deflated(snappyDeflation(bytes));
        deflated(snappyDeflation(others));
        expect(Buffer.compare(deflated(snappyDeflation(bytes)), first)).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it('is worked on a piece at a time, however many bytes one block holds', () => {
    // A bare block of 2 MiB: no chunk ends in between.
    const elements = Buffer.from('fe0100'.repeat(32_768), 'hex');
    const opened = snappyInflation(Buffer.concat([hex('8180 8001 00 61'), elements]), BYTES_MAX);
    if (!opened.ok) throw new Error(opened.fault.detail);
    let pieces = 1;
    while (opened.inflation.advance()) pieces++;
    expect(opened.inflation.fault).toBeNull();
    expect(opened.inflation.output).toEqual(Buffer.alloc(2 * 1024 * 1024 + 1, 'a'));
    expect(pieces).toBeGreaterThanOrEqual(Math.floor(opened.inflation.output.length / PIECE_BYTES));
  });

  it('with any bit flipped is refused, or gives as many bytes as it promises', () => {
    const bytes = Buffer.from('the quick brown fox, the quick brown dog, the quick brown fox; '.repeat(3));
    for (const flipped of flips(deflated(snappyDeflation(bytes)))) {
      const result = inflated(snappyInflation(flipped, 4_096));
      if (typeof result !== 'string') expect(result.length).toBeLessThanOrEqual(4_096);
    }
  });

  it('answers for any bytes behind a header', () => {
    const noise = fc.array(fc.oneof(fc.uint8Array({ maxLength: 30 }), fc.constant(hex('0000000503086162630000'))));
    fc.assert(
      fc.property(noise, fc.boolean(), (parts, isFramed) => {
        const bytes = Buffer.concat([isFramed ? hex(HEADER) : hex('20'), ...parts]);
        const result = inflated(snappyInflation(bytes, 4_096));
        if (typeof result !== 'string') expect(result.length).toBeLessThanOrEqual(4_096);
      }),
      { numRuns: 1_000 },
    );
  });
});

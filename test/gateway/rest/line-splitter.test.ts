// Lines come out the same however the body was cut into chunks.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineSplitter } from '../../../server/gateway/rest/line-splitter.ts';

const split = (chunks: readonly Uint8Array[]): string[] => {
  const splitter = new LineSplitter();
  const lines: string[] = [];
  for (const chunk of chunks) {
    splitter.push(Buffer.from(chunk));
    for (let line = splitter.next(); line !== null; line = splitter.next()) lines.push(line.toString('latin1'));
  }
  const rest = splitter.rest();
  if (rest !== null) lines.push(rest.toString('latin1'));
  return lines;
};

const expected = (text: string): string[] => {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
};

describe('LineSplitter', () => {
  it('keeps CR and empty lines, and needs no LF at the end', () => {
    expect(split([Buffer.from('a\r\n\n\nb')])).toEqual(['a\r', '', '', 'b']);
    expect(split([Buffer.from('a\n')])).toEqual(['a']);
    expect(split([])).toEqual([]);
    expect(split([Buffer.from('\n')])).toEqual(['']);
  });

  it('does not depend on the chunks', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '\n', '\r'), maxLength: 60 });
    fc.assert(
      fc.property(text, fc.array(fc.nat(60)), (sample, cuts) => {
        const body = Buffer.from(sample, 'latin1');
        const ends = [...cuts.filter(cut => cut <= body.length), body.length].sort((a, b) => a - b);
        const chunks = ends.map((end, index) => body.subarray(ends[index - 1] ?? 0, end));
        expect(split(chunks)).toEqual(expected(sample));
      }),
      { numRuns: 2_000 },
    );
  });

  it('counts the bytes of an unfinished line', () => {
    const splitter = new LineSplitter();
    splitter.push(Buffer.from('x\nabc'));
    expect(splitter.next()?.toString()).toBe('x');
    expect(splitter.next()).toBeNull();
    expect(splitter.carriedBytes).toBe(3);
    splitter.push(Buffer.from('de\n'));
    expect(splitter.next()?.toString()).toBe('abcde');
    expect(splitter.carriedBytes).toBe(0);
  });
});

// Bytes to lines: the same lines however the bytes arrive.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readLines } from '../../server/cli/line-reader.ts';

const BYTES_MAX = 64;

async function* chunks(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield piece;
}

const linesOf = async (...pieces: readonly (Uint8Array | string)[]): Promise<string[]> => {
  const lines: string[] = [];
  const input = chunks(pieces.map(piece => Buffer.from(piece)));
  for await (const some of readLines(input, BYTES_MAX))
    lines.push(...some.map(line => Buffer.from(line).toString('latin1')));
  return lines;
};

describe('lines', () => {
  test('end at LF; a CR stays, an empty line is a line, the last needs no LF', async () => {
    expect(await linesOf('a\nb\r\n\nc')).toEqual(['a', 'b\r', '', 'c']);
    expect(await linesOf('a\n')).toEqual(['a']);
    expect(await linesOf('\n')).toEqual(['']);
    expect(await linesOf('')).toEqual([]);
  });

  test('are the same however the bytes are cut into chunks', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: fc.constantFrom('a', '\n', '\r', 'ü'), maxLength: 12 }), { maxLength: 12 }),
        async pieces => {
          const whole = pieces.join('');
          const expected = whole.split('\n');
          if (expected.at(-1) === '') expected.pop();
          const bytes = expected.map(line => Buffer.from(line).toString('latin1'));
          fc.pre(bytes.every(line => line.length <= BYTES_MAX));
          expect(await linesOf(...pieces)).toEqual(bytes);
        },
      ),
    );
  });

  test('may be as long as the bound and no longer, with and without their end in sight', async () => {
    const longest = 'x'.repeat(BYTES_MAX);
    expect(await linesOf(`${longest}\n${longest}`)).toEqual([longest, longest]);
    await expect(linesOf(`a\n${longest}x\n`)).rejects.toMatchObject({ line: 2 });
    await expect(linesOf('a\n', longest, 'x')).rejects.toMatchObject({ line: 2 });
  });
});

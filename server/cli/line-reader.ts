// Bytes to lines, in bounded memory, many lines at a time.
//
// Lines end at LF; a CR before it belongs to the line. An empty line is a line; the last one needs no LF, and nothing
// behind the last LF is no line. Lines are views of the chunks that were read, a copy only where two chunks meet.

import { BadLine } from './bad-line.ts';

const LF = 0x0a;

/** Yields the lines that each chunk completed. Throws BadLine where one has more than `bytesMax` bytes. */
export async function* readLines(
  input: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<readonly Uint8Array[], void, void> {
  let begun: Uint8Array[] = [];
  let begunBytes = 0;
  let number = 1;
  for await (const chunk of input) {
    const lines: Uint8Array[] = [];
    let start = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      const tail = chunk.subarray(start, end);
      if (begunBytes + tail.length > bytesMax) throw tooLong(number, bytesMax);
      lines.push(begunBytes === 0 ? tail : Buffer.concat([...begun, tail]));
      begun = [];
      begunBytes = 0;
      number++;
      start = end + 1;
    }
    if (start < chunk.length) {
      begun.push(chunk.subarray(start));
      begunBytes += chunk.length - start;
      if (begunBytes > bytesMax) throw tooLong(number, bytesMax);
    }
    if (lines.length > 0) yield lines;
  }
  if (begunBytes > 0) yield [Buffer.concat(begun)];
}

const tooLong = (number: number, bytesMax: number): BadLine =>
  new BadLine(number, `the line has more than ${bytesMax} bytes`);

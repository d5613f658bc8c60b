// The loops that LZ4 and snappy share: both are formats of independent blocks, worked on a piece at a time, within a block when
// inflating and block by block when compressing. What a block looks like is told by who extends these.
//
// Invariant: what stands before `from` has been worked on, and its result stands before `at`.

import { PIECE_BYTES, type Piecework } from './piecework.ts';
import { plainBytes } from './repeat.ts';

export abstract class BlockDeflation implements Piecework {
  readonly fault = null;
  protected readonly input: Uint8Array;
  protected readonly buffer: Buffer;
  /** The same memory: what is written byte by byte is written here. */
  protected readonly target: Uint8Array;
  protected from = 0;
  protected at: number;
  readonly #blockBytes: number;

  /** Relies on the output with `headerBytes`, which the format writes itself, being no longer than `outputBytesMax`. */
  constructor(
    input: Uint8Array,
    format: { readonly blockBytes: number; readonly headerBytes: number; readonly outputBytesMax: number },
  ) {
    this.input = plainBytes(input);
    this.buffer = Buffer.allocUnsafeSlow(format.outputBytesMax);
    this.target = plainBytes(this.buffer);
    this.at = format.headerBytes;
    this.#blockBytes = format.blockBytes;
  }

  get output(): Uint8Array {
    return this.buffer.subarray(0, this.at);
  }

  advance(): boolean {
    const { length } = this.input;
    // Less is written than read, at best: half of a piece is read.
    const pause = this.from + PIECE_BYTES / 2;
    while (this.from < length && this.from < pause) {
      const end = Math.min(this.from + this.#blockBytes, length);
      this.at = this.writeBlock(end);
      this.from = end;
    }
    if (this.from < length) return true;
    this.at = this.writeEnd();
    return false;
  }

  /** Writes the block of what stands from `from` to `end`; answers where it ends. */
  protected abstract writeBlock(end: number): number;

  /** Writes what stands behind the last block; answers where it ends. */
  protected abstract writeEnd(): number;
}

export abstract class BlockInflation implements Piecework {
  fault: string | null = null;
  readonly output: Uint8Array;
  protected readonly input: Uint8Array;
  protected readonly target: Uint8Array;
  protected from = 0;
  /** The end of the block that `from` stands in; alike between two blocks. */
  protected blockEnd = 0;
  protected at = 0;

  /** The input is plain bytes, as whoever measured it had them. */
  constructor(input: Uint8Array, outputBytes: number) {
    this.input = input;
    this.output = Buffer.allocUnsafeSlow(outputBytes);
    this.target = plainBytes(this.output);
  }

  advance(): boolean {
    const pause = this.from + this.at + PIECE_BYTES;
    while (this.from + this.at < pause) {
      if (this.from === this.blockEnd && !this.beginBlock()) return false;
      this.fault = this.readBlock(pause);
      if (this.fault !== null) return false;
    }
    this.paused();
    return true;
  }

  /** False at the end, and where there is a fault. */
  protected abstract beginBlock(): boolean;

  /** Goes on to the end of the block, or to the pause, which is counted in bytes read and written; answers what is wrong. */
  protected abstract readBlock(pause: number): string | null;

  /** After each piece but the last. */
  protected paused(): void {}
}

// A growing buffer into which rendered text is written byte by byte and spliced from stored bytes, so that a value that
// is already JSON goes out without being decoded and encoded again.
//
// Invariant: what was written is buffer[0, length). take() hands the memory over; the next write begins a new buffer, or one
// that was given back.

const INITIAL_BYTES = 16_384;
/** Memory that is kept for the next text. */
const KEPT_BYTES_MAX = 262_144;
const DIGITS_MAX = 20;
/** Memory is taken when something is written: a reader that takes nothing then keeps one piece and not two. */
const NO_BYTES = Buffer.alloc(0);
const ZERO = 0x30;
/** Up to here a loop is quicker than the call into Node. */
const LOOPED_BYTES = 32;

export class TextBuffer {
  #buffer: Buffer;
  /** Memory that was handed over and came back. */
  #spare: Buffer | null = null;
  #length = 0;

  constructor(initialBytes = INITIAL_BYTES) {
    this.#buffer = Buffer.allocUnsafeSlow(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** Drops everything from `length` on: for output that turned out wrong half way. */
  truncate(length: number): void {
    this.#length = Math.min(length, this.#length);
  }

  byte(value: number): void {
    this.#room(1);
    this.#buffer[this.#length++] = value;
  }

  /** Characters below 0x80 only. */
  ascii(text: string): void {
    const units = text.length;
    this.#room(units);
    const buffer = this.#buffer;
    const at = this.#length;
    if (units <= LOOPED_BYTES) for (let index = 0; index < units; index++) buffer[at + index] = text.charCodeAt(index);
    else buffer.write(text, at, units, 'latin1');
    this.#length = at + units;
  }

  utf8(text: string): void {
    this.#room(text.length * 3);
    this.#length += this.#buffer.write(text, this.#length, text.length * 3, 'utf8');
  }

  /** A safe integer. */
  integer(value: number): void {
    if (value < 0) {
      this.ascii(String(value));
      return;
    }
    this.#room(DIGITS_MAX);
    const buffer = this.#buffer;
    let end = this.#length + 1;
    for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) end++;
    this.#length = end;
    let rest = value;
    // Above 31 bits the remainder is a division of doubles; below, of integers, which is much quicker.
    for (; rest > 0x7fffffff; rest = Math.floor(rest / 10)) buffer[--end] = ZERO + (rest % 10);
    let small = rest | 0;
    do {
      buffer[--end] = ZERO + (small % 10);
      small = (small / 10) | 0;
    } while (small > 0);
  }

  bytes(source: Uint8Array, start: number, end: number): void {
    const count = end - start;
    this.#room(count);
    const buffer = this.#buffer;
    const at = this.#length;
    if (count <= LOOPED_BYTES) for (let index = 0; index < count; index++) buffer[at + index] = source[start + index]!;
    else buffer.set(source.subarray(start, end), at);
    this.#length = at + count;
  }

  /** The same with line ends turned into spaces: inside JSON they can only stand between tokens. */
  singleLine(source: Uint8Array, start: number, end: number): void {
    this.#room(end - start);
    const buffer = this.#buffer;
    let at = this.#length;
    for (let index = start; index < end; index++) {
      const byte = source[index]!;
      buffer[at++] = byte === 0x0a || byte === 0x0d ? 0x20 : byte;
    }
    this.#length = at;
  }

  base64(source: Uint8Array, start: number, end: number): void {
    this.ascii(Buffer.from(source.buffer, source.byteOffset + start, end - start).toString('base64'));
  }

  /** What was written, in memory that is the caller's from now on. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#length);
    this.#buffer = this.#spare ?? NO_BYTES;
    this.#spare = null;
    this.#length = 0;
    return taken;
  }

  /** What was written, as a string; the memory is written into again, unless it is a lot. */
  takeText(): string {
    const text = this.#buffer.toString('utf8', 0, this.#length);
    if (this.#buffer.length > KEPT_BYTES_MAX) this.#buffer = NO_BYTES;
    this.#length = 0;
    return text;
  }

  /** For memory that take() handed over and that nobody will read again: it is written into once more. */
  giveBack(taken: Buffer): void {
    this.#spare = Buffer.from(taken.buffer);
  }

  #room(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    if (this.#spare !== null && this.#buffer.length === 0 && needed <= this.#spare.length) {
      this.#buffer = this.#spare;
      this.#spare = null;
      return;
    }
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, INITIAL_BYTES, this.#buffer.length * 2));
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }
}

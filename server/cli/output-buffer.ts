// Output in the making: text and bytes appended without a string or a buffer a piece, handed over in one write.

const BYTES_AT_FIRST = 64 * 1024;
const UTF8_BYTES_PER_UNIT = 3;

export class OutputBuffer {
  private bytes = Buffer.allocUnsafeSlow(BYTES_AT_FIRST);
  private length = 0;

  get byteLength(): number {
    return this.length;
  }

  raw(piece: Uint8Array): void {
    this.reserve(piece.length);
    this.bytes.set(piece, this.length);
    this.length += piece.length;
  }

  text(piece: string): void {
    this.reserve(piece.length * UTF8_BYTES_PER_UNIT);
    this.length += this.bytes.write(piece, this.length, 'utf8');
  }

  /** What was appended since the last call. The memory is the caller's: a slow pipe may hold it for long. */
  take(): Uint8Array {
    const taken = this.bytes.subarray(0, this.length);
    this.bytes = Buffer.allocUnsafeSlow(Math.max(BYTES_AT_FIRST, this.length));
    this.length = 0;
    return taken;
  }

  private reserve(room: number): void {
    const needed = this.length + room;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }
}

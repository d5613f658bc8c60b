// Large buffers that are used again. A batch is built in one and framed in another; fresh memory for both, hundreds of
// times a second, makes the garbage collector walk the whole heap each time another 64 MiB were asked for.
//
// Guarantees: a buffer is handed out to one owner at a time; no more than BYTES_MAX are kept. Whoever gives one back
// vouches that nobody reads it any more; one that is not given back is simply collected.

const BYTES_MAX = 8 * 1024 * 1024;
/** Below this an allocation is cheap. */
const WORTH_BYTES = 16_384;

export class BufferPool {
  readonly #spare: Buffer[] = [];
  #spareBytes = 0;

  /** At least that many bytes, contents undefined. */
  take(bytes: number): Buffer {
    if (bytes >= WORTH_BYTES) {
      for (let index = this.#spare.length - 1; index >= 0; index--) {
        const buffer = this.#spare[index]!;
        // Much larger ones stay for those who need them.
        if (buffer.length < bytes || buffer.length > bytes * 2) continue;
        this.#spare.splice(index, 1);
        this.#spareBytes -= buffer.length;
        return buffer;
      }
    }
    return Buffer.allocUnsafeSlow(bytes);
  }

  /** The buffer that these bytes are part of. */
  give(bytes: Uint8Array): void {
    const { byteLength } = bytes.buffer;
    if (byteLength < WORTH_BYTES || this.#spareBytes + byteLength > BYTES_MAX) return;
    this.#spare.push(Buffer.from(bytes.buffer, 0, byteLength));
    this.#spareBytes += byteLength;
  }
}

// Lines out of chunks, split at LF alone; a CR stays with its line.
//
// Lines are views of the chunks they came in; one that spans chunks is joined. A line is valid until the next push.

export class LineSplitter {
  /** Pieces of a line whose end has not come yet. */
  #carried: Buffer[] = [];
  #carriedBytes = 0;
  #chunk: Buffer | null = null;
  #at = 0;

  /** Bytes of the unfinished line. */
  get carriedBytes(): number {
    return this.#carriedBytes;
  }

  /** The chunk before must have been taken to its end. */
  push(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** The next whole line without its LF; null when the chunk is used up. */
  next(): Buffer | null {
    const chunk = this.#chunk;
    if (chunk === null) return null;
    const end = chunk.indexOf(0x0a, this.#at);
    if (end < 0) {
      if (this.#at < chunk.length) {
        const piece = chunk.subarray(this.#at);
        this.#carried.push(piece);
        this.#carriedBytes += piece.length;
      }
      this.#chunk = null;
      return null;
    }
    const line = chunk.subarray(this.#at, end);
    this.#at = end + 1;
    return this.#carriedBytes === 0 ? line : this.#join(line);
  }

  /** A last line without LF; null when the body ended with one. */
  rest(): Buffer | null {
    return this.#carriedBytes === 0 ? null : this.#join(null);
  }

  #join(last: Buffer | null): Buffer {
    if (last !== null) this.#carried.push(last);
    const [only] = this.#carried;
    const line = this.#carried.length === 1 && only !== undefined ? only : Buffer.concat(this.#carried);
    this.#carried = [];
    this.#carriedBytes = 0;
    return line;
  }
}

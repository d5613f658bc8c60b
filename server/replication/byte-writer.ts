// Fields of fixed width, big-endian, one behind the other, into memory that grows.

import type { Offset } from '@sluice/protocol/ids';

const TWO_32 = 0x1_0000_0000;

export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  uint8(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  uint32(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#length, value);
    this.#length += 4;
  }

  /** Eight bytes, as everywhere where an offset is stored. */
  offset(value: Offset): void {
    this.uint32(Math.floor(value / TWO_32));
    this.uint32(value % TWO_32);
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  uuid(text: string): void {
    this.#room(16);
    let digits = 0;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === 0x2d) continue;
      // '0' to '9' hold their digit in the low bits; 'a' is 0x61.
      const digit = code < 0x40 ? code & 0x0f : (code & 0x07) + 9;
      const place = this.#length + (digits >> 1);
      this.#bytes[place] = digits % 2 === 0 ? digit << 4 : this.#bytes[place]! | digit;
      digits++;
    }
    this.#length += 16;
  }

  /** A view: nothing may be written any more. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #room(bytes: number): void {
    const wanted = this.#length + bytes;
    if (wanted <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(wanted, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

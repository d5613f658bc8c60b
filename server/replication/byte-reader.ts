// Reads what ByteWriter wrote, from bytes that anybody may have sent. Nothing throws: what is cut off, or out of its range, makes the
// whole reader `isBroken`, and the caller asks once, at the end.

import { isOffset, type LeaderEpoch, type Offset } from '@sluice/protocol/ids';

const TWO_32 = 0x1_0000_0000;
const NOTHING = new Uint8Array();

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #position = 0;
  #isBroken = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  get left(): number {
    return this.#isBroken ? 0 : this.#bytes.length - this.#position;
  }

  uint8(): number {
    return this.#take(1) ? this.#bytes[this.#position - 1]! : 0;
  }

  /** 0 or 1; anything else is no truth value. */
  boolean(): boolean {
    const value = this.uint8();
    if (value > 1) this.fail();
    return value === 1;
  }

  uint32(): number {
    return this.#take(4) ? this.#view.getUint32(this.#position - 4) : 0;
  }

  epoch(): LeaderEpoch {
    const value = this.uint32();
    if (value > 0x7fffffff) this.fail();
    return (this.#isBroken ? 0 : value) as LeaderEpoch;
  }

  offset(): Offset {
    const value = this.uint32() * TWO_32 + this.uint32();
    if (!isOffset(value)) this.fail();
    return (this.#isBroken ? 0 : value) as Offset;
  }

  /** A view of the message. */
  raw(length: number): Uint8Array {
    return this.#take(length) ? this.#bytes.subarray(this.#position - length, this.#position) : NOTHING;
  }

  rest(): Uint8Array {
    return this.raw(this.left);
  }

  uuid(): string {
    const bytes = this.raw(16);
    const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }

  /** Something that was read makes no sense. */
  fail(): void {
    this.#isBroken = true;
  }

  #take(length: number): boolean {
    if (this.#isBroken || this.#position + length > this.#bytes.length) {
      this.#isBroken = true;
      return false;
    }
    this.#position += length;
    return true;
  }
}

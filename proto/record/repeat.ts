// Repeats, which is what snappy and LZ4 are made of: "as many bytes as these, from that far back". Both find them by a
// table from the hash of four bytes to the place where such bytes were seen last, and both copy them in the same way.
//
// The table is scratch, one for all: a block is compressed without waiting in the middle, and for each block the table
// is cleared, so that nothing in it outlives a call and equal input gives equal output. What it names is compared
// before it is believed.

const TABLE_BITS_MAX = 14;
const TABLE_BITS_MIN = 8;
const HASH_FACTOR = 0x9e3779b1;
const NOWHERE = -1;

/** Up to here a loop over bytes is quicker than a call that moves them at once. */
export const LOOPED_BYTES = 64;

const scratch: Readonly<{ table: Int32Array }> = { table: new Int32Array(1 << TABLE_BITS_MAX) };

export interface RepeatTable {
  /** By slot, the position of four bytes that belong there; -1 for none. */
  readonly table: Int32Array;
  readonly shift: number;
}

/** The table, cleared. A small block does not pay for clearing a large one. */
export function repeatTable(blockBytes: number): RepeatTable {
  const bits = Math.min(Math.max(32 - Math.clz32(blockBytes), TABLE_BITS_MIN), TABLE_BITS_MAX);
  scratch.table.fill(NOWHERE, 0, 1 << bits);
  return { table: scratch.table, shift: 32 - bits };
}

/** Where in the table the four bytes of `word` belong. */
export function slotOf(word: number, shift: number): number {
  return Math.imul(word, HASH_FACTOR) >>> shift;
}

/** Four bytes as one number, the first one lowest. */
export function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** Writes at `at` the bytes that begin `distance` before it. They may reach into what is being written: a pattern. */
export function copyRepeat(output: Uint8Array, repeat: { at: number; distance: number; length: number }): void {
  const { at, distance, length } = repeat;
  if (distance >= length) {
    output.copyWithin(at, at - distance, at - distance + length);
    return;
  }
  if (distance === 1) {
    output.fill(output[at - 1]!, at, at + length);
    return;
  }
  // A short pattern by bytes until it is worth a call, then twice as much each time: always whole patterns.
  let done = distance * Math.ceil(LOOPED_BYTES / distance);
  const end = at + Math.min(done, length);
  for (let position = at; position < end; position++) output[position] = output[position - distance]!;
  for (; done < length; done *= 2) output.copyWithin(at + done, at, at + Math.min(done, length - done));
}

/** The same bytes without Buffer's own methods around them: the loops above see one kind of array. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

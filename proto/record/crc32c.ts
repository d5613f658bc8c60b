// CRC-32C (Castagnoli), the checksum of a record batch.
//
// The native module is used where it loads; elsewhere a table-driven loop over eight bytes at a time gives the same
// answers at about a quarter of the speed, and no installation is refused for want of a prebuilt binary. Short inputs
// always take the portable way: for them the call into native code costs more than the work.

import { createRequire } from 'node:module';

const POLYNOMIAL_REFLECTED = 0x82f63b78;
/** Below this the portable loop is quicker than a native call and its subarray (bench/micro/record.ts). */
const NATIVE_FROM_BYTES = 192;

type Checksum = (input: Uint8Array, previous?: number) => number;

const TABLES = buildTables();
const native = loadNative();

/** True where the native module was loaded. */
export const CRC32C_IS_NATIVE: boolean = native !== null;

/** The unsigned checksum of bytes[start, end). */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  if (native === null || end - start < NATIVE_FROM_BYTES) return crc32cPortable(bytes, start, end);
  return native(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
}

/** The checksum of what `previous` is the checksum of, followed by `bytes`; 0 is the checksum of nothing. */
export function crc32cContinue(previous: number, bytes: Uint8Array): number {
  if (native === null || bytes.length < NATIVE_FROM_BYTES)
    return portable(bytes, { start: 0, end: bytes.length, previous });
  return native(bytes, previous);
}

/** The same without native code. */
export function crc32cPortable(bytes: Uint8Array, start = 0, end = bytes.length): number {
  return portable(bytes, { start, end, previous: 0 });
}

function portable(bytes: Uint8Array, span: { start: number; end: number; previous: number }): number {
  const tables = TABLES;
  const { start, end } = span;
  let crc = ~span.previous;
  let at = start;
  for (const wholeEnd = end - 7; at < wholeEnd; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      tables[0x700 + (crc & 0xff)]! ^
      tables[0x600 + ((crc >>> 8) & 0xff)]! ^
      tables[0x500 + ((crc >>> 16) & 0xff)]! ^
      tables[0x400 + (crc >>> 24)]! ^
      tables[0x300 + bytes[at + 4]!]! ^
      tables[0x200 + bytes[at + 5]!]! ^
      tables[0x100 + bytes[at + 6]!]! ^
      tables[bytes[at + 7]!]!;
  }
  for (; at < end; at++) crc = tables[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Eight tables of 256 in one array: table k advances a byte's remainder by k further zero bytes. */
function buildTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? POLYNOMIAL_REFLECTED : 0);
    tables[byte] = remainder;
  }
  for (let index = 256; index < tables.length; index++) {
    const previous = tables[index - 256]!;
    tables[index] = tables[previous & 0xff]! ^ (previous >>> 8);
  }
  return tables;
}

function loadNative(): Checksum | null {
  try {
    const loaded = createRequire(import.meta.url)('@node-rs/crc32') as { crc32c: Checksum };
    return loaded.crc32c;
  } catch {
    // No binary for this platform, or the optional package was left out: the portable loop answers the same.
    return null;
  }
}

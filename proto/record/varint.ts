// Zigzag variable-length integers, as they stand in records: seven bits a byte, least significant first, the high bit
// set on all but the last; the sign is the lowest bit of the whole.
//
// A varint holds an int32 in at most 5 bytes. A varlong holds an int64 in at most 10; here it is limited to safe
// integers, and a longer one counts as malformed.
//
// Reading never throws and never passes `limit`. Something malformed (cut off, too long, too large) moves the position
// beyond the limit, where it stays: every later read fails as well, so the caller checks once, after the last field,
// instead of after each.

/** What readers read from. `position > limit` says that something was malformed. */
export interface ByteSpan {
  readonly bytes: Uint8Array;
  position: number;
  limit: number;
}

const MAGNITUDE_MAX = Number.MAX_SAFE_INTEGER;
const INT32_MAX = 0x7fffffff;
const INT32_MIN = -0x80000000;

/** Marks the span as malformed and gives the value that nobody will use. */
function malformed(span: ByteSpan): number {
  span.position = span.limit + 1;
  return 0;
}

export function readVarint(span: ByteSpan): number {
  const { bytes, position, limit } = span;
  if (position < limit) {
    const first = bytes[position]!;
    if (first < 0x80) {
      span.position = position + 1;
      return (first >>> 1) ^ -(first & 1);
    }
    // Two bytes cover lengths and deltas below 8,192: nearly all there are.
    if (position + 1 < limit) {
      const second = bytes[position + 1]!;
      if (second < 0x80) {
        span.position = position + 2;
        const raw = (first & 0x7f) | (second << 7);
        return (raw >>> 1) ^ -(raw & 1);
      }
    }
  }
  return readLongerVarint(span);
}

function readLongerVarint(span: ByteSpan): number {
  const bytes = span.bytes;
  let at = span.position;
  let raw = 0;
  for (let shift = 0; shift < 35; shift += 7) {
    if (at >= span.limit) return malformed(span);
    const byte = bytes[at++]!;
    // The fifth byte has room for four bits only.
    if (shift === 28 && byte > 0x0f) return malformed(span);
    raw |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      span.position = at;
      return (raw >>> 1) ^ -(raw & 1);
    }
  }
  return malformed(span);
}

export function readVarlong(span: ByteSpan): number {
  const { bytes, position, limit } = span;
  if (position < limit) {
    const first = bytes[position]!;
    if (first < 0x80) {
      span.position = position + 1;
      return (first >>> 1) ^ -(first & 1);
    }
    if (position + 1 < limit) {
      const second = bytes[position + 1]!;
      if (second < 0x80) {
        span.position = position + 2;
        const raw = (first & 0x7f) | (second << 7);
        return (raw >>> 1) ^ -(raw & 1);
      }
    }
  }
  return readLongerVarlong(span);
}

/** Builds the magnitude without its sign bit, which keeps it exact: the zigzag form of 2^53 - 1 is no safe integer. */
function readLongerVarlong(span: ByteSpan): number {
  const bytes = span.bytes;
  let at = span.position;
  if (at >= span.limit) return malformed(span);
  const first = bytes[at++]!;
  let magnitude = (first & 0x7f) >>> 1;
  let scale = 64;
  let byte = first;
  for (let length = 1; byte >= 0x80; length++) {
    if (length === 10 || at >= span.limit) return malformed(span);
    byte = bytes[at++]!;
    magnitude += (byte & 0x7f) * scale;
    scale *= 128;
  }
  if (magnitude > MAGNITUDE_MAX) return malformed(span);
  const value = (first & 1) === 0 ? magnitude : -magnitude - 1;
  // Magnitude 2^53 - 1 with the sign bit is -2^53, just outside.
  if (value < -MAGNITUDE_MAX) return malformed(span);
  span.position = at;
  return value;
}

/** Writes an int32 and answers where the next field begins. The caller has made room for 5 bytes. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let raw = (value << 1) ^ (value >> 31);
  let next = at;
  while ((raw & ~0x7f) !== 0) {
    bytes[next++] = raw | 0x80;
    raw >>>= 7;
  }
  bytes[next++] = raw;
  return next;
}

/** Writes a safe integer and answers where the next field begins. The caller has made room for 10 bytes. */
export function writeVarlong(bytes: Uint8Array, at: number, value: number): number {
  if (value <= INT32_MAX && value >= INT32_MIN) return writeVarint(bytes, at, value);
  const isNegative = value < 0;
  const magnitude = isNegative ? -value - 1 : value;
  let rest = Math.floor(magnitude / 64);
  let next = at;
  bytes[next++] = ((magnitude % 64) << 1) | (isNegative ? 0x81 : 0x80);
  while (rest >= 128) {
    bytes[next++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  bytes[next++] = rest;
  return next;
}

/** How many bytes writeVarint will take, for an int32. */
export function varintBytes(value: number): number {
  const raw = (value << 1) ^ (value >> 31);
  if ((raw & ~0x7f) === 0) return 1;
  if ((raw & ~0x3fff) === 0) return 2;
  if ((raw & ~0x1fffff) === 0) return 3;
  return (raw & ~0xfffffff) === 0 ? 4 : 5;
}

/** How many bytes writeVarlong will take, for a safe integer. */
export function varlongBytes(value: number): number {
  if (value <= INT32_MAX && value >= INT32_MIN) return varintBytes(value);
  let rest = Math.floor((value < 0 ? -value - 1 : value) / 64);
  let length = 1;
  for (; rest >= 1; rest = Math.floor(rest / 128)) length++;
  return length;
}

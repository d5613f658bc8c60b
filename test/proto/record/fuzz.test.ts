// Anything may come from a wire or a disk: every reader answers, for any bytes, without throwing, hanging or reading
// beyond what it was given.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BatchView,
  RecordCursor,
  checkClientBatch,
  controlType,
  decodeConfiguration,
  crc32c,
  decodeRecords,
  encodeBatch,
  encodeEpochStart,
  inspectBatch,
  isEpochStart,
  recordHeaders,
  sealBatch,
  splitBatches,
  type Codec,
  type RecordInput,
} from '../../../proto/record/index.ts';

const HEADER = 61;
const LIMITS = { bytesMax: 100_000, verifyCrc: true };
const UNCHECKED = { bytesMax: 100_000, verifyCrc: false };

const record: fc.Arbitrary<RecordInput> = fc.record({
  key: fc.option(fc.string({ maxLength: 20 })),
  value: fc.option(fc.uint8Array({ maxLength: 80 })),
  headers: fc.array(fc.record({ key: fc.string({ maxLength: 5 }), value: fc.option(fc.string({ maxLength: 5 })) }), {
    maxLength: 3,
  }),
  timestamp: fc.integer({ min: 0, max: 2 ** 41 }),
});
const batch = fc
  .tuple(
    fc.array(record, { minLength: 1, maxLength: 12 }),
    fc.constantFrom<Codec>('none', 'none', 'gzip', 'snappy', 'lz4', 'zstd'),
  )
  .map(([records, codec]) => encodeBatch(records, { codec }));
/** Where to write (as a share of the batch) and what. */
const edits = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 255 })), {
  minLength: 1,
  maxLength: 6,
});

function mutate(original: Uint8Array, changes: readonly (readonly [number, number])[], from: number): Uint8Array {
  const bytes = original.slice();
  for (const [share, byte] of changes) bytes[from + Math.floor(share * (bytes.length - from - 1))] = byte;
  return bytes;
}

/** Walks to the end whatever happens, and holds every position against the bytes that it points into. */
function walk(bytes: Uint8Array): void {
  const opened = RecordCursor.open(bytes, { decompressedBytesMax: 100_000 });
  if (!opened.ok) return;
  const { cursor } = opened;
  const end = cursor.bytes.length;
  let records = 0;
  let lastOffset = -1;
  while (cursor.next()) {
    records++;
    expect(cursor.offset).toBeGreaterThan(lastOffset);
    expect(Number.isSafeInteger(cursor.timestamp)).toBe(true);
    lastOffset = cursor.offset;
    for (const [from, to] of [
      [cursor.keyStart, cursor.keyEnd],
      [cursor.valueStart, cursor.valueEnd],
    ] as const) {
      expect(from <= to && to <= end && from >= -1).toBe(true);
      expect(from === -1).toBe(to === -1);
    }
    const position = cursor.position;
    expect(recordHeaders(cursor).length).toBe(cursor.headerCount);
    expect(cursor.position).toBe(position);
  }
  // Every record takes at least seven bytes, so the walk was bounded by the bytes and not by the count.
  expect(records * 7).toBeLessThanOrEqual(end);
  if (cursor.fault === null) expect(records).toBe(cursor.recordCount);
  expect(cursor.next()).toBe(false);
}

function readEverything(bytes: Uint8Array): void {
  const inspection = inspectBatch(bytes, 0, LIMITS);
  expect(inspection.ok ? inspection.byteLength : 0).toBeLessThanOrEqual(bytes.length);
  inspectBatch(bytes, 0, UNCHECKED);
  splitBatches(bytes, LIMITS);
  walk(bytes);
  decodeRecords(bytes, { decompressedBytesMax: 100_000 });
  if (bytes.length >= HEADER) {
    checkClientBatch(bytes, 0);
    isEpochStart(bytes, 0);
    controlType(bytes);
    decodeConfiguration(bytes);
  }
  expect(bytes.length >= HEADER ? headerFields(bytes) : []).not.toContain(Number.NaN);
}

function headerFields(bytes: Uint8Array): unknown[] {
  const view = new BatchView(bytes);
  return Object.getOwnPropertyNames(BatchView.prototype).map(name => Reflect.get(view, name));
}

describe('any bytes', () => {
  it('are answered', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
        expect(() => readEverything(bytes)).not.toThrow();
      }),
      { numRuns: 2000 },
    );
  });

  it('behind a header that fits them are answered', () => {
    const counts = fc.integer({ min: 1, max: 0x7fffffff });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), counts, fc.integer({ min: 0, max: 7 }), (noise, count, codec) => {
        const bytes = new Uint8Array(HEADER + noise.length);
        bytes.set(encodeEpochStart({ epoch: 0, baseOffset: 0, timestamp: 0 }));
        bytes.set(noise, HEADER);
        const header = Buffer.from(bytes.buffer);
        header.writeInt32BE(bytes.length - 12, 8);
        header.writeInt16BE(codec, 21);
        header.writeInt32BE(count - 1, 23);
        header.writeInt32BE(count, 57);
        sealBatch(bytes);
        expect(inspectBatch(bytes, 0, LIMITS)).toEqual({ ok: true, byteLength: bytes.length });
        readEverything(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  it('are answered at any position, inside or outside of them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.integer({ min: -200, max: 200 }), (bytes, at) => {
        const inspection = inspectBatch(bytes, at, LIMITS);
        const isOutside = at < 0 || at > bytes.length - 12;
        expect(isOutside && inspection.ok).toBe(false);
      }),
    );
  });
});

describe('a damaged batch', () => {
  it('is answered wherever the damage is', () => {
    fc.assert(
      fc.property(batch, edits, (original, changes) => {
        expect(() => readEverything(mutate(original, changes, 0))).not.toThrow();
      }),
      { numRuns: 1500 },
    );
  });

  it('is answered when the damage lies in the records and the CRC was made to fit', () => {
    fc.assert(
      fc.property(batch, edits, (original, changes) => {
        const bytes = mutate(original, changes, HEADER);
        sealBatch(bytes);
        expect(inspectBatch(bytes, 0, LIMITS)).toEqual({ ok: true, byteLength: bytes.length });
        readEverything(bytes);
      }),
      { numRuns: 1500 },
    );
  });

  it('is never taken for a whole one when it was cut off', () => {
    fc.assert(
      fc.property(batch, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (original, share) => {
        const bytes = original.subarray(0, Math.floor(share * original.length));
        expect(inspectBatch(bytes, 0, LIMITS)).toMatchObject({ ok: false, fault: { kind: 'incomplete' } });
        expect(decodeRecords(bytes).ok).toBe(false);
      }),
    );
  });

  it('has its CRC wrong for each single bit that is flipped in what the CRC covers', () => {
    const original = encodeBatch([{ key: 'key', value: 'value', headers: [{ key: 'h', value: 'x' }], timestamp: 77 }]);
    for (let bit = 17 * 8; bit < original.length * 8; bit++) {
      const bytes = original.slice();
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      expect(inspectBatch(bytes, 0, LIMITS)).toMatchObject({ ok: false, fault: { kind: 'crc' } });
    }
  });

  it('has its CRC wrong for each burst of up to 32 bits', () => {
    const bursts = fc.integer({ min: 1, max: 0xffffffff });
    fc.assert(
      fc.property(batch, fc.double({ min: 0, max: 1, noNaN: true }), bursts, (original, share, burst) => {
        const bytes = Buffer.from(original);
        const at = 21 + Math.floor(share * (bytes.length - 25));
        bytes.writeUInt32BE((bytes.readUInt32BE(at) ^ burst) >>> 0, at);
        expect(inspectBatch(bytes, 0, LIMITS)).toMatchObject({ ok: false, fault: { kind: 'crc' } });
      }),
    );
  });
});

describe('a sound batch', () => {
  it('depends on nothing behind it', () => {
    fc.assert(
      fc.property(batch, fc.uint8Array({ maxLength: 50 }), (original, noise) => {
        const bytes = new Uint8Array(original.length + noise.length);
        bytes.set(original);
        bytes.set(noise, original.length);
        expect(inspectBatch(bytes, 0, LIMITS)).toEqual({ ok: true, byteLength: original.length });
        expect(decodeRecords(bytes)).toEqual(decodeRecords(original));
        expect(crc32c(bytes, 21, original.length)).toBe(crc32c(original, 21));
      }),
    );
  });
});

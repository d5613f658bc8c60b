// The builder and the decoder against each other and against a plain model of what a record is.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BatchBuilder,
  BatchView,
  COMPRESS_OFF_LOOP_BYTES,
  RecordCursor,
  checkClientBatch,
  decodeRecords,
  decodeRecordsOffLoop,
  encodeBatch,
  inspectBatch,
  recordHeaders,
  recordKey,
  recordValue,
  stampAppendTime,
  stampBatch,
  type Codec,
  type DecodedRecords,
  type RecordInput,
} from '../../../proto/record/index.ts';

const LIMITS = { bytesMax: 1 << 30, verifyCrc: true };
const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

// Lone surrogates included: they are written as U+FFFD, the way Buffer writes them.
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.string({ unit: 'grapheme', maxLength: 80 }),
  fc.string({ unit: 'grapheme-ascii', maxLength: 300 }),
  fc.constantFrom('', 'é', '\ud800', 'a\udfffb', 'ascii until the end, then 🦫', 'x'.repeat(25), `${'x'.repeat(24)}é`),
);
const field = fc.oneof(fc.constant(null), text, fc.uint8Array({ maxLength: 300 }));
const header = fc.record({ key: text, value: field });
const timestamp = fc.oneof(fc.integer({ min: 0, max: 2 ** 42 }), fc.constantFrom(-1, 0, 1_700_000_000_000));
const record: fc.Arbitrary<RecordInput> = fc.record(
  { key: field, value: field, headers: fc.array(header, { maxLength: 5 }), timestamp },
  { requiredKeys: ['key', 'value', 'timestamp'] },
);
const records = fc.array(record, { minLength: 1, maxLength: 40 });

function bytesOf(input: Uint8Array | string | null): number[] | null {
  if (input === null) return null;
  return [...(typeof input === 'string' ? Buffer.from(input, 'utf8') : input)];
}

/** What should come back for what went in. */
function expected(inputs: readonly RecordInput[], baseOffset: number): unknown[] {
  return inputs.map((input, index) => ({
    offset: baseOffset + index,
    timestamp: input.timestamp,
    key: bytesOf(input.key),
    value: bytesOf(input.value),
    headers: (input.headers ?? []).map(({ key, value }) => [Buffer.from(key).toString('utf8'), bytesOf(value)]),
  }));
}

function actual(decoded: DecodedRecords): unknown {
  if (!decoded.ok) return decoded.fault;
  return decoded.records.map(({ offset, timestamp, key, value, headers }) => ({
    offset,
    timestamp,
    key: bytesOf(key),
    value: bytesOf(value),
    headers: headers.map(each => [each.key, bytesOf(each.value)]),
  }));
}

function sampleRecords(count: number, valueBytes: number): RecordInput[] {
  return Array.from({ length: count }, (_, index) => ({
    key: `key-${index}`,
    value: Uint8Array.from({ length: valueBytes }, (_, at) => (index * 31 + at * at) & 0xff),
    timestamp: 1_700_000_000_000 + index,
  }));
}

describe('records come back as they went in', () => {
  for (const codec of CODECS) {
    it(`with ${codec}`, () => {
      fc.assert(
        fc.property(records, fc.nat(2 ** 40), (inputs, baseOffset) => {
          const batch = encodeBatch(inputs, { codec, initialBytes: 100 });
          expect(inspectBatch(batch, 0, LIMITS)).toEqual({ ok: true, byteLength: batch.length });
          expect(checkClientBatch(batch, 0)).toBeNull();
          stampBatch(batch, { baseOffset, leaderEpoch: 5 });
          expect(inspectBatch(batch, 0, LIMITS).ok).toBe(true);
          expect(actual(decodeRecords(batch))).toEqual(expected(inputs, baseOffset));

          const view = new BatchView(batch);
          const timestamps = inputs.map(input => input.timestamp);
          expect(view.maxTimestamp).toBe(Math.max(...timestamps));
          expect(view.baseTimestamp).toBe(timestamps[0]);
          expect([view.recordCount, view.lastOffset]).toEqual([inputs.length, baseOffset + inputs.length - 1]);
          expect([view.codec, view.leaderEpoch, view.producerId]).toEqual([codec, 5, -1]);
        }),
        { numRuns: codec === 'none' ? 500 : 150 },
      );
    });
  }

  it('however far apart their timestamps are', () => {
    const half = 2 ** 52 - 1;
    const extremes = fc.array(fc.integer({ min: -half, max: half }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(extremes, timestamps => {
        const inputs = timestamps.map(timestamp => ({ key: null, value: 'v', timestamp }));
        expect(actual(decodeRecords(encodeBatch(inputs)))).toEqual(expected(inputs, 0));
      }),
    );
  });

  it('when large batches are compressed and inflated off the loop', async () => {
    for (const codec of CODECS) {
      const inputs = sampleRecords(3000, 100);
      const builder = new BatchBuilder({ codec });
      for (const input of inputs) builder.append(input);
      expect(builder.byteLength).toBeGreaterThan(COMPRESS_OFF_LOOP_BYTES);
      const building = builder.buildOffLoop();
      // The builder is free for the next batch while the last one is being compressed.
      expect(builder.isEmpty).toBe(true);
      builder.append({ key: 'next', value: 'batch', timestamp: 1 });
      const batch = await building;
      expect(inspectBatch(batch, 0, LIMITS)).toEqual({ ok: true, byteLength: batch.length });
      expect(actual(await decodeRecordsOffLoop(batch))).toEqual(expected(inputs, 0));
      expect(decodeRecords(builder.build())).toMatchObject({ ok: true, records: [{ offset: 0, timestamp: 1 }] });
    }
  });

  it('all with the broker time where the topic asks for it', () => {
    const batch = encodeBatch(sampleRecords(10, 5));
    stampAppendTime(batch, 1_800_000_000_000);
    expect(inspectBatch(batch, 0, LIMITS).ok).toBe(true);
    const decoded = decodeRecords(batch);
    expect(decoded.ok && decoded.records.map(each => each.timestamp)).toEqual(Array(10).fill(1_800_000_000_000));
  });
});

describe('a builder', () => {
  it('knows its size exactly, and an upper bound of what comes next', () => {
    fc.assert(
      fc.property(records, inputs => {
        const builder = new BatchBuilder({ initialBytes: 61 });
        for (const input of inputs) {
          const before = builder.byteLength;
          const bound = builder.estimatedBytesWith(input);
          const added = builder.append(input);
          expect(builder.byteLength).toBe(before + added);
          expect(builder.byteLength).toBeLessThanOrEqual(bound);
        }
        expect(builder.recordCount).toBe(inputs.length);
        const { byteLength } = builder;
        expect(builder.build().length).toBe(byteLength);
      }),
    );
  });

  it('writes a record that lies in other bytes as it writes one that is given', () => {
    const slice = fc.option(fc.uint8Array({ maxLength: 600 }));
    fc.assert(
      fc.property(fc.array(fc.tuple(slice, slice, timestamp), { minLength: 1, maxLength: 5 }), inputs => {
        const given = new BatchBuilder({ initialBytes: 61 });
        const spans = new BatchBuilder({ initialBytes: 61 });
        for (const [key, value, at] of inputs) {
          const around = Buffer.concat([
            Buffer.from('xx'),
            key ?? Buffer.alloc(0),
            value ?? Buffer.alloc(0),
            Buffer.from('xx'),
          ]);
          const keyEnd = 2 + (key?.length ?? 0);
          const record = {
            keyBytes: around,
            keyStart: key === null ? -1 : 2,
            keyEnd,
            valueBytes: around,
            valueStart: value === null ? -1 : keyEnd,
            valueEnd: keyEnd + (value?.length ?? 0),
            timestamp: at,
          };
          const bound = spans.estimatedBytesWithSpans(record);
          expect(spans.appendSpans(record)).toBe(given.append({ key, value, timestamp: at }));
          expect(spans.byteLength).toBeLessThanOrEqual(bound);
        }
        expect(Buffer.from(spans.build())).toEqual(Buffer.from(given.build()));
      }),
    );
  });

  it('bounds long text tightly, so that batches are filled', () => {
    const builder = new BatchBuilder();
    const input = { key: null, value: 'x'.repeat(10_000), timestamp: 0 };
    expect(builder.estimatedBytesWith(input)).toBeLessThan(10_000 + 61 + 50);
  });

  it('never touches again what it has handed out', () => {
    fc.assert(
      fc.property(fc.array(records, { minLength: 2, maxLength: 5 }), fc.constantFrom(...CODECS), (rounds, codec) => {
        const builder = new BatchBuilder({ codec, initialBytes: 512 });
        const built = rounds.map(inputs => {
          for (const input of inputs) builder.append(input);
          const batch = builder.build();
          return { batch, copy: batch.slice() };
        });
        for (const input of rounds[0] ?? []) builder.append(input);
        for (const { batch, copy } of built) expect(Buffer.compare(batch, copy)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('keeps alive at most twice of what it hands out', () => {
    for (const count of [1, 10, 100, 1000]) {
      const builder = new BatchBuilder({ initialBytes: 65_536 });
      for (const input of sampleRecords(count, 100)) builder.append(input);
      const batch = builder.build();
      expect(batch.buffer.byteLength).toBeLessThanOrEqual(2 * batch.length);
    }
  });

  it('copies what it is given', () => {
    const value = Uint8Array.from([1, 2, 3]);
    const builder = new BatchBuilder();
    builder.append({ key: null, value, timestamp: 0 });
    value.fill(9);
    expect(decodeRecords(builder.build())).toMatchObject({ records: [{ value: Uint8Array.from([1, 2, 3]) }] });
  });

  it('writes ASCII, then other text, then ASCII again', () => {
    const values = ['plain', 'Ελληνικά', 'plain', '日本語'.repeat(40), 'a'.repeat(500), 'ÿ'.repeat(25), ''];
    const inputs = values.map(value => ({ key: value, value, timestamp: 0, headers: [{ key: value, value }] }));
    expect(actual(decodeRecords(encodeBatch(inputs)))).toEqual(expected(inputs, 0));
  });

  it('makes room for text that takes three bytes a character', () => {
    for (const units of [20, 25, 100, 1000]) {
      const text = '語'.repeat(units);
      const inputs = [{ key: text, value: text, headers: [{ key: text, value: text }], timestamp: 0 }];
      expect(actual(decodeRecords(encodeBatch(inputs, { initialBytes: 61 })))).toEqual(expected(inputs, 0));
    }
  });

  it('forgets on reset what was not built', () => {
    const builder = new BatchBuilder();
    builder.append({ key: null, value: 'dropped', timestamp: 99 });
    builder.reset();
    expect([builder.isEmpty, builder.byteLength]).toEqual([true, 61]);
    builder.append({ key: null, value: 'kept', timestamp: 5 });
    const batch = builder.build();
    expect(new BatchView(batch).maxTimestamp).toBe(5);
    expect(decodeRecords(batch)).toMatchObject({
      records: [{ offset: 0, value: new Uint8Array(Buffer.from('kept')) }],
    });
  });

  it('moves the sequence on by the records built, around the end of int32', () => {
    const producer = { id: 7, epoch: 1, baseSequence: 2 ** 31 - 2 };
    const builder = new BatchBuilder({ producer, isTransactional: true });
    const sequences: number[] = [];
    for (const count of [1, 3, 2]) {
      for (const input of sampleRecords(count, 1)) builder.append(input);
      const view = new BatchView(builder.build());
      expect([view.producerId, view.producerEpoch, view.isTransactional]).toEqual([7, 1, true]);
      sequences.push(view.baseSequence);
    }
    expect(sequences).toEqual([2 ** 31 - 2, 2 ** 31 - 1, 2]);
  });

  it('takes its producer as late as just before it builds', () => {
    const builder = new BatchBuilder();
    builder.append({ key: null, value: 'v', timestamp: 0 });
    builder.setProducer({ id: 2 ** 40, epoch: 9, baseSequence: 100 });
    const view = new BatchView(builder.build());
    expect([view.producerId, view.producerEpoch, view.baseSequence]).toEqual([2 ** 40, 9, 100]);
  });

  it('refuses what cannot be encoded, unharmed', () => {
    expect(() => new BatchBuilder({ codec: 'brotli' as Codec })).toThrow(RangeError);
    expect(() => new BatchBuilder({ isTransactional: true })).toThrow(RangeError);
    const builder = new BatchBuilder();
    expect(() => builder.build()).toThrow(RangeError);
    for (const timestamp of [Number.NaN, 1.5, 2 ** 53, Infinity]) {
      expect(() => builder.append({ key: null, value: 'v', timestamp })).toThrow(RangeError);
    }
    builder.append({ key: null, value: 'v', timestamp: -(2 ** 52) });
    expect(() => builder.append({ key: null, value: 'w', timestamp: 2 ** 53 - 1 })).toThrow(RangeError);
    builder.append({ key: null, value: 'x', timestamp: 0 });
    const decoded = decodeRecords(builder.build());
    expect(decoded.ok && decoded.records.map(each => Buffer.from(each.value ?? []).toString())).toEqual(['v', 'x']);
  });

  it('refuses a producer that the format cannot hold', () => {
    const sound = { id: 1, epoch: 1, baseSequence: 1 };
    const unsound = [
      { id: -1 },
      { id: 2 ** 53 },
      { epoch: -1 },
      { epoch: 2 ** 15 },
      { baseSequence: -1 },
      { baseSequence: 2 ** 31 },
      { baseSequence: 0.5 },
    ];
    for (const wrong of unsound) {
      const producer = { ...sound, ...wrong };
      expect(() => new BatchBuilder({ producer })).toThrow(RangeError);
      expect(() => new BatchBuilder().setProducer(producer)).toThrow(RangeError);
    }
  });

  it('waits with an empty batch as build does: by refusing', async () => {
    await expect(new BatchBuilder({ codec: 'zstd' }).buildOffLoop()).rejects.toThrow(RangeError);
  });
});

describe('decoded records', () => {
  it('are views of the batch and share one empty list of headers', () => {
    const batch = encodeBatch(sampleRecords(3, 50));
    const decoded = decodeRecords(batch);
    if (!decoded.ok) throw new Error(decoded.fault.kind);
    const [first, second] = decoded.records;
    expect(first?.value?.buffer).toBe(batch.buffer);
    expect(first?.key?.buffer).toBe(batch.buffer);
    expect(first?.headers).toBe(second?.headers);
  });

  it('can be taken from a batch in the middle of a larger buffer', () => {
    const inputs = sampleRecords(5, 20);
    const batch = encodeBatch(inputs);
    const around = new Uint8Array(batch.length + 200).fill(0xee);
    around.set(batch, 100);
    expect(actual(decodeRecords(around.subarray(100)))).toEqual(expected(inputs, 0));
  });

  it('agree with what the cursor shows on its way', () => {
    fc.assert(
      fc.property(records, fc.constantFrom(...CODECS), (inputs, codec) => {
        const opened = RecordCursor.open(encodeBatch(inputs, { codec }));
        if (!opened.ok) throw new Error(opened.fault.kind);
        const { cursor } = opened;
        const seen: unknown[] = [];
        while (cursor.next()) {
          // Headers may be asked for twice or not at all: the walk goes on from where it was.
          if (seen.length % 2 === 0) recordHeaders(cursor);
          seen.push({
            offset: cursor.offset,
            timestamp: cursor.timestamp,
            key: bytesOf(recordKey(cursor)),
            value: bytesOf(recordValue(cursor)),
            headers: recordHeaders(cursor).map(each => [each.key, bytesOf(each.value)]),
          });
        }
        expect(cursor.fault).toBeNull();
        expect(cursor.next()).toBe(false);
        expect(seen).toEqual(expected(inputs, 0));
      }),
      { numRuns: 100 },
    );
  });
});

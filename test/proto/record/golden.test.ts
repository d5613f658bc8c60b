// Golden batches: bytes computed from the layout by a separate program in another language (bitwise CRC-32C, its own
// varints), never by the encoder under test. A change that breaks one of these breaks every log on every disk.

import { describe, expect, it } from 'vitest';
import {
  BatchView,
  checkClientBatch,
  controlType,
  decodeConfiguration,
  decodeRecords,
  encodeBatch,
  encodeConfiguration,
  encodeEpochStart,
  inspectBatch,
  isConfiguration,
  isEpochStart,
  splitBatches,
  stampAppendTime,
  stampBatch,
  type BatchFault,
  type RecordInput,
} from '../../../proto/record/index.ts';

const TIMESTAMP = 1_700_000_000_000;
const LIMITS = { bytesMax: 1_000_000, verifyCrc: true };

const records: readonly RecordInput[] = [
  {
    key: 'k1',
    value: 'v1',
    headers: [
      { key: 'h', value: null },
      { key: 'h', value: 'é' },
    ],
    timestamp: TIMESTAMP,
  },
  { key: null, value: '', timestamp: TIMESTAMP - 10 },
];

const PLAIN =
  '00000000000000000000004bffffffff0277dab5780000000000010000018bcfe568000000018bcfe56800ffffffffffffff' +
  'ffffffffffffff0000000224000000046b3104763104026801026804c3a90c001302010000';
const STAMPED =
  '00000100000000050000004b000000070277dab5780000000000010000018bcfe568000000018bcfe56800ffffffffffffff' +
  'ffffffffffffff0000000224000000046b3104763104026801026804c3a90c001302010000';
const APPEND_TIME =
  '00000000000000090000004b00000001027ac875850008000000010000018bcfe568000000018bcfe57b88ffffffffffffff' +
  'ffffffffffffff0000000224000000046b3104763104026801026804c3a90c001302010000';
const GZIP_TRANSACTIONAL =
  '00000000000000000000005fffffffff02f19893310011000000010000018bcfe568000000018bcfe5680000000000000010' +
  '9200037fffffff000000021f8b08000000000002035361606060c9366429336461ca6064ca6039bc928741988991810100c6' +
  '77bd0a1a000000';
/** One frame with one uncompressed block, which is valid zstd and can be written by hand. */
const ZSTD =
  '000000000000000000000054ffffffff024b293c8c0004000000010000018bcfe568000000018bcfe56800ffffffffffffff' +
  'ffffffffffffff0000000228b52ffd201ad1000024000000046b3104763104026801026804c3a90c001302010000';
/** What Kafka's Java client made, with its own libraries for the two codecs. */
const SNAPPY_OF_KAFKA =
  '0000000000000000000000b5ffffffff02d00c0fdf0002000000010000018bcfe568000000018bcfe56801ffffffffffffff' +
  'ffffffffffffff0000000282534e4150505900000000010000000100000070c4012cca010000001e6169696f75201506049e' +
  '01150b2e1700e60c001400b60100020219610d4af04601040a747261636532b381466213381566e79e1149eff5dc5140a9f6' +
  '6c7535b84b66126772c3b6c39f652d31343e78d38f999590d01aac766136b5d77ca92d80049de81a3e3c67';
const LZ4_OF_KAFKA =
  '000000000000000000000060ffffffff021330ac5f0003000000000000018bcfe568000000018bcfe56800ffffffffffffff' +
  'ffffffffffffff0000000104224d1860408220000000f4008601000000106169696f752061696a0900020f000f0600105069' +
  '696f750000000000';
/** Its epoch stands a second time in the base sequence, under the CRC. */
const EPOCH_START =
  '000000000000002a00000031000000030254dff4be0020ffffffff0000018bcfe568000000018bcfe56800ffffffffffffff' +
  'ffffff0000000300000000';
/** Joint: replicas 1 and 13 take over from 1 and 2, and 2 becomes a learner. */
const CONFIGURATION =
  '00000000000003e80000010d000000050213717b5c0020000000000000018bcfe568000000018bcfe56800ffffffffffffff' +
  'ffffffffffffff00000001b403000000080000534c9e03000001000226312f30613062306330642d313131312d343232322d' +
  '383333332d3434343434343434343434342731332f30613062306330642d313131312d343232322d383333332d3636363636' +
  '36363636363636000226312f30613062306330642d313131312d343232322d383333332d3434343434343434343434342632' +
  '2f30613062306330642d313131312d343232322d383333332d3535353535353535353535350000000126322f306130623063' +
  '30642d313131312d343232322d383333332d35353535353535353535353500';
const NO_VOTERS =
  '00000000000003e80000004700000005027dea7f280020000000000000018bcfe568000000018bcfe56800ffffffffffffff' +
  'ffffffffffffff000000012a000000080000534c16000000000000000000000000';
const DESCENDING =
  '00000000000003e800000097000000050252be5ba50020000000000000018bcfe568000000018bcfe56800ffffffffffffff' +
  'ffffffffffffff00000001c801000000080000534cb201000000000226322f30613062306330642d313131312d343232322d' +
  '383333332d35353535353535353535353526312f30613062306330642d313131312d343232322d383333332d343434343434' +
  '34343434343400000000000000';
/** Ten offsets of which compaction has left the fourth and the eighth. */
const COMPACTED =
  '00000000000000640000004200000002023c22e6750000000000090000018bcfe568000000018bcfe56801ffffffffffffff' +
  'ffffffffffffff0000000210000006026b0276000e00020e026c0100';

const ONE = '1/0a0b0c0d-1111-4222-8333-444444444444';
const TWO = '2/0a0b0c0d-1111-4222-8333-555555555555';
const THIRTEEN = '13/0a0b0c0d-1111-4222-8333-666666666666';
const JOINT = {
  voters: [ONE, THIRTEEN],
  outgoing: [ONE, TWO],
  learners: [],
  learnersNext: [TWO],
  autoLeave: true,
};

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function utf8(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('utf8');
}

function readable(hex: string): unknown {
  const decoded = decodeRecords(bytesOf(hex));
  if (!decoded.ok) return decoded.fault;
  return decoded.records.map(({ offset, timestamp, key, value, headers }) => ({
    offset,
    timestamp,
    key: utf8(key),
    value: utf8(value),
    headers: headers.map(header => [header.key, utf8(header.value)]),
  }));
}

function bothRecords(baseOffset: number, appendTimestamp?: number): unknown {
  const headers = [
    ['h', null],
    ['h', 'é'],
  ];
  return [
    { offset: baseOffset, timestamp: appendTimestamp ?? TIMESTAMP, key: 'k1', value: 'v1', headers },
    { offset: baseOffset + 1, timestamp: appendTimestamp ?? TIMESTAMP - 10, key: null, value: '', headers: [] },
  ];
}

describe('the encoder writes', () => {
  it('a plain batch', () => {
    expect(hexOf(encodeBatch(records))).toBe(PLAIN);
  });

  it('an epoch start', () => {
    expect(hexOf(encodeEpochStart({ epoch: 3, baseOffset: 42, timestamp: TIMESTAMP }))).toBe(EPOCH_START);
  });

  it('a configuration, whatever the order of its lists', () => {
    const configuration = { ...JOINT, voters: [...JOINT.voters].reverse() };
    const stamp = { epoch: 5, baseOffset: 1000, timestamp: TIMESTAMP };
    expect(hexOf(encodeConfiguration(configuration, stamp))).toBe(CONFIGURATION);
  });

  it.each<[string, Partial<typeof JOINT>]>([
    ['a replica without a directory', { voters: ['1'] }],
    ['a replica twice', { voters: [ONE, ONE] }],
    ['more replicas than a group has', { voters: Array.from({ length: 129 }, (_, node) => `${node}${ONE.slice(1)}`) }],
  ])('no configuration with %s', (_, change) => {
    const stamp = { epoch: 5, baseOffset: 1000, timestamp: TIMESTAMP };
    expect(() => encodeConfiguration({ ...JOINT, ...change }, stamp)).toThrow(RangeError);
  });

  it('the header of a transactional batch as given', () => {
    const producer = { id: 4242, epoch: 3, baseSequence: 2 ** 31 - 1 };
    const batch = encodeBatch(records, { codec: 'gzip', producer, isTransactional: true });
    // All but length and CRC, which depend on how well this zlib compresses.
    expect(hexOf(batch).slice(42, 122)).toBe(GZIP_TRANSACTIONAL.slice(42, 122));
  });
});

describe('a leader stamps', () => {
  it('base offset and epoch without touching the CRC', () => {
    const batch = bytesOf(PLAIN);
    stampBatch(batch, { baseOffset: 2 ** 40 + 5, leaderEpoch: 7 });
    expect(hexOf(batch)).toBe(STAMPED);
  });

  it('the append time, with a new CRC', () => {
    const batch = bytesOf(PLAIN);
    stampBatch(batch, { baseOffset: 9, leaderEpoch: 1 });
    stampAppendTime(batch, TIMESTAMP + 5000);
    expect(hexOf(batch)).toBe(APPEND_TIME);
  });

  it('the append time and leaves the other attributes as they were', () => {
    const batch = bytesOf(GZIP_TRANSACTIONAL);
    stampAppendTime(batch, TIMESTAMP + 1);
    const view = new BatchView(batch);
    expect([view.codec, view.isTransactional, view.timestampType]).toEqual(['gzip', true, 'append']);
    expect(inspectBatch(batch, 0, LIMITS).ok).toBe(true);
    expect(readable(hexOf(batch))).toEqual(bothRecords(0, TIMESTAMP + 1));
  });

  it('nothing that the format cannot hold, and leaves the batch as it was', () => {
    const batch = bytesOf(PLAIN);
    for (const baseOffset of [-1, 2 ** 53, 0.5, Number.NaN]) {
      expect(() => stampBatch(batch, { baseOffset, leaderEpoch: 0 })).toThrow(RangeError);
    }
    for (const leaderEpoch of [-1, 2 ** 31, 0.5, Number.NaN]) {
      expect(() => stampBatch(batch, { baseOffset: 0, leaderEpoch })).toThrow(RangeError);
    }
    expect(() => stampAppendTime(batch, Number.NaN)).toThrow(RangeError);
    expect(() => encodeEpochStart({ epoch: 0, baseOffset: 0, timestamp: 2 ** 53 })).toThrow(RangeError);
    expect(hexOf(batch)).toBe(PLAIN);
  });
});

describe('the decoder reads', () => {
  it('a plain batch', () => expect(readable(PLAIN)).toEqual(bothRecords(0)));
  it('a stamped batch', () => expect(readable(STAMPED)).toEqual(bothRecords(2 ** 40 + 5)));
  it('a gzip batch', () => expect(readable(GZIP_TRANSACTIONAL)).toEqual(bothRecords(0)));
  it('a zstd batch', () => expect(readable(ZSTD)).toEqual(bothRecords(0)));
  it('what Kafka compressed with snappy', () => {
    const decoded = decodeRecords(bytesOf(SNAPPY_OF_KAFKA));
    if (!decoded.ok) throw new Error(decoded.fault.kind);
    const [first, second] = decoded.records;
    expect([utf8(first!.key), utf8(first!.value)]).toEqual(['aiiou aiiou aii', `${'aiiou '.repeat(13)}a`]);
    expect([utf8(second!.key), utf8(second!.value)]).toEqual(['aiiou aiiou aiio', null]);
    expect(decoded.records).toHaveLength(2);
  });
  it('what Kafka compressed with LZ4', () => {
    const value = 'aiiou '.repeat(9).trimEnd();
    expect(readable(LZ4_OF_KAFKA)).toEqual([{ offset: 0, timestamp: TIMESTAMP, key: 'aiiou ai', value, headers: [] }]);
  });
  it('the append time in place of the records own', () => {
    expect(readable(APPEND_TIME)).toEqual(bothRecords(9, TIMESTAMP + 5000));
  });
  it('a configuration', () => {
    expect(decodeConfiguration(bytesOf(CONFIGURATION))).toEqual({ ok: true, configuration: JOINT });
    expect([isConfiguration(bytesOf(CONFIGURATION)), controlType(bytesOf(CONFIGURATION))]).toEqual([true, 0x534c]);
    for (const hex of [PLAIN, EPOCH_START, GZIP_TRANSACTIONAL]) expect(controlType(bytesOf(hex))).toBeNull();
  });

  it('no records in an epoch start', () => expect(readable(EPOCH_START)).toEqual([]));
  it('no records in a batch that compaction has emptied, compressed or not', () => {
    const emptied = edited(edited(COMPACTED, 57, '00000000'), 8, '00000031').slice(0, 122);
    for (const codec of ['0000', '0001', '0004']) expect(readable(edited(emptied, 21, codec))).toEqual([]);
  });
  it('what compaction has left, at its offsets', () => {
    expect(readable(COMPACTED)).toEqual([
      { offset: 103, timestamp: TIMESTAMP, key: 'k', value: 'v', headers: [] },
      { offset: 107, timestamp: TIMESTAMP + 1, key: 'l', value: null, headers: [] },
    ]);
  });
});

describe('a view', () => {
  it('names every field of the header', () => {
    const view = new BatchView(bytesOf(GZIP_TRANSACTIONAL));
    expect({
      baseOffset: view.baseOffset,
      lastOffset: view.lastOffset,
      nextOffset: view.nextOffset,
      byteLength: view.byteLength,
      leaderEpoch: view.leaderEpoch,
      codec: view.codec,
      isControl: view.isControl,
      isTransactional: view.isTransactional,
      timestampType: view.timestampType,
      lastOffsetDelta: view.lastOffsetDelta,
      baseTimestamp: view.baseTimestamp,
      maxTimestamp: view.maxTimestamp,
      producerId: view.producerId,
      producerEpoch: view.producerEpoch,
      baseSequence: view.baseSequence,
      recordCount: view.recordCount,
    }).toEqual({
      baseOffset: 0,
      lastOffset: 1,
      nextOffset: 2,
      byteLength: 107,
      leaderEpoch: -1,
      codec: 'gzip',
      isControl: false,
      isTransactional: true,
      timestampType: 'create',
      lastOffsetDelta: 1,
      baseTimestamp: TIMESTAMP,
      maxTimestamp: TIMESTAMP,
      producerId: 4242,
      producerEpoch: 3,
      baseSequence: 2 ** 31 - 1,
      recordCount: 2,
    });
  });

  it('sees a control batch that spans no offset', () => {
    const bytes = bytesOf(EPOCH_START);
    const view = new BatchView(bytes);
    expect([view.baseOffset, view.lastOffset, view.nextOffset]).toEqual([42, 41, 42]);
    expect([view.isControl, view.leaderEpoch, view.producerId]).toEqual([true, 3, -1]);
    expect(isEpochStart(bytes, 0)).toBe(true);
    expect(isEpochStart(bytesOf(`00${EPOCH_START}`), 1)).toBe(true);
    const others = [PLAIN, edited(EPOCH_START, 21, '0000'), edited(EPOCH_START, 57, '00000001')];
    others.push(edited(EPOCH_START, 23, '00000000'));
    for (const hex of others) expect(isEpochStart(bytesOf(hex), 0)).toBe(false);
  });

  it('counts offsets by their span and not by the records that are left', () => {
    const view = new BatchView(bytesOf(COMPACTED));
    expect([view.baseOffset, view.lastOffset, view.nextOffset, view.recordCount]).toEqual([100, 109, 110, 2]);
  });

  it('sees the append time', () => {
    expect(new BatchView(bytesOf(APPEND_TIME)).timestampType).toBe('append');
  });
});

describe('a configuration is refused', () => {
  it.each([
    ['that is no control batch', edited(CONFIGURATION, 21, '0000'), /no configuration/],
    ['of another type', edited(CONFIGURATION, 69, '0002'), /no configuration/],
    ['with a key of a later version', edited(CONFIGURATION, 67, '0001'), /key/],
    ['that spans two offsets', edited(CONFIGURATION, 23, '00000001'), /more than one offset/],
    ['of a later version', edited(CONFIGURATION, 73, '0001'), /version 1/],
    ['with flags that mean nothing', edited(CONFIGURATION, 75, '03'), /flags 3/],
    ['with a count beyond its bytes', edited(CONFIGURATION, 76, '0040'), /.+/],
    ['with a negative count', edited(CONFIGURATION, 76, 'ffff'), /-1 voters/],
    ['with a list that ends before its replicas', edited(CONFIGURATION, 78, 'ff'), /NODE|within/],
    ['with a replica of another form', edited(CONFIGURATION, 79, '78'), /NODE/],
    ['without its last list', edited(CONFIGURATION, 239, '0000'), /behind its last list/],
    ['without voters', NO_VOTERS, /no voters/],
    ['with voters that do not ascend', DESCENDING, /do not ascend/],
  ])('%s', (_, hex, detail) => {
    const decoded = decodeConfiguration(bytesOf(hex));
    expect(decoded.ok ? 'accepted' : decoded.detail).toMatch(detail);
  });
});

describe('inspection', () => {
  for (const [name, hex] of Object.entries({
    PLAIN,
    STAMPED,
    APPEND_TIME,
    ZSTD,
    EPOCH_START,
    CONFIGURATION,
    COMPACTED,
  })) {
    it(`accepts ${name}, alone and in the middle of other bytes`, () => {
      const bytes = bytesOf(hex);
      expect(inspectBatch(bytes, 0, LIMITS)).toEqual({ ok: true, byteLength: bytes.length });
      const among = bytesOf(`ff${hex}ffff`);
      expect(inspectBatch(among, 1, LIMITS)).toEqual({ ok: true, byteLength: bytes.length });
    });
  }

  const broken: readonly [string, string, BatchFault['kind']][] = [
    ['another format version', edited(PLAIN, 16, '01'), 'magic'],
    ['a zero length', edited(PLAIN, 8, '00000000'), 'length'],
    ['a length below a header', edited(PLAIN, 8, '00000030'), 'length'],
    ['a negative length', edited(PLAIN, 8, 'ffffffff'), 'length'],
    ['a length above the limit', edited(PLAIN, 8, '7fffffff'), 'length'],
    ['a flipped bit in the records', edited(PLAIN, 86, '01'), 'crc'],
    ['a flipped bit in the CRC', edited(PLAIN, 17, '76'), 'crc'],
    ['only zeros', '00'.repeat(4096), 'length'],
  ];
  const contradictory: readonly [string, string, BatchFault['kind']][] = [
    ['a negative base offset', edited(PLAIN, 0, 'ffffffffffffffff'), 'offset-range'],
    ['a base offset of 2^53', edited(PLAIN, 0, '0020000000000000'), 'offset-range'],
    ['a next offset of 2^53', edited(PLAIN, 0, '001ffffffffffffe'), 'offset-range'],
    ['a base timestamp of 2^53', edited(PLAIN, 27, '0020000000000000'), 'timestamp-range'],
    ['a max timestamp of -2^63', edited(PLAIN, 35, '8000000000000000'), 'timestamp-range'],
    ['a producer id of 2^63 - 1', edited(PLAIN, 43, '7fffffffffffffff'), 'producer'],
    ['a negative record count', edited(PLAIN, 57, '80000000'), 'record-count'],
    ['more records than offsets', edited(PLAIN, 57, '00000003'), 'record-count'],
    ['a last offset delta of -2', edited(EPOCH_START, 23, 'fffffffe'), 'record-count'],
    ['an epoch start without the control bit', edited(EPOCH_START, 21, '0000'), 'record-count'],
    ['an epoch start with a record', edited(EPOCH_START, 57, '00000001'), 'record-count'],
    ['an epoch start whose epoch is not the one that was written', edited(EPOCH_START, 12, '00000103'), 'epoch'],
  ];
  for (const [name, hex, kind] of contradictory) {
    it(`refuses ${name}, whatever the CRC says`, () => {
      const inspection = inspectBatch(bytesOf(hex), 0, { bytesMax: 1000, verifyCrc: false });
      expect(inspection).toMatchObject({ ok: false, fault: { kind } });
    });
  }

  it('accepts the last offset below 2^53', () => {
    const inspection = inspectBatch(bytesOf(edited(PLAIN, 0, '001ffffffffffffd')), 0, LIMITS);
    expect(inspection).toEqual({ ok: true, byteLength: 87 });
  });

  for (const [name, hex, kind] of broken) {
    it(`refuses ${name}`, () => {
      expect(inspectBatch(bytesOf(hex), 0, LIMITS)).toMatchObject({ ok: false, fault: { kind } });
    });
  }

  it('says how many bytes are missing, and judges the length before it waits for them', () => {
    const bytes = bytesOf(PLAIN);
    for (let cut = 0; cut < bytes.length; cut++) {
      const needed = cut < 12 ? 61 : bytes.length;
      const expected = { ok: false, fault: { kind: 'incomplete', needed } };
      expect(inspectBatch(bytes.subarray(0, cut), 0, LIMITS)).toEqual(expected);
    }
    const tooLong = bytesOf(edited(PLAIN, 8, '000f4235')).subarray(0, 12);
    expect(inspectBatch(tooLong, 0, LIMITS)).toMatchObject({ ok: false, fault: { kind: 'length' } });
    const justRight = bytesOf(edited(PLAIN, 8, '000f4234')).subarray(0, 12);
    expect(inspectBatch(justRight, 0, LIMITS)).toEqual({ ok: false, fault: { kind: 'incomplete', needed: 1_000_000 } });
  });

  it('takes a position before the first byte as nothing there', () => {
    // Bytes that do not exist read as zero, which is what the base offset begins with.
    const fault = { kind: 'incomplete', needed: 61 };
    expect(inspectBatch(bytesOf(PLAIN).subarray(4), -4, LIMITS)).toEqual({ ok: false, fault });
  });

  it('leaves the CRC alone when told to', () => {
    const bytes = bytesOf(edited(PLAIN, 86, '01'));
    expect(inspectBatch(bytes, 0, { bytesMax: 1000, verifyCrc: false })).toEqual({ ok: true, byteLength: 87 });
  });
});

describe('splitting a payload', () => {
  it('answers views of each batch', () => {
    const payload = bytesOf(PLAIN + ZSTD + GZIP_TRANSACTIONAL);
    const split = splitBatches(payload, LIMITS);
    expect(split.ok && split.batches.map(hexOf)).toEqual([PLAIN, ZSTD, GZIP_TRANSACTIONAL]);
    expect(split.ok && split.batches.every(batch => batch.buffer === payload.buffer)).toBe(true);
    expect(splitBatches(new Uint8Array(0), LIMITS)).toEqual({ ok: true, batches: [] });
  });

  it('names the batch that is not one', () => {
    const damaged = edited(ZSTD, 70, '00');
    expect(splitBatches(bytesOf(PLAIN + damaged), LIMITS)).toMatchObject({
      ok: false,
      index: 1,
      fault: { kind: 'crc' },
    });
    const cutOff = bytesOf(PLAIN + ZSTD.slice(0, -2));
    const fault = { kind: 'incomplete', needed: ZSTD.length / 2 };
    expect(splitBatches(cutOff, LIMITS)).toEqual({ ok: false, index: 1, fault });
  });
});

describe('what a client may send', () => {
  it('is any ordinary batch', () => {
    for (const hex of [PLAIN, ZSTD, GZIP_TRANSACTIONAL]) expect(checkClientBatch(bytesOf(hex), 0)).toBeNull();
    expect(checkClientBatch(bytesOf(`00${PLAIN}`), 1)).toBeNull();
  });

  const refused: readonly [string, string, BatchFault['kind']][] = [
    ['an epoch start', EPOCH_START, 'attributes'],
    ['a configuration', CONFIGURATION, 'attributes'],
    ['a control batch', edited(PLAIN, 21, '0020'), 'attributes'],
    ['a batch with append time', APPEND_TIME, 'attributes'],
    ['a delete horizon', edited(PLAIN, 21, '0040'), 'attributes'],
    ['bit 7', edited(PLAIN, 21, '0080'), 'attributes'],
    ['bit 8', edited(PLAIN, 21, '0100'), 'attributes'],
    ['bit 15', edited(PLAIN, 21, '8000'), 'attributes'],
    ['a transaction without a producer', edited(PLAIN, 21, '0010'), 'attributes'],
    ['codec 5', edited(PLAIN, 21, '0005'), 'codec'],
    ['codec 7', edited(PLAIN, 21, '0007'), 'codec'],
    ['no records', edited(PLAIN, 57, '00000000'), 'record-count'],
    ['fewer records than offsets', COMPACTED, 'record-count'],
    ['more records than offsets', edited(PLAIN, 57, '00000003'), 'record-count'],
    ['a negative count', edited(PLAIN, 57, 'ffffffff'), 'record-count'],
    ['a producer id below -1', edited(PLAIN, 43, 'fffffffffffffffe'), 'producer'],
    ['a producer without a sequence', edited(GZIP_TRANSACTIONAL, 53, 'ffffffff'), 'producer'],
    ['a producer without an epoch', edited(GZIP_TRANSACTIONAL, 51, 'ffff'), 'producer'],
  ];
  for (const [name, hex, kind] of refused) {
    it(`is not ${name}`, () => {
      expect(checkClientBatch(bytesOf(hex), 0)).toMatchObject({ kind });
    });
  }
});

describe('the decoder', () => {
  const cases: readonly [string, string, RegExp][] = [
    ['fewer records than the header says', edited(edited(PLAIN, 23, '00000002'), 57, '00000003'), /past the end/],
    ['bytes behind the last record', edited(PLAIN, 57, '00000001'), /7 bytes behind/],
    ['a record that runs past the end', edited(PLAIN, 80, '0e'), /past the end/],
    ['a record without a length', edited(PLAIN, 80, '00'), /past the end/],
    ['a record that is longer than its fields', edited(PLAIN, 61, '26'), /do not fill/],
    ['a record that is shorter than its fields', edited(PLAIN, 61, '22'), /headers/],
    ['a key that runs past its record', edited(PLAIN, 65, '7e'), /do not fill/],
    ['a key length of -2', edited(PLAIN, 65, '03'), /negative key length/],
    ['a value length of -2', edited(PLAIN, 68, '03'), /negative value length/],
    ['a header key that runs past its record', edited(PLAIN, 72, '7e'), /headers/],
    ['a header without a key', edited(PLAIN, 72, '01'), /headers/],
    ['a header value length of -2', edited(PLAIN, 74, '03'), /headers/],
    ['a negative header count', edited(PLAIN, 71, '01'), /headers/],
    ['more headers than fit', edited(PLAIN, 71, '7e'), /headers/],
    ['one header less than there are', edited(PLAIN, 71, '02'), /do not fill/],
    ['a timestamp of 2^53', edited(edited(PLAIN, 27, '001fffffffffffff'), 63, '02'), /timestamp 9007199254740992/],
    ['an offset delta twice', edited(PLAIN, 83, '00'), /offset delta 0 after 0/],
    ['an offset delta beyond the last', edited(PLAIN, 83, '04'), /offset delta 2 after 0/],
    ['a negative offset delta', edited(PLAIN, 64, '01'), /offset delta -1 after -1/],
  ];
  for (const [name, hex, detail] of cases) {
    it(`refuses ${name}`, () => {
      const decoded = decodeRecords(bytesOf(hex));
      expect(decoded).toMatchObject({ ok: false, fault: { kind: 'record', detail: expect.stringMatching(detail) } });
    });
  }

  it('refuses the codec ids that mean nothing', () => {
    for (const codec of ['0005', '0006', '0007']) {
      const decoded = decodeRecords(bytesOf(edited(PLAIN, 21, codec)));
      expect(decoded).toMatchObject({ ok: false, fault: { kind: 'unsupported-codec' } });
    }
  });

  it('refuses records that are not compressed although the header says so', () => {
    for (const codec of ['0001', '0002', '0003', '0004']) {
      const decoded = decodeRecords(bytesOf(edited(PLAIN, 21, codec)));
      expect(decoded).toMatchObject({ ok: false, fault: { kind: 'decompress' } });
    }
  });
});

/** The batch with other bytes at a position. */
function edited(hex: string, at: number, replacement: string): string {
  return hex.slice(0, at * 2) + replacement + hex.slice(at * 2 + replacement.length);
}

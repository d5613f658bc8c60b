// How fast records go into and come out of a batch, and how fast bytes are checksummed: `node bench/micro/record.ts`.
//
// Every measurement uses what it computes (a sum that is compared at the end), so that nothing can be optimised away. Bytes
// are those of the values, what is checksummed, or what is compressed.

import {
  BATCH_HEADER_BYTES,
  BatchBuilder,
  CRC32C_IS_NATIVE,
  RecordCursor,
  crc32c,
  compressSync,
  crc32cPortable,
  decodeRecords,
  decompressSync,
  encodeBatch,
  inspectBatch,
  murmur2,
  type RecordInput,
} from '../../proto/record/index.ts';
import { measure, type Measured } from './measuring.ts';

const RECORDS_PER_BATCH = 2_000;
const VALUE_BYTES = 100;

const records: Measured = { unit: 'records', bytes: VALUE_BYTES };
const calls = (bytes: number): Measured => ({ unit: 'calls', bytes });

const bytesValue = Uint8Array.from({ length: VALUE_BYTES }, (_, index) => 32 + (index % 90));
const textValue = Buffer.from(bytesValue).toString('latin1');
const cyrillicValue = 'д'.repeat(VALUE_BYTES / 2);

function encoding(records: readonly RecordInput[]): () => number {
  const builder = new BatchBuilder({ initialBytes: 262_144 });
  return () => {
    for (const record of records) builder.append(record);
    if (builder.build().length < records.length * 10) throw new Error('the batch is too short to hold its records');
    return records.length;
  };
}

function manyOf(key: RecordInput['key'], value: RecordInput['value'], headers?: RecordInput['headers']): RecordInput[] {
  return Array.from({ length: RECORDS_PER_BATCH }, (_, index) => {
    const timestamp = 1_700_000_000_000 + (index >> 4);
    return headers === undefined ? { key, value, timestamp } : { key, value, timestamp, headers };
  });
}

const plain = manyOf(null, bytesValue);
const headers = [{ key: 'trace', value: '0af7651916cd43dd' }];
const batch = encodeBatch(plain);
const batchWithHeaders = encodeBatch(manyOf('key-17', bytesValue, headers));
/** What a batch of 256 KiB usually holds: alike, and no two the same. */
const orders = Array.from({ length: RECORDS_PER_BATCH }, (_, index) => {
  const mixed = Math.imul(index + 1, 0x9e3779b1) >>> 0;
  const order = {
    id: index,
    customer: `c-${mixed % 10_000}`,
    amount: (mixed >>> 7) / 100,
    state: ['open', 'paid', 'sent'][index % 3],
  };
  return { key: null, value: JSON.stringify(order).padEnd(VALUE_BYTES), timestamp: 1_700_000_000_000 + index };
});
const compressed = (['gzip', 'snappy', 'lz4', 'zstd'] as const).map(codec => ({
  codec,
  bytes: encodeBatch(plain, { codec }),
}));
const orderRecords = encodeBatch(orders).subarray(BATCH_HEADER_BYTES);

console.log(`${RECORDS_PER_BATCH} records a batch, values of ${VALUE_BYTES} bytes, native CRC: ${CRC32C_IS_NATIVE}\n`);
measure('encode, value as bytes, no key', records, encoding(plain));
measure('encode, value as ASCII text, no key', records, encoding(manyOf(null, textValue)));
measure('encode, value as ASCII text, short key', records, encoding(manyOf('key-17', textValue)));
measure('encode, value as bytes, short key, one header', records, encoding(manyOf('key-17', bytesValue, headers)));
measure('encode, value as non-ASCII text, no key', records, encoding(manyOf(null, cyrillicValue)));

function walking(bytes: Uint8Array): () => number {
  return () => {
    const opened = RecordCursor.open(bytes);
    if (!opened.ok) throw new Error(opened.fault.kind);
    const { cursor } = opened;
    let sum = 0;
    while (cursor.next()) sum += cursor.valueEnd - cursor.valueStart;
    if (sum !== RECORDS_PER_BATCH * VALUE_BYTES || cursor.fault !== null) throw new Error('values were lost');
    return RECORDS_PER_BATCH;
  };
}

function decoding(bytes: Uint8Array): () => number {
  return () => {
    const decoded = decodeRecords(bytes);
    if (!decoded.ok || decoded.records.length !== RECORDS_PER_BATCH) throw new Error('records were lost');
    return RECORDS_PER_BATCH;
  };
}

measure('walk with a cursor', records, walking(batch));
measure('walk with a cursor, key and one header', records, walking(batchWithHeaders));
for (const { codec, bytes } of compressed) measure(`walk with a cursor, ${codec}`, records, walking(bytes));
measure('decodeRecords', records, decoding(batch));
measure('decodeRecords, key and one header', records, decoding(batchWithHeaders));

for (const { codec } of compressed) {
  const packed = compressSync(codec, orderRecords);
  const share = ((packed.length / orderRecords.length) * 100).toFixed(0);
  measure(`compress with ${codec} to ${share} %`, calls(orderRecords.length), () => {
    if (compressSync(codec, orderRecords).length !== packed.length) throw new Error('equal input, other output');
    return 1;
  });
  measure(`inflate with ${codec}`, calls(orderRecords.length), () => {
    const inflated = decompressSync(codec, packed, orderRecords.length);
    if (!inflated.ok || inflated.bytes.length !== orderRecords.length) throw new Error('bytes were lost');
    return 1;
  });
}

function checksumming(checksum: (bytes: Uint8Array) => number, length: number): () => number {
  const bytes = Uint8Array.from({ length }, (_, index) => index * 31);
  const expected = crc32cPortable(bytes);
  const repeats = Math.ceil(262_144 / length);
  return () => {
    for (let repeat = 0; repeat < repeats; repeat++) {
      if (checksum(bytes) !== expected) throw new Error('the checksums differ');
    }
    return repeats;
  };
}

for (const length of [32, 64, 96, 128, 192, 256, 4096, 262_144]) {
  measure(
    `crc32c, ${length} bytes`,
    calls(length),
    checksumming(bytes => crc32c(bytes, 0), length),
  );
  measure(
    `crc32c portable, ${length} bytes`,
    calls(length),
    checksumming(bytes => crc32cPortable(bytes), length),
  );
}

const limits = { bytesMax: 1 << 20, verifyCrc: true };
measure('inspectBatch with CRC', calls(batch.length), () => (inspectBatch(batch, 0, limits).ok ? 1 : 0));
const key = Buffer.from('customer-0012345');
measure('murmur2, 16 bytes', calls(key.length), () => {
  let sum = 0;
  for (let call = 0; call < 10_000; call++) sum ^= murmur2(key) + call;
  return Number.isNaN(sum) ? 0 : 10_000;
});

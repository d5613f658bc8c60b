// A segment's bytes as our own reader sees them, in the form that Kafka's reading is compared with.

import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchView, decodeRecords, inspectBatch, type StoredRecord } from '@sluice/protocol/record';
import type { BatchDigest } from './kafka-judge.ts';

const BATCH_BYTES_MAX = 64 * 1024 * 1024;

/** Every batch of a segment. Throws where the bytes are no batch: what is compared here is sound or the test fails. */
export function batchesOf(segment: Uint8Array): BatchView[] {
  const batches: BatchView[] = [];
  for (let at = 0; at < segment.length; ) {
    const inspection = inspectBatch(segment, at, { bytesMax: BATCH_BYTES_MAX, verifyCrc: true });
    if (!inspection.ok) throw new Error(`no batch at ${at}: ${JSON.stringify(inspection.fault)}`);
    batches.push(new BatchView(segment.subarray(at, at + inspection.byteLength)));
    at += inspection.byteLength;
  }
  return batches;
}

export function recordsOf(batch: BatchView): readonly StoredRecord[] {
  const decoded = decodeRecords(batch.bytes);
  if (!decoded.ok) throw new Error(`batch at offset ${batch.baseOffset}: ${JSON.stringify(decoded.fault)}`);
  return decoded.records;
}

export function digestOf(batch: BatchView): BatchDigest {
  const records = recordsOf(batch);
  return {
    baseOffset: batch.baseOffset,
    lastOffset: batch.lastOffset,
    recordCount: records.length,
    sha256: digestOfRecords(records),
  };
}

// offset int64 | timestamp int64 | key | value | header count int32 | each header: name | value
// where a byte string is its length as int32 (-1 for null) and the bytes.
function digestOfRecords(records: readonly StoredRecord[]): string {
  const digest = createHash('sha256');
  const place = Buffer.alloc(16);
  const count = (value: number) => {
    place.writeInt32BE(value, 0);
    digest.update(place.subarray(0, 4));
  };
  const put = (bytes: Uint8Array | null) => {
    count(bytes === null ? -1 : bytes.length);
    if (bytes !== null) digest.update(bytes);
  };
  for (const record of records) {
    place.writeBigInt64BE(BigInt(record.offset), 0);
    place.writeBigInt64BE(BigInt(record.timestamp), 8);
    digest.update(place);
    put(record.key);
    put(record.value);
    count(record.headers.length);
    for (const header of record.headers) {
      put(Buffer.from(header.key, 'utf8'));
      put(header.value);
    }
  }
  return digest.digest('hex');
}

/** The logs and indexes below a folder, at any depth, sorted. Empty where there is no such folder. */
export async function segmentFilesBelow(folder: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(folder, { recursive: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names
    .filter(name => /(^|\/)\d{20}\.(log|index|timeindex)$/.test(name))
    .sort()
    .map(name => join(folder, name));
}

export async function digestsOf(logFile: string): Promise<BatchDigest[]> {
  return batchesOf(await readFile(logFile)).map(digestOf);
}

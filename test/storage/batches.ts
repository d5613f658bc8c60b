// Batches for the tests of the storage engine: what a client would send, made small.

import {
  BatchBuilder,
  type ProducerStamp,
  RecordCursor,
  readBaseOffset,
  readLeaderEpoch,
} from '@sluice/protocol/record';

export interface BatchPlan {
  readonly count?: number;
  /** Of the first record; each further one is a millisecond later. */
  readonly timestamp?: number;
  /** Roughly the bytes of a record's value. */
  readonly valueBytes?: number;
  /** What the values begin with, to tell batches apart. */
  readonly name?: string;
  readonly producer?: ProducerStamp;
}

/** What the records of such a batch hold. */
export const valuesOf = ({ count = 1, valueBytes = 10, name = 'v' }: BatchPlan = {}): string[] =>
  Array.from({ length: count }, (_, index) => `${name}.${index}`.padEnd(valueBytes, '.'));

export const makeBatch = ({ timestamp = 1_000, producer, ...plan }: BatchPlan = {}): Uint8Array => {
  const builder = new BatchBuilder({ initialBytes: 64, ...(producer && { producer }) });
  for (const [index, value] of valuesOf(plan).entries()) {
    builder.append({ key: null, value, timestamp: timestamp + index });
  }
  return new Uint8Array(builder.build());
};

export interface ReadRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly value: string;
}

/** Every record of a batch. */
export const recordsOf = (batch: Uint8Array): ReadRecord[] => {
  const opened = RecordCursor.open(batch);
  if (!opened.ok) throw new Error(`not a batch: ${JSON.stringify(opened.fault)}`);
  const { cursor } = opened;
  const records: ReadRecord[] = [];
  while (cursor.next()) {
    const value = Buffer.from(cursor.bytes.subarray(cursor.valueStart, cursor.valueEnd)).toString('latin1');
    records.push({ offset: cursor.offset, timestamp: cursor.timestamp, value });
  }
  if (cursor.fault !== null) throw new Error(`not a batch: ${JSON.stringify(cursor.fault)}`);
  return records;
};

export const baseOffsetsOf = (batches: readonly Uint8Array[]): number[] =>
  batches.map(batch => readBaseOffset(batch, 0));
export const epochsOf = (batches: readonly Uint8Array[]): number[] => batches.map(batch => readLeaderEpoch(batch, 0));

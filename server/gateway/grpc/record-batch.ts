// Records as messages, encoded into the one batch that a produce request becomes.

import type { ProducerSequence, Record as RecordMessage } from '@sluice/protocol/services';
import { Compression } from '@sluice/protocol/services';
import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import type { Codec, ProducerStamp, RecordInput } from '@sluice/protocol/record';
import { BatchBuilder, COMPRESS_OFF_LOOP_BYTES } from '@sluice/protocol/record';
import { PRODUCER_EPOCH_MAX } from '../../base/limits.ts';
import { naturalNumber } from './safe-number.ts';

export type EncodeCode = 'INVALID_REQUEST' | 'INVALID_TIMESTAMP' | 'RECORD_TOO_LARGE';

export interface EncodeOptions {
  /** Who signs the batch. */
  readonly producer: ProducerSequence | null;
  readonly compression: Compression;
  readonly batchBytesMax: number;
  /** For records without a timestamp. */
  readonly nowMs: number;
}

/** Ready at once, or being compressed off the event loop, or a piece at a time, where that would hold the loop up. */
export type EncodedBatch = Result<Uint8Array, EncodeCode> | Promise<Result<Uint8Array, EncodeCode>>;

const codecs: ReadonlyMap<Compression, Codec> = new Map<Compression, Codec>([
  [Compression.NONE, 'none'],
  [Compression.GZIP, 'gzip'],
  [Compression.SNAPPY, 'snappy'],
  [Compression.LZ4, 'lz4'],
  [Compression.ZSTD, 'zstd'],
]);

/** Relies on at least one record. */
export const encodeRecords = (records: readonly RecordMessage[], options: EncodeOptions): EncodedBatch => {
  const codec = codecs.get(options.compression);
  if (codec === undefined) return refused('INVALID_REQUEST', `there is no compression ${options.compression}`);
  const producer = stampOf(options.producer);
  if (!producer.ok) return producer;
  const builder = new BatchBuilder({ codec, ...(producer.value !== null && { producer: producer.value }) });
  for (const [index, record] of records.entries()) {
    const timestamp = record.timestampMs === undefined ? options.nowMs : naturalNumber(record.timestampMs);
    if (timestamp === null) {
      return refused('INVALID_TIMESTAMP', `record ${index}: timestamp_ms is not in the range of 0 to 2^53 - 1`, {
        index,
      });
    }
    builder.append(recordInput(record, timestamp));
  }
  const fits = (batch: Uint8Array): Result<Uint8Array, EncodeCode> =>
    batch.byteLength <= options.batchBytesMax
      ? accepted(batch)
      : tooLarge(records.length, batch.byteLength, options.batchBytesMax);
  return codec === 'none' || builder.byteLength <= COMPRESS_OFF_LOOP_BYTES
    ? fits(builder.build())
    : builder.buildOffLoop().then(fits);
};

const stampOf = (producer: ProducerSequence | null): Result<ProducerStamp | null, 'INVALID_REQUEST'> => {
  if (producer === null) return accepted(null);
  const id = naturalNumber(producer.producerId);
  const { producerEpoch: epoch, sequence } = producer;
  if (id === null) return refused('INVALID_REQUEST', 'producer_id is not in the range of 0 to 2^53 - 1');
  if (epoch < 0 || epoch > PRODUCER_EPOCH_MAX) {
    return refused('INVALID_REQUEST', `producer_epoch ${epoch} is not in the range of 0 to ${PRODUCER_EPOCH_MAX}`);
  }
  if (sequence < 0) return refused('INVALID_REQUEST', `sequence ${sequence} is negative`);
  return accepted({ id, epoch, baseSequence: sequence });
};

const recordInput = (record: RecordMessage, timestamp: number): RecordInput => ({
  key: record.key ?? null,
  value: record.value ?? null,
  headers: record.headers.map(header => ({ key: header.key, value: header.value ?? null })),
  timestamp,
});

const tooLarge = (count: number, batchBytes: number, batchBytesMax: number): Result<Uint8Array, 'RECORD_TOO_LARGE'> =>
  refused(
    'RECORD_TOO_LARGE',
    count === 1
      ? `the record makes a batch of ${batchBytes} bytes, and the topic takes at most ${batchBytesMax}`
      : `the ${count} records of one request are one batch; theirs has ${batchBytes} bytes, and the topic takes at most ${batchBytesMax}`,
    { batch_bytes: batchBytes, batch_bytes_max: batchBytesMax },
  );

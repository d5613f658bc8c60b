// The producers of a partition, as they lie in a file and come from another replica: whatever the bytes are, a table is made of them or
// nothing is, and such a table can be judged by, encoded and read back.

import { offset } from '@sluice/protocol/ids';
import { crc32c, writeInt32 } from '@sluice/protocol/record';
import { decodeProducers, encodeProducers } from '../../server/state/producers/producer-snapshot.ts';
import { ProducerTable } from '../../server/state/producers/producer-table.ts';
import type { Decoder } from './decoder-run.ts';

const table = new ProducerTable(offset(0));
table.restore(
  offset(90),
  [3, 4, 900].map((producerId, at) => ({
    producerId,
    batches: Array.from({ length: at + 2 }, (_, index) => ({
      epoch: at,
      baseSequence: index * 4,
      count: 4,
      baseOffset: index * 12 + at * 4,
      timestamp: 1_700_000_000_000,
    })),
  })),
  0,
);

const read = (bytes: Uint8Array): void => {
  const snapshot = decodeProducers(bytes);
  if (snapshot === null) return;
  const made = new ProducerTable(offset(0));
  made.restore(snapshot.settledTo, snapshot.producers, 0);
  for (const { producerId, batches } of snapshot.producers) {
    const { epoch, baseSequence, count, baseOffset } = batches.at(-1)!;
    const verdict = made.judge({ producerId, epoch, baseSequence, count });
    // A batch of all sequences is followed by itself.
    if (verdict.kind !== 'fresh' && (verdict.kind !== 'repeat' || verdict.baseOffset !== baseOffset)) {
      throw new Error('the last batch is no repeat');
    }
  }
  if (Buffer.compare(encodeProducers(made), bytes) !== 0) throw new Error('is not read back');
  if (made.cut(offset(0)) !== (snapshot.settledTo === 0)) throw new Error('is settled further than it says');
};

const withChecksum = (bytes: Uint8Array): Uint8Array => {
  const end = bytes.length - 4;
  if (end > 0) writeInt32(bytes, end, crc32c(bytes, 0, end));
  return bytes;
};

const sound = [encodeProducers(table), encodeProducers(new ProducerTable(offset(5)))];

export const producerDecoders: readonly Decoder[] = [
  { name: 'producers', sound, decode: read },
  { name: 'producers with a checksum that fits', sound, decode: bytes => read(withChecksum(bytes)) },
];

// How fast received batches become messages of a reader: `node bench/micro/messages.ts`. Bytes are those of the values. The
// checksums of the batches are part of it; what the wire costs is in bench/load/sdk.ts.

import { bytes, text } from '../../sdk/field-codec.ts';
import { MessageDecoder } from '../../sdk/message-decoder.ts';
import type { ReadableTopic } from '../../sdk/message.ts';
import { PartitionRead } from '../../sdk/partition-read.ts';
import { encodeBatch } from '@sluice/protocol/record';
import { measure, type Measured } from './measuring.ts';

const VALUE_BYTES = 100;
const RECORDS_PER_BATCH = 2_375;
const BATCHES_PER_PIECE = 4;
const WINDOW_BYTES = 16 * 1024 * 1024;

const records: Measured = { unit: 'records', bytes: VALUE_BYTES };
const value = Uint8Array.from({ length: VALUE_BYTES }, (_, index) => 32 + (index % 90));

const pieceOf = (key: string | null): Uint8Array => {
  const batch = encodeBatch(
    Array.from({ length: RECORDS_PER_BATCH }, (_, index) => ({
      key,
      value,
      timestamp: 1_700_000_000_000 + (index >> 5),
    })),
  );
  return Buffer.concat(Array.from({ length: BATCHES_PER_PIECE }, () => batch));
};

const newRead = (): PartitionRead =>
  new PartitionRead(
    {
      topic: 'bench',
      partition: 0,
      start: { kind: 'earliest' },
      isolation: 'read_uncommitted',
      untilEnd: false,
      windowBytes: WINDOW_BYTES,
    },
    { fraction: Math.random },
  );

/** `look` answers how many bytes it saw of a message. */
function decoding<Key, Value>(
  topic: ReadableTopic<Key, Value>,
  received: Uint8Array,
  look: (message: { readonly key: Key | null; readonly value: Value | null }) => number,
): () => number {
  const read = newRead();
  return () => {
    const piece = read.received(received);
    if (piece === null) throw new Error('the piece is not whole batches');
    const decoder = new MessageDecoder(piece, topic);
    let seen = 0;
    let count = 0;
    while (!decoder.isDone) {
      const decoded = decoder.next();
      if (decoded instanceof Promise) throw new Error('nothing is compressed');
      for (const message of decoded.messages) seen += look(message);
      count += decoded.messages.length;
    }
    if (count !== RECORDS_PER_BATCH * BATCHES_PER_PIECE || seen < count) throw new Error('records were lost');
    return count;
  };
}

const raw = { name: 'bench', key: bytes, value: bytes };
const typed = { name: 'bench', key: text, value: text };
const plain = pieceOf(null);
measure(
  'messages, not looked at',
  records,
  decoding(raw, plain, () => 1),
);
measure(
  'messages, value as bytes',
  records,
  decoding(raw, plain, message => message.value?.length ?? 0),
);
measure(
  'messages, value as text',
  records,
  decoding(typed, plain, message => message.value?.length ?? 0),
);
measure(
  'messages, key and value as text',
  records,
  decoding(typed, pieceOf('key-17'), message => (message.key?.length ?? 0) + (message.value?.length ?? 0)),
);

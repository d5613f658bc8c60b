// A record as a reader of the SDK would hand it out, and the cursor that the doors render: both over the same batch.

import { asTopic } from '../../sdk/topic.ts';
import { Message } from '../../sdk/message.ts';
import { encodeBatch, RecordCursor, type RecordInput, stampBatch } from '@sluice/protocol/record';

type Raw = Uint8Array | string;

export const TOPIC = 'orders';
export const PARTITION = 3;

export const storedMessage = (record: RecordInput): { readonly message: Message; readonly cursor: RecordCursor } => {
  const batch = encodeBatch([record], {});
  stampBatch(batch, { baseOffset: 41, leaderEpoch: 7 });
  const opened = RecordCursor.open(batch);
  if (!opened.ok || !opened.cursor.next()) throw new Error('the encoder made no batch');
  const { cursor } = opened;
  const source = {
    topic: asTopic<Raw, Uint8Array, Raw, Uint8Array>(TOPIC),
    partition: PARTITION,
    baseOffset: 41,
    baseTimestamp: record.timestamp,
    leaderEpoch: 7,
    bytes: cursor.bytes,
  };
  return { message: new Message(source, cursor), cursor };
};

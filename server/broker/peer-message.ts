// What two nodes say to each other about partitions: a head as JSON, and batches as they are.
//
//   message  length of the head (uint32), the head, then batches one behind the other
//
// Written and read by remote-partitions.ts and peer-answers.ts.

import type { FetchedPartition } from './broker.ts';

const HEAD_LENGTH_BYTES = 4;

export const joined = (head: unknown, batches: readonly Uint8Array[] = []): Uint8Array => {
  const text = Buffer.from(JSON.stringify(head));
  let at = HEAD_LENGTH_BYTES + text.length;
  let length = at;
  for (const batch of batches) length += batch.length;
  const message = Buffer.allocUnsafe(length);
  message.writeUInt32BE(text.length);
  message.set(text, HEAD_LENGTH_BYTES);
  for (const batch of batches) {
    message.set(batch, at);
    at += batch.length;
  }
  return message;
};

export interface Message {
  readonly head: Readonly<Record<string, unknown>>;
  readonly rest: Uint8Array;
}

export const split = (bytes: Uint8Array): Message | null => {
  if (bytes.length < HEAD_LENGTH_BYTES) return null;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = HEAD_LENGTH_BYTES + buffer.readUInt32BE(0);
  if (end > bytes.length) return null;
  try {
    const head: unknown = JSON.parse(buffer.toString('utf8', HEAD_LENGTH_BYTES, end));
    return isObject(head) ? { head, rest: bytes.subarray(end) } : null;
  } catch {
    return null;
  }
};

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Of a fetched partition: its batches follow the head, one behind the other. */
export type FetchedHead = Omit<FetchedPartition, 'batches'> & { readonly lengths: readonly number[] };

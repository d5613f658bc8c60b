// How a node that does not vote on the metadata follows it: it asks a voter for what is committed behind what it has.
//
//   request   next u64 | wait ms u32 | snapshot u64 | chunk u32
//   answer    kind u8 | leader u32 (2^32 - 1: none is known) | term u32 | body
//
//   kind             body
//   0 not-served     -                                    ask another node
//   1 records        whole batches from the one that covers `next` on; none when the time was over
//   2 chunk          snapshot u64 | chunk u32 | bytes      of the image as of the offset `snapshot`
//
// `snapshot` and `chunk` of a request say which piece is wanted next; 0 and 0 where none was begun. Who is asked for a snapshot
// that it does not keep answers with the first chunk of another one, and the asker begins anew.

import { type NodeId, nodeId, type Offset } from '@sluice/protocol/ids';
import { splitBatches } from '@sluice/protocol/record';
import { METADATA_PIECE_BYTES, PEER_CALL_BYTES_MAX } from '../base/limits.ts';
import { ByteReader } from '../replication/byte-reader.ts';
import { ByteWriter } from '../replication/byte-writer.ts';

export interface PullRequest {
  readonly next: Offset;
  readonly waitMs: number;
  readonly snapshot: Offset;
  readonly chunk: number;
}

/** Who leads the metadata group. Of two, the one of the higher term is right. */
export interface LeaderHint {
  readonly leader: NodeId | null;
  readonly term: number;
}

export type PullAnswer = { readonly hint: LeaderHint } & (
  | { readonly kind: 'not-served' }
  | { readonly kind: 'records'; readonly batches: readonly Uint8Array[] }
  | { readonly kind: 'chunk'; readonly snapshot: Offset; readonly chunk: number; readonly bytes: Uint8Array }
);

const REQUEST_BYTES = 24;
const HEAD_BYTES = 9;
const NO_NODE = 0xffff_ffff;
const kinds = ['not-served', 'records', 'chunk'] as const satisfies readonly PullAnswer['kind'][];

export const encodePullRequest = ({ next, waitMs, snapshot, chunk }: PullRequest): Uint8Array => {
  const writer = new ByteWriter(REQUEST_BYTES);
  writer.offset(next);
  writer.uint32(waitMs);
  writer.offset(snapshot);
  writer.uint32(chunk);
  return writer.finish();
};

export const decodePullRequest = (bytes: Uint8Array): PullRequest | null => {
  const reader = new ByteReader(bytes);
  const request = { next: reader.offset(), waitMs: reader.uint32(), snapshot: reader.offset(), chunk: reader.uint32() };
  return reader.isBroken || reader.left > 0 ? null : request;
};

export const encodePullAnswer = (answer: PullAnswer): Uint8Array => {
  const writer = new ByteWriter(answer.kind === 'not-served' ? HEAD_BYTES : METADATA_PIECE_BYTES);
  writer.uint8(kinds.indexOf(answer.kind));
  writer.uint32(answer.hint.leader ?? NO_NODE);
  writer.uint32(answer.hint.term);
  if (answer.kind === 'records') for (const batch of answer.batches) writer.raw(batch);
  if (answer.kind === 'chunk') {
    writer.offset(answer.snapshot);
    writer.uint32(answer.chunk);
    writer.raw(answer.bytes);
  }
  return writer.finish();
};

const readHint = (reader: ByteReader): LeaderHint => {
  const leader = reader.uint32();
  const term = reader.uint32();
  if (leader !== NO_NODE && leader > 0x7fff_ffff) reader.fail();
  return { leader: leader === NO_NODE || reader.isBroken ? null : nodeId(leader), term };
};

/** Null for bytes that are no answer: they are taken for none. */
export const decodePullAnswer = (bytes: Uint8Array): PullAnswer | null => {
  const reader = new ByteReader(bytes);
  const kind = kinds[reader.uint8()];
  const hint = readHint(reader);
  if (kind === undefined || reader.isBroken) return null;
  if (kind === 'not-served') return { kind, hint };
  if (kind === 'chunk') {
    const piece = { snapshot: reader.offset(), chunk: reader.uint32(), bytes: reader.rest() };
    return reader.isBroken ? null : { kind, hint, ...piece };
  }
  const split = splitBatches(reader.rest(), { bytesMax: PEER_CALL_BYTES_MAX });
  return split.ok ? { kind, hint, batches: split.batches } : null;
};

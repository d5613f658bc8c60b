// The controller asks whoever leads a partition to hand it to another replica. Only the leader can do that, and it may refuse.
//
//   request   topic id 16 | partition u32 | node that is to lead u32
//   answer    1: it is under way, 0: not

import { type NodeId, type TopicId, topicIdBytes, topicIdFromBytes } from '@sluice/protocol/ids';
import { METADATA_ATTEMPT_MS } from '../base/limits.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import { ByteReader } from '../replication/byte-reader.ts';
import { ByteWriter } from '../replication/byte-writer.ts';
import { askPeer } from '../replication/peer-request.ts';
import type { LeaderTransfer, PartitionPlace } from '../state/cluster/leader-balance.ts';
import { PEER_KIND } from './peer-kinds.ts';

const REQUEST_BYTES = 24;

export interface LeaderTransfersOptions {
  readonly self: NodeId;
  readonly links: Pick<PeerLinks, 'call'>;
  /** On the node that leads the partition. */
  readonly carryOut: (place: PartitionPlace, to: NodeId) => Promise<boolean>;
}

interface WantedTransfer extends PartitionPlace {
  readonly to: NodeId;
}

export const encodeTransfer = ({ topicId, partition, to }: WantedTransfer): Uint8Array => {
  const writer = new ByteWriter(REQUEST_BYTES);
  writer.raw(topicIdBytes(topicId));
  writer.uint32(partition);
  writer.uint32(to);
  return writer.finish();
};

export const decodeTransfer = (bytes: Uint8Array): WantedTransfer | null => {
  const reader = new ByteReader(bytes);
  const raw = reader.raw(16);
  const [partition, to] = [reader.uint32(), reader.uint32()];
  if (reader.isBroken || reader.left > 0 || to > 0x7fff_ffff) return null;
  const topicId: TopicId = topicIdFromBytes(raw);
  return { topicId, partition, to: to as NodeId };
};

export class LeaderTransfers {
  readonly #options: LeaderTransfersOptions;

  constructor(options: LeaderTransfersOptions) {
    this.#options = options;
  }

  async ask(planned: LeaderTransfer): Promise<boolean> {
    const { self, links, carryOut } = this.#options;
    if (planned.from === self) return carryOut(planned, planned.to);
    const request = { to: planned.from, kind: PEER_KIND.leaderTransfer, body: encodeTransfer(planned) };
    const answer = await askPeer(links, request, { timeoutMs: METADATA_ATTEMPT_MS });
    return answer.kind === 'answer' && answer.body[0] === 1;
  }

  async answer(body: Uint8Array): Promise<Uint8Array> {
    const wanted = decodeTransfer(body);
    const isDone = wanted !== null && (await this.#options.carryOut(wanted, wanted.to));
    return Uint8Array.of(isDone ? 1 : 0);
  }
}

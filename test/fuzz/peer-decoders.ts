// What nodes say to each other about partitions: whatever a peer sends, it is answered, and whatever it answers is a result.

import { nodeId, offset, topicId } from '@sluice/protocol/ids';
import { isErrorCode, type Result } from '@sluice/protocol/errors';
import type { PartitionService } from '../../server/broker/partition-service.ts';
import { answerPeers } from '../../server/broker/peer-answers.ts';
import { PEER_KIND } from '../../server/broker/peer-kinds.ts';
import { joined, split } from '../../server/broker/peer-message.ts';
import { RemotePartitions } from '../../server/broker/remote-partitions.ts';
import type { PeerIdentity, PeerLinks } from '../../server/io/peer-link.ts';
import { PeerRequests } from '../../server/replication/peer-request.ts';
import type { Decoder } from './decoder-run.ts';

const ID = topicId('00000000-0000-4000-8000-000000000001');
const PEER: PeerIdentity = { nodeId: nodeId(2), directory: 'd', incarnation: 1, clusterId: 'c' };
const refusal = { ok: false, problem: { code: 'NOT_LEADER', detail: 'no', facts: { partition: 0 } } } as const;

const nobody: PartitionService = {
  produce: () => Promise.resolve(refusal),
  fetch: () => Promise.resolve(refusal),
  listOffsets: () => Promise.resolve(refusal),
  standings: () => Promise.resolve(refusal),
  deleteRecords: () => Promise.resolve(refusal),
};

const requests = new PeerRequests();
answerPeers(requests, nobody);

const asked = (kind: number, head: object, batches: readonly Uint8Array[] = []): Uint8Array =>
  Uint8Array.of(kind, ...joined(head, batches));

const soundRequests = [
  asked(PEER_KIND.produce, { topicId: ID, partition: 0, acks: 'all', timeoutMs: 5 }, [new Uint8Array(9)]),
  asked(PEER_KIND.fetch, {
    topicId: ID,
    positions: [{ partition: 0, offset: 3 }],
    bytesMax: 9,
    isolation: 'read_committed',
    waitMs: 0,
  }),
  asked(PEER_KIND.listOffsets, { topicId: ID, partitions: [0, 1], query: { kind: 'tail', count: 1 } }),
  asked(PEER_KIND.standings, { topicId: ID, partitions: [0] }),
  asked(PEER_KIND.deleteRecords, { topicId: ID, partition: 0, beforeOffset: 4 }),
];

/** Answers every question with these bytes. */
const askedOf = (bytes: Uint8Array): RemotePartitions => {
  const links: Pick<PeerLinks, 'call'> = { call: () => Promise.resolve({ kind: 'answer', bytes }) };
  return new RemotePartitions(links as PeerLinks, nodeId(2));
};

const readable = { earliestOffset: 0, highWatermark: 5, lastStableOffset: 5 };
const answered = (value: unknown, batches: readonly Uint8Array[] = []): Uint8Array =>
  Uint8Array.of(0, ...joined({ ok: true, value }, batches));

const soundAnswers = [
  answered({ baseOffset: 3, count: 2, timestampMs: -1 }),
  answered([{ partition: 0, nextOffset: 5, ...readable, lengths: [3, 4] }], [new Uint8Array(3), new Uint8Array(4)]),
  answered([{ partition: 0, ...readable, found: { offset: 1, timestampMs: -1 } }]),
  answered([{ partition: 0, leaderEpoch: 1, isr: [1], earliestOffset: 0, highWatermark: 5, logEndOffset: 6 }]),
  answered({ earliestOffset: 4 }),
  Uint8Array.of(0, ...joined(refusal)),
];

const judge = (result: Result<unknown>): void => {
  if (!result.ok && (!isErrorCode(result.problem.code) || typeof result.problem.facts !== 'object')) {
    throw new Error('a refusal that no door can show');
  }
};

const readAnswer = async (bytes: Uint8Array): Promise<void> => {
  const remote = askedOf(bytes);
  judge(await remote.produce({ topicId: ID, partition: 0, batches: new Uint8Array(1), acks: 'all', timeoutMs: 1 }));
  const positions = [{ partition: 0, offset: offset(0) }];
  const fetched = await remote.fetch({ topicId: ID, positions, bytesMax: 9, isolation: 'read_uncommitted', waitMs: 0 });
  judge(fetched);
  if (fetched.ok) for (const piece of fetched.value) for (const batch of piece.batches) batch.at(0);
  judge(await remote.listOffsets({ topicId: ID, partitions: [0], query: { kind: 'none' } }));
  judge(await remote.standings({ topicId: ID, partitions: [0] }));
  judge(await remote.deleteRecords({ topicId: ID, partition: 0, beforeOffset: offset(4) }));
};

export const peerDecoders: readonly Decoder[] = [
  {
    name: 'a question of a peer',
    sound: soundRequests,
    decode: async bytes => {
      const answer = await requests.handle(PEER, bytes, new AbortController().signal);
      if (answer[0] === 0 && split(answer.subarray(1)) === null) throw new Error('an answer that is none');
    },
  },
  { name: 'an answer of a peer', sound: soundAnswers, decode: readAnswer },
];

// What other nodes ask of the partitions that this one leads: their requests read, carried out here and answered.
//
// A peer has proven that it belongs to the cluster, but may be of another release: what makes no sense is refused, never asserted.

import { refused, type Result } from '@sluice/protocol/errors';
import { isOffset, isTopicId, type Offset } from '@sluice/protocol/ids';
import { PEER_CALL_BYTES_MAX, READ_BYTES_MAX } from '../base/limits.ts';
import type { PeerRequests } from '../replication/peer-request.ts';
import type { FetchResult } from './broker.ts';
import { PEER_KIND } from './peer-kinds.ts';
import { type FetchedHead, isObject, joined, type Message, split } from './peer-message.ts';
import type {
  PartitionDeletion,
  PartitionFetch,
  PartitionOffsetsQuery,
  PartitionProduce,
  PartitionService,
  PartitionStandings,
} from './partition-service.ts';

/** Answers what other nodes ask of the partitions that this one leads. */
export const answerPeers = (requests: PeerRequests, partitions: PartitionService): void => {
  const answer = (kind: number, handle: (message: Message, signal: AbortSignal) => Promise<Uint8Array> | null): void =>
    requests.register(kind, (_from, body, signal) => {
      const message = split(body);
      return (message && handle(message, signal)) ?? Promise.resolve(MALFORMED);
    });
  answer(PEER_KIND.produce, ({ head, rest }) => {
    const asked = produceOf(head, rest);
    return asked && partitions.produce(asked).then(plain);
  });
  answer(PEER_KIND.fetch, ({ head }, signal) => {
    const asked = fetchOf(head, signal);
    return asked && partitions.fetch(asked).then(result => fetched(result, asked));
  });
  answer(PEER_KIND.listOffsets, ({ head }) => {
    const asked = offsetsOf(head);
    return asked && partitions.listOffsets(asked).then(plain);
  });
  answer(PEER_KIND.standings, ({ head }) => {
    const asked = standingsOf(head);
    return asked && partitions.standings(asked).then(plain);
  });
  answer(PEER_KIND.deleteRecords, ({ head }) => {
    const asked = deletionOf(head);
    return asked && partitions.deleteRecords(asked).then(plain);
  });
};

const plain = (result: Result<unknown>): Uint8Array => joined(result);
const MALFORMED = plain(refused('INTERNAL', 'another broker sent a request that is none'));

/** What an answer takes beside its batches and their lengths, of each partition; far more than it can be. */
const FETCHED_HEAD_BYTES = 256;

/**
 * A read may give one batch more than was asked for, of each partition. What does not fit into an answer is as if the bytes had been
 * used up before.
 */
const fetched = (result: FetchResult, { positions }: PartitionFetch): Uint8Array => {
  if (!result.ok) return plain(result);
  let left = PEER_CALL_BYTES_MAX;
  const value: FetchedHead[] = [];
  const batches: Uint8Array[] = [];
  for (const [at, { batches: found, ...head }] of result.value.entries()) {
    const lengths = found.map(batch => batch.length);
    const bytes = lengths.reduce((sum, length) => sum + length, lengths.join().length);
    const fits = bytes + (positions.length - at) * FETCHED_HEAD_BYTES <= left;
    value.push(fits ? { ...head, lengths } : { ...head, nextOffset: positions[at]!.offset, lengths: [] });
    left -= FETCHED_HEAD_BYTES;
    if (!fits) continue;
    left -= bytes;
    batches.push(...found);
  }
  return joined({ ok: true, value }, batches);
};

type Head = Readonly<Record<string, unknown>>;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const topicOf = (head: Head): PartitionStandings['topicId'] | null => {
  const { topicId } = head;
  return typeof topicId === 'string' && isTopicId(topicId) ? topicId : null;
};

const produceOf = (head: Head, batches: Uint8Array): PartitionProduce | null => {
  const topicId = topicOf(head);
  const { partition, acks, timeoutMs, expectedOffset } = head;
  if (topicId === null || !isCount(partition) || !isCount(timeoutMs)) return null;
  if (acks !== 'all' && acks !== 'leader' && acks !== 'none') return null;
  const asked = { topicId, partition, acks, timeoutMs, batches } as const;
  if (expectedOffset === undefined) return asked;
  return isOffset(expectedOffset as number) ? { ...asked, expectedOffset: expectedOffset as Offset } : null;
};

const fetchOf = (head: Head, signal: AbortSignal): PartitionFetch | null => {
  const topicId = topicOf(head);
  const { positions, bytesMax, isolation, waitMs } = head;
  if (topicId === null || !Array.isArray(positions) || !isCount(bytesMax) || !isCount(waitMs)) return null;
  if (bytesMax > READ_BYTES_MAX || (isolation !== 'read_uncommitted' && isolation !== 'read_committed')) return null;
  const isPosition = (position: unknown): boolean =>
    isObject(position) && isCount(position['partition']) && isOffset(position['offset'] as number);
  if (!positions.every(isPosition)) return null;
  return { topicId, positions: positions as PartitionFetch['positions'], bytesMax, isolation, waitMs, signal };
};

const partitionsOf = (head: Head): readonly number[] | null => {
  const { partitions } = head;
  return Array.isArray(partitions) && partitions.every(isCount) ? partitions : null;
};

const standingsOf = (head: Head): PartitionStandings | null => {
  const topicId = topicOf(head);
  const partitions = partitionsOf(head);
  return topicId === null || partitions === null ? null : { topicId, partitions };
};

const offsetsOf = (head: Head): PartitionOffsetsQuery | null => {
  const standings = standingsOf(head);
  const { query } = head;
  if (standings === null || !isObject(query)) return null;
  const { kind, timestampMs, count } = query;
  if (kind === 'none') return { ...standings, query: { kind } };
  if (kind === 'timestamp' && Number.isSafeInteger(timestampMs)) {
    return { ...standings, query: { kind, timestampMs: timestampMs as number } };
  }
  return kind === 'tail' && isCount(count) ? { ...standings, query: { kind, count } } : null;
};

const deletionOf = (head: Head): PartitionDeletion | null => {
  const topicId = topicOf(head);
  const { partition, beforeOffset } = head;
  if (topicId === null || !isCount(partition) || !isOffset(beforeOffset as number)) return null;
  return { topicId, partition, beforeOffset: beforeOffset as PartitionDeletion['beforeOffset'] };
};

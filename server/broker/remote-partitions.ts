// Partitions that another node leads, over the peer link: the questions of partition-service.ts as calls, and their answers.
//
// A call that was not sent is as if nobody had led: NOT_LEADER, and whoever asked looks for the leader again. Of one that was sent and
// has no answer nothing is known: a produce is then REQUEST_TIMED_OUT with an unknown outcome, everything else may be asked again.

import { accepted, type ErrorCode, isErrorCode, type Problem, refused, type Result } from '@sluice/protocol/errors';
import type { NodeId } from '@sluice/protocol/ids';
import { PEER_ANSWER_GRACE_MS } from '../base/limits.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import { askPeer } from '../replication/peer-request.ts';
import type {
  DeletedRecords,
  DeleteRecordsCode,
  FetchedPartition,
  FetchResult,
  ListOffsetsCode,
  PartitionOffsets,
} from './broker.ts';
import type { ProduceResult } from './parked-answers.ts';
import { PEER_KIND } from './peer-kinds.ts';
import { type FetchedHead, isObject, joined, type Message, split } from './peer-message.ts';
import {
  notLeader,
  type PartitionDeletion,
  type PartitionFetch,
  type PartitionOffsetsQuery,
  type PartitionProduce,
  type PartitionService,
  type PartitionStanding,
  type PartitionStandings,
} from './partition-service.ts';

type Unanswered = 'not-sent' | 'unknown' | 'garbage';

export class RemotePartitions implements PartitionService {
  readonly #links: PeerLinks;
  readonly #nodeId: NodeId;

  constructor(links: PeerLinks, nodeId: NodeId) {
    this.#links = links;
    this.#nodeId = nodeId;
  }

  async produce({ batches, ...head }: PartitionProduce): Promise<ProduceResult> {
    const answer = await this.#ask(PEER_KIND.produce, joined(head, [batches]), head.timeoutMs);
    if (answer === 'not-sent') return notLeader(head.partition);
    if (typeof answer !== 'string') return resultOf(answer.head, isAck);
    return refused('REQUEST_TIMED_OUT', 'the leader did not answer; the records may be written', {
      outcome: 'unknown',
      partition: head.partition,
    });
  }

  async fetch({ signal, ...head }: PartitionFetch): Promise<FetchResult> {
    const answer = await this.#ask(PEER_KIND.fetch, joined(head), head.waitMs, signal);
    if (typeof answer === 'string') return notLeader(head.positions[0]?.partition ?? 0);
    const result: Result<readonly FetchedHead[], ListOffsetsCode> = resultOf(
      answer.head,
      areAnswersTo(
        head.positions.map(position => position.partition),
        isFetched,
      ),
    );
    return result.ok ? withBatches(result.value, answer.rest) : result;
  }

  async listOffsets(query: PartitionOffsetsQuery): Promise<Result<readonly PartitionOffsets[], ListOffsetsCode>> {
    const answer = await this.#ask(PEER_KIND.listOffsets, joined(query), 0);
    return typeof answer === 'string'
      ? notLeader(query.partitions[0] ?? 0)
      : resultOf(answer.head, areAnswersTo(query.partitions, isOffsets));
  }

  async standings(query: PartitionStandings): Promise<Result<readonly PartitionStanding[], ListOffsetsCode>> {
    const answer = await this.#ask(PEER_KIND.standings, joined(query), 0);
    return typeof answer === 'string'
      ? notLeader(query.partitions[0] ?? 0)
      : resultOf(answer.head, areAnswersTo(query.partitions, isStanding));
  }

  async deleteRecords(request: PartitionDeletion): Promise<Result<DeletedRecords, DeleteRecordsCode>> {
    const answer = await this.#ask(PEER_KIND.deleteRecords, joined(request), 0);
    return typeof answer === 'string' ? notLeader(request.partition) : resultOf(answer.head, isDeleted);
  }

  async #ask(kind: number, body: Uint8Array, waitMs: number, signal?: AbortSignal): Promise<Message | Unanswered> {
    const timeoutMs = waitMs + PEER_ANSWER_GRACE_MS;
    const request = { to: this.#nodeId, kind, body };
    const answer = await askPeer(this.#links, request, { timeoutMs, ...(signal && { signal }) });
    return answer.kind === 'answer' ? (split(answer.body) ?? 'garbage') : answer.kind;
  }
}

/** A result as the other side wrote it, which may be of another release: what does not have the form of one is refused. */
const resultOf = <T, C extends ErrorCode>(
  head: Readonly<Record<string, unknown>>,
  isValue: (value: unknown) => boolean,
): Result<T, C | 'INTERNAL'> => {
  const { ok, value, problem } = head as { ok?: unknown; value?: T; problem?: Problem<C> };
  if (ok === true && isValue(value)) return accepted(value as T);
  if (ok !== true && problem !== undefined && isProblem(problem)) return { ok: false, problem };
  return refused('INTERNAL', 'another broker gave an answer that is none');
};

/** Codes are looked at, because doors look them up. */
const isProblem = (problem: unknown): boolean =>
  isObject(problem) &&
  typeof problem['code'] === 'string' &&
  isErrorCode(problem['code']) &&
  typeof problem['detail'] === 'string' &&
  isObject(problem['facts']);

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

const hasCounts = (value: unknown, names: readonly string[]): boolean =>
  isObject(value) && names.every(name => isCount(value[name]));

const hasTime = (value: unknown): boolean => isObject(value) && Number.isSafeInteger(value['timestampMs']);

/** One for each partition that was asked for, in their order. */
const areAnswersTo =
  (partitions: readonly number[], isAnswer: (value: unknown) => boolean) =>
  (value: unknown): boolean =>
    Array.isArray(value) &&
    value.length === partitions.length &&
    value.every((each, at) => isAnswer(each) && (each as { partition?: unknown }).partition === partitions[at]);

const isAck = (value: unknown): boolean => hasCounts(value, ['baseOffset', 'count']) && hasTime(value);

const READABLE = ['earliestOffset', 'highWatermark', 'lastStableOffset'];

const isFetched = (value: unknown): boolean => {
  if (!hasCounts(value, ['nextOffset', ...READABLE])) return false;
  const { lengths } = value as { lengths?: unknown };
  return Array.isArray(lengths) && lengths.every(isCount);
};

const isOffsets = (value: unknown): boolean => {
  if (!hasCounts(value, READABLE)) return false;
  const { found } = value as { found?: unknown };
  return found === null || (hasCounts(found, ['offset']) && hasTime(found));
};

const isStanding = (value: unknown): boolean => {
  if (!hasCounts(value, ['leaderEpoch', 'earliestOffset', 'highWatermark', 'logEndOffset'])) return false;
  const { isr, heldByAll = 0 } = value as { isr?: unknown; heldByAll?: unknown };
  return isCount(heldByAll) && Array.isArray(isr) && isr.every(isCount);
};

const isDeleted = (value: unknown): boolean => hasCounts(value, ['earliestOffset']);

const withBatches = (heads: readonly FetchedHead[], bytes: Uint8Array): FetchResult => {
  let at = 0;
  const value = heads.map(({ lengths, ...head }): FetchedPartition => {
    const batches = lengths.map(length => bytes.subarray(at, (at += length)));
    return { ...head, batches };
  });
  return at === bytes.length
    ? { ok: true, value }
    : refused('INTERNAL', 'another broker gave an answer with batches that do not fit it');
};

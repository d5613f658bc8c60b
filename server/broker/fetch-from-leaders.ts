// One fetch over partitions that several nodes may lead, as if one node led them all.
//
// With one leader (the usual case) the whole request is its. With several, each is asked for what it has; where nobody has anything and
// the request may wait, all are asked to wait, and the first to have something ends the waiting of the others.

import { accepted } from '@sluice/protocol/errors';
import { LEADER_WAIT_MS } from '../base/limits.ts';
import type { Clock } from '../io/clock.ts';
import type { FetchedPartition, FetchResult } from './broker.ts';
import { hasBatches } from './local-partitions.ts';
import { hasMoved, type PartitionRoutes, type Share } from './partition-routes.ts';
import { notLeader, type PartitionFetch } from './partition-service.ts';

export const fetchFromLeaders = async (
  request: PartitionFetch,
  routes: PartitionRoutes,
  clock: Clock,
): Promise<FetchResult> => {
  const { topicId, positions, signal } = request;
  const beganMs = clock.monotonicMs();
  const partitions = positions.map(position => position.partition);
  for (;;) {
    const waitMs = Math.max(0, Math.round(request.waitMs - (clock.monotonicMs() - beganMs)));
    const shares = routes.shares(topicId, partitions);
    let leaderless: number;
    if (typeof shares === 'number') leaderless = shares;
    else {
      const fetched = await fetchShares(shares, { ...request, waitMs });
      if (fetched.ok || !hasMoved(fetched)) return fetched;
      leaderless = Number(fetched.problem.facts['partition'] ?? partitions[0]);
    }
    const untilMs = beganMs + Math.max(request.waitMs, LEADER_WAIT_MS);
    if (!(await routes.wait({ topicId, partition: leaderless }, untilMs, signal))) return notLeader(leaderless);
  }
};

const fetchShares = async (shares: readonly Share[], request: PartitionFetch): Promise<FetchResult> => {
  const only = shares[0];
  if (shares.length === 1 && only !== undefined) return only.service.fetch(request);
  const present = await fetchPresent(shares, request);
  if (!present.ok || request.waitMs === 0 || hasBatches(present.value)) return present;
  return fetchFirst(shares, request, present.value);
};

/** What is there, in the order of the shares until the bytes are used up. */
const fetchPresent = async (shares: readonly Share[], request: PartitionFetch): Promise<FetchResult> => {
  const pieces: FetchedPartition[] = [];
  let bytesMax = request.bytesMax;
  for (const { service, indices } of shares) {
    const fetched = await service.fetch({ ...request, positions: of(request, indices), bytesMax, waitMs: 0 });
    if (!fetched.ok) return fetched;
    place(pieces, indices, fetched.value);
    for (const piece of fetched.value) for (const batch of piece.batches) bytesMax -= batch.length;
    bytesMax = Math.max(0, bytesMax);
  }
  return accepted(pieces);
};

/** What comes first, over what was `present` before. */
const fetchFirst = async (
  shares: readonly Share[],
  request: PartitionFetch,
  present: readonly FetchedPartition[],
): Promise<FetchResult> => {
  const pieces = [...present];
  const enough = new AbortController();
  const stop = (): void => enough.abort();
  request.signal?.addEventListener('abort', stop, { once: true });
  if (request.signal?.aborted === true) stop();
  let refusal: FetchResult | null = null;
  await Promise.all(
    shares.map(async ({ service, indices }) => {
      const fetched = await service.fetch({ ...request, positions: of(request, indices), signal: enough.signal });
      if (fetched.ok) {
        place(pieces, indices, fetched.value);
        if (hasBatches(fetched.value)) stop();
        return;
      }
      // One that was told to stop has nothing to say.
      if (enough.signal.aborted) return;
      refusal = fetched;
      stop();
    }),
  );
  request.signal?.removeEventListener('abort', stop);
  return hasBatches(pieces) || refusal === null ? accepted(pieces) : refusal;
};

const of = ({ positions }: PartitionFetch, indices: readonly number[]): PartitionFetch['positions'] =>
  indices.map(index => positions[index]!);

const place = (pieces: FetchedPartition[], indices: readonly number[], fetched: readonly FetchedPartition[]): void => {
  for (const [at, index] of indices.entries()) pieces[index] = fetched[at]!;
};

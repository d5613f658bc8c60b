// The partitions whose replicas are on this node, as far as they lead.

import { accepted, type Result } from '@sluice/protocol/errors';
import type { Clock } from '../io/clock.ts';
import type {
  DeletedRecords,
  DeleteRecordsCode,
  FetchedPartition,
  FetchResult,
  ListOffsetsCode,
  PartitionOffsets,
} from './broker.ts';
import type { ProduceResult } from './parked-answers.ts';
import type { Partition } from './partition.ts';
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
import type { Replicas } from './replicas.ts';

export class LocalPartitions implements PartitionService {
  readonly #replicas: Pick<Replicas, 'find'>;
  readonly #clock: Clock;
  #isDraining = false;

  constructor(replicas: Pick<Replicas, 'find'>, clock: Clock) {
    this.#replicas = replicas;
    this.#clock = clock;
  }

  /** Reads that wait end with what is there; so do those that begin later. */
  drain(): void {
    this.#isDraining = true;
  }

  produce(request: PartitionProduce): Promise<ProduceResult> {
    const replica = this.#replicas.find(request.topicId, request.partition);
    return replica?.produce(request) ?? Promise.resolve(notLeader(request.partition));
  }

  async fetch(request: PartitionFetch): Promise<FetchResult> {
    const partitions: Partition[] = [];
    for (const { partition } of request.positions) {
      const replica = this.#replicas.find(request.topicId, partition);
      if (replica === undefined) return notLeader(partition);
      partitions.push(replica);
    }
    const first = await this.#read(request, partitions);
    if (!first.ok || request.waitMs <= 0 || hasBatches(first.value)) return first;
    return this.#readWhenWoken(request, partitions);
  }

  /** Reads position by position until the bytes are used up. */
  async #read(request: PartitionFetch, partitions: readonly Partition[]): Promise<FetchResult> {
    const pieces: FetchedPartition[] = [];
    let left = request.bytesMax;
    for (const [index, position] of request.positions.entries()) {
      const partition = partitions[index]!;
      const read = await partition.read(position.offset, left);
      if (!read.ok) return read;
      const { batches, nextOffset } = read.value;
      for (const batch of batches) left -= batch.length;
      pieces.push({
        partition: position.partition,
        batches,
        nextOffset,
        earliestOffset: partition.log.startOffset,
        highWatermark: partition.highWatermark,
        lastStableOffset: partition.highWatermark,
      });
    }
    return accepted(pieces);
  }

  async #readWhenWoken(request: PartitionFetch, partitions: readonly Partition[]): Promise<FetchResult> {
    const deadlineMs = this.#clock.monotonicMs() + request.waitMs;
    for (;;) {
      const { promise, resolve } = Promise.withResolvers<'woken' | 'over'>();
      const over = (): void => resolve('over');
      const timer = this.#clock.schedule(Math.max(0, deadlineMs - this.#clock.monotonicMs()), over);
      const unwatch = partitions.map(partition => partition.watch(() => resolve('woken')));
      request.signal?.addEventListener('abort', over, { once: true });
      if (request.signal?.aborted === true || this.#isDraining) over();
      // Something may have come between the read and the watching.
      if (partitions.some((partition, index) => partition.highWatermark > request.positions[index]!.offset)) {
        resolve('woken');
      }
      const outcome = await promise;
      timer.cancel();
      request.signal?.removeEventListener('abort', over);
      for (const stop of unwatch) stop();
      const read = await this.#read(request, partitions);
      if (outcome === 'over' || !read.ok || hasBatches(read.value)) return read;
      if (this.#clock.monotonicMs() >= deadlineMs || this.#isDraining) return read;
    }
  }

  async listOffsets({
    topicId,
    partitions,
    query,
  }: PartitionOffsetsQuery): Promise<Result<readonly PartitionOffsets[], ListOffsetsCode>> {
    const found: PartitionOffsets[] = [];
    for (const number of partitions) {
      const replica = this.#replicas.find(topicId, number);
      if (replica === undefined) return notLeader(number);
      const offsets = await replica.offsets(query);
      if (!offsets.ok) return offsets;
      found.push(offsets.value);
    }
    return accepted(found);
  }

  standings({
    topicId,
    partitions,
  }: PartitionStandings): Promise<Result<readonly PartitionStanding[], ListOffsetsCode>> {
    const standings: PartitionStanding[] = [];
    for (const number of partitions) {
      const replica = this.#replicas.find(topicId, number);
      if (replica === undefined || !replica.mayRead) return Promise.resolve(notLeader(number));
      standings.push({
        partition: number,
        leaderEpoch: replica.leaderEpoch,
        isr: replica.inSyncNodes,
        earliestOffset: replica.log.startOffset,
        highWatermark: replica.highWatermark,
        logEndOffset: replica.log.endOffset,
        heldByAll: replica.heldByAll,
      });
    }
    return Promise.resolve(accepted(standings));
  }

  deleteRecords(request: PartitionDeletion): Promise<Result<DeletedRecords, DeleteRecordsCode>> {
    const replica = this.#replicas.find(request.topicId, request.partition);
    return replica?.deleteRecords(request.beforeOffset) ?? Promise.resolve(notLeader(request.partition));
  }
}

export const hasBatches = (pieces: readonly FetchedPartition[]): boolean =>
  pieces.some(piece => piece.batches.length > 0);

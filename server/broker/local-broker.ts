// The broker of a single node: produce, fetch and offsets on the partitions of the topic registry.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import type { NodeId, Offset } from '@sluice/protocol/ids';
import { assert } from '../base/assert.ts';
import { PENDING_PRODUCE_BYTES_MAX } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { BrokerReport, PartitionReport } from '../base/metrics.ts';
import { describeTopicConfig, type TopicConfig } from '../base/topic-config.ts';
import type { Clock, Timer } from '../io/clock.ts';
import { DiskFault } from '../io/disk.ts';
import type { Random } from '../io/random.ts';
import type { DataDirectory } from '../storage/data-directory.ts';
import type {
  AlterTopicCode,
  AlterTopicRequest,
  Broker,
  BrokerView,
  ClusterView,
  CreateTopicCode,
  CreateTopicRequest,
  DeletedRecords,
  DeleteRecordsCode,
  DeleteRecordsRequest,
  DeleteTopicCode,
  FetchedPartition,
  FetchRequest,
  FetchResult,
  ListOffsetsCode,
  ListOffsetsRequest,
  ListTopicsRequest,
  PartitionDescription,
  PartitionOffsets,
  ProduceAck,
  ProduceCode,
  ProduceRequest,
  TopicDescription,
  TopicPage,
  TopicView,
} from './broker.ts';
import type { Partition, PendingBytes } from './partition.ts';
import type { TopicCatalogue } from './topic-catalogue.ts';
import { type OpenTopic, TopicRegistry } from './topic-registry.ts';

/** How often sealed segments are judged by the retention settings. */
const RETENTION_CHECK_MS = 30_000;

export interface LocalBrokerOptions {
  readonly directory: DataDirectory;
  readonly catalogue: TopicCatalogue;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly topicDefaults: TopicConfig;
  readonly version: string;
  readonly rack: string;
  /** Known once the doors listen. */
  readonly addresses: () => { readonly http: string; readonly grpc: string };
}

/** Bytes accepted and not yet durable, over all partitions. */
const countPending = (limit: number): PendingBytes => {
  let used = 0;
  return {
    get used() {
      return used;
    },
    limit,
    add(bytes) {
      used += bytes;
    },
    release(bytes) {
      used -= bytes;
      assert(used >= 0, 'no more is released than was added');
    },
  };
};

export class LocalBroker implements Broker {
  readonly #options: LocalBrokerOptions;
  readonly #nodeId: NodeId;
  readonly #pending = countPending(PENDING_PRODUCE_BYTES_MAX);
  readonly #topics: TopicRegistry;
  readonly #metadataListeners = new Set<() => void>();
  #phase: 'recovering' | 'running' | 'draining' = 'recovering';
  #retentionTimer: Timer | null = null;

  constructor(options: LocalBrokerOptions) {
    this.#options = options;
    this.#nodeId = options.directory.identity.nodeId as NodeId;
    this.#topics = new TopicRegistry({ ...options, pending: this.#pending });
    this.#topics.watch(() => this.#metadataChanged());
  }

  /** Recovers every partition; until then the broker is not ready and refuses everything. */
  async open(): Promise<void> {
    await this.#topics.open();
    this.#phase = 'running';
    this.#scheduleRetention();
  }

  // ---------------------------------------------------------------------------------------------------------- records

  #partition(topicName: string, partition: number): Result<Partition, 'TOPIC_NOT_FOUND' | 'PARTITION_NOT_FOUND'> {
    const topic = this.#topics.find(topicName);
    if (topic === null) return refused('TOPIC_NOT_FOUND', `there is no topic "${topicName}"`, { topic: topicName });
    const found = topic.partitions[partition];
    if (found === undefined) {
      return refused(
        'PARTITION_NOT_FOUND',
        `topic "${topicName}" has partitions 0 to ${topic.partitions.length - 1}, not ${partition}`,
        { topic: topicName, partition, partition_count: topic.partitions.length },
      );
    }
    return accepted(found);
  }

  produce(request: ProduceRequest): Promise<Result<ProduceAck, ProduceCode>> {
    if (this.#phase !== 'running') return Promise.resolve(refused('SHUTTING_DOWN', 'the broker is stopping'));
    const partition = this.#partition(request.topic, request.partition);
    return partition.ok ? partition.value.produce(request) : Promise.resolve(partition);
  }

  async fetch(request: FetchRequest): Promise<FetchResult> {
    const partitions: Partition[] = [];
    for (const position of request.positions) {
      const partition = this.#partition(request.topic, position.partition);
      if (!partition.ok) return partition;
      partitions.push(partition.value);
    }
    const first = await this.#read(request, partitions);
    if (!first.ok || request.waitMs <= 0 || first.value.some(piece => piece.batches.length > 0)) return first;
    return this.#readWhenWoken(request, partitions);
  }

  /** Reads position by position until the bytes are used up. */
  async #read(request: FetchRequest, partitions: readonly Partition[]): Promise<FetchResult> {
    const pieces: FetchedPartition[] = [];
    let left = request.bytesMax;
    for (const [index, position] of request.positions.entries()) {
      const partition = partitions[index]!;
      let batches: readonly Uint8Array[] = [];
      let nextOffset: Offset = position.offset;
      if (left > 0) {
        const read = await partition.read(position.offset, left);
        if (!read.ok) return read;
        ({ batches, nextOffset } = read.value);
        for (const batch of batches) left -= batch.length;
      }
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

  async #readWhenWoken(request: FetchRequest, partitions: readonly Partition[]): Promise<FetchResult> {
    const { clock } = this.#options;
    const deadlineMs = clock.monotonicMs() + request.waitMs;
    for (;;) {
      const { promise, resolve } = Promise.withResolvers<'woken' | 'over'>();
      const over = (): void => resolve('over');
      const timer = clock.schedule(Math.max(0, deadlineMs - clock.monotonicMs()), over);
      const unwatch = partitions.map(partition => partition.watch(() => resolve('woken')));
      request.signal?.addEventListener('abort', over, { once: true });
      if (request.signal?.aborted === true || this.#phase === 'draining') over();
      // Something may have come between the read and the watching.
      if (partitions.some((partition, index) => partition.highWatermark > request.positions[index]!.offset)) {
        resolve('woken');
      }
      const outcome = await promise;
      timer.cancel();
      request.signal?.removeEventListener('abort', over);
      for (const stop of unwatch) stop();
      const read = await this.#read(request, partitions);
      if (outcome === 'over' || !read.ok || read.value.some(piece => piece.batches.length > 0)) return read;
      if (clock.monotonicMs() >= deadlineMs || this.#phase === 'draining') return read;
    }
  }

  async listOffsets(request: ListOffsetsRequest): Promise<Result<readonly PartitionOffsets[], ListOffsetsCode>> {
    const topic = this.#topics.find(request.topic);
    if (topic === null) {
      return refused('TOPIC_NOT_FOUND', `there is no topic "${request.topic}"`, { topic: request.topic });
    }
    const wanted = request.partitions ?? topic.partitions.map(partition => partition.partition);
    const found: PartitionOffsets[] = [];
    for (const number of wanted) {
      const partition = this.#partition(request.topic, number);
      if (!partition.ok) return partition;
      try {
        found.push(await partition.value.offsets(request.query));
      } catch (cause) {
        if (!(cause instanceof DiskFault)) throw cause;
        return refused('STORAGE_FAILED', 'the disk could not be read', { partition: number });
      }
    }
    return accepted(found);
  }

  // ----------------------------------------------------------------------------------------------------------- topics

  findTopic(name: string): TopicView | null {
    return this.#topics.find(name)?.view ?? null;
  }

  listTopics(request: ListTopicsRequest): TopicPage {
    return this.#topics.list(request);
  }

  describeTopic(name: string): Promise<Result<TopicDescription, 'TOPIC_NOT_FOUND' | 'SHUTTING_DOWN'>> {
    const topic = this.#topics.find(name);
    if (topic === null) {
      return Promise.resolve(refused('TOPIC_NOT_FOUND', `there is no topic "${name}"`, { topic: name }));
    }
    return Promise.resolve(accepted(this.#describe(topic)));
  }

  #describe(topic: OpenTopic): TopicDescription {
    const partitions = topic.partitions.map(
      (partition): PartitionDescription => ({
        partition: partition.partition,
        leader: this.#nodeId,
        leaderEpoch: partition.leaderEpoch,
        replicas: [this.#nodeId],
        isr: [this.#nodeId],
        earliestOffset: partition.log.startOffset,
        highWatermark: partition.highWatermark,
        lastStableOffset: partition.highWatermark,
        logEndOffset: partition.log.endOffset,
      }),
    );
    const allConfig = describeTopicConfig(topic.view.config, this.#options.topicDefaults);
    return { ...topic.view, partitions, allConfig };
  }

  async createTopic(request: CreateTopicRequest): Promise<Result<TopicDescription, CreateTopicCode>> {
    const created = await this.#topics.create(request);
    return created.ok ? accepted(this.#describe(created.value)) : created;
  }

  async alterTopic(request: AlterTopicRequest): Promise<Result<TopicDescription, AlterTopicCode>> {
    const altered = await this.#topics.alter(request);
    return altered.ok ? accepted(this.#describe(altered.value)) : altered;
  }

  deleteTopic(name: string): Promise<Result<null, DeleteTopicCode>> {
    return this.#topics.delete(name);
  }

  deleteRecords(request: DeleteRecordsRequest): Promise<Result<DeletedRecords, DeleteRecordsCode>> {
    if (this.#phase !== 'running') return Promise.resolve(refused('SHUTTING_DOWN', 'the broker is stopping'));
    const { topic } = request;
    if (this.#topics.find(topic)?.view.internal === true) {
      return Promise.resolve(refused('FORBIDDEN', `topic "${topic}" is internal`, { topic }));
    }
    const partition = this.#partition(topic, request.partition);
    return partition.ok ? partition.value.deleteRecords(request.beforeOffset) : Promise.resolve(partition);
  }

  // ------------------------------------------------------------------------------------------------------------- node

  cluster(): ClusterView {
    const { http, grpc } = this.#options.addresses();
    const self: BrokerView = {
      nodeId: this.#nodeId,
      rack: this.#options.rack,
      state: this.#phase === 'draining' ? 'draining' : 'running',
      httpAddress: http,
      grpcAddress: grpc,
    };
    return {
      clusterId: this.#options.directory.identity.clusterId,
      controller: this.#nodeId,
      version: this.#options.version,
      brokers: [self],
    };
  }

  watchMetadata(listener: () => void): () => void {
    this.#metadataListeners.add(listener);
    return () => this.#metadataListeners.delete(listener);
  }

  #metadataChanged(): void {
    for (const listener of this.#metadataListeners) listener();
  }

  notReady(): readonly string[] {
    if (this.#phase === 'recovering') return ['partitions are being recovered'];
    if (this.#phase === 'draining') return ['the broker is stopping'];
    const missing: string[] = [];
    for (const partition of this.#topics.partitions()) {
      if (partition.log.state === 'failed') {
        missing.push(
          `${partition.topic}-${partition.partition} takes no records: ${partition.log.fault?.message ?? ''}`,
        );
      }
    }
    return missing;
  }

  /** For /metrics. */
  report(): BrokerReport {
    const partitions: PartitionReport[] = [];
    for (const { topic, partition, log, highWatermark } of this.#topics.partitions()) {
      partitions.push({
        topic,
        partition,
        sizeBytes: log.byteLength,
        segments: log.segmentCount,
        highWatermark,
        startOffset: log.startOffset,
        isOffline: log.state !== 'open' || log.damagedRanges.length > 0,
      });
    }
    const { tailCache } = this.#options.directory.context;
    return { partitions, pendingProduceBytes: this.#pending.used, tailCacheBytes: tailCache.usedBytes };
  }

  #scheduleRetention(): void {
    this.#retentionTimer = this.#options.clock.schedule(RETENTION_CHECK_MS, () => {
      this.applyRetention().then(
        () => {
          if (this.#phase === 'running') this.#scheduleRetention();
        },
        cause => {
          this.#options.logger.error({ cause: String(cause) }, 'retention could not remove segments');
          if (this.#phase === 'running') this.#scheduleRetention();
        },
      );
    });
  }

  /** Removes what every topic's retention settings allow to be removed now. */
  async applyRetention(): Promise<void> {
    await this.#options.directory.reserve.hold();
    for (const partition of Array.from(this.#topics.partitions())) {
      if (partition.log.state === 'open') await partition.applyRetention();
    }
  }

  /** From here on everything new is refused with SHUTTING_DOWN; waiting reads end. */
  drain(): void {
    this.#phase = 'draining';
    this.#retentionTimer?.cancel();
    this.#metadataChanged();
  }

  /** Everything accepted is durable and answered when this returns. */
  async close(): Promise<void> {
    if (this.#phase !== 'draining') this.drain();
    await this.#topics.close();
  }
}

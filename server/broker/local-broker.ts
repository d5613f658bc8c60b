// The broker of a single node: topics from the catalogue, partitions on the local disk.
//
// Changes of topics run one at a time. A change is durable in the catalogue before it is visible, and folders follow the
// catalogue: one that is missing after a crash is created, one that is deleted is removed, at the next start.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { type NodeId, type Offset, topicId, topicNameFault } from '@sluice/protocol/ids';
import { assert } from '../base/assert.ts';
import { PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX, PENDING_PRODUCE_BYTES_MAX } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { PartitionReport } from '../base/metrics.ts';
import type { Clock, Timer } from '../io/clock.ts';
import { DiskFault } from '../io/disk.ts';
import type { Random } from '../io/random.ts';
import type { DataDirectory, PartitionName } from '../storage/data-directory.ts';
import { partitionDirectoryName } from '../storage/segment-name.ts';
import type {
  AlterTopicCode,
  AlterTopicRequest,
  Broker,
  BrokerView,
  ClusterView,
  CreateTopicCode,
  CreateTopicRequest,
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
import { Partition, type PendingBytes } from './partition.ts';
import type { CatalogueImage, CatalogueTopic, TopicCatalogue } from './topic-catalogue.ts';
import { checkTopicConfig, describeTopicConfig, type TopicConfig, topicSettings } from './topic-config.ts';

/** How often sealed segments are judged by the retention settings. */
const RETENTION_CHECK_MS = 30_000;
/** Logs opened at once at start: recovery reads files, and the thread pool has 16 threads. */
const OPEN_AT_ONCE = 16;

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

interface Topic {
  readonly view: TopicView;
  readonly partitions: readonly Partition[];
}

export class LocalBroker implements Broker {
  readonly #options: LocalBrokerOptions;
  readonly #nodeId: NodeId;
  readonly #topics = new Map<string, Topic>();
  readonly #metadataListeners = new Set<() => void>();
  readonly #pending: PendingBytes;
  #changes: Promise<unknown> = Promise.resolve();
  #phase: 'recovering' | 'running' | 'draining' = 'recovering';
  #retentionTimer: Timer | null = null;

  private constructor(options: LocalBrokerOptions) {
    this.#options = options;
    this.#nodeId = options.directory.identity.nodeId as NodeId;
    let used = 0;
    this.#pending = {
      get used() {
        return used;
      },
      limit: PENDING_PRODUCE_BYTES_MAX,
      add(bytes) {
        used += bytes;
      },
      release(bytes) {
        used -= bytes;
        assert(used >= 0, 'no more is released than was added');
      },
    };
  }

  /** Opens every partition of the catalogue and finishes interrupted removals. */
  static async open(options: LocalBrokerOptions): Promise<LocalBroker> {
    const broker = new LocalBroker(options);
    await broker.#openTopics();
    broker.#phase = 'running';
    broker.#scheduleRetention();
    return broker;
  }

  async #openTopics(): Promise<void> {
    const { catalogue, directory, logger } = this.#options;
    const image = catalogue.image();
    await this.#finishRemovals(image);
    const waiting = [...image.topics.values()].flatMap(topic => {
      const partitions = this.#newPartitions(topic, { from: 0, to: topic.partitionCount });
      this.#topics.set(topic.name, { view: this.#viewOf(topic), partitions });
      return partitions.map(partition => ({ topic, partition }));
    });
    const worker = async (): Promise<void> => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        await this.#openPartition(next.topic, next.partition);
      }
    };
    await Promise.all(Array.from({ length: OPEN_AT_ONCE }, worker));
    const known = new Set<string>();
    for (const topic of image.topics.values()) {
      for (let partition = 0; partition < topic.partitionCount; partition++) {
        known.add(partitionDirectoryName(topic.name, partition));
      }
    }
    for (const name of await directory.strangers(known)) {
      logger.warn({ directory: name }, 'a folder that belongs to no topic is kept and not opened');
    }
  }

  async #finishRemovals(image: CatalogueImage): Promise<void> {
    if (image.deleted.length === 0) return;
    for (const { name, id, partitionCount } of image.deleted) {
      for (let partition = 0; partition < partitionCount; partition++) {
        const partitionName: PartitionName = { topic: name, topicId: id, partition };
        await this.#options.directory.retireLog(partitionName);
        await this.#options.directory.removeRetired(partitionName);
      }
    }
    await this.#options.catalogue.replace({ topics: image.topics, deleted: [] });
  }

  #newPartitions(topic: CatalogueTopic, range: { from: number; to: number }): Partition[] {
    const settings = topicSettings(topic.config, this.#options.topicDefaults);
    const { clock } = this.#options;
    return Array.from({ length: range.to - range.from }, (_, index) => {
      const partition = range.from + index;
      return new Partition({ topic: topic.name, partition, clock, pending: this.#pending }, settings);
    });
  }

  async #openPartition(topic: CatalogueTopic, partition: Partition): Promise<void> {
    const settings = topicSettings(topic.config, this.#options.topicDefaults);
    const name: PartitionName = { topic: topic.name, topicId: topic.id, partition: partition.partition };
    partition.attach(await this.#options.directory.openLog(name, settings.log, partition));
  }

  #viewOf(topic: CatalogueTopic): TopicView {
    return {
      name: topic.name,
      id: topic.id,
      partitionCount: topic.partitionCount,
      replicationFactor: 1,
      internal: topic.internal,
      batchBytesMax: topicSettings(topic.config, this.#options.topicDefaults).batchBytesMax,
      config: topic.config,
    };
  }

  // ---------------------------------------------------------------------------------------------------------- records

  #partition(topicName: string, partition: number): Result<Partition, 'TOPIC_NOT_FOUND' | 'PARTITION_NOT_FOUND'> {
    const topic = this.#topics.get(topicName);
    if (topic === undefined)
      return refused('TOPIC_NOT_FOUND', `there is no topic "${topicName}"`, { topic: topicName });
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
    const topic = this.#topics.get(request.topic);
    if (topic === undefined) {
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
    return this.#topics.get(name)?.view ?? null;
  }

  listTopics(request: ListTopicsRequest): TopicPage {
    const names = [...this.#topics.keys()].filter(name => name.startsWith(request.prefix)).sort();
    const topics: TopicView[] = [];
    for (const name of names) {
      if (request.after !== null && name <= request.after) continue;
      const { view } = this.#topics.get(name)!;
      if (view.internal && !request.internal) continue;
      if (topics.length === request.limit) return { topics, nextAfter: topics.at(-1)!.name };
      topics.push(view);
    }
    return { topics, nextAfter: null };
  }

  describeTopic(name: string): Promise<Result<TopicDescription, 'TOPIC_NOT_FOUND' | 'SHUTTING_DOWN'>> {
    const topic = this.#topics.get(name);
    if (topic === undefined) {
      return Promise.resolve(refused('TOPIC_NOT_FOUND', `there is no topic "${name}"`, { topic: name }));
    }
    return Promise.resolve(accepted(this.#describe(topic)));
  }

  #describe(topic: Topic): TopicDescription {
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

  /** Runs changes of topics one after another. A disk that fails is a refusal, not a crash. */
  #change<T, C extends CreateTopicCode | AlterTopicCode | DeleteTopicCode>(
    change: () => Promise<Result<T, C>>,
  ): Promise<Result<T, C | 'STORAGE_FAILED' | 'DISK_FULL' | 'SHUTTING_DOWN'>> {
    const guarded = async (): Promise<Result<T, C | 'STORAGE_FAILED' | 'DISK_FULL' | 'SHUTTING_DOWN'>> => {
      if (this.#phase !== 'running') return refused('SHUTTING_DOWN', 'the broker is stopping');
      try {
        return await change();
      } catch (cause) {
        if (!(cause instanceof DiskFault)) throw cause;
        this.#options.logger.error({ fault: cause.message }, 'a change of a topic failed');
        return cause.kind === 'full'
          ? refused('DISK_FULL', 'the disk is full')
          : refused('STORAGE_FAILED', 'the disk failed');
      }
    };
    const result = this.#changes.then(guarded);
    this.#changes = result.catch(() => undefined);
    return result;
  }

  createTopic(request: CreateTopicRequest): Promise<Result<TopicDescription, CreateTopicCode>> {
    return this.#change<TopicDescription, CreateTopicCode>(async () => {
      const checked = this.#checkCreate(request);
      if (!checked.ok) return checked;
      const topic = checked.value;
      const image = this.#options.catalogue.image();
      await this.#options.catalogue.replace({ ...image, topics: new Map(image.topics).set(topic.name, topic) });
      const partitions = this.#newPartitions(topic, { from: 0, to: topic.partitionCount });
      try {
        for (const partition of partitions) await this.#openPartition(topic, partition);
      } catch (cause) {
        await this.#undoCreate(topic);
        throw cause;
      }
      const created: Topic = { view: this.#viewOf(topic), partitions };
      this.#topics.set(topic.name, created);
      this.#metadataChanged();
      return accepted(this.#describe(created));
    });
  }

  #checkCreate(request: CreateTopicRequest): Result<CatalogueTopic, CreateTopicCode> {
    const nameFault = topicNameFault(request.name);
    if (nameFault !== null) return refused('INVALID_TOPIC_NAME', nameFault, { name: request.name });
    if (request.name.startsWith('__')) {
      return refused('INVALID_TOPIC_NAME', 'topic names that begin with "__" are reserved', { name: request.name });
    }
    const partitionCount = request.partitionCount ?? 1;
    const countFault = this.#partitionCountFault(partitionCount, 0);
    if (countFault !== null) return refused('INVALID_PARTITION_COUNT', countFault, { partition_count: partitionCount });
    const replicationFactor = request.replicationFactor ?? 1;
    if (replicationFactor !== 1) {
      return refused(
        'INVALID_REPLICATION_FACTOR',
        `there is one broker, so the replication factor is 1, not ${replicationFactor}`,
        {
          replication_factor: replicationFactor,
          brokers: 1,
        },
      );
    }
    const config = checkTopicConfig(request.config ?? {});
    if (!config.ok) return config;
    const insyncFault = this.#insyncFault(config.value);
    if (insyncFault !== null) return refused('INVALID_CONFIG', insyncFault, { name: 'min.insync.replicas' });
    if (this.#topics.has(request.name)) {
      return refused('TOPIC_EXISTS', `topic "${request.name}" exists already`, { topic: request.name });
    }
    const id = topicId(this.#options.random.uuid());
    return accepted({ name: request.name, id, partitionCount, internal: false, config: config.value });
  }

  #partitionCountFault(count: number, existing: number): string | null {
    if (!Number.isInteger(count) || count < 1 || count > PARTITIONS_PER_TOPIC_MAX) {
      return `a topic has 1 to ${PARTITIONS_PER_TOPIC_MAX} partitions`;
    }
    let total = count - existing;
    for (const topic of this.#topics.values()) total += topic.partitions.length;
    return total > PARTITIONS_MAX ? `a broker has at most ${PARTITIONS_MAX} partitions in all` : null;
  }

  #insyncFault(config: TopicConfig): string | null {
    const { minInsyncReplicas } = topicSettings(config, this.#options.topicDefaults);
    return minInsyncReplicas > 1 ? `min.insync.replicas is ${minInsyncReplicas}, but the topic has 1 replica` : null;
  }

  async #undoCreate(topic: CatalogueTopic): Promise<void> {
    const image = this.#options.catalogue.image();
    const topics = new Map(image.topics);
    topics.delete(topic.name);
    const { name, id, partitionCount } = topic;
    await this.#options.catalogue.replace({ topics, deleted: [...image.deleted, { name, id, partitionCount }] });
    await this.#finishRemovals(this.#options.catalogue.image());
  }

  alterTopic(request: AlterTopicRequest): Promise<Result<TopicDescription, AlterTopicCode>> {
    return this.#change<TopicDescription, AlterTopicCode>(async () => {
      const image = this.#options.catalogue.image();
      const current = image.topics.get(request.name);
      const open = this.#topics.get(request.name);
      if (current === undefined || open === undefined) {
        return refused('TOPIC_NOT_FOUND', `there is no topic "${request.name}"`, { topic: request.name });
      }
      const next = this.#checkAlter(request, current);
      if (!next.ok) return next;
      const topic = next.value;
      await this.#options.catalogue.replace({ ...image, topics: new Map(image.topics).set(topic.name, topic) });
      const added = this.#newPartitions(topic, { from: current.partitionCount, to: topic.partitionCount });
      for (const partition of added) await this.#openPartition(topic, partition);
      const settings = topicSettings(topic.config, this.#options.topicDefaults);
      for (const partition of open.partitions) partition.changeSettings(settings);
      const altered: Topic = { view: this.#viewOf(topic), partitions: [...open.partitions, ...added] };
      this.#topics.set(topic.name, altered);
      this.#metadataChanged();
      return accepted(this.#describe(altered));
    });
  }

  #checkAlter(request: AlterTopicRequest, current: CatalogueTopic): Result<CatalogueTopic, AlterTopicCode> {
    const partitionCount = request.partitionCount ?? current.partitionCount;
    if (partitionCount < current.partitionCount) {
      return refused(
        'INVALID_PARTITION_COUNT',
        `the topic has ${current.partitionCount} partitions; their number only grows`,
        { partition_count: current.partitionCount },
      );
    }
    const countFault = this.#partitionCountFault(partitionCount, current.partitionCount);
    if (countFault !== null) return refused('INVALID_PARTITION_COUNT', countFault, { partition_count: partitionCount });
    const merged: Record<string, string> = { ...current.config };
    const removed: Record<string, string> = {};
    for (const [name, value] of Object.entries(request.config ?? {})) {
      if (value === null) removed[name] = merged[name] ?? '';
      else merged[name] = value;
    }
    for (const name of Object.keys(removed)) {
      if (!describeTopicConfig({}, {}).some(entry => entry.name === name)) {
        return refused('INVALID_CONFIG', `unknown topic setting "${name}"`, { name });
      }
      delete merged[name];
    }
    const config = checkTopicConfig(merged);
    if (!config.ok) return config;
    const insyncFault = this.#insyncFault(config.value);
    if (insyncFault !== null) return refused('INVALID_CONFIG', insyncFault, { name: 'min.insync.replicas' });
    return accepted({ ...current, partitionCount, config: config.value });
  }

  deleteTopic(name: string): Promise<Result<null, DeleteTopicCode>> {
    return this.#change<null, DeleteTopicCode>(async () => {
      const image = this.#options.catalogue.image();
      const topic = image.topics.get(name);
      const open = this.#topics.get(name);
      if (topic === undefined || open === undefined) {
        return refused('TOPIC_NOT_FOUND', `there is no topic "${name}"`, { topic: name });
      }
      if (topic.internal) return refused('FORBIDDEN', `topic "${name}" is internal`, { topic: name });
      const topics = new Map(image.topics);
      topics.delete(name);
      const { id, partitionCount } = topic;
      await this.#options.catalogue.replace({ topics, deleted: [...image.deleted, { name, id, partitionCount }] });
      this.#topics.delete(name);
      this.#metadataChanged();
      for (const partition of open.partitions) await partition.abandon();
      await this.#finishRemovals(this.#options.catalogue.image());
      return accepted(null);
    });
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
    for (const partition of this.#partitions()) {
      if (partition.log.state === 'failed') {
        missing.push(
          `${partition.topic}-${partition.partition} takes no records: ${partition.log.fault?.message ?? ''}`,
        );
      }
    }
    return missing;
  }

  *#partitions(): Iterable<Partition> {
    for (const topic of this.#topics.values()) yield* topic.partitions;
  }

  /** For /metrics. */
  report(): { partitions: PartitionReport[]; pendingProduceBytes: number; tailCacheBytes: number } {
    const partitions: PartitionReport[] = [];
    for (const { topic, partition, log, highWatermark } of this.#partitions()) {
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
    for (const partition of Array.from(this.#partitions())) {
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
    await this.#changes;
    await Promise.all(Array.from(this.#partitions(), partition => partition.close()));
  }
}

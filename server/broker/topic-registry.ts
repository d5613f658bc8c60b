// The topics of the node: the catalogue on one side, open partitions on the other, and the changes that keep them together.
//
// Changes run one at a time. A change is durable in the catalogue before it is visible, and folders follow the catalogue: one that
// is missing after a crash is created, one that is deleted is removed, at the next start.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { topicId, topicNameFault } from '@sluice/protocol/ids';
import { PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import { changeTopicConfig, checkTopicConfig, type TopicConfig } from '../base/topic-config.ts';
import type { Clock } from '../io/clock.ts';
import { DiskFault } from '../io/disk.ts';
import type { Random } from '../io/random.ts';
import type { DataDirectory, PartitionName } from '../storage/data-directory.ts';
import { partitionDirectoryName } from '../storage/segment-name.ts';
import type {
  AlterTopicCode,
  AlterTopicRequest,
  CreateTopicCode,
  CreateTopicRequest,
  DeleteTopicCode,
  ListTopicsRequest,
  TopicPage,
  TopicView,
} from './broker.ts';
import { Partition, type PendingBytes } from './partition.ts';
import type { CatalogueImage, CatalogueTopic, TopicCatalogue } from './topic-catalogue.ts';
import { topicSettings } from './topic-settings.ts';

/** Logs opened at once at start: recovery reads files, and the thread pool has 16 threads. */
const OPEN_AT_ONCE = 16;

export interface TopicRegistryOptions {
  readonly directory: DataDirectory;
  readonly catalogue: TopicCatalogue;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly topicDefaults: TopicConfig;
  readonly pending: PendingBytes;
}

/** A topic that is open. Replaced, never changed. */
export interface OpenTopic {
  readonly view: TopicView;
  readonly partitions: readonly Partition[];
}

export class TopicRegistry {
  readonly #options: TopicRegistryOptions;
  readonly #topics = new Map<string, OpenTopic>();
  readonly #listeners = new Set<() => void>();
  #changes: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: TopicRegistryOptions) {
    this.#options = options;
  }

  find(name: string): OpenTopic | null {
    return this.#topics.get(name) ?? null;
  }

  list(request: ListTopicsRequest): TopicPage {
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

  *partitions(): Iterable<Partition> {
    for (const topic of this.#topics.values()) yield* topic.partitions;
  }

  /** Calls `listener` after every change, until the returned function is called. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Changes under way are finished, later ones refused; then the partitions are closed. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#changes;
    await Promise.all(Array.from(this.partitions(), partition => partition.close()));
  }

  /** Opens every partition of the catalogue and finishes interrupted removals. Called once, first. */
  async open(): Promise<void> {
    const { catalogue, directory, logger } = this.#options;
    const image = catalogue.image();
    await this.#finishRemovals(image);
    const opening = [...image.topics.values()].map(topic => ({
      topic,
      partitions: this.#newPartitions(topic, { from: 0, to: topic.partitionCount }),
    }));
    const waiting = opening.flatMap(({ topic, partitions }) => partitions.map(partition => ({ topic, partition })));
    const worker = async (): Promise<void> => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        await this.#openPartition(next.topic, next.partition);
      }
    };
    await Promise.all(Array.from({ length: OPEN_AT_ONCE }, worker));
    for (const { topic, partitions } of opening) {
      this.#topics.set(topic.name, { view: this.#viewOf(topic), partitions });
    }
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

  /** For changes that free space: they work on a full disk. */
  #replaceWithReserve(next: CatalogueImage): Promise<void> {
    const { catalogue, directory } = this.#options;
    return directory.reserve.withRoom(() => catalogue.replace(next));
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
    await this.#replaceWithReserve({ topics: image.topics, deleted: [] });
    await this.#options.directory.reserve.hold();
  }

  #newPartitions(topic: CatalogueTopic, range: { from: number; to: number }): Partition[] {
    const settings = topicSettings(topic.config, this.#options.topicDefaults);
    const { clock } = this.#options;
    return Array.from({ length: range.to - range.from }, (_, index) => {
      const partition = range.from + index;
      return new Partition({ topic: topic.name, partition, clock, pending: this.#options.pending }, settings);
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

  /** Runs changes of topics one after another. A disk that fails is a refusal, not a crash. */
  #change<T, C extends CreateTopicCode | AlterTopicCode | DeleteTopicCode>(
    change: () => Promise<Result<T, C>>,
  ): Promise<Result<T, C | 'STORAGE_FAILED' | 'DISK_FULL' | 'SHUTTING_DOWN'>> {
    const guarded = async (): Promise<Result<T, C | 'STORAGE_FAILED' | 'DISK_FULL' | 'SHUTTING_DOWN'>> => {
      if (this.#closed) return refused('SHUTTING_DOWN', 'the broker is stopping');
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

  create(request: CreateTopicRequest): Promise<Result<OpenTopic, CreateTopicCode>> {
    return this.#change<OpenTopic, CreateTopicCode>(async () => {
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
      const created: OpenTopic = { view: this.#viewOf(topic), partitions };
      this.#topics.set(topic.name, created);
      this.#changed();
      return accepted(created);
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
    await this.#replaceWithReserve({ topics, deleted: [...image.deleted, { name, id, partitionCount }] });
    await this.#finishRemovals(this.#options.catalogue.image());
  }

  alter(request: AlterTopicRequest): Promise<Result<OpenTopic, AlterTopicCode>> {
    return this.#change<OpenTopic, AlterTopicCode>(async () => {
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
      const altered: OpenTopic = { view: this.#viewOf(topic), partitions: [...open.partitions, ...added] };
      this.#topics.set(topic.name, altered);
      this.#changed();
      return accepted(altered);
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
    const config = changeTopicConfig(current.config, request.config ?? {});
    if (!config.ok) return config;
    const insyncFault = this.#insyncFault(config.value);
    if (insyncFault !== null) return refused('INVALID_CONFIG', insyncFault, { name: 'min.insync.replicas' });
    return accepted({ ...current, partitionCount, config: config.value });
  }

  delete(name: string): Promise<Result<null, DeleteTopicCode>> {
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
      await this.#replaceWithReserve({ topics, deleted: [...image.deleted, { name, id, partitionCount }] });
      this.#topics.delete(name);
      this.#changed();
      for (const partition of open.partitions) await partition.abandon();
      await this.#finishRemovals(this.#options.catalogue.image());
      return accepted(null);
    });
  }
}

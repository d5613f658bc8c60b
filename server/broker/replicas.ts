// The replicas that belong on this node: opened, changed and removed as the cluster's metadata says.
//
//   image ──> what should be here ──> open what is missing, change settings, remove what was deleted ──> acknowledge removals
//
// One pass at a time; a newer image begins another pass. A topic is deleted only where a committed record names its id: a folder
// of a topic that the image does not know is kept, reported and not opened. What a failing disk did not let happen is tried again
// after a while.

import type { Result } from '@sluice/protocol/errors';
import type { NodeId, TopicId } from '@sluice/protocol/ids';
import type { Logger } from '../base/logger.ts';
import type { TopicConfig } from '../base/topic-config.ts';
import type { Clock, Timer } from '../io/clock.ts';
import { DiskFault } from '../io/disk.ts';
import type { HostedState } from '../coordinator/groups/group-coordinator.ts';
import { METADATA_TOPIC } from '../coordinator/metadata-log.ts';
import { groupKey, type GroupName } from '../replication/group-name.ts';
import { foundGroupLogs, openGroupLog } from '../replication/open-group-log.ts';
import type { StoreRecords } from '../replication/replica-records.ts';
import type { Replication } from '../replication/replication.ts';
import type { ClusterImage, ClusterTopic, DeletedTopic } from '../state/cluster/image.ts';
import type { Replica } from '../state/cluster/record.ts';
import type { DataDirectory, PartitionName } from '../storage/data-directory.ts';
import { partitionDirectoryName } from '../storage/segment-name.ts';
import type { PendingBytes } from './parked-answers.ts';
import { Partition } from './partition.ts';
import { raftSettings } from './raft-settings.ts';
import { topicSettings } from './topic-settings.ts';

/** Logs opened at once at start: recovery reads files, and the thread pool has 16 threads. */
const OPEN_AT_ONCE = 16;
const RETRY_MS = 2_000;

export interface ReplicasOptions {
  readonly directory: DataDirectory;
  readonly replication: Replication;
  readonly records: StoreRecords;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly topicDefaults: TopicConfig;
  readonly pending: PendingBytes;
  /** Of topics whose folders are gone, all that were here. */
  readonly acknowledgeRemoval: (topicIds: readonly TopicId[]) => Promise<Result<null>>;
  /** A replica was opened or removed, or began or ceased to serve. */
  readonly changed: (name: GroupName) => void;
  /** The state machine that lives in the partition; null: clients write it. */
  readonly host: (topic: string, partition: number) => HostedState | null;
}

interface Wanted {
  readonly topic: ClusterTopic;
  readonly partition: number;
  readonly voters: readonly Replica[];
}

interface Open {
  readonly partition: Partition;
  readonly name: PartitionName;
  /** As of which it has its settings. */
  topic: ClusterTopic;
}

const nameOf = ({ name, topicId }: ClusterTopic, partition: number): PartitionName => ({
  topic: name,
  topicId,
  partition,
});

export class Replicas {
  readonly #options: ReplicasOptions;
  readonly #nodeId: NodeId;
  readonly #directoryId: string;
  readonly #open = new Map<string, Open>();
  #image: ClusterImage | null = null;
  /** What the passes go by, or went by last. */
  #newest: ClusterImage | null = null;
  /** The pass under way, which ends when the newest image is carried out. */
  #pass: Promise<void> | null = null;
  #isClosed = false;
  #retry: Timer | null = null;
  #hasReportedStrangers = false;
  /** Names whose folders could not be taken out of the way in this pass. */
  readonly #blocked = new Set<string>();

  constructor(options: ReplicasOptions) {
    this.#options = options;
    const { nodeId, directoryId } = options.directory.identity;
    this.#nodeId = nodeId as NodeId;
    this.#directoryId = directoryId;
  }

  find(topicId: TopicId, partition: number): Partition | undefined {
    return this.#open.get(groupKey({ topicId, partition }))?.partition;
  }

  *partitions(): Iterable<Partition> {
    for (const { partition } of this.#open.values()) yield partition;
  }

  /** Resolves when what this image says is carried out, or a newer one. */
  follow(image: ClusterImage): Promise<void> {
    this.#image = image;
    this.#newest = image;
    this.#pass ??= this.#passes();
    return this.#pass;
  }

  /** Resolves when the passes under way are over. */
  async settled(): Promise<void> {
    await this.#pass;
  }

  async #passes(): Promise<void> {
    while (this.#image !== null && !this.#isClosed) {
      const image = this.#image;
      this.#image = null;
      this.#blocked.clear();
      let isDone = await this.#remove(image);
      isDone = (await this.#change(image)) && isDone;
      if (!isDone) this.#tryAgain();
      if (!this.#hasReportedStrangers) await this.#reportStrangers(image);
    }
    this.#pass = null;
  }

  /** As the newest image says it then: an older one would bring back what was deleted or changed since. */
  #tryAgain(): void {
    if (this.#isClosed) return;
    this.#retry?.cancel();
    this.#retry = this.#options.clock.schedule(RETRY_MS, () => {
      if (this.#newest !== null && !this.#isClosed) void this.follow(this.#newest);
    });
  }

  // ---- Open and change

  /** False: the disk failed, as below. */
  async #change(image: ClusterImage): Promise<boolean> {
    const missing: Wanted[] = [];
    for (const topic of image.topics.values()) {
      if (this.#blocked.has(topic.name)) continue;
      for (const [partition, { replicas }] of topic.partitions.entries()) {
        if (!replicas.some(replica => this.#isHere(replica))) continue;
        const open = this.#open.get(groupKey({ topicId: topic.topicId, partition }));
        if (open === undefined) missing.push({ topic, partition, voters: replicas });
        else this.#changeSettings(open, topic);
      }
    }
    await this.#found(missing);
    let isDone = true;
    const waiting = missing.values();
    const worker = async (): Promise<void> => {
      for (const next of waiting) {
        if (this.#isClosed) return;
        isDone = (await this.#openOne(next)) && isDone;
      }
    };
    await Promise.all(Array.from({ length: OPEN_AT_ONCE }, worker));
    for (const { topic, partition } of missing) this.find(topic.topicId, partition)?.begin();
    return isDone;
  }

  /** A topic of thousands of partitions begins with one flush of the store. */
  async #found(missing: readonly Wanted[]): Promise<void> {
    const { directory, records, logger } = this.#options;
    const groups = missing.map(({ topic, partition, voters }) => ({ name: nameOf(topic, partition), voters }));
    try {
      await foundGroupLogs({ directory, records }, groups);
    } catch (cause) {
      if (!(cause instanceof DiskFault)) throw cause;
      // Each is tried again where it is opened.
      logger.warn({ fault: cause.message }, 'the first records of new replicas could not be written at once');
    }
  }

  #isHere({ nodeId, directoryId }: Replica): boolean {
    return nodeId === this.#nodeId && directoryId === this.#directoryId;
  }

  #changeSettings(open: Open, topic: ClusterTopic): void {
    if (open.topic.config === topic.config) return;
    open.topic = topic;
    open.partition.changeSettings(topicSettings(topic.config, this.#options.topicDefaults));
  }

  async #openOne({ topic, partition: number, voters }: Wanted): Promise<boolean> {
    const { clock, pending, replication, records, directory, topicDefaults, logger, changed } = this.#options;
    const settings = topicSettings(topic.config, topicDefaults);
    const name = nameOf(topic, number);
    const served = { topic: topic.name, partition: number, nodeId: this.#nodeId, clock, pending };
    const hosted = this.#options.host(topic.name, number);
    const partition = new Partition({ ...served, hosted, changed: () => changed(name) }, settings);
    try {
      await openGroupLog({
        directory,
        replication,
        records,
        name,
        settings: settings.log,
        raft: raftSettings(settings.log.flushMode),
        voters,
        listener: partition,
        opened: ({ log, group }) => partition.attach(log, group),
        isPatient: true,
      });
    } catch (cause) {
      if (!(cause instanceof DiskFault)) throw cause;
      hosted?.close();
      logger.error({ topic: topic.name, partition: number, fault: cause.message }, 'a replica could not be opened');
      return false;
    }
    this.#open.set(groupKey(name), { partition, name, topic });
    changed(name);
    return true;
  }

  // ---- Remove

  async #remove(image: ClusterImage): Promise<boolean> {
    const gone: TopicId[] = [];
    for (const topic of image.deletedTopics.values()) {
      if (!topic.waitingFor.includes(this.#nodeId)) continue;
      if (await this.#removeTopic(topic)) gone.push(topic.topicId);
      else this.#blocked.add(topic.name);
    }
    if (gone.length > 0) {
      await this.#options.directory.reserve.hold();
      // Nothing here waits for the controller.
      void this.#options.acknowledgeRemoval(gone).then(result => {
        if (!result.ok) this.#tryAgain();
      });
    }
    return this.#blocked.size === 0;
  }

  /** False: the disk failed, and another pass has to do it. */
  async #removeTopic({ topicId, name, partitionCount }: DeletedTopic): Promise<boolean> {
    const { directory, replication, records, logger, changed } = this.#options;
    try {
      for (let partition = 0; partition < partitionCount; partition++) {
        const folder: PartitionName = { topic: name, topicId, partition };
        const open = this.#open.get(groupKey(folder));
        if (open !== undefined) {
          this.#open.delete(groupKey(folder));
          changed(folder);
          await open.partition.abandon();
        }
        replication.forget(folder);
        await directory.reserve.withRoom(() => directory.retireLog(folder));
        await directory.removeRetired(folder);
        records.remove(folder);
      }
      return true;
    } catch (cause) {
      if (!(cause instanceof DiskFault)) throw cause;
      logger.error({ topic: name, fault: cause.message }, 'a deleted topic could not be removed from the disk');
      return false;
    }
  }

  async #reportStrangers(image: ClusterImage): Promise<void> {
    this.#hasReportedStrangers = true;
    const known = new Set([partitionDirectoryName(METADATA_TOPIC, 0)]);
    for (const topic of image.topics.values()) {
      for (let partition = 0; partition < topic.partitions.length; partition++) {
        known.add(partitionDirectoryName(topic.name, partition));
      }
    }
    for (const name of await this.#options.directory.strangers(known)) {
      this.#options.logger.warn({ directory: name }, 'a folder that belongs to no topic is kept and not opened');
    }
  }

  /** Passes under way are finished; then the partitions are closed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#retry?.cancel();
    await this.#pass;
    await Promise.all(Array.from(this.partitions(), partition => partition.close()));
  }
}

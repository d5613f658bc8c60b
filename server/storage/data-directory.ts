// The data directory of a node: who it belongs to, its lock, its store, and one folder a partition.
//
//   meta.json    cluster id, node id, directory uuid, format version, checksum
//   lock         socket file of the process that holds the directory (io/real/directory-lock.ts)
//   store-0/1    the node's store
//   reserve      room for what must be written on a full disk (disk-reserve.ts)
//   topics.json  the topics of format 1 (broker/former-catalogue.ts); later ones keep them in the metadata's log
//   <topic>-<partition>/ , <topic>-<partition>.<topic id>-delete/
//
// Nothing is deleted because a file here says that it should not exist: folders that the catalogue does not know are kept,
// reported and not opened.

import path from 'node:path';
import { type Offset, offset, type TopicId, topicIdBytes } from '@sluice/protocol/ids';
import type { Logger } from '../base/logger.ts';
import { ORIGIN, positionAt } from '../base/position.ts';
import { StartRefusal } from '../base/start-refusal.ts';
import type { Clock } from '../io/clock.ts';
import type { DirectoryLock, DirectoryLocks } from '../io/directory-lock.ts';
import { type Disk, DiskFault } from '../io/disk.ts';
import type { Random } from '../io/random.ts';
import { formatChecked, parseChecked } from './checked-document.ts';
import { DiskReserve } from './disk-reserve.ts';
import { FilePool } from './file-pool.ts';
import { IndexCache } from './index-cache.ts';
import type { LogContext } from './log-context.ts';
import { DirectorySync } from './directory-sync.ts';
import { finishInstall, freshFolder, PARTITION_METADATA } from './log-install.ts';
import { LogMarks } from './log-marks.ts';
import type { LogSettings } from './log-settings.ts';
import { NodeStore } from './node-store.ts';
import type { LogListener } from './open-log.ts';
import { PartitionLog } from './partition-log.ts';
import { deletedDirectoryName, isDeletedDirectoryName, partitionDirectoryName } from './segment-name.ts';
import { readSmallFile, replaceSmallFile } from './small-file.ts';
import { SyncGate } from './sync-gate.ts';
import { TailCache } from './tail-cache.ts';

/** 2: topics are records of the metadata's log, and epoch starts stand in the logs. */
export const FORMAT_VERSION = 2;
/** Of directories that are read and, once their topics are in the metadata's log, raised to the newest. */
const FORMAT_VERSIONS_READ: ReadonlySet<unknown> = new Set([1, FORMAT_VERSION]);

export interface DirectoryIdentity {
  readonly formatVersion: number;
  readonly clusterId: string;
  readonly nodeId: number;
  readonly directoryId: string;
}

const INCARNATION_KEY = 'node/incarnation';

export interface OpenDirectoryRequest {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly locks: DirectoryLocks;
  readonly path: string;
  readonly nodeId: number;
  readonly logger: Logger;
  readonly onSync: (seconds: number) => void;
  /** The store cannot be written any more: the node has to stop. */
  readonly storeFailed: (fault: DiskFault) => void;
}

export interface PartitionName {
  readonly topic: string;
  readonly topicId: TopicId;
  readonly partition: number;
}

/** Under which the store keeps the marks of a partition. */
export const storeKey = (name: PartitionName): string => `${name.topicId}/${name.partition}`;

export const metadataText = (topicId: TopicId): string =>
  `version: 0\ntopic_id: ${Buffer.from(topicIdBytes(topicId)).toString('base64url')}\n`;

const refuse = (request: OpenDirectoryRequest, fault: unknown): StartRefusal => {
  if (fault instanceof StartRefusal) return fault;
  if (fault instanceof DiskFault && fault.kind === 'full') {
    return new StartRefusal(
      'data-directory-full',
      `the disk of the data directory ${request.path} is full. Free some space (two MiB are enough to start, then delete topics), or choose another directory with --data-dir.`,
      fault,
    );
  }
  const detail = fault instanceof DiskFault && fault.cause instanceof Error ? fault.cause.message : String(fault);
  return new StartRefusal(
    'data-directory-not-writable',
    `cannot use the data directory ${request.path}: ${detail}. Give it to this user, or choose another one with --data-dir.`,
    fault,
  );
};

export class DataDirectory {
  readonly path: string;
  readonly identity: DirectoryIdentity;
  readonly context: LogContext;
  /** For what has to be written on a full disk. */
  readonly reserve: DiskReserve;
  readonly #lock: DirectoryLock;
  /** Folders as of the start, and those that something was done with since: about these the disk is asked. */
  readonly #listed: ReadonlySet<string>;
  readonly #changed = new Set<string>();
  readonly #names: DirectorySync;

  private constructor(
    root: string,
    parts: {
      identity: DirectoryIdentity;
      context: LogContext;
      reserve: DiskReserve;
      lock: DirectoryLock;
      listed: ReadonlySet<string>;
    },
  ) {
    this.path = root;
    this.identity = parts.identity;
    this.context = parts.context;
    this.reserve = parts.reserve;
    this.#lock = parts.lock;
    this.#listed = parts.listed;
    this.#names = new DirectorySync(parts.context.disk, root);
  }

  /** Locks the directory, checks that it is this node's and of this format, and opens the store. Throws StartRefusal. */
  static async open(request: OpenDirectoryRequest): Promise<DataDirectory> {
    let lock: DirectoryLock | null = null;
    try {
      await makeDurably(request.disk, request.path);
      lock = await request.locks.acquire(request.path);
      if (lock === null) {
        throw new StartRefusal(
          'data-directory-in-use',
          `the data directory ${request.path} is in use by another broker. Stop that one, or choose another directory with --data-dir.`,
        );
      }
      const identity = await identify(request);
      const { disk, clock, logger, onSync } = request;
      const syncGate = new SyncGate();
      const files = new FilePool(disk);
      const reserve = new DiskReserve(disk, request.path);
      const store = await NodeStore.open({
        disk,
        clock,
        directory: request.path,
        syncGate,
        reserve,
        failed: request.storeFailed,
      });
      if (!(await lock.isHeld())) {
        throw new StartRefusal(
          'data-directory-in-use',
          `the data directory ${request.path} was taken over by another broker that started at the same time.`,
        );
      }
      const context: LogContext = {
        disk,
        clock,
        logger,
        files,
        indexCache: new IndexCache({ disk, files, logger }),
        tailCache: new TailCache(),
        store,
        syncGate,
        onSync,
      };
      await reserve.hold();
      const entries = await disk.list(request.path);
      const listed = new Set(entries.filter(entry => entry.isDirectory).map(entry => entry.name));
      return new DataDirectory(request.path, { identity, context, reserve, lock, listed });
    } catch (fault) {
      await lock?.release();
      throw refuse(request, fault);
    }
  }

  #directory(name: PartitionName): string {
    return path.join(this.path, partitionDirectoryName(name.topic, name.partition));
  }

  /**
   * Opens the partition's log. A partition that the store has never heard of and that has no folder is new (its creation may have
   * been interrupted): its folder is made durable before this returns. A folder without its marks, or marks
   * without their folder, are never new: what is there is opened, and the replica is faulty from then on.
   */
  async openLog(name: PartitionName, settings: LogSettings, listener: LogListener): Promise<PartitionLog> {
    const { disk, store, logger } = this.context;
    const directory = this.#directory(name);
    const key = storeKey(name);
    const marks = new LogMarks(store, key);
    const isFirst = !this.#isChanged(name);
    // A snapshot that was being built has a folder, and one that was decided on a mark.
    const mayInstall =
      !isFirst || marks.install() !== null || this.#listed.has(path.basename(freshFolder({ directory, key })));
    if (mayInstall) await finishInstall({ context: this.context, directory, key, marks });
    const exists = mayInstall ? await disk.exists(directory) : await this.#exists(name);
    this.#changed.add(path.basename(directory));
    let isNew = false;
    const point = marks.syncPoint();
    if (point !== null) marks.setBorn(false);
    if (point === null) {
      if (!exists || marks.isBorn()) {
        isNew = !exists;
        await this.#create(name, marks);
      } else {
        logger.error({ directory }, 'the store has no mark of this partition: every batch is checked');
        marks.setFault({ reason: 'record-missing', claims: ORIGIN });
      }
    } else if (!exists) {
      logger.error({ directory }, 'the folder of a partition is missing');
      marks.setFault({ reason: 'directory-missing', claims: positionAt(point.leaderEpoch, point.endOffset) });
      await marks.flush();
      await disk.makeDirectory(directory);
    }
    if (!isNew) await this.#checkMetadata(name, directory);
    const found = { isNew, isInstalled: true };
    return PartitionLog.open({ context: this.context, directory, key, settings, listener, found });
  }

  #isChanged(name: PartitionName): boolean {
    return this.#changed.has(path.basename(this.#directory(name)));
  }

  /** One listing at the start answers for thousands of partitions. */
  async #exists(name: PartitionName): Promise<boolean> {
    const directory = this.#directory(name);
    return this.#isChanged(name) ? this.context.disk.exists(directory) : this.#listed.has(path.basename(directory));
  }

  /** Whether anything of the partition is here, in its folder or in the store. */
  async holds(name: PartitionName): Promise<boolean> {
    const { store } = this.context;
    return new LogMarks(store, storeKey(name)).syncPoint() !== null || (await this.#exists(name));
  }

  /** To be flushed before it is opened: a partition that nothing is here of is going to be made. Thousands may share the flush. */
  announce(name: PartitionName): void {
    new LogMarks(this.context.store, storeKey(name)).setBorn(true);
  }

  /** Once more where a crash interrupted it. The mark of the birth tells that from a folder whose marks are lost. */
  async #create(name: PartitionName, marks: LogMarks): Promise<void> {
    const { disk } = this.context;
    const directory = this.#directory(name);
    if (!marks.isBorn()) {
      marks.setBorn(true);
      await marks.flush();
    }
    await disk.makeDirectory(directory);
    await replaceSmallFile(disk, path.join(directory, PARTITION_METADATA), metadataText(name.topicId));
    await this.#names.sync();
    const start: Offset = offset(0);
    marks.setSyncPoint(
      {
        generation: 0,
        leaderEpoch: 0,
        endOffset: start,
        segment: start,
        position: 0,
        crc: 0,
        latestTimestamp: -1,
        latestOffset: -1,
        firstTimestamp: -1,
        epochsCrc: -1,
        epochsBehind: [],
        producersFrom: start,
      },
      0,
    );
    marks.setClean(true);
    // Durable with the sync point, which is flushed before the first byte of the log: until then it would be made once more.
    marks.setBorn(false);
  }

  async #checkMetadata(name: PartitionName, directory: string): Promise<void> {
    const { disk, logger } = this.context;
    const file = path.join(directory, PARTITION_METADATA);
    const text = await readSmallFile(disk, file);
    if (text === metadataText(name.topicId)) return;
    if (text !== null) {
      throw new StartRefusal(
        'data-directory-damaged',
        `the folder ${directory} belongs to another topic than the catalogue says. Move it away to start without it.`,
      );
    }
    logger.warn({ directory }, 'partition.metadata was missing and is written again');
    await replaceSmallFile(disk, file, metadataText(name.topicId));
  }

  /** Takes the folder out of the way, durably: the name is free when this returns. */
  async retireLog(name: PartitionName): Promise<void> {
    const { disk, store } = this.context;
    const directory = this.#directory(name);
    new LogMarks(store, storeKey(name)).removeAll();
    this.#changed.add(path.basename(directory));
    if (!(await disk.exists(directory))) return;
    if ((await readSmallFile(disk, path.join(directory, PARTITION_METADATA))) !== metadataText(name.topicId)) return;
    await disk.rename(directory, this.#retiredDirectory(name));
    await disk.syncDirectory(this.path);
  }

  #retiredDirectory(name: PartitionName): string {
    return path.join(this.path, deletedDirectoryName(name.topic, name.partition, name.topicId));
  }

  /** Removes a retired folder and what is in it. */
  async removeRetired(name: PartitionName): Promise<void> {
    const { disk } = this.context;
    const directory = this.#retiredDirectory(name);
    if (!(await disk.exists(directory))) return;
    for (const entry of await disk.list(directory)) await disk.removeFile(path.join(directory, entry.name));
    await disk.removeDirectory(directory);
    await disk.syncDirectory(this.path);
  }

  /** Folders that no name in `known` accounts for. */
  async strangers(known: ReadonlySet<string>): Promise<readonly string[]> {
    const entries = await this.context.disk.list(this.path);
    return entries.filter(entry => entry.isDirectory && !known.has(entry.name)).map(entry => entry.name);
  }

  /** From now on older releases refuse the directory: they would not know what is in it. */
  async raiseFormat(): Promise<void> {
    if (this.identity.formatVersion === FORMAT_VERSION) return;
    await writeIdentity(this.context.disk, this.path, { ...this.identity, formatVersion: FORMAT_VERSION });
  }

  /** Counts the starts on this directory, and is durable before it is told to anybody. */
  async nextIncarnation(): Promise<number> {
    const { store } = this.context;
    const before = store.get(INCARNATION_KEY)?.['incarnation'];
    const incarnation = typeof before === 'number' ? before + 1 : 1;
    store.set(INCARNATION_KEY, { incarnation });
    await store.flush();
    return incarnation;
  }

  freeBytes(): Promise<number> {
    return this.context.disk.freeBytes(this.path);
  }

  async close(): Promise<void> {
    await this.context.files.close();
    try {
      await this.context.store.close();
    } finally {
      await this.#lock.release();
    }
  }
}

/** Creates the folder and those above it that are missing, so that a power loss takes none of them. */
const makeDurably = async (disk: Disk, directory: string): Promise<void> => {
  const parent = path.dirname(directory);
  const isPresent = await disk.exists(directory);
  if (!isPresent) {
    if (parent !== directory) await makeDurably(disk, parent);
    await disk.makeDirectory(directory);
  }
  try {
    // Also where it is there: a process that died here may have left a name that nobody made durable.
    await disk.syncDirectory(parent);
  } catch (fault) {
    // A folder that somebody else made may lie where we may not look.
    if (!(fault instanceof DiskFault) || !isPresent) throw fault;
  }
};

/** Reads or writes meta.json; refuses what is not this node's or not of this format. */
const identify = async (request: OpenDirectoryRequest): Promise<DirectoryIdentity> => {
  const { disk } = request;
  const present = await readIdentity(disk, request.path);
  if (present !== null) {
    if (present.nodeId === request.nodeId) return present;
    throw new StartRefusal(
      'data-directory-damaged',
      `the data directory ${request.path} belongs to node ${present.nodeId}. Start with --node-id ${present.nodeId}, or choose another directory with --data-dir.`,
    );
  }
  const entries = await disk.list(request.path);
  const partition = entries.find(
    entry => entry.isDirectory && (/-\d+$/.test(entry.name) || isDeletedDirectoryName(entry.name)),
  );
  if (partition !== undefined) {
    throw new StartRefusal(
      'data-directory-damaged',
      `${request.path} holds partitions (${partition.name}, …) but no meta.json. Restore that file from a backup, or choose another directory with --data-dir.`,
    );
  }
  const identity: DirectoryIdentity = {
    formatVersion: FORMAT_VERSION,
    clusterId: request.random.uuid(),
    nodeId: request.nodeId,
    directoryId: request.random.uuid(),
  };
  await writeIdentity(disk, request.path, identity);
  return identity;
};

const writeIdentity = (disk: Disk, directory: string, identity: DirectoryIdentity): Promise<void> => {
  const document = {
    format_version: identity.formatVersion,
    cluster_id: identity.clusterId,
    node_id: identity.nodeId,
    directory_id: identity.directoryId,
  };
  return replaceSmallFile(disk, path.join(directory, 'meta.json'), formatChecked(document, 2));
};

/** The version of a document that a later release may have written, with members that this one does not know. */
const laterVersion = (text: string): number | null => {
  try {
    const version = (JSON.parse(text) as { format_version?: unknown } | null)?.format_version;
    return typeof version === 'number' && version > FORMAT_VERSION ? version : null;
  } catch {
    return null;
  }
};

/** What meta.json says; null where there is none. Throws StartRefusal for what is not of this format. */
export const readIdentity = async (disk: Disk, directory: string): Promise<DirectoryIdentity | null> => {
  const file = path.join(directory, 'meta.json');
  const text = await readSmallFile(disk, file);
  if (text === null) return null;
  const parsed = parseChecked(text, ['format_version', 'cluster_id', 'node_id', 'directory_id']);
  const version = parsed.ok ? parsed.document['format_version'] : laterVersion(text);
  if (version !== null && !FORMAT_VERSIONS_READ.has(version)) {
    throw new StartRefusal(
      'data-directory-version',
      `the data directory ${directory} has format version ${JSON.stringify(version)}, this broker reads versions 1 to ${FORMAT_VERSION}. Use the release of Sluice that wrote it, or choose another directory with --data-dir.`,
    );
  }
  if (!parsed.ok) {
    throw new StartRefusal('data-directory-damaged', `${file} ${parsed.why}. Restore it from a backup.`);
  }
  const { cluster_id: clusterId, node_id: nodeId, directory_id: directoryId } = parsed.document;
  if (typeof clusterId !== 'string' || typeof nodeId !== 'number' || typeof directoryId !== 'string') {
    throw new StartRefusal(
      'data-directory-damaged',
      `${file} lacks the cluster id, node id or directory id. Restore it from a backup.`,
    );
  }
  return { formatVersion: version as number, clusterId, nodeId, directoryId };
};

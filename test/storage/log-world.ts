// One partition's log on a simulated disk, with everything that a node would give it. A world outlives the log: it can be
// closed, killed or lose its power, and be opened again.

import { leaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import type { LogFields } from '../../server/base/logger.ts';
import type { DurableNotice, Position } from '../../server/base/position.ts';
import type { Disk } from '../../server/io/disk.ts';
import { DiskReserve } from '../../server/storage/disk-reserve.ts';
import { FilePool } from '../../server/storage/file-pool.ts';
import { IndexCache } from '../../server/storage/index-cache.ts';
import type { LogContext } from '../../server/storage/log-context.ts';
import type { LogSettings } from '../../server/storage/log-settings.ts';
import { type AcceptedLoss, acceptLoss } from '../../server/storage/loss.ts';
import { NodeStore } from '../../server/storage/node-store.ts';
import type { ReadOutcome } from '../../server/storage/log-reader.ts';
import { PartitionLog } from '../../server/storage/partition-log.ts';
import { SyncGate } from '../../server/storage/sync-gate.ts';
import { TailCache } from '../../server/storage/tail-cache.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { SimulatedDisk } from '../simulation/disk.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { type BatchPlan, makeBatch } from './batches.ts';

export const DATA = '/data';
export const PARTITION = '/data/t-0';

export const settingsFor = (changes: Partial<LogSettings> = {}): LogSettings => ({
  segmentBytes: 1024 * 1024,
  segmentMs: 7 * 24 * 3_600_000,
  segmentIndexBytes: 10 * 1024 * 1024,
  indexIntervalBytes: 4_096,
  retentionMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  retentionDeletes: true,
  compaction: null,
  flushMode: 'sync',
  flushMs: 1_000,
  flushMessages: 10_000,
  ...changes,
});

export interface WorldOptions {
  readonly seed: string;
  readonly settings?: Partial<LogSettings>;
  readonly tailCacheBytes?: number;
  readonly openFilesMax?: number;
  readonly losesSyncsOf?: RegExp;
  readonly losesNamesIn?: RegExp;
}

export interface Logged {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'fatal';
  readonly fields: LogFields;
  readonly message: string;
}

export class LogWorld {
  readonly random: SeededRandom;
  readonly scheduler: Scheduler;
  readonly disk: SimulatedDisk;
  readonly logged: Logged[] = [];
  /** Of the present life. */
  notices: DurableNotice[] = [];
  drops: { readonly state: 'full' | 'failed'; readonly endOffset: Offset }[] = [];
  storeFaults: string[] = [];
  settings: LogSettings;
  readonly #options: WorldOptions;
  #clock: SimulatedClock;
  #mounted: Disk | null = null;
  #log: PartitionLog | null = null;
  #context: LogContext | null = null;

  private constructor(options: WorldOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    this.scheduler = new Scheduler(this.random.fork('order'));
    this.disk = new SimulatedDisk({
      scheduler: this.scheduler,
      random: this.random.fork('disk'),
      ...(options.losesSyncsOf === undefined ? {} : { losesSyncsOf: options.losesSyncsOf }),
      ...(options.losesNamesIn === undefined ? {} : { losesNamesIn: options.losesNamesIn }),
    });
    this.settings = settingsFor(options.settings);
    this.#clock = new SimulatedClock(this.scheduler);
  }

  /** A world with an open, empty log whose folder is durable. */
  static async start(options: WorldOptions): Promise<LogWorld> {
    const world = new LogWorld(options);
    const disk = world.disk.mount();
    world.#mounted = disk;
    await world.drive(disk.makeDirectory(DATA));
    await world.drive(disk.makeDirectory(PARTITION));
    await world.drive(disk.syncDirectory('/'));
    await world.drive(disk.syncDirectory(DATA));
    await world.open();
    return world;
  }

  get log(): PartitionLog {
    if (this.#log === null) throw new Error('the log is not open');
    return this.#log;
  }

  get context(): LogContext {
    if (this.#context === null) throw new Error('the log is not open');
    return this.#context;
  }

  get clock(): SimulatedClock {
    return this.#clock;
  }

  drive<T>(work: Promise<T>): Promise<T> {
    return this.scheduler.drive(work);
  }

  /** Issues the open without waiting for it. */
  beginOpen(): Promise<void> {
    this.#mounted ??= this.disk.mount();
    return this.#open(this.#mounted);
  }

  async open(): Promise<PartitionLog> {
    await this.drive(this.beginOpen());
    return this.log;
  }

  async close(): Promise<void> {
    await this.drive(this.beginClose());
  }

  async beginClose(): Promise<void> {
    const { log, context } = this;
    await log.close();
    await context.store.close();
    await context.files.close();
    this.#log = null;
    this.#context = null;
  }

  async reopen(): Promise<PartitionLog> {
    await this.close();
    return this.open();
  }

  /** The process ends here and now; the kernel keeps what it was given. */
  kill(): void {
    this.#end();
    this.disk.kill();
  }

  /** The power fails. */
  crash(survival?: number): void {
    this.#end();
    this.disk.crash(survival);
  }

  /** A leader's batch, behind the start of its epoch where that is new. */
  append(plan: BatchPlan = {}, epoch = 0): { readonly baseOffset: Offset; readonly endOffset: Offset } {
    this.beginEpoch(epoch);
    const outcome = this.log.append([makeBatch(plan)], leaderEpoch(epoch));
    if (!outcome.ok) throw new Error(`an append was refused: ${outcome.refusal}`);
    return outcome;
  }

  beginEpoch(epoch: number): void {
    if (epoch === this.log.leaderEpoch) return;
    const outcome = this.log.appendEpochStart(leaderEpoch(epoch));
    if (!outcome.ok) throw new Error(`an epoch start was refused: ${outcome.refusal}`);
  }

  /** The position below an offset, without the epochs that begin there. */
  positionBelow(at: number): Position {
    const { base, starts } = this.log.shape;
    if (at <= base.offset) return base;
    const start = starts.findLast(each => each.startOffset < at);
    return { epoch: start?.epoch ?? base.epoch, offset: offset(at) };
  }

  /** Cuts all that stands at or above an offset. */
  cutFrom(at: number): Promise<void> {
    return this.log.cut(this.positionBelow(at));
  }

  /** Appends and waits until it is durable. */
  async appendDurably(
    plan: BatchPlan = {},
    epoch = 0,
  ): Promise<{ readonly baseOffset: Offset; readonly endOffset: Offset }> {
    const outcome = this.append(plan, epoch);
    const { log } = this;
    await this.scheduler.driveUntil(
      () => log.durable.epoch === log.leaderEpoch && log.durableOffset >= outcome.endOffset,
    );
    return outcome;
  }

  /** Everything from an offset on, by as many reads as it takes; stops at what cannot be read. */
  async readFrom(from: number, bytesMax = 1_000_000): Promise<{ batches: Uint8Array[]; stop: ReadOutcome | null }> {
    const { log } = this;
    const batches: Uint8Array[] = [];
    let at = from;
    while (at < log.durableOffset) {
      const outcome = await this.drive(log.read(offset(at), { endMax: log.durableOffset, bytesMax }));
      if (outcome.kind !== 'batches' || outcome.batches.length === 0) return { batches, stop: outcome };
      batches.push(...outcome.batches);
      at = nextOffsetOf(outcome.batches);
    }
    return { batches, stop: null };
  }

  /** The names of the partition's files, without the folder. */
  files(suffix = ''): string[] {
    return this.disk
      .filePaths()
      .filter(path => path.startsWith(`${PARTITION}/`) && path.endsWith(suffix))
      .map(path => path.slice(PARTITION.length + 1));
  }

  /** Gives damaged records up, as an offline command would. */
  async acceptLoss(): Promise<readonly AcceptedLoss[]> {
    return this.drive(this.beginAcceptLoss());
  }

  async beginAcceptLoss(): Promise<readonly AcceptedLoss[]> {
    this.#mounted ??= this.disk.mount();
    const context = await this.#openContext(this.#mounted);
    const open = (): Promise<PartitionLog> => this.#openLog(context);
    const losses = await acceptLoss({ context, directory: PARTITION, key: 't/0', open });
    await context.store.close();
    await context.files.close();
    return losses;
  }

  async #open(disk: Disk): Promise<void> {
    this.#context = await this.#openContext(disk);
    this.#log = await this.#openLog(this.#context);
  }

  async #openContext(disk: Disk): Promise<LogContext> {
    const { scheduler } = this;
    this.notices = [];
    this.drops = [];
    const log = (level: Logged['level']) => (fields: LogFields, message: string) => {
      this.logged.push({ level, fields, message });
    };
    const logger = {
      debug: log('debug'),
      info: log('info'),
      warn: log('warn'),
      error: log('error'),
      fatal: log('fatal'),
    };
    const syncGate = new SyncGate();
    const files = new FilePool(disk, this.#options.openFilesMax);
    const store = await NodeStore.open({
      disk,
      clock: this.#clock,
      directory: DATA,
      syncGate,
      reserve: new DiskReserve(disk, DATA),
      failed: fault => this.storeFaults.push(fault.kind),
    });
    return {
      disk,
      clock: this.#clock,
      logger,
      files,
      indexCache: new IndexCache({ disk, files, logger }),
      tailCache: new TailCache(this.#options.tailCacheBytes),
      store,
      syncGate,
      onSync: seconds => {
        if (!(seconds >= 0 && seconds <= scheduler.nowMs)) throw new Error(`a sync took ${seconds} s`);
      },
    };
  }

  #openLog(context: LogContext): Promise<PartitionLog> {
    return PartitionLog.open({
      context,
      directory: PARTITION,
      key: 't/0',
      settings: this.settings,
      listener: {
        durable: notice => this.notices.push(notice),
        dropped: (state, endOffset) => this.drops.push({ state, endOffset }),
      },
    });
  }

  #end(): void {
    this.#clock.kill();
    this.#clock = new SimulatedClock(this.scheduler);
    this.#mounted = null;
    this.#log = null;
    this.#context = null;
  }
}

export const nextOffsetOf = (batches: readonly Uint8Array[]): number => {
  const last = batches.at(-1);
  if (last === undefined) throw new RangeError('no batches');
  const view = new DataView(last.buffer, last.byteOffset);
  return Number(view.getBigInt64(0)) + view.getInt32(23) + 1;
};

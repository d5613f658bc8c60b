// The scripted life of a log and what must be left of it, wherever it is cut short: at any call that changes the disk, in any
// life of it, and again in the recovery behind.
//
// What holds after every recovery:
// - Nothing that was acknowledged is missing, byte for byte, and nothing is in its place that was not appended there.
// - What is left above it is a beginning of what was appended.
// - The log start is the one that was confirmed, or the one that was asked for when the crash came.
// - Nothing is called damaged; the log goes on at its end; after a clean stop its files are as the format says.

import assert from 'node:assert/strict';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { readLastOffset } from '@sluice/protocol/record';
import { type DiskCall, usual } from '../simulation/disk.ts';
import { type BatchPlan, makeBatch } from './batches.ts';
import { LogWorld, PARTITION, type WorldOptions } from './log-world.ts';
import { judgeFiles } from './partition-files.ts';

const CHANGES = new Set<DiskCall['kind']>([
  'write',
  'sync',
  'rename',
  'make-directory',
  'sync-directory',
  'remove-file',
  'truncate',
]);

/** Opening changes something only when it creates; the simulated disk does not tell, and one more point does no harm. */
const isChange = (call: DiskCall): boolean => CHANGES.has(call.kind) || call.kind === 'open';

export interface LifeOptions extends WorldOptions {
  /** How many times larger records, segments and what retention keeps are: beyond 10 a write covers several pages. */
  readonly scale?: number;
}

export type Death = 'power' | 'kill';

interface Appended {
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly hex: string;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export class LogLife {
  readonly world: LogWorld;
  /** In order; more than one batch at an offset only from a cut that was under way to what came behind it. */
  #appended: Appended[] = [];
  /** Below it a loss of power loses nothing. */
  #acknowledged = 0;
  #start = 0;
  #askedStart = 0;
  #epoch = 1;
  #timestamp = 1_000_000;

  readonly #scale: number;

  private constructor(world: LogWorld, scale: number) {
    this.world = world;
    this.#scale = scale;
  }

  static async start({ scale = 1, ...options }: LifeOptions): Promise<LogLife> {
    const settings = { segmentBytes: 900 * scale, indexIntervalBytes: 150 * scale, ...options.settings };
    const world = await LogWorld.start({ tailCacheBytes: 300, openFilesMax: 5, ...options, settings });
    return new LogLife(world, scale);
  }

  /** The script; it never settles once the world has ended. */
  async script(): Promise<void> {
    const { world } = this;
    await this.#append([{}]);
    await this.#append([{ count: 2 }, { valueBytes: 200 }, { count: 3 }]);
    for (let turn = 0; turn < 3; turn++) await this.#append([{ count: 2, valueBytes: 120 }]);
    this.#epoch = 2;
    await this.#append([{ valueBytes: 700 }, { count: 4 }, { valueBytes: 300 }]);
    // The store takes the sync point along after a second.
    world.clock.schedule(1_001, () => undefined);
    await this.#pause(1_100);
    await this.#append([{ count: 2 }]);
    world.settings = { ...world.settings, retentionBytes: 1_500 * this.#scale };
    world.log.changeSettings(world.settings);
    await this.#advance(world.log.retentionStart(this.#timestamp, world.log.durableOffset));
    await this.#append([{ count: 5, valueBytes: 30 }]);
    await this.#advance(world.log.startOffset + 3);
    await this.#cut();
    this.#epoch = 3;
    await this.#append([{ count: 2, valueBytes: 100 }]);
    await this.#append([{ valueBytes: 100 }, { valueBytes: 800 }]);
    await this.#reopen();
    await this.#append([{ count: 3 }]);
    await this.#advance(world.log.durableOffset);
    await this.#append([{ count: 2 }, { valueBytes: 400 }]);
    await this.#reopen();
    await this.#append([{}]);
    await world.beginClose();
  }

  /** Runs `work` until it is done or the given change of the disk, at which the world ends. Answers whether it came to its end. */
  async cutShort(work: Promise<unknown>, change: number, death: Death): Promise<boolean> {
    const { world } = this;
    const progress = { isDone: false, isDead: false };
    let changes = 0;
    world.disk.judge = call => {
      if (isChange(call) && ++changes === change) {
        progress.isDead = true;
        if (death === 'power') world.crash();
        else world.kill();
      }
      return usual;
    };
    let failure: unknown = null;
    work.then(
      () => (progress.isDone = true),
      (cause: unknown) => {
        failure = cause;
        progress.isDone = true;
      },
    );
    await world.scheduler.driveUntil(() => progress.isDone || progress.isDead);
    world.disk.judge = () => usual;
    // What was said to be durable in the step of the crash itself counts.
    this.#note();
    if (failure !== null) throw failure;
    return !progress.isDead;
  }

  /** Opens the log, ends that at the given change of the disk (0: does not), and opens it again; then everything must hold. */
  async recover(change: number, death: Death): Promise<void> {
    const { world } = this;
    const isOpen = await this.cutShort(world.beginOpen(), change, death);
    if (!isOpen) await world.open();
    await this.#judge();
    const before = world.log.endOffset;
    await world.appendDurably({ count: 2, timestamp: this.#timestamp }, this.#epoch + 1);
    const { batches } = await world.readFrom(before);
    assert.equal(batches.length, 1, 'the log goes on at its end');
    const kept = (await world.readFrom(world.log.startOffset)).batches.map(hex);
    await world.close();
    assert.deepEqual(judgeFiles(world.disk, PARTITION).faults, []);
    await world.open();
    world.crash(0);
    await world.open();
    assert.deepEqual(world.log.damagedRanges, []);
    assert.deepEqual(
      (await world.readFrom(world.log.startOffset)).batches.map(hex),
      kept,
      'and outlives the next loss',
    );
    await world.close();
  }

  async #judge(): Promise<void> {
    const { log } = this.world;
    assert.deepEqual(log.damagedRanges, []);
    assert.ok([this.#start, this.#askedStart].includes(log.startOffset), `log start ${log.startOffset}`);
    assert.ok(log.endOffset >= this.#acknowledged, `${log.endOffset} of ${this.#acknowledged} acknowledged`);
    const { batches, stop } = await this.world.readFrom(log.startOffset);
    assert.equal(stop, null);
    let next = batches[0] === undefined ? log.startOffset : readBase(batches[0]);
    assert.ok(next <= log.startOffset);
    for (const batch of batches) {
      assert.equal(readBase(batch), next, 'offsets go on without a gap');
      const known = this.#appended.some(each => each.baseOffset === next && each.hex === hex(batch));
      assert.ok(known, `what stands at offset ${next} was appended there`);
      next = readLastOffset(batch, 0) + 1;
    }
    assert.equal(next, log.endOffset);
  }

  #note(): void {
    for (const notice of this.world.notices.splice(0)) {
      this.#acknowledged = Math.max(this.#acknowledged, notice.endOffset);
    }
  }

  async #append(plans: readonly BatchPlan[]): Promise<void> {
    const { log } = this.world;
    const batches = plans.map(({ valueBytes = 10, ...plan }) => {
      const timestamp = ++this.#timestamp;
      return makeBatch({ ...plan, valueBytes: valueBytes * this.#scale, timestamp, name: `${timestamp}` });
    });
    const outcome = log.append(batches, leaderEpoch(this.#epoch));
    assert.ok(outcome.ok);
    for (const batch of batches) {
      // The log owns the buffer and stamped it.
      this.#appended.push({ baseOffset: readBase(batch), nextOffset: readLastOffset(batch, 0) + 1, hex: hex(batch) });
    }
    while (log.durableOffset < outcome.endOffset) await this.#pause(0.3);
    this.#note();
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.world.clock.schedule(ms, resolve);
    await promise;
  }

  async #advance(to: number): Promise<void> {
    this.#askedStart = to;
    await this.world.log.advanceStart(offset(to));
    this.#start = to;
  }

  /** The last two batches go, as when another leader had others. */
  async #cut(): Promise<void> {
    this.#note();
    const end = this.#appended.at(-2)!.baseOffset;
    this.#acknowledged = Math.min(this.#acknowledged, end);
    await this.world.log.cut(offset(end));
    this.#appended = this.#appended.filter(each => each.nextOffset <= end);
  }

  async #reopen(): Promise<void> {
    await this.world.beginClose();
    this.#note();
    await this.world.beginOpen();
  }
}

const readBase = (batch: Uint8Array): number => Number(new DataView(batch.buffer, batch.byteOffset).getBigInt64(0));

/** How many changes of the disk the script makes, and its recovery after the end of it. */
export const countChanges = async (
  options: LifeOptions,
): Promise<{ readonly life: number; readonly opening: number }> => {
  const life = await LogLife.start(options);
  const counts: number[] = [];
  for (const work of [() => life.script(), () => life.world.beginOpen()]) {
    let changes = 0;
    life.world.disk.judge = call => {
      if (isChange(call)) changes++;
      return usual;
    };
    await life.world.drive(work());
    counts.push(changes);
  }
  return { life: counts[0]!, opening: counts[1]! };
};

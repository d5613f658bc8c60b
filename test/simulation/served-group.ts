// A group on one life of a node, as the broker above would serve it, made as small as it can be: appends are acknowledged when they are
// committed, readers get what is committed.

import { type NodeId, offset } from '@sluice/protocol/ids';
import { isConfiguration } from '@sluice/protocol/record';
import { comparePositions, isBefore, type Position } from '../../server/base/position.ts';
import type {
  GroupListener,
  ProgressView,
  ReplicatedLog,
  RoleChange,
} from '../../server/replication/replicated-log.ts';
import type { OpenSend, ReadRecord } from '../history/log-history.ts';
import { makeBatch, recordsOf, valuesOf } from '../storage/batches.ts';
import type { Cluster } from './cluster.ts';
import { entryOf, type GroupTruth, nodeOf } from './group-truth.ts';
import type { WatchedLog } from './watched-log.ts';

interface Parked {
  readonly end: Position;
  readonly baseOffset: number;
  readonly sends: readonly OpenSend[];
}

export interface ServedGroupOptions {
  readonly cluster: Cluster;
  readonly nodeId: NodeId;
  readonly partition: number;
  readonly log: WatchedLog;
  readonly truth: GroupTruth;
}

const READ_BYTES = 4_096;
const VALUE_BYTES = 40;

export class ServedGroup implements GroupListener {
  readonly #options: ServedGroupOptions;
  readonly log: WatchedLog;
  #group: ReplicatedLog | null = null;
  #parked: Parked[] = [];
  #commit: Position | null = null;
  /** What was committed when it began to lead. */
  #ledFrom: Position | null = null;
  /** Reads that wait for their round, and what anybody had seen before. */
  readonly #reads = new Map<number, Position | null>();
  #readNumber = 0;
  #isOver = false;

  constructor(options: ServedGroupOptions) {
    this.#options = options;
    this.log = options.log;
  }

  attach(group: ReplicatedLog): void {
    this.#group = group;
  }

  get group(): ReplicatedLog {
    if (this.#group === null) throw new Error('the group is not open');
    return this.#group;
  }

  /** The process is gone: nobody is answered any more. */
  end(): void {
    this.#isOver = true;
    this.#parked = [];
    this.#reads.clear();
  }

  /** Clients that wait for an answer. */
  get waiters(): number {
    return this.#parked.length + this.#reads.size;
  }

  // ---- Clients

  produce(process: string, names: { readonly name: string; readonly count: number }): void {
    const { cluster, partition } = this.#options;
    const plan = { ...names, valueBytes: VALUE_BYTES, timestamp: Math.floor(cluster.scheduler.nowMs) };
    const sends = valuesOf(plan).map(value => cluster.history.send(process, { partition: String(partition), value }));
    const outcome = this.group.propose([makeBatch(plan)]);
    if (!outcome.ok) {
      for (const send of sends) send.refuse();
      return;
    }
    const { epoch, baseOffset, endOffset } = outcome;
    this.#parked.push({ end: { epoch, offset: endOffset }, baseOffset, sends });
  }

  /** What is committed from an offset on; null where the log begins later. */
  async read(from: number): Promise<readonly ReadRecord[] | null> {
    if (from < this.log.startOffset) return null;
    const endMax = Math.min(this.#commit?.offset ?? 0, this.log.durable.offset);
    if (from >= endMax) return [];
    const read = await this.log.inner.read(offset(from), { endMax: offset(endMax), bytesMax: READ_BYTES });
    if (read.kind === 'below-start') return null;
    if (read.kind !== 'batches') return [];
    const last = read.batches.at(-1);
    if (last !== undefined) this.#options.truth.saw(entryOf(last).position);
    return read.batches
      .filter(batch => !isConfiguration(batch))
      .flatMap(batch => recordsOf(batch))
      .filter(record => record.offset >= from && record.value !== '');
  }

  /** Asks this leader to make sure that it leads: what it then has committed is no older than what anybody saw before. */
  confirmRead(): void {
    const number = ++this.#readNumber;
    const { seen } = this.#options.truth;
    if (this.group.requestRead(number)) this.#reads.set(number, seen);
  }

  // ---- News

  committed(position: Position): void {
    if (this.#isOver) return;
    const { truth, nodeId, cluster } = this.#options;
    cluster.trace(`${nodeId} commits ${truth.name} ${position.epoch}/${position.offset}`);
    if (this.#commit !== null && comparePositions(position, this.#commit) <= 0) {
      cluster.fail(`${truth.name}: node ${nodeId} commits ${position.offset} after ${this.#commit.offset}`);
    }
    this.#commit = position;
    truth.commits(nodeId, position);
    const { configuration, isLeader, isChangePending, term } = this.group;
    if (isLeader && this.#ledFrom !== null && isBefore(this.#ledFrom, position) && position.epoch !== term) {
      truth.ledOldTerm(nodeId, position, term);
    }
    // While membership changes it is not known here which configuration was asked.
    if (isLeader && configuration.outgoing.size === 0 && !isChangePending) {
      truth.ledCommit(nodeId, position, [...configuration.voters].map(nodeOf));
    }
    while (this.#parked[0] !== undefined && comparePositions(this.#parked[0].end, position) <= 0) {
      const { end, baseOffset, sends } = this.#parked.shift()!;
      truth.acknowledged(end, baseOffset);
      for (const [index, send] of sends.entries()) send.acknowledge(baseOffset + index);
    }
  }

  roleChanged({ role, term }: RoleChange): void {
    const { truth, nodeId, cluster } = this.#options;
    cluster.trace(`${nodeId} ${role} ${truth.name} ${term}`);
    this.#ledFrom = role === 'leader' ? this.group.commit : null;
    if (role !== 'leader') return;
    truth.leads(nodeId, term, this.group.configuration);
    cluster.elected(nodeId);
  }

  leadershipLost(): void {
    // Their outcome stays unknown.
    this.#parked = [];
  }

  progressed(_view: ProgressView): void {}

  readsConfirmed(numbers: readonly number[]): void {
    const { truth, nodeId } = this.#options;
    for (const number of numbers) {
      if (!this.#reads.has(number)) continue;
      truth.readConfirmed(nodeId, this.group.commit, this.#reads.get(number)!);
      this.#reads.delete(number);
    }
  }

  readsLost(numbers: readonly number[]): void {
    for (const number of numbers) this.#reads.delete(number);
  }

  superseded(): void {
    this.#options.cluster.fail('nobody forced an election');
  }
}

// Random walks: a few replicas of one group with the logs and stores of model-log.ts, on a network that loses, repeats,
// delays and reorders, with one-way cuts, crashes that lose what is not durable, compaction, retention, snapshots, changes
// of membership, handing over, reads and sleep. After each step everything that must hold is looked at (truth.ts); at the
// end all faults stop, and the group must agree within a bounded time.
//
// Everything is drawn from the seed. A walk that fails throws, and the error says which seed and step.

import { offset } from '@sluice/protocol/ids';
import {
  type DurableNotice,
  earlier,
  isBefore,
  isSame,
  ORIGIN,
  type Position,
  type StoredShape,
  textOf,
} from '../../server/base/position.ts';
import type { ChangeStep } from '../../server/raft/configuration-change.ts';
import { type Configuration, configurationOf, isJoint, membersOf } from '../../server/raft/configuration.ts';
import type { LogShape } from '../../server/raft/log-shape.ts';
import type { Message } from '../../server/raft/message.ts';
import type { RaftGroup } from '../../server/raft/raft-group.ts';
import type { LogOrder, Ready, ReplicateOrder, SavedState } from '../../server/raft/ready.ts';
import type { RaftSettings, RestoredReplica } from '../../server/raft/replica.ts';
import type { ReplicaId } from '../../server/raft/replica-id.ts';
import { SeededRandom } from '../simulation/random.ts';
import { type Entry, Image, ModelLog, ModelStore, batchesAfter, endOf } from './model-log.ts';
import { numberOf, replica } from './names.ts';
import { Truth } from './truth.ts';

/** What is walked: the core itself, or one with a fault in it. */
export interface Core {
  readonly RaftGroup: new (restored: RestoredReplica) => RaftGroup;
  readonly LogShape: new (stored: StoredShape) => LogShape;
}

/** A driver that does not keep its part of the bargain. */
export type DriverFault = 'log notice before the sync' | 'store notice before the sync';

export interface WalkOptions {
  readonly seed: string;
  readonly core: Core;
  readonly steps?: number;
  readonly driverFault?: DriverFault;
}

export interface WalkReport {
  readonly replicas: number;
  readonly steps: number;
  readonly terms: number;
  readonly committed: number;
  readonly snapshots: number;
  readonly crashes: number;
  readonly changes: number;
  readonly cuts: number;
  readonly reads: number;
  readonly naps: number;
}

const settingsOf = (random: SeededRandom): RaftSettings => ({
  electionTicks: random.between(3, 6),
  heartbeatTicks: 2,
  // A small one sends batches one by one, so that every point is once the end of a request.
  appendBytesMax: random.pick([6, 20, 40]),
  inFlightBytesMax: random.pick([20, 80]),
  uncommittedBytesMax: 200,
  lagTicksMax: 16,
  mayLoseWrites: false,
});

const STEPS = 2_000;
/** Enough for a few elections, a snapshot and a change to be finished, each after the one before. */
const HEALING_ROUNDS = 400;

class Member {
  readonly id: ReplicaId;
  log: ModelLog;
  readonly store: ModelStore;
  group: RaftGroup | null = null;
  orders: ReplicateOrder[] = [];
  notices: DurableNotice[] = [];
  snapshotsEnding: { to: ReplicaId; isDone: boolean }[] = [];

  constructor(id: ReplicaId, saved: SavedState) {
    this.id = id;
    this.log = new ModelLog(new Image());
    this.store = new ModelStore(saved);
  }
}

/** How much of each kind of trouble a seed brings; none of them in some seeds. */
interface Weather {
  readonly loss: number;
  readonly repeat: number;
  readonly disorder: number;
  readonly crash: number;
  readonly cut: number;
  readonly change: number;
  readonly drop: number;
  readonly compact: number;
  readonly transfer: number;
  readonly nap: number;
  readonly laziness: number;
  /** How fast clocks run beside all else. */
  readonly haste: number;
}

export class Walk {
  readonly #random: SeededRandom;
  readonly #options: WalkOptions;
  readonly #members = new Map<ReplicaId, Member>();
  readonly #truth = new Truth();
  readonly #weather: Weather;
  readonly #settings: RaftSettings;
  readonly #cutLinks = new Set<string>();
  #network: Message[] = [];
  readonly #room: number;
  #token = 0;
  #count = { terms: 0, snapshots: 0, crashes: 0, changes: 0, cuts: 0, reads: 0, naps: 0 };

  constructor(options: WalkOptions) {
    this.#options = options;
    const random = new SeededRandom(options.seed);
    this.#random = random;
    this.#settings = settingsOf(random);
    this.#room = random.pick([8, 20, 50]);
    const some = (most: number): number => (random.chance(0.35) ? 0 : random.fraction() * most);
    this.#weather = {
      loss: some(0.25),
      repeat: some(0.2),
      disorder: some(1),
      crash: some(0.03),
      cut: some(0.02),
      change: some(0.3),
      drop: some(0.15),
      compact: some(0.1),
      transfer: some(0.03),
      nap: some(0.05),
      laziness: some(0.6),
      haste: 0.04 + random.fraction() * 0.2,
    };
    const ids = Array.from({ length: random.pick([1, 2, 3, 3, 3, 4, 5]) }, (_, index) => replica(index + 1));
    const voters = ids.slice(0, random.chance(0.7) ? ids.length : random.between(1, ids.length));
    const configuration = configurationOf(voters);
    for (const id of ids) {
      const first = { version: 0, term: ORIGIN.epoch, vote: null, recovery: 0 };
      const member = new Member(id, { ...first, configurations: [{ position: ORIGIN, configuration }] });
      this.#members.set(id, member);
      this.#start(member);
    }
  }

  run(): WalkReport {
    const steps = this.#options.steps ?? STEPS;
    let step = 0;
    try {
      for (; step < steps; step++) this.#step();
      this.#heal();
    } catch (error) {
      throw new Error(`seed ${this.#options.seed}, step ${step}: ${String(error)}`, { cause: error });
    }
    return { replicas: this.#members.size, steps, committed: this.#truth.committedCount, ...this.#count };
  }

  // ---- One step

  #step(): void {
    const random = this.#random;
    const member = random.pick([...this.#members.values()]);
    const draw = random.fraction();
    const weather = this.#weather;
    if (random.chance(member.group === null ? 0.05 : weather.crash)) this.#crashOrStart(member);
    else if (random.chance(weather.cut)) this.#cutOrMend();
    else if (draw < 0.4) for (let count = random.between(1, 4); count > 0; count--) this.#deliver();
    else if (draw < 0.4 + this.#weather.haste) this.#input(member, group => group.tick());
    else if (draw < 0.7) this.#disk(member, random.chance(0.5) ? Infinity : 1);
    else if (draw < 0.85) this.#fill(member);
    else if (draw < 0.96) this.#askLeader();
    else this.#keepHouse(member);
    this.#inspect();
  }

  #askLeader(): void {
    const random = this.#random;
    const leaders = [...this.#members.values()].filter(member => member.group?.role === 'leader');
    if (random.chance(leaders.length === 0 ? 0.2 : 0.04)) {
      this.#input(random.pick([...this.#members.values()]), group => group.campaign());
    }
    if (leaders.length === 0) return;
    const leader = random.pick(leaders);
    if (random.chance(this.#weather.change * 3)) this.#change(leader);
    else if (random.chance(this.#weather.transfer * 3)) {
      this.#input(leader, group => group.transfer(random.pick([...this.#members.keys()])));
    } else if (random.chance(0.2)) this.#read(leader);
    else if (random.chance(this.#weather.nap * 3)) this.#nap(leader);
    else this.#propose(leader);
  }

  #keepHouse(member: Member): void {
    if (this.#random.chance(this.#weather.drop * 5)) this.#dropOld(member);
    else if (this.#random.chance(this.#weather.compact * 5)) this.#compact(member);
    else this.#input(member, group => group.wake());
  }

  #deliver(): void {
    const random = this.#random;
    if (this.#network.length === 0) return;
    const at = random.chance(this.#weather.disorder) ? random.below(this.#network.length) : 0;
    const message = this.#network[at]!;
    if (!random.chance(this.#weather.repeat)) this.#network.splice(at, 1);
    if (random.chance(this.#weather.loss) || this.#cutLinks.has(`${message.from}>${message.to}`)) return;
    this.#receive(message);
  }

  #transmit(message: Message): void {
    this.#network.push(message);
    // A network that is fuller than this only delivers what nobody waits for any more.
    if (this.#network.length > this.#room) this.#network.splice(this.#random.below(this.#network.length), 1);
  }

  #receive(message: Message): void {
    const member = this.#members.get(message.to);
    if (member !== undefined) this.#input(member, group => group.step(message));
  }

  #input(member: Member, act: (group: RaftGroup) => void): void {
    if (member.group === null) return;
    act(member.group);
    if (!this.#random.chance(this.#weather.laziness)) this.#settle(member);
  }

  // ---- What a driver does

  #settle(member: Member): void {
    for (let ready = member.group?.takeReady() ?? null; ready !== null; ready = member.group?.takeReady() ?? null) {
      this.#carryOut(member, ready);
    }
    if (member.group !== null) this.#truth.claims(member.id, member.group.durablePosition);
  }

  #carryOut(member: Member, ready: Ready): void {
    if (ready.save !== null) {
      member.store.write(ready.save);
      if (this.#options.driverFault === 'store notice before the sync') member.group?.stored(ready.save.version);
    }
    for (const order of ready.log) this.#order(member, order);
    if (ready.role?.role === 'leader') {
      this.#count.terms++;
      this.#truth.led({ term: ready.role.term, leader: member.id, log: member.log.memory });
    }
    for (const message of ready.send) {
      this.#truth.sent(message, { disk: member.log.disk, memory: member.log.memory, saved: member.store.saved });
      this.#transmit(message);
    }
    member.orders.push(...ready.replicate);
    for (const { snapshot } of ready.snapshots) {
      this.#count.snapshots++;
      this.#transmit(snapshot);
      member.snapshotsEnding.push({ to: snapshot.to, isDone: this.#random.chance(0.8) });
    }
    if (ready.commit !== null) this.#truth.committed(member.id, { commit: ready.commit, log: member.log.memory });
    for (const read of ready.reads) this.#truth.readConfirmed(read);
    if (ready.commit !== null && member.group?.role === 'leader') {
      this.#checkQuorum(member.group.configuration, ready.commit);
    }
  }

  /** Before anything may be called committed, a majority of each set must have it on disk: also those that are down. */
  #checkQuorum({ voters, outgoing }: Configuration, commit: Position): void {
    for (const set of [voters, outgoing]) {
      const holders = [...set].filter(id => this.#truth.holds(this.#members.get(id)?.log.disk ?? new Image(), commit));
      if (holders.length * 2 <= set.size && set.size > 0) {
        throw new Error(`committed at ${textOf(commit)}, which only ${holders.length} of ${set.size} have on disk`);
      }
    }
  }

  #order(member: Member, order: LogOrder): void {
    const { log } = member;
    switch (order.kind) {
      case 'cut':
        this.#count.cuts++;
        this.#truth.cut(member.id, { to: order.to, term: member.group?.term ?? 0 });
        log.raise(image => image.cut(order.to));
        break;
      case 'install':
        this.#truth.installed(member.id, order.base);
        log.raise(image => image.install(order.base));
        break;
      case 'log-start':
        log.write(image => image.moveLogStart(order.offset));
        break;
      case 'epoch-start':
        this.#write(member, {
          epoch: order.start.epoch,
          baseOffset: order.start.startOffset,
          endOffset: order.start.startOffset,
          kind: 'epoch-start',
          configuration: null,
        });
        break;
      case 'configuration': {
        const { epoch, baseOffset, configuration } = order;
        const endOffset = offset(baseOffset + 1);
        this.#write(member, { epoch, baseOffset, endOffset, kind: 'configuration', configuration });
        break;
      }
      case 'append': {
        const entries = order.batches.map(batch => batch.bytes as Entry);
        this.#truth.appended(member.log.memory, entries);
        log.write(image => image.append(entries));
        break;
      }
    }
    if (this.#options.driverFault === 'log notice before the sync') {
      member.group?.durable({ generation: log.generation, position: log.memory.end });
    }
  }

  /** A leader's own batch. */
  #write(member: Member, content: Omit<Entry, 'mark'>): void {
    const entry = this.#truth.made(content, member.log.memory.end);
    member.log.write(image => image.append([entry]));
    if (this.#options.driverFault === 'log notice before the sync') {
      member.group?.durable({ generation: member.log.generation, position: member.log.memory.end });
    }
  }

  #disk(member: Member, most: number): void {
    const random = this.#random;
    const { group, log, store } = member;
    if (group === null) return;
    if (random.chance(0.5)) {
      const version = store.sync(Math.min(most, store.waiting), (before, after) => this.#truth.saved(before, after));
      if (version !== null) group.stored(version);
    }
    // A notice may be on its way while the log is cut.
    const notice = log.sync(Math.min(most, log.waiting));
    if (notice !== null) member.notices.push(notice);
    if (random.chance(0.7)) this.#notify(member);
    if (!random.chance(this.#weather.laziness)) this.#settle(member);
  }

  #notify(member: Member): void {
    for (const notice of member.notices.splice(0)) member.group?.durable(notice);
  }

  #fill(member: Member): void {
    const { group } = member;
    if (group === null) return;
    const ended = member.snapshotsEnding.shift();
    if (ended !== undefined) group.snapshotEnded(ended);
    // Orders are read some time later, and some reads fail.
    for (const order of member.orders.splice(0)) {
      const batches = batchesAfter(member.log.memory, order);
      const isFailed = batches.length === 0 || this.#random.chance(0.05);
      if (isFailed) group.unreadable(order);
      const append = isFailed ? null : group.fill(order, batches);
      if (append !== null) this.#transmit(append);
    }
    this.#settle(member);
  }

  // ---- What clients and operators do

  #propose(leader: Member): void {
    this.#settle(leader);
    const offsets = this.#random.between(1, 4);
    const proposed = leader.group?.propose({ offsets, bytes: 5 + offsets * 3 });
    if (proposed === undefined || !proposed.ok) return;
    const { epoch, baseOffset } = proposed;
    const endOffset = offset(baseOffset + offsets);
    this.#write(leader, { epoch, baseOffset, endOffset, kind: 'data', configuration: null });
    if (!this.#random.chance(this.#weather.laziness)) this.#settle(leader);
  }

  #change(leader: Member): void {
    const random = this.#random;
    const kinds: readonly ChangeStep['kind'][] = ['add-voter', 'add-learner', 'remove'];
    const steps = Array.from({ length: random.between(1, 3) }, () => ({
      kind: random.pick(kinds),
      replica: random.pick([...this.#members.keys()]),
    }));
    // What it committed before is judged by the configuration of before.
    this.#settle(leader);
    this.#input(leader, group => {
      const change = isJoint(group.configuration)
        ? ({ kind: 'leave-joint' } as const)
        : random.chance(0.5)
          ? ({ kind: 'simple', steps } as const)
          : ({ kind: 'enter-joint', steps, autoLeave: random.chance(0.7) } as const);
      if (group.proposeConfiguration(change).ok) this.#count.changes++;
    });
  }

  #read(leader: Member): void {
    const token = ++this.#token;
    this.#count.reads++;
    this.#truth.readAsked(token);
    this.#input(leader, group => void group.requestRead(token));
  }

  #nap(leader: Member): void {
    this.#input(leader, group => {
      if (!group.mayBeQuiet()) return;
      this.#count.naps++;
      group.beQuiet();
    });
  }

  #dropOld(member: Member): void {
    const { group, log } = member;
    if (group === null) return;
    this.#settle(member);
    const settled = log.memory.entries
      .map(endOf)
      .filter(end => !isBefore(group.commit, end) && !isBefore(log.disk.end, end) && log.disk.has(end));
    if (settled.length === 0) return;
    const base = this.#random.pick(settled);
    for (const image of [log.memory, log.disk]) image.dropTo(base);
    group.baseMoved({ base: log.memory.base, logStart: log.memory.logStart });
    this.#settle(member);
  }

  #compact(member: Member): void {
    const { group, log } = member;
    if (group === null) return;
    this.#settle(member);
    const settled = earlier(group.commit, log.disk.end);
    const { entries } = log.memory;
    // The last batch of an epoch stays, so that every cut falls between two batches.
    const old = entries.filter(
      (entry, index) =>
        entry.kind === 'data' &&
        entries[index + 1]?.kind !== 'epoch-start' &&
        isBefore(endOf(entry), settled) &&
        log.disk.has(endOf(entry)),
    );
    const marks = new Set(old.filter(() => this.#random.chance(0.5)).map(entry => entry.mark));
    this.#truth.compacted(marks);
    for (const image of [log.memory, log.disk]) image.remove(marks);
  }

  // ---- Trouble

  #crashOrStart(member: Member): void {
    if (member.group === null) {
      this.#start(member);
      return;
    }
    this.#count.crashes++;
    const reached = this.#random.below(member.log.waiting + 1);
    if (this.#random.chance(0.3)) {
      const waiting = this.#random.below(member.store.waiting + 1);
      member.store.sync(waiting, (before, after) => this.#truth.saved(before, after));
    }
    member.store.crash();
    member.log = new ModelLog(member.log.crash(reached));
    member.group = null;
    member.orders = [];
    member.notices = [];
    member.snapshotsEnding = [];
    // The links of the others notice.
    for (const other of this.#members.values()) if (other.group?.leader === member.id) other.group.wake();
    if (this.#random.chance(0.5)) this.#start(member);
  }

  #start(member: Member): void {
    const { saved } = member.store;
    const { disk } = member.log;
    member.group = new this.#options.core.RaftGroup({
      self: member.id,
      settings: this.#settings,
      fraction: () => this.#random.fraction(),
      saved,
      shape: new this.#options.core.LogShape(disk.shape(member.log.generation)),
      found: disk.configurations(),
      condition: { kind: 'sound' },
    });
    // Versions begin anew with each start.
    member.store.saved = { ...saved, version: 0 };
    this.#truth.started(member.id, disk.base);
    this.#truth.claims(member.id, member.group.durablePosition);
  }

  #cutOrMend(): void {
    const random = this.#random;
    if (this.#cutLinks.size > 0 && random.chance(0.5)) {
      this.#cutLinks.clear();
      return;
    }
    const ids = random.shuffled([...this.#members.keys()]);
    const leader = ids.find(id => this.#members.get(id)?.group?.role === 'leader');
    const one = random.chance(0.5) ? leader : ids[0];
    if (one === undefined) return;
    const isDeaf = random.chance(0.6);
    const isMute = !isDeaf || random.chance(0.5);
    for (const other of random.chance(0.6) ? ids : ids.slice(0, 2)) {
      if (isDeaf) this.#cutLinks.add(`${other}>${one}`);
      if (isMute) this.#cutLinks.add(`${one}>${other}`);
    }
  }

  // ---- Judging

  #inspect(): void {
    for (const { id, group, log } of this.#members.values()) {
      if (group === null) continue;
      if (isBefore(group.end, group.commit)) throw new Error(`${id} has a commit point beyond its end`);
      if (log.memory.logStart < log.memory.base.offset) throw new Error('the log start lies below the base');
    }
  }

  /** All faults stop: the group must find a leader, agree, and take something new. */
  #heal(): void {
    this.#cutLinks.clear();
    for (const member of this.#members.values()) {
      if (member.group === null) this.#start(member);
      member.group?.wake();
    }
    let target: Position | null = null;
    for (let round = 0; round < HEALING_ROUNDS; round++) {
      for (const member of this.#members.values()) this.#calmRound(member);
      for (const message of this.#network.splice(0)) this.#receive(message);
      this.#inspect();
      const leader = this.#settledLeader();
      if (leader === null) continue;
      if (target !== null && !isBefore(leader.group!.commit, target)) return;
      if (target === null) {
        this.#propose(leader);
        target = leader.group!.end;
      }
    }
    throw new Error(`no agreement after ${HEALING_ROUNDS} rounds without faults: ${this.#told()}`);
  }

  #calmRound(member: Member): void {
    const { group, log, store } = member;
    if (group === null) return;
    group.tick();
    this.#settle(member);
    const version = store.sync(store.waiting, (before, after) => this.#truth.saved(before, after));
    if (version !== null) group.stored(version);
    const notice = log.sync(log.waiting);
    if (notice !== null) member.notices.push(notice);
    this.#notify(member);
    this.#settle(member);
    this.#fill(member);
  }

  /** A leader that everybody in its configuration follows, to the very end. */
  #settledLeader(): Member | null {
    for (const member of this.#members.values()) {
      const { group } = member;
      if (group?.role !== 'leader' || !isSame(group.commit, group.end) || group.isChangePending) continue;
      const others = [...membersOf(group.configuration)].map(id => this.#members.get(id)!);
      const agree = others.every(
        other =>
          other.group?.term === group.term &&
          other.group.leader === member.id &&
          isSame(other.group.commit, group.commit) &&
          isSame(other.log.disk.end, group.end) &&
          isSame(other.log.memory.end, group.end),
      );
      if (agree) return member;
    }
    return null;
  }

  #told(): string {
    return [...this.#members.values()]
      .map(({ id, group, log }) => {
        if (group === null) return `${numberOf(id)} down`;
        const voters = [...group.configuration.voters].map(numberOf).join('');
        const outgoing = [...group.configuration.outgoing].map(numberOf).join('');
        const state = `${group.role} of term ${group.term} under ${group.leader === null ? '-' : numberOf(group.leader)}`;
        return `${numberOf(id)} ${state}, commit ${textOf(group.commit)}, end ${textOf(group.end)}, disk ${textOf(log.disk.end)}, base ${textOf(log.memory.base)}, voters ${voters}|${outgoing}`;
      })
      .join('; ');
  }
}

// The commands of etcd-io/raft's scenario scripts, carried out on our core: the same proposals, elections, deliveries and
// losses, on logs and stores in memory.
//
// Entries stand in the same order as theirs, so that entry i here is their index i; offsets differ, because an epoch start
// spans none. Before the first entry lies a base in epoch 0, where theirs is a snapshot.

import { offset } from '@sluice/protocol/ids';
import { type Position, textOf } from '../../server/base/position.ts';
import type { ChangeStep, ConfigurationChange } from '../../server/raft/configuration-change.ts';
import { type Configuration, configurationOf, isVoter } from '../../server/raft/configuration.ts';
import { LogShape } from '../../server/raft/log-shape.ts';
import type { Message } from '../../server/raft/message.ts';
import { RaftGroup } from '../../server/raft/raft-group.ts';
import type { LogOrder } from '../../server/raft/ready.ts';
import type { ReplicaId } from '../../server/raft/replica-id.ts';
import { type Entry, Image, ModelLog, ModelStore, batchesAfter, endOf } from '../raft/model-log.ts';
import { at, numberOf, replica } from '../raft/names.ts';
import { type EtcdCase, valuesOf } from './etcd-cases.ts';

const ELECTION_TICKS = 3;
const HEARTBEAT_TICKS = 1;
/** A data batch of the model, which every in-flight bound of a script is counted in. */
const BATCH_BYTES = 8;

class Node {
  readonly number: number;
  readonly log: ModelLog;
  readonly store: ModelStore;
  readonly group: RaftGroup;
  /** How many writes of the log each bundle brought, where a script writes them one bundle at a time. */
  batches: number[] = [];
  /** Their index of the entry after the base that it began with, and how many entries went since. */
  readonly firstIndex: number;
  dropped = 0;
  fraction = 0.4;

  constructor(number: number, options: { configuration: Configuration; base: Position; inFlight: number | null }) {
    this.number = number;
    this.firstIndex = options.base.offset + 1;
    const image = new Image();
    image.base = options.base;
    image.logStart = options.base.offset;
    this.log = new ModelLog(image);
    const configurations = [{ position: options.base, configuration: options.configuration }];
    const saved = { term: at(0, 0).epoch, vote: null, recovery: 0, configurations };
    this.store = new ModelStore({ version: 0, ...saved });
    this.group = new RaftGroup({
      self: replica(number),
      settings: {
        electionTicks: ELECTION_TICKS,
        heartbeatTicks: HEARTBEAT_TICKS,
        appendBytesMax: options.inFlight === null ? 1_000 : BATCH_BYTES,
        inFlightBytesMax: options.inFlight === null ? 100_000 : options.inFlight * BATCH_BYTES,
        uncommittedBytesMax: 1_000_000,
        lagTicksMax: 10,
        mayLoseWrites: false,
      },
      fraction: () => this.fraction,
      saved,
      shape: new LogShape(image.shape(1)),
      found: [],
      condition: { kind: 'sound' },
    });
  }
}

/** Commands without a counterpart: what a driver does here, or what only their core knows. */
export const notOurs: ReadonlySet<string> = new Set(['log-level', 'report-unreachable', 'process-apply-thread']);

export class Replay {
  readonly #nodes = new Map<number, Node>();
  #network: Message[] = [];
  #isAsync = false;
  #isGuarded = false;
  #marks = 0;
  readonly #texts = new Map<number, string>();

  carryOut(one: EtcdCase): void {
    if (notOurs.has(one.command)) return;
    const numbers = one.words.filter(word => word.values === null).map(word => Number(word.name));
    switch (one.command) {
      case 'add-nodes':
        this.#addNodes(one, numbers[0] ?? 0);
        break;
      case 'campaign':
        this.#campaign(this.#node(numbers[0]));
        break;
      case 'forget-leader':
        this.#node(numbers[0]).group.wake();
        break;
      case 'propose':
        this.#propose(this.#node(numbers[0]), one.words[1]?.name ?? '');
        break;
      case 'propose-conf-change':
        this.#change(this.#node(numbers[0]), one);
        break;
      case 'transfer-leadership':
        this.#node(Number(valuesOf(one, 'from')?.[0])).group.transfer(replica(Number(valuesOf(one, 'to')?.[0])));
        break;
      case 'send-snapshot':
        this.#sendSnapshot(this.#node(numbers[0]), numbers[1] ?? 0);
        break;
      case 'stabilize':
        this.#stabilize(this.#listed(numbers));
        break;
      case 'process-ready':
        for (const node of this.#listed(numbers)) this.#process(node);
        break;
      case 'process-append-thread':
        for (const node of this.#listed(numbers)) this.#sync(node, node.batches.shift() ?? 0);
        break;
      case 'deliver-msgs':
        this.#deliverOf(one, numbers);
        break;
      case 'tick-heartbeat':
        this.#tick(this.#node(numbers[0]), HEARTBEAT_TICKS);
        break;
      case 'tick-election':
        this.#tick(this.#node(numbers[0]), ELECTION_TICKS);
        break;
      case 'set-randomized-election-timeout':
        this.#node(numbers[0]).fraction = (Number(valuesOf(one, 'timeout')?.[0]) - ELECTION_TICKS) / ELECTION_TICKS;
        break;
      case 'compact':
        this.#compact(this.#node(numbers[0]), numbers[1] ?? 0);
        break;
      case 'raft-log':
      case 'raft-state':
      case 'status':
        break;
      default:
        throw new Error(`${one.file}:${one.line}: an unknown command, ${one.command}`);
    }
  }

  // ---- Commands

  #node(number: number | undefined): Node {
    const node = this.#nodes.get(number ?? 0);
    if (node === undefined) throw new Error(`there is no node ${number}`);
    return node;
  }

  #listed(numbers: readonly number[]): Node[] {
    const known = numbers.filter(number => !Number.isNaN(number));
    return known.length === 0 ? [...this.#nodes.values()] : known.map(number => this.#node(number));
  }

  #addNodes(one: EtcdCase, count: number): void {
    const ids = (name: string): ReplicaId[] => (valuesOf(one, name) ?? []).map(each => replica(Number(each)));
    const inFlight = valuesOf(one, 'inflight')?.[0];
    this.#isAsync ||= valuesOf(one, 'async-storage-writes')?.[0] === 'true';
    this.#isGuarded ||= ['prevote', 'checkquorum'].some(name => valuesOf(one, name)?.[0] === 'true');
    for (let added = 0; added < count; added++) {
      const number = this.#nodes.size + 1;
      const node = new Node(number, {
        configuration: configurationOf(ids('voters'), ids('learners')),
        base: at(0, Number(valuesOf(one, 'index')?.[0] ?? 0)),
        inFlight: inFlight === undefined ? null : Number(inFlight),
      });
      this.#nodes.set(number, node);
    }
  }

  /**
   * Where a script does without pre-votes and the check of the quorum, which are no choice here, whoever campaigns does so as
   * if the leader had asked for it: at once, and heard.
   */
  #campaign({ group }: Node): void {
    if (this.#isGuarded || group.role !== 'follower') group.campaign();
    else {
      const { self, term, recovery, commit } = group;
      group.step({ kind: 'transfer', from: self, to: self, term, recovery, commit, logStart: offset(0) });
    }
  }

  /** Their followers send proposals on to the leader; here that is the broker's, and this plays it. */
  #leaderOf(node: Node): Node {
    const { leader } = node.group;
    return leader === null ? node : this.#node(numberOf(leader));
  }

  #propose(asked: Node, text: string): void {
    const node = this.#leaderOf(asked);
    this.#apply(node);
    const proposed = node.group.propose({ offsets: 1, bytes: BATCH_BYTES });
    if (!proposed.ok) return;
    const { epoch, baseOffset } = proposed;
    const place = { epoch, baseOffset, endOffset: offset(baseOffset + 1) };
    this.#write(node, { ...place, kind: 'data', configuration: null }, text.replaceAll('"', ''));
  }

  #change(asked: Node, one: EtcdCase): void {
    const node = this.#leaderOf(asked);
    const kinds: Readonly<Record<string, ChangeStep['kind']>> = { v: 'add-voter', l: 'add-learner', r: 'remove' };
    const steps = one.input
      .flatMap(line => line.split(/\s+/))
      .map(word => ({ kind: kinds[word[0] ?? '']!, replica: replica(Number(word.slice(1))) }));
    const transition = valuesOf(one, 'transition')?.[0] ?? 'auto';
    this.#apply(node);
    node.group.proposeConfiguration(changeOf(steps, transition));
  }

  #tick(node: Node, count: number): void {
    for (; count > 0; count--) node.group.tick();
  }

  /** One that nobody asked for, of all that is committed. */
  #sendSnapshot({ group, store }: Node, to: number): void {
    const { commit: base, self: from, term, recovery } = group;
    const configuration = store.saved.configurations[0]!;
    const envelope = { from, to: replica(to), term, recovery };
    this.#network.push({ ...envelope, kind: 'snapshot', base, logStart: base.offset, configuration });
  }

  #compact(node: Node, index: number): void {
    this.#apply(node);
    const { log } = node;
    const first = node.firstIndex + node.dropped;
    const last = log.memory.entries[index - first];
    if (last === undefined) return;
    node.dropped += index - first + 1;
    for (const image of [log.memory, log.disk]) image.dropTo(endOf(last));
    node.group.baseMoved({ base: endOf(last), logStart: log.memory.logStart });
  }

  #deliverOf(one: EtcdCase, numbers: readonly number[]): void {
    const dropped = new Set((valuesOf(one, 'drop') ?? []).map(Number));
    const isApp = valuesOf(one, 'type')?.[0] === 'MsgApp';
    this.#network = this.#network.filter(({ to }) => !dropped.has(numberOf(to)));
    const wanted = new Set(numbers.filter(number => !Number.isNaN(number)));
    this.#deliver(message => wanted.has(numberOf(message.to)) && (!isApp || message.kind === 'append'));
  }

  #deliver(isWanted: (message: Message) => boolean): boolean {
    const delivered = this.#network.filter(isWanted);
    this.#network = this.#network.filter(message => !delivered.includes(message));
    for (const message of delivered) this.#nodes.get(numberOf(message.to))?.group.step(message);
    return delivered.length > 0;
  }

  #stabilize(nodes: readonly Node[]): void {
    const numbers = new Set(nodes.map(node => node.number));
    for (let round = 0; round < 1_000; round++) {
      let isBusy = false;
      for (const node of nodes) {
        if (this.#process(node)) isBusy = true;
        if (this.#sync(node, Infinity)) isBusy = true;
      }
      if (this.#deliver(({ to }) => numbers.has(numberOf(to)))) isBusy = true;
      if (!isBusy) return;
    }
    throw new Error('it does not come to rest');
  }

  // ---- What a driver does

  /** Ready, and where writes are not asynchronous also what it leads to. */
  #process(node: Node): boolean {
    let isBusy = false;
    // What waits for the store waits here for nothing: their scripts send requests for votes before it.
    while (this.#apply(node) || this.#sync(node, this.#isAsync ? 0 : Infinity)) isBusy = true;
    return isBusy;
  }

  #apply(node: Node): boolean {
    const ready = node.group.takeReady();
    if (ready === null) return false;
    if (ready.save !== null) node.store.write(ready.save);
    const before = node.log.waiting;
    for (const order of ready.log) this.#order(node, order);
    const writes = node.log.waiting - before;
    if (writes > 0 || ready.save !== null) node.batches.push(writes);
    this.#network.push(...ready.send, ...ready.snapshots.map(({ snapshot }) => snapshot));
    for (const order of ready.replicate) {
      const append = node.group.fill(order, batchesAfter(node.log.memory, order));
      if (append !== null) this.#network.push(append);
    }
    return true;
  }

  #order(node: Node, order: LogOrder): void {
    const { log } = node;
    switch (order.kind) {
      case 'cut':
        log.raise(image => image.cut(order.to));
        break;
      case 'install':
        log.raise(image => image.install(order.base));
        break;
      case 'log-start':
        log.write(image => image.moveLogStart(order.offset));
        break;
      case 'append':
        log.write(image => image.append(order.batches.map(batch => batch.bytes as Entry)));
        break;
      case 'epoch-start': {
        const { epoch, startOffset } = order.start;
        const place = { epoch, baseOffset: startOffset, endOffset: startOffset };
        this.#write(node, { ...place, kind: 'epoch-start', configuration: null }, '');
        break;
      }
      case 'configuration': {
        const { epoch, baseOffset, configuration } = order;
        const place = { epoch, baseOffset, endOffset: offset(baseOffset + 1) };
        this.#write(node, { ...place, kind: 'configuration', configuration }, 'membership');
        break;
      }
    }
  }

  #write(node: Node, content: Omit<Entry, 'mark'>, text: string): void {
    const entry = { ...content, mark: ++this.#marks };
    this.#texts.set(entry.mark, text);
    node.log.write(image => image.append([entry]));
  }

  #sync(node: Node, writes: number): boolean {
    const version = node.store.sync(node.store.waiting, () => {});
    if (version !== null) node.group.stored(version);
    if (writes === Infinity) node.batches = [];
    const notice = node.log.sync(Math.min(writes, node.log.waiting));
    if (notice !== null) node.group.durable(notice);
    return version !== null || notice !== null;
  }

  // ---- What is compared

  /** As `raft-state` prints it. */
  states(): string[] {
    return [...this.#nodes.values()].map(({ number, group }) => {
      const role = {
        leader: 'Leader',
        follower: 'Follower',
        candidate: 'Candidate',
        'pre-candidate': 'PreCandidate',
        stopped: 'Stopped',
      };
      const voter = isVoter(group.configuration, group.self) ? 'Voter' : 'Non-Voter';
      const leader = group.leader === null ? 0 : numberOf(group.leader);
      return `${number}: State${role[group.role]} (${voter}) Term:${group.term} Lead:${leader}`;
    });
  }

  /** The entries of a log as the disk has it, each with its epoch; an epoch start has no text. */
  entries(number: number): string[] {
    return this.#node(number).log.disk.entries.map(({ epoch, mark }) =>
      `${epoch} ${this.#texts.get(mark) ?? ''}`.trim(),
    );
  }

  /** Everything of a node that a reader of the transcript wants to know, in one line. */
  told(): string[] {
    return [...this.#nodes.values()].map(({ number, group, log }) => {
      const leader = group.leader === null ? '-' : numberOf(group.leader);
      const log1 = log.memory.entries
        .map(({ epoch, mark }) => `${epoch}:${this.#texts.get(mark) || 'start'}`)
        .join(' ');
      return `${number} ${group.role} of term ${group.term} under ${leader}, commit ${textOf(group.commit)}, durable ${textOf(group.durablePosition)}, ${configurationText(group.configuration)}, base ${textOf(log.memory.base)}, log ${log1}`.trim();
    });
  }
}

function changeOf(steps: readonly ChangeStep[], transition: string): ConfigurationChange {
  if (steps.length === 0) return { kind: 'leave-joint' };
  if (transition === 'auto' && steps.length === 1) return { kind: 'simple', steps };
  return { kind: 'enter-joint', steps, autoLeave: transition !== 'explicit' };
}

const numbersOf = (ids: ReadonlySet<ReplicaId>): string =>
  [...ids]
    .map(numberOf)
    .sort((a, b) => a - b)
    .join(' ');

export const configurationText = ({ voters, outgoing, learners, learnersNext, autoLeave }: Configuration): string =>
  [
    `voters=(${numbersOf(voters)})${outgoing.size > 0 ? `&&(${numbersOf(outgoing)})` : ''}`,
    ...(learners.size > 0 ? [`learners=(${numbersOf(learners)})`] : []),
    ...(learnersNext.size > 0 ? [`learners_next=(${numbersOf(learnersNext)})`] : []),
    ...(autoLeave ? ['autoleave'] : []),
  ].join(' ');

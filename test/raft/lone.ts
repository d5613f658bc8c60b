// One replica alone with the test, which plays its disk, its store and all the others.

import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { ORIGIN, type Position } from '../../server/base/position.ts';
import type { ReplicaCondition } from '../../server/base/replica-condition.ts';
import type { ConfigurationAt } from '../../server/raft/configuration-history.ts';
import { type Configuration, configurationOf } from '../../server/raft/configuration.ts';
import { LogShape } from '../../server/raft/log-shape.ts';
import type { Batch, Message } from '../../server/raft/message.ts';
import { RaftGroup } from '../../server/raft/raft-group.ts';
import type { LogOrder, Ready, ReplicateOrder, SavedState } from '../../server/raft/ready.ts';
import type { RaftSettings } from '../../server/raft/replica.ts';
import { replica } from './names.ts';
import type { Core } from './walk.ts';

export const SETTINGS: RaftSettings = {
  electionTicks: 10,
  heartbeatTicks: 2,
  appendBytesMax: 1_000,
  inFlightBytesMax: 3_000,
  uncommittedBytesMax: 10_000,
  lagTicksMax: 20,
  mayLoseWrites: false,
};

export const theCore: Core = { RaftGroup, LogShape };

export interface LoneOptions {
  readonly self?: number;
  readonly voters?: readonly number[];
  readonly configuration?: Configuration;
  readonly found?: readonly ConfigurationAt[];
  readonly term?: number;
  readonly vote?: number;
  readonly recovery?: number;
  /** Epochs and how far each reaches, from the base on. */
  readonly log?: readonly (readonly [epoch: number, from: number, to: number])[];
  readonly base?: Position;
  readonly condition?: ReplicaCondition;
  readonly settings?: Partial<RaftSettings>;
  readonly core?: Core;
}

/** A message without what the receiver is. */
export type Said = Message extends infer M
  ? M extends Message
    ? Omit<M, 'from' | 'to' | 'term' | 'recovery'>
    : never
  : never;

export const epochStart = (epoch: number, place: number): Batch => ({
  kind: 'epoch-start',
  epoch: leaderEpoch(epoch),
  baseOffset: offset(place),
  endOffset: offset(place),
  byteLength: 60,
  bytes: null,
});

export const data = (epoch: number, base: number, end: number): Batch => ({
  kind: 'data',
  epoch: leaderEpoch(epoch),
  baseOffset: offset(base),
  endOffset: offset(end),
  byteLength: 100,
  bytes: null,
});

export const configurationBatch = (epoch: number, base: number, configuration: Configuration): Batch => ({
  kind: 'configuration',
  epoch: leaderEpoch(epoch),
  baseOffset: offset(base),
  endOffset: offset(base + 1),
  byteLength: 100,
  bytes: null,
  configuration,
});

export class Lone {
  readonly group: RaftGroup;
  saved: SavedState | null = null;
  readonly log: LogOrder[] = [];
  /** What left and was not looked at yet. */
  sent: Message[] = [];
  orders: ReplicateOrder[] = [];
  readonly readies: Ready[] = [];
  generation = 1;

  constructor(options: LoneOptions = {}) {
    const { self = 1, voters = [1, 2, 3], log = [], base = ORIGIN, core = theCore } = options;
    const configuration = options.configuration ?? configurationOf(voters.map(replica));
    const starts = log
      .filter(([epoch]) => epoch > base.epoch)
      .map(([epoch, from]) => ({
        epoch: leaderEpoch(epoch),
        startOffset: offset(from),
      }));
    const endOffset = offset(log.at(-1)?.[2] ?? base.offset);
    this.group = new core.RaftGroup({
      self: replica(self),
      settings: { ...SETTINGS, ...options.settings },
      fraction: () => 0.5,
      saved: {
        term: leaderEpoch(options.term ?? 0),
        vote: options.vote === undefined ? null : replica(options.vote),
        recovery: options.recovery ?? 0,
        configurations: [{ position: ORIGIN, configuration }],
      },
      shape: new core.LogShape({ base, starts, endOffset, logStart: base.offset, generation: 1 }),
      found: options.found ?? [],
      condition: options.condition ?? { kind: 'sound' },
    });
    this.take();
    this.store();
    this.sent = [];
  }

  /** Takes what it wants done; the log grows, the disk does not. */
  take(): Ready[] {
    const taken: Ready[] = [];
    for (let ready = this.group.takeReady(); ready !== null; ready = this.group.takeReady()) {
      taken.push(ready);
      if (ready.save !== null) this.saved = ready.save;
      for (const order of ready.log) if (order.kind === 'cut' || order.kind === 'install') this.generation++;
      this.log.push(...ready.log);
      this.sent.push(...ready.send);
      this.orders.push(...ready.replicate);
    }
    this.readies.push(...taken);
    return taken;
  }

  /** Somebody says something, in a term. */
  hear(from: number, term: number, said: Said, recovery = this.group.recovery): this {
    const envelope = { from: replica(from), to: this.group.self, term: leaderEpoch(term), recovery };
    this.group.step({ ...said, ...envelope });
    this.take();
    return this;
  }

  store(): this {
    if (this.saved !== null) this.group.stored(this.saved.version);
    this.take();
    return this;
  }

  sync(position: Position = this.group.end): this {
    this.group.durable({ generation: this.generation, position });
    this.take();
    return this;
  }

  tick(count = 1): this {
    for (; count > 0; count--) {
      this.group.tick();
      this.take();
    }
    return this;
  }

  /** What left since the last look, as the test wants to see it. */
  said<K extends Message['kind']>(kind: K): Extract<Message, { kind: K }>[] {
    const found = this.sent.filter((message): message is Extract<Message, { kind: K }> => message.kind === kind);
    this.sent = this.sent.filter(message => message.kind !== kind);
    return found;
  }

  /** Elected by the voters named, with everything on disk. */
  lead(...granting: number[]): this {
    this.group.campaign();
    this.take();
    const next = this.group.role === 'pre-candidate' ? this.group.term + 1 : this.group.term;
    for (const voter of granting) this.hear(voter, next, { kind: 'pre-vote-answer', answer: 'yes' });
    this.store();
    for (const voter of granting) this.hear(voter, this.group.term, { kind: 'vote-answer', answer: 'yes' });
    if (this.group.role !== 'leader') throw new Error(`it is ${this.group.role}`);
    this.sync();
    this.sent = [];
    return this;
  }

  acknowledge(from: number, position: Position, commit: Position = ORIGIN): this {
    return this.hear(from, this.group.term, { kind: 'append-matched', position, commit });
  }

  append(from: number, term: number, request: { prev: Position; batches?: readonly Batch[]; commit?: Position }): this {
    const { prev, batches = [], commit = ORIGIN } = request;
    return this.hear(from, term, { kind: 'append', prev, batches, commit, logStart: offset(0) });
  }

  propose(offsets = 1, bytes = 100): ReturnType<RaftGroup['propose']> {
    this.take();
    const proposed = this.group.propose({ offsets, bytes });
    this.take();
    return proposed;
  }

  get lastReady(): Ready | undefined {
    return this.readies.at(-1);
  }
}

// The produce stream of one producer to one broker.
//
//   idle ──somebody wants to write──▶ connecting ──▶ open ──stream ended──▶ waiting ──▶ idle
//                                         └───────not reachable─────────────▶┘
//
// Guarantees: a batch is written only to an open stream that takes it, so what waits was certainly not sent. Every
// written batch comes back to its lane exactly once: acknowledged, refused, or lost with the stream.

import type { ProduceResponse } from '@sluice/protocol/services';
import { Backoff } from './backoff.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { Links } from './links.ts';
import type { LaneChannel, PartitionLane } from './partition-lane.ts';
import type { ProduceBatch } from './produce-batch.ts';
import type { Acks } from './producer.ts';
import type { Runtime, Timer } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';
import type { CallFailure, Duplex, ProduceFrame } from './transport/transport.ts';
import { errorOfProblem } from './transport/problem.ts';

export interface ChannelHost {
  readonly topic: string;
  readonly acks: Acks;
  readonly requestTimeoutMs: number;
  readonly pool: BufferPool;
  /** A refusal of a batch that nobody waits for. */
  unseen(error: SluiceError): void;
  /** The broker could not be reached; told to those whose time runs out. */
  failed(cause: unknown): void;
}

const ACKS_ON_WIRE: Readonly<Record<Acks, number>> = { all: 0, leader: 1, none: 2 };

/** A batch on the wire; also its request's frame. */
class Written implements ProduceFrame {
  readonly id: number;
  readonly lane: PartitionLane;
  readonly batch: ProduceBatch;
  readonly topic: string;
  readonly partition: number;
  readonly acks: number;
  readonly timeoutMs: number;
  readonly batches: Uint8Array;
  private readonly pool: BufferPool;
  private frame: Buffer | null = null;

  constructor(id: number, batch: ProduceBatch, from: { readonly lane: PartitionLane; readonly host: ChannelHost }) {
    this.id = id;
    this.lane = from.lane;
    this.batch = batch;
    this.topic = from.host.topic;
    this.partition = batch.partition;
    this.acks = ACKS_ON_WIRE[from.host.acks];
    this.timeoutMs = from.host.requestTimeoutMs;
    this.batches = batch.bytes!;
    this.pool = from.host.pool;
  }

  allocate(bytes: number): Buffer {
    this.frame = this.pool.take(bytes);
    return this.frame;
  }

  /** The broker has answered: it has read the whole frame, so nobody here does any more. */
  answered(): void {
    if (this.frame !== null) this.pool.give(this.frame);
    this.frame = null;
  }
}

export class ProduceChannel implements LaneChannel {
  readonly address: string;
  private readonly runtime: Runtime;
  private readonly links: Links;
  private readonly host: ChannelHost;
  private readonly backoff: Backoff;
  private state: 'idle' | 'connecting' | 'open' | 'waiting' | 'closed' = 'idle';
  private stream: Duplex<ProduceFrame> | null = null;
  private isCongested = false;
  private nextId = 1;
  private pause: Timer | null = null;
  private onEnded: (() => void) | null = null;
  private readonly written = new Map<number, Written>();
  private readonly waiters = new Set<PartitionLane>();

  constructor(address: string, host: ChannelHost, links: Links, runtime: Runtime) {
    this.address = address;
    this.host = host;
    this.links = links;
    this.runtime = runtime;
    this.backoff = new Backoff(runtime.random);
  }

  /** False: call `whenWritable` and wait. */
  get isWritable(): boolean {
    return this.state === 'open' && !this.isCongested;
  }

  /** The lane is pumped when the stream takes batches again. */
  whenWritable(lane: PartitionLane): void {
    this.waiters.add(lane);
    // oxlint-disable-next-line typescript/no-floating-promises -- ends by itself, and never rejects
    if (this.state === 'idle') this.connect();
  }

  /** Only while `isWritable`. */
  write(lane: PartitionLane, batch: ProduceBatch): void {
    const { host } = this;
    const written = new Written(this.nextId++, batch, { lane, host });
    if (host.acks !== 'none') this.written.set(written.id, written);
    this.isCongested = !this.stream!.write(written);
    if (host.acks === 'none') lane.acknowledged(batch, { baseOffset: -1, appendTimestamp: null });
  }

  /** Nothing is written any more; what was written is still answered. */
  end(): void {
    const { stream } = this;
    this.state = 'closed';
    this.pause?.cancel();
    this.waiters.clear();
    stream?.end();
  }

  cancel(): void {
    this.end();
    this.written.clear();
    this.stream?.cancel();
  }

  /** Ends, and resolves when the broker has handled everything and ended its side, or is gone. */
  finish(): Promise<void> {
    const ended = new Promise<void>(resolve => {
      if (this.stream === null) resolve();
      else this.onEnded = resolve;
    });
    this.end();
    return ended;
  }

  private async connect(): Promise<void> {
    this.state = 'connecting';
    try {
      const connection = await this.links.toward(this.address);
      if (this.isClosed()) return;
      this.stream = connection.produce({
        onMessage: response => this.answered(response),
        onDrain: () => this.drained(),
        onEnd: failure => this.ended(failure),
      });
      this.state = 'open';
      this.isCongested = false;
      this.wake();
    } catch (error) {
      this.host.failed(error);
      this.rest();
    }
  }

  private answered(response: ProduceResponse): void {
    this.backoff.reset();
    const id = Number(response.id);
    const { result } = response;
    const written = this.written.get(id);
    if (written === undefined) {
      if (result.case === 'error') this.host.unseen(errorOfProblem(result.value));
      return;
    }
    this.written.delete(id);
    written.answered();
    const { lane, batch } = written;
    if (result.case === 'ack') {
      const stampedMs = Number(result.value.timestampMs);
      // A broker that leaves the records' timestamps answers their maximum.
      const appendTimestamp = stampedMs === batch.maxTimestamp ? null : stampedMs;
      lane.acknowledged(batch, { baseOffset: Number(result.value.baseOffset), appendTimestamp });
    } else if (result.case === 'error') {
      lane.refused(batch, errorOfProblem(result.value));
    } else {
      lane.lost(batch, new SluiceError('INTERNAL', 'the broker answered neither an offset nor an error'));
    }
  }

  private drained(): void {
    this.isCongested = false;
    this.wake();
  }

  private ended(failure: CallFailure | null): void {
    this.stream = null;
    if (!this.isClosed()) this.rest();
    const written = [...this.written.values()];
    this.written.clear();
    for (const { lane, batch } of written) {
      if (isCertain(failure)) lane.refused(batch, failure);
      else lane.lost(batch, failure);
    }
    this.onEnded?.();
  }

  /** Before the next attempt; lanes that wait then ask anew, perhaps another broker. */
  private rest(): void {
    this.state = 'waiting';
    this.pause = this.runtime.clock.schedule(this.backoff.nextMs(), () => {
      if (this.isClosed()) return;
      this.state = 'idle';
      this.wake();
    });
  }

  private wake(): void {
    const waiters = [...this.waiters];
    this.waiters.clear();
    for (const lane of waiters) lane.pump();
  }

  /** A method, because the state changes while the compiler is not looking. */
  private isClosed(): boolean {
    return this.state === 'closed';
  }
}

/**
 * What ends like that did not handle what it did not answer: a stream refused as a whole, such as for want of a token, and one whose
 * broker stops, which answers first whatever it has taken.
 */
const isCertain = (failure: CallFailure | null): failure is SluiceError =>
  failure instanceof SluiceError && (!failure.retriable || failure.code === 'SHUTTING_DOWN');

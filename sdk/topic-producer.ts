// The producer: takes records in, chooses their partitions, bounds what is buffered, and lets lanes and channels do the
// rest.
//
// A record that comes before the topic's metadata, or for `send` while the buffer is full, is parked: it keeps its turn,
// and is placed in a batch by whatever removes the obstacle. So records of one partition are in the order of their
// calls even where some had to wait.

import type { HeaderInput, RecordInput } from '@sluice/protocol/record';
import { BufferPool } from './buffer-pool.ts';
import { abortable, onAbort } from './abort.ts';
import { topicNotFound, type ClusterMetadata, type TopicView } from './cluster-metadata.ts';
import { Fifo } from './fifo.ts';
import type { Links } from './links.ts';
import { PartitionLane, type LaneHost } from './partition-lane.ts';
import { type IdentityHost, ProducerIdentity } from './producer-identity.ts';
import { PartitionChooser } from './partitioner.ts';
import { BatchTicket, type ProduceBatch } from './produce-batch.ts';
import { ProduceChannel, type ChannelHost } from './produce-channel.ts';
import type {
  Acks,
  CallOptions,
  Compression,
  Delivery,
  HeadersInput,
  Producer,
  ProducerOptions,
  ProducerRecord,
  Ticket,
} from './producer.ts';
import type { Clock, Random, Runtime, Timer } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';
import type { Topic } from './topic.ts';

export interface ProducerSurroundings {
  readonly runtime: Runtime;
  readonly links: Links;
  readonly metadata: ClusterMetadata;
  /** Called once, when the producer has ended. */
  onEnded(producer: { drain(): Promise<void> }): void;
}

/** A record on its way into a batch. One object serves all of them: the builder keeps nothing of it. */
interface Scratch {
  key: Uint8Array | string | null;
  value: Uint8Array | string | null;
  headers: readonly HeaderInput[] | undefined;
  timestamp: number;
}

/** Something that waits for its turn. */
interface Parked {
  readonly bytes: number;
  admit(): void;
  fail(error: SluiceError): void;
}

const BATCH_BYTES = 262_144;
const LINGER_MS = 5;
const BUFFER_BYTES_MAX = 64 * 1024 * 1024;
const IN_FLIGHT_MAX = 5;
const DELIVERY_TIMEOUT_MS = 120_000;
/** What the broker is given to make a batch durable. */
const REQUEST_TIMEOUT_MS_MAX = 30_000;
/** A guess for a record that is not encoded yet. */
const PARKED_RECORD_BYTES = 64;

export class TopicProducer<Key, Value> implements Producer<Key, Value>, LaneHost, ChannelHost, IdentityHost {
  readonly topic: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly acks: Acks;
  readonly compression: Compression;
  readonly inFlightMax: number;
  readonly requestTimeoutMs: number;
  batchBytes: number;
  batchBytesMax = 0;
  readonly pool = new BufferPool();
  readonly identity: ProducerIdentity | null;

  readonly #definition: Topic<Key, unknown, Value, unknown>;
  readonly #surroundings: ProducerSurroundings;
  readonly #chooser: PartitionChooser;
  readonly #lingerMs: number;
  readonly #batchBytesWanted: number;
  readonly #bufferBytesMax: number;
  readonly #deliveryTimeoutMs: number;
  readonly #stopListening: () => void;
  readonly #scratch: Scratch = { key: null, value: null, headers: undefined, timestamp: 0 };

  #state: 'open' | 'draining' | 'closed' = 'open';
  #view: TopicView | null = null;
  #isFinding = false;
  #unsubscribe: (() => void) | null = null;
  readonly #lanes: PartitionLane[] = [];
  readonly #channels = new Map<string, ProduceChannel>();
  #bufferedBytes = 0;
  readonly #parked = new Fifo<Parked>();
  #parkedBytes = 0;
  /** Not answered yet. */
  readonly #unfinished = new Set<ProduceBatch>();
  /** Open batches in the order of their beginning, and so of their end of lingering; some are sealed already. */
  readonly #lingering = new Fifo<{ readonly lane: PartitionLane; readonly batch: ProduceBatch }>();
  #isLingerScheduled = false;
  #lingerTimer: Timer | null = null;
  #expiryTimer: Timer | null = null;
  #unseenFailure: SluiceError | null = null;
  #linkFailure: unknown;

  constructor(
    topic: Topic<Key, unknown, Value, unknown>,
    options: ProducerOptions,
    surroundings: ProducerSurroundings,
  ) {
    this.topic = topic.name;
    this.#definition = topic;
    this.#surroundings = surroundings;
    this.clock = surroundings.runtime.clock;
    this.random = surroundings.runtime.random;
    this.acks = options.acks ?? 'all';
    this.compression = options.compression ?? 'none';
    this.inFlightMax = atLeast('inFlightMax', 1, options.inFlightMax ?? IN_FLIGHT_MAX);
    this.identity = isIdempotent(options) ? new ProducerIdentity(this, surroundings.links, surroundings.runtime) : null;
    this.#lingerMs = atLeast('lingerMs', 0, options.lingerMs ?? LINGER_MS);
    this.#batchBytesWanted = atLeast('batchBytes', 1, options.batchBytes ?? BATCH_BYTES);
    this.batchBytes = this.#batchBytesWanted;
    this.#bufferBytesMax = atLeast('bufferBytesMax', 1, options.bufferBytesMax ?? BUFFER_BYTES_MAX);
    this.#deliveryTimeoutMs = atLeast('deliveryTimeoutMs', 1, options.deliveryTimeoutMs ?? DELIVERY_TIMEOUT_MS);
    this.requestTimeoutMs = Math.ceil(Math.min(this.#deliveryTimeoutMs, REQUEST_TIMEOUT_MS_MAX));
    this.#chooser = new PartitionChooser(options.partitioner ?? 'default', this.random);
    this.#stopListening = onAbort(options.signal, reason => this.#end('the producer was aborted', reason));
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes + this.#parkedBytes;
  }

  get hasRoom(): boolean {
    return this.#view === null
      ? this.#parkedBytes < this.#bufferBytesMax
      : this.#parked.length === 0 && this.#bufferedBytes < this.#bufferBytesMax;
  }

  async send(record: ProducerRecord<Key, Value>, options: CallOptions = {}): Promise<Delivery> {
    options.signal?.throwIfAborted();
    this.#checkOpen();
    const ticket = new BatchTicket();
    let answer: Promise<Delivery>;
    if (this.#canPlace()) {
      this.#place(record, ticket);
      answer = ticket.ack();
    } else {
      // Asked for first: parking may fail at once, and the failure has to find somebody who listens.
      answer = ticket.ack();
      this.#parkRecord(record, ticket);
    }
    if (options.signal === undefined) return answer;
    try {
      return await abortable(answer, options.signal);
    } finally {
      ticket.isAbandoned = true;
    }
  }

  enqueue(record: ProducerRecord<Key, Value>): Ticket {
    this.#checkOpen();
    if (!this.hasRoom) {
      const detail = `${this.bufferedBytes} bytes wait for their acknowledgement: await ready() before more`;
      throw new SluiceError('THROTTLED', detail, { facts: { limit_bytes: this.#bufferBytesMax } });
    }
    const ticket = new BatchTicket();
    if (this.#canPlace()) this.#place(record, ticket);
    else this.#parkRecord(record, ticket);
    return ticket;
  }

  async ready(options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    this.#checkOpen();
    if (this.#view !== null && this.hasRoom) return undefined;
    return abortable(this.#turn(), options.signal);
  }

  async flush(options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    if (this.#state !== 'closed' && (this.#unfinished.size > 0 || this.#parked.length > 0)) {
      await abortable(this.#flush(), options.signal);
    }
    const failure = this.#unseenFailure;
    this.#unseenFailure = null;
    if (failure !== null) throw failure;
  }

  async drain(options: CallOptions = {}): Promise<void> {
    if (this.#state === 'open') this.#state = 'draining';
    try {
      await this.flush(options);
      // Unanswered batches are with the broker when it has ended the stream, and its refusals are known then.
      if (this.acks === 'none' && this.#state !== 'closed') {
        const ends = [...this.#channels.values()].map(channel => channel.finish());
        await abortable(Promise.all(ends), options.signal);
        await this.flush(options);
      }
    } finally {
      this.#end('the producer was drained', undefined);
    }
  }

  close(): void {
    this.#end('the producer was closed', undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drain();
  }

  // What lanes and channels ask for.

  channelOf(partition: number): ProduceChannel {
    const address = this.#view?.leaders[partition] ?? this.#view?.leaders[0] ?? '';
    let channel = this.#channels.get(address);
    if (channel === undefined) {
      const { links, runtime } = this.#surroundings;
      channel = new ProduceChannel(address, this, links, runtime);
      this.#channels.set(address, channel);
    }
    return channel;
  }

  opened(lane: PartitionLane, batch: ProduceBatch): void {
    this.#unfinished.add(batch);
    this.#lingering.push({ lane, batch });
    if (!this.#isLingerScheduled) this.#scheduleLinger(this.#lingerMs);
    this.#expiryTimer ??= this.clock.schedule(this.#deliveryTimeoutMs, () => this.#expire());
  }

  sealed(batch: ProduceBatch): void {
    this.#chooser.batchCompleted(batch.partition);
  }

  buffered(bytes: number): void {
    this.#bufferedBytes += bytes;
  }

  done(batch: ProduceBatch): void {
    this.#bufferedBytes -= batch.bufferedBytes;
    this.#unfinished.delete(batch);
    if (batch.error !== null && !batch.isAskedFor) this.unseen(batch.error);
    if (batch.error === null) this.#linkFailure = undefined;
    this.#admit();
  }

  unseen(error: SluiceError): void {
    this.#unseenFailure ??= error;
  }

  failed(cause: unknown): void {
    this.#linkFailure = cause;
  }

  identified(): void {
    for (const lane of this.#lanes) lane.pump();
  }

  /** No batch can be signed. */
  unidentified(error: SluiceError): void {
    for (const lane of this.#lanes) lane.refuseUnsigned(error);
  }

  // Taking records in.

  #canPlace(): boolean {
    return this.#view !== null && this.hasRoom;
  }

  #parkRecord(record: ProducerRecord<Key, Value>, ticket: BatchTicket): void {
    this.#park({
      bytes: PARKED_RECORD_BYTES + bytesGuess(record.key) + bytesGuess(record.value),
      admit: () => {
        if (ticket.isAbandoned) return;
        try {
          this.#place(record, ticket);
        } catch (error) {
          this.#failTicket(ticket, asError(error));
        }
      },
      fail: error => this.#failTicket(ticket, error),
    });
  }

  /** Throws what is wrong with the record. */
  #place(record: ProducerRecord<Key, Value>, ticket: BatchTicket): void {
    const { key, value, headers, partition } = record;
    const scratch = this.#scratch;
    scratch.key = key === null || key === undefined ? null : this.#definition.key.encode(key);
    if (value === undefined) throw new SluiceError('INVALID_REQUEST', 'a record needs a value; null is a tombstone');
    scratch.value = value === null ? null : this.#definition.value.encode(value);
    scratch.timestamp = record.timestamp ?? this.clock.wallMs();
    scratch.headers = headers === undefined ? undefined : headerList(headers);
    // Undefined headers are absent headers; taking the property away would cost the object its shape.
    this.#laneOf(partition).append(scratch as RecordInput, ticket);
  }

  #laneOf(partition: number | undefined): PartitionLane {
    const { partitionCount } = this.#view!;
    if (partition === undefined) {
      return this.#lanes[this.#chooser.choose({ topic: this.topic, partitionCount, key: this.#scratch.key })]!;
    }
    const lane = this.#lanes[partition];
    if (lane !== undefined) return lane;
    throw new SluiceError(
      'PARTITION_NOT_FOUND',
      `${this.topic} has ${partitionCount} partitions, not one ${partition}`,
      {
        facts: { topic: this.topic, partition, partition_count: partitionCount },
      },
    );
  }

  #failTicket(ticket: BatchTicket, error: SluiceError): void {
    if (!ticket.fail(error)) this.unseen(error);
  }

  #park(parked: Parked): void {
    this.#parked.push(parked);
    this.#parkedBytes += parked.bytes;
    if (this.#view === null) this.#find();
  }

  /** Resolves when everything parked before has found its place. */
  #turn(): Promise<void> {
    return new Promise((resolve, reject) => this.#park({ bytes: 0, admit: resolve, fail: reject }));
  }

  #admit(): void {
    while (this.#state !== 'closed' && this.#view !== null && this.#bufferedBytes < this.#bufferBytesMax) {
      const parked = this.#parked.shift();
      if (parked === undefined) return;
      this.#parkedBytes -= parked.bytes;
      parked.admit();
    }
  }

  #failParked(error: SluiceError): void {
    this.#parkedBytes = 0;
    for (const parked of this.#parked.takeAll()) parked.fail(error);
  }

  // The topic.

  #find(): void {
    if (this.#isFinding) return;
    this.#isFinding = true;
    const { metadata } = this.#surroundings;
    this.#unsubscribe ??= metadata.subscribe(this.topic, view => this.#follow(view));
    metadata
      .find(this.topic)
      .then(
        view => this.#follow(view),
        (error: unknown) => this.#failParked(asError(error)),
      )
      .finally(() => {
        this.#isFinding = false;
      });
  }

  #follow(view: TopicView | null): void {
    if (this.#state === 'closed') return;
    this.#view = view;
    if (view === null) {
      this.#failParked(topicNotFound(this.topic));
      return;
    }
    this.batchBytesMax = view.batchBytesMax;
    this.batchBytes = Math.min(this.#batchBytesWanted, view.batchBytesMax);
    while (this.#lanes.length < view.partitionCount) this.#lanes.push(new PartitionLane(this, this.#lanes.length));
    this.#admit();
    // A leader may have moved.
    for (const lane of this.#lanes) lane.pump();
  }

  // Time.

  #scheduleLinger(delayMs: number): void {
    this.#isLingerScheduled = true;
    if (this.#lingerMs === 0) this.clock.defer(() => this.#lingered());
    else this.#lingerTimer = this.clock.schedule(Math.ceil(delayMs), () => this.#lingered());
  }

  #lingered(): void {
    this.#isLingerScheduled = false;
    const nowMs = this.clock.monotonicMs();
    for (let head = this.#lingering.first; head !== undefined; head = this.#lingering.first) {
      const leftMs = head.batch.createdMs + this.#lingerMs - nowMs;
      if (leftMs > 0 && head.batch.state === 'open') {
        this.#scheduleLinger(leftMs);
        return;
      }
      this.#lingering.shift();
      if (head.batch.state === 'open') head.lane.due();
    }
  }

  #expire(): void {
    this.#expiryTimer = null;
    const createdBeforeMs = this.clock.monotonicMs() - this.#deliveryTimeoutMs;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes)
      oldestMs = Math.min(oldestMs, lane.expire(createdBeforeMs, this.#linkFailure) ?? oldestMs);
    if (oldestMs < Number.POSITIVE_INFINITY && this.#state !== 'closed') {
      const delayMs = Math.ceil(Math.max(1, oldestMs - createdBeforeMs));
      this.#expiryTimer ??= this.clock.schedule(delayMs, () => this.#expire());
    }
  }

  // The end.

  async #flush(): Promise<void> {
    // What is parked has to be in a batch first; it is there unless it failed, which its ticket tells.
    if (this.#parked.length > 0) await this.#turn().catch(() => {});
    for (const lane of this.#lanes) lane.due();
    await Promise.all([...this.#unfinished].map(batch => batch.done()));
  }

  #end(detail: string, cause: unknown): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stopListening();
    this.#unsubscribe?.();
    this.#lingerTimer?.cancel();
    this.#expiryTimer?.cancel();
    this.identity?.close();
    this.#failParked(new SluiceError('INVALID_REQUEST', `${detail}; the record was not written`, { cause }));
    const isIdle = this.#unfinished.size === 0;
    for (const lane of this.#lanes) lane.abandon(detail, cause);
    for (const channel of this.#channels.values()) {
      if (isIdle) channel.end();
      else channel.cancel();
    }
    this.#surroundings.onEnded(this);
  }

  #checkOpen(): void {
    if (this.#state !== 'open') throw new SluiceError('INVALID_REQUEST', 'the producer is closed');
  }
}

const asError = (error: unknown): SluiceError =>
  error instanceof SluiceError ? error : new SluiceError('INTERNAL', String(error), { cause: error });

/** By default where every record is acknowledged: without that nobody knows what there is to repeat. */
function isIdempotent({
  acks = 'all',
  idempotent = acks === 'all',
  inFlightMax = IN_FLIGHT_MAX,
}: ProducerOptions): boolean {
  if (!idempotent) return false;
  if (acks !== 'all') {
    throw new SluiceError('INVALID_REQUEST', "an idempotent producer needs acks: 'all'");
  }
  if (inFlightMax > IN_FLIGHT_MAX) {
    const detail = `an idempotent producer has at most ${IN_FLIGHT_MAX} batches of a partition on the wire, not ${inFlightMax}`;
    throw new SluiceError('INVALID_REQUEST', detail);
  }
  return true;
}

function atLeast(name: string, least: number, value: number): number {
  if (Number.isFinite(value) && value >= least) return value;
  throw new SluiceError('INVALID_REQUEST', `${name} must be a number from ${least} on, not ${value}`);
}

function headerList(headers: HeadersInput): readonly HeaderInput[] {
  if (Array.isArray(headers)) return headers as readonly HeaderInput[];
  return Object.entries(headers as Readonly<Record<string, HeaderInput['value']>>).map(([key, value]) => ({
    key,
    value,
  }));
}

/** Of a field that is not encoded yet. */
function bytesGuess(field: unknown): number {
  return typeof field === 'string' || field instanceof Uint8Array ? field.length : PARKED_RECORD_BYTES;
}

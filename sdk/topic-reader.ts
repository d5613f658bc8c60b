// The reader: a read for each partition, channels to the brokers that serve them, and one queue of received pieces that
// the program empties.
//
// Credit is granted again when a piece leaves the queue, not when it arrives: a program that stops taking stops the
// brokers.

import { onAbort } from './abort.ts';
import { topicNotFound, type ClusterMetadata, type TopicView } from './cluster-metadata.ts';
import { FetchChannel, type FetchHost } from './fetch-channel.ts';
import { Fifo } from './fifo.ts';
import type { Links } from './links.ts';
import { MessageDecoder } from './message-decoder.ts';
import type { Message } from './message.ts';
import { PartitionRead, type Piece, type ReadStart } from './partition-read.ts';
import type { ReadFrom, Reader, ReaderOptions } from './reader.ts';
import type { Runtime } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';
import type { Topic } from './topic.ts';

export interface ReaderSurroundings {
  readonly runtime: Runtime;
  readonly links: Links;
  readonly metadata: ClusterMetadata;
  /** Called once, when the reader has ended. */
  onEnded(reader: { close(): void }): void;
}

const BUFFER_BYTES_MAX = 16 * 1024 * 1024;
const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

export class TopicReader<Key, Value> implements Reader<Key, Value>, FetchHost {
  readonly topic: string;
  readonly #definition: Topic<unknown, Key, unknown, Value>;
  readonly #options: ReaderOptions;
  readonly #surroundings: ReaderSurroundings;
  readonly #bufferBytesMax: number;
  readonly #starts: ReadStarts;
  readonly #stopListening: () => void;

  readonly #reads = new Map<number, PartitionRead>();
  readonly #channels = new Map<string, FetchChannel>();
  readonly #pieces = new Fifo<Piece>();
  #bufferedBytes = 0;
  #decoder: MessageDecoder<Key, Value> | null = null;
  #view: TopicView | null = null;
  #unsubscribe: (() => void) | null = null;
  #hasBegun = false;
  #isClosed = false;
  /** Closed or aborted: nothing more is handed out, not even what is here. */
  #isOver = false;
  /** Thrown when what came before it is taken. */
  #failure: { readonly error: unknown } | null = null;
  /** Wakes the program's loop. */
  #wake: (() => void) | null = null;

  constructor(topic: Topic<unknown, Key, unknown, Value>, options: ReaderOptions, surroundings: ReaderSurroundings) {
    this.topic = topic.name;
    this.#definition = topic;
    this.#options = options;
    this.#surroundings = surroundings;
    this.#bufferBytesMax = options.bufferBytesMax ?? BUFFER_BYTES_MAX;
    if (!Number.isSafeInteger(this.#bufferBytesMax) || this.#bufferBytesMax < 1) {
      throw new SluiceError('INVALID_REQUEST', `bufferBytesMax must be a whole number from 1 on`);
    }
    this.#starts = readStarts(options);
    this.#stopListening = onAbort(options.signal, reason => {
      // An abort does not wait for what is buffered.
      this.#isOver = true;
      this.#pieces.takeAll();
      this.#bufferedBytes = 0;
      this.#decoder = null;
      this.fail(reason);
    });
  }

  [Symbol.asyncIterator](): AsyncIterator<Message<Key, Value>> {
    this.#begin();
    let messages: readonly Message<Key, Value>[] = [];
    let at = 0;
    let taken: Taken<Key, Value> | null = null;
    const turn = async (): Promise<IteratorResult<Message<Key, Value>>> => {
      taken = await this.#take();
      if (taken === null) return DONE;
      ({ messages } = taken);
      at = 0;
      return step();
    };
    const step = (): IteratorResult<Message<Key, Value>> => {
      const message = messages[at++]!;
      // Behind the last message may be offsets without one.
      taken!.read.position = at === messages.length ? taken!.nextOffset : message.offset + 1;
      return { done: false, value: message };
    };
    return {
      next: () => (at < messages.length && !this.#isOver ? Promise.resolve(step()) : turn()),
      return: () => {
        this.close();
        return Promise.resolve(DONE);
      },
    };
  }

  batches(): AsyncIterable<readonly Message<Key, Value>[]> {
    return {
      [Symbol.asyncIterator]: () => {
        this.#begin();
        return {
          next: async () => {
            const taken = await this.#take();
            if (taken === null) return DONE;
            taken.read.position = taken.nextOffset;
            return { done: false, value: taken.messages };
          },
          return: () => {
            this.close();
            return Promise.resolve(DONE);
          },
        };
      },
    };
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  position(partition: number): number | null {
    return this.#reads.get(partition)?.position ?? null;
  }

  positions(): Map<number, number> {
    const positions = new Map<number, number>();
    for (const [partition, { position }] of this.#reads) if (position !== null) positions.set(partition, position);
    return positions;
  }

  lag(partition: number): number | null {
    const read = this.#reads.get(partition);
    if (read === undefined || read.position === null || read.highWatermark === null) return null;
    return Math.max(0, read.highWatermark - read.position);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isOver = true;
    this.#stopListening();
    this.#unsubscribe?.();
    for (const read of this.#reads.values()) read.retry?.cancel();
    for (const channel of this.#channels.values()) channel.close();
    this.#wake?.();
    this.#surroundings.onEnded(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  // What channels tell.

  received(piece: Piece): void {
    this.#pieces.push(piece);
    this.#bufferedBytes += piece.bytes.length;
    this.#wake?.();
  }

  ended(read: PartitionRead): void {
    read.hasEnded = true;
    this.#wake?.();
  }

  lost(read: PartitionRead): void {
    if (read.isComplete) this.ended(read);
    else this.#attach(read);
  }

  refused(read: PartitionRead, error: SluiceError): void {
    if (!error.retriable) {
      this.fail(error);
      return;
    }
    read.retry = this.#surroundings.runtime.clock.schedule(read.backoff.nextMs(), () => {
      read.retry = null;
      if (!this.#isClosed) this.lost(read);
    });
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake?.();
  }

  // The topic.

  #begin(): void {
    if (this.#hasBegun) throw new SluiceError('INVALID_REQUEST', 'a reader is consumed once, by one loop');
    this.#hasBegun = true;
    if (this.#isClosed || this.#failure !== null) return;
    // oxlint-disable-next-line typescript/no-floating-promises -- tells its failure itself
    this.#find();
  }

  async #find(): Promise<void> {
    const { metadata } = this.#surroundings;
    try {
      this.#follow(await metadata.find(this.topic, this.#options.signal));
      if (!this.#isClosed) this.#unsubscribe = metadata.subscribe(this.topic, view => this.#follow(view));
    } catch (error) {
      this.fail(error);
    }
  }

  #follow(view: TopicView | null): void {
    if (this.#isClosed) return;
    if (view === null || (this.#view !== null && this.#view.topicId !== view.topicId)) {
      this.fail(topicNotFound(this.topic));
      return;
    }
    const isFirst = this.#view === null;
    this.#view = view;
    const wanted = this.#starts.partitions ?? (isFirst || !this.#isBounded() ? allOf(view.partitionCount) : []);
    const windowBytes = Math.max(1, Math.floor(this.#bufferBytesMax / Math.max(1, wanted.length)));
    for (const partition of wanted) {
      if (this.#reads.has(partition)) continue;
      if (partition >= view.partitionCount) {
        const detail = `${this.topic} has ${view.partitionCount} partitions, not one ${partition}`;
        const facts = { topic: this.topic, partition, partition_count: view.partitionCount };
        this.fail(new SluiceError('PARTITION_NOT_FOUND', detail, { facts }));
        return;
      }
      // Of a partition that came later nothing is old: all of it is read.
      const start: ReadStart = isFirst ? this.#starts.startOf(partition) : { kind: 'earliest' };
      const { isolation = 'read_uncommitted' } = this.#options;
      const options = { topic: this.topic, partition, start, isolation, windowBytes, untilEnd: this.#isBounded() };
      const read = new PartitionRead(options, this.#surroundings.runtime.random);
      this.#reads.set(partition, read);
      this.#attach(read);
    }
    this.#wake?.();
  }

  #isBounded(): boolean {
    return this.#options.untilEnd ?? false;
  }

  #attach(read: PartitionRead): void {
    const address = this.#view!.leaders[read.partition] ?? this.#view!.leaders[0]!;
    let channel = this.#channels.get(address);
    if (channel === undefined) {
      const { links, runtime } = this.#surroundings;
      channel = new FetchChannel(address, this, links, runtime);
      this.#channels.set(address, channel);
    }
    channel.attach(read);
  }

  // The program's side.

  /** The next array that has messages; null at the end. */
  async #take(): Promise<Taken<Key, Value> | null> {
    try {
      for (;;) {
        if (this.#isClosed) return null;
        if (this.#decoder !== null) {
          const decoded = await this.#decode(this.#decoder);
          if (decoded !== null) return decoded;
          continue;
        }
        const piece = this.#pieces.shift();
        if (piece !== undefined) {
          this.#bufferedBytes -= piece.bytes.length;
          this.#decoder = new MessageDecoder(piece, this.#definition);
          continue;
        }
        if (this.#failure !== null) throw this.#failure.error;
        if (this.#isFinished()) {
          this.close();
          return null;
        }
        await new Promise<void>(resolve => {
          this.#wake = resolve;
        });
        this.#wake = null;
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async #decode(decoder: MessageDecoder<Key, Value>): Promise<Taken<Key, Value> | null> {
    const { piece } = decoder;
    const { read } = piece;
    const next = decoder.next();
    const { messages, nextOffset } = next instanceof Promise ? await next : next;
    if (decoder.isDone) {
      if (this.#decoder === decoder) this.#decoder = null;
      const credit = read.taken(piece);
      if (credit !== null) read.channel?.grant(read, credit);
    }
    if (messages.length > 0) return { read, messages, nextOffset };
    if (nextOffset > (read.position ?? 0)) read.position = nextOffset;
    return null;
  }

  #isFinished(): boolean {
    if (this.#view === null) return false;
    for (const read of this.#reads.values()) if (!read.hasEnded) return false;
    return true;
  }
}

interface Taken<Key, Value> {
  readonly read: PartitionRead;
  readonly messages: readonly Message<Key, Value>[];
  readonly nextOffset: number;
}

interface ReadStarts {
  /** Null: all, new ones too. */
  readonly partitions: readonly number[] | null;
  startOf(partition: number): ReadStart;
}

/** Checks what was asked for. */
function readStarts({ from = 'earliest', partitions }: ReaderOptions): ReadStarts {
  const chosen = partitions === undefined ? null : [...new Set(partitions)];
  for (const partition of chosen ?? []) whole('partition', partition);
  if (typeof from === 'string') return { partitions: chosen, startOf: () => ({ kind: from }) };
  if ('timestamp' in from) {
    const { timestamp } = from;
    if (!Number.isSafeInteger(timestamp)) {
      throw new SluiceError('INVALID_TIMESTAMP', `${timestamp} is not a time in milliseconds`);
    }
    return { partitions: chosen, startOf: () => ({ kind: 'timestamp', timestamp }) };
  }
  if ('tail' in from) {
    const count = whole('tail', from.tail);
    return { partitions: chosen, startOf: () => ({ kind: 'tail', count }) };
  }
  if (chosen !== null)
    throw new SluiceError('INVALID_REQUEST', 'offsets name their partitions: leave out `partitions`');
  const offsets = offsetsOf(from);
  return {
    partitions: [...offsets.keys()],
    startOf: partition => ({ kind: 'offset', offset: offsets.get(partition)! }),
  };
}

function offsetsOf(from: Extract<ReadFrom, { offset: number } | { positions: unknown }>): Map<number, number> {
  const offsets = 'positions' in from ? new Map(from.positions) : new Map([[from.partition, from.offset]]);
  for (const [partition, offset] of offsets) {
    whole('partition', partition);
    whole('offset', offset);
  }
  return offsets;
}

function whole(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new SluiceError('INVALID_REQUEST', `${name} must be a whole number from 0 on, not ${value}`);
}

const allOf = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

// The reader: frames from a live subscription, or from REST pages where it ends at the end, handed out one message at a
// time.
//
// Coming back: what was received waits here for the program, connection or not. A new subscription begins at the cursor
// of the last frame received, so nothing is missed and nothing comes twice. The cursor that the program sees is another:
// behind what it has taken (position.ts).
// Credit: one window, granted when subscribing less what still waits here, and given back as the program takes.

import { onAbort } from '../abort.ts';
import { Backoff } from '../backoff.ts';
import type { Timer } from '../clock.ts';
import { Fifo } from '../fifo.ts';
import { SluiceError } from '../sluice-error.ts';
import type { Topic } from '../topic.ts';
import { topicPath } from './admin-client.ts';
import type { RestCaller } from './http.ts';
import { Message, storedBytes } from './message.ts';
import { positionText, readPosition } from './position.ts';
import type { ReadFrom, Reader, ReaderOptions } from './reader.ts';
import type { BrowserRuntime } from './runtime.ts';
import type { LinkUser, SocketLink, SubscriptionSink } from './socket-link.ts';
import { errorOf, type Frame, type RecordDocument } from './wire.ts';

export interface ReaderSurroundings {
  readonly runtime: BrowserRuntime;
  readonly link: SocketLink;
  readonly rest: RestCaller;
  /** Called once, when the reader has ended. */
  onEnded(reader: { close(): void }): void;
}

/** Records that came together, and the cursor behind them. */
interface Piece {
  readonly records: readonly RecordDocument[];
  readonly cursor: string;
}

interface PageDocument {
  readonly records: readonly RecordDocument[];
  readonly next: { readonly cursor: string };
}

const BUFFER_BYTES_MAX = 1024 * 1024;
const WINDOW_RECORDS = 2_000;
const PAGE_RECORDS = 1_000;
const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

export class TopicReader<Key, Value> implements Reader<Key, Value>, LinkUser, SubscriptionSink {
  readonly topic: string;
  readonly #definition: Topic<unknown, Key, unknown, Value>;
  readonly #options: ReaderOptions;
  readonly #surroundings: ReaderSurroundings;
  readonly #bufferBytesMax: number;
  readonly #backoff: Backoff;
  readonly #stopListening: () => void;
  /** The start as parameters of a read, until a cursor is known. */
  readonly #start: Readonly<Record<string, string | number>>;

  readonly #pieces = new Fifo<Piece>();
  #piece: Piece | null = null;
  #next = 0;
  /** Behind the last piece received: where the next subscription begins. */
  #received: string | null = null;
  /** Behind the last piece taken whole. */
  #taken: string | null = null;
  /** Of the piece in hand, and of the piece that a position began in: the next offset of each partition. */
  #partial = new Map<number, number>();
  /** What a position given at the start leaves out. */
  readonly #skip: Map<number, number>;

  #subscription: string | null = null;
  #isSubscribing = false;
  #retryTimer: Timer | null = null;
  /** Of what waits here. */
  #waitingRecords = 0;
  #waitingBytes = 0;
  /** Taken, and not given back yet. */
  #owedRecords = 0;
  #owedBytes = 0;

  #hasBegun = false;
  #isAttached = false;
  #isClosed = false;
  #hasEnded = false;
  #failure: { readonly error: unknown } | null = null;
  /** Wakes the program's loop. */
  #wake: (() => void) | null = null;
  /** Wakes the reading of pages. */
  #whenTaken: (() => void) | null = null;

  constructor(topic: Topic<unknown, Key, unknown, Value>, options: ReaderOptions, surroundings: ReaderSurroundings) {
    this.topic = topic.name;
    this.#definition = topic;
    this.#options = options;
    this.#surroundings = surroundings;
    this.#bufferBytesMax = options.bufferBytesMax ?? BUFFER_BYTES_MAX;
    if (!Number.isSafeInteger(this.#bufferBytesMax) || this.#bufferBytesMax < 1) {
      throw new SluiceError('INVALID_REQUEST', 'bufferBytesMax must be a whole number from 1 on');
    }
    this.#backoff = new Backoff(surroundings.runtime.random);
    const { from = 'earliest' } = options;
    const position = typeof from === 'object' && 'cursor' in from ? readPosition(from.cursor) : null;
    this.#received = position?.cursor ?? null;
    this.#taken = this.#received;
    this.#skip = new Map(position?.taken);
    this.#partial = new Map(position?.taken);
    this.#start = startOf(from, options.partitions);
    this.#stopListening = onAbort(options.signal, reason => {
      // An abort does not wait for what is buffered.
      this.#pieces.takeAll();
      this.#piece = null;
      this.#fail(reason);
    });
  }

  get cursor(): string | null {
    return this.#taken === null ? null : positionText(this.#taken, this.#partial);
  }

  get isConnected(): boolean {
    return this.#subscription !== null;
  }

  [Symbol.asyncIterator](): AsyncIterator<Message<Key, Value>> {
    this.#begin();
    return {
      next: () => this.#take(),
      return: () => {
        this.close();
        return Promise.resolve(DONE);
      },
    };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopListening();
    this.#retryTimer?.cancel();
    const { link } = this.#surroundings;
    if (this.#subscription !== null) {
      link.unlisten(this.#subscription);
      const members = `"op":"unsubscribe","subscription":${JSON.stringify(this.#subscription)}`;
      if (link.isWritable) link.request(members, { answered: () => {}, lost: () => {} });
      this.#subscription = null;
    }
    if (this.#isAttached) link.detach(this);
    this.#wake?.();
    this.#whenTaken?.();
    this.#surroundings.onEnded(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  // What the link tells.

  writable(): void {
    if (this.#isClosed || this.#subscription !== null || this.#isSubscribing || this.#retryTimer !== null) return;
    this.#subscribe();
  }

  lost(): void {
    this.#subscription = null;
  }

  unreachable(error: SluiceError): void {
    this.#fail(error);
  }

  received(frame: Frame): void {
    if (frame.op === 'records' && frame.records !== undefined && frame.cursor !== undefined) {
      this.#backoff.reset();
      this.#push({ records: frame.records, cursor: frame.cursor });
    } else if (frame.op === 'error') {
      if (this.#subscription !== null) this.#surroundings.link.unlisten(this.#subscription);
      this.#subscription = null;
      this.#refused(errorOf(frame.problem ?? {}));
    }
  }

  // The subscription.

  #begin(): void {
    if (this.#hasBegun) throw new SluiceError('INVALID_REQUEST', 'a reader is consumed once, by one loop');
    if (this.#isClosed || this.#failure !== null) return;
    this.#hasBegun = true;
    if (this.#options.untilEnd === true) {
      this.#readPages().catch((error: unknown) => this.#fail(error));
    } else if (this.#options.from === 'latest') {
      this.#findEnd().catch((error: unknown) => this.#fail(error));
    } else {
      this.#attach();
    }
  }

  #attach(): void {
    if (this.#isClosed) return;
    this.#isAttached = true;
    this.#surroundings.link.attach(this);
  }

  /** The cursor of the end as it is now: a connection lost before the first record must not move the beginning. */
  async #findEnd(): Promise<void> {
    const query = new URLSearchParams({ limit: '1' });
    for (const [name, value] of Object.entries(this.#parameters())) query.set(name, String(value));
    const path = `${topicPath(this.topic)}/records?${query.toString()}`;
    const { signal } = this.#options;
    const page: PageDocument = await this.#surroundings.rest.ask({ method: 'GET', path, signal });
    this.#taken = page.next.cursor;
    this.#push({ records: page.records, cursor: page.next.cursor });
    this.#attach();
  }

  #subscribe(): void {
    const records = Math.max(1, WINDOW_RECORDS - this.#waitingRecords);
    const bytes = Math.max(1, this.#bufferBytesMax - this.#waitingBytes);
    this.#owedRecords = 0;
    this.#owedBytes = 0;
    this.#isSubscribing = true;
    const parameters = { topic: this.topic, ...this.#parameters(), credit: { records, bytes } };
    this.#surroundings.link.request(`"op":"subscribe",${JSON.stringify(parameters).slice(1, -1)}`, {
      answered: frame => {
        this.#isSubscribing = false;
        if (frame.op === 'subscribed' && frame.subscription !== undefined) this.#subscribed(frame.subscription);
        else this.#refused(errorOf(frame.problem ?? {}));
      },
      lost: () => {
        this.#isSubscribing = false;
      },
    });
  }

  #subscribed(subscription: string): void {
    const { link } = this.#surroundings;
    if (this.#isClosed) {
      const members = `"op":"unsubscribe","subscription":${JSON.stringify(subscription)}`;
      if (link.isWritable) link.request(members, { answered: () => {}, lost: () => {} });
      return;
    }
    this.#subscription = subscription;
    link.listen(subscription, this);
  }

  #parameters(): Record<string, string | number> {
    const { isolation } = this.#options;
    return {
      ...(this.#received === null ? this.#start : { cursor: this.#received }),
      values: 'text',
      ...(isolation === undefined ? {} : { isolation }),
    };
  }

  #refused(error: SluiceError): void {
    if (!error.retriable) {
      this.#fail(error);
      return;
    }
    this.#retryTimer = this.#surroundings.runtime.clock.schedule(this.#backoff.nextMs(), () => {
      this.#retryTimer = null;
      if (this.#surroundings.link.isWritable) this.writable();
    });
  }

  // Reading to the end.

  async #readPages(): Promise<void> {
    const { rest } = this.#surroundings;
    const { signal, isolation } = this.#options;
    const path = topicPath(this.topic);
    const ends = new Map<number, number>();
    const offsets: { partitions: { partition: number; high_watermark: number; last_stable_offset: number }[] } =
      await rest.ask({ method: 'GET', path: `${path}/offsets`, signal });
    for (const { partition, high_watermark, last_stable_offset } of offsets.partitions) {
      ends.set(partition, isolation === 'read_committed' ? last_stable_offset : high_watermark);
    }
    const unfinished = new Set(this.#options.partitions ?? ends.keys());
    while (!this.#isClosed && unfinished.size > 0) {
      const { partition, ...parameters } = this.#parameters();
      const query = new URLSearchParams({ limit: String(PAGE_RECORDS) });
      for (const [name, value] of Object.entries(parameters)) query.set(name, String(value));
      const place = partition === undefined ? path : `${path}/partitions/${partition}`;
      const url = `${place}/records?${query.toString()}`;
      const page: PageDocument = await rest.ask({ method: 'GET', path: url, signal });
      if (page.records.length === 0) break;
      for (const record of page.records) {
        if (record.offset + 1 >= (ends.get(record.partition) ?? 0)) unfinished.delete(record.partition);
      }
      const wanted = page.records.filter(record => record.offset < (ends.get(record.partition) ?? 0));
      this.#push({ records: wanted, cursor: page.next.cursor });
      while (!this.#isClosed && this.#waitingBytes >= this.#bufferBytesMax) await this.#taking();
    }
    this.#hasEnded = true;
    this.#wake?.();
  }

  #taking(): Promise<void> {
    return new Promise(resolve => {
      this.#whenTaken = resolve;
    });
  }

  // The program's side.

  #push(piece: Piece): void {
    this.#received = piece.cursor;
    this.#waitingRecords += piece.records.length;
    for (const record of piece.records) this.#waitingBytes += storedBytes(record);
    this.#pieces.push(piece);
    this.#wake?.();
  }

  async #take(): Promise<IteratorResult<Message<Key, Value>>> {
    for (;;) {
      if (this.#isClosed && this.#failure === null) return DONE;
      const record = this.#nextRecord();
      if (record !== null) return { done: false, value: new Message(this.#definition, record) };
      if (this.#failure !== null) {
        this.close();
        throw this.#failure.error;
      }
      if (this.#hasEnded) {
        this.close();
        return DONE;
      }
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  #nextRecord(): RecordDocument | null {
    for (;;) {
      if (this.#piece === null) {
        this.#piece = this.#pieces.shift() ?? null;
        this.#next = 0;
        if (this.#piece === null) return null;
      }
      const { records, cursor } = this.#piece;
      const record = records[this.#next++];
      const isTaken = record === undefined || this.#wasTaken(record);
      if (record !== undefined) this.#giveBack(record);
      if (this.#next >= records.length) {
        this.#piece = null;
        this.#taken = cursor;
        // What a position leaves out may go on in the next piece.
        this.#partial = new Map(this.#skip);
      } else if (record !== undefined && !isTaken) {
        this.#partial.set(record.partition, record.offset + 1);
      }
      if (!isTaken) return record;
    }
  }

  /** Left out by the position that reading began at. */
  #wasTaken({ partition, offset }: RecordDocument): boolean {
    const skipped = this.#skip.get(partition);
    if (skipped === undefined) return false;
    if (offset + 1 >= skipped) this.#skip.delete(partition);
    return offset < skipped;
  }

  #giveBack(record: RecordDocument): void {
    const bytes = storedBytes(record);
    this.#waitingRecords--;
    this.#waitingBytes -= bytes;
    this.#whenTaken?.();
    this.#whenTaken = null;
    this.#owedRecords++;
    this.#owedBytes += bytes;
    const isDue = this.#owedRecords * 2 >= WINDOW_RECORDS || this.#owedBytes * 2 >= this.#bufferBytesMax;
    if (!isDue || this.#subscription === null) return;
    const members = {
      subscription: this.#subscription,
      records: this.#owedRecords,
      bytes: Math.max(1, this.#owedBytes),
    };
    this.#surroundings.link.tell(`"op":"credit",${JSON.stringify(members).slice(1, -1)}`);
    this.#owedRecords = 0;
    this.#owedBytes = 0;
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake?.();
  }
}

/** Checks what was asked for. */
function startOf(from: ReadFrom, partitions: readonly number[] | undefined): Record<string, string | number> {
  const chosen: Record<string, string> = {};
  if (partitions !== undefined) {
    for (const partition of partitions) whole('partition', partition);
    chosen['partitions'] = [...new Set(partitions)].join(',');
  }
  if (typeof from === 'string') return { from, ...chosen };
  // A cursor knows its partitions.
  if ('cursor' in from) return {};
  if ('timestamp' in from) {
    if (Number.isSafeInteger(from.timestamp)) return { timestamp: from.timestamp, ...chosen };
    throw new SluiceError('INVALID_TIMESTAMP', `${from.timestamp} is not a time in milliseconds`);
  }
  if ('tail' in from) return { tail: whole('tail', from.tail), ...chosen };
  if (partitions !== undefined) {
    throw new SluiceError('INVALID_REQUEST', 'an offset names its partition: leave out `partitions`');
  }
  return { offset: whole('offset', from.offset), partition: whole('partition', from.partition) };
}

function whole(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new SluiceError('INVALID_REQUEST', `${name} must be a whole number from 0 on, not ${value}`);
}

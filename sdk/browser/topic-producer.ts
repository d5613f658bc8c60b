// The producer over WebSocket frames.
//
// Order: frames go out in the order of their records. After a refusal nothing more goes out until all that is on the wire
// is answered; then the refused ones go again, first and in their order, after a wait.
// A frame that was given to the socket and not answered is never sent again: its records may have been written, and are
// rejected with `outcome: 'unknown'`. What was not given to a socket waits for the next connection.

import { abortable, onAbort } from '../abort.ts';
import { Backoff } from '../backoff.ts';
import type { Timer } from '../clock.ts';
import { Fifo } from '../fifo.ts';
import type { CallOptions, Delivery, HeadersInput, Producer, ProducerRecord, Ticket } from '../producer.ts';
import { SluiceError } from '../sluice-error.ts';
import type { Topic } from '../topic.ts';
import { ProduceBatch, RecordTicket, type EncodedRecord } from './produce-batch.ts';
import type { ProducerOptions } from './producer.ts';
import type { BrowserRuntime } from './runtime.ts';
import type { LinkUser, SocketLink } from './socket-link.ts';
import { errorOf, member, utf8Length, type Frame, type PlaceDocument } from './wire.ts';

export interface ProducerSurroundings {
  readonly runtime: BrowserRuntime;
  readonly link: SocketLink;
  /** Called once, when the producer has ended. */
  onEnded(producer: { drain(): Promise<void> }): void;
}

interface Parked {
  admit(): void;
  fail(error: SluiceError): void;
}

const BATCH_BYTES = 262_144;
const LINGER_MS = 5;
const BUFFER_BYTES_MAX = 16 * 1024 * 1024;
const IN_FLIGHT_MAX = 5;
const DELIVERY_TIMEOUT_MS = 120_000;
/** What the broker is given to make a frame durable. */
const REQUEST_TIMEOUT_MS_MAX = 30_000;
/** The broker takes no larger frame; some of it is left for what surrounds the records. */
const FRAME_BYTES_MAX = 8 * 1024 * 1024 - 4_096;

const ACKS = { all: 'all', leader: '1', none: '0' } as const;
const KEY = { text: 'key', base64: 'key_base64' };
const VALUE = { text: 'value_text', base64: 'value_base64' };
const HEADER = { text: 'value', base64: 'value_base64' };

export class TopicProducer<Key, Value> implements Producer<Key, Value>, LinkUser {
  readonly topic: string;
  readonly #definition: Topic<Key, unknown, Value, unknown>;
  readonly #surroundings: ProducerSurroundings;
  readonly #lingerMs: number;
  readonly #batchBytes: number;
  readonly #bufferBytesMax: number;
  readonly #inFlightMax: number;
  readonly #deliveryTimeoutMs: number;
  /** What every frame of this producer begins with. */
  readonly #preamble: string;
  readonly #backoff: Backoff;
  readonly #stopListening: () => void;

  #state: 'open' | 'draining' | 'closed' = 'open';
  #isAttached = false;
  #sequence = 0;
  #open: ProduceBatch | null = null;
  readonly #waiting = new Fifo<ProduceBatch>();
  readonly #onWire = new Set<ProduceBatch>();
  /** To be sent again, when the wire is empty and the wait is over. */
  #refused: ProduceBatch[] = [];
  #retryTimer: Timer | null = null;
  #lingerTimer: Timer | null = null;
  #bufferedBytes = 0;
  readonly #parked = new Fifo<Parked>();
  /** Not settled; the open one too. */
  readonly #unfinished = new Set<ProduceBatch>();
  #whenFinished: (() => void)[] = [];
  #unseenFailure: SluiceError | null = null;

  constructor(
    topic: Topic<Key, unknown, Value, unknown>,
    options: ProducerOptions,
    surroundings: ProducerSurroundings,
  ) {
    this.topic = topic.name;
    this.#definition = topic;
    this.#surroundings = surroundings;
    this.#lingerMs = atLeast('lingerMs', 0, options.lingerMs ?? LINGER_MS);
    this.#batchBytes = atLeast('batchBytes', 1, options.batchBytes ?? BATCH_BYTES);
    this.#bufferBytesMax = atLeast('bufferBytesMax', 1, options.bufferBytesMax ?? BUFFER_BYTES_MAX);
    this.#inFlightMax = atLeast('inFlightMax', 1, options.inFlightMax ?? IN_FLIGHT_MAX);
    this.#deliveryTimeoutMs = atLeast('deliveryTimeoutMs', 1, options.deliveryTimeoutMs ?? DELIVERY_TIMEOUT_MS);
    this.#backoff = new Backoff(surroundings.runtime.random);
    const timeoutMs = Math.ceil(Math.min(this.#deliveryTimeoutMs, REQUEST_TIMEOUT_MS_MAX));
    const { acks = 'all', compression = 'none' } = options;
    this.#preamble =
      `"op":"produce","topic":${JSON.stringify(topic.name)},"acks":"${ACKS[acks]}","timeout_ms":${timeoutMs}` +
      `${compression === 'none' ? '' : `,"compression":"${compression}"`},"records":[`;
    this.#stopListening = onAbort(options.signal, reason => this.#end('the producer was aborted', reason));
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  get hasRoom(): boolean {
    return this.#parked.length === 0 && this.#bufferedBytes < this.#bufferBytesMax;
  }

  async send(record: ProducerRecord<Key, Value>, options: CallOptions = {}): Promise<Delivery> {
    options.signal?.throwIfAborted();
    this.#checkOpen();
    const ticket = new RecordTicket();
    const answer = ticket.ack();
    if (this.hasRoom) this.#take(record, ticket);
    else this.#parkRecord(record, ticket);
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
      const detail = `${this.#bufferedBytes} bytes wait for their acknowledgement: await ready() before more`;
      throw new SluiceError('THROTTLED', detail, { facts: { limit_bytes: this.#bufferBytesMax } });
    }
    const ticket = new RecordTicket();
    this.#take(record, ticket);
    return ticket;
  }

  async ready(options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    this.#checkOpen();
    if (!this.hasRoom) await abortable(this.#turn(), options.signal);
  }

  async flush(options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    if (this.#state !== 'closed') await abortable(this.#flush(), options.signal);
    const failure = this.#unseenFailure;
    this.#unseenFailure = null;
    if (failure !== null) throw failure;
  }

  async drain(options: CallOptions = {}): Promise<void> {
    if (this.#state === 'open') this.#state = 'draining';
    try {
      await this.flush(options);
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

  // What the link tells.

  writable(): void {
    this.#pump();
  }

  lost(): void {
    // Each frame on the wire is told by its own request.
  }

  unreachable(error: SluiceError): void {
    for (const batch of this.#unfinished) if (batch.state !== 'on-wire') this.#failBatch(batch, error);
    this.#failParked(error);
  }

  // Taking records in.

  /** Throws what is wrong with the record. */
  #take(record: ProducerRecord<Key, Value>, ticket: RecordTicket): void {
    const text = this.#encode(record);
    if (text.length * 3 > FRAME_BYTES_MAX) {
      const bytes = utf8Length(text);
      if (bytes > FRAME_BYTES_MAX) {
        const facts = { bytes, limit_bytes: FRAME_BYTES_MAX };
        throw new SluiceError('RECORD_TOO_LARGE', `as JSON the record has ${bytes} bytes`, { facts });
      }
    }
    if (this.#open !== null && this.#open.length + text.length > this.#batchBytes) this.#seal();
    this.#open ??= this.#begin();
    this.#open.add({ text, ticket });
    this.#bufferedBytes += text.length;
    if (this.#open.length >= this.#batchBytes) this.#seal();
  }

  #encode(record: ProducerRecord<Key, Value>): string {
    const { key, value, headers, partition, timestamp } = record;
    if (value === undefined) throw new SluiceError('INVALID_REQUEST', 'a record needs a value; null is a tombstone');
    let text = value === null ? '{"value":null' : `{${member(VALUE, this.#definition.value.encode(value))}`;
    if (key !== null && key !== undefined) text += `,${member(KEY, this.#definition.key.encode(key))}`;
    if (headers !== undefined) text += `,"headers":[${headersText(headers)}]`;
    if (partition !== undefined) text += `,"partition":${whole('partition', partition)}`;
    if (timestamp !== undefined) text += `,"timestamp":${whole('timestamp', timestamp)}`;
    return `${text}}`;
  }

  #begin(): ProduceBatch {
    const { runtime, link } = this.#surroundings;
    const { clock } = runtime;
    const batch = new ProduceBatch(this.#sequence++);
    this.#unfinished.add(batch);
    batch.expiry = clock.schedule(this.#deliveryTimeoutMs, () => this.#expire(batch));
    if (this.#lingerMs === 0) clock.defer(() => this.#lingered(batch));
    else this.#lingerTimer = clock.schedule(this.#lingerMs, () => this.#lingered(batch));
    if (!this.#isAttached) {
      this.#isAttached = true;
      link.attach(this);
    }
    return batch;
  }

  #lingered(batch: ProduceBatch): void {
    if (this.#open === batch) this.#seal();
  }

  #seal(): void {
    const batch = this.#open;
    if (batch === null) return;
    this.#open = null;
    this.#lingerTimer?.cancel();
    this.#lingerTimer = null;
    batch.state = 'waiting';
    this.#waiting.push(batch);
    this.#pump();
  }

  #parkRecord(record: ProducerRecord<Key, Value>, ticket: RecordTicket): void {
    this.#parked.push({
      admit: () => {
        if (ticket.isAbandoned) return;
        try {
          this.#take(record, ticket);
        } catch (error) {
          ticket.settle({ error: asError(error) });
        }
      },
      fail: error => ticket.settle({ error }),
    });
  }

  /** Resolves when everything parked before is in a batch. */
  #turn(): Promise<void> {
    return new Promise((resolve, reject) => this.#parked.push({ admit: resolve, fail: reject }));
  }

  #admit(): void {
    while (this.#state !== 'closed' && this.#bufferedBytes < this.#bufferBytesMax) {
      const parked = this.#parked.shift();
      if (parked === undefined) return;
      parked.admit();
    }
  }

  #failParked(error: SluiceError): void {
    for (const parked of this.#parked.takeAll()) parked.fail(error);
  }

  // The wire.

  #pump(): void {
    const { link } = this.#surroundings;
    while (this.#refused.length === 0 && this.#onWire.size < this.#inFlightMax && link.isWritable) {
      const batch = this.#waiting.shift();
      if (batch === undefined) return;
      // It may have expired while it waited.
      if (batch.state === 'waiting') this.#write(batch);
    }
  }

  #write(batch: ProduceBatch): void {
    batch.state = 'on-wire';
    this.#onWire.add(batch);
    const records = batch.records.map(record => record.text).join(',');
    this.#surroundings.link.request(`${this.#preamble}${records}]`, {
      answered: frame => {
        this.#onWire.delete(batch);
        if (batch.state === 'on-wire') this.#answered(batch, frame);
        this.#next();
      },
      lost: reason => {
        this.#onWire.delete(batch);
        const detail = `the connection was lost before the answer came (${reason})`;
        this.#failBatch(batch, outcomeUnknown(detail));
        this.#next();
      },
    });
  }

  #answered(batch: ProduceBatch, frame: Frame): void {
    if (frame.op !== 'produced') {
      this.#problem(batch, errorOf(frame.problem ?? {}));
      return;
    }
    this.#backoff.reset();
    const again: EncodedRecord[] = [];
    for (const [index, record] of batch.records.entries()) {
      const place: PlaceDocument = frame.offsets?.[index] ?? { partition: -1 };
      if (place.problem === undefined) {
        this.#delivered(record, place);
        continue;
      }
      const error = errorOf(place.problem);
      if (isRepeatable(error)) again.push(record);
      else this.#failRecord(record, error);
    }
    this.#repeat(batch, again);
  }

  /** The whole frame was refused: nothing of it is written, unless its outcome is unknown. */
  #problem(batch: ProduceBatch, error: SluiceError): void {
    const { index } = error.facts;
    const bad = typeof index === 'number' ? batch.records[index] : undefined;
    if (isRepeatable(error)) {
      this.#repeat(batch, batch.records);
    } else if (bad !== undefined && error.outcome === undefined && batch.records.length > 1) {
      // The others have done nothing wrong.
      this.#failRecord(bad, error);
      this.#repeat(
        batch,
        batch.records.filter(record => record !== bad),
      );
    } else {
      this.#failBatch(batch, error);
    }
  }

  #repeat(batch: ProduceBatch, records: EncodedRecord[]): void {
    batch.records = records;
    if (records.length === 0 || this.#state === 'closed') {
      this.#finish(batch);
      return;
    }
    batch.state = 'waiting';
    this.#refused.push(batch);
  }

  #next(): void {
    if (this.#refused.length > 0 && this.#onWire.size === 0 && this.#retryTimer === null) {
      this.#retryTimer = this.#surroundings.runtime.clock.schedule(this.#backoff.nextMs(), () => {
        this.#retryTimer = null;
        const refused = this.#refused.sort((a, b) => a.sequence - b.sequence);
        this.#refused = [];
        for (const batch of [...refused, ...this.#waiting.takeAll()]) this.#waiting.push(batch);
        this.#pump();
      });
    }
    this.#pump();
  }

  // How records end.

  #delivered(record: EncodedRecord, { partition, offset = -1, timestamp = -1 }: PlaceDocument): void {
    this.#bufferedBytes -= record.text.length;
    record.ticket.settle({ delivery: { topic: this.topic, partition, offset, timestamp } });
  }

  #failRecord(record: EncodedRecord, error: SluiceError): void {
    this.#bufferedBytes -= record.text.length;
    if (!record.ticket.settle({ error })) this.#unseenFailure ??= error;
  }

  #failBatch(batch: ProduceBatch, error: SluiceError): void {
    if (batch.state === 'settled') return;
    for (const record of batch.records) this.#failRecord(record, error);
    this.#finish(batch);
  }

  #finish(batch: ProduceBatch): void {
    batch.state = 'settled';
    batch.records = [];
    batch.expiry?.cancel();
    if (this.#open === batch) this.#open = null;
    this.#unfinished.delete(batch);
    this.#admit();
    const waiting = this.#whenFinished;
    this.#whenFinished = [];
    for (const look of waiting) look();
  }

  #expire(batch: ProduceBatch): void {
    const detail = `not acknowledged within ${this.#deliveryTimeoutMs} ms`;
    if (batch.state === 'on-wire') this.#failBatch(batch, outcomeUnknown(detail));
    else this.#failBatch(batch, new SluiceError('REQUEST_TIMED_OUT', `${detail}; the record was not written`));
    this.#refused = this.#refused.filter(each => each !== batch);
    this.#pump();
  }

  async #flush(): Promise<void> {
    if (this.#parked.length > 0) await this.#turn().catch(() => {});
    this.#seal();
    const asked = [...this.#unfinished];
    while (asked.some(batch => this.#unfinished.has(batch))) {
      await new Promise<void>(resolve => {
        this.#whenFinished.push(resolve);
      });
    }
  }

  #end(detail: string, cause: unknown): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stopListening();
    this.#lingerTimer?.cancel();
    this.#retryTimer?.cancel();
    const unwritten = new SluiceError('INVALID_REQUEST', `${detail}; the record was not written`, { cause });
    this.#failParked(unwritten);
    for (const batch of this.#unfinished) {
      this.#failBatch(batch, batch.state === 'on-wire' ? outcomeUnknown(detail, cause) : unwritten);
    }
    if (this.#isAttached) this.#surroundings.link.detach(this);
    this.#surroundings.onEnded(this);
  }

  #checkOpen(): void {
    if (this.#state !== 'open') throw new SluiceError('INVALID_REQUEST', 'the producer is closed');
  }
}

/** A refusal says that nothing was done. */
const isRepeatable = (error: SluiceError): boolean => error.retriable && error.outcome === undefined;

const outcomeUnknown = (detail: string, cause?: unknown): SluiceError =>
  new SluiceError('REQUEST_TIMED_OUT', `${detail}; the record may or may not have been written`, {
    outcome: 'unknown',
    cause,
  });

const asError = (error: unknown): SluiceError =>
  error instanceof SluiceError ? error : new SluiceError('INTERNAL', String(error), { cause: error });

function headersText(headers: HeadersInput): string {
  const list = Array.isArray(headers)
    ? (headers as readonly { key: string; value: string | Uint8Array | null }[])
    : Object.entries(headers as Readonly<Record<string, string | Uint8Array | null>>).map(([key, value]) => ({
        key,
        value,
      }));
  return list
    .map(({ key, value }) => {
      const name = `"key":${JSON.stringify(key.toWellFormed())}`;
      return value === null ? `{${name},"value":null}` : `{${name},${member(HEADER, value)}}`;
    })
    .join(',');
}

function whole(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new SluiceError('INVALID_REQUEST', `${name} must be a whole number from 0 on, not ${value}`);
}

function atLeast(name: string, least: number, value: number): number {
  if (Number.isFinite(value) && value >= least) return value;
  throw new SluiceError('INVALID_REQUEST', `${name} must be a number from ${least} on, not ${value}`);
}

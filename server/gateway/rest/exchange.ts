// One request and its answer.
//
// Guarantees: exactly one answer, counted once in the metrics, with Request-Id and, for an allowed origin, the CORS
// headers. An answer given before the body was read leaves the client time to read it: the rest of the body is drained
// within DRAIN_BYTES_MAX and DRAIN_MS_MAX before the connection is closed; without that, the reset that follows a close
// with unread bytes would take the answer along. Bytes that were reserved are given back when the exchange ends.

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { ErrorCode, Problem } from '@sluice/protocol/errors';
import { errorTable } from '@sluice/protocol/errors';
import { assert } from '../../base/assert.ts';
import { DRAIN_BYTES_MAX, DRAIN_MS_MAX } from '../../base/limits.ts';
import type { Door, VerbMetrics } from '../../base/metrics.ts';
import { httpStatus, problemDocument } from '../error-mapping.ts';
import type { GatewayContext } from '../gateway.ts';
import type { OutgoingQueue } from '../outgoing-budget.ts';

/** A body this short is read off by the parser anyway, most often with the packet that brought the headers. */
const UNREAD_BYTES_EASY = 65_536;

/** Seconds after which a refusal for want of room may be tried again. */
const RETRY_AFTER_SECONDS = '1';

export const EXPOSED_HEADERS =
  'Request-Id, Location, Retry-After, Allow, Sluice-Cursor, Sluice-Topic, Sluice-Partition, ' +
  'Sluice-Offset, Sluice-Timestamp, Sluice-Key, Sluice-Key-Base64, Sluice-Headers, Sluice-Tombstone';

export interface ExchangeOptions {
  readonly context: GatewayContext;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The client waits for 100 Continue before it sends the body. */
  readonly expectsContinue: boolean;
  readonly metrics: VerbMetrics;
  /** True once the door is being closed: connections are not kept then. */
  readonly isDraining: () => boolean;
}

export class Exchange {
  readonly context: GatewayContext;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  /** The operation's once the route is known. */
  metrics: VerbMetrics;
  params: Readonly<Record<string, string>> = {};
  /** Named in the CORS headers of the answer. */
  origin: string | null = null;
  /** Set by whoever waits for the body: the door drains. */
  onStop: (() => void) | null = null;
  readonly #isDraining: () => boolean;
  readonly #startedMs: number;
  #expectsContinue: boolean;
  #reservedBytes = 0;
  #outcome: string | null = null;
  #abort: AbortController | null = null;
  #isClosed = false;
  #outgoing: OutgoingQueue | null = null;
  /** Ends the latest write. */
  #onGone: (() => void) | null = null;

  constructor(options: ExchangeOptions) {
    this.context = options.context;
    this.request = options.request;
    this.response = options.response;
    this.metrics = options.metrics;
    this.#expectsContinue = options.expectsContinue;
    this.#isDraining = options.isDraining;
    this.requestId = options.context.random.uuid();
    this.#startedMs = options.context.clock.monotonicMs();
  }

  /** Aborts when the client is gone or the door drains: waiting makes no sense any more. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#isClosed || this.#isDraining()) this.#abort.abort();
    return this.#abort.signal;
  }

  get isGone(): boolean {
    return this.#isClosed;
  }

  get isAnswered(): boolean {
    return this.#outcome !== null;
  }

  /** The door drains: ends waits for records and for bytes of the body; the exchange itself goes on to its answer. */
  stopWaiting(): void {
    this.#abort?.abort();
    this.onStop?.();
  }

  /** False when a body of this size would find no room as things are. */
  mayReserve(bytes: number): boolean {
    const { bodyBudget, outgoing } = this.context;
    // Pages that nobody takes are counted there too.
    return bodyBudget.hasRoom(bytes) || (outgoing.cutLongestStalled() && bodyBudget.hasRoom(bytes));
  }

  /** For bytes of bodies, in and out. False when too many are in memory already. */
  reserve(bytes: number): boolean {
    if (this.#isClosed || !this.mayReserve(bytes)) return false;
    assert(this.context.bodyBudget.reserve(bytes), 'there is room');
    this.#reservedBytes += bytes;
    return true;
  }

  /** Gives back what was reserved before, or a part of it. */
  release(bytes: number): void {
    // After the end everything has been given back already.
    if (this.#isClosed) return;
    assert(bytes <= this.#reservedBytes, 'no more is released than was reserved');
    this.#reservedBytes -= bytes;
    this.context.bodyBudget.release(bytes);
  }

  /** What this client has not taken of a long answer; it is cut where it stands still while others need room. */
  outgoing(door: Door): OutgoingQueue {
    this.#outgoing ??= this.context.outgoing.open(door, () => this.response.socket?.destroy());
    return this.#outgoing;
  }

  /** As write, for a piece that is this client's alone. */
  async writePiece(piece: Buffer, door: Door): Promise<void> {
    const queue = this.outgoing(door);
    // The memory behind the piece, which may be larger.
    const bytes = piece.buffer.byteLength;
    queue.add(bytes);
    await this.write(piece);
    queue.taken(bytes);
  }

  /** As write, for a piece that other clients are given too. */
  async writeShared(piece: Buffer, door: Door): Promise<void> {
    const queue = this.outgoing(door);
    queue.addShared(piece, piece.length);
    await this.write(piece);
    queue.takenShared(piece, piece.length);
  }

  /** Asks a client that waits for it to send the body. */
  continue(): void {
    if (!this.#expectsContinue) return;
    this.#expectsContinue = false;
    this.response.writeContinue();
  }

  answer(status: number, contentType: string, body: string | Buffer, headers?: OutgoingHttpHeaders): void {
    const bytes = typeof body === 'string' ? Buffer.byteLength(body, 'utf8') : body.length;
    const all = this.headers({ 'Content-Type': contentType, 'Content-Length': bytes, ...headers });
    this.#finish('ok', bytes);
    this.#send(status, all, body);
  }

  /** The same for JSON of ASCII alone: one write without measuring or encoding, which shows on small answers. */
  asciiJson(status: number, body: string): void {
    const headers = this.headers({ 'Content-Type': 'application/json', 'Content-Length': body.length });
    this.#finish('ok', body.length);
    this.#send(status, headers, body, 'latin1');
  }

  json(status: number, value: unknown, headers?: OutgoingHttpHeaders): void {
    this.answer(status, 'application/json', JSON.stringify(value), headers);
  }

  empty(status: number, headers?: OutgoingHttpHeaders): void {
    this.#finish('ok', 0);
    this.#send(status, this.headers(headers), '');
  }

  /** `extra` are facts that are not plain values. */
  problem(refusal: Problem, extra?: Readonly<Record<string, unknown>>, headers?: OutgoingHttpHeaders): void {
    const text = JSON.stringify({ ...problemDocument(refusal, this.requestId), ...extra });
    const bytes = Buffer.byteLength(text, 'utf8');
    const all = this.headers({ 'Content-Type': 'application/problem+json', 'Content-Length': bytes, ...headers });
    if (errorTable[refusal.code].retriable) all['Retry-After'] = RETRY_AFTER_SECONDS;
    this.#finish(refusal.code, bytes);
    this.#send(httpStatus(refusal.code), all, text);
  }

  /** For answers that are written in pieces; `finishStream` ends them. */
  beginStream(status: number, contentType: string, trailer: string | null): void {
    const headers = this.headers({ 'Content-Type': contentType });
    if (trailer !== null && this.#takesTrailers) headers['Trailer'] = trailer;
    this.response.writeHead(status, headers);
  }

  /** Resolves when the piece is with the kernel, or the client is gone. One at a time. */
  write(piece: Buffer): Promise<void> {
    return new Promise(resolve => {
      // One listener for all pieces (`closed`): a long stream writes thousands of them.
      this.#onGone = resolve;
      this.response.write(piece, () => resolve());
      if (this.#isClosed) resolve();
    });
  }

  finishStream(
    sentBytes: number,
    trailers: Readonly<Record<string, string>> | null,
    outcome: 'ok' | ErrorCode = 'ok',
  ): void {
    this.#finish(outcome, sentBytes);
    if (trailers !== null && this.#takesTrailers) this.response.addTrailers(trailers);
    this.response.end();
  }

  /** Trailers need chunks, which HTTP/1.0 and an answer without a body do not have. */
  get #takesTrailers(): boolean {
    return this.request.httpVersion !== '1.0' && this.request.method !== 'HEAD';
  }

  /** The status is sent and what follows cannot be: what was written arrives, but the end of the chunks does not. */
  breakStream(code: ErrorCode): void {
    this.#finish(code, 0);
    this.response.socket?.end();
  }

  /** Called once, when the response was sent or the connection is gone. */
  closed(): void {
    this.#isClosed = true;
    this.#abort?.abort();
    this.#onGone?.();
    this.#outgoing?.close();
    if (this.#reservedBytes > 0) this.context.bodyBudget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
    // Nobody reads an answer that is missing by now.
    if (this.#outcome === null) this.#finish('disconnected', 0);
  }

  headers(own: OutgoingHttpHeaders = {}): OutgoingHttpHeaders {
    own['Request-Id'] = this.requestId;
    own['Cache-Control'] = 'no-store';
    own['X-Content-Type-Options'] = 'nosniff';
    if (this.origin !== null) {
      own['Access-Control-Allow-Origin'] = this.origin;
      own['Access-Control-Expose-Headers'] = EXPOSED_HEADERS;
      own['Vary'] = 'Origin';
    }
    if (this.#isDraining()) own['Connection'] = 'close';
    return own;
  }

  #finish(outcome: string, sentBytes: number): void {
    if (this.#outcome !== null) return;
    this.#outcome = outcome;
    this.metrics.finished(outcome, (this.context.clock.monotonicMs() - this.#startedMs) / 1000);
    if (sentBytes > 0) this.metrics.sent(sentBytes);
  }

  #send(status: number, headers: OutgoingHttpHeaders, body: string | Buffer, encoding?: 'latin1'): void {
    const { response } = this;
    if (this.#isClosed || response.headersSent) {
      response.destroy();
      return;
    }
    if (!this.#hasUnreadBody()) {
      response.writeHead(status, headers);
      if (encoding === undefined) response.end(body);
      else response.end(body, encoding);
      return;
    }
    headers['Connection'] = 'close';
    response.writeHead(status, headers);
    if (body.length > 0) response.write(body);
    else response.flushHeaders();
    this.#drainRequest();
  }

  #hasUnreadBody(): boolean {
    const { request } = this;
    if (request.complete) return false;
    if (request.headers['transfer-encoding'] !== undefined) return true;
    const length = Number(request.headers['content-length'] ?? 0);
    if (length === 0) return false;
    // A client that waits for 100 Continue has sent nothing yet and need not send it now.
    return this.#expectsContinue || length > UNREAD_BYTES_EASY;
  }

  /** Ends the response once the client has sent the rest, or too much of it, or too slowly. */
  #drainRequest(): void {
    const { request, response } = this;
    if (this.#expectsContinue) {
      response.end();
      return;
    }
    const timer = this.context.clock.schedule(DRAIN_MS_MAX, () => request.destroy());
    let drainedBytes = 0;
    request.on('data', (chunk: Buffer) => {
      drainedBytes += chunk.length;
      if (drainedBytes > DRAIN_BYTES_MAX) request.destroy();
    });
    request.once('close', () => {
      timer.cancel();
      response.end();
    });
    request.on('error', () => response.destroy());
    request.resume();
  }
}

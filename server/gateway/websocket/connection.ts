// One WebSocket: its socket's back-pressure, its pings, and the memory of what arrives and of what is not taken.
//
// Guarantees: what has arrived of a message that is not whole is counted in the common byte budget; where that is full the
// connection is told and closed with 1013. While the client does not take what was sent it is not read from either, and a
// client that goes on making answers is cut. A peer that answers no ping until the next one is due is cut.

import type { Duplex } from 'node:stream';
import { problem } from '@sluice/protocol/errors';
import {
  WEBSOCKET_BUFFERED_BYTES_CUT,
  WEBSOCKET_BUFFERED_BYTES_MAX,
  WEBSOCKET_MESSAGE_BYTES_MAX,
  WEBSOCKET_PING_MS,
} from '../../base/limits.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { Timer } from '../../io/clock.ts';
import { problemDocument } from '../error-mapping.ts';
import type { GatewayContext } from '../gateway.ts';
import type { OutgoingQueue } from '../outgoing-budget.ts';
import type { FeedPiece } from '../record-feed.ts';
import type { AnsweringWebSocket } from './answering-server.ts';
import type { Channel } from './channel.ts';
import type { RecordFrames } from './record-frame.ts';
import type { SharedState } from './session.ts';
import { Session } from './session.ts';
import { textFrames } from './text-frame.ts';

export const CLOSE_RESTART = 1012;
const CLOSE_TRY_LATER = 1013;

/** Of a client's control frame: two bytes and the mask. */
const CONTROL_HEADER_BYTES = 6;
/** Arrives with one read of the socket anyway. */
const PARTIAL_BYTES_EASY = 16 * 1024;

export interface ConnectionOptions {
  readonly context: GatewayContext;
  readonly shared: SharedState;
  readonly frames: RecordFrames;
  readonly webSocket: AnsweringWebSocket;
  /** Under the WebSocket. */
  readonly socket: Duplex;
}

export class Connection implements Channel {
  readonly session: Session;
  /** Resolves when the socket is closed. */
  readonly closed: Promise<void>;
  readonly #context: GatewayContext;
  readonly #frames: RecordFrames;
  readonly #metrics: VerbMetrics;
  readonly #webSocket: AnsweringWebSocket;
  readonly #socket: Duplex;
  readonly #outgoing: OutgoingQueue;
  #whenDrained: (() => void)[] = [];
  /** Bytes of a message that is not whole yet, with the headers of its frames. */
  #partialBytes = 0;
  #reservedBytes = 0;
  #hadMessage = false;
  #ping: Timer;
  #isPongDue = false;
  /** Sent in this turn, and not written yet: a sync acknowledges many requests at once. */
  #texts: string[] = [];
  #textBytes = 0;
  #whenWritten: (() => void)[] = [];
  #isGathering = false;

  constructor({ context, shared, frames, webSocket, socket }: ConnectionOptions) {
    this.#context = context;
    this.#frames = frames;
    this.#metrics = shared.verbs.subscribe;
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#outgoing = context.outgoing.open('websocket', () => this.cut());
    this.session = new Session(context, shared, this);
    this.#ping = context.clock.schedule(WEBSOCKET_PING_MS, () => this.#pingOrCut());
    webSocket.beforeClose = () => this.#writeTexts();
    webSocket.on('message', (data: Buffer, isBinary: boolean) => this.#received(data, isBinary));
    webSocket.on('ping', (data: Buffer) => this.#control(data));
    webSocket.on('pong', (data: Buffer) => {
      this.#isPongDue = false;
      this.#control(data);
    });
    // Closed already, with the code that belongs to it.
    webSocket.on('error', () => {});
    // Behind the listener of the WebSocket: by then the messages of the chunk have been handled.
    socket.on('data', (chunk: Buffer) => this.#arrived(chunk.length));
    this.closed = new Promise(resolve => {
      webSocket.once('close', () => {
        this.#closed();
        resolve();
      });
    });
  }

  get isDrained(): boolean {
    return this.#texts.length === 0 && this.#socket.writableLength === 0;
  }

  drained(): Promise<void> {
    if (this.isDrained || this.#webSocket.readyState !== this.#webSocket.OPEN) return Promise.resolve();
    return new Promise(resolve => {
      this.#whenDrained.push(resolve);
    });
  }

  send(text: string, onFlushed?: () => void): void {
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) {
      onFlushed?.();
      return;
    }
    this.#texts.push(text);
    this.#textBytes += text.length;
    if (onFlushed !== undefined) this.#whenWritten.push(onFlushed);
    this.#outgoing.add(text.length);
    this.#gather();
    this.#holdBack();
  }

  sendRecords(name: string, piece: FeedPiece): void {
    // After a close frame nothing may follow.
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    this.#writeTexts();
    const chunks = this.#frames.frame(piece, name);
    this.#metrics.sent(piece.text.length);
    const bytes = piece.text.length;
    this.#outgoing.addShared(piece, bytes);
    const flushed = (): void => {
      this.#outgoing.takenShared(piece, bytes);
      this.#flushed();
    };
    const [only] = chunks;
    if (chunks.length === 1 && only !== undefined) this.#socket.write(only, flushed);
    else {
      this.#socket.cork();
      for (const [index, chunk] of chunks.entries()) {
        this.#socket.write(chunk, index === chunks.length - 1 ? flushed : undefined);
      }
      this.#socket.uncork();
    }
  }

  close(code: number, reason: string): void {
    this.#webSocket.close(code, reason);
    // The answer to it must be read.
    this.#webSocket.resume();
  }

  /** Without a word. */
  cut(): void {
    this.#webSocket.terminate();
  }

  readonly #flushed = (): void => {
    if (this.#webSocket.isPaused && this.#socket.writableLength < WEBSOCKET_BUFFERED_BYTES_MAX) {
      this.#webSocket.resume();
    }
    if (this.#whenDrained.length > 0 && this.isDrained) this.#release();
  };

  /** Answers of one turn go out in one write. */
  #gather(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#context.clock.defer(() => {
      this.#isGathering = false;
      this.#writeTexts();
    });
  }

  #writeTexts(): void {
    if (this.#texts.length === 0) return;
    const texts = this.#texts;
    const bytes = this.#textBytes;
    const whenWritten = this.#whenWritten;
    this.#texts = [];
    this.#textBytes = 0;
    this.#whenWritten = [];
    const written = (): void => {
      this.#outgoing.taken(bytes);
      for (const done of whenWritten) done();
      this.#flushed();
    };
    // After a close frame nothing may follow.
    if (this.#webSocket.readyState === this.#webSocket.OPEN) this.#socket.write(textFrames(texts), written);
    else written();
  }

  #release(): void {
    const waiting = this.#whenDrained;
    this.#whenDrained = [];
    for (const resolve of waiting) resolve();
  }

  #holdBack(): void {
    const untaken = this.#textBytes + this.#socket.writableLength;
    if (untaken > WEBSOCKET_BUFFERED_BYTES_CUT) this.cut();
    else if (untaken >= WEBSOCKET_BUFFERED_BYTES_MAX) this.#webSocket.pause();
  }

  #received(data: Buffer, isBinary: boolean): void {
    this.#hadMessage = true;
    if (isBinary) this.session.receiveBinary(data.length);
    else this.session.receive(data.toString('utf8'), data.length);
  }

  /** Control frames are handled and forgotten. */
  #control(data: Buffer): void {
    this.#partialBytes = Math.max(0, this.#partialBytes - data.length - CONTROL_HEADER_BYTES);
  }

  #arrived(bytes: number): void {
    this.#partialBytes = this.#hadMessage ? 0 : Math.min(this.#partialBytes + bytes, WEBSOCKET_MESSAGE_BYTES_MAX);
    this.#hadMessage = false;
    const wanted = this.#partialBytes > PARTIAL_BYTES_EASY ? this.#partialBytes : 0;
    const more = wanted - this.#reservedBytes;
    if (more === 0) return;
    if (more < 0) this.#context.bodyBudget.release(-more);
    else if (this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    else if (!this.#context.bodyBudget.reserve(more)) {
      const refusal = problem('THROTTLED', 'too many bodies are in memory; try again');
      const document = JSON.stringify(problemDocument(refusal, this.#context.random.uuid()));
      this.send(`{"op":"error","problem":${document}}`);
      this.close(CLOSE_TRY_LATER, 'too many bodies are in memory');
      return;
    }
    this.#reservedBytes = wanted;
  }

  #pingOrCut(): void {
    if (this.#isPongDue) {
      this.cut();
      return;
    }
    this.#isPongDue = true;
    if (this.#webSocket.readyState === this.#webSocket.OPEN) this.#webSocket.ping();
    this.#ping = this.#context.clock.schedule(WEBSOCKET_PING_MS, () => this.#pingOrCut());
  }

  #closed(): void {
    this.#ping.cancel();
    this.#outgoing.close();
    if (this.#reservedBytes > 0) this.#context.bodyBudget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
    this.session.closed();
    this.#release();
  }
}

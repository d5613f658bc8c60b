// Records as Server-Sent Events (WHATWG HTML, 9.2): a stream without an end that a browser resumes by itself.
//
//   retry: 1000            the first block; its id makes a reconnection before the first record resume where this began
//   id: CURSOR
//
//   id: CURSOR             a record: an unnamed event, so that `onmessage` has it; the cursor is that after the record
//   data: {"topic":…}
//
//   :                      a comment after every 15 s of silence, so that nobody on the way takes the connection for dead
//
//   event: draining        the broker stops: {"resume_within_ms"}; or `event: problem`: a problem document. Then the end
//
// Guarantees: everything that can be known beforehand is a status, not an event. What is rendered is shared with all readers of
// the same form (RecordFeed); a client that takes nothing keeps one piece of it.

import type { Problem, Result } from '@sluice/protocol/errors';
import { EVENT_RETRY_MS, EVENT_SILENCE_MS_MAX } from '../../base/limits.ts';
import type { FetchPosition } from '../../broker/broker.ts';
import type { Timer } from '../../io/clock.ts';
import { problemDocument } from '../error-mapping.ts';
import type { GatewayContext } from '../gateway.ts';
import { positionsInLog, type Reset } from '../read-start.ts';
import type { FeedPiece, RecordFeed } from '../record-feed.ts';
import type { Exchange } from './exchange.ts';
import { livePiece } from './live-piece.ts';
import type { ReadPlan } from './read-plan.ts';

export interface EventStreamStart {
  readonly plan: ReadPlan;
  /** All of them in the log. */
  readonly positions: readonly FetchPosition[];
  readonly reset: Reset;
}

const COMMENT = Buffer.from(':\n\n');

export const answerEvents = async (exchange: Exchange, start: EventStreamStart): Promise<void> => {
  const stream = new EventStream(exchange, start);
  const { openStreams } = exchange.context.metrics;
  openStreams.inc({ door: 'sse' });
  try {
    await stream.run();
  } finally {
    stream.close();
    openStreams.dec({ door: 'sse' });
  }
};

class EventStream {
  readonly #exchange: Exchange;
  readonly #context: GatewayContext;
  readonly #plan: ReadPlan;
  readonly #reset: Reset;
  /** Ends the wait for the next piece: the client left, the door drains, or `wait` is over. */
  readonly #stop = new AbortController();
  #silence: Timer | null = null;
  #feed: RecordFeed;
  #recordsLeft: number;
  #sentBytes = 0;
  /** When something was last on its way to the client, or a piece of it still is. */
  #activeMs: number;
  #isWriting = false;

  constructor(exchange: Exchange, { plan, positions, reset }: EventStreamStart) {
    this.#exchange = exchange;
    this.#context = exchange.context;
    this.#plan = plan;
    this.#reset = reset;
    this.#recordsLeft = plan.limit ?? Number.POSITIVE_INFINITY;
    this.#activeMs = this.#context.clock.monotonicMs();
    this.#feed = this.#open(positions);
  }

  async run(): Promise<void> {
    const exchange = this.#exchange;
    exchange.beginStream(200, 'text/event-stream', null);
    if (exchange.request.method === 'HEAD') {
      exchange.finishStream(0, null);
      return;
    }
    const { signal } = exchange;
    const stop = (): void => this.#stop.abort();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    this.#watchSilence();
    await this.#write(Buffer.from(`retry: ${EVENT_RETRY_MS}\nid: ${this.#feed.cursor}\n\n`));
    while (!exchange.isGone) {
      const piece = await this.#next();
      if (exchange.isGone) return;
      if (!piece.ok) {
        await this.#last('problem', problemDocument(piece.problem, exchange.requestId));
        exchange.finishStream(this.#sentBytes, null, piece.problem.code);
        return;
      }
      if (piece.value === null) {
        if (signal.aborted) await this.#last('draining', { resume_within_ms: EVENT_RETRY_MS });
        break;
      }
      await this.#write(piece.value.text, 'shared');
      this.#recordsLeft -= piece.value.recordCount;
      if (this.#recordsLeft <= 0) break;
    }
    if (!exchange.isGone) exchange.finishStream(this.#sentBytes, null);
  }

  close(): void {
    this.#silence?.cancel();
    this.#feed.close();
  }

  #open(positions: readonly FetchPosition[]): RecordFeed {
    const { topic, isolation, form } = this.#plan;
    return this.#context.recordFeeds.open({ topic, isolation, values: form, style: 'events' }, positions);
  }

  /** Null when it is over without a complaint. */
  async #next(): Promise<Result<FeedPiece | null>> {
    const { clock, broker } = this.#context;
    const { limit, waitMs, topic } = this.#plan;
    const demand = limit === null ? undefined : { records: this.#recordsLeft, bytes: Number.POSITIVE_INFINITY };
    const wait = { clock, waitMs, stop: this.#stop, demand };
    const piece = await livePiece(this.#feed, wait);
    if (piece.ok || !isOvertaken(piece.problem) || this.#reset === null) return piece;
    const { positions } = this.#feed;
    const found = await positionsInLog(broker, topic.name, { positions, reset: this.#reset });
    if (!found.ok) return found;
    this.#feed.close();
    this.#feed = this.#open(found.value);
    return livePiece(this.#feed, wait);
  }

  #last(event: 'draining' | 'problem', data: object): Promise<void> {
    return this.#write(Buffer.from(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
  }

  async #write(text: Buffer, kind: 'own' | 'shared' = 'own'): Promise<void> {
    this.#isWriting = true;
    if (kind === 'shared') await this.#exchange.writeShared(text, 'sse');
    else await this.#exchange.write(text);
    this.#isWriting = false;
    this.#sentBytes += text.length;
    this.#activeMs = this.#context.clock.monotonicMs();
  }

  /** Comments go into silence only: never behind a piece that the client has not taken. */
  #watchSilence(): void {
    const { clock } = this.#context;
    const silentMs = clock.monotonicMs() - this.#activeMs;
    const isDue = silentMs >= EVENT_SILENCE_MS_MAX;
    if (isDue && !this.#isWriting) {
      this.#activeMs += silentMs;
      this.#exchange.response.write(COMMENT);
    }
    const delayMs = isDue ? EVENT_SILENCE_MS_MAX : EVENT_SILENCE_MS_MAX - silentMs;
    this.#silence = clock.schedule(delayMs, () => this.#watchSilence());
  }
}

const isOvertaken = (problem: Problem): boolean => problem.code === 'OFFSET_OUT_OF_RANGE';

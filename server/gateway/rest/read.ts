// Reading: a JSON page, a stream of lines, or what goes on with what comes: events (event-stream.ts) and lines with `wait`
// (live-lines.ts).
//
// The start of a read is resolved to one offset a partition; from then on it is a RecordReader and a rendering. A page is
// filled from as many fetches as it takes to have records, and empty only at the end; a stream ends at the high
// watermark as of its first fetch.

import type { Problem, Result } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';
import type { Offset, TopicId } from '@sluice/protocol/ids';
import { offset } from '@sluice/protocol/ids';
import { READ_LIMIT_DEFAULT, STREAM_PIECE_BYTES_MAX, STREAM_PIECE_BYTES_MIN } from '../../base/limits.ts';
import type { FetchPosition } from '../../broker/broker.ts';
import { encodeCursor } from '../cursor.ts';
import type { GatewayContext } from '../gateway.ts';
import { positionsInLog, resetOf, startPositions, startingAtCursor, startsAtEarliest } from '../read-start.ts';
import { RecordReader } from '../record-reader.ts';
import { SendTurn } from '../send-turn.ts';
import { throttled } from './body.ts';
import type { Query } from './contract.ts';
import { answerEvents } from './event-stream.ts';
import type { Exchange } from './exchange.ts';
import type { Handler, HandlerTable } from './handlers.ts';
import { answerLiveLines } from './live-lines.ts';
import { preferredType } from './preferred-type.ts';
import type { ReadPlan } from './read-plan.ts';
import { makeReadPlan } from './read-plan.ts';
import { Rendering } from './rendering.ts';
import { answerRecord } from './single-record.ts';

const EVENT_TYPE = 'text/event-stream';
const PAGE_TYPES = ['application/json', 'application/x-ndjson', 'text/plain', EVENT_TYPE] as const;

/** Answers this short are not counted against the budget of bodies. */
const TEXT_BYTES_EASY = 65_536;

/** How often a start at the earliest record is looked up again when retention overtakes it. */
const EARLIEST_ATTEMPTS = 3;

export const createReadHandlers = (context: GatewayContext): HandlerTable => {
  const eventMetrics = context.metrics.verb('sse', 'fetch');
  const sendTurn = new SendTurn(context.clock, context.loopShare);
  let turn = 0;
  const read: Handler = async (exchange, asked) => {
    const type = preferredType(exchange, PAGE_TYPES);
    if (type === null) {
      exchange.problem(problem('NOT_ACCEPTABLE', `records are rendered as ${PAGE_TYPES.join(', ')}`));
      return;
    }
    const query = type === EVENT_TYPE ? resumed(exchange, asked) : asked;
    if (type === EVENT_TYPE) exchange.metrics = eventMetrics;
    const plan = makeReadPlan(context, exchange, query);
    if (!plan.ok) {
      exchange.problem(plan.problem);
      return;
    }
    turn = (turn + 1) % 0x7fffffff;
    const isEarliest = startsAtEarliest(query);
    const reset = resetOf(query);
    for (let attempt = 1; ; attempt++) {
      const start = await startsInLog(plan.value, { query, isChecked: type === EVENT_TYPE || reset !== null });
      if (!start.ok) {
        exchange.problem(start.problem);
        return;
      }
      if (exchange.isGone) return;
      if (type === EVENT_TYPE) {
        await answerEvents(exchange, { plan: plan.value, positions: start.value, reset });
        return;
      }
      const refusal = await answerRecords(exchange, { plan: plan.value, positions: start.value, type, turn, sendTurn });
      if (refusal === null) return;
      const isOvertaken = refusal.code === 'OFFSET_OUT_OF_RANGE' && (isEarliest || reset !== null);
      if (!isOvertaken || attempt === EARLIEST_ATTEMPTS) {
        exchange.problem(refusal);
        return;
      }
    }
  };
  /** `isChecked`: an offset that the log does not have is refused, or reset, before anything is sent. */
  const startsInLog = async (
    plan: ReadPlan,
    { query, isChecked }: { readonly query: Query; readonly isChecked: boolean },
  ): Promise<Result<readonly FetchPosition[]>> => {
    const start = await startPositions(context.broker, plan, query);
    if (!start.ok || !isChecked) return start;
    return positionsInLog(context.broker, plan.topic.name, { positions: start.value, reset: resetOf(query) });
  };
  return {
    readTopic: { verb: 'fetch', handle: read },
    readPartition: { verb: 'fetch', handle: read },
    getRecord: { verb: 'fetch', handle: (exchange, query) => answerRecord(context, exchange, query) },
  };
};

/** A browser that comes back repeats the request as it was and says where it had come to. */
const resumed = (exchange: Exchange, query: Query): Query => {
  const last = exchange.request.headers['last-event-id'];
  return typeof last === 'string' && last !== '' ? startingAtCursor(query, last) : query;
};

interface RecordsStart {
  readonly plan: ReadPlan;
  readonly positions: readonly FetchPosition[];
  readonly type: string;
  /** Which partition comes first. */
  readonly turn: number;
  readonly sendTurn: SendTurn;
}

/** Answers, or says why not. */
const answerRecords = (exchange: Exchange, start: RecordsStart): Promise<Problem | null> => {
  const { plan, positions, type, turn, sendTurn } = start;
  const contentType = type === 'text/plain' ? 'text/plain; charset=utf-8' : type;
  if (type !== 'application/json' && plan.waitMs > 0) {
    return answerLiveLines(exchange, { plan, positions, contentType, turn: sendTurn });
  }
  const { topic, isolation } = plan;
  const reader = new RecordReader({ broker: exchange.context.broker, topic, isolation }, positions, turn);
  if (type === 'application/json') return answerPage(exchange, plan, reader);
  return answerLines(exchange, plan, { reader, contentType });
};

const cursorOf = (topicId: TopicId, reader: RecordReader): string =>
  encodeCursor({ topicId, positions: reader.positions });

/** Answers, or says why not. */
const answerPage = async (exchange: Exchange, plan: ReadPlan, reader: RecordReader): Promise<Problem | null> => {
  const { clock } = exchange.context;
  const rendering = new Rendering(plan, 'page', plan.limit ?? READ_LIMIT_DEFAULT);
  const { out } = rendering;
  out.ascii('{"records":[');
  const endsAtMs = clock.monotonicMs() + plan.waitMs;
  const signal = plan.waitMs > 0 ? exchange.signal : undefined;
  let bytes = 0;
  for (;;) {
    const waitMs = rendering.count > 0 ? 0 : Math.max(0, Math.ceil(endsAtMs - clock.monotonicMs()));
    const stepped = await reader.step({ bytesMax: plan.bytesMax - bytes, waitMs, signal }, rendering);
    if (exchange.isGone) return null;
    if (!stepped.ok) {
      // What was collected is an answer; the next request meets the refusal again.
      if (rendering.count > 0) break;
      return stepped.problem;
    }
    bytes += stepped.value.bytes;
    if (rendering.isFull || rendering.isLarge || bytes >= plan.bytesMax) {
      if (rendering.count > 0) break;
      bytes = 0;
    }
    if (reader.isAtEnd && rendering.count > 0) break;
    // Nothing there, and the wait for it is over.
    if (!stepped.value.hasMoved) break;
  }
  out.ascii(`],"next":{"cursor":"${cursorOf(plan.topic.id, reader)}"}`);
  if (plan.partition !== null) out.ascii(`,"high_watermark":${reader.highWatermark(plan.partition) ?? 0}`);
  out.ascii('}');
  // A client that does not take its page keeps it in memory.
  if (out.length > TEXT_BYTES_EASY) {
    if (!exchange.reserve(out.length)) return exchange.isGone ? null : throttled();
    exchange.outgoing('rest').add(out.length);
  }
  exchange.answer(200, 'application/json', out.take());
  return null;
};

/** A stream renders this much at a time: a few milliseconds of the event loop, so that many streams take turns. */
const STREAM_STEP_BYTES = 64 * 1024;

/** Answers with lines up to the end as it is now; says why not while nothing was sent yet. */
const answerLines = async (
  exchange: Exchange,
  plan: ReadPlan,
  { reader, contentType }: { readonly reader: RecordReader; readonly contentType: string },
): Promise<Problem | null> => {
  const style = contentType.startsWith('text/plain') ? 'text' : 'lines';
  const rendering = new Rendering(plan, style, plan.limit ?? Number.POSITIVE_INFINITY);
  const { signal } = exchange;
  const { loopShare, metrics, outgoing } = exchange.context;
  const { openStreams } = metrics;
  const targets = new Map<number, Offset>();
  const bytesMax = Math.min(plan.bytesMax, STREAM_STEP_BYTES);
  let isBegun = false;
  let sentBytes = 0;
  openStreams.inc({ door: 'rest' });
  try {
    for (;;) {
      await exchange.outgoing('rest').whenRoom();
      await loopShare.next();
      rendering.textBytesMax = outgoing.pieceBytes({ least: STREAM_PIECE_BYTES_MIN, most: STREAM_PIECE_BYTES_MAX });
      const stepped = await reader.step({ bytesMax, waitMs: 0, signal }, rendering);
      if (exchange.isGone) return null;
      if (!stepped.ok) {
        if (!isBegun) return stepped.problem;
        exchange.breakStream(stepped.problem.code);
        return null;
      }
      if (!isBegun) {
        isBegun = true;
        for (const { partition } of reader.positions) {
          targets.set(partition, reader.highWatermark(partition) ?? offset(0));
        }
        exchange.beginStream(200, contentType, 'Sluice-Cursor');
        if (exchange.request.method === 'HEAD') break;
      }
      if (rendering.out.length > 0) {
        const piece = rendering.out.take();
        sentBytes += piece.length;
        await exchange.writePiece(piece, 'rest');
        if (exchange.isGone) return null;
        rendering.out.giveBack(piece);
      }
      const isDone = reader.positions.every(at => at.offset >= (targets.get(at.partition) ?? 0));
      if (rendering.isFull || isDone || !stepped.value.hasMoved || signal.aborted) break;
    }
    exchange.finishStream(sentBytes, { 'Sluice-Cursor': cursorOf(plan.topic.id, reader) });
    return null;
  } finally {
    openStreams.dec({ door: 'rest' });
  }
};

// Lines that go on with what comes (`wait`): pieces of a feed, shared with all readers of the same form.
//
// The status is sent when the first piece is there or the wait for it is over, so that a refusal until then is a status. From then on a
// refusal can only break the stream off. The trailer names the position behind everything that was sent.

import type { Problem } from '@sluice/protocol/errors';
import type { FetchPosition } from '../../broker/broker.ts';
import type { SendTurn } from '../send-turn.ts';
import type { Exchange } from './exchange.ts';
import { livePiece } from './live-piece.ts';
import type { ReadPlan } from './read-plan.ts';

export interface LiveLinesStart {
  readonly plan: ReadPlan;
  readonly positions: readonly FetchPosition[];
  readonly contentType: string;
  readonly turn: SendTurn;
}

/** Answers with lines until nothing comes for `wait`; says why not while nothing was sent yet. */
export const answerLiveLines = async (exchange: Exchange, start: LiveLinesStart): Promise<Problem | null> => {
  const { plan, positions, contentType, turn } = start;
  const { clock, metrics, recordFeeds } = exchange.context;
  const { topic, isolation, form: values, waitMs } = plan;
  const style = contentType.startsWith('text/plain') ? 'values' : 'lines';
  const feed = recordFeeds.open({ topic, isolation, values, style }, positions);
  const stop = new AbortController();
  const { signal } = exchange;
  signal.addEventListener('abort', () => stop.abort(), { once: true });
  if (signal.aborted) stop.abort();
  let recordsLeft = plan.limit ?? Number.POSITIVE_INFINITY;
  let isBegun = false;
  let sentBytes = 0;
  metrics.openStreams.inc({ door: 'rest' });
  try {
    for (;;) {
      await exchange.outgoing('rest').whenRoom();
      while (turn.isOver) await turn.next();
      const demand = plan.limit === null ? undefined : { records: recordsLeft, bytes: Number.POSITIVE_INFINITY };
      const piece = await livePiece(feed, { clock, waitMs, stop, demand });
      if (exchange.isGone) return null;
      if (!piece.ok) {
        if (!isBegun) return piece.problem;
        exchange.breakStream(piece.problem.code);
        return null;
      }
      if (!isBegun) {
        isBegun = true;
        exchange.beginStream(200, contentType, 'Sluice-Cursor');
        if (exchange.request.method === 'HEAD') break;
      }
      if (piece.value === null) break;
      const { text, recordCount } = piece.value;
      if (text.length > 0) {
        turn.spend(text.length);
        sentBytes += text.length;
        await exchange.writeShared(text, 'rest');
        if (exchange.isGone) return null;
      }
      recordsLeft -= recordCount;
      if (recordsLeft <= 0) break;
    }
    exchange.finishStream(sentBytes, { 'Sluice-Cursor': feed.cursor });
    return null;
  } finally {
    metrics.openStreams.dec({ door: 'rest' });
    feed.close();
  }
};

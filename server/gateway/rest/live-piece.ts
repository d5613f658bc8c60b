// The next piece for a reader with `wait`: the stream is over when nothing came for that long.
//
// The time counts at the end of the log only. A reader with a backlog whose piece is late, because many take turns, is not at the
// end, however short its wait.

import type { Result } from '@sluice/protocol/errors';
import type { Clock, Timer } from '../../io/clock.ts';
import type { FeedDemand, FeedPiece, RecordFeed } from '../record-feed.ts';

export interface PieceWait {
  readonly clock: Clock;
  /** 0: without an end. */
  readonly waitMs: number;
  /** Ends the stream; aborted here when the wait is over. */
  readonly stop: AbortController;
  readonly demand: FeedDemand | undefined;
}

/** Null when the stream is over without a complaint. */
export const livePiece = async (feed: RecordFeed, wait: PieceWait): Promise<Result<FeedPiece | null>> => {
  const { clock, waitMs, stop, demand } = wait;
  const { signal } = stop;
  if (waitMs === 0) return feed.next({ signal, demand });
  let isWaiting = true;
  let timer: Timer | null = null;
  const look = async (): Promise<void> => {
    const isAtEnd = await feed.isAtEnd();
    if (!isWaiting) return;
    if (isAtEnd) stop.abort();
    else watch();
  };
  const watch = (): void => {
    timer = clock.schedule(waitMs, () => void look());
  };
  watch();
  try {
    return await feed.next({ signal, demand });
  } finally {
    isWaiting = false;
    (timer as Timer | null)?.cancel();
  }
};

// One subscription: pieces of a feed as long as there is credit and the connection takes them.
//
//   credit left? ──▶ connection drained? ──▶ next piece ──▶ still drained? ── yes ─▶ send, spend
//        ▲                    ▲                                 │ no: another subscription was quicker
//        └── waits            └──────────── stand back ◀────────┘
//
// Guarantees: nothing is sent after `stop`. While its connection takes nothing it holds no piece: the one that came too
// late is left to the feed, and read again from where it began. A position that retention overtook is replaced as
// `reset` says, or ends the subscription.

import type { Problem } from '@sluice/protocol/errors';
import type { FetchPosition } from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import type { Reset } from '../read-start.ts';
import { positionsInLog } from '../read-start.ts';
import type { FeedForm, FeedPiece, RecordFeed } from '../record-feed.ts';
import type { Channel } from './channel.ts';
import type { Credit, CreditForm } from './credit.ts';
import type { SendTurn } from '../send-turn.ts';

export interface SubscriptionOptions {
  readonly context: GatewayContext;
  readonly turn: SendTurn;
  readonly channel: Channel;
  readonly name: string;
  readonly form: FeedForm;
  readonly positions: readonly FetchPosition[];
  readonly reset: Reset;
  readonly credit: Credit;
  /** Stored bytes in one frame; the record that reaches it still goes whole. */
  readonly bytesMax: number;
}

/** How often in a row a position is replaced: retention may be quicker than the reader for a while. */
const RESETS_MAX = 8;

export class Subscription {
  readonly name: string;
  readonly #options: SubscriptionOptions;
  readonly #stop = new AbortController();
  #feed: RecordFeed;
  #onCredit: (() => void) | null = null;

  constructor(options: SubscriptionOptions) {
    this.name = options.name;
    this.#options = options;
    this.#feed = options.context.recordFeeds.open(options.form, options.positions);
  }

  /** Null when granted, else why not. */
  grant(amount: CreditForm): string | null {
    const fault = this.#options.credit.grant(amount);
    if (fault === null && this.#options.credit.isLeft) this.#onCredit?.();
    return fault;
  }

  stop(): void {
    this.#stop.abort();
    this.#onCredit?.();
  }

  /** Null when it was stopped, else the problem that ends it. */
  async run(): Promise<Problem | null> {
    const { credit, channel, turn, bytesMax, context, form } = this.#options;
    const { signal } = this.#stop;
    let resets = 0;
    try {
      for (;;) {
        while (!credit.isLeft && !signal.aborted) await this.#credited();
        while (!channel.isDrained && !signal.aborted) await channel.drained();
        while (turn.isOver && !signal.aborted) await turn.next();
        if (signal.aborted) return null;
        const { positions } = this.#feed;
        const next = await this.#feed.next({ signal, demand: credit.demand(bytesMax) });
        // Also when the piece came first: the other side was told that nothing follows.
        if (signal.aborted) return null;
        if (!next.ok) {
          const replaced = resets++ < RESETS_MAX ? await this.#replaced(next.problem) : next.problem;
          if (replaced !== null) return signal.aborted ? null : replaced;
          continue;
        }
        const piece = next.value;
        if (piece === null) return null;
        if (!channel.isDrained) {
          const again = context.recordFeeds.open(form, positions);
          this.#feed.close();
          this.#feed = again;
          continue;
        }
        resets = 0;
        this.#send(piece);
      }
    } finally {
      this.#feed.close();
    }
  }

  #send(piece: FeedPiece): void {
    const { credit, channel, turn, name } = this.#options;
    credit.spend(piece.recordCount, piece.storedBytes);
    turn.spend(piece.text.length);
    channel.sendRecords(name, piece);
  }

  #credited(): Promise<void> {
    return new Promise(resolve => {
      this.#onCredit = () => {
        this.#onCredit = null;
        resolve();
      };
    });
  }

  /** Null when the feed goes on from another position. */
  async #replaced(problem: Problem): Promise<Problem | null> {
    const { context, form, reset } = this.#options;
    if (problem.code !== 'OFFSET_OUT_OF_RANGE' || reset === null) return problem;
    const { positions } = this.#feed;
    const inLog = await positionsInLog(context.broker, form.topic.name, { positions, reset });
    if (!inLog.ok) return inLog.problem;
    const again = context.recordFeeds.open(form, inLog.value);
    this.#feed.close();
    this.#feed = again;
    return null;
  }
}

// Live reading for many: each piece of rendered text is made once and given to every reader of the same form that stands
// where the piece begins.
//
//        form (topic, partitions, isolation, values, style)
//          │
//          │   step from "12"        step from "40"       step from "55"
//          └─▶ ┌───────────────┐     ┌──────────────┐     ┌ ─ ─ ─ ─ ─ ─ ┐
//              │ piece 12 → 40 │ ──▶ │ piece 40 → 55│ ──▶   being read,        the edge is 55
//              └───────────────┘     └──────────────┘     └ ─ ─ ─ ─ ─ ─ ┘
//                  slow reader          other readers        all who keep up wait here: one fetch for all
//
// A step is found by the positions where it begins. Whoever comes first has it fetched and rendered, the others wait for it or
// find it. Readers that start somewhere between would each make pieces of their own for ever; so a step that begins
// behind the edge, the furthest end of any piece of the form, ends at the edge at the latest, and the reader meets the others
// there.
//
// Guarantees: pieces of one feed follow each other without a gap or a repeat. A reader that takes nothing holds back nobody and
// keeps at most the piece that it was given. Pieces are kept in one bounded cache, oldest dropped first; what was dropped is
// made again from the log.

import type { Result } from '@sluice/protocol/errors';
import { accepted } from '@sluice/protocol/errors';
import type { Offset } from '@sluice/protocol/ids';
import { FEED_CACHE_BYTES_MAX, READ_WAIT_MS_MAX } from '../base/limits.ts';
import type { Broker, FetchPosition, Isolation, TopicView } from '../broker/broker.ts';
import { encodeCursor } from './cursor.ts';
import type { FeedStyle } from './feed-rendering.ts';
import { FeedRendering } from './feed-rendering.ts';
import type { LoopShare } from './loop-share.ts';
import type { ValueForm } from './record-json.ts';
import { RecordReader } from './record-reader.ts';

export interface FeedForm {
  readonly topic: TopicView;
  readonly isolation: Isolation;
  readonly values: ValueForm;
  readonly style: FeedStyle;
}

export interface FeedPiece {
  /** Shared: never written into. Of lines it may be empty, where records have nothing to show. */
  readonly text: Buffer;
  readonly recordCount: number;
  /** Of keys, values and headers. */
  readonly storedBytes: number;
  /** Behind the piece. */
  readonly positions: readonly FetchPosition[];
  /** The same as text. */
  readonly cursor: string;
}

/** How much a reader wants: the record that brings either count to zero or below still goes whole. */
export interface FeedDemand {
  readonly records: number;
  readonly bytes: number;
}

export interface NextPiece {
  /** Ends the wait; the answer is then null. */
  readonly signal: AbortSignal;
  readonly demand?: FeedDemand | undefined;
}

/** Stored bytes fetched for a piece at a time. */
const STEP_BYTES = 64 * 1024;

const NOTHING = accepted(null);

interface KeyedPiece extends FeedPiece {
  /** Of the positions behind the piece. */
  readonly nextKey: string;
}

type Settle = (outcome: Result<KeyedPiece>) => void;

const keyOf = (positions: readonly FetchPosition[]): string => {
  if (positions.length === 1) return String(positions[0]!.offset);
  return positions.map(position => position.offset).join();
};

/** One place between two pieces, and what comes after it. */
class Step {
  readonly share: FormShare;
  readonly key: string;
  /** Null while it is being made. */
  piece: KeyedPiece | null = null;
  readonly stop = new AbortController();
  readonly #waiting = new Set<Settle>();

  constructor(share: FormShare, key: string) {
    this.share = share;
    this.key = key;
  }

  wait(settle: Settle): void {
    this.#waiting.add(settle);
  }

  /** Nobody makes a piece that nobody waits for. */
  leave(settle: Settle): void {
    this.#waiting.delete(settle);
    if (this.#waiting.size > 0 || this.piece !== null) return;
    this.stop.abort();
    this.share.forget(this);
  }

  settle(outcome: Result<KeyedPiece>): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const settle of waiting) settle(outcome);
  }
}

/** All readers of one form. */
class FormShare {
  readonly key: string;
  readonly form: FeedForm;
  feedCount = 0;
  readonly #feeds: RecordFeeds;
  readonly #steps = new Map<string, Step>();
  /** The furthest end of any piece so far. */
  #edge: readonly FetchPosition[] | null = null;
  #turn = 0;

  constructor(feeds: RecordFeeds, key: string, form: FeedForm) {
    this.#feeds = feeds;
    this.key = key;
    this.form = form;
  }

  step(key: string, positions: readonly FetchPosition[]): Step {
    let step = this.#steps.get(key);
    if (step !== undefined) return step;
    step = new Step(this, key);
    this.#steps.set(key, step);
    // oxlint-disable-next-line typescript/no-floating-promises -- settles the step, and never rejects but for a bug
    this.#make(step, positions);
    return step;
  }

  forget(step: Step): void {
    if (this.#steps.get(step.key) === step) this.#steps.delete(step.key);
  }

  steps(): Iterable<Step> {
    return this.#steps.values();
  }

  async #make(step: Step, positions: readonly FetchPosition[]): Promise<void> {
    const demand = { records: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY };
    const outcome = await this.render(positions, { signal: step.stop.signal, demand });
    if (outcome === null) return;
    if (outcome.ok) {
      this.#edge = further(this.#edge, outcome.value.positions);
      step.piece = outcome.value;
      // A single reader goes on; nobody comes for what lies behind it.
      if (this.feedCount > 1) this.#feeds.keep(step, outcome.value.text.buffer.byteLength);
      else this.forget(step);
    } else this.forget(step);
    step.settle(outcome);
  }

  async isAtEnd(positions: readonly FetchPosition[]): Promise<boolean> {
    const { topic, isolation } = this.form;
    const asked = { topic: topic.name, positions, bytesMax: 1, isolation, waitMs: 0, signal: undefined };
    const fetched = await this.#feeds.broker.fetch(asked);
    return fetched.ok && fetched.value.every(part => part.batches.length === 0);
  }

  /** The piece that begins at these positions; waits for one. Null when the wait was ended. */
  async render(
    positions: readonly FetchPosition[],
    { signal, demand }: { readonly signal: AbortSignal; readonly demand: FeedDemand },
  ): Promise<Result<KeyedPiece> | null> {
    const { broker, loopShare } = this.#feeds;
    const { topic, isolation, values, style } = this.form;
    const bounds = boundsOf(this.#edge, positions);
    const from = bounds === null ? positions : positions.filter(at => at.offset < bounds.get(at.partition)!);
    const reader = new RecordReader({ broker, topic, isolation }, from, this.#turn++ % 0x7fffffff);
    const { records: recordsMax, bytes: storedBytesMax } = demand;
    // Lines end with a cursor: it moves past what has nothing to show.
    const mayBeEmpty = style === 'lines' || style === 'values';
    const rendering = new FeedRendering({ topic, values, style, positions, bounds, recordsMax, storedBytesMax });
    for (;;) {
      await loopShare.next();
      // A stopped broker answers waiting reads at once.
      if (signal.aborted) return null;
      const stepped = await reader.step({ bytesMax: STEP_BYTES, waitMs: READ_WAIT_MS_MAX, signal }, rendering);
      if (!stepped.ok) return stepped;
      if (rendering.count > 0 || (mayBeEmpty && stepped.value.hasMoved)) break;
    }
    const moved = new Map(reader.positions.map(({ partition, offset }) => [partition, offset]));
    const behind = positions.map(({ partition, offset }) => ({ partition, offset: moved.get(partition) ?? offset }));
    return accepted({
      text: compact(rendering.out.take()),
      recordCount: rendering.count,
      storedBytes: rendering.storedBytes,
      positions: behind,
      cursor: encodeCursor({ topicId: topic.id, positions: behind }),
      nextKey: keyOf(behind),
    });
  }
}

/** Whichever is further; the first where neither is ahead in every partition. */
const further = (edge: readonly FetchPosition[] | null, end: readonly FetchPosition[]): readonly FetchPosition[] =>
  edge === null || end.every((at, index) => at.offset >= edge[index]!.offset) ? end : edge;

/** The edge by partition where the positions lie behind it; null where they do not. */
const boundsOf = (
  edge: readonly FetchPosition[] | null,
  positions: readonly FetchPosition[],
): ReadonlyMap<number, Offset> | null => {
  if (edge === null || positions.some((at, index) => at.offset > edge[index]!.offset)) return null;
  if (positions.every((at, index) => at.offset === edge[index]!.offset)) return null;
  return new Map(edge.map(({ partition, offset }) => [partition, offset]));
};

/** A short text does not keep a long buffer alive. */
const compact = (text: Buffer): Buffer => {
  if (text.length * 2 >= text.buffer.byteLength) return text;
  const copy = Buffer.allocUnsafeSlow(text.length);
  copy.set(text);
  return copy;
};

/** One reader's way through the pieces of its form. */
export class RecordFeed {
  readonly #share: FormShare;
  readonly #onClose: (share: FormShare) => void;
  #positions: readonly FetchPosition[];
  #key: string;
  #isClosed = false;
  /** The wait under way, which every piece of a live reader has: nothing of it is made anew each time. */
  #step: Step | null = null;
  #resolve: ((outcome: Result<KeyedPiece> | null) => void) | null = null;
  #signal: AbortSignal | null = null;
  readonly #settle: Settle = outcome => this.#waited(outcome);
  readonly #leave = (): void => {
    this.#step?.leave(this.#settle);
    this.#waited(null);
  };

  constructor(share: FormShare, positions: readonly FetchPosition[], onClose: (share: FormShare) => void) {
    this.#share = share;
    this.#positions = positions;
    this.#key = keyOf(positions);
    this.#onClose = onClose;
  }

  get positions(): readonly FetchPosition[] {
    return this.#positions;
  }

  get cursor(): string {
    return encodeCursor({ topicId: this.#share.form.topic.id, positions: this.#positions });
  }

  /** The next piece, as soon as there is one. One call at a time. A refusal leaves the position where it is. */
  async next({ signal, demand }: NextPiece): Promise<Result<FeedPiece | null>> {
    if (signal.aborted) return NOTHING;
    const step = this.#share.step(this.#key, this.#positions);
    const outcome = step.piece === null ? await this.#wait(step, signal) : accepted(step.piece);
    if (outcome === null) return NOTHING;
    if (!outcome.ok) return outcome;
    const piece = outcome.value;
    if (demand === undefined || (piece.recordCount <= demand.records && piece.storedBytes <= demand.bytes)) {
      return accepted(this.#take(piece));
    }
    const part = await this.#share.render(this.#positions, { signal, demand });
    if (part === null) return NOTHING;
    return part.ok ? accepted(this.#take(part.value)) : part;
  }

  /** True when the log has nothing more for this reader now: a piece that is still awaited will be of what is to come. */
  isAtEnd(): Promise<boolean> {
    return this.#share.isAtEnd(this.#positions);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#signal?.removeEventListener('abort', this.#leave);
    this.#onClose(this.#share);
  }

  /** Null when the signal ended it. */
  #wait(step: Step, signal: AbortSignal): Promise<Result<KeyedPiece> | null> {
    if (signal !== this.#signal) {
      this.#signal?.removeEventListener('abort', this.#leave);
      signal.addEventListener('abort', this.#leave);
      this.#signal = signal;
    }
    return new Promise(resolve => {
      this.#step = step;
      this.#resolve = resolve;
      step.wait(this.#settle);
    });
  }

  #waited(outcome: Result<KeyedPiece> | null): void {
    const resolve = this.#resolve;
    this.#step = null;
    this.#resolve = null;
    resolve?.(outcome);
  }

  #take(piece: KeyedPiece): FeedPiece {
    this.#positions = piece.positions;
    this.#key = piece.nextKey;
    return piece;
  }
}

export class RecordFeeds {
  readonly broker: Broker;
  readonly loopShare: LoopShare;
  readonly #shares = new Map<string, FormShare>();
  /** Steps with their pieces, oldest first, by the bytes that they keep alive. */
  readonly #kept = new Map<Step, number>();
  #keptBytes = 0;

  constructor(broker: Broker, loopShare: LoopShare) {
    this.broker = broker;
    this.loopShare = loopShare;
  }

  /** Memory of pieces kept for readers that are to come. */
  get cachedBytes(): number {
    return this.#keptBytes;
  }

  /** Relies on positions that the topic has, one a partition, in ascending order. */
  open(form: FeedForm, positions: readonly FetchPosition[]): RecordFeed {
    const partitions = positions.map(position => position.partition).join();
    const key = `${form.topic.id}/${partitions}/${form.isolation}/${form.values}/${form.style}`;
    let share = this.#shares.get(key);
    if (share === undefined) {
      share = new FormShare(this, key, form);
      this.#shares.set(key, share);
    }
    share.feedCount++;
    return new RecordFeed(share, positions, left => this.#left(left));
  }

  keep(step: Step, bytes: number): void {
    this.#kept.set(step, bytes);
    this.#keptBytes += bytes;
    for (const oldest of this.#kept.keys()) {
      if (this.#keptBytes <= FEED_CACHE_BYTES_MAX || oldest === step) break;
      this.#drop(oldest);
    }
  }

  #drop(step: Step): void {
    this.#keptBytes -= this.#kept.get(step) ?? 0;
    this.#kept.delete(step);
    step.share.forget(step);
  }

  #left(share: FormShare): void {
    share.feedCount--;
    if (share.feedCount > 0) return;
    this.#shares.delete(share.key);
    for (const step of share.steps()) this.#drop(step);
  }
}

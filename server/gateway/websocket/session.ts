// One connection's requests and subscriptions, without its socket.
//
// Order: every frame is judged when it comes. Refusals are answered at once, produce requests in their order by partition
// (append-order.ts), a subscription's records behind its `subscribed`.
//
// Guarantees: one answer a request, except to `credit`, which has none. At most WEBSOCKET_REQUESTS_MAX requests are
// unanswered; what they hold is counted in the common byte budget until the kernel has the answer.
// A refusal never ends the connection. What throws is a bug: it is logged and answered INTERNAL; a broken
// invariant ends the process.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import type { Codec } from '@sluice/protocol/record';
import { AssertionFailure } from '../../base/assert.ts';
import {
  WEBSOCKET_REQUEST_BYTES_MAX,
  WEBSOCKET_REQUESTS_MAX,
  WEBSOCKET_SUBSCRIPTIONS_MAX,
  TIMEOUT_MS_DEFAULT,
} from '../../base/limits.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { Acks, FetchPosition, Isolation, TopicView } from '../../broker/broker.ts';
import { problemDocument } from '../error-mapping.ts';
import { exactAppend } from '../exact-append.ts';
import type { GatewayContext } from '../gateway.ts';
import type { BuilderPool } from '../partition-batches.ts';
import type { PartitionChoice } from '../partition-choice.ts';
import type { ReadTarget, Reset, StartParameters } from '../read-start.ts';
import { positionsInLog, readTarget, resetOf, startPositions, startsAtEarliest } from '../read-start.ts';
import type { ValueForm } from '../record-json.ts';
import { readRecordList } from '../record-json.ts';
import type { GatheredBatch } from '../record-gathering.ts';
import { RecordGathering } from '../record-gathering.ts';
import type { Placed, PlacementPlan } from '../record-placement.ts';
import { appendPlaced, placeRecords } from '../record-placement.ts';
import type { TextBuffer } from '../text-buffer.ts';
import { lookUpTopic, unknownPartition } from '../topic-lookup.ts';
import { AppendOrder } from './append-order.ts';
import type { Channel } from './channel.ts';
import type { CreditForm } from './credit.ts';
import { Credit } from './credit.ts';
import type { Fields, FrameId, Op } from './request.ts';
import { readFrame } from './request.ts';
import type { SendTurn } from '../send-turn.ts';
import { Subscription } from './subscription.ts';

/** What the sessions of a door have in common. */
export interface SharedState {
  readonly choice: PartitionChoice;
  readonly pool: BuilderPool;
  /** What answers are put together in. */
  readonly text: TextBuffer;
  readonly turn: SendTurn;
  readonly verbs: Readonly<Record<Op | 'unknown', VerbMetrics>>;
}

/** A request on its way to its answer. */
interface Pending {
  readonly id: FrameId | null;
  readonly op: Op | 'unknown';
  readonly startedMs: number;
  /** Held in the common byte budget. */
  readonly bytes: number;
}

const ACKS: Readonly<Record<string, Acks>> = { all: 'all', 1: 'leader', 0: 'none' };
const DOOR = { door: 'websocket' } as const;

/** When a reader may come back: a restart takes about this long. */
const RESUME_WITHIN_MS = 5_000;

export class Session {
  readonly #context: GatewayContext;
  readonly #shared: SharedState;
  readonly #channel: Channel;
  readonly #order = new AppendOrder();
  /** Frames that arrived together are handled in one step; what they hold leaves right behind it. */
  readonly #gathering = new RecordGathering<Pending>({
    atEnd: leave => queueMicrotask(leave),
    leave: batch => this.#appendGathered(batch),
  });
  readonly #subscriptions = new Map<string, Subscription>();
  /** Names given so far; one is never given twice. */
  #named = 0;
  #opening = 0;
  #unanswered = 0;
  #heldBytes = 0;
  #isDraining = false;
  #isClosed = false;
  #whenIdle: (() => void) | null = null;

  constructor(context: GatewayContext, shared: SharedState, channel: Channel) {
    this.#context = context;
    this.#shared = shared;
    this.#channel = channel;
  }

  /** A text message of so many bytes. */
  receive(text: string, bytes: number): void {
    const startedMs = this.#context.clock.monotonicMs();
    const frame = readFrame(text);
    const op = frame.op ?? 'unknown';
    this.#shared.verbs[op].received(bytes);
    const idle: Pending = { id: frame.id, op, startedMs, bytes: 0 };
    if (frame.kind === 'refused') {
      this.#refuse(idle, frame.problem);
      return;
    }
    const { fields } = frame;
    if (frame.op === 'credit') {
      this.#credit(idle, fields);
      return;
    }
    const refusal = this.#admit(op === 'produce' ? bytes : 0);
    if (refusal !== null) {
      this.#refuse(idle, refusal);
      return;
    }
    const pending: Pending = { id: frame.id, op: frame.op, startedMs, bytes: op === 'produce' ? bytes : 0 };
    try {
      if (frame.op === 'produce') this.#produce(pending, fields);
      else if (frame.op === 'subscribe') this.#watch(pending, this.#subscribe(pending, fields));
      else this.#unsubscribe(pending, String(fields['subscription']));
    } catch (error) {
      this.#failed(pending, error);
    }
  }

  /** What is no text. */
  receiveBinary(bytes: number): void {
    const startedMs = this.#context.clock.monotonicMs();
    this.#shared.verbs.unknown.received(bytes);
    const detail = 'frames are JSON text; a binary one says nothing here';
    this.#refuse({ id: null, op: 'unknown', startedMs, bytes: 0 }, problem('INVALID_REQUEST', detail));
  }

  /** Tells what is under way to end; resolves when every request has its answer. */
  drain(): Promise<void> {
    this.#isDraining = true;
    this.#send(`{"op":"draining","resume_within_ms":${RESUME_WITHIN_MS}}`, this.#shared.verbs.unknown);
    for (const subscription of this.#subscriptions.values()) subscription.stop();
    if (this.#unanswered === 0) return Promise.resolve();
    return new Promise(resolve => {
      this.#whenIdle = resolve;
    });
  }

  /** The connection is gone. Requests under way go on to their end, and nobody hears of it. */
  closed(): void {
    this.#isClosed = true;
    for (const subscription of this.#subscriptions.values()) subscription.stop();
    this.#whenIdle?.();
  }

  /** Null when one more request may be under way, and counts it. */
  #admit(bytes: number): Problem | null {
    if (this.#isDraining) return problem('SHUTTING_DOWN', 'this broker is stopping');
    if (this.#unanswered >= WEBSOCKET_REQUESTS_MAX) {
      const facts = { limit: WEBSOCKET_REQUESTS_MAX };
      return problem('THROTTLED', `${WEBSOCKET_REQUESTS_MAX} requests of this connection are unanswered`, facts);
    }
    if (this.#heldBytes > 0 && this.#heldBytes + bytes > WEBSOCKET_REQUEST_BYTES_MAX) {
      const detail = `the requests of this connection that are unanswered hold ${WEBSOCKET_REQUEST_BYTES_MAX} bytes`;
      return problem('THROTTLED', detail, { limit_bytes: WEBSOCKET_REQUEST_BYTES_MAX });
    }
    if (!this.#context.bodyBudget.reserve(bytes)) {
      return problem('THROTTLED', 'too many bodies are in memory; try again');
    }
    this.#unanswered++;
    this.#heldBytes += bytes;
    return null;
  }

  // ---- Produce ----

  #produce(pending: Pending, fields: Fields): void {
    const plan = this.#producePlan(fields);
    if (!plan.ok) {
      this.#answerProblem(pending, plan.problem);
      return;
    }
    const records = readRecordList(fields['records']);
    if (!records.ok) {
      this.#answerProblem(pending, records.problem);
      return;
    }
    const [only] = records.value;
    if (only !== undefined && records.value.length === 1) {
      if (this.#gathering.add(pending, only, { plan: plan.value, bodyBytes: pending.bytes })) return;
    }
    // Those before this one stay before it.
    this.#gathering.leave();
    const placed = placeRecords(records.value, plan.value, pending.bytes);
    if (!placed.ok) this.#answerProblem(pending, placed.problem);
    else this.#watch(pending, this.#append(pending, plan.value, placed.value));
  }

  #producePlan(fields: Fields): Result<PlacementPlan> {
    const { broker, clock } = this.#context;
    const topic = lookUpTopic(broker, String(fields['topic']));
    if (!topic.ok) return topic;
    const partition = namedPartition(topic.value, fields);
    if (!partition.ok) return partition;
    const { choice, pool, text } = this.#shared;
    const exact = exactAppend(fields);
    if (!exact.ok) return exact;
    return accepted({
      broker,
      clock,
      choice,
      pool,
      text,
      topic: topic.value,
      partition: partition.value,
      partitionOf: 'request',
      acks: ACKS[(fields['acks'] as string | number | undefined) ?? 'all']!,
      timeoutMs: Number(fields['timeout_ms'] ?? TIMEOUT_MS_DEFAULT),
      codec: (fields['compression'] as Codec | undefined) ?? 'none',
      exact: exact.value,
    });
  }

  async #append(pending: Pending, plan: PlacementPlan, placed: Placed): Promise<void> {
    const append = this.#order.enter(plan, placed.batches);
    const { id } = pending;
    try {
      if (plan.acks === 'none') {
        // The answer does not wait, what the request holds does.
        this.#send(`{"id":${JSON.stringify(id)},"op":"produced"}`, this.#shared.verbs.produce);
        await Promise.all(placed.batches.map(of => append.produce(plan, of)));
        this.#finished(pending, 'ok');
        this.#release(pending);
        this.#answered();
        return;
      }
      const requestId = placed.batches.length > 1 ? this.#context.random.uuid() : '';
      const answer = await appendPlaced(plan, placed, { requestId, produce: append.produce });
      const turn = append.turn();
      if (turn !== null) await turn;
      if (answer.ok) {
        this.#answer(pending, `{"id":${JSON.stringify(id)},"op":"produced","offsets":${answer.value.offsets}}`);
      } else this.#answerProblem(pending, answer.problem);
    } finally {
      append.leave();
    }
  }

  #appendGathered(batch: GatheredBatch<Pending>): void {
    this.#answerGathered(batch).catch((error: unknown) => {
      for (const pending of batch.requests) this.#failed(pending, error);
    });
  }

  async #answerGathered({ plan, of, requests }: GatheredBatch<Pending>): Promise<void> {
    const append = this.#order.enter(plan, [of]);
    try {
      const outcome = await append.produce(plan, of);
      const turn = append.turn();
      if (turn !== null) await turn;
      if (!outcome.ok) {
        for (const pending of requests) this.#answerProblem(pending, outcome.problem);
        return;
      }
      // One timestamp for all: the gateway's, or the one of the append.
      const { baseOffset, timestampMs } = outcome.value;
      const before = `,"op":"produced","offsets":[{"partition":${of.partition},"offset":`;
      const after = `,"timestamp":${timestampMs}}]}`;
      for (const [index, pending] of requests.entries()) {
        this.#answer(pending, `{"id":${JSON.stringify(pending.id)}${before}${baseOffset + index}${after}`);
      }
    } finally {
      append.leave();
    }
  }

  // ---- Subscriptions ----

  async #subscribe(pending: Pending, fields: Fields): Promise<void> {
    if (this.#subscriptions.size + this.#opening >= WEBSOCKET_SUBSCRIPTIONS_MAX) {
      const detail = `a connection has at most ${WEBSOCKET_SUBSCRIPTIONS_MAX} subscriptions`;
      this.#answerProblem(pending, problem('THROTTLED', detail, { limit: WEBSOCKET_SUBSCRIPTIONS_MAX }));
      return;
    }
    this.#opening++;
    try {
      const target = this.#readTarget(fields);
      const start = target.ok ? await this.#start(target.value, fields) : target;
      if (!start.ok || !target.ok) {
        if (!start.ok) this.#answerProblem(pending, start.problem);
        return;
      }
      if (this.#isDraining) {
        this.#answerProblem(pending, problem('SHUTTING_DOWN', 'this broker is stopping'));
        return;
      }
      if (this.#isClosed) {
        this.#finished(pending, 'disconnected');
        this.#release(pending);
        this.#answered();
        return;
      }
      this.#open(pending, fields, { target: target.value, positions: start.value });
    } finally {
      this.#opening--;
    }
  }

  #open(
    pending: Pending,
    fields: Fields,
    { target, positions }: { readonly target: ReadTarget; readonly positions: readonly FetchPosition[] },
  ): void {
    const name = `s${++this.#named}`;
    const given = fields['credit'] as CreditForm | undefined;
    const subscription = new Subscription({
      context: this.#context,
      turn: this.#shared.turn,
      channel: this.#channel,
      name,
      form: {
        topic: target.topic,
        isolation: (fields['isolation'] as Isolation | undefined) ?? 'read_uncommitted',
        values: (fields['values'] as ValueForm | undefined) ?? 'auto',
        style: 'members',
      },
      positions,
      reset: resetFor(fields as StartParameters),
      credit: given === undefined ? Credit.unlimited() : Credit.of(given),
      bytesMax: (fields['max_bytes'] as number | undefined) ?? Number.POSITIVE_INFINITY,
    });
    this.#subscriptions.set(name, subscription);
    this.#context.metrics.openStreams.inc(DOOR);
    this.#answer(pending, `{"id":${JSON.stringify(pending.id)},"op":"subscribed","subscription":"${name}"}`);
    // oxlint-disable-next-line typescript/no-floating-promises -- ends with the subscription, and says itself how
    this.#follow(subscription);
  }

  /** A subscription to its end. */
  async #follow(subscription: Subscription): Promise<void> {
    const { name } = subscription;
    let ending: Problem | null;
    try {
      ending = await subscription.run();
    } catch (error) {
      ending = this.#unexpected(error);
    }
    this.#subscriptions.delete(name);
    this.#context.metrics.openStreams.dec(DOOR);
    // Everybody was told that the broker stops.
    if (ending === null || this.#isDraining) return;
    const document = JSON.stringify(problemDocument(ending, this.#context.random.uuid()));
    this.#send(`{"op":"error","subscription":"${name}","problem":${document}}`, this.#shared.verbs.subscribe);
  }

  #readTarget(fields: Fields): Result<ReadTarget> {
    const topic = lookUpTopic(this.#context.broker, String(fields['topic']));
    if (!topic.ok) return topic;
    const partition = namedPartition(topic.value, fields);
    if (!partition.ok) return partition;
    if (partition.value !== null && fields['partitions'] !== undefined) {
      return refused('INVALID_REQUEST', 'a read names partition or partitions', { field: 'partitions' });
    }
    if (partition.value === null && fields['offset'] !== undefined) {
      return refused('INVALID_REQUEST', 'an offset is of one partition, which must be named', { field: 'partition' });
    }
    return readTarget(topic.value, partition.value, fields as StartParameters);
  }

  async #start(target: ReadTarget, fields: Fields): Promise<Result<readonly FetchPosition[]>> {
    const { broker } = this.#context;
    const parameters = fields as StartParameters;
    const start = await startPositions(broker, target, parameters);
    if (!start.ok) return start;
    return positionsInLog(broker, target.topic.name, { positions: start.value, reset: resetFor(parameters) });
  }

  #unsubscribe(pending: Pending, name: string): void {
    if (!this.#isNamed(name)) {
      this.#answerProblem(pending, unknownSubscription(name));
      return;
    }
    // One that ended by itself meanwhile is unsubscribed too.
    this.#subscriptions.get(name)?.stop();
    this.#subscriptions.delete(name);
    this.#answer(pending, `{"id":${JSON.stringify(pending.id)},"op":"unsubscribed"}`);
  }

  #credit(request: Pending, fields: Fields): void {
    const name = String(fields['subscription']);
    if (!this.#isNamed(name)) {
      this.#refuse(request, unknownSubscription(name));
      return;
    }
    // A grant may cross the end of its subscription.
    const amount = { records: Number(fields['records']), bytes: Number(fields['bytes']) };
    const fault = this.#subscriptions.get(name)?.grant(amount) ?? null;
    if (fault !== null) this.#refuse(request, problem('INVALID_REQUEST', fault, { field: 'records' }));
    else this.#finished(request, 'ok');
  }

  #isNamed(name: string): boolean {
    const number = Number(name.slice(1));
    return number >= 1 && number <= this.#named && name === `s${number}`;
  }

  // ---- Answers ----

  #answer(pending: Pending, text: string): void {
    this.#finished(pending, 'ok');
    this.#send(text, this.#shared.verbs[pending.op], () => this.#release(pending));
    this.#answered();
  }

  #answerProblem(pending: Pending, refusal: Problem): void {
    this.#finished(pending, refusal.code);
    this.#send(this.#problemText(pending, refusal), this.#shared.verbs[pending.op], () => this.#release(pending));
    this.#answered();
  }

  /** Of a frame that was not counted among the unanswered. */
  #refuse(request: Pending, refusal: Problem): void {
    this.#finished(request, refusal.code);
    this.#send(this.#problemText(request, refusal), this.#shared.verbs[request.op]);
  }

  #problemText({ id }: Pending, refusal: Problem): string {
    const document = JSON.stringify(problemDocument(refusal, this.#context.random.uuid()));
    return `{${id === null ? '' : `"id":${JSON.stringify(id)},`}"op":"error","problem":${document}}`;
  }

  #send(text: string, metrics: VerbMetrics, onFlushed?: () => void): void {
    if (this.#isClosed) {
      onFlushed?.();
      return;
    }
    metrics.sent(text.length);
    this.#channel.send(text, onFlushed);
  }

  #finished({ op, startedMs }: Pending, outcome: string): void {
    this.#shared.verbs[op].finished(outcome, (this.#context.clock.monotonicMs() - startedMs) / 1000);
  }

  /** The answer is on its way; the client may send the next request as soon as it has it. */
  #answered(): void {
    this.#unanswered--;
    if (this.#unanswered === 0) this.#whenIdle?.();
  }

  /** What the request held: an answer that is not taken takes as much. */
  #release({ bytes }: Pending): void {
    this.#heldBytes -= bytes;
    this.#context.bodyBudget.release(bytes);
  }

  // ---- Bugs ----

  #watch(pending: Pending, work: Promise<void>): void {
    work.catch((error: unknown) => this.#failed(pending, error));
  }

  #failed(pending: Pending, error: unknown): void {
    this.#answerProblem(pending, this.#unexpected(error));
  }

  #unexpected(error: unknown): Problem {
    if (error instanceof AssertionFailure) {
      // Out of the promise, where nobody catches it: the process ends.
      queueMicrotask(() => {
        throw error;
      });
    }
    this.#context.logger.error({ err: error }, 'a request of a WebSocket failed unexpectedly');
    return problem('INTERNAL', 'the broker failed; its log has the cause');
  }
}

/** The partition that the request as a whole names; null when it names none. */
const namedPartition = (topic: TopicView, fields: Fields): Result<number | null> => {
  const partition = fields['partition'] as number | undefined;
  if (partition === undefined) return accepted(null);
  return partition < topic.partitionCount ? accepted(partition) : unknownPartition(topic, partition);
};

/** A read from the earliest record follows it when retention is quicker than its start. */
const resetFor = (parameters: StartParameters): Reset =>
  resetOf(parameters) ?? (startsAtEarliest(parameters) ? 'earliest' : null);

const unknownSubscription = (name: string): Problem =>
  problem('INVALID_REQUEST', `this connection has no subscription ${JSON.stringify(name)}`, { field: 'subscription' });

// ProduceService: one call, any number of requests under way.
//
//   request → lane of its partition → broker.produce → answer in the lane's order → outbox
//
// Reading stops while too much is under way, in bytes or requests, or while the client does not take its answers. Bytes
// are counted against the budget of all doors until the broker has answered. What was handed to the broker is
// completed there even when the client is gone.

import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Problem, Result } from '@sluice/protocol/errors';
import { problem, refused } from '@sluice/protocol/errors';
import { type Offset, offset } from '@sluice/protocol/ids';
import type { ProduceRequest, ProduceResponse } from '@sluice/protocol/services';
import { Acks as WireAcks, ProduceResponseSchema } from '@sluice/protocol/services';
import {
  GRPC_OUTBOX_BYTES_MAX,
  GRPC_OUTBOX_MESSAGES_MAX,
  GRPC_PRODUCE_BYTES_MAX,
  GRPC_PRODUCE_REQUESTS_MAX,
  TIMEOUT_MS_DEFAULT,
  TIMEOUT_MS_MAX,
} from '../../base/limits.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { Acks, ProduceAck } from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import { AnswerLane } from './answer-lane.ts';
import type { OpenCall, OpenCalls } from './open-calls.ts';
import { Outbox } from './outbox.ts';
import { problemMessage, problemStatus } from './problem-status.ts';
import type { ReadGate } from './read-gate.ts';
import { encodeRecords } from './record-batch.ts';
import { naturalNumber } from './safe-number.ts';
import { unexpected } from './unexpected.ts';

type Call = ServerDuplexStream<ProduceRequest, ProduceResponse>;

/** What an answer weighs in the outbox, roughly. */
const ANSWER_BYTES = 64;
/** A record's fields beside its bytes, roughly: what a message of many empty records takes all the same. */
const RECORD_BYTES = 64;

const acksByWire: ReadonlyMap<WireAcks, Acks> = new Map<WireAcks, Acks>([
  [WireAcks.ALL, 'all'],
  [WireAcks.LEADER, 'leader'],
  [WireAcks.NONE, 'none'],
]);

interface CheckedRequest {
  readonly acks: Acks;
  readonly timeoutMs: number;
  readonly expectedOffset?: Offset;
}

export class ProduceCall implements OpenCall {
  readonly #context: GatewayContext;
  readonly #call: Call;
  readonly #gate: ReadGate;
  readonly #calls: OpenCalls;
  readonly #metrics: VerbMetrics;
  readonly #outbox: Outbox<ProduceResponse>;
  /** Invariant: only lanes with requests under way. */
  readonly #lanes = new Map<string, AnswerLane<ProduceResponse>>();
  #pendingBytes = 0;
  #pendingRequests = 0;
  #isReading = true;
  #hasHalfClosed = false;
  #isDraining = false;

  constructor(
    context: GatewayContext,
    call: Call,
    door: { readonly gate: ReadGate; readonly calls: OpenCalls; readonly metrics: VerbMetrics },
  ) {
    this.#context = context;
    this.#call = call;
    this.#gate = door.gate;
    this.#calls = door.calls;
    this.#metrics = door.metrics;
    const queue = context.outgoing.open('grpc', () => this.#gate.cut());
    const limits = { bytesMax: GRPC_OUTBOX_BYTES_MAX, messagesMax: GRPC_OUTBOX_MESSAGES_MAX, queue };
    this.#outbox = new Outbox(call, limits, () => this.#steer());
  }

  start(): void {
    this.#call.on('data', (request: ProduceRequest) => this.#take(request));
    this.#call.on('end', () => {
      this.#hasHalfClosed = true;
      this.#steer();
    });
    this.#call.on('cancelled', () => this.#calls.ended(this));
    this.#call.on('close', () => this.#calls.ended(this));
    this.#calls.opened(this);
  }

  drain(): void {
    this.#isDraining = true;
    this.#steer();
  }

  #take(request: ProduceRequest): void {
    const startedMs = this.#context.clock.monotonicMs();
    const bytes = requestBytes(request);
    this.#metrics.received(bytes);
    const laneKey = `${request.partition}/${request.topic}`;
    const lane = this.#lane(laneKey);
    const settle = lane.enter();
    const isCounted = this.#context.bodyBudget.reserve(bytes);
    this.#pendingBytes += bytes;
    this.#pendingRequests++;

    const answer = (result: Result<ProduceAck>): void => {
      if (isCounted) this.#context.bodyBudget.release(bytes);
      this.#pendingBytes -= bytes;
      this.#pendingRequests--;
      const seconds = (this.#context.clock.monotonicMs() - startedMs) / 1_000;
      this.#metrics.finished(result.ok ? 'ok' : result.problem.code, seconds);
      settle(response(request, result));
      if (lane.isEmpty) this.#lanes.delete(laneKey);
      this.#steer();
    };

    if (this.#isDraining) {
      answer(refused('SHUTTING_DOWN', 'the broker is stopping; the records were not written'));
    } else if (isCounted) {
      lane.inOrder(() => this.#submit(request, answer));
    } else {
      answer(refused('THROTTLED', 'too many bytes of requests are under way; the records were not written'));
    }
    this.#steer();
  }

  /** Undefined when the broker has the request (or it is refused) on return. */
  #submit(request: ProduceRequest, answer: (result: Result<ProduceAck>) => void): Promise<void> | undefined {
    try {
      return this.#check(request, answer);
    } catch (error) {
      answer({ ok: false, problem: unexpected(this.#context, error, 'produce') });
      return undefined;
    }
  }

  #check(request: ProduceRequest, answer: (result: Result<ProduceAck>) => void): Promise<void> | undefined {
    const fail = (error: unknown): void => answer({ ok: false, problem: unexpected(this.#context, error, 'produce') });
    const checked = check(request);
    if (!checked.ok) {
      answer(checked);
      return undefined;
    }
    const hand = (batches: Uint8Array): void => {
      const { topic, partition } = request;
      this.#context.broker.produce({ topic, partition, batches, ...checked.value }).then(answer, fail);
    };
    if (request.batches.byteLength > 0) {
      hand(request.batches);
      return undefined;
    }
    const topic = this.#context.broker.findTopic(request.topic);
    if (topic === null) {
      answer(refused('TOPIC_NOT_FOUND', `there is no topic "${request.topic}"`, { topic: request.topic }));
      return undefined;
    }
    const encoded = encodeRecords(request.records, {
      producer: request.producer ?? null,
      compression: request.compression,
      batchBytesMax: topic.batchBytesMax,
      nowMs: this.#context.clock.wallMs(),
    });
    if (encoded instanceof Promise) {
      return encoded.then(result => (result.ok ? hand(result.value) : answer(result))).catch(fail);
    }
    if (encoded.ok) hand(encoded.value);
    else answer(encoded);
    return undefined;
  }

  #lane(key: string): AnswerLane<ProduceResponse> {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new AnswerLane(message => this.#outbox.put(message, ANSWER_BYTES));
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  /** Reads on or holds, and ends the call when everything is answered that will be. */
  #steer(): void {
    if (this.#pendingRequests === 0 && (this.#hasHalfClosed || this.#isDraining)) {
      if (this.#hasHalfClosed) this.#outbox.end();
      else this.#outbox.endWith(problemStatus(stopping));
      return;
    }
    const mayRead =
      this.#pendingBytes < GRPC_PRODUCE_BYTES_MAX &&
      this.#pendingRequests < GRPC_PRODUCE_REQUESTS_MAX &&
      !this.#outbox.isCrowded;
    if (mayRead === this.#isReading) return;
    this.#isReading = mayRead;
    if (mayRead) this.#gate.release();
    else this.#gate.hold();
  }
}

const stopping: Problem = problem(
  'SHUTTING_DOWN',
  'the broker is stopping; requests without an answer were not written',
);

const requestBytes = (request: ProduceRequest): number => {
  let bytes = request.batches.byteLength;
  for (const record of request.records) {
    bytes += RECORD_BYTES + (record.key?.byteLength ?? 0) + (record.value?.byteLength ?? 0);
    for (const header of record.headers) bytes += RECORD_BYTES + header.key.length + (header.value?.byteLength ?? 0);
  }
  return bytes;
};

const check = (request: ProduceRequest): Result<CheckedRequest, 'INVALID_REQUEST'> => {
  if (request.batches.byteLength > 0 === request.records.length > 0) {
    return refused('INVALID_REQUEST', 'a request carries either batches or records');
  }
  if (request.partition < 0) return refused('INVALID_REQUEST', `partition ${request.partition} is negative`);
  const acks = acksByWire.get(request.acks);
  if (acks === undefined) return refused('INVALID_REQUEST', `there is no acks ${request.acks}`);
  if (request.timeoutMs > TIMEOUT_MS_MAX) {
    return refused('INVALID_REQUEST', `timeout_ms ${request.timeoutMs} is more than ${TIMEOUT_MS_MAX}`);
  }
  if (request.producer !== undefined && request.records.length === 0) {
    return refused('INVALID_REQUEST', 'batches are signed by their own producers');
  }
  const timeoutMs = request.timeoutMs === 0 ? TIMEOUT_MS_DEFAULT : request.timeoutMs;
  if (request.expectedOffset === undefined) return { ok: true, value: { acks, timeoutMs } };
  const expected = naturalNumber(request.expectedOffset);
  if (expected === null) return refused('INVALID_REQUEST', 'expected_offset is not in the range of 0 to 2^53 - 1');
  return { ok: true, value: { acks, timeoutMs, expectedOffset: offset(expected) } };
};

/** Null where nobody waits for an answer. */
const response = (request: ProduceRequest, result: Result<ProduceAck>): ProduceResponse | null => {
  if (!result.ok) {
    return create(ProduceResponseSchema, {
      id: request.id,
      result: { case: 'error', value: problemMessage(result.problem) },
    });
  }
  if (request.acks === WireAcks.NONE) return null;
  const { baseOffset, count, timestampMs } = result.value;
  return create(ProduceResponseSchema, {
    id: request.id,
    result: { case: 'ack', value: { baseOffset: BigInt(baseOffset), count, timestampMs: BigInt(timestampMs) } },
  });
};

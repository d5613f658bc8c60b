// FetchService: one call, many reads, each known by the number that the client gave it.
//
// Reads share the way out (first come, first served, so none starves) and are otherwise independent: a refusal ends the
// read it names. Requests are handled as they come; they are held back only while refusals pile up unread.

import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Problem } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';
import type { FetchRequest, GrantCredit, OpenRead } from '@sluice/protocol/services';
import { FetchResponseSchema } from '@sluice/protocol/services';
import {
  GRPC_FETCHES_PER_CALL_MAX,
  GRPC_HELD_BYTES_MAX,
  GRPC_OUTBOX_BYTES_MAX,
  GRPC_OUTBOX_MESSAGES_MAX,
  GRPC_READS_PER_CALL_MAX,
} from '../../base/limits.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { GatewayContext } from '../gateway.ts';
import { BodyBudget } from '../body-budget.ts';
import type { OpenCall, OpenCalls } from './open-calls.ts';
import { Outbox } from './outbox.ts';
import { problemMessage, problemStatus } from './problem-status.ts';
import type { ReadGate } from './read-gate.ts';
import { checkOpen } from './read-request.ts';
import { Read, type FetchAnswer, type ReadShare } from './read.ts';
import { Turns } from './turns.ts';

type Call = ServerDuplexStream<FetchRequest, FetchAnswer>;

const REFUSAL_BYTES = 256;

export class FetchCall implements OpenCall {
  readonly #call: Call;
  readonly #gate: ReadGate;
  readonly #calls: OpenCalls;
  readonly #share: ReadShare;
  readonly #outbox: Outbox<FetchAnswer>;
  /** Invariant: exactly the reads that are not over. */
  readonly #reads = new Map<number, Read>();
  #isReading = true;
  #hasHalfClosed = false;
  #isDraining = false;

  constructor(
    context: GatewayContext,
    call: Call,
    door: { readonly gate: ReadGate; readonly calls: OpenCalls; readonly metrics: VerbMetrics },
  ) {
    this.#call = call;
    this.#gate = door.gate;
    this.#calls = door.calls;
    const queue = context.outgoing.open('grpc', () => this.#gate.cut());
    const limits = { bytesMax: GRPC_OUTBOX_BYTES_MAX, messagesMax: GRPC_OUTBOX_MESSAGES_MAX, queue };
    this.#outbox = new Outbox(call, limits, () => this.#steer());
    this.#share = {
      context,
      outbox: this.#outbox,
      turns: new Turns(GRPC_FETCHES_PER_CALL_MAX),
      held: new BodyBudget(GRPC_HELD_BYTES_MAX),
      metrics: door.metrics,
    };
  }

  start(): void {
    this.#call.on('data', (request: FetchRequest) => this.#take(request));
    this.#call.on('end', () => {
      this.#hasHalfClosed = true;
      this.#steer();
    });
    this.#call.on('cancelled', () => this.#gone());
    this.#call.on('close', () => this.#gone());
    this.#calls.opened(this);
  }

  drain(): void {
    this.#isDraining = true;
    for (const read of this.#reads.values()) read.drain();
    this.#steer();
  }

  #gone(): void {
    this.#calls.ended(this);
    for (const read of this.#reads.values()) read.abandon();
  }

  #take({ request }: FetchRequest): void {
    // The status is on its way; what came behind the message that caused it means nothing.
    if (this.#outbox.isClosed) return;
    switch (request.case) {
      case 'open':
        this.#open(request.value);
        break;
      case 'credit':
        this.#grant(request.value);
        break;
      case 'close':
        this.#reads.get(request.value.stream)?.close();
        break;
      case undefined:
        // There is no read to answer for.
        for (const read of this.#reads.values()) read.abandon();
        this.#outbox.endWith(problemStatus(problem('INVALID_REQUEST', 'a request is open, credit or close')));
        break;
    }
    this.#steer();
  }

  #open(open: OpenRead): void {
    const { stream } = open;
    if (this.#isDraining) {
      this.#refuse(stream, problem('SHUTTING_DOWN', 'the broker is stopping'));
      return;
    }
    if (this.#reads.has(stream)) {
      this.#refuse(
        stream,
        problem('INVALID_REQUEST', `a read with stream ${stream} is open already and goes on`, { duplicate: true }),
      );
      return;
    }
    if (this.#reads.size >= GRPC_READS_PER_CALL_MAX) {
      this.#refuse(stream, problem('THROTTLED', `one call has at most ${GRPC_READS_PER_CALL_MAX} reads`));
      return;
    }
    const checked = checkOpen(open);
    if (!checked.ok) {
      this.#share.metrics.finished(checked.problem.code, 0);
      this.#refuse(stream, checked.problem);
      return;
    }
    const read = new Read(this.#share, checked.value);
    this.#reads.set(stream, read);
    void read.run().then(() => this.#over(stream, read));
  }

  /** Credit for a read that is over crossed its last message and means nothing. */
  #grant(message: GrantCredit): void {
    const read = this.#reads.get(message.stream);
    const fault = read?.grant(message);
    if (read === undefined || fault === null || fault === undefined) return;
    read.abandon();
    this.#reads.delete(message.stream);
    this.#refuse(message.stream, problem('INVALID_REQUEST', fault));
  }

  #over(stream: number, read: Read): void {
    if (this.#reads.get(stream) === read) this.#reads.delete(stream);
    this.#steer();
  }

  #refuse(stream: number, refusal: Problem): void {
    const message = create(FetchResponseSchema, { stream, payload: { case: 'error', value: problemMessage(refusal) } });
    this.#outbox.put(message, REFUSAL_BYTES);
  }

  /** Reads on or holds, and ends the call when nothing can come any more. */
  #steer(): void {
    if (this.#reads.size === 0 && this.#hasHalfClosed) this.#outbox.end();
    else if (this.#reads.size === 0 && this.#isDraining) this.#outbox.endWith(problemStatus(stopping));
    const mayRead = !this.#outbox.isCrowded;
    if (mayRead === this.#isReading) return;
    this.#isReading = mayRead;
    if (mayRead) this.#gate.release();
    else this.#gate.hold();
  }
}

const stopping: Problem = problem('SHUTTING_DOWN', 'the broker is stopping');

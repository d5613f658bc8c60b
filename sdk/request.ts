// One question, one answer, and when it is asked again.
//
//                                     repeatable      not repeatable
//   nothing was sent                  again           again
//   refused, and may succeed later    again           again: a refusal says that nothing was done
//   sent, no answer                   again           the outcome is unknown: REQUEST_TIMED_OUT
//   refused for good                  the refusal     the refusal

import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { Backoff } from './backoff.ts';
import { unreachable } from './cluster-metadata.ts';
import { Deadline, pause } from './deadline.ts';
import type { Links } from './links.ts';
import type { Runtime } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';
import { LinkFailure } from './transport/transport.ts';

export interface RequestLimits {
  /** How long to look for a server. */
  readonly connectTimeoutMs: number;
  /** The whole, attempts and waits included. */
  readonly requestTimeoutMs: number;
}

export interface Attempt<I extends DescMessage, O extends DescMessage> {
  readonly method: DescMethodUnary<I, O>;
  readonly request: MessageInitShape<I>;
  /** Doing it twice is doing it once. */
  readonly isRepeatable: boolean;
  readonly signal: AbortSignal | undefined;
}

export class Requester {
  readonly #runtime: Runtime;
  readonly #links: Links;
  readonly #limits: RequestLimits;

  constructor(runtime: Runtime, links: Links, limits: RequestLimits) {
    this.#runtime = runtime;
    this.#links = links;
    this.#limits = limits;
  }

  async ask<I extends DescMessage, O extends DescMessage>(attempt: Attempt<I, O>): Promise<MessageShape<O>> {
    const { clock, random } = this.#runtime;
    const { connectTimeoutMs, requestTimeoutMs } = this.#limits;
    const backoff = new Backoff(random);
    const startedMs = clock.monotonicMs();
    /** A request is out of which nobody knows whether it was done. */
    let isOutcomeUnknown = false;
    let cause: unknown;
    const onExpiry = (): SluiceError => timedOut(requestTimeoutMs, { isOutcomeUnknown, cause });
    const deadline = new Deadline(clock, { ms: requestTimeoutMs, onExpiry, signal: attempt.signal });
    try {
      for (;;) {
        try {
          const connection = await this.#links.toAny();
          deadline.signal.throwIfAborted();
          isOutcomeUnknown = !attempt.isRepeatable;
          return await connection.unary(attempt.method, attempt.request, deadline.signal);
        } catch (error) {
          deadline.signal.throwIfAborted();
          cause = error;
          if (error instanceof LinkFailure) {
            if (error.stage === 'connect' && clock.monotonicMs() - startedMs >= connectTimeoutMs) {
              throw unreachable(connectTimeoutMs, error);
            }
            if (error.stage === 'call' && !attempt.isRepeatable) throw unanswered(error);
          } else if (!(error instanceof SluiceError) || !error.retriable || error.outcome === 'unknown') {
            throw error;
          }
          isOutcomeUnknown = false;
        }
        await pause(clock, backoff.nextMs(), deadline.signal);
      }
    } finally {
      deadline.release();
    }
  }
}

const unanswered = (failure: LinkFailure): SluiceError =>
  new SluiceError('REQUEST_TIMED_OUT', `the connection was lost before the answer came (${failure.message})`, {
    outcome: 'unknown',
    cause: failure,
  });

const timedOut = (
  limitMs: number,
  { isOutcomeUnknown, cause }: { isOutcomeUnknown: boolean; cause: unknown },
): SluiceError =>
  new SluiceError('REQUEST_TIMED_OUT', `no answer within ${limitMs} ms`, {
    outcome: isOutcomeUnknown ? 'unknown' : undefined,
    cause,
  });

// One question over REST, one answer, and when it is asked again.
//
//                                     repeatable      not repeatable
//   refused, and may succeed later    again           again: a refusal says that nothing was done
//   no answer                         again           the outcome is unknown: REQUEST_TIMED_OUT
//   refused for good                  the refusal     the refusal

import { Backoff } from '../backoff.ts';
import { Deadline, pause } from '../deadline.ts';
import { SluiceError } from '../sluice-error.ts';
import type { BrowserRuntime, HttpAnswer } from './runtime.ts';
import { errorOf, type ProblemDocument } from './wire.ts';

export interface Question {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Below the broker's origin, with its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

export interface RestOptions {
  readonly origin: string;
  readonly token: string | undefined;
  /** The whole, attempts and waits included. */
  readonly requestTimeoutMs: number;
}

export class RestCaller {
  readonly #runtime: BrowserRuntime;
  readonly #options: RestOptions;

  constructor(runtime: BrowserRuntime, options: RestOptions) {
    this.#runtime = runtime;
    this.#options = options;
  }

  /** The answer's JSON; null where it has no body. */
  async ask<T>(question: Question): Promise<T> {
    const { clock, random } = this.#runtime;
    const { origin, token, requestTimeoutMs } = this.#options;
    const { method, path, body } = question;
    const isRepeatable = method === 'GET';
    const backoff = new Backoff(random);
    let cause: unknown;
    let isOut = false;
    const onExpiry = (): SluiceError => {
      const outcome = isOut && !isRepeatable ? 'unknown' : undefined;
      return new SluiceError('REQUEST_TIMED_OUT', `no answer within ${requestTimeoutMs} ms`, { outcome, cause });
    };
    const deadline = new Deadline(clock, { ms: requestTimeoutMs, onExpiry, signal: question.signal });
    try {
      for (;;) {
        deadline.signal.throwIfAborted();
        isOut = true;
        try {
          const answer = await this.#runtime.request({
            method,
            url: origin + path,
            body: body === undefined ? null : JSON.stringify(body),
            token,
            signal: deadline.signal,
          });
          if (answer.status < 400) return (answer.text === '' ? null : JSON.parse(answer.text)) as T;
          const error = refusal(answer);
          if (!error.retriable || (error.outcome === 'unknown' && !isRepeatable)) throw error;
          cause = error;
        } catch (error) {
          deadline.signal.throwIfAborted();
          if (error instanceof SluiceError) throw error;
          cause = error;
          if (!isRepeatable) {
            const detail = `there was no answer (${error instanceof Error ? error.message : String(error)})`;
            throw new SluiceError('REQUEST_TIMED_OUT', detail, { outcome: 'unknown', cause });
          }
        }
        isOut = false;
        await pause(clock, backoff.nextMs(), deadline.signal);
      }
    } finally {
      deadline.release();
    }
  }
}

function refusal({ status, text }: HttpAnswer): SluiceError {
  try {
    return errorOf(JSON.parse(text) as ProblemDocument);
  } catch {
    return new SluiceError('INTERNAL', `something that is no broker answered with status ${status}`);
  }
}

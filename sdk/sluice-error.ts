// The one error class of the client. Its code is a row of the closed table that the broker's doors use too; a program
// acts on `code`, `retriable` and `outcome`, never on the text.
//
// What the client itself finds out is told in the same table: a value that a schema refuses, or a call on something
// that was closed, is INVALID_REQUEST; a broker that cannot be reached in time is REQUEST_TIMED_OUT.

import type { ErrorCode, Facts } from '@sluice/protocol/errors';
import { isRetriable } from '@sluice/protocol/errors';

/** `unknown`: the work may or may not have been done. Absent: it certainly was not. */
export type Outcome = 'unknown';

export interface SluiceErrorOptions {
  readonly facts?: Facts;
  readonly outcome?: Outcome | undefined;
  readonly cause?: unknown;
}

export class SluiceError extends Error {
  override readonly name = 'SluiceError';
  readonly code: ErrorCode;
  /** True when the same call may succeed later without a change. With `outcome: 'unknown'` it may then be done twice. */
  readonly retriable: boolean;
  /** One sentence for a person. */
  readonly detail: string;
  /** What the refusal was judged on, for example `{ earliest_offset: '0', high_watermark: '12' }`. */
  readonly facts: Facts;
  readonly outcome: Outcome | undefined;

  constructor(code: ErrorCode, detail: string, options: SluiceErrorOptions = {}) {
    super(`${code}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = detail;
    this.retriable = isRetriable(code);
    this.facts = options.facts ?? {};
    this.outcome = options.outcome;
  }
}

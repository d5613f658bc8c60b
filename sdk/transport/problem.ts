// A refusal that came in band, as an error. A code that this client does not know is from a newer broker: it is told as
// INTERNAL, with the code in its facts and the broker's own word on whether to try again lost on purpose.

import { type ErrorCode, isErrorCode } from '@sluice/protocol/errors';
import type { Problem } from '@sluice/protocol/services';
import { type Outcome, SluiceError } from '../sluice-error.ts';

export function errorOfProblem({ code, detail, facts }: Problem): SluiceError {
  if (!isErrorCode(code)) return new SluiceError('INTERNAL', detail, { facts: { ...facts, code } });
  return new SluiceError(code, detail, { facts, outcome: outcomeOf(code, facts) });
}

/** The broker could not tell in time whether the work was done, or leads no more and never will know. */
export function outcomeOf(code: ErrorCode, facts: Readonly<Record<string, string>>): Outcome | undefined {
  return code === 'REQUEST_TIMED_OUT' || facts['outcome'] === 'unknown' ? 'unknown' : undefined;
}

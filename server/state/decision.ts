// What a command on a replicated state machine gives: records to append and the response to send, or a refusal.
//
// A command changes nothing. Whoever runs the machine appends the records and replays them in the same step, and holds every
// response, refusals included, until all that the state held when it was made is committed.

import { accepted, type ErrorCode, type Result } from '@sluice/protocol/errors';

export interface Decision<Record, Response> {
  /** To be appended as one batch, in this order: all of them or none. Empty where nothing changes. */
  readonly records: readonly Record[];
  readonly response: Response;
}

export type Decided<Record, Response, C extends ErrorCode> = Result<Decision<Record, Response>, C>;

export const decided = <Record, Response>(
  records: readonly Record[],
  response: Response,
): { readonly ok: true; readonly value: Decision<Record, Response> } => accepted({ records, response });

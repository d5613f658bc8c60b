// What is done with an exception in a handler. A failed assertion ends the process; anything else is INTERNAL with a
// request id in front of the client and the cause in the log.

import type { Problem } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';
import { AssertionFailure } from '../../base/assert.ts';
import type { GatewayContext } from '../gateway.ts';

export const unexpected = (context: GatewayContext, error: unknown, verb: string): Problem => {
  if (error instanceof AssertionFailure) {
    // Thrown where no handler can catch it, because a promise's rejection might be.
    queueMicrotask(() => {
      throw error;
    });
  }
  const requestId = context.random.uuid();
  context.logger.error({ door: 'grpc', verb, request_id: requestId, err: error }, 'a request failed unexpectedly');
  return problem('INTERNAL', `the request failed unexpectedly; the broker's log has the cause under ${requestId}`, {
    request_id: requestId,
  });
};

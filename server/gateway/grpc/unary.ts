// One request, one answer: a refusal becomes the status of the call, an exception INTERNAL.

import type { handleUnaryCall, ServerUnaryCall } from '@grpc/grpc-js';
import type { Result } from '@sluice/protocol/errors';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { GatewayContext } from '../gateway.ts';
import { problemStatus } from './problem-status.ts';
import { unexpected } from './unexpected.ts';

export interface UnaryDoor {
  readonly context: GatewayContext;
  readonly verb: string;
  readonly metrics: VerbMetrics;
}

export const unary =
  <Request, Answer>(
    door: UnaryDoor,
    answer: (request: Request) => Promise<Result<Answer>> | Result<Answer>,
  ): handleUnaryCall<Request, Answer> =>
  (call: ServerUnaryCall<Request, Answer>, callback) => {
    const { context, verb, metrics } = door;
    const startedMs = context.clock.monotonicMs();
    const finish = (result: Result<Answer>): void => {
      const seconds = (context.clock.monotonicMs() - startedMs) / 1_000;
      metrics.finished(result.ok ? 'ok' : result.problem.code, seconds);
      if (result.ok) callback(null, result.value);
      else callback(problemStatus(result.problem));
    };
    const run = async (): Promise<Result<Answer>> => {
      try {
        return await answer(call.request);
      } catch (error) {
        return { ok: false, problem: unexpected(context, error, verb) };
      }
    };
    void run().then(finish);
  };

// grpc.health.v1: the broker as a whole and each of its services are healthy together, while the broker serves
// everything and is not stopping.

import { create } from '@bufbuild/protobuf';
import type { sendUnaryData, ServerUnaryCall, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import { accepted } from '@sluice/protocol/errors';
import type { HealthCheckRequest, HealthCheckResponse } from '@sluice/protocol/services';
import { HealthCheckResponse_ServingStatus as Status, HealthCheckResponseSchema } from '@sluice/protocol/services';
import type { Timer } from '../../io/clock.ts';
import type { GatewayContext } from '../gateway.ts';
import type { OpenCalls } from './open-calls.ts';
import { StateWatch } from './state-watch.ts';

/** Readiness has no events of its own; a watcher learns of a change within this time. */
const LOOK_AGAIN_MS = 1_000;

export interface HealthOptions {
  readonly calls: OpenCalls;
  /** Full names; the empty one stands for the whole broker. */
  readonly serviceNames: ReadonlySet<string>;
}

export const healthService = (context: GatewayContext, options: HealthOptions): UntypedServiceImplementation => {
  const { broker, clock } = context;
  const { calls, serviceNames } = options;
  const metrics = context.metrics.verb('grpc', 'health');

  const statusOf = (service: string): HealthCheckResponse | null => {
    if (service !== '' && !serviceNames.has(service)) return null;
    const isServing = !calls.isDraining && broker.notReady().length === 0;
    return create(HealthCheckResponseSchema, { status: isServing ? Status.SERVING : Status.NOT_SERVING });
  };

  return {
    check: (
      call: ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>,
      callback: sendUnaryData<HealthCheckResponse>,
    ): void => {
      const answer = statusOf(call.request.service);
      metrics.finished(answer === null ? 'NOT_FOUND' : 'ok', 0);
      // The health protocol's own status, which no code of the error table stands for.
      if (answer === null) callback({ code: status.NOT_FOUND, details: 'there is no such service' });
      else callback(null, answer);
    },
    watch: (call: ServerWritableStream<HealthCheckRequest, HealthCheckResponse>): void => {
      metrics.finished('ok', 0);
      const unknown = create(HealthCheckResponseSchema, { status: Status.SERVICE_UNKNOWN });
      let timer: Timer | null = null;
      const watch = new StateWatch(call, calls, {
        schema: HealthCheckResponseSchema,
        take: async () => accepted(statusOf(call.request.service) ?? unknown),
        onEnd: () => timer?.cancel(),
      });
      const lookAgain = (): void => {
        watch.poke();
        timer = clock.schedule(LOOK_AGAIN_MS, lookAgain);
      };
      timer = clock.schedule(LOOK_AGAIN_MS, lookAgain);
      watch.start();
    },
  };
};

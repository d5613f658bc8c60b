// The one file of the client that touches the clock, randomness and the network by itself.

import type { Clock, Random, Runtime } from './runtime.ts';
import { GrpcTransport, type GrpcTransportOptions } from './transport/grpc.ts';

const clock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  schedule: (delayMs, action) => {
    const timer = setTimeout(action, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  defer: action => {
    setImmediate(action);
  },
};

const random: Random = { fraction: () => Math.random() };

export const realRuntime = (options: GrpcTransportOptions): Runtime => ({
  clock,
  random,
  transport: new GrpcTransport(options),
});

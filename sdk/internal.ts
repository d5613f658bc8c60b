// `@sluice/client/internal`: for tests and tools that bring their own time, randomness or connections. No promises are
// kept about this door.

export { realRuntime } from './real-defaults.ts';
export type { Clock, Random, Runtime, Timer } from './runtime.ts';
export { GrpcTransport } from './transport/grpc.ts';
export * from './transport/transport.ts';

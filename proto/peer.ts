// What brokers say to each other (sluice.internal.v1), behind a door of its own: no client loads it.

export * from './gen/sluice/internal/v1/peer_pb.ts';

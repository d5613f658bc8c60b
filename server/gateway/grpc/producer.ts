// ProducerService: identities for idempotent producers.

import { create } from '@bufbuild/protobuf';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { accepted, type Result } from '@sluice/protocol/errors';
import { type InitProducerResponse, InitProducerResponseSchema } from '@sluice/protocol/services';
import type { Broker } from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import { unary } from './unary.ts';

export const producerService = (context: GatewayContext): UntypedServiceImplementation => {
  const door = { context, verb: 'producer', metrics: context.metrics.verb('grpc', 'producer') };
  return { initProducer: unary(door, () => initProducer(context.broker)) };
};

const initProducer = async (broker: Broker): Promise<Result<InitProducerResponse>> => {
  const taken = await broker.initProducer();
  if (!taken.ok) return taken;
  const { producerId, producerEpoch } = taken.value;
  return accepted(create(InitProducerResponseSchema, { producerId: BigInt(producerId), producerEpoch }));
};

// Identities for idempotent producers.

import type { GatewayContext } from '../gateway.ts';
import { readOptionalForm } from './form-body.ts';
import type { Handler, HandlerTable } from './handlers.ts';

export const createProducerHandlers = ({ broker }: GatewayContext): HandlerTable => {
  const initProducer: Handler = async (exchange, _query, operation) => {
    if ((await readOptionalForm(exchange, operation)) === null) return;
    const taken = await broker.initProducer();
    if (!taken.ok) {
      exchange.problem(taken.problem);
      return;
    }
    const { producerId, producerEpoch } = taken.value;
    exchange.json(201, { producer_id: producerId, producer_epoch: producerEpoch });
  };
  return { initProducer: { verb: 'producers', handle: initProducer } };
};

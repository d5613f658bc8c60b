// Produce: the operations, by the type of the body. Whole bodies are in whole-produce.ts, lines in streamed-produce.ts.

import { problem } from '@sluice/protocol/errors';
import { needsWholeBody } from '../exact-append.ts';
import type { GatewayContext } from '../gateway.ts';
import { BuilderPool } from '../partition-batches.ts';
import { PartitionChoice } from '../partition-choice.ts';
import { RecordGathering } from '../record-gathering.ts';
import { RecordScan } from '../record-scan.ts';
import { TextBuffer } from '../text-buffer.ts';
import { mediaType } from './body.ts';
import type { Handler, HandlerTable } from './handlers.ts';
import type { GatheredRequest, SharedState } from './produce-plan.ts';
import { makePlan } from './produce-plan.ts';
import { produceStream } from './streamed-produce.ts';
import { appendGathered, produceWhole } from './whole-produce.ts';

export const createProduceHandlers = (context: GatewayContext): HandlerTable => {
  const { clock } = context;
  const shared: SharedState = {
    choice: new PartitionChoice(),
    pool: new BuilderPool(),
    scan: new RecordScan(),
    text: new TextBuffer(),
    // Requests of many connections: all that the system reports at once are read in one turn.
    gathering: new RecordGathering<GatheredRequest>({
      atEnd: leave => clock.defer(leave),
      leave: batch => appendGathered(batch),
    }),
  };
  const produce: Handler = (exchange, query) => {
    const plan = makePlan(context, shared, { exchange, query });
    if (!plan.ok) {
      exchange.problem(plan.problem);
      return undefined;
    }
    const type = mediaType(exchange);
    if (!type.ok) {
      exchange.problem(type.problem);
      return undefined;
    }
    switch (type.value) {
      case 'application/json':
      case 'application/octet-stream':
        return produceWhole(exchange, plan.value, type.value);
      case 'application/x-ndjson':
      case 'text/plain':
        if (plan.value.exact !== null) {
          exchange.problem(needsWholeBody(plan.value.exact));
          return undefined;
        }
        return produceStream(exchange, plan.value, type.value);
      default: {
        const detail = 'records come as application/json, application/x-ndjson, text/plain or application/octet-stream';
        exchange.problem(problem('UNSUPPORTED_MEDIA_TYPE', detail));
        return undefined;
      }
    }
  };
  return { produce: { verb: 'produce', handle: produce }, produceToPartition: { verb: 'produce', handle: produce } };
};

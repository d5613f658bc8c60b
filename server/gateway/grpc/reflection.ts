// grpc.reflection.v1: the services described to tools that have no protos. Refusals are in band.

import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { grpcStatus, problem } from '@sluice/protocol/errors';
import type { ServerReflectionRequest, ServerReflectionResponse } from '@sluice/protocol/services';
import {
  ErrorResponseSchema,
  ExtensionNumberResponseSchema,
  FileDescriptorResponseSchema,
  ListServiceResponseSchema,
  ServerReflectionResponseSchema,
  ServiceResponseSchema,
} from '@sluice/protocol/services';
import { GRPC_OUTBOX_BYTES_MAX } from '../../base/limits.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { GatewayContext } from '../gateway.ts';
import type { OutgoingQueue } from '../outgoing-budget.ts';
import type { DescriptorIndex } from './descriptor-index.ts';
import type { OpenCall, OpenCalls } from './open-calls.ts';
import { Outbox } from './outbox.ts';
import { problemStatus } from './problem-status.ts';
import type { ReadGate, ReadGates } from './read-gate.ts';

type Call = ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>;
type Answer = ServerReflectionResponse['messageResponse'];

/** Answers of one call that wait for the client; a descriptor set is some KiB. */
const ANSWERS_WAITING_MAX = 16;

export interface ReflectionOptions {
  readonly calls: OpenCalls;
  readonly gates: ReadGates;
  readonly index: DescriptorIndex;
  readonly serviceNames: ReadonlySet<string>;
}

export const reflectionService = (
  context: GatewayContext,
  options: ReflectionOptions,
): UntypedServiceImplementation => {
  const metrics = context.metrics.verb('grpc', 'reflection');
  return {
    serverReflectionInfo: (call: Call): void => {
      const gate = options.gates.of(call.metadata);
      const queue = context.outgoing.open('grpc', () => gate.cut());
      new ReflectionCall(call, { ...options, metrics, gate, queue }).start();
    },
  };
};

interface CallOptions extends ReflectionOptions {
  readonly metrics: VerbMetrics;
  readonly gate: ReadGate;
  readonly queue: OutgoingQueue;
}

class ReflectionCall implements OpenCall {
  readonly #call: Call;
  readonly #options: CallOptions;
  readonly #outbox: Outbox<ServerReflectionResponse>;

  constructor(call: Call, options: CallOptions) {
    this.#call = call;
    this.#options = options;
    const limits = { bytesMax: GRPC_OUTBOX_BYTES_MAX, messagesMax: ANSWERS_WAITING_MAX, queue: options.queue };
    this.#outbox = new Outbox(call, limits, () => this.#options.gate.release());
  }

  start(): void {
    const { calls, gate, metrics } = this.#options;
    this.#call.on('data', (request: ServerReflectionRequest) => {
      metrics.finished('ok', 0);
      const messageResponse = answer(request, this.#options);
      const response = create(ServerReflectionResponseSchema, {
        validHost: request.host,
        originalRequest: request,
        messageResponse,
      });
      this.#outbox.put(response, answerBytes(messageResponse));
      if (!this.#outbox.hasRoom) gate.hold();
    });
    this.#call.on('end', () => this.#outbox.end());
    this.#call.on('cancelled', () => calls.ended(this));
    this.#call.on('close', () => calls.ended(this));
    calls.opened(this);
  }

  drain(): void {
    this.#outbox.endWith(problemStatus(problem('SHUTTING_DOWN', 'the broker is stopping')));
  }
}

const answer = ({ messageRequest }: ServerReflectionRequest, options: ReflectionOptions): Answer => {
  const { index, serviceNames } = options;
  switch (messageRequest.case) {
    case 'fileByFilename':
      return files(index.fileByName(messageRequest.value), `file "${messageRequest.value}"`);
    case 'fileContainingSymbol':
      return files(index.fileOfSymbol(messageRequest.value), `symbol "${messageRequest.value}"`);
    case 'fileContainingExtension':
      return notFound('extension');
    case 'allExtensionNumbersOfType':
      return index.hasMessage(messageRequest.value)
        ? {
            case: 'allExtensionNumbersResponse',
            value: create(ExtensionNumberResponseSchema, { baseTypeName: messageRequest.value }),
          }
        : notFound(`message "${messageRequest.value}"`);
    case 'listServices': {
      const service = [...serviceNames].map(name => create(ServiceResponseSchema, { name }));
      return { case: 'listServicesResponse', value: create(ListServiceResponseSchema, { service }) };
    }
    case undefined:
    default:
      return refusal(grpcStatus.INVALID_ARGUMENT, 'the request asks for nothing');
  }
};

const files = (found: readonly Uint8Array[] | null, what: string): Answer =>
  found === null
    ? notFound(what)
    : {
        case: 'fileDescriptorResponse',
        value: create(FileDescriptorResponseSchema, { fileDescriptorProto: [...found] }),
      };

const notFound = (what: string): Answer => refusal(grpcStatus.NOT_FOUND, `there is no ${what}`);

const refusal = (errorCode: number, errorMessage: string): Answer => ({
  case: 'errorResponse',
  value: create(ErrorResponseSchema, { errorCode, errorMessage }),
});

const answerBytes = (given: Answer): number => {
  let bytes = 256;
  if (given.case === 'fileDescriptorResponse') {
    for (const file of given.value.fileDescriptorProto) bytes += file.byteLength;
  }
  return bytes;
};

// From a gRPC status to what the client acts on. The broker's refusals carry google.rpc.ErrorInfo; a status without one
// comes from HTTP/2, a proxy or grpc-js itself, and most of those say only that there was no answer.

import { fromBinary } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import type { ServiceError } from '@grpc/grpc-js';
import { grpcStatus, isErrorCode, type ErrorCode } from '@sluice/protocol/errors';
import { ErrorInfoSchema, StatusSchema } from '@sluice/protocol/services';
import { SluiceError } from '../sluice-error.ts';
import { outcomeOf } from './problem.ts';
import { LinkFailure, type CallFailure } from './transport.ts';

const ANSWERS: Readonly<Record<number, ErrorCode>> = {
  [grpcStatus.INVALID_ARGUMENT]: 'INVALID_REQUEST',
  [grpcStatus.UNAUTHENTICATED]: 'UNAUTHENTICATED',
  [grpcStatus.PERMISSION_DENIED]: 'FORBIDDEN',
  [grpcStatus.UNIMPLEMENTED]: 'ROUTE_NOT_FOUND',
  // A message beyond the receiver's limit; being throttled comes with an ErrorInfo.
  [grpcStatus.RESOURCE_EXHAUSTED]: 'BODY_TOO_LARGE',
};

export function failureOfStatus(address: string, error: ServiceError): CallFailure {
  const info = errorInfo(error);
  if (info !== null) {
    return new SluiceError(info.code, error.details, { facts: info.facts, outcome: outcomeOf(info.code, info.facts) });
  }
  const code = ANSWERS[error.code];
  return code === undefined
    ? new LinkFailure(address, 'call', error.details)
    : new SluiceError(code, `${address}: ${error.details}`, { cause: error });
}

function errorInfo(error: ServiceError): { code: ErrorCode; facts: Record<string, string> } | null {
  const [packed] = error.metadata.get('grpc-status-details-bin');
  if (!(packed instanceof Uint8Array)) return null;
  try {
    for (const detail of fromBinary(StatusSchema, packed).details) {
      const info = anyUnpack(detail, ErrorInfoSchema);
      if (info !== undefined && isErrorCode(info.reason)) return { code: info.reason, facts: info.metadata };
    }
  } catch {
    // Details that are none: the status has to do.
  }
  return null;
}

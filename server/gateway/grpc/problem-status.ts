// A refusal as gRPC says it: in band as a Problem message on streams, as status and google.rpc.ErrorInfo on unary calls.

import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Metadata, status, type StatusObject } from '@grpc/grpc-js';
import type { Problem } from '@sluice/protocol/errors';
import { isRetriable } from '@sluice/protocol/errors';
import {
  ErrorInfoSchema,
  ProblemSchema,
  StatusSchema,
  type Problem as ProblemMessage,
} from '@sluice/protocol/services';
import { factStrings, grpcStatusName } from '../error-mapping.ts';

/** Trailers are headers: many peers refuse more than 8 KiB of them. Texts are cut, and facts beyond are left out. */
const DETAIL_CHARS_MAX = 1_024;
const STATUS_DETAILS_BYTES_MAX = 4_096;

const DOMAIN = 'sluice';

const cut = (text: string): string => (text.length <= DETAIL_CHARS_MAX ? text : `${text.slice(0, DETAIL_CHARS_MAX)}…`);

export const problemMessage = (problem: Problem): ProblemMessage =>
  create(ProblemSchema, {
    code: problem.code,
    detail: problem.detail,
    retriable: isRetriable(problem.code),
    facts: factStrings(problem.facts),
  });

export const problemStatus = (problem: Problem): StatusObject => {
  const code = status[grpcStatusName(problem.code)];
  const message = cut(problem.detail).toWellFormed();
  const encode = (facts: Record<string, string>): Uint8Array => {
    const info = create(ErrorInfoSchema, { reason: problem.code, domain: DOMAIN, metadata: facts });
    return toBinary(StatusSchema, create(StatusSchema, { code, message, details: [anyPack(ErrorInfoSchema, info)] }));
  };
  const whole = encode(factStrings(problem.facts));
  const details = whole.byteLength <= STATUS_DETAILS_BYTES_MAX ? whole : encode({});
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(details));
  return { code, details: message, metadata };
};

// From a refusal to what each kind of wire says. The table itself is in the protocol package; doors differ only in form.

import type { ErrorCode, Facts, GrpcStatusName, Problem } from '@sluice/protocol/errors';
import { errorTable, grpcStatus } from '@sluice/protocol/errors';

/** A problem document (RFC 9457). Facts stand beside the fixed members. */
export type ProblemDocument = Readonly<Record<string, unknown>> & {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly retriable: boolean;
  readonly request_id: string;
};

export const problemDocument = (problem: Problem, requestId: string): ProblemDocument => {
  const row = errorTable[problem.code];
  return {
    type: `urn:sluice:problem:${problem.code.toLowerCase()}`,
    title: row.title,
    status: row.http,
    detail: problem.detail,
    code: problem.code,
    retriable: row.retriable,
    request_id: requestId,
    ...problem.facts,
  };
};

export const httpStatus = (code: ErrorCode): number => errorTable[code].http;

export const grpcStatusName = (code: ErrorCode): GrpcStatusName => errorTable[code].grpc;

export const grpcStatusNumber = (code: ErrorCode): number => grpcStatus[errorTable[code].grpc];

/** Facts as strings, for protobuf's map<string, string>; null facts are left out. */
export const factStrings = (facts: Facts): Record<string, string> => {
  const strings: Record<string, string> = {};
  for (const [name, value] of Object.entries(facts)) if (value !== null) strings[name] = String(value);
  return strings;
};

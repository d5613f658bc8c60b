// The closed table of error codes, shared by every door and by the SDK.
//
// One row a code: its HTTP status, its gRPC status and whether the same request may succeed later without a change.
// Adding a row is a decision; nothing outside this file invents a code, and doors only translate.

/** gRPC status codes by name; the numbers are the gRPC specification's. */
export const grpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type GrpcStatusName = keyof typeof grpcStatus;

export interface ErrorRow {
  readonly http: number;
  readonly grpc: GrpcStatusName;
  readonly retriable: boolean;
  /** A short, constant summary: the `title` of a problem document. */
  readonly title: string;
}

const row = (http: number, grpc: GrpcStatusName, title: string): ErrorRow => ({ http, grpc, title, retriable: false });
const retriable = (http: number, grpc: GrpcStatusName, title: string): ErrorRow => ({
  http,
  grpc,
  title,
  retriable: true,
});

export const errorTable = {
  INVALID_REQUEST: row(400, 'INVALID_ARGUMENT', 'The request is not valid'),
  INVALID_TOPIC_NAME: row(400, 'INVALID_ARGUMENT', 'The topic name is not valid'),
  INVALID_CONFIG: row(400, 'INVALID_ARGUMENT', 'A topic setting is not valid'),
  INVALID_PARTITION_COUNT: row(400, 'INVALID_ARGUMENT', 'The partition count is not valid'),
  INVALID_REPLICATION_FACTOR: row(400, 'INVALID_ARGUMENT', 'The replication factor is not valid'),
  INVALID_CURSOR: row(400, 'INVALID_ARGUMENT', 'The cursor is not valid'),
  INVALID_TIMESTAMP: row(400, 'INVALID_ARGUMENT', 'A timestamp is not valid'),
  CORRUPT_BATCH: row(400, 'INVALID_ARGUMENT', 'A record batch is corrupt'),
  UNSUPPORTED_COMPRESSION: row(400, 'INVALID_ARGUMENT', 'The compression codec is not supported'),
  UNAUTHENTICATED: row(401, 'UNAUTHENTICATED', 'Authentication is required'),
  FORBIDDEN: row(403, 'PERMISSION_DENIED', 'The operation is not allowed'),
  ORIGIN_NOT_ALLOWED: row(403, 'PERMISSION_DENIED', 'The origin or host is not allowed'),
  TOPIC_NOT_FOUND: row(404, 'NOT_FOUND', 'The topic does not exist'),
  PARTITION_NOT_FOUND: row(404, 'NOT_FOUND', 'The partition does not exist'),
  RECORD_NOT_FOUND: row(404, 'NOT_FOUND', 'The record does not exist'),
  GROUP_NOT_FOUND: row(404, 'NOT_FOUND', 'The group does not exist'),
  UNKNOWN_MEMBER: row(404, 'NOT_FOUND', 'The group has no such member'),
  TRANSACTION_NOT_FOUND: row(404, 'NOT_FOUND', 'The transaction does not exist'),
  ROUTE_NOT_FOUND: row(404, 'UNIMPLEMENTED', 'There is no such route'),
  METHOD_NOT_ALLOWED: row(405, 'UNIMPLEMENTED', 'The method is not allowed here'),
  NOT_ACCEPTABLE: row(406, 'INVALID_ARGUMENT', 'No rendering is acceptable'),
  UNSUPPORTED_MEDIA_TYPE: row(415, 'INVALID_ARGUMENT', 'The media type is not supported'),
  TOPIC_EXISTS: row(409, 'ALREADY_EXISTS', 'The topic exists already'),
  GROUP_NOT_EMPTY: row(409, 'ABORTED', 'The group has members'),
  FENCED_MEMBER_EPOCH: row(409, 'ABORTED', 'The member was fenced'),
  PRODUCER_FENCED: row(409, 'ABORTED', 'The producer was fenced'),
  OUT_OF_ORDER_SEQUENCE: row(409, 'ABORTED', 'A sequence number is missing'),
  DUPLICATE_SEQUENCE: row(409, 'ABORTED', 'The batch was written before'),
  UNKNOWN_PRODUCER_ID: row(409, 'ABORTED', 'The producer id is not known'),
  CONCURRENT_REQUEST: retriable(409, 'ABORTED', 'A request with this identity is under way'),
  INVALID_TRANSACTION_STATE: row(409, 'ABORTED', 'The transaction is not in a state for this'),
  EXPECTED_OFFSET_MISMATCH: row(412, 'FAILED_PRECONDITION', 'The log end is not the expected offset'),
  RECORD_TOO_LARGE: row(413, 'INVALID_ARGUMENT', 'A record is too large'),
  BODY_TOO_LARGE: row(413, 'INVALID_ARGUMENT', 'The body is too large'),
  OFFSET_OUT_OF_RANGE: row(416, 'OUT_OF_RANGE', 'The offset is outside the log'),
  IDEMPOTENCY_KEY_REUSED: row(422, 'INVALID_ARGUMENT', 'The idempotency key belongs to another request'),
  THROTTLED: retriable(429, 'RESOURCE_EXHAUSTED', 'Too much is under way'),
  INTERNAL: row(500, 'INTERNAL', 'Something went wrong in the broker'),
  STORAGE_FAILED: row(500, 'INTERNAL', 'The disk failed'),
  PARTITION_DAMAGED: row(500, 'DATA_LOSS', 'This part of the partition is damaged'),
  NOT_LEADER: retriable(503, 'UNAVAILABLE', 'This broker does not lead the partition'),
  NOT_ENOUGH_REPLICAS: retriable(503, 'UNAVAILABLE', 'Too few replicas are in sync'),
  COORDINATOR_LOADING: retriable(503, 'UNAVAILABLE', 'The coordinator is loading'),
  UNSTABLE_OFFSET_COMMIT: retriable(503, 'UNAVAILABLE', 'An offset commit is not decided yet'),
  SHUTTING_DOWN: retriable(503, 'UNAVAILABLE', 'The broker is stopping'),
  REQUEST_TIMED_OUT: retriable(504, 'DEADLINE_EXCEEDED', 'The request timed out'),
  DISK_FULL: row(507, 'RESOURCE_EXHAUSTED', 'The disk is full'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorTable, code);

/** What a refusal was judged on. Numbers are offsets, counts and sizes; doors render them in their own form. */
export type Facts = Readonly<Record<string, string | number | boolean | null>>;

/** An expected refusal: a value, never thrown inside the broker. `C` names the codes that an operation can answer. */
export interface Problem<C extends ErrorCode = ErrorCode> {
  readonly code: C;
  /** One sentence for a person, naming what was wrong and, where it helps, what to do. */
  readonly detail: string;
  readonly facts: Facts;
}

export const problem = <C extends ErrorCode>(code: C, detail: string, facts: Facts = {}): Problem<C> => ({
  code,
  detail,
  facts,
});

export type Result<T, C extends ErrorCode = ErrorCode> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: Problem<C> };

export const accepted = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value });

export const refused = <C extends ErrorCode>(
  code: C,
  detail: string,
  facts: Facts = {},
): { readonly ok: false; readonly problem: Problem<C> } => ({ ok: false, problem: problem(code, detail, facts) });

export const isRetriable = (code: ErrorCode): boolean => errorTable[code].retriable;

// The frames that a client sends: text to a checked request, or the first thing that is wrong with it.
//
//   {"id", "op": "produce", "topic", "records", "partition"?, "acks"?, "timeout_ms"?, "compression"?,
//    "producer_id"? with "producer_epoch" and "sequence", "expected_offset"?}
//   {"id", "op": "subscribe", "topic", "from"? | "offset"? | "timestamp"? | "tail"? | "cursor"?, "partition"? | "partitions"?,
//    "isolation"?, "values"?, "reset"?, "max_bytes"?, "credit"?: {"records", "bytes"}}
//   {"op": "credit", "subscription", "records", "bytes", "id"?}
//   {"id", "op": "unsubscribe", "subscription"}
//
// Guarantees: no input throws. Unknown fields, missing fields and numbers out of their range are refused by name, nothing
// is clamped. The id comes back with the refusal wherever it could be read.

import type { ErrorCode, Problem } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';
import {
  CURSOR_CHARS_MAX,
  PRODUCER_EPOCH_MAX,
  READ_BYTES_MAX,
  SEQUENCE_MAX,
  TIMEOUT_MS_MAX,
} from '../../base/limits.ts';
import { parseJson } from '../json-text.ts';
import { isObject, PARTITION_MAX } from '../record-json.ts';

/** As the client wrote it: it comes back with the answer. */
export type FrameId = number | string;

export type Op = 'produce' | 'subscribe' | 'credit' | 'unsubscribe';

export type Fields = Readonly<Record<string, unknown>>;

export type ReadFrame =
  | { readonly kind: 'request'; readonly id: FrameId | null; readonly op: Op; readonly fields: Fields }
  | {
      readonly kind: 'refused';
      readonly id: FrameId | null;
      /** Null when it is not known or is none of ours. */
      readonly op: Op | null;
      /** The subscription that the frame names, where it names one. */
      readonly problem: Problem;
    };

const ID_CHARS_MAX = 64;
const NAME_CHARS_MAX = 32;

/** Null when the value is right, else what it must be. */
type Check = (value: unknown) => string | null;

const integer =
  (min: number, max: number): Check =>
  value =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? null
      : `must be an integer from ${min} to ${max}`;

const oneOf =
  (...allowed: readonly (string | number)[]): Check =>
  value =>
    allowed.includes(value as string) ? null : `must be one of ${allowed.join(', ')}`;

const text =
  (pattern: RegExp, wording: string, charsMax: number): Check =>
  value =>
    typeof value === 'string' && value.length <= charsMax && pattern.test(value) ? null : wording;

/** Judged where it is used. */
const anything: Check = () => null;

const aString: Check = value => (typeof value === 'string' ? null : 'must be a string');

const isId = (value: unknown): value is FrameId =>
  typeof value === 'string'
    ? value.length > 0 && value.length <= ID_CHARS_MAX
    : Number.isSafeInteger(value) && (value as number) >= 0;

const id: Check = value =>
  isId(value) ? null : `must be an integer from 0 to 2^53 - 1 or a string of 1 to ${ID_CHARS_MAX} characters`;

const natural = integer(0, Number.MAX_SAFE_INTEGER);
const subscription = text(/^s\d+$/, 'must be the name of a subscription', NAME_CHARS_MAX);

const credit: Check = value => {
  if (!isObject(value)) return 'must be an object {records, bytes}';
  for (const name in value) if (name !== 'records' && name !== 'bytes') return `has no field ${JSON.stringify(name)}`;
  const wrong = natural(value['records']);
  if (wrong !== null) return `needs records, which ${wrong}`;
  const wrongBytes = natural(value['bytes']);
  return wrongBytes === null ? null : `needs bytes, which ${wrongBytes}`;
};

const startOffset: Check = value =>
  natural(value) === null || value === 'earliest' || value === 'latest'
    ? null
    : 'must be an integer from 0 to 2^53 - 1, earliest or latest';

const timestamp: Check = value =>
  natural(value) === null || (typeof value === 'string' && value.length <= 64)
    ? null
    : 'must be milliseconds since 1970 or RFC 3339';

interface OpForm {
  readonly checks: Readonly<Record<string, Check>>;
  readonly required: readonly string[];
}

const partition = integer(0, PARTITION_MAX);

const forms: Readonly<Record<Op, OpForm>> = {
  produce: {
    checks: {
      topic: aString,
      records: anything,
      partition,
      acks: oneOf('all', 1, 0, '1', '0'),
      timeout_ms: integer(1, TIMEOUT_MS_MAX),
      compression: oneOf('none', 'gzip', 'snappy', 'lz4', 'zstd'),
      producer_id: natural,
      producer_epoch: integer(0, PRODUCER_EPOCH_MAX),
      sequence: integer(0, SEQUENCE_MAX),
      expected_offset: natural,
    },
    required: ['id', 'topic', 'records'],
  },
  subscribe: {
    checks: {
      topic: aString,
      from: oneOf('earliest', 'latest'),
      offset: startOffset,
      timestamp,
      tail: natural,
      cursor: text(/^[A-Za-z0-9_-]+$/, 'is not a cursor of this service', CURSOR_CHARS_MAX),
      partition,
      partitions: text(
        /^\d{1,10}(-\d{1,10})?(,\d{1,10}(-\d{1,10})?)*$/,
        'must be numbers and ranges such as 0-15,32',
        CURSOR_CHARS_MAX,
      ),
      isolation: oneOf('read_uncommitted', 'read_committed'),
      values: oneOf('text', 'base64'),
      reset: oneOf('earliest', 'latest'),
      max_bytes: integer(1, READ_BYTES_MAX),
      credit,
    },
    required: ['id', 'topic'],
  },
  credit: {
    checks: { subscription, records: natural, bytes: natural },
    required: ['subscription', 'records', 'bytes'],
  },
  unsubscribe: { checks: { subscription }, required: ['id', 'subscription'] },
};

/** Codes of their own, as in the query of a read. */
const refusedAs: Readonly<Record<string, ErrorCode>> = { timestamp: 'INVALID_TIMESTAMP', cursor: 'INVALID_CURSOR' };

const isOp = (value: unknown): value is Op => typeof value === 'string' && Object.hasOwn(forms, value);

export const readFrame = (frame: string): ReadFrame => {
  const parsed = parseJson(frame);
  if (!parsed.ok) return refusal(null, null, problem('INVALID_REQUEST', `the frame is not JSON: ${parsed.fault}`));
  const form = parsed.value;
  if (!isObject(form)) return refusal(null, null, problem('INVALID_REQUEST', 'a frame must be an object'));
  const frameId = isId(form['id']) ? form['id'] : null;
  const op = form['op'];
  if (op === undefined) return refusal(frameId, null, missing('op'));
  if (!isOp(op)) {
    const named = typeof op === 'string' ? ` ${JSON.stringify(op.slice(0, NAME_CHARS_MAX))}` : ' that is no string';
    const detail = `there is no op${named}; there are ${Object.keys(forms).join(', ')}`;
    return refusal(frameId, null, problem('INVALID_REQUEST', detail, { field: 'op' }));
  }
  const { checks, required } = forms[op];
  for (const name in form) {
    if (name === 'op') continue;
    const check = name === 'id' ? id : Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (check === undefined) {
      const detail = `there is no field ${JSON.stringify(name.slice(0, ID_CHARS_MAX))} here`;
      return refusal(frameId, op, problem('INVALID_REQUEST', detail, { field: name.slice(0, ID_CHARS_MAX) }));
    }
    const wrong = check(form[name]);
    if (wrong !== null) {
      return refusal(frameId, op, problem(refusedAs[name] ?? 'INVALID_REQUEST', `${name} ${wrong}`, { field: name }));
    }
  }
  for (const name of required) if (form[name] === undefined) return refusal(frameId, op, missing(name));
  return { kind: 'request', id: frameId, op, fields: form };
};

const missing = (field: string): Problem => problem('INVALID_REQUEST', `the field ${field} is missing`, { field });

const refusal = (frameId: FrameId | null, op: Op | null, wrong: Problem): ReadFrame => ({
  kind: 'refused',
  id: frameId,
  op,
  problem: wrong,
});

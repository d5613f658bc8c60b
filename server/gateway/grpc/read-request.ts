// What a client may ask of a read, checked: every number in its range, every enum known.

import type { Offset } from '@sluice/protocol/ids';
import { offset } from '@sluice/protocol/ids';
import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import type { OpenRead } from '@sluice/protocol/services';
import { Form, Isolation as WireIsolation, Position } from '@sluice/protocol/services';
import {
  GRPC_RECORDS_PIECE_BYTES,
  GRPC_UNCREDITED_PIECE_BYTES,
  READ_BYTES_DEFAULT,
  READ_BYTES_MAX,
} from '../../base/limits.ts';
import type { Isolation } from '../../broker/broker.ts';
import { Credit } from './credit.ts';
import { naturalNumber } from './safe-number.ts';

export type ReadFrom =
  | { readonly kind: 'earliest' | 'latest' }
  | { readonly kind: 'offset'; readonly offset: Offset }
  | { readonly kind: 'timestamp'; readonly timestampMs: number }
  | { readonly kind: 'tail'; readonly count: number };

export interface ReadRequest {
  readonly stream: number;
  readonly topic: string;
  readonly partition: number;
  readonly from: ReadFrom;
  readonly isolation: Isolation;
  readonly form: 'batches' | 'records';
  readonly credit: Credit;
  readonly bytesMax: number;
  readonly untilEnd: boolean;
}

type Checked<T> = Result<T, 'INVALID_REQUEST' | 'INVALID_TIMESTAMP'>;

export const checkOpen = (open: OpenRead): Checked<ReadRequest> => {
  if (open.partition < 0) return refused('INVALID_REQUEST', `partition ${open.partition} is negative`);
  const isolation = isolations.get(open.isolation);
  if (isolation === undefined) return refused('INVALID_REQUEST', `there is no isolation ${open.isolation}`);
  const form = forms.get(open.form);
  if (form === undefined) return refused('INVALID_REQUEST', `there is no form ${open.form}`);
  if (open.maxBytes > READ_BYTES_MAX) {
    return refused('INVALID_REQUEST', `max_bytes ${open.maxBytes} is more than ${READ_BYTES_MAX}`);
  }
  const credit = open.credit === undefined ? Credit.unlimited() : Credit.of(open.credit);
  if (credit === null) return refused('INVALID_REQUEST', 'credit is counted from 0 to 2^53 - 1');
  const from = checkFrom(open);
  if (!from.ok) return from;
  return accepted({
    stream: open.stream,
    topic: open.topic,
    partition: open.partition,
    from: from.value,
    isolation,
    form,
    credit,
    bytesMax: open.maxBytes === 0 ? pieceBytes(form, open.credit !== undefined) : open.maxBytes,
    untilEnd: open.untilEnd,
  });
};

/** What a reader that does not read holds of ours is a few pieces, and records as messages take several times their bytes. */
const pieceBytes = (form: ReadRequest['form'], hasCredit: boolean): number => {
  if (form === 'records') return GRPC_RECORDS_PIECE_BYTES;
  return hasCredit ? READ_BYTES_DEFAULT : GRPC_UNCREDITED_PIECE_BYTES;
};

const checkFrom = ({ from }: OpenRead): Checked<ReadFrom> => {
  switch (from.case) {
    case 'position':
      if (from.value === Position.EARLIEST) return accepted({ kind: 'earliest' });
      if (from.value === Position.LATEST) return accepted({ kind: 'latest' });
      return refused('INVALID_REQUEST', `there is no position ${from.value}`);
    case 'offset': {
      const value = naturalNumber(from.value);
      if (value === null) return refused('INVALID_REQUEST', 'an offset is in the range of 0 to 2^53 - 1');
      return accepted({ kind: 'offset', offset: offset(value) });
    }
    case 'timestampMs': {
      const timestampMs = naturalNumber(from.value);
      if (timestampMs === null) return refused('INVALID_TIMESTAMP', 'timestamp_ms is in the range of 0 to 2^53 - 1');
      return accepted({ kind: 'timestamp', timestampMs });
    }
    case 'tail': {
      const count = naturalNumber(from.value);
      if (count === null) return refused('INVALID_REQUEST', 'tail is in the range of 0 to 2^53 - 1');
      return accepted(count === 0 ? { kind: 'latest' } : { kind: 'tail', count });
    }
    case undefined:
    default:
      return accepted({ kind: 'earliest' });
  }
};

const isolations: ReadonlyMap<WireIsolation, Isolation> = new Map<WireIsolation, Isolation>([
  [WireIsolation.READ_UNCOMMITTED, 'read_uncommitted'],
  [WireIsolation.READ_COMMITTED, 'read_committed'],
]);

const forms: ReadonlyMap<Form, ReadRequest['form']> = new Map<Form, ReadRequest['form']>([
  [Form.BATCHES, 'batches'],
  [Form.RECORDS, 'records'],
]);

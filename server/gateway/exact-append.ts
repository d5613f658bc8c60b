// Produce options that make an append exact: a producer's sequence, by which a repeat is told from new records, and the offset at which the
// records are to begin. Both are of one partition, and of one that a repeat finds again.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import { type Offset, offset } from '@sluice/protocol/ids';
import type { ProducerStamp } from '@sluice/protocol/record';

export interface ExactAppend {
  readonly producer: ProducerStamp | null;
  readonly expectedOffset: Offset | null;
}

/** As a door has checked them, each in its range. */
export type ExactOptions = Readonly<Record<string, unknown>>;

const PRODUCER_OPTIONS = ['producer_id', 'producer_epoch', 'sequence'] as const;

/** Null: none is given. */
export const exactAppend = (options: ExactOptions): Result<ExactAppend | null, 'INVALID_REQUEST'> => {
  const expected = options['expected_offset'];
  const given = PRODUCER_OPTIONS.filter(name => options[name] !== undefined);
  if (given.length === 0 && expected === undefined) return accepted(null);
  if (given.length > 0 && given.length < PRODUCER_OPTIONS.length) {
    const field = PRODUCER_OPTIONS.find(name => options[name] === undefined)!;
    return refused('INVALID_REQUEST', `${given.join(' and ')} need ${field} as well`, { field });
  }
  const producer =
    given.length === 0
      ? null
      : {
          id: Number(options['producer_id']),
          epoch: Number(options['producer_epoch']),
          baseSequence: Number(options['sequence']),
        };
  return accepted({ producer, expectedOffset: expected === undefined ? null : offset(Number(expected)) });
};

/** The option that is given, for problems. */
const fieldOf = ({ producer }: ExactAppend): string => (producer === null ? 'expected_offset' : 'sequence');

export const needsOnePartition = (exact: ExactAppend): Problem =>
  problem('INVALID_REQUEST', `with ${fieldOf(exact)} all records go to one partition; these go to several`, {
    field: fieldOf(exact),
  });

export const needsFixedPartition = (exact: ExactAppend): Problem =>
  problem(
    'INVALID_REQUEST',
    `with ${fieldOf(exact)} the request names the partition, or each record does, or has a key: a repeat must go to the same one`,
    { field: fieldOf(exact) },
  );

/** Lines are cut into batches as they come, and a repeat would be cut otherwise. */
export const needsWholeBody = (exact: ExactAppend): Problem =>
  problem('INVALID_REQUEST', `${fieldOf(exact)} needs a body that is read whole: JSON or one raw value`, {
    field: fieldOf(exact),
  });

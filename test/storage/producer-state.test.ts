// How many producers a replica remembers that refuses nobody: a follower.

import { offset } from '@sluice/protocol/ids';
import { stampBatch } from '@sluice/protocol/record';
import { expect, test } from 'vitest';
import { PRODUCER_SILENCE_MS_MIN, PRODUCERS_PER_PARTITION_MAX } from '../../server/base/limits.ts';
import type { LogContext } from '../../server/storage/log-context.ts';
import { ProducerState } from '../../server/storage/producer-state.ts';
import { makeBatch } from './batches.ts';

const DAY_MS = 86_400_000;

test('beyond its measure a replica forgets early who is silent, and nobody else', () => {
  let nowMs = 1_700_000_000_000;
  const context = { clock: { wallMs: () => nowMs } } as Partial<LogContext> as LogContext;
  const state = new ProducerState(context, '/log');
  let end = 0;
  const append = (id: number, baseSequence: number): void => {
    const batch = makeBatch({ timestamp: nowMs, producer: { id, epoch: 0, baseSequence } });
    stampBatch(batch, { baseOffset: end++, leaderEpoch: 1 });
    state.appended(batch);
    state.committed(offset(end), offset(end));
  };
  for (let id = 0; id < PRODUCERS_PER_PARTITION_MAX; id++) append(id, 0);
  nowMs += PRODUCER_SILENCE_MS_MIN + 1;
  state.expire(DAY_MS);
  expect(state.table.producerCount).toBe(PRODUCERS_PER_PARTITION_MAX);
  expect(state.table.judge({ producerId: 1_000_000, epoch: 0, baseSequence: 0, count: 1 })).toEqual({ kind: 'full' });
  append(7, 1);
  append(1_000_000, 0);
  state.expire(DAY_MS);
  expect(state.table.all().map(({ producerId }) => producerId)).toEqual([7, 1_000_000]);
});

// Who waited when leadership was lost: told by the commit point that passes their records, or by time.

import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { refused } from '@sluice/protocol/errors';
import { expect, test } from 'vitest';
import { OrphanedAnswers } from '../../server/broker/orphaned-answers.ts';
import type { ParkedAnswer, ProduceResult } from '../../server/broker/parked-answers.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { SeededRandom } from '../simulation/random.ts';

const world = () => {
  const scheduler = new Scheduler(new SeededRandom('orphans'));
  let used = 0;
  const pending = { used: 0, limit: 1_000, add: () => {}, release: (bytes: number) => void (used -= bytes) };
  const orphaned = new OrphanedAnswers({
    clock: new SimulatedClock(scheduler),
    pending,
    notWritten: () => refused('NOT_LEADER', 'not written'),
    unknown: () => refused('NOT_LEADER', 'unknown', { outcome: 'unknown' }),
  });
  const told: string[] = [];
  const parked = (name: string, endOffset: number): ParkedAnswer => {
    used += 10;
    const answer = (result: ProduceResult): void => {
      told.push(`${name}: ${result.ok ? `offset ${result.value.baseOffset}` : result.problem.detail}`);
    };
    const ack = { baseOffset: offset(endOffset - 1), count: 1, timestampMs: 0 };
    return { endOffset: offset(endOffset), bytes: 10, answer, ack, deadlineMs: Number.POSITIVE_INFINITY };
  };
  return { scheduler, orphaned, told, parked, used: () => used };
};

test('records that the next leader committed are acknowledged, those that it replaced were not written', () => {
  const { orphaned, told, parked, used } = world();
  orphaned.adopt(leaderEpoch(4), [parked('first', 8), parked('second', 9), parked('third', 10)]);
  orphaned.committed(offset(7), () => leaderEpoch(4));
  expect(told).toEqual([]);
  orphaned.committed(offset(9), at => leaderEpoch(at < 8 ? 4 : 5));
  expect(told).toEqual(['first: offset 7', 'second: not written']);
  orphaned.committed(offset(12), () => null);
  expect(told.at(-1)).toBe('third: unknown');
  expect(used()).toBe(0);
});

test('nobody waits for ever', async () => {
  const { scheduler, orphaned, told, parked, used } = world();
  orphaned.adopt(leaderEpoch(4), [parked('only', 8)]);
  await scheduler.advance(1_000);
  expect(told).toEqual([]);
  await scheduler.advance(2_000);
  expect(told).toEqual(['only: unknown']);
  expect(used()).toBe(0);
});

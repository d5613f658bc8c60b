// The judge is judged: histories with a known verdict, and every small history against a search that tries all orders.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IMPOSSIBLE, isLinearizable, type Operation } from './linearizability.ts';
import { register, type RegisterInput, type RegisterOutput } from './objects.ts';

type Step = Operation<RegisterInput, RegisterOutput>;

const write = (value: number, [calledAt, answeredAt]: readonly [number, number]): Step => ({
  input: { kind: 'write', value },
  output: 'written',
  calledAt,
  answeredAt,
});

const read = (value: number | null, [calledAt, answeredAt]: readonly [number, number]): Step => ({
  input: { kind: 'read' },
  output: { read: value },
  calledAt,
  answeredAt,
});

const lostAnswer = ({ input, calledAt }: Step): Step => ({
  input,
  output: undefined,
  calledAt,
  answeredAt: Number.POSITIVE_INFINITY,
});

describe('a history of a register', () => {
  test('without overlap is as its order says', () => {
    expect(isLinearizable(register, [write(1, [0, 1]), read(1, [2, 3])])).toBe(true);
    expect(isLinearizable(register, [write(1, [0, 1]), read(null, [2, 3])])).toBe(false);
  });

  test('may show the old value while the write is under way, and not again after the new one was read', () => {
    expect(isLinearizable(register, [write(1, [0, 9]), read(null, [1, 2]), read(1, [3, 4])])).toBe(true);
    expect(isLinearizable(register, [write(1, [0, 9]), read(1, [1, 2]), read(null, [3, 4])])).toBe(false);
  });

  test('may show a write whose answer was lost at any later time, or never', () => {
    const lost = lostAnswer(write(2, [2, 3]));
    expect(isLinearizable(register, [write(1, [0, 1]), lost, read(1, [4, 5]), read(2, [6, 7])])).toBe(true);
    expect(isLinearizable(register, [write(1, [0, 1]), lost, read(1, [4, 5]), read(1, [6, 7])])).toBe(true);
    expect(isLinearizable(register, [write(1, [0, 1]), lost, read(2, [4, 5]), read(1, [6, 7])])).toBe(false);
  });

  test('is empty and right', () => {
    expect(isLinearizable(register, [])).toBe(true);
  });
});

/** Any order that keeps what ended before something else began; those without an answer may be left out. */
const hasOrder = (left: readonly Step[], state: number | null): boolean => {
  if (left.every(step => step.output === undefined)) return true;
  return left.some((step, index) => {
    const rest = left.toSpliced(index, 1);
    if (rest.some(other => other.output !== undefined && other.answeredAt < step.calledAt)) return false;
    const next = register.step(state, step);
    return next !== IMPOSSIBLE && hasOrder(rest, next);
  });
};

test('every small history is judged as by trying all orders', () => {
  const value = fc.integer({ min: 0, max: 2 });
  const step = fc
    .record({
      kind: fc.constantFrom('read' as const, 'write' as const, 'compare-and-set' as const),
      value,
      expected: value,
      done: fc.boolean(),
      isLost: fc.boolean(),
      calledAt: fc.integer({ min: 0, max: 12 }),
      duration: fc.integer({ min: 1, max: 6 }),
    })
    .map(({ kind, value: to, expected, done, isLost, calledAt, duration }): Step => {
      const output = kind === 'read' ? { read: to } : kind === 'write' ? ('written' as const) : { done };
      const input = kind === 'read' ? { kind } : kind === 'write' ? { kind, value: to } : { kind, value: to, expected };
      const answeredAt = (calledAt + duration) * 2 + 1;
      return { input, output: isLost ? undefined : output, calledAt: calledAt * 2, answeredAt };
    });
  const verdicts = { true: 0, false: 0 };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 6 }), steps => {
      const expected = hasOrder(steps, null);
      verdicts[`${expected}`]++;
      expect(isLinearizable(register, steps)).toBe(expected);
    }),
    { numRuns: 3_000 },
  );
  // Both verdicts were met often, or the comparison says little.
  expect(Math.min(verdicts.true, verdicts.false)).toBeGreaterThan(200);
});

// Patterns of topic names mean what a regular expression means, and take no time that a client chooses.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { topicPattern } from '../../../server/state/groups/topic-pattern.ts';

const matches = (pattern: string, name: string): boolean => {
  const read = topicPattern(pattern);
  if (!read.ok) throw new Error(read.fault);
  return read.value.matches(name);
};

describe('a pattern', () => {
  test.each([
    ['orders-.*', ['orders-', 'orders-eu'], ['orders', 'my-orders-eu']],
    ['^orders$', ['orders'], ['orders2', 'aorders']],
    ['orders\\.v[0-9]+', ['orders.v1', 'orders.v22'], ['ordersxv1', 'orders.v', 'orders.vx']],
    ['(a|b(c|d))?e', ['e', 'ae', 'bce', 'bde'], ['be', 'abce']],
    ['(?:eu|us)-[^x-z]', ['eu-a', 'us-w'], ['eu-x', 'eu-']],
    ['a|', ['a', ''], ['b']],
    ['\\w+\\d', ['a_1', 'Z9'], ['a-1', '1']],
    ['[a-]b', ['ab', '-b'], ['cb']],
    ['(a*)*', ['', 'aaa'], ['b']],
  ])('%s', (pattern, yes, no) => {
    for (const name of yes) expect(matches(pattern, name), name).toBe(true);
    for (const name of no) expect(matches(pattern, name), name).toBe(false);
  });

  test.each([
    '',
    '(',
    ')',
    '[',
    '[]',
    '*',
    'a{2}',
    '(?=a)',
    '\\b',
    '\\1',
    'a\\',
    '[z-a]',
    '[a',
    'a^',
    '$a',
    'x'.repeat(129),
  ])('%s is refused', text => {
    expect(topicPattern(text)).toMatchObject({ ok: false, fault: expect.any(String) });
  });

  test('parentheses stand in each other to a bound', () => {
    expect(topicPattern(`${'('.repeat(40)}a${')'.repeat(40)}`)).toMatchObject({ ok: false });
  });

  test('is what the same regular expression is', () => {
    const atom = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\.', '-');
    const piece = fc.tuple(atom, fc.constantFrom('', '*', '+', '?')).map(parts => parts.join(''));
    const sequence = fc.array(piece, { maxLength: 4 }).map(parts => parts.join(''));
    const nested = fc
      .tuple(sequence, sequence, fc.constantFrom('', '*', '?', '+'), sequence)
      .map(([a, b, sign, c]) => `${c}(${a}|${b})${sign}`);
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '.', '-'), maxLength: 8 });
    let hits = 0;
    fc.assert(
      fc.property(nested, name, (pattern, text) => {
        const expected = new RegExp(`^(?:${pattern})$`).test(text);
        if (expected) hits++;
        expect(matches(pattern, text)).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
    expect(hits).toBeGreaterThan(100);
  });

  test('that would take a backtracking engine for ever is answered', () => {
    expect(matches('(a+)+(a+)+(a+)+b', 'a'.repeat(249))).toBe(false);
  });

  test('any text is a pattern or refused', () => {
    fc.assert(fc.property(fc.string({ maxLength: 40 }), text => typeof topicPattern(text).ok === 'boolean'));
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from('ab()[]^$|*+?\\-.')), maxLength: 20 }), text => {
        const read = topicPattern(text);
        return read.ok ? typeof read.value.matches('ab-.') === 'boolean' : read.fault.length > 0;
      }),
      { numRuns: 2_000 },
    );
  });
});

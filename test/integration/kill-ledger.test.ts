// The judge of the crash tests, judged on histories made up by hand: it accuses each kind of fault, and nothing else.

import { describe, expect, test } from 'vitest';
import { Ledger, Reading, type Grouping } from './ledger.ts';

/** Six records of one sender in partition 0; the first four acknowledged at offsets 0 to 3, the others unknown. */
function history(grouping: Grouping = 'pipeline') {
  const ledger = new Ledger();
  const group = ledger.sender('a', 0).group(grouping);
  const values = Array.from({ length: 6 }, () => group.add());
  for (let index = 0; index < 4; index++) group.acknowledge(index, index);
  return { ledger, group, values };
}

/** The faults that a log is accused of; `log` lists which of the values stand in it, in order, from offset 0 on. */
function accusations(ledger: Ledger, log: readonly string[], firstOffset = 0): string[] {
  const reading = new Reading(ledger);
  for (const [index, value] of log.entries()) reading.take(0, firstOffset + index, value);
  return [...new Set(reading.faults().map(fault => fault.replace(/:.*/, '')))];
}

describe('a log is in order when it holds', () => {
  test.each([4, 5, 6])('all that was acknowledged, and the first %i records sent', count => {
    const { ledger, values } = history();
    expect(accusations(ledger, values.slice(0, count))).toEqual([]);
  });

  test('nothing of a sender that was refused', () => {
    const { ledger, values } = history();
    const refused = ledger.sender('b', 0).group('whole');
    refused.add();
    refused.refuseAll();
    expect(accusations(ledger, values)).toEqual([]);
  });

  test('an unknown group whole, or not at all', () => {
    const ledger = new Ledger();
    const group = ledger.sender('a', 0).group('whole');
    const values = [group.add(), group.add()];
    expect(accusations(ledger, values)).toEqual([]);
    expect(accusations(ledger, [])).toEqual([]);
  });
});

describe('a log is accused of', () => {
  const pick = (values: readonly string[], ...places: number[]) => places.map(place => values[place] ?? '');

  test('a lost write', () => {
    const { ledger, values } = history();
    expect(accusations(ledger, values.slice(0, 3))).toContain('lost-write');
  });

  test('a duplicate', () => {
    const { ledger, values } = history();
    expect(accusations(ledger, pick(values, 0, 1, 2, 3, 3))).toEqual(['duplicate']);
  });

  test('a duplicate of a record that nobody acknowledged', () => {
    const { ledger, values } = history();
    expect(accusations(ledger, pick(values, 0, 1, 2, 3, 4, 4))).toEqual(['duplicate']);
  });

  test('another order', () => {
    const { ledger, values } = history();
    expect(accusations(ledger, pick(values, 0, 1, 2, 3, 5, 4))).toEqual(['reordered']);
  });

  test('a record that nobody sent', () => {
    const { ledger, values } = history();
    expect(accusations(ledger, [...values, '{"sender":"a","number":6}'])).toEqual(['invented']);
    expect(accusations(ledger, [...values, 'not JSON'])).toEqual(['invented']);
  });

  test('a record of which one byte changed', () => {
    const { ledger, values } = history();
    const damaged = values.map((value, index) => (index === 4 ? value.replace(/.(?="\}$)/, '~') : value));
    expect(accusations(ledger, damaged)).toContain('invented');
  });

  test('a record in the wrong partition', () => {
    const { ledger, values } = history();
    const reading = new Reading(ledger);
    for (const [offset, value] of values.slice(0, 4).entries()) reading.take(0, offset, value);
    reading.take(1, 0, values[4] ?? '');
    expect(reading.faults().join()).toContain('invented: 1/0');
  });

  test('an offset other than the one acknowledged', () => {
    const ledger = new Ledger();
    const first = ledger.sender('a', 0).group('whole');
    const value = first.add();
    first.acknowledge(0, 7);
    expect(accusations(ledger, [value])).toEqual(['wrong-offset']);
  });

  test('a record that was refused', () => {
    const { ledger, values, group } = history();
    group.refuse(4);
    expect(accusations(ledger, values.slice(0, 5))).toEqual(['refused-but-written']);
  });

  test('half of a batch', () => {
    const ledger = new Ledger();
    const group = ledger.sender('a', 0).group('whole');
    const values = [group.add(), group.add()];
    expect(accusations(ledger, values.slice(0, 1))).toEqual(['torn']);
  });

  test('a hole in what nobody acknowledged', () => {
    const { ledger, values } = history();
    expect(accusations(ledger, pick(values, 0, 1, 2, 3, 5))).toEqual(['hole']);
  });

  test('a record that a reader saw, and that is gone or another', () => {
    const { ledger, values } = history();
    for (const [offset, value] of pick(values, 3, 4).entries()) ledger.see(0, 3 + offset, value);
    expect(accusations(ledger, values)).toEqual([]);
    expect(accusations(ledger, values.slice(0, 4))).toEqual(['vanished']);
    const other = ledger.sender('b', 0).group('whole').add();
    expect(accusations(ledger, [...values.slice(0, 4), other])).toEqual(['vanished']);
  });

  test('offsets with a gap', () => {
    const ledger = new Ledger();
    const group = ledger.sender('a', 0).group('whole');
    expect(accusations(ledger, [group.add()], 1)).toEqual(['gap']);
  });
});

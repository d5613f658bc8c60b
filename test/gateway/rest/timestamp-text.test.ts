// Timestamps in RFC 3339 and in milliseconds.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTimestamp } from '../../../server/gateway/timestamp-text.ts';

describe('parseTimestamp', () => {
  it('reads what the platform writes', () => {
    const dates = fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true });
    fc.assert(
      fc.property(dates, date => {
        expect(parseTimestamp(date.toISOString())).toBe(date.getTime());
      }),
    );
  });

  it.each([
    ['0', 0],
    ['1700000000000', 1_700_000_000_000],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
    ['1970-01-01T00:00:00Z', 0],
    ['2026-03-01T12:00:00.5+01:00', Date.UTC(2026, 2, 1, 11, 0, 0, 500)],
    ['2024-02-29t23:59:59.123456z', Date.UTC(2024, 1, 29, 23, 59, 59, 123)],
    ['2024-01-01 00:00:00-05:30', Date.UTC(2024, 0, 1, 5, 30)],
    ['2016-12-31T23:59:60Z', Date.UTC(2017, 0, 1)],
    ['2024-01-01T00:00:00.009Z', Date.UTC(2024, 0, 1, 0, 0, 0, 9)],
  ])('reads %s', (text, expected) => {
    expect(parseTimestamp(text)).toBe(expected);
  });

  it.each([
    '',
    'yesterday',
    '-1',
    '1.5',
    '9007199254740992',
    '2024-01-01',
    '2024-01-01T00:00:00',
    '2023-02-29T00:00:00Z',
    '2100-02-29T00:00:00Z',
    '2024-13-01T00:00:00Z',
    '2024-04-31T00:00:00Z',
    '2024-01-01T24:00:00Z',
    '2024-01-01T00:60:00Z',
    '2024-01-01T00:00:00+24:00',
    '1969-12-31T23:59:59Z',
    '1970-01-01T00:00:00+01:00',
  ])('refuses %j', text => {
    expect(parseTimestamp(text)).toBeNull();
  });
});

// A point in time as a client writes it: whole milliseconds since 1970, or RFC 3339 (`2026-03-01T12:00:00.5+01:00`).
//
// The calendar is computed here: the platform's date parser accepts far more than RFC 3339 and reads some of it in the
// local time zone. Fractions beyond a millisecond are cut off. A leap second counts as the first of the next minute.

import type { Problem } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';

const rfc3339 = /^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;
const milliseconds = /^\d{1,16}$/;

const DAY_MS = 86_400_000;
const DAYS_BEFORE_1970 = 719_468;

/** Milliseconds since 1970, or null when the text is neither form or lies before 1970. */
export const parseTimestamp = (text: string): number | null => {
  if (milliseconds.test(text)) {
    const value = Number(text);
    return Number.isSafeInteger(value) ? value : null;
  }
  const match = rfc3339.exec(text);
  if (match === null) return null;
  const field = (index: number): number => Number(match[index] ?? 0);
  const [year, month, day, hour, minute, second] = [field(1), field(2), field(3), field(4), field(5), field(6)];
  if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month)) return null;
  if (hour > 23 || minute > 59 || second > 60 || field(9) > 23 || field(10) > 59) return null;
  const fractionMs = Math.floor(Number(`0.${match[7] ?? '0'}`) * 1000 + 1e-6);
  const zoneMs = (field(9) * 60 + field(10)) * 60_000 * (match[8] === '-' ? -1 : 1);
  const time = ((hour * 60 + minute) * 60 + second) * 1000 + fractionMs;
  const result = daysSince1970(year, month, day) * DAY_MS + time - zoneMs;
  return result < 0 ? null : result;
};

const daysIn = (year: number, month: number): number => {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
};

/** The Gregorian calendar with years that begin in March, so that the leap day is the last. */
const daysSince1970 = (year: number, month: number, day: number): number => {
  const y = month <= 2 ? year - 1 : year;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  return y * 365 + Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400) + dayOfYear - DAYS_BEFORE_1970;
};

/** What every door says of a text that is neither form. */
export const invalidTimestamp = (): Problem<'INVALID_TIMESTAMP'> =>
  problem('INVALID_TIMESTAMP', 'a timestamp is milliseconds since 1970 or RFC 3339, not before 1970', {
    field: 'timestamp',
  });
